"""An event loop whose time passes only when everybody waits: minutes of it cost what is done in them."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any, TypeVar, TypeVarTuple, Unpack

from domain.ports import Clock

__all__ = ["VirtualClock", "jitter", "run_virtually"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _Call(asyncio.TimerHandle):
    """What is to be called, and when: a handle of asyncio's without what debugging needs, and without its parent's
    attributes."""

    __slots__ = ("arguments", "at", "callback", "context")

    def __init__(  # its parent's would set what nobody reads
        self, callback: Callable[..., object], arguments: tuple[Any, ...], context: Context | None, at: float
    ) -> None:
        self.callback: Callable[..., object] | None = callback
        self.arguments = arguments
        self.context = copy_context() if context is None else context
        self.at = at

    def when(self) -> float:
        return self.at

    def cancel(self) -> None:
        self.callback = None

    def cancelled(self) -> bool:
        return self.callback is None

    def run(self) -> None:
        if self.callback is not None:
            self.context.run(self.callback, *self.arguments)


class _VirtualLoop(asyncio.BaseEventLoop):
    """Leaps to the next timer where another loop would wait for sockets.

    Half of what a simulation does is to call and to wait: so its calls are its own, and its timers stand in the heap as
    (when, number, call), which compares without a line of Python. A callback that raises ends the simulation.
    """

    def __init__(self) -> None:
        super().__init__()
        self._passed = 0.0
        self._calls: deque[_Call] = deque()
        self._timers: list[tuple[float, int, _Call]] = []
        self._numbers = itertools.count()

    def time(self) -> float:
        return self._passed

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        call = _Call(callback, args, context, self._passed)
        self._calls.append(call)
        return call

    call_soon_threadsafe = call_soon

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        call = _Call(callback, args, context, when)
        heapq.heappush(self._timers, (when, next(self._numbers), call))
        return call

    def call_later(
        self, delay: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._passed + delay, callback, *args, context=context)

    def _run_once(self) -> None:
        """One turn, in the order of the base's own."""
        calls, timers = self._calls, self._timers
        while timers and timers[0][2].callback is None:
            heapq.heappop(timers)
        if not calls:
            if not timers:
                raise RuntimeError("every task waits for something that cannot come")
            self._passed = max(self._passed, timers[0][0])
        while timers and timers[0][0] <= self._passed:
            calls.append(heapq.heappop(timers)[2])
        for _ in range(len(calls)):
            calls.popleft().run()


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
