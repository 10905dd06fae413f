"""`python -m loadtest.bench` as a person and a program meet it."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from loadtest.bench.imports import handler_modules
from loadtest.bench.posters import CONTENDERS
from tests.unit.local.processes import is_running, until

PATIENCE = 60.0
"""Seconds for the bench to start its processes, also on a machine that has much else to do."""


async def start(*arguments: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loadtest.bench", *arguments), stdout=pipe, stderr=pipe
    )


@pytest.mark.slow
async def test_posts_and_imports(tmp_path: Path) -> None:
    """Status 0, a table each for people, and for programs every contender and every function in the file."""
    file = tmp_path / "bench.json"
    process = await start("--quick", "--only", "post,import", "--json", str(file))
    out, err = await process.communicate()
    assert (process.returncode, err.decode().splitlines()) == (0, ["bench: post", "bench: import"])
    result = json.loads(file.read_text())
    assert set(result) == {"machine", "quick", "post", "import_ms"}
    assert {"cpu", "cores", "python", "date"} <= set(result["machine"])
    assert list(result["post"]) == list(CONTENDERS)
    assert list(result["import_ms"]) == handler_modules()
    assert all(it > 0 for it in (*result["post"].values(), *result["import_ms"].values()))
    assert re.search(rf"roomcast\W+{result['post']['roomcast']:,} ", out.decode())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="this machine has no openssl command")
async def test_posts_over_tls(tmp_path: Path) -> None:
    """The same contenders, under a key of their own, each of them trusting the server."""
    file = tmp_path / "bench.json"
    process = await start("--quick", "--only", "post_tls", "--json", str(file))
    _, err = await process.communicate()
    assert (process.returncode, err.decode().splitlines()) == (0, ["bench: post_tls"])
    result = json.loads(file.read_text())
    assert set(result) == {"machine", "quick", "post_tls"}
    assert list(result["post_tls"]) == list(CONTENDERS)


@pytest.mark.slow
async def test_rooms_that_grow_and_rooms_beside_them(tmp_path: Path) -> None:
    """Real workers and real tables, a load test and seats: all of it is carried out, and counted."""
    result = await measure("growth,isolation", tmp_path)
    assert set(result) == {"machine", "quick", "growth", "isolation"}
    assert [it["members"] for it in result["growth"]] == [10, 20]
    # One shard: its log, its row, its members unless they are known, and that it is served; a doorbell sent, received
    # and deleted.
    assert all(3 <= it["dynamodb_requests"] <= 4 and it["sqs_requests"] == 3 for it in result["growth"])
    assert all(it["memory_mb"] > 1 for it in result["growth"])
    assert result["isolation"]["large_posts_per_s"] > 0


@pytest.mark.slow
async def test_a_flood_beside_small_rooms(tmp_path: Path) -> None:
    """It asks for ten times what is granted, and the others' load test is clean all the same."""
    result = await measure("flood", tmp_path)
    assert result["flood"]["asked_per_s"] > result["flood"]["rate"]
    assert 0 < result["flood"]["refused_share"] < 1


@pytest.mark.slow
async def test_pages_of_a_long_room(tmp_path: Path) -> None:
    """Each is one query, beside that for the memberships, and holds what was asked for."""
    result = await measure("history", tmp_path)
    assert result["history"]["entries"] == 300
    assert result["history"]["queries"] == 2
    assert 0 < result["history"]["page_entries"] <= 100


@pytest.mark.slow
async def test_a_search_of_a_long_room(tmp_path: Path) -> None:
    """Every hit once over all pages, each of which is one query beside that for the memberships."""
    result = await measure("search", tmp_path)
    found = result["search"]
    assert (found["entries"], found["hits"], found["pages"], found["queries"]) == (3_200, 33, 3, 2)
    assert 0 < found["page_read_units"] <= found["most_read_units"] <= 257


@pytest.mark.large
async def test_rooms_that_are_busy(tmp_path: Path) -> None:
    """The same of the other parts with a twin in them."""
    result = await measure("room,packing,limiter", tmp_path)
    assert set(result) == {"machine", "quick", "room", "packing", "packing_throttled", "limiter"}
    assert all(it["recipe_ms"] > 0 and it["roomcast_ms"] > 0 for it in result["room"])
    assert result["packing_throttled"]["members"] == 20
    assert 0 < result["limiter"]["goodput"] < 1


async def measure(parts: str, folder: Path) -> dict[str, Any]:
    file = folder / "bench.json"
    process = await start("--quick", "--only", parts, "--json", str(file))
    _, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    result: dict[str, Any] = json.loads(file.read_text())
    return result


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--only", "post,nonsense"],
            "--only post,nonsense: there is no part 'nonsense'; the parts are post, post_tls, room, growth,",
        ),
        (["--json", "/nonexistent/bench.json"], "--json /nonexistent/bench.json: there is no such folder"),
        (["--fast"], "No such option: --fast"),
    ],
)
async def test_bad_usage_is_one_sentence(arguments: Sequence[str], words: str) -> None:
    """On standard error, with status 2, before anything is measured."""
    process = await start(*arguments)
    out, err = await process.communicate()
    assert (process.returncode, out, err.count(b"\n")) == (2, b"", 1)
    assert err.decode().startswith(f"bench: {words}")


async def test_it_stops_when_told_to(tmp_path: Path) -> None:
    """Ctrl-C: one word, status 130, no result, and none of its processes is left."""
    file = tmp_path / "bench.json"
    process = await start("--only", "post", "--json", str(file))
    assert process.stderr is not None
    try:
        assert await process.stderr.readline() == b"bench: post\n"
        await until(lambda: len(_children(process.pid)) == 1 + len(CONTENDERS), PATIENCE)
        children = _children(process.pid)
    finally:
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
    assert (process.returncode, err) == (130, b"bench: stopped\n")
    assert not file.exists()
    assert [it for it in children if is_running(it)] == []


def _children(pid: int) -> list[int]:
    file = Path(f"/proc/{pid}/task/{pid}/children")
    if not file.exists():
        pytest.skip("this machine has no /proc")
    return [int(it) for it in file.read_text().split()]
