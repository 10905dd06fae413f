"""An event loop whose time passes only when everybody waits: minutes of it cost what is done in them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from domain.ports import Clock

__all__ = ["VirtualClock", "jitter", "run_virtually"]

T = TypeVar("T")


class _VirtualLoop(asyncio.BaseEventLoop):
    """Leaps to the next timer where another loop would wait for sockets. It is its own selector: it has none."""

    def __init__(self) -> None:
        super().__init__()
        self._passed = 0.0
        self._selector = self

    def time(self) -> float:
        return self._passed

    def select(self, timeout: float | None) -> list[object]:
        if timeout is None:
            raise RuntimeError("every task waits for something that cannot come")
        self._passed += max(0.0, timeout)
        return []

    def _process_events(self, events: list[object]) -> None: ...

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
