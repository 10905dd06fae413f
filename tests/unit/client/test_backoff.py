"""The pauses, entrances and end of a reconnect."""

from __future__ import annotations

import random

import pytest

from client.backoff import PAUSE, PAUSE_LIMIT, Backoff


def longest_pauses(backoff: Backoff, tries: int) -> list[float]:
    """What `backoff` waits at most, before each of so many tries."""
    return [backoff.pause() for _ in range(tries)]


@pytest.fixture
def latest() -> random.Random:
    """Chance that always takes its time."""
    draw = random.Random()
    draw.uniform = lambda a, b: b  # type: ignore[method-assign]
    return draw


def test_pauses_double_up_to_a_limit(latest: random.Random) -> None:
    """From half a second to thirty."""
    assert longest_pauses(Backoff(["general"], latest), 8) == [PAUSE, 1, 2, 4, 8, 16, PAUSE_LIMIT, PAUSE_LIMIT]


def test_an_outage_of_a_day_is_outlasted(latest: random.Random) -> None:
    """However often nobody answers, the next pause is one like the last."""
    assert longest_pauses(Backoff(["general"], latest), 5_000)[-1] == PAUSE_LIMIT


def test_pauses_are_spread() -> None:
    """Clients that lost their sockets together don't come back together: evenly over all of the pause."""
    draw = random.Random(1)
    pauses = sorted(longest_pauses(Backoff(["general"], draw), 10)[-1] for _ in range(1_000))
    for tenth in range(10):
        assert pauses[100 * tenth + 50] == pytest.approx(PAUSE_LIMIT * (tenth + 0.5) / 10, abs=2)


def test_a_closed_room_is_passed_by(latest: random.Random) -> None:
    """403 at one room: the next is named after a short pause. At the last one there is nothing left to try."""
    backoff = Backoff(["den", "attic"], latest)
    longest_pauses(backoff, 5)
    assert backoff.room == "den"
    assert backoff.refused(403)
    assert backoff.room == "attic"
    assert backoff.pause() == PAUSE
    assert not backoff.refused(403)


@pytest.mark.parametrize(
    ("status", "again"), [(400, False), (401, False), (404, False)] + [(it, True) for it in (429, 500, 502, 503, 504)]
)
def test_what_a_refusal_means(latest: random.Random, status: int, again: bool) -> None:
    """A service that is short of breath is asked again, through the same room; one that does not want us is not."""
    backoff = Backoff(["den", "attic"], latest)
    assert backoff.refused(status) is again
    assert backoff.room == "den"
