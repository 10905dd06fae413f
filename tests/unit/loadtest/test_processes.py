"""A run over several processes: one report of all, interrupts, tokens, and what is told when a process ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from domain.errors import BadSetting
from loadtest.children import ChildError
from loadtest.crew import Credential
from loadtest.plan import Behaviour, Group, Phase, Plan, split
from loadtest.run import run
from tests.unit.client.room_server import RoomServer
from tests.unit.local.processes import children, until


@pytest.fixture
async def server() -> AsyncIterator[RoomServer]:
    async with RoomServer() as running:
        yield running


def plan_for(server: RoomServer, **changes: Any) -> Plan:
    plan = Plan(server.url, clients=12, rooms=3, rate=100, seconds=0.3, ramp=1000, quiet=0.3, name="test")
    return replace(plan, **changes)


async def test_three_processes_make_one_report(server: RoomServer) -> None:
    """Rooms whose members are in several processes: counts, histograms and seconds are those of all."""
    rows: list[Mapping[str, Any]] = []
    report = await run(plan_for(server, rooms=2, seconds=1.2), live=rows.append, processes=3)
    result = report.as_json()
    assert (result["audit"], result["clients"]["connected"], result["clients"]["processes"]) == ("clean", 12, 3)
    assert (result["messages"]["acknowledged"], result["deliveries"]["received"]) == (120, 720)
    series = result["series"]
    assert [it["t"] for it in series] == list(range(series[0]["t"], series[-1]["t"] + 1))
    assert {key: sum(it[key] for it in series) for key in ("sent", "acknowledged", "deliveries", "entries")} == {
        "sent": 120,
        "acknowledged": 120,
        "deliveries": 720,
        "entries": 720,
    }
    assert max(it["clients"] for it in series) == 12
    assert [it["deliveries"] for it in rows] == [it["deliveries"] for it in series]
    assert [(it["members"], it["messages"]) for it in result["sizes"]] == [(6, 120)]
    assert report.series.latency.get_total_count() == 720
    assert result["latency_ms"]["max"] <= result["time_to_last_ms"]["max"]
    assert [(it["name"], it["from"], it["to"], it["rate"]) for it in result["phases"]] == [("hold", 0.0, 1.2, 100)]
    assert not server.clients


async def test_a_finding_names_a_client_of_another_process(server: RoomServer) -> None:
    """Its message was sent by a client of one process, and lost on the way to one of another."""
    server.drop = lambda user, event: user == "load-test-4" and event["seq"] == 5
    result = (await run(plan_for(server, dialect="recipe"), processes=2)).as_json()
    assert (result["audit"], result["deliveries"]["lost"]) == ("violated", 1)
    (finding,) = result["findings"]
    assert finding.startswith("lost: client load-test-4, room load-test-1, epoch 1, seq 5, clientId test-00000")


async def test_a_process_that_ends(server: RoomServer) -> None:
    """The run ends with one sentence, and leaves no other process."""
    before = children()

    def kill_one(phase: str, done: int, total: int) -> None:
        if phase == "send":
            os.kill(min(children() - before), signal.SIGKILL)

    with pytest.raises(ChildError, match=r"^the client process \d ended: it said nothing$"):
        await run(plan_for(server), kill_one, processes=2)
    assert children() == before


# ------------------------------------------------------------------------------------------------ behaviours


async def test_half_of_the_sockets_break(server: RoomServer) -> None:
    """They come back by themselves, and miss nothing."""
    cut = Behaviour("reconnect", share=0.5, at=0.2)
    result = (await run(plan_for(server, seconds=0.6, behaviours=(cut,)), processes=2)).as_json()
    assert (result["audit"], result["deliveries"]["received"]) == ("clean", 240)
    assert result["clients"]["reconnects"] == 6
    assert sum(it["errors"] for it in result["series"]) == 6


async def test_clients_that_do_not_read(server: RoomServer) -> None:
    """A quarter of them for a while: they have everything in the end, later than the others."""
    slow = Behaviour("slow", share=0.25, at=0.1, seconds=0.4)
    result = (await run(plan_for(server, seconds=0.6, behaviours=(slow,)))).as_json()
    assert (result["audit"], result["deliveries"]["received"]) == ("clean", 240)
    assert result["latency_ms"]["max"] > 200  # they stop for twice as long


async def test_clients_that_come_while_messages_flow(server: RoomServer) -> None:
    """Each is owed what was said since it came, and a message has arrived with the last of those who are owed it."""
    storm = Behaviour("storm", share=0.5, at=0.1, rate=100)
    report = await run(plan_for(server, rooms=1, seconds=0.6, behaviours=(storm,)), processes=2)
    result = report.as_json()
    assert (result["audit"], result["clients"]["connected"]) == ("clean", 12)
    assert 60 * 6 < result["deliveries"]["expected"] < 60 * 12
    assert result["deliveries"]["received"] == result["deliveries"]["expected"]
    assert [(it["members"], it["messages"]) for it in result["sizes"]] == [(6, 60)]


async def test_rooms_that_weigh_more(server: RoomServer) -> None:
    """A room of weight 4 gets four messages for one of the others."""
    groups = (Group(1, 4, weight=4), Group(2, 4))
    await run(plan_for(server, groups=groups, rate=120, seconds=0.5))
    said = [[it["type"] for it in server.room(f"load-test-{room}").log].count("chat") for room in range(3)]
    assert said == [40, 10, 10]


async def test_steps_end_when_a_rate_is_too_high(server: RoomServer) -> None:
    """No more is sent once 1 % of a step's deliveries took longer than a second; the rate before it held."""
    slow = Behaviour("slow", share=0.25, at=2.0, seconds=1.5)
    phases = tuple(Phase(f"step {it}", 2.0, it, probes=True) for it in (20, 40, 80))
    plan = plan_for(server, phases=phases, behaviours=(slow,), seconds=6)
    result = (await run(plan)).as_json()
    assert (result["audit"], result["held_rate"]) == ("clean", 20)
    assert [(it["name"], it["held"]) for it in result["phases"]][:2] == [("step 20", True), ("step 40", False)]
    assert result["messages"]["planned"] == result["messages"]["sent"] < 40 + 80 + 160


