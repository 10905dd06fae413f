"""The twin as a whole: how it starts and ends. What it does is the other suites' matter."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest

from domain.errors import BadSetting
from domain.lanes import LANES
from local.functions import FunctionError
from local.gateway import listen
from local.schedule import scheduled_event
from local.twin import Twin
from tests.unit.local.processes import children, environments, is_running, until


async def test_it_tells_what_it_does_and_leaves_nothing(tmp_path: Path) -> None:
    """Both ports answer `/twin` with the same picture, the tick works, and no process is left when it has stopped."""
    before = children()
    async with Twin(state=tmp_path, workers=1) as twin, aiohttp.ClientSession() as http:
        pictures = []
        for base in (twin.endpoints()["page"], twin.ws_url.replace("ws://", "http://").removesuffix("dev")):
            async with http.get(f"{base}twin") as answer:
                pictures.append(await answer.json())
        for it in pictures:
            assert {name: it[name] for name in twin.endpoints()} == twin.endpoints()
            assert set(it["functions"]) == {
                "authorizer",
                "connect",
                "disconnect",
                "incoming",
                "message",
                "publish",
                "tick",
                *LANES,
            }
            assert set(it["queues"]) == set(LANES)
            assert it["posts"] == {"sent": 0, "gone": 0, "throttled": 0, "failed": 0}
            assert it["sqs"]["sent"] == it["sqs"]["dead"] == 0
        # The tick starts with its first minute, which may be now, and `publish` with its first call.
        pids = {pid for name, it in pictures[0]["functions"].items() if name != "tick" for pid in it["pids"]}
        assert len(pids) == 4 + len(LANES)
        assert pids < environments()
        assert await twin.functions["tick"].invoke(scheduled_event("tick", 0)) == {"ended": 0}
    assert children() == before
    await until(lambda: not any(map(is_running, pids)))


async def test_a_taken_port_is_named(tmp_path: Path) -> None:
    """The error says which port, and nothing was started."""
    before = children()
    with listen(0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadSetting, match=str(port)):
            await Twin(state=tmp_path, port=port, ws_port=0).start()
    assert children() == before


@pytest.mark.parametrize("started", [1, 4])
async def test_a_stop_halfway_through_the_start_leaves_nothing(tmp_path: Path, started: int) -> None:
    """While the emulator starts, and while functions do."""
    before = children()
    twin = Twin(state=tmp_path)
    starting = asyncio.create_task(twin.start())
    await until(lambda: len(environments() - before) >= started)
    born = environments() - before
    await twin.stop()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert children() == before
    await until(lambda: not any(is_running(it) for it in born))
    await twin.stop()


async def test_a_handler_that_cannot_be_imported_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the function, and everything that had started has ended."""
    monkeypatch.setattr("local.twin.WORKER", "pipeline.no_such_worker:handler")
    before = children()
    with pytest.raises(FunctionError, match="no_such_worker"):
        await Twin(state=tmp_path).start()
    assert children() == before
