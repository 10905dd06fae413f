"""What a process counts by the second, the stages of a delivery, and how a run puts several processes together."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from domain.events import Trace
from loadtest.histogram import percentiles
from loadtest.plan import Phase
from loadtest.series import Series
from loadtest.status import Status
from loadtest.tally import Tally


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> float:
    """The clocks: 1,000 s since the machine started, 5,000 s since 1970."""
    monkeypatch.setattr(time, "monotonic", lambda: 1_000.0)
    monkeypatch.setattr(time, "time", lambda: 5_000.0)
    return 1_000.0


def test_seconds_without_anything_are_told_too(now: float) -> None:
    """Each whole second once, with the sockets that were open at its end; the present one only at the very end."""
    tally = Tally()
    tally.open = 3
    tally.second(now + 0.5).sent += 1
    tally.delivered(now + 2.9, 0.25)
    closed = tally.take(now + 3.1)
    assert [(it.at, it.clients, it.sent, it.deliveries) for it in closed] == [
        (1000, 3, 1, 0),
        (1001, 3, 0, 0),
        (1002, 3, 0, 1),
    ]
    assert [bool(it.latency) for it in closed] == [False, False, True]
    tally.framed("batch", 4, now + 3.2)
    assert tally.take(now + 3.9) == []
    (last,) = tally.take(now + 3.9, last=True)
    assert (last.at, last.frames, last.entries, tally.entry_frames) == (1003, 1, 4, 1)


def test_stages_count_from_the_one_before(now: float) -> None:
    """In milliseconds; what the trace leaves out takes no time of its own."""
    tally = Tally()
    # Due at 5,000,000 ms since 1970, received at 5,000,100.
    trace = Trace(accepted_at=5_000_010, stored_at=5_000_030, served_at=5_000_070, packed_at=5_000_075)
    tally.traced(trace, due=now, now=now + 0.1)
    found = {stage: percentiles(it)["max"] for stage, it in tally.stages.items()}
    assert found == pytest.approx({"accepted": 10, "stored": 20, "served": 40, "packed": 5, "received": 25}, rel=0.002)


def look(until: int, *tallies: Any) -> dict[str, Any]:
    """A process's answer, as it comes over the wire."""
    answer: dict[str, Any] = msgspec.to_builtins({"until": until, "seconds": tallies})
    return answer


def seconds(now: float, latencies: Sequence[float]) -> list[Any]:
    tally = Tally()
    for it in latencies:
        tally.delivered(now + 0.5, it)
    return tally.take(now, last=True)


def test_a_second_is_whole_when_every_process_is_past_it(now: float) -> None:
    """Then its counts are summed and its latencies merged."""
    series = Series()
    series.begin(1_000, [Phase("step 5", 1, 5, probes=True), Phase("step 10", 1, 10, probes=True)])
    assert series.take([look(1_001, *seconds(now, [0.1] * 60)), look(1_000)]) == []
    (row,) = series.take([look(1_001), look(1_001, *seconds(now, [0.2] * 40))])
    assert (row["deliveries"], row["p50"], row["p99"]) == (
        100,
        pytest.approx(100, rel=2e-3),
        pytest.approx(200, rel=2e-3),
    )
    assert [it["t"] for it in series.as_json()] == [0]
    assert (series.overloaded(), series.held_rate()) == (None, 5)


def test_two_late_in_a_hundred_are_too_many(now: float) -> None:
    """A step with more than 1 % of its deliveries beyond a second ends the search; one in a hundred does not."""
    series = Series()
    series.begin(1_000, [Phase("step 5", 1, 5, probes=True), Phase("step 10", 1, 10, probes=True)])
    series.take([look(1_001, *seconds(now, [0.1] * 99 + [1.5]))])
    assert series.overloaded() is None
    series.take([look(1_001, *seconds(now, [1.5]))])
    overloaded = series.overloaded()
    assert overloaded is not None
    assert (overloaded.phase.rate, series.held_rate()) == (5, None)


def test_what_a_twin_says_stands_beside_its_second(now: float) -> None:
    """Queues as they are, posts since the second before."""
    series = Series()
    series.begin(1_000, [Phase("hold", 2, 5)])
    queue = {"visible": 2, "in_flight": 1, "delayed": 0}
    series.see(999, Status({"posts": {"sent": 5}}))
    series.see(1_000, Status({"posts": {"sent": 7, "gone": 1}, "queues": {"interactive": queue}}))
    series.take([look(1_001, *seconds(now, []))])
    (row,) = series.as_json()
    assert (row["queue"], row["posts"]) == ({"interactive": 3}, {"sent": 2, "gone": 1, "throttled": 0, "failed": 0})
