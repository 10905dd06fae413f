"""The real use cases and worker over the memory adapters: a whole service in one process, on a clock of its own."""

from __future__ import annotations

import json
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from adapters.memory import (
    ManualClock,
    MemoryConnections,
    MemoryMarks,
    MemoryNotices,
    MemoryPublisher,
    MemoryQueue,
    MemoryReceivers,
    MemoryStatuses,
    MemoryStore,
    MemoryWebhooks,
)
from adapters.roster import AnnouncingRoster
from domain.lanes import LANES, Lane
from domain.ports import Ports
from domain.rates import Rate, RateLimiter
from domain.rooms import Dialect, Rules
from pipeline.batch import Worker
from pipeline.known import KnownMembers
from pipeline.worker import read_record
from services.caller import Caller
from services.requests import answer
from services.sessions import connect, disconnect

__all__ = ["World"]


class World:
    """Connections by name, requests as dicts, and a pump that works the queues until they are empty."""

    def __init__(
        self,
        seed: int = 0,
        roster_limit: int = 50,
        shard_limit: int = 1_000,
        *,
        trace: bool = False,
        max_members: int = 0,
        notices: bool = True,
        max_connections_per_user: int = 100,
        rates: Mapping[str, Rate] = MappingProxyType({}),
        **lane_settings: Any,
    ) -> None:
        self.clock = ManualClock()
        self.lanes = {name: Lane(name, lane.fifo, **lane_settings) for name, lane in LANES.items()}
        self.store = MemoryStore()
        self.queue = MemoryQueue(self.clock, self.lanes, random.Random(seed))
        self.sockets = MemoryConnections()
        self.topic = MemoryPublisher()
        self.rules = Rules(
            roster_limit=roster_limit,
            shard_limit=shard_limit,
            trace=trace,
            max_members=max_members,
            max_connections_per_user=max_connections_per_user,
            notices=notices,
        )
        self.statuses = MemoryStatuses(self.store)
        self.webhooks = MemoryWebhooks(self.store)
        self.receivers = MemoryReceivers()
        roster = AnnouncingRoster(self.store, self.statuses, self.queue, self.clock, self.rules)
        self.ports = Ports(
            self.store,
            self.queue,
            roster,
            self.clock,
            self.rules,
            random.Random(seed),
            RateLimiter(rates),
            marks=MemoryMarks(),
            notices=MemoryNotices(),
            publisher=self.topic,
            statuses=self.statuses,
            webhooks=self.webhooks,
            receivers=self.receivers,
        )
        self.callers: dict[str, Caller] = {}
        self.time_left = 10.0
        self.counts: dict[str, int] = {}
        self.known = {it: KnownMembers() for it in self.lanes}

    async def connect(
        self,
        name: str,
        room: str = "general",
        dialect: Dialect = "v1",
        user: str | None = None,
        groups: Collection[str] = (),
        token_expires_at: int | None = None,
    ) -> Caller:
        """A client `name` connects; its connection id is its name."""
        caller = Caller(
            connection=name,
            user=user or name,
            name=name.title(),
            request_id=f"connect-{name}",
            groups=frozenset(groups),
            token_expires_at=token_expires_at,
        )
        await connect(self.ports, caller, room, dialect)
        self.sockets.open(name)
        self.callers[name] = caller
        return caller

    async def disconnect(self, name: str) -> None:
        self.sockets.drop(name)
        await disconnect(self.ports, name)

    async def ask(self, name: str, request: dict[str, Any] | str) -> dict[str, Any]:
        """The event that answers a request of the client."""
        caller = replace(self.callers[name], request_id=f"{self.ports.draw.getrandbits(64):x}")
        frame = request if isinstance(request, str) else json.dumps(request)
        reply: dict[str, Any] = json.loads((await answer(self.ports, self.sockets, caller, frame)).frame or "{}")
        return reply

    async def say(self, name: str, message: str, room: str = "general") -> dict[str, Any]:
        """Send a chat message, expecting its ack."""
        reply = await self.ask(name, {"type": "chat", "roomId": room, "message": message})
        assert reply["type"] == "ack", reply
        data: dict[str, Any] = reply["data"]
        return data

    async def work_once(self, lane: str) -> list[str] | None:
        """One batch of the lane, as the event source does it; the ids that failed, None if nothing was visible."""
        records = await self.queue.receive(lane, self.lanes[lane].batch_size)
        if not records:
            return None
        failed = await self.work(lane, records)
        for it in records:
            if it["messageId"] not in failed:
                await self.queue.delete(lane, it["receiptHandle"])
        return failed

    async def work(self, lane: str, records: Sequence[dict[str, Any]]) -> list[str]:
        worker = Worker(self.ports, self.sockets, self.lanes[lane], known=self.known[lane])
        end = self.clock.monotonic() + self.time_left
        batch = [read_record(it) for it in records]
        worked = await worker.work(batch, lambda: end - self.clock.monotonic())
        for name, count in worker.counts.items():
            self.counts[name] = self.counts.get(name, 0) + count
        return [it.id for it in worked.failed]

    async def pump(self, seconds: float = 0, step: float = 1.0) -> None:
        """Work all lanes until nothing is visible; with `seconds`, let that much time pass on the way."""
        end = self.clock.monotonic() + seconds
        while True:
            for lane in self.lanes:
                while await self.work_once(lane) is not None:
                    pass
            if self.clock.monotonic() >= end:
                return
            self.clock.advance(step)

    def events(self, name: str, *types: str) -> list[dict[str, Any]]:
        """What the client's socket got, batches unpacked; of the given types only, if any."""
        events: list[dict[str, Any]] = []
        for frame in self.sockets.received[name]:
            event = json.loads(frame)
            events += event["data"]["events"] if event["type"] == "batch" else [event]
        return [it for it in events if not types or it["type"] in types]

    def messages(self, name: str) -> list[str]:
        """The texts of the chat messages that the client got, as they came."""
        return [it["data"]["message"] for it in self.events(name, "chat")]
