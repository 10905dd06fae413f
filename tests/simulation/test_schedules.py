"""Schedules under faults: no invariant is violated, the same seed tells the same story, and the check can fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.simulation.__main__ import app
from tests.simulation.history import Violation
from tests.simulation.hunts import hunt, run_chunk
from tests.simulation.mutants import MUTANTS, Mutant, applied
from tests.simulation.runs import run, shrink
from tests.simulation.schedules import WORKLOADS, draw_schedule

SCHEDULES = 2_000
PARTS = 8
QUICK = [
    it
    for it, mutant in enumerate(MUTANTS)
    if mutant.name in {"a repeat does not ring", "members are read before entries"}
]
QUICK_SCHEDULES = 200
TELL = "from tests.simulation.runs import run; from tests.simulation.schedules import draw_schedule as draw;"
TELL += "print(*(run(draw(it)).digest for it in range(len('{workloads}'.split(',')))))"


@pytest.mark.parametrize("part", range(PARTS))
def test_no_invariant_is_violated(part: int) -> None:
    """Of the first 2,000 seeds; `make simulate` runs more."""
    size = SCHEDULES // PARTS
    chunk = run_chunk(range(part * size, (part + 1) * size), None)
    assert chunk.schedules == size
    assert chunk.failed == []
    assert chunk.counts["kills"] > 0
    assert chunk.counts["pauses"] > 0


def test_the_same_seed_tells_the_same_story() -> None:
    """In every process, whatever its hashes are: a failure can be looked at."""
    here = " ".join(run(draw_schedule(seed)).digest for seed in range(len(WORKLOADS)))
    for hash_seed in ("1", "2"):
        told = subprocess.run(
            [sys.executable, "-c", TELL.format(workloads=",".join(WORKLOADS))],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            cwd=Path(__file__).parents[2],
            check=True,
            capture_output=True,
            text=True,
        )
        assert told.stdout.split() == here.split()


@pytest.mark.parametrize("number", QUICK, ids=lambda it: MUTANTS[it].name)
def test_a_safeguard_less_is_found(number: int) -> None:
    """Two of those that `make mutants` takes away."""
    assert hunt(number, QUICK_SCHEDULES) is not None


def test_a_failing_schedule_shrinks() -> None:
    """To a few actions, and the same invariant."""
    mutant = MUTANTS[QUICK[-1]]  # whose schedules fail often: what is left out changes the luck of the rest
    with applied(mutant):
        outcome = next(
            it for seed in range(1, QUICK_SCHEDULES) if (it := run(draw_schedule(seed, mutant.workloads[0]))).violations
        )
        smallest = shrink(outcome)
    assert len(smallest.schedule.actions) < len(outcome.schedule.actions) / 2
    assert {it.invariant for it in smallest.violations} & mutant.found_by
    assert all(isinstance(it, Violation) for it in smallest.violations)


def test_commands() -> None:
    """What `make simulate` and a look at one schedule print, and what a wrong name does."""
    runner = CliRunner()
    many = runner.invoke(app, ["run", "--schedules", "20", "--jobs", "1"])
    assert (many.exit_code, "seeds 0 to 19: 20 schedules, 0 violated" in many.output) == (0, True)
    one = runner.invoke(app, ["show", "3", "--workload", "joins"])
    assert (one.exit_code, f"digest {run(draw_schedule(3, 'joins')).digest}" in one.output) == (0, True)
    assert runner.invoke(app, ["run", "--workload", "dancing"]).exit_code == 2


def test_the_page_names_them_all() -> None:
    """Each workload and each mutant stands in docs/reliability.md, and no other does."""
    page = (Path(__file__).parents[2] / "docs/reliability.md").read_text()
    workloads = page.partition("| workload |")[2].partition("\n\n")[0]
    mutants = page.partition("| without this safeguard |")[2].partition("\n\n")[0]
    assert _firsts(workloads) == set(WORKLOADS)
    assert _firsts(mutants) == {it.name for it in MUTANTS}


def _firsts(table: str) -> set[str]:
    """What stands in the first column, below the head and the line under it."""
    return {line.split("|")[1].strip() for line in table.splitlines()[2:]}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda it: it.name)
def test_every_mutant_is_of_this_code(mutant: Mutant) -> None:
    """Its text is found, once, and what was edited is as before afterwards."""
    schedule = draw_schedule(1, "calm")
    before = run(schedule).digest
    with applied(mutant):
        pass
    assert run(schedule).digest == before
