"""What packing makes of a busy room: a load test on a twin of its own, through the whole service."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtest.bench.errors import BenchError
from loadtest.bench.stage import ANSWER_WITHIN, start_stage
from loadtest.plan import Plan
from loadtest.report import Report
from loadtest.run import Watch, run

__all__ = ["RAMP", "THROTTLE", "Packing", "clean", "measure_packing"]

RATE = 20.0
"""Messages a second into the one room."""
RAMP = 400.0
"""Connects a second."""
THROTTLE = 4_000.0
"""Requests a second of a gateway that does not grant a post for each delivery."""


@dataclass(frozen=True, slots=True)
class Packing:
    """What came of it. Times are of deliveries, from when a message was due."""

    members: int
    entries_per_post: float
    deliveries_per_s: float
    p50_ms: float
    p99_ms: float

    @classmethod
    def of(cls, report: Report) -> Packing:
        """Raises `BenchError` as `clean` does."""
        result: dict[str, Any] = clean(report).as_json()
        return cls(
            members=report.connected,
            entries_per_post=result["frames"]["entries_per_frame"],
            deliveries_per_s=result["deliveries"]["per_s"],
            p50_ms=result["latency_ms"]["p50"],
            p99_ms=result["latency_ms"]["p99"],
        )


def clean(report: Report) -> Report:
    """The report itself. Raises `BenchError` where the audit found anything, since what is lost costs nothing."""
    if report.proves_nothing or report.audit.violated:
        said = [*report.audit.findings, *report.warnings()][0]
        raise BenchError(f"the load test is not clean: {said}")
    return report


async def measure_packing(
    part: str, *, members: int, seconds: float, throttle: float | None, folder: Path, watch: Watch
) -> Packing:
    """`RATE` messages a second to so many members for so long, at a gateway that grants `throttle` requests a second.
    Raises `BenchError`."""
    async with start_stage(folder) as (stage, url):
        if throttle is not None:
            await stage.ask(ANSWER_WITHIN, rate=throttle, burst=throttle / 2)
        plan = Plan(url, clients=members, rooms=1, rate=RATE, seconds=seconds, ramp=RAMP)
        return Packing.of(await run(plan, lambda phase, done, total: watch(f"{part}: {phase}", done, total)))
