"""An event loop whose time passes only when everybody waits: minutes of it cost what is done in them."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from domain.ports import Clock

__all__ = ["VirtualClock", "jitter", "run_virtually"]

T = TypeVar("T")


class _VirtualLoop(asyncio.BaseEventLoop):
    """Leaps to the next timer where another loop would wait for sockets."""

    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self) -> None:
        super().__init__()
        self._passed = 0.0

    def time(self) -> float:
        return self._passed

    def _run_once(self) -> None:
        """One turn, in the order of the base's own, and without what only real time and sockets need."""
        ready, scheduled = self._ready, self._scheduled
        while scheduled and scheduled[0].cancelled():
            heapq.heappop(scheduled)
        if not ready:
            if not scheduled:
                raise RuntimeError("every task waits for something that cannot come")
            self._passed = max(self._passed, scheduled[0].when())
        while scheduled and scheduled[0].when() <= self._passed:
            ready.append(heapq.heappop(scheduled))
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None: ...

    def _write_to_self(self) -> None: ...


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end on a loop of its own, in virtual time."""
    with asyncio.Runner(loop_factory=_VirtualLoop) as runner:
        return runner.run(main)


class VirtualClock(Clock):
    """The running loop's time."""

    def __init__(self, now: int = 1_700_000_000_000) -> None:
        self._start = now
        self._loop = asyncio.get_running_loop()

    def now(self) -> int:
        return self._start + round(self._loop.time() * 1000)

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def jitter(draw: random.Random, low: float, high: float) -> Callable[[], Coroutine[Any, Any, None]]:
    """A wait of `low` to `high` seconds, drawn anew each time."""

    async def wait() -> None:
        await asyncio.sleep(draw.uniform(low, high))

    return wait
