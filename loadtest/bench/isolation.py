"""What small rooms notice of a large one: their latency, alone and beside a room that broadcasts without pause.

All on one twin. What an account's quota is on AWS, is here the machine: it takes half as many posts a second, so the
large rooms' lane has half the cap.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from loadtest.bench.audience import Audience
from loadtest.bench.packing import RAMP, clean
from loadtest.bench.stage import ANSWER_WITHIN, start_stage
from loadtest.plan import Plan, reserve_sockets
from loadtest.run import Watch, run

__all__ = ["Isolation", "measure_isolation"]

LARGE = "large"
SMALL_MEMBERS = 6
BULK_CAP = "bulk.post_rate=750"
"""Posts a second and worker; 1,500 on AWS."""
WARM_SECONDS = 5.0
"""For which the small rooms talk before they are measured, so that no environment's start is."""
BEAT_SECONDS = 0.5
"""Between two messages to the large room: by far less than one takes."""


@dataclass(frozen=True, slots=True)
class Isolation:
    """Times are of deliveries in the small rooms, from when a message was due."""

    members: int
    """Of the large room."""
    rooms: int
    alone_p50_ms: float
    alone_p99_ms: float
    beside_p50_ms: float
    beside_p99_ms: float
    large_posts_per_s: float
    """What the large room was posted meanwhile."""

    @property
    def ratio(self) -> float:
        """How many times longer the slowest hundredth takes beside the large room."""
        return self.beside_p99_ms / self.alone_p99_ms


async def measure_isolation(*, members: int, rooms: int, seconds: float, folder: Path, watch: Watch) -> Isolation:
    """One message a second in each of so many small rooms, for so long, twice. Raises `BenchError`."""
    clients = rooms * SMALL_MEMBERS
    reserve_sockets(members + clients)
    async with start_stage(folder, BULK_CAP) as (stage, url):
        audience = Audience(url, LARGE)
        try:
            await audience.grow(members)
            await stage.ask(ANSWER_WITHIN, seat=LARGE)

            async def serve_small_rooms(name: str, lasting: float = seconds) -> tuple[float, float]:
                plan = Plan(url, clients=clients, rooms=rooms, rate=rooms, seconds=lasting, ramp=RAMP)
                report = clean(await run(plan, lambda phase, done, total: watch(f"{name}: {phase}", done, total)))
                latency = report.as_json()["latency_ms"]
                return latency["p50"], latency["p99"]

            await serve_small_rooms("isolation, warming up", WARM_SECONDS)
            alone = await serve_small_rooms("isolation, alone")
            async with _broadcasting(audience):
                heard, begun = audience.heard, asyncio.get_running_loop().time()
                beside = await serve_small_rooms("isolation, beside")
                lasted = asyncio.get_running_loop().time() - begun
                posts = (audience.heard - heard) / lasted
        finally:
            await audience.leave()
    return Isolation(members, rooms, *alone, *beside, posts)


@asynccontextmanager
async def _broadcasting(audience: Audience) -> AsyncIterator[None]:
    async def speak() -> None:
        for number in itertools.count():
            audience.say(f"message {number} to a large room, as long as what people say in a room usually is")
            await asyncio.sleep(BEAT_SECONDS)

    speaking = asyncio.create_task(speak())
    try:
        yield
    finally:
        speaking.cancel()
        with suppress(asyncio.CancelledError):
            await speaking
