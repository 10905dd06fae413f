"""The simulation from the command line: many schedules, the mutants, or one schedule's history.

python -m tests.simulation run --schedules 20000
python -m tests.simulation mutants
python -m tests.simulation show 4711 --workload joins
"""

from __future__ import annotations

import functools
import os
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tests.simulation.hunts import collect_rarely, hunt, run_chunk
from tests.simulation.mutants import MUTANTS
from tests.simulation.runs import run, shrink
from tests.simulation.schedules import WORKLOADS, draw_schedule

CHUNK = 50
"""Schedules that a process takes at once."""
EVERY = 10.0
"""Seconds between two lines of progress."""

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
console = Console()
Jobs = Annotated[int, typer.Option(help="Processes.", min=1)]
Workload = Annotated[str | None, typer.Option(help=f"Only this of {', '.join(WORKLOADS)}.")]
CORES = os.cpu_count() or 1


@app.command("run")
def run_many(
    schedules: Annotated[int, typer.Option(help="How many.", min=1)] = 20_000,
    first: Annotated[int, typer.Option(help="The first seed.", min=0)] = 0,
    workload: Workload = None,
    jobs: Jobs = CORES,
) -> None:
    """Run schedules of consecutive seeds, and check the invariants after each. Exit status 1 where one is violated."""
    _check(workload)
    starts = range(first, first + schedules, CHUNK)
    todo = [range(it, min(it + CHUNK, first + schedules)) for it in starts]
    began = said = time.monotonic()
    done, cpu, failed, counts = 0, 0.0, list[tuple[int, str, str]](), Counter[str]()
    with ProcessPoolExecutor(jobs, initializer=collect_rarely) as pool:
        for chunk in pool.map(functools.partial(run_chunk, workload=workload), todo):
            done, cpu, failed = done + chunk.schedules, cpu + chunk.cpu_seconds, failed + chunk.failed
            for seed, name, what in chunk.failed:
                console.print(f"  {seed} {name}: {what}", highlight=False, soft_wrap=True)
            counts += chunk.counts
            if time.monotonic() - said >= EVERY:
                said = time.monotonic()
                console.print(f"{done:,} of {schedules:,} schedules, {len(failed)} violated", highlight=False)
    faults = ", ".join(f"{counts[it]:,} {it}" for it in ("kills", "pauses"))
    posts = sum(count for name, count in counts.items() if name.endswith("PostsDelivered"))
    console.print(
        f"seeds {first} to {first + schedules - 1}: {done:,} schedules, {len(failed)} violated; {faults},"
        f" {posts:,} posts delivered; {time.monotonic() - began:.0f} s, {done / cpu:.0f} schedules a second and core",
        highlight=False,
        soft_wrap=True,
    )
    if failed:
        seed, name, _ = min(failed)
        console.print(f"see: python -m tests.simulation show {seed} --workload '{name}'", highlight=False)
        raise typer.Exit(1)


@app.command()
def mutants(
    schedules: Annotated[int, typer.Option(help="Tried at most for each.", min=1)] = 10_000,
    only: Annotated[str, typer.Option(help="Mutants whose name holds this.")] = "",
    jobs: Jobs = CORES,
) -> None:
    """Take away one safeguard after the other, and count the schedules until an invariant is violated that it keeps.
    Exit status 1 where one survives."""
    wanted = [it for it, mutant in enumerate(MUTANTS) if only in mutant.name]
    table = Table("without this safeguard", "found by", "schedules", "seed", "what was found")
    survivors = 0
    with ProcessPoolExecutor(jobs, initializer=collect_rarely) as pool:
        for number, kill in zip(wanted, pool.map(functools.partial(hunt, schedules=schedules), wanted), strict=True):
            survivors += kill is None
            found = ("[red]survives[/]", f"> {schedules}", "", "") if kill is None else kill
            table.add_row(MUTANTS[number].name, *found)
    console.print(table)
    console.print(f"{len(wanted)} mutants, {survivors} survive", highlight=False)
    if survivors or not wanted:
        raise typer.Exit(1)


@app.command()
def show(
    seed: Annotated[int, typer.Argument(help="Of the schedule.")],
    workload: Workload = None,
    whole: Annotated[bool, typer.Option("--whole", help="As it was drawn, not the smallest that fails.")] = False,
) -> None:
    """One schedule's history; of one that fails, of the smallest that fails likewise."""
    _check(workload)
    outcome = run(draw_schedule(seed, workload))
    if outcome.violations and not whole:
        outcome = shrink(outcome)
    for note in outcome.notes:
        console.print(f"{note[0]:8.3f}  {' '.join(str(it) for it in note[1:])}", highlight=False, markup=False)
    console.print(outcome.schedule.rates, highlight=False)
    for action in outcome.schedule.actions:
        console.print(str(action), highlight=False)
    for violation in outcome.violations:
        console.print(f"violated: {violation}", highlight=False, markup=False)
    console.print(f"digest {outcome.digest}", highlight=False)
    if outcome.violations:
        raise typer.Exit(1)


def _check(workload: str | None) -> None:
    if workload is not None and workload not in WORKLOADS:
        raise typer.BadParameter(f"there is no '{workload}'; there are {', '.join(WORKLOADS)}", param_hint="--workload")


if __name__ == "__main__":
    app()
