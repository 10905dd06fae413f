"""Searching a grid of settings, where a measurement is noisy and takes half a minute.

Few points, chosen well, count for more here than a model of what lies between them: first the settings as they are, the
ends of the grid, and a draw in which every value of every setting comes up; then steps from the best to its neighbours;
then the best third again and again, in turns, so that a slow minute of the machine hits them alike. What remains is
judged by medians. All choices are drawn from a seed.
"""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from domain.errors import BadSetting

__all__ = ["COST_STEP", "Figure", "Objective", "Point", "Search", "Trial", "pareto"]

Point = tuple[float, ...]
"""A value for each setting, in the grid's order."""

COST_STEP = 0.05
"""Costs that differ by less than this share count as equal, and p99 decides."""
GRID_LIMIT = 10_000
"""Points of a grid."""
FINALISTS = 3
"""At least so many are measured again."""
DRAWS = 1_000
"""Tries to draw points that are new: a small grid may have too few."""


@dataclass(frozen=True, slots=True)
class Figure:
    """What one measurement came to. Both are infinite where the run showed a fault."""

    p99: float
    """Milliseconds from the intended send to a member."""
    cost: float
    """US dollars for a million deliveries."""
    fault: str = ""
    """Why these settings are out of the question."""


@dataclass(slots=True)
class Trial:
    """A point and what was measured there, once or more often."""

    point: Point
    figures: list[Figure] = field(default_factory=list)

    @property
    def p99(self) -> float:
        """The median: one slow minute of the machine must not decide."""
        return statistics.median(it.p99 for it in self.figures)

    @property
    def cost(self) -> float:
        return statistics.median(it.cost for it in self.figures)


@dataclass(frozen=True, slots=True)
class Objective:
    """What is sought: the cheapest settings, of those that hold the limit if there is one."""

    limit: float | None
    """p99 in milliseconds at most; None where only the cost counts."""

    @classmethod
    def parse(cls, text: str) -> Objective:
        """`p99=MS` or `cost`. Raises `BadSetting`."""
        name, _, value = text.partition("=")
        if text == "cost":
            return cls(None)
        try:
            limit = float(value)
        except ValueError:
            limit = 0.0
        if name != "p99" or not 0 < limit < math.inf:
            raise BadSetting(f"--objective {text}: write p99=MS, e.g. p99=300, or cost")
        return cls(limit)

    def met(self, trial: Trial) -> bool:
        return trial.p99 < math.inf if self.limit is None else trial.p99 <= self.limit

    def rank(self, trial: Trial) -> tuple[float, float, float]:
        """The smaller, the better. Who does not hold the limit is judged by how far away it is."""
        if not self.met(trial):
            return 1, trial.p99, trial.cost
        return 0, round(math.log(max(trial.cost, 1e-9)) / math.log1p(COST_STEP)), trial.p99


class Search:
    """Which point to measure next, given what has been measured.

    for point in search.points():
        search.tell(point, measure(point))
    """

    def __init__(
        self,
        grid: Mapping[str, Sequence[float]],
        objective: Objective,
        *,
        trials: int,
        repeats: int,
        seed: int,
        first: Point,
        valid: Callable[[Point], bool] = lambda _: True,
    ) -> None:
        """`grid`: setting → its values, ascending. `first`: the settings as they are, measured first.

        Raises `BadSetting` for a grid of more than 10,000 points, or of none that is valid.
        """
        if math.prod(len(it) for it in grid.values()) > GRID_LIMIT:
            raise BadSetting(f"--grid: more than {GRID_LIMIT:,} points; name fewer values")
        self.trials: dict[Point, Trial] = {}
        """In the order in which they were first measured."""
        self._axes = [list(it) for it in grid.values()]
        self._points = [it for it in itertools.product(*self._axes) if valid(it)]
        if not self._points:
            raise BadSetting("--grid: none of its points is valid; batch_size above 10 needs a window of 1 or more")
        self._objective = objective
        self._trials = trials
        self._repeats = repeats
        self._first = first
        self._draw = random.Random(seed)

    def tell(self, point: Point, figure: Figure) -> None:
        """What was measured at the point."""
        self.trials.setdefault(point, Trial(point)).figures.append(figure)

    def points(self) -> Iterator[Point]:
        """The points to measure, one after the other; each must have been told before the next is asked for."""
        yield from itertools.islice(self._opening(), self._trials)
        while len(self.trials) < self._trials and (step := self._step()) is not None:
            yield step
        rivals = self.ranked()[: max(FINALISTS, math.ceil(len(self.trials) / 3))]
        for _ in range(1, self._repeats):
            for trial in rivals:
                yield trial.point
            rivals = self._sorted(rivals)[: max(2, math.ceil(len(rivals) / 2))]

    def ranked(self) -> list[Trial]:
        """All trials, the best first."""
        return self._sorted(self.trials.values())

    def best(self) -> Trial | None:
        """The best of those that were measured most often; None before the first."""
        most = max((len(it.figures) for it in self.trials.values()), default=0)
        return next((it for it in self.ranked() if len(it.figures) == most), None)

    # ---- private

    def _sorted(self, trials: Iterable[Trial]) -> list[Trial]:
        return sorted(trials, key=self._objective.rank)

    def _opening(self) -> Iterator[Point]:
        """Half of the trials, each point once."""
        seen = dict.fromkeys([self._first, self._points[0], self._points[-1]])
        yield from seen
        for point in itertools.islice(self._covering(), DRAWS):
            if len(seen) >= math.ceil(self._trials / 2):
                return
            if point not in seen:
                seen[point] = None
                yield point

    def _covering(self) -> Iterator[Point]:
        """Valid points without end, in which every value of every setting comes up as often as the others."""
        valid = set(self._points)
        longest = max(len(it) for it in self._axes)
        while True:
            columns = [itertools.cycle(self._draw.sample(axis, len(axis))) for axis in self._axes]
            for _ in range(longest):
                point = tuple(next(it) for it in columns)
                if point in valid:
                    yield point

    def _step(self) -> Point | None:
        """A new point one step away from the best that has one left; else any new one; None when all are known."""
        new = [it for it in self._points if it not in self.trials]
        for trial in self.ranked():
            beside = [it for it in new if self._adjacent(trial.point, it)]
            if beside:
                return self._draw.choice(beside)
        return self._draw.choice(new) if new else None

    def _adjacent(self, one: Point, other: Point) -> bool:
        """Whether they differ in one setting alone, and there by neighbouring values of the grid."""
        apart = [
            (axis, mine, theirs) for axis, mine, theirs in zip(self._axes, one, other, strict=True) if mine != theirs
        ]
        if len(apart) != 1:
            return False
        [(axis, mine, theirs)] = apart
        return mine in axis and abs(axis.index(mine) - axis.index(theirs)) == 1


def pareto(trials: Iterable[Trial]) -> list[Trial]:
    """Those that no other beats in p99 and in cost at once, the fastest first."""
    front: list[Trial] = []
    for trial in sorted(trials, key=lambda it: (it.p99, it.cost)):
        if trial.p99 < math.inf and (not front or trial.cost < front[-1].cost):
            front.append(trial)
    return front
