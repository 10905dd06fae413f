"""Time that passes when told to."""

from __future__ import annotations

import asyncio

from domain.ports import Clock

__all__ = ["ManualClock"]


class ManualClock(Clock):
    """Time that passes only when told to, or when somebody sleeps.

    `sleep` moves the time on at once and gives way to other tasks, so nothing ever really waits; tasks that sleep
    side by side add their times up.
    """

    def __init__(self, now: int = 1_700_000_000_000) -> None:
        self._start = now
        self._passed = 0.0

    def now(self) -> int:
        return self._start + round(self._passed * 1000)

    def monotonic(self) -> float:
        return self._passed

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self._passed += max(0.0, seconds)
