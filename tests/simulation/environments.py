"""The worker environments of all lanes, over queues in memory and in virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial

from adapters.memory import MemoryQueue
from domain.lanes import Lane
from domain.ports import Connections, Ports
from pipeline.batch import Worker
from pipeline.known import KnownMembers
from pipeline.pacing import Pace
from pipeline.worker import read_record

__all__ = ["POLL", "Environments"]

POLL = 0.1
"""Seconds between two looks into an empty lane."""


class Environments:
    """As many environments of each lane as the table says, each with a pace and members of its own."""

    def __init__(self, ports: Ports, queue: MemoryQueue, connections: Connections, lanes: Mapping[str, Lane]) -> None:
        self.counts: Counter[str] = Counter()
        """`LANE METRIC` → number; `LANE failed` are the messages that had to come again."""
        self.causes: list[Exception] = []
        """Why they had to."""
        self._ports = ports
        self._queue = queue
        self._connections = connections
        self._lanes = lanes

    @asynccontextmanager
    async def work(self) -> AsyncIterator[None]:
        """Work the lanes until the block ends."""
        async with asyncio.TaskGroup() as group:
            environments = [
                group.create_task(self._poll(lane))
                for lane in self._lanes.values()
                for _ in range(lane.max_concurrency)
            ]
            yield
            for it in environments:
                it.cancel()

    async def drain(self) -> None:
        """Wait until the lanes are empty."""
        while any(self._queue.depth(it) for it in self._lanes):
            await self._ports.clock.sleep(POLL)

    async def _poll(self, lane: Lane) -> None:
        clock = self._ports.clock
        pace, known = Pace(lane.post_rate), KnownMembers()
        while True:
            received = await self._queue.receive(lane.name, lane.batch_size)
            if not received:
                await clock.sleep(POLL)
                continue
            batch = [read_record(it) for it in received]
            end = clock.monotonic() + lane.timeout
            worker = Worker(self._ports, self._connections, lane, pace, known)
            worked = await worker.work(batch, partial(self._left_until, end))
            assert clock.monotonic() < end, f"{lane.name}: the function was cut off"
            self.causes += worked.causes
            failed = {it.receipt for it in worked.failed}
            for it in batch:
                if it.receipt not in failed:
                    await self._queue.delete(lane.name, it.receipt)
            self.counts.update({f"{lane.name} {name}": count for name, count in worker.counts.items()})
            self.counts[f"{lane.name} failed"] += len(failed)

    def _left_until(self, end: float) -> float:
        return end - self._ports.clock.monotonic()