# ------------------------------------------------------------------------------------------------ interrupts


async def start(*options: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", "ops.main", "loadtest", "--json", "-", "--seconds", "60", "--rate", "50", *options)
    return await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupt_ends_the_sending(server: RoomServer, which: signal.Signals, tmp_path: Path) -> None:
    """What was sent arrives, the audit is made and both reports are written; the status is as always."""
    page = tmp_path / "report.html"
    process = await start("--url", server.url, "--clients", "6", "--processes", "2", "--html", str(page))
    await server.asked("chat", 5)
    process.send_signal(which)
    out, err = await process.communicate()
    result = json.loads(out)
    assert (process.returncode, result["interrupted"], result["audit"]) == (0, True, "clean")
    assert 5 <= result["messages"]["acknowledged"] == result["messages"]["planned"] < 3000
    assert result["deliveries"]["received"] == 6 * result["messages"]["acknowledged"]
    assert b"the run was interrupted" in err
    assert page.stat().st_size > 0


async def test_a_second_interrupt_ends_the_run(server: RoomServer) -> None:
    """At once, though answers are missing; there is no report, and no process is left."""
    server.lose_acks = 1_000_000
    process = await start("--url", server.url, "--clients", "6")
    await server.asked("chat", 5)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    while b"interrupted" not in await process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    out, err = await process.communicate()
    assert (process.returncode, out) == (130, b"")
    assert err.endswith(b"roomcast: interrupted; there is no report\n")
    await until(lambda: not server.clients)


# ------------------------------------------------------------------------------------------------ tokens


async def test_a_token_stands_in_the_handshake(server: RoomServer) -> None:
    """Every client shows it."""
    await run(plan_for(server), credential=Credential(token="se/cret"))
    assert {it["token"] for it in server.queries} == {"se/cret"}


async def test_a_command_gives_the_token_again_after_a_401(server: RoomServer, tmp_path: Path) -> None:
    """It runs once in each process, and once more when the service no longer takes what it gave."""
    script = tmp_path / "token.py"
    script.write_text(
        "import pathlib, sys, os\np = pathlib.Path(sys.argv[1]) / str(os.getppid())\n"
        "n = len(p.read_text()) if p.exists() else 0\np.write_text('x' * (n + 1))\nprint(f'token-{n}')\n"
    )
    server.refuse_token = "token-0"
    command = f"{sys.executable} '{script}' '{tmp_path}'"
    result = (await run(plan_for(server), processes=2, credential=Credential(command=command))).as_json()
    assert (result["audit"], result["clients"]["connected"]) == ("clean", 12)
    assert {it["token"] for it in server.queries} == {"token-1"}
    runs = [it.read_text() for it in tmp_path.glob("[0-9]*")]  # noqa: ASYNC240  # two small files
    assert runs == ["xx", "xx"]


async def test_a_command_that_gives_no_token(server: RoomServer) -> None:
    """What it said stands in the sentence."""
    command = f"{sys.executable} -c 'import sys; sys.exit(\"not logged in\")'"
    with pytest.raises(BadSetting, match=r"^--token-command .*: it ended with status 1, and no token: not logged in$"):
        await run(plan_for(server), credential=Credential(command=command))


# ------------------------------------------------------------------------------------------------ processes


@pytest.mark.parametrize(("clients", "processes"), [(1, 1), (5_000, 1), (5_001, 2), (20_000, 2), (30_000, 3)])
def test_as_many_processes_as_it_takes(monkeypatch: pytest.MonkeyPatch, clients: int, processes: int) -> None:
    """One for a few thousand sockets, else at most 10,000 in each."""
    monkeypatch.setattr("resource.getrlimit", lambda which: (1024, 20_000))
    assert split(clients, None) == processes


def test_a_process_holds_so_many_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says how many processes it takes; where the system allows fewer files, more are started."""
    monkeypatch.setattr("resource.getrlimit", lambda which: (1024, 20_000))
    with pytest.raises(
        BadSetting, match=r"^--processes 1: each would hold 40,000 sockets, .* 18,000; take at least 3$"
    ):
        split(40_000, 1)
    monkeypatch.setattr("resource.getrlimit", lambda which: (256, 1024))
    assert split(5_000, None) == 6
