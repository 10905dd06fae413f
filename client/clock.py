"""The clock that a connection lives by, and an alarm on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

__all__ = ["Alarm", "Clock", "LoopClock"]


class Clock(Protocol):
    """Time, replaceable: with a clock of its own a test lets two hours pass within seconds."""

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean something."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""
        ...


class LoopClock:
    """The event loop's own time."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Alarm:
    """Calls `ring` at a time of a clock. It may ring before: whoever sets it looks at the clock."""

    def __init__(self, clock: Clock, ring: Callable[[], None]) -> None:
        self._clock = clock
        self._ring = ring
        self._at = 0.0
        self._waiting: asyncio.Task[None] | None = None

    def set(self, at: float | None) -> None:
        """Ring at `at` at the latest; None is never. What it was set to before is forgotten."""
        # One that rings too early costs less than a task for each frame.
        if at is None or (self._waiting is not None and self._at <= at):
            return
        self.cancel()
        self._at = at
        self._waiting = asyncio.create_task(self._wait(at))

    def cancel(self) -> None:
        """Don't ring."""
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    async def _wait(self, at: float) -> None:
        await self._clock.sleep(max(0.0, at - self._clock.monotonic()))
        self._waiting = None
        self._ring()
