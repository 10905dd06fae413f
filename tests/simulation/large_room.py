"""One room that fills while people write in it: the real use cases and workers over the memory adapters."""

from __future__ import annotations

import asyncio
import json
import random
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from adapters.memory import MemoryMarks, MemoryNotices, MemoryQueue, MemoryStatuses, MemoryStore, MemoryWebhooks
from adapters.roster import AnnouncingRoster
from domain.errors import RoomcastError
from domain.lanes import LANES, Lane
from domain.ports import Connections, Ports
from domain.rooms import Room, Rules, ShardKey
from services.caller import Caller
from services.requests import answer
from services.sessions import connect
from tests.simulation.environments import Environments
from tests.simulation.virtual_time import VirtualClock, jitter

__all__ = ["ROOM", "LargeRoom", "Scale", "Sockets"]

ROOM = "arena"
_WELCOME = b'{"type":"welcome"'


@dataclass(frozen=True, slots=True)
class Scale:
    """How large it is. Times are as they are; everything that is counted shrinks alike."""

    members: int
    shard_limit: int
    joins: float
    """A second."""
    messages: float
    """A second, while they join."""
    share: float
    """Of the lanes' usual post rates."""

    def lanes(self) -> dict[str, Lane]:
        return {name: replace(it, post_rate=it.post_rate * self.share) for name, it in LANES.items()}


class Sockets(Connections):
    """Open sockets that note which seqs of the room came, and take a few milliseconds for it."""

    def __init__(self, clock: VirtualClock, draw: random.Random) -> None:
        self.welcomed: dict[str, int] = {}
        """Connection → the head that its welcome named."""
        self.seqs: dict[str, list[tuple[int, int]]] = defaultdict(list)
        """Connection → (first, last) of what came without a gap, in the order in which it came."""
        self.posts = 0
        self.last_chat = 0.0
        self._clock = clock
        self._wait = jitter(draw, 0.002, 0.015)
        self._read: dict[bytes, tuple[int, int] | None] = {}

    async def post(self, connection: str, frame: bytes, deadline: float) -> None:
        await self._wait()
        self.posts += 1
        if _WELCOME in frame:
            self.welcomed[connection] = _events(frame)[0]["data"]["head"]
            return
        span = self._span(frame)
        if span is None:
            return
        self.last_chat = self._clock.monotonic()
        spans = self.seqs[connection]
        if spans and spans[-1][1] + 1 == span[0]:
            spans[-1] = (spans[-1][0], span[1])
        else:
            spans.append(span)

    async def close(self, connection: str) -> None:
        raise AssertionError("nobody is to be closed here")

    def missed(self, connection: str, head: int) -> set[int]:
        """The seqs up to `head` that a member was owed and did not get."""
        owed = set(range(self.welcomed[connection] + 1, head + 1))
        for first, last in self.seqs[connection]:
            owed.difference_update(range(first, last + 1))
        return owed

    def _span(self, frame: bytes) -> tuple[int, int] | None:
        """The seqs in a frame; many members get the same one, one after the other."""
        if frame not in self._read:
            if len(self._read) > 64:
                self._read.clear()
            seqs = [it["data"]["seq"] for it in _events(frame) if it["type"] == "chat"]
            assert seqs == list(range(seqs[0], seqs[0] + len(seqs))) if seqs else True
            self._read[frame] = (seqs[0], seqs[-1]) if seqs else None
        return self._read[frame]


class LargeRoom:
    """The service around the room. `fill` it, let its environments `drain` the queues, and look at what came."""

    def __init__(self, scale: Scale, seed: int = 0) -> None:
        draw = random.Random(seed)
        self.scale = scale
        self.clock = VirtualClock()
        self.lanes = scale.lanes()
        self.store = MemoryStore(jitter(draw, 0.001, 0.006))
        self.queue = MemoryQueue(self.clock, self.lanes, draw)
        self.sockets = Sockets(self.clock, draw)
        rules = Rules(shard_limit=scale.shard_limit, roster_limit=max(2, scale.shard_limit // 20))
        statuses = MemoryStatuses(self.store)
        roster = AnnouncingRoster(self.store, statuses, self.queue, self.clock, rules)
        marks, notices = MemoryMarks(jitter(draw, 0.001, 0.006)), MemoryNotices()
        self.ports = Ports(
            self.store,
            self.queue,
            roster,
            self.clock,
            rules,
            draw,
            marks=marks,
            notices=notices,
            statuses=statuses,
            webhooks=MemoryWebhooks(self.store),
        )
        self.environments = Environments(self.ports, self.queue, self.sockets, self.lanes)
        self.refused: list[Exception] = []
        self.members: list[str] = []
        self.acknowledged = 0
        self._draw = draw

    async def fill(self) -> None:
        """Let everybody join and some of them write, each on time, however long it takes."""
        async with asyncio.TaskGroup() as group:
            begun = self.clock.monotonic()
            seconds = self.scale.members / self.scale.joins

            async def join_all() -> None:
                for number in range(self.scale.members):
                    await self._until(begun + number / self.scale.joins)
                    group.create_task(self._join(f"m{number}"))

            async def write() -> None:
                for number in range(1, int(seconds * self.scale.messages)):
                    await self._until(begun + number / self.scale.messages)
                    group.create_task(self.say(f"message {number}"))

            group.create_task(join_all())
            group.create_task(write())

    async def say(self, message: str) -> None:
        """A member writes to the room, and tries again while it is busy."""
        name = self._draw.choice(self.members)
        request = {"roomId": ROOM, "message": message, "clientId": f"client-{self._draw.getrandbits(64):x}"}
        while True:
            caller = Caller(name, name, name, f"{self._draw.getrandbits(64):x}")
            reply = json.loads((await answer(self.ports, self.sockets, caller, json.dumps(request))).frame or "{}")
            if reply["type"] == "ack":
                self.acknowledged += 1
                return
            assert reply["data"]["code"] == "ROOM_BUSY", reply
            await self.clock.sleep(reply["data"]["retryAfter"])

    async def room(self) -> Room:
        found = await self.store.room(ROOM)
        assert found is not None
        return found

    async def shard_sizes(self) -> list[tuple[int, int]]:
        """For each shard: how many it counts, and how many member rows it has."""
        room = await self.room()
        keys = [ShardKey(ROOM, room.epoch, it) for it in range(room.shards)]
        counted = await self.store.shards(keys)
        return [(counted[it].members, len(await self.store.members(it))) for it in keys]

    async def _join(self, name: str) -> None:
        try:
            await connect(self.ports, Caller(name, name, name, name), ROOM, "v1")
        except RoomcastError as error:
            self.refused.append(error)
        else:
            self.members.append(name)

    async def _until(self, then: float) -> None:
        await self.clock.sleep(then - self.clock.monotonic())


def _events(frame: bytes) -> list[dict[str, Any]]:
    event = msgspec.json.decode(frame)
    return event["data"]["events"] if event["type"] == "batch" else [event]
