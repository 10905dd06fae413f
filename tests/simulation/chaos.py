"""What goes wrong: every call of an environment may be refused, fail after its effect, lie still, or be its last."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from domain.errors import RoomcastError, Unavailable

__all__ = ["LONGEST_PAUSE", "Chaos", "Environment", "Faulty", "Rates"]

PAUSES = (2.5, 20.0)
"""Seconds that an environment lies still: longer than a received message stays hidden, or real faults stay hidden."""
LONGEST_PAUSE = PAUSES[1]
TRAILS = (0.05, 5.0)
"""Seconds by which an effect is late."""


@dataclass(frozen=True, slots=True)
class Rates:
    """How often something goes wrong: the probability for each call of a port, or post, unless it says otherwise."""

    latency: float = 0.004
    """Seconds that a call takes on average."""
    throttle: float = 0
    """Refused, without an effect."""
    ambiguous: float = 0
    """Done, and said to have failed."""
    trailing: float = 0
    """Said to have failed, and done seconds later, whatever has happened meanwhile."""
    kill: float = 0
    pause: float = 0
    post_refused: float = 0
    """403 or 5xx."""
    post_throttled: float = 0
    """429."""
    post_hangs: float = 0
    """No answer in time; half of these arrive all the same."""
    duplicate: float = 0
    """Of each message to a standard queue."""
    lost_disconnect: float = 0
    """Of each socket's end."""
    late: float = 0
    """Of each message to a standard queue: seconds later than it should be seen."""


class Chaos:
    """The faults of one schedule, drawn from its seed, until it is told to heal."""

    def __init__(self, rates: Rates, draw: random.Random, note: Callable[..., None]) -> None:
        self.rates = rates
        self.draw = draw
        self.note = note
        self.active = True
        self.kills = self.pauses = 0
        self.trailed = 0
        self._trailing: set[asyncio.Task[None]] = set()

    def heal(self) -> None:
        """Nothing goes wrong from now on; what lies still does so to its end."""
        self.active = False
        self.rates = Rates(latency=self.rates.latency)

    def trails(self) -> bool:
        """Whether a call's effect comes later than its caller waits."""
        return self.active and self.rates.trailing > 0 and self.draw.random() < self.rates.trailing

    def trail(self, effect: Coroutine[Any, Any, Any]) -> None:
        """Bring it about later."""

        async def come() -> None:
            await asyncio.sleep(seconds)
            with suppress(RoomcastError):
                await effect

        self.trailed += 1
        seconds = self.draw.uniform(*TRAILS)
        task = asyncio.get_running_loop().create_task(come())
        self._trailing.add(task)
        task.add_done_callback(self._trailing.discard)

    async def answer(self) -> None:
        """The time that a service takes."""
        await asyncio.sleep(self.draw.expovariate(1 / self.rates.latency))


class Environment:
    """An environment of a function while it works one event. Its tasks end together, and lie still together."""

    def __init__(self, name: str, chaos: Chaos, timeout: float) -> None:
        """`timeout`: seconds until it is cut off."""
        self.name = name
        self.task: asyncio.Task[Any] | None = None
        self.chaos = chaos
        self._loop = asyncio.get_running_loop()
        self._end = self._loop.time() + timeout
        self._cut = self._loop.call_at(self._end, self.kill)
        self._frozen_until = 0.0

    def time_left(self) -> float:
        """Seconds until it is cut off, as its code is told."""
        return self._end - self._loop.time()

    async def run(self, work: Awaitable[Any]) -> tuple[bool, Any]:
        """(whether it lived to the end, its result)."""
        self.task = asyncio.ensure_future(work)
        await asyncio.wait([self.task])
        self._cut.cancel()
        if self.task.cancelled():
            return False, None
        return True, self.task.result()

    def kill(self) -> None:
        """As kill -9 does: nothing in it goes on."""
        if self.task is not None:
            self.task.cancel()

    async def before(self, call: str, fails: bool) -> None:
        """A call is about to be made; `fails`: to a service that may refuse it."""
        chaos = self.chaos
        if chaos.active:
            rates = chaos.rates
            drawn = chaos.draw.random()
            if drawn < rates.kill + rates.pause:
                await self._strike(call, drawn < rates.kill)
            elif fails and drawn < rates.kill + rates.pause + rates.throttle:
                chaos.note("refused", self.name, call)
                await chaos.answer()
                raise Unavailable("throttled")
        await self._thaw()

    async def after(self, call: str, fails: bool) -> None:
        """A call has taken effect; its answer is on its way."""
        chaos = self.chaos
        if chaos.active:
            rates = chaos.rates
            drawn = chaos.draw.random()
            if drawn < rates.kill + rates.pause:
                await self._strike(call, drawn < rates.kill)
            elif fails and drawn < rates.kill + rates.pause + rates.ambiguous:
                chaos.note("ambiguous", self.name, call)
                raise Unavailable("no answer")
        await self._thaw()

    async def _strike(self, call: str, deadly: bool) -> None:
        chaos = self.chaos
        if deadly:
            chaos.kills += 1
            chaos.note("killed", self.name, call)
            self.kill()
            await self._loop.create_future()
        chaos.pauses += 1
        seconds = chaos.draw.uniform(*PAUSES)
        chaos.note("lies still", self.name, call, round(seconds, 1))
        self._frozen_until = max(self._frozen_until, self._loop.time() + seconds)
        # Its clock stands still as well, or it learns at once that its time is over.
        if chaos.draw.random() < 0.5:
            self._end += seconds
        self._cut.cancel()
        self._cut = self._loop.call_at(max(self._end, self._frozen_until + 1), self.kill)

    async def _thaw(self) -> None:
        while self._frozen_until > self._loop.time():  # noqa: ASYNC110 — it may be struck again meanwhile
            await asyncio.sleep(self._frozen_until - self._loop.time())


class Faulty:
    """A port as an environment sees it: `port` behind that environment's faults."""

    def __init__(self, port: Any, environment: Environment, *, fails: bool = True) -> None:
        """`fails`: whether its calls may raise `Unavailable`."""
        self._port = port
        self._fails = fails
        self._environment = environment

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        environment, fails = self._environment, self._fails

        async def call(*args: Any, **named: Any) -> Any:
            await environment.before(name, fails)
            if fails and environment.chaos.trails():
                environment.chaos.note("trails", environment.name, name)
                environment.chaos.trail(method(*args, **named))
                raise Unavailable("no answer in time")
            result = await method(*args, **named)
            await environment.after(name, fails)
            return result

        self.__dict__[name] = call
        return call
