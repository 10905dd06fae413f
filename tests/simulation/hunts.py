"""Many schedules in one process: for violations, with all safeguards or with one less."""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tests.simulation.mutants import MUTANTS, Mutant, applied
from tests.simulation.runs import Outcome, run
from tests.simulation.schedules import draw_schedule

__all__ = ["Chunk", "collect_rarely", "hunt", "run_chunk"]


@dataclass(frozen=True, slots=True)
class Chunk:
    """What came of some schedules in one process."""

    schedules: int
    failed: list[tuple[int, str, str]]
    """(seed, workload, what is violated)."""
    counts: Counter[str]
    cpu_seconds: float


def collect_rarely() -> None:
    """Let this process look for garbage rarely, and never among what it was made of: a twentieth of its time."""
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


def run_chunk(seeds: range, workload: str | None) -> Chunk:
    """Some schedules, one after the other."""
    began, failed, counts = time.process_time(), list[tuple[int, str, str]](), Counter[str]()
    for seed in seeds:
        outcome = run(draw_schedule(seed, workload))
        counts += outcome.counts
        if outcome.violations:
            failed.append((seed, outcome.schedule.workload, str(outcome.violations[0])))
    return Chunk(len(seeds), failed, counts, time.process_time() - began)


def hunt(number: int, schedules: int) -> tuple[str, str, str, str] | None:
    """(invariant, schedules that it took, seed and workload, violation) of a mutant; None if it survives."""
    for tried, outcome in enumerate(_outcomes(MUTANTS[number], schedules), 1):
        for it in outcome.violations:
            if it.invariant in MUTANTS[number].found_by:
                seed = f"{outcome.schedule.seed} {outcome.schedule.workload}"
                return (it.invariant, f"{tried}", seed, it.what)
    return None


def _outcomes(mutant: Mutant, schedules: int) -> Iterator[Outcome]:
    """What comes of the first schedules of its workloads, in turn, without the safeguard; only of those that nothing is
    found in with it."""
    for seed in range(1, schedules + 1):
        schedule = draw_schedule(seed, mutant.workloads[seed % len(mutant.workloads)])
        with applied(mutant):
            outcome = run(schedule)
        if (outcome.violations and not run(schedule).violations) or not outcome.violations:
            yield outcome
