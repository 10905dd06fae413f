"""A room that wants more posts than its account grants: how much of that is used, and what is refused meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from loadtest.bench.errors import BenchError
from loadtest.bench.packing import RAMP, clean
from loadtest.bench.stage import ANSWER_WITHIN, start_stage
from loadtest.plan import Plan
from loadtest.run import Watch, run
from loadtest.status import read_status

__all__ = ["Limiter", "Reading", "measure_limiter"]

RATE = 1_000.0
BURST = 500.0
"""The gateway's throttle: requests a second, and its bucket."""
MESSAGES = 5.0
"""A second, into the one room: with 1,000 members, five times what is granted."""
BURST_OVER = 3.0
"""Seconds after which the bucket is empty and the pace is found."""
SAMPLE_SECONDS = 0.5


class Reading(NamedTuple):
    """The gateway's posts so far, at a time in seconds."""

    at: float
    sent: int
    throttled: int


@dataclass(frozen=True, slots=True)
class Limiter:
    """What came of it, from `BURST_OVER` seconds after the first message to the last."""

    members: int
    rate: float
    burst: float
    goodput: float
    """Posts that were taken, as a share of what was granted."""
    throttled_share: float
    """429s among all answers to posts."""
    entries_per_post: float
    p99_ms: float

    @classmethod
    def of(cls, readings: Sequence[Reading], members: int, entries_per_post: float, p99_ms: float) -> Limiter:
        """Raises `BenchError` where there is nothing between the first and the last reading."""
        if len(readings) < 2 or readings[-1].sent == readings[0].sent:
            raise BenchError("the gateway took no posts while the room was busy")
        first, last = readings[0], readings[-1]
        sent, throttled = last.sent - first.sent, last.throttled - first.throttled
        return cls(
            members=members,
            rate=RATE,
            burst=BURST,
            goodput=sent / (last.at - first.at) / RATE,
            throttled_share=throttled / (sent + throttled),
            entries_per_post=entries_per_post,
            p99_ms=p99_ms,
        )


async def measure_limiter(*, members: int, seconds: float, folder: Path, watch: Watch) -> Limiter:
    """`MESSAGES` a second to so many members for so long. Raises `BenchError`, also where anything is lost."""
    loop = asyncio.get_running_loop()
    readings: list[Reading] = []
    sending = asyncio.Event()
    async with start_stage(folder) as (stage, url):
        await stage.ask(ANSWER_WITHIN, rate=RATE, burst=BURST)

        def show(phase: str, done: int, total: int) -> None:
            if phase == "send":
                sending.set()
            watch(f"limiter: {phase}", done, total)

        async def read() -> None:
            await sending.wait()
            begun = loop.time()
            warm = min(BURST_OVER, seconds / 3)
            while (now := loop.time()) < begun + seconds:
                status = await read_status(url) if now > begun + warm else None
                if status is not None:
                    readings.append(Reading(now, status.count("posts", "sent"), status.count("posts", "throttled")))
                await asyncio.sleep(min(SAMPLE_SECONDS, warm))

        reading = asyncio.create_task(read())
        try:
            plan = Plan(url, clients=members, rooms=1, rate=MESSAGES, seconds=seconds, ramp=RAMP)
            report = clean(await run(plan, show))
        finally:
            reading.cancel()
            await asyncio.wait([reading])
    result = report.as_json()
    return Limiter.of(readings, report.connected, result["frames"]["entries_per_frame"], result["latency_ms"]["p99"])
