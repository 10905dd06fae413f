"""The search for settings, on a synthetic service whose best setting is known and whose measurements are noisy."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from domain.errors import BadSetting
from ops.search import Figure, Objective, Point, Search, Trial, pareto

GRID = {
    "batch_size": (1.0, 5.0, 10.0),
    "post_concurrency": (1.0, 4.0, 16.0, 64.0, 256.0),
    "max_concurrency": (1.0, 2.0, 4.0),
}
FIRST = (10.0, 64.0, 2.0)
POINTS = list(itertools.product(*GRID.values()))


def true_p99(point: Point) -> float:
    """Posting is best at 16 side by side, and worse by twice for each step away from it; the others matter less."""
    batch, posts, workers = point
    return 100 * 2 ** abs(math.log(posts / 16, 4)) * (1.3 if batch == 1 else 1) * (1.2 if workers == 1 else 1)


def measured(point: Point, draw: random.Random, noise: float = 0.1) -> Figure:
    """p99 within a tenth or so, rarely three times as much; the slower, the more is packed and the less it costs."""
    slow_minute = 3 if draw.random() < 0.05 else 1
    p99 = true_p99(point) * draw.uniform(1 - noise, 1 + noise) * slow_minute
    return Figure(p99, 50 / true_p99(point) * draw.uniform(0.99, 1.01))


def searched(objective: str, seed: int, trials: int = 16, repeats: int = 3, noise: float = 0.1) -> Search:
    draw = random.Random(1_000 + seed)
    search = Search(GRID, Objective.parse(objective), trials=trials, repeats=repeats, seed=seed, first=FIRST)
    for point in search.points():
        search.tell(point, measured(point, draw, noise))
    return search


@pytest.mark.parametrize("seed", range(20))
def test_it_finds_what_holds_the_limit_whatever_the_seed(seed: int) -> None:
    """With a third of the grid tried: only the middle of five post concurrencies is that fast."""
    best = searched("p99=150", seed).best()
    assert best is not None
    assert best.point[1] == 16
    assert len(best.figures) == 3


@pytest.mark.parametrize("seed", range(10))
def test_it_beats_the_worst_of_the_grid_by_far(seed: int) -> None:
    """The best is at least twice as fast as the slowest that was tried, which is an end of the grid."""
    search = searched("p99=1", seed)
    best = search.best()
    assert best is not None
    assert max(it.p99 for it in search.trials.values()) > 2 * best.p99
    assert {POINTS[0], POINTS[-1], FIRST} <= set(search.trials)


def test_by_cost_alone_the_slowest_wins_here() -> None:
    """What packs most is cheapest: posts far too few or far too many."""
    best = searched("cost", 0, trials=45).best()
    assert best is not None
    assert best.point[1] in {1, 256}


def test_the_same_seed_takes_the_same_way() -> None:
    """So that a search can be told and done again."""
    assert list(searched("p99=150", 7).trials) == list(searched("p99=150", 7).trials)
    assert list(searched("p99=150", 7).trials) != list(searched("p99=150", 8).trials)


@pytest.mark.parametrize(("trials", "repeats", "most"), [(1, 1, 1), (1, 3, 3), (4, 2, 7), (16, 3, 25), (16, 1, 16)])
def test_it_keeps_to_its_trials(trials: int, repeats: int, most: int) -> None:
    """So many points, and the best of them again until each has its repeats."""
    search = searched("p99=150", 0, trials=trials, repeats=repeats)
    assert len(search.trials) == trials
    assert max(len(it.figures) for it in search.trials.values()) == repeats
    assert sum(len(it.figures) for it in search.trials.values()) <= most


def test_a_small_grid_is_taken_whole() -> None:
    """And no point twice before all are known."""
    search = searched("p99=150", 0, trials=100, repeats=1)
    assert sorted(search.trials) == POINTS
    assert next(iter(search.trials)) == FIRST


def test_every_value_comes_up_in_the_opening() -> None:
    """The draw of the first half covers each setting, so that no value is missed by chance."""
    search = Search(GRID, Objective(150), trials=20, repeats=1, seed=3, first=FIRST)
    opening = []
    for point in itertools.islice(search.points(), 10):
        search.tell(point, measured(point, random.Random(0)))
        opening.append(point)
    for axis, values in enumerate(GRID.values()):
        assert {it[axis] for it in opening} == set(values)


def test_after_the_opening_it_goes_on_beside_the_best() -> None:
    """One step in one setting."""
    search = Search(GRID, Objective(1), trials=20, repeats=1, seed=3, first=FIRST)
    for number, point in enumerate(search.points()):
        if number == 10:
            best = search.ranked()[0].point
            differing = [axis for axis in range(3) if best[axis] != point[axis]]
            assert len(differing) == 1
            values = list(GRID.values())[differing[0]]
            assert abs(values.index(best[differing[0]]) - values.index(point[differing[0]])) == 1
        search.tell(point, measured(point, random.Random(number)))


@pytest.mark.parametrize("trials", [20, 45])
def test_points_that_contradict_themselves_are_left_out(trials: int) -> None:
    """Nobody is asked to measure what the service refuses."""
    valid = {it for it in POINTS if it[0] <= it[1]}
    search = Search(GRID, Objective(150), trials=trials, repeats=1, seed=0, first=FIRST, valid=lambda it: it in valid)
    for point in search.points():
        search.tell(point, measured(point, random.Random(0)))
    assert valid.issuperset(search.trials)
    assert len(search.trials) == min(trials, len(valid))


def test_settings_with_a_fault_never_win() -> None:
    """A run that lost a message is out of the question, however cheap it was."""
    search = Search({"batch_size": (1.0, 5.0)}, Objective(None), trials=2, repeats=2, seed=0, first=(5.0,))
    for point in search.points():
        search.tell(point, Figure(9, 2) if point == (1.0,) else Figure(math.inf, math.inf, "lost"))
    best = search.best()
    assert best is not None
    assert best.point == (1.0,)
    assert pareto(search.trials.values()) == [best]


def test_one_lucky_measurement_does_not_win() -> None:
    """The best is one of those that were measured most often."""
    search = Search(GRID, Objective(None), trials=2, repeats=2, seed=0, first=FIRST)
    for point, cost in ((FIRST, 3), (FIRST, 3), (POINTS[0], 1)):
        search.tell(point, Figure(100, cost))
    best = search.best()
    assert best is not None
    assert best.point == FIRST


def test_one_slow_minute_does_not_decide() -> None:
    """The median of three is the better two's."""
    trial = Trial((1.0,), [Figure(100, 1), Figure(900, 3), Figure(110, 2)])
    assert (trial.p99, trial.cost) == (110, 2)


