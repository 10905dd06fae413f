"""The lanes as the simulation has them: SQS in memory, with duplicates and delays, and pollers that need not poll."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from adapters.memory import MemoryQueue
from domain.errors import UnreadableJob
from domain.fanout import Doorbell, Remainder, Rung, parse_job
from domain.lanes import Lane
from domain.ports import Clock
from domain.rooms import ShardKey
from tests.simulation.chaos import Chaos

__all__ = ["SimulatedQueue"]


class SimulatedQueue(MemoryQueue):
    """Standard lanes deliver some messages twice, late, and out of order; whoever receives waits until there is one."""

    def __init__(self, clock: Clock, lanes: Mapping[str, Lane], chaos: Chaos) -> None:
        super().__init__(clock, lanes, chaos.draw)
        self._chaos = chaos
        self._loop = asyncio.get_running_loop()
        self.rung: dict[ShardKey, int] = {}
        """Shard → the highest seq that it was rung for."""
        self.deferred: set[str] = set()
        """Connections that a remainder was for, whatever the reason: a refused post, or no time left for it."""
        self._waiting: dict[str, list[asyncio.Future[None]]] = defaultdict(list)

    async def ring(self, lane: str, jobs: Sequence[Rung]) -> None:
        await super().ring(lane, jobs)
        for it in jobs:
            if isinstance(it, Doorbell):
                self.rung[it.key] = max(it.seq, self.rung.get(it.key, 0))

    async def defer(self, remainders: Sequence[Remainder]) -> None:
        await super().defer(remainders)
        self.deferred.update(connection for it in remainders for connection in it.connections)

    def put(self, lane: str, body: str, group: str, *, deduplication: str | None = None, delay: int = 0) -> None:
        chaos = self._chaos
        copies = 1
        if chaos.active and not self._lanes[lane].fifo:
            copies += chaos.draw.random() < chaos.rates.duplicate
            if chaos.rates.late:
                delay += round(chaos.draw.expovariate(1 / chaos.rates.late))
        for _ in range(copies):
            super().put(lane, body, group, deduplication=deduplication, delay=delay)
        if delay:
            self._loop.call_later(delay + 0.001, self._wake, lane)
        else:
            self._wake(lane)

    async def hide(self, lane: str, receipt: str, seconds: int) -> None:
        await super().hide(lane, receipt, seconds)
        self._loop.call_later(seconds + 0.001, self._wake, lane)

    async def receive(self, lane: str, batch_size: int) -> list[dict[str, Any]]:
        """As the memory's, but waits for a message."""
        while True:
            batch = await super().receive(lane, batch_size)
            if batch:
                # What is not deleted by then can be received again; so can what stood behind it in its group.
                self._loop.call_later(self._lanes[lane].visibility + 0.001, self._wake, lane)
                self._wake(lane)  # another group may be free
                if not self._lanes[lane].fifo:
                    self._chaos.draw.shuffle(batch)
                return batch
            waiting = self._loop.create_future()
            self._waiting[lane].append(waiting)
            await waiting

    async def delete(self, lane: str, receipt: str) -> None:
        await super().delete(lane, receipt)
        self._wake(lane)

    def redrive(self, lane: str) -> int:
        """Give dead letters back but for poison, each as a new message, as ops does; how many."""
        dead = [it for it in self._dead[lane] if _is_readable(it.body)]
        self._dead[lane] = [it for it in self._dead[lane] if not _is_readable(it.body)]
        for it in dead:
            self.put(lane, it.body, it.group, deduplication=None if it.deduplication is None else f"again#{it.id}")
        return len(dead)

    def _wake(self, lane: str) -> None:
        """One of those that wait: where it finds more than it takes, it wakes the next."""
        waiting = self._waiting[lane]
        if waiting:
            waiting.pop(0).set_result(None)


def _is_readable(body: str) -> bool:
    try:
        parse_job(body)
    except UnreadableJob:
        return False
    return True
