"""When a run may end: not before every answered message was asked for by its place in the log."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest

from loadtest.drain import Drain
from loadtest.plan import Plan


class Crew:
    """Two processes whose answers are written down; `asked` is what they were asked."""

    def __init__(self, rounds: Sequence[Sequence[dict[str, Any]]]) -> None:
        self.asked: list[Any] = []
        self._rounds = iter(rounds)

    async def ask(self, what: str, **request: Any) -> list[dict[str, Any]]:
        self.asked.append(request["heads"])
        return list(next(self._rounds))


def says(missing: int = 0, under_way: int = 0, arrived_ago: float = 0.0, **heads: tuple[int, int]) -> dict[str, Any]:
    last_arrival = time.monotonic() - arrived_ago
    return {"missing": missing, "under_way": under_way, "heads": heads, "last_arrival": last_arrival}


async def drained(*rounds: Sequence[dict[str, Any]]) -> tuple[bool, list[Any]]:
    """(whether all has arrived, what the processes were asked)."""
    crew = Crew(rounds)

    async def look() -> None:
        pass

    drain = Drain(crew, Plan("ws://h"), look, lambda phase, done, total: None, twin=False)
    return await drain.all_arrives(limit=60), crew.asked


async def test_an_answer_that_comes_last_is_asked_for() -> None:
    """A process that has its last answer only now, and one that waits for what was answered there."""
    all_arrived, asked = await drained(
        [says(den=(1, 4), under_way=1), says(den=(1, 5))],
        [says(den=(1, 6)), says(den=(1, 5))],
        [says(den=(1, 6)), says(den=(1, 5), missing=1)],
        [says(den=(1, 6)), says(den=(1, 5))],
    )
    assert (all_arrived, asked) == (True, [{}, {"den": (1, 5)}, {"den": (1, 6)}, {"den": (1, 6)}])


@pytest.mark.parametrize(("arrived_ago", "rounds"), [(6.0, 2), (0.0, 3)])
async def test_what_does_not_come_is_given_up_after_a_while(arrived_ago: float, rounds: int) -> None:
    """Once nothing has come for 5 s, and not sooner."""
    waiting = [says(den=(1, 5), missing=1, arrived_ago=arrived_ago)]
    all_arrived, asked = await drained(*[waiting] * (rounds - 1), [says(den=(1, 5), missing=1, arrived_ago=6.0)])
    assert (all_arrived, len(asked)) == (False, rounds)
