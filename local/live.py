"""What the twin is doing, told twice a second to whoever watches. While nobody does, nothing is measured."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from domain.lanes import Lane
from domain.ports import Clock
from local.census import Census
from local.cloud import Cloud, Depth
from local.event_source import EventSource
from local.functions import Function
from local.gateway import Gateway
from local.meter import Counts, Meter, Rates
from local.visitors import Visitors

__all__ = ["EVERY_SECONDS", "HAPPENINGS", "Live", "Watched"]

EVERY_SECONDS = 0.5
HAPPENINGS = 30
"""The newest that are told."""
BUSIEST = 10
"""Rooms that are told by name."""
DEPTH_SECONDS = 0.5
"""Between two questions to the queues."""
ROOMS_SECONDS = 2.0
"""Between two questions to the tables."""


class Watched(Protocol):
    """The twin, as far as the dashboard sees it."""

    functions: dict[str, Function]
    sources: dict[str, EventSource]
    gateway: Gateway
    cloud: Cloud

    @property
    def lanes(self) -> Mapping[str, Lane]: ...


class Live:
    """The figures, and what happened."""

    def __init__(self, twin: Watched, census: Census, visitors: Visitors, usual_rate: float, clock: Clock) -> None:
        self._twin = twin
        self._usual_rate = usual_rate
        self._census = census
        self._visitors = visitors
        self._clock = clock
        self._happenings: deque[dict[str, Any]] = deque(maxlen=HAPPENINGS)
        self._watchers = 0
        self._asking: list[asyncio.Task[None]] = []
        self._stopped = False
        self._busiest: list[str] = []
        self._begin()

    def happened(self, kind: str, text: str) -> None:
        """Remember it for whoever watches, now or later."""
        self._happenings.append({"at": self._clock.now(), "kind": kind, "text": text})

    async def watch(self) -> AsyncGenerator[dict[str, Any], None]:
        """The state of things, at once and twice a second until `stop`. Close the iterator when you turn away."""
        self._watchers += 1
        if self._watchers == 1:
            self._begin()
            self._twin.gateway.on_post = lambda frame: self._meter.post(frame, self._clock.now())
            # Apart from the watchers: an emulator that is slow must not keep them waiting.
            self._asking = [asyncio.create_task(it) for it in (self._ask_queues(), self._ask_rooms())]
        try:
            while not self._stopped:
                yield self.snapshot()
                await self._clock.sleep(EVERY_SECONDS)
        finally:
            self._watchers -= 1
            if not self._watchers:
                self._twin.gateway.on_post = None
                for it in self._asking:
                    it.cancel()

    def stop(self) -> None:
        """Have all watchers end, each at its next turn."""
        self._stopped = True

    def snapshot(self) -> dict[str, Any]:
        """The state of things, ready for JSON; docs/dashboard.md says what each figure is."""
        twin, gateway, now = self._twin, self._twin.gateway, self._clock.now()
        counts = self._meter.last(now)
        posts = self._posts.read(asdict(gateway.posts), now)
        rooms = Counter(
            {it: count for it, count in counts.rooms.items() if "#" not in it}
        )  # inboxes are nobody's to see
        self._busiest = [it for it, _ in rooms.most_common(BUSIEST)]
        rate, burst = gateway.account
        return {
            "at": now,
            "rooms": self._rooms,
            "room_list": [
                {"room": it, "members": self._members.get(it), "deliveries_per_s": counts.rooms[it]}
                for it in self._busiest
            ],
            "connections": gateway.open_connections,
            "clients": self._visitors.count,
            "deliveries_per_s": counts.entries,
            "posts_per_s": posts["sent"],
            "entries_per_frame": round(counts.entries / counts.frames, 2) if counts.frames else None,
            "latency_ms": _latency(counts),
            "posts": posts,
            "lanes": self._lanes(now),
            "settings": {name: asdict(it) for name, it in twin.lanes.items()},
            "account": {"rate": rate, "burst": burst, "usual_rate": self._usual_rate},
            "happenings": list(self._happenings),
        }

    # ---- private

    def _begin(self) -> None:
        """Forget what was measured before nobody watched."""
        self._meter, self._posts, self._batches = Meter(), Rates(), Rates()
        self._depths: Mapping[str, Depth] = {}
        self._rooms: int | None = None
        self._busiest = []
        self._members: Mapping[str, int] = {}
        self._crashes = self._count_crashes()

    def _lanes(self, now: int) -> dict[str, Any]:
        twin = self._twin
        self._tell_crashes()
        batches = self._batches.read({name: it.tally.batches for name, it in twin.sources.items()}, now)
        lanes: dict[str, Any] = {}
        for name, source in twin.sources.items():
            function, depth = twin.functions[name], self._depths.get(name, Depth(0, 0, 0, 0))
            pids = function.pids
            lanes[name] = {
                "waiting": depth.visible,
                "in_flight": depth.in_flight,
                "delayed": depth.delayed,
                "dead": depth.dead,
                "oldest_s": source.oldest(time.time()),
                "workers": {"up": len(pids), "busy": sum(pids.values()), "limit": function.max_concurrency},
                "crashes": function.tally.crashes,
                "timeouts": function.tally.timeouts,
                "failures": source.tally.failed_batches,
                "batches_per_s": batches[name],
            }
        return lanes

    def _count_crashes(self) -> dict[str, int]:
        return {name: it.tally.crashes for name, it in self._twin.functions.items()}

    def _tell_crashes(self) -> None:
        before, self._crashes = self._crashes, self._count_crashes()
        for name, count in self._crashes.items():
            died = count - before.get(name, 0)
            if died:
                self.happened("crash", f"{name}: {'a worker' if died == 1 else f'{died} workers'} died within a batch")

    async def _ask_queues(self) -> None:
        while True:
            with suppress(BotoCoreError, ClientError):  # an emulator that is away for a moment: the last answer stands
                self._depths = await self._twin.cloud.queue_depths()
            await self._clock.sleep(DEPTH_SECONDS)

    async def _ask_rooms(self) -> None:
        while True:
            with suppress(BotoCoreError, ClientError):
                self._rooms = await self._census.rooms()
                # A room that says nothing for a second is none of the busiest, and has its members still.
                self._members = {**self._members, **await self._census.members(self._busiest)}
            await self._clock.sleep(ROOMS_SECONDS)


def _latency(counts: Counts) -> dict[str, int | None]:
    return {"p50": counts.percentile(0.5), "p99": counts.percentile(0.99), "count": counts.entries}
