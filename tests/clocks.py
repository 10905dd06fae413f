"""Clocks for tests in which real tasks and sockets wait: two hours pass within seconds, and nobody sleeps for them."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from contextlib import suppress

from domain.ports import Clock

__all__ = ["LeapingClock", "SteppedClock"]


class SteppedClock(Clock):
    """Time that passes only when told to. Whoever sleeps waits until then."""

    def __init__(self, now: int = 1_700_000_000_000) -> None:
        self._start = now
        self._passed = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    def now(self) -> int:
        return self._start + round(self.monotonic() * 1000)

    def monotonic(self) -> float:
        return self._passed

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.monotonic() + seconds, next(self._numbers), woken))
        self._wake()
        await woken

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass, and wake all whose time has come: they run when the caller next awaits something."""
        self._passed += seconds
        self._wake()

    def _wake(self) -> None:
        while self._sleepers and self._sleepers[0][0] <= self.monotonic():
            woken = heapq.heappop(self._sleepers)[2]
            if not woken.done():  # a sleeper that was cancelled
                woken.set_result(None)


class LeapingClock(SteppedClock):
    """Time that runs as it does, and leaps when told to."""

    def __init__(self, now: int = 1_700_000_000_000) -> None:
        super().__init__(now)
        self._begun = time.monotonic()

    def monotonic(self) -> float:
        return self._passed + time.monotonic() - self._begun

    async def sleep(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await super().sleep(seconds)
