"""How lanes carry a load: cases whose answer can be worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from domain.lanes import LANES
from ops.bills import ROUND_SECONDS, RoomShape
from ops.packing import LATE_JOB_SECONDS, LATENCY, Group, gathered, rounds_a_second, settle, speed_of

INTERACTIVE, BULK = LANES["interactive"], LANES["bulk"]
SINGLE = replace(BULK, batch_size=1)
"""Takes one doorbell at a time, those too that come late."""


def test_a_workers_speed() -> None:
    """Its cap, its concurrency over a post's round trip, or one processor: the lowest."""
    assert speed_of(BULK) == 1_500
    assert speed_of(INTERACTIVE) == pytest.approx(64 / 0.015)
    assert speed_of(replace(INTERACTIVE, post_concurrency=1_000)) == 5_000


@pytest.mark.parametrize(
    ("rate", "jobs"),
    [(1, 1), (50, 1), (100, 3), (1_000, 10), (10, 1)],
)
def test_what_gathers_while_a_batch_is_worked(rate: float, jobs: float) -> None:
    """Two workers, 30 ms a batch and 10 ms a job: at 100 jobs a second a batch of three takes the 60 ms in which both
    get three more. Never less than one, never more than the batch size."""
    assert gathered(rate, fixed=0.03, each=0.01, workers=2, most=10) == pytest.approx(jobs)


def test_rounds_follow_entries_until_a_round_takes_longer() -> None:
    """Where rounds are short, each entry has one; where they are long, one follows the other."""
    assert rounds_a_second(5, 0.0001) == pytest.approx(5, rel=0.001)
    assert rounds_a_second(50, 1.0) == pytest.approx(1, rel=0.001)
    assert 50 / rounds_a_second(50, 1.0) == pytest.approx(50, rel=0.001)


def test_a_quiet_lane_keeps_up() -> None:
    """One message a second to a hundred: a round of its own for each, in the time that a hundred posts take."""
    [traffic], lane = settle(INTERACTIVE, [Group(1, RoomShape(100), 1.0)])
    seconds = ROUND_SECONDS + 100 / speed_of(INTERACTIVE)
    assert (lane.cycle, lane.full, traffic.overloaded) == (0, False, False)
    assert traffic.round_seconds == pytest.approx(seconds)
    assert traffic.entries == pytest.approx(seconds + math.exp(-seconds))
    assert traffic.posts == pytest.approx(100, rel=0.01)
    assert traffic.to_last == pytest.approx(LATENCY + seconds)
    assert lane.workers == pytest.approx(traffic.rounds * seconds, rel=0.001)
    assert traffic.jobs_per_batch == 1


def test_a_full_lane_packs() -> None:
    """A room of 8,000 (16 shards) at a message a second, two workers of 1,500 posts: all their time is rounds, and the
    doorbells that come late; the cycle is what 16 rounds and those take them, and carries what came in it."""
    shape = RoomShape(8_000)
    [traffic], lane = settle(SINGLE, [Group(1, shape, 1.0)])
    assert shape.shards == 16
    seconds = ROUND_SECONDS + 500 / 1_500
    late = 16 * (1.0 - traffic.rounds) * LATE_JOB_SECONDS
    assert 16 * traffic.rounds * seconds + late == pytest.approx(2)
    assert lane.cycle == pytest.approx(1 / traffic.rounds, rel=0.1)
    assert traffic.entries == pytest.approx(1 / traffic.rounds)
    assert lane.full
    assert lane.posts < lane.limit == 3_000 < lane.unpacked == 8_000
    assert traffic.to_last == pytest.approx(LATENCY + lane.cycle + seconds)
    assert traffic.at_least == pytest.approx(8_000 / 3_000)


def test_a_lane_without_a_cap_has_what_the_others_leave() -> None:
    """At most so many posts a second, whatever its workers could do."""
    [free], _ = settle(INTERACTIVE, [Group(10, RoomShape(500), 1.0)])
    [held], lane = settle(INTERACTIVE, [Group(10, RoomShape(500), 1.0)], most=2_500)
    assert lane.limit == 2_500
    assert lane.posts <= 2_500
    assert held.entries > free.entries


def test_more_than_rounds_can_hold() -> None:
    """A round holds a hundred entries, or 128 KB: what comes faster waits for ever."""
    [traffic], _ = settle(SINGLE, [Group(1, RoomShape(100_000), 1.0)])
    assert traffic.overloaded
    assert traffic.entries == 100
    [large], _ = settle(BULK, [Group(1, RoomShape(20_000, message_bytes=30_000), 1.0)])
    assert large.overloaded
    assert large.entries < 5


def test_no_rooms() -> None:
    """A lane that carries nothing makes nothing."""
    assert settle(BULK, [])[1].posts == 0