@pytest.mark.parametrize(
    ("limit", "better", "worse"),
    [
        (300, Figure(299, 9), Figure(301, 1)),
        (300, Figure(299, 1), Figure(10, 2)),
        (300, Figure(10, 1.02), Figure(299, 1.01)),
        (300, Figure(310, 9), Figure(400, 1)),
        (None, Figure(900, 1), Figure(10, 2)),
        (None, Figure(10, 1.02), Figure(900, 1.01)),
        (None, Figure(900, 9), Figure(math.inf, math.inf)),
    ],
)
def test_what_is_better(limit: float | None, better: Figure, worse: Figure) -> None:
    """The limit first, then the cost, and p99 among costs that noise could have put the other way."""
    rank = Objective(limit).rank
    assert rank(Trial((1.0,), [better])) < rank(Trial((2.0,), [worse]))


def test_the_pareto_front() -> None:
    """Those that none beats in both, the fastest first."""
    trials = [
        Trial((float(it),), [Figure(*figures)]) for it, figures in enumerate([(1, 9), (2, 9), (3, 4), (4, 5), (5, 1)])
    ]
    assert [it.point for it in pareto(trials)] == [(0.0,), (2.0,), (4.0,)]
    assert pareto([Trial((1.0,), [Figure(math.inf, math.inf, "lost")])]) == []


@pytest.mark.parametrize(
    "text", ["p99", "p99=", "p99=x", "p99=0", "p99=-1", "p99=inf", "p99=nan", "p50=3", "cost=1", ""]
)
def test_another_objective_is_refused(text: str) -> None:
    """By one sentence that names the option."""
    with pytest.raises(BadSetting, match="--objective"):
        Objective.parse(text)


@pytest.mark.parametrize(("values", "valid"), [(range(101), True), (range(1), False)])
def test_a_grid_that_is_too_large_or_empty_is_refused(values: range, valid: bool) -> None:
    """By one sentence that names the option."""
    with pytest.raises(BadSetting, match="--grid"):
        Search(
            {"a": values, "b": values}, Objective(1), trials=1, repeats=1, seed=0, first=(0, 0), valid=lambda _: valid
        )
