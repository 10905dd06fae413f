"""One broadcast to a whole room: how long until the last member has it, the recipe's way and ours, by turns.

Same twin, same sockets, same `@connections`. Ours begins with a member's message and goes all the way: gateway, message
function, DynamoDB, SQS, worker. The recipe's begins in its worker, which is handed the frame: what lies before is left
out, in its favour.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domain.events import Chat, encode_event
from loadtest.bench.audience import Audience
from loadtest.bench.errors import BenchError
from loadtest.bench.stage import ANSWER_WITHIN, RECIPE_SECONDS, start_stage
from loadtest.children import Peer
from loadtest.plan import reserve_sockets
from loadtest.run import Watch
from loadtest.status import wait_until_idle

__all__ = ["RoomRow", "measure_room"]

ARRIVES_WITHIN = 60.0
"""Seconds for our own broadcast to reach the last member."""
PATIENCE = 30.0
"""Seconds of the recipe's broadcasts in all, after which they are not repeated any more."""
LATENCIES_MS = (0, 10)
ROOM = "bench"
UNCAPPED = "bulk.post_rate=0"
"""A lane's cap is a share of an account's quota, which would be all that a large room's broadcast measured."""


@dataclass(frozen=True, slots=True)
class RoomRow:
    """Medians of one broadcast to so many members, whose posts take `latency_ms` ± as much."""

    members: int
    latency_ms: int
    recipe_ms: float
    roomcast_ms: float

    @classmethod
    def of(cls, members: int, latency_ms: int, recipe: Sequence[float], ours: Sequence[float]) -> RoomRow:
        """The medians of what was timed, in milliseconds."""
        return cls(members, latency_ms, statistics.median(recipe), statistics.median(ours))

    @property
    def ratio(self) -> float:
        return self.recipe_ms / self.roomcast_ms


async def measure_room(*, sizes: Sequence[int], repetitions: int, folder: Path, watch: Watch) -> list[RoomRow]:
    """A row for each size and each of `LATENCIES_MS`: the room grows from size to size. Raises `BenchError`."""
    reserve_sockets(max(sizes))
    async with start_stage(folder, UNCAPPED) as (peer, url):
        audience = Audience(url, ROOM)
        try:
            return await _Room(url, peer, audience, watch).measure(sorted(sizes), repetitions)
        finally:
            await audience.leave()


class _Room:
    def __init__(self, url: str, stage: Peer, audience: Audience, watch: Watch) -> None:
        self._url = url
        self._stage = stage
        self._audience = audience
        self._watch = watch
        self._numbers = itertools.count(1)

    async def measure(self, sizes: Sequence[int], repetitions: int) -> list[RoomRow]:
        rows: list[RoomRow] = []
        steps = len(sizes) * len(LATENCIES_MS)
        self._watch("room", 0, steps)
        for members in sizes:
            await self._grow(members)
            if not rows:  # environments that are cold would pay for their clients
                await self._by_turns(1)
            for latency in LATENCIES_MS:
                await self._stage.ask(ANSWER_WITHIN, latency_ms=latency)
                rows.append(RoomRow.of(members, latency, *await self._by_turns(repetitions)))
                self._watch("room", len(rows), steps)
            await self._stage.ask(ANSWER_WITHIN, latency_ms=0)
        return rows

    async def _grow(self, members: int) -> None:
        await self._audience.grow(members)
        await self._stage.ask(ANSWER_WITHIN, seat=ROOM)
        await self._rest()  # the welcomes, and whatever else an arrival brings
        enrolled = (await self._stage.ask(ANSWER_WITHIN, enrol=ROOM))["members"]
        if enrolled != members:
            raise BenchError(f"{members} members have joined and the room has {enrolled}")

    async def _by_turns(self, repetitions: int) -> tuple[list[float], list[float]]:
        """Milliseconds of the recipe's broadcasts and of ours."""
        recipe: list[float] = []
        ours: list[float] = []
        for _ in range(repetitions):
            if sum(recipe) < PATIENCE * 1000:
                recipe.append(await self._time(self._recipe))
            ours.append(await self._time(self._ours))
            await self._rest()  # the worker has its own end to write down
        return recipe, ours

    async def _rest(self) -> None:
        status = await wait_until_idle(self._url)
        if status is None or status.working:
            raise BenchError("the twin did not come to rest; measure on a machine that is less busy")

    async def _time(self, broadcast: Callable[[str, asyncio.Future[float]], Coroutine[Any, Any, None]]) -> float:
        text = f"broadcast {next(self._numbers):06d} of the bench, as long as what people say in a room usually is"
        last = self._audience.hear(text)
        begun = time.perf_counter()
        await broadcast(text, last)
        return (last.result() - begun) * 1000

    async def _ours(self, text: str, last: asyncio.Future[float]) -> None:
        self._audience.say(text)
        await self._all_arrives(last, ARRIVES_WITHIN)

    async def _recipe(self, text: str, last: asyncio.Future[float]) -> None:
        await self._stage.ask(RECIPE_SECONDS, broadcast=ROOM, data=_frame(text))
        await self._all_arrives(last, ANSWER_WITHIN)

    async def _all_arrives(self, last: asyncio.Future[float], within: float) -> None:
        try:
            async with asyncio.timeout(within):
                await last
        except TimeoutError:
            raise BenchError(f"{self._audience.missing} members did not get a broadcast within {within:g} s") from None


def _frame(text: str) -> str:
    """The frame that the recipe's worker is handed: the same event as ours."""
    event = Chat(
        message_id="0" * 32,
        room_id=ROOM,
        sender_id="bench-0",
        sender_name="bench-0",
        message=text,
        timestamp=0,
        sent_at=0,
        epoch=0,
        seq=0,
    )
    return encode_event(event).decode()
