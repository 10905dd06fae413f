"""The dashboard of a real `roomcast up`: what is done to the twin shows within two seconds, and what is turned matters.

Two seconds are what is promised, so here a time is asserted: that between two things that the dashboard and a client
saw, never how long the service took.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from client.connection import Connection, connect
from client.errors import RequestRefused, Unreachable
from domain.events import Chat
from loadtest.plan import Plan
from loadtest.run import run
from ops.trial import own_twin
from tests.unit.local.processes import is_running, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

WITHIN_MS = 2_000
LATE_MS = 1_000
"""A delivery that took longer is one of a throttled service."""
CLIENTS = 12

State = dict[str, Any]


class Desk:
    """Who sits at the dashboard: every state that was shown, and what may be pressed."""

    def __init__(self, http: aiohttp.ClientSession, ws: str, page: str) -> None:
        self.ws = ws
        self.states: list[State] = []
        self._http = http
        self._page = page

    async def post(self, path: str, **body: object) -> dict[str, Any]:
        async with self._http.post(f"{self._page}dashboard/{path}", json=body) as answer:
            told: dict[str, Any] = await answer.json()
            assert answer.status == 200, told
            return told

    async def twin(self) -> dict[str, Any]:
        """What the twin says of itself in full."""
        async with self._http.get(f"{self._page}twin") as answer:
            told: dict[str, Any] = await answer.json()
            return told

    async def shows(self, what: Callable[[State], object], since: int = 0) -> State:
        """The first state since then that has it."""
        await until(lambda: any(it["at"] >= since and what(it) for it in self.states), 90)
        return next(it for it in self.states if it["at"] >= since and what(it))

    async def watch(self) -> None:
        async with self._http.get(f"{self._page}dashboard/live", timeout=aiohttp.ClientTimeout()) as answer:
            async for line in answer.content:
                if line.startswith(b"data: "):
                    self.states.append(json.loads(line[6:]))


@asynccontextmanager
async def open_desk() -> AsyncIterator[Desk]:
    """A twin of its own, with somebody at its dashboard."""
    twin = own_twin([])
    ws = await asyncio.to_thread(twin.__enter__)
    try:
        async with aiohttp.ClientSession() as http:
            async with http.get(ws.replace("ws", "http", 1).rpartition("/")[0] + "/twin") as answer:
                page = (await answer.json())["page"]
            desk = Desk(http, ws, page)
            watching = asyncio.create_task(desk.watch())
            try:
                await desk.shows(lambda state: True)
                yield desk
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
    finally:
        await asyncio.to_thread(twin.__exit__, None, None, None)


class Hall:
    """Clients that chat in a room without end, and remember when each message came and how late."""

    def __init__(self) -> None:
        self.arrivals: list[tuple[int, int]] = []
        """(when, how late), in milliseconds."""

    @property
    def last_late(self) -> int:
        """When the last message came that was late."""
        return max((at for at, late in self.arrivals if late > LATE_MS), default=0)

    async def listen(self, me: Connection) -> None:
        async for event in me.events():
            if isinstance(event, Chat):
                now = now_ms()
                self.arrivals.append((now, now - event.sent_at))

    async def speak(self, me: Connection) -> None:
        while True:
            with suppress(RequestRefused, Unreachable):
                await me.send("hall", "and another thing")
            await asyncio.sleep(1)


@asynccontextmanager
async def open_hall(url: str) -> AsyncIterator[Hall]:
    hall = Hall()
    tasks = []
    people = [connect(url, user=f"user-{it}", room="hall") for it in range(CLIENTS)]
    for it in people:
        await it.__aenter__()
        tasks += [asyncio.create_task(hall.listen(it)), asyncio.create_task(hall.speak(it))]
    try:
        await until(lambda: len(hall.arrivals) > 3 * CLIENTS)
        yield hall
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(it.__aexit__(None, None, None) for it in people), return_exceptions=True)


def now_ms() -> int:
    return round(time.time() * 1000)


def has(kind: str) -> Callable[[State], bool]:
    return lambda state: any(it["kind"] == kind for it in state["happenings"])


async def test_what_is_broken_shows_within_two_seconds() -> None:
    """A killed worker, a throttled gateway, and that the latency has recovered."""
    async with open_desk() as desk, open_hall(desk.ws) as hall:
        await desk.shows(lambda state: state["lanes"]["interactive"]["workers"]["up"])
        asked = now_ms()
        pid = (await desk.post("kill", lane="interactive"))["pid"]
        killed = now_ms()
        shown = await desk.shows(has("worker_killed"), asked)
        assert shown["at"] - asked <= WITHIN_MS
        assert str(pid) in shown["happenings"][-1]["text"] or str(pid) in shown["happenings"][-2]["text"]
        await until(lambda: not is_running(pid))
        assert pid not in (await desk.twin())["functions"]["interactive"]["pids"]
        # What it had in hand comes again after the visibility time: until then nothing is posted that could be refused.
        await until(lambda: any(at - late > killed for at, late in hall.arrivals), 60)
        await desk.shows(lambda state: state["latency_ms"]["count"], killed)

        asked = now_ms()
        await desk.post("throttle", rate=5)
        shown = await desk.shows(lambda state: state["account"]["rate"] == 5 and state["posts"]["throttled"], asked)
        assert shown["at"] - asked <= WITHIN_MS
        assert has("throttled")(shown)
        await until(lambda: hall.last_late > asked, 60)
        late = await desk.shows(lambda state: (state["latency_ms"]["p99"] or 0) > LATE_MS, asked)

        asked = now_ms()
        await desk.post("throttle", rate=None)
        shown = await desk.shows(lambda state: state["account"]["rate"] == state["account"]["usual_rate"], asked)
        assert shown["at"] - asked <= WITHIN_MS
        await until(lambda: now_ms() - max(hall.last_late, asked) > 2 * WITHIN_MS, 90)
        well = max(hall.last_late, asked)
        recovered = await desk.shows(
            lambda state: state["latency_ms"]["count"] and state["latency_ms"]["p99"] <= LATE_MS, well
        )
        assert recovered["at"] - well <= WITHIN_MS
        assert late["latency_ms"]["p99"] > recovered["latency_ms"]["p99"]


async def test_a_slider_changes_what_frames_carry() -> None:
    """A worker that may post less often than its room asks for packs more into each frame, and back again."""
    async with open_desk() as desk:
        assert await desk.post("clients", count=100, rooms=1, rate=5) == {"count": 100}
        await desk.shows(lambda state: state["connections"] >= 100 and state["entries_per_frame"])
        plain = await settled(desk)
        asked = now_ms()
        lane = (await desk.post("lanes/interactive", post_rate=30))["lane"]
        assert lane["post_rate"] == 30
        packed = await desk.shows(lambda state: (state["entries_per_frame"] or 0) > 3 * plain, asked)
        assert packed["settings"]["interactive"]["post_rate"] == 30
        asked = now_ms()
        await desk.post("lanes/interactive", post_rate=0)
        await desk.shows(
            lambda state: state["entries_per_frame"] and state["entries_per_frame"] < packed["entries_per_frame"] / 2,
            asked,
        )


async def settled(desk: Desk) -> float:
    """Entries per frame once nobody comes any more: the least of the next four states that have any."""
    since = now_ms()

    def told() -> list[float]:
        return [it["entries_per_frame"] for it in desk.states if it["at"] > since and it["entries_per_frame"]]

    await until(lambda: len(told()) >= 4, 60)
    return min(told())


async def test_turning_knobs_loses_nothing() -> None:
    """Under a load whose every message is audited: nothing lost, nothing given to a worker twice, no worker broken."""
    turns: list[dict[str, float]] = [
        {"post_concurrency": 8, "batch_size": 3},
        {"max_concurrency": 5},
        {"post_rate": 400, "timeout": 8},
        {"max_concurrency": 1, "visibility": 20},
        {"max_concurrency": 3, "post_deadline": 0.7},
        {"post_rate": 0, "batch_size": 10, "max_receives": 4},
    ]
    async with open_desk() as desk:
        plan = Plan(desk.ws, clients=30, rooms=5, rate=20, seconds=8)
        load = asyncio.create_task(run(plan))
        await desk.shows(lambda state: state["entries_per_frame"])
        done = 0
        while not load.done():
            for changes in turns:
                await desk.post("lanes/interactive", **changes)
                done += 1
        report = await load
        twin = await desk.twin()
    assert done >= len(turns)
    assert not report.audit.violated
    assert report.audit.received == report.audit.expected > 0
    assert (twin["sqs"]["failed_batches"], twin["sqs"]["dead"]) == (0, 0)
    assert twin["sqs"]["received"] == twin["sqs"]["deleted"]
    assert {name: it["crashes"] for name, it in twin["functions"].items() if it["crashes"]} == {}
    assert twin["settings"]["lanes"]["interactive"]["max_concurrency"] == 3


def visitors_of(ws: str) -> list[int]:
    """The processes of simulated clients at a URL."""
    found = []
    for it in Path("/proc").iterdir():
        with suppress(OSError):
            if it.name.isdigit() and f"loadtest.visitors\0{ws}\0".encode() in (it / "cmdline").read_bytes():
                found.append(int(it.name))
    return found


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().partition("PPid:")[2].split()[0])


async def test_simulated_clients_come_and_go() -> None:
    """Each stays in its rooms, those that are cut come back, and none outlives being sent away."""
    async with open_desk() as desk:
        told = await asyncio.gather(
            desk.post("clients", count=20, rooms=2, rate=4), desk.post("clients", count=10, rooms=1, rate=2)
        )
        assert max(it["count"] for it in told) == 30
        state = await desk.shows(lambda state: state["connections"] == 30 and len(state["room_list"]) == 3)
        assert state["clients"] == 30
        await desk.shows(lambda state: sum(it["members"] or 0 for it in state["room_list"]) == 30)
        cut = now_ms()
        assert await desk.post("drop", count=25) == {"dropped": 25}
        await desk.shows(lambda state: state["connections"] < 30, cut)
        await desk.shows(lambda state: state["connections"] == 30, cut + 1_000)
        [pid] = visitors_of(desk.ws)
        assert await desk.post("clients", count=0) == {"count": 0}
        await desk.shows(lambda state: (state["connections"], state["clients"]) == (0, 0))
        assert not is_running(pid)


async def test_simulated_clients_do_not_outlive_a_killed_twin() -> None:
    """However it ends."""
    async with open_desk() as desk:
        await desk.post("clients", count=5)
        [pid] = visitors_of(desk.ws)
        os.kill(parent_of(pid), signal.SIGKILL)
        await until(lambda: not is_running(pid))
