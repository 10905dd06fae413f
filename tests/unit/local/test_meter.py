"""What passes through a gateway, as rates and percentiles of the last second."""

from __future__ import annotations

import json
from typing import Any

import pytest

from local.meter import SPAN_MS, Meter, Rates

NOW = 1_700_000_000_000


def chat(sent_at: int, room: str = "tea") -> dict[str, Any]:
    return {"type": "chat", "data": {"roomId": room, "epoch": 1, "seq": 7, "sentAt": sent_at, "message": "hello"}}


def batch(*events: dict[str, Any]) -> dict[str, Any]:
    return {"type": "batch", "data": {"events": list(events)}}


def metered(*posts: tuple[int, object]) -> Meter:
    """A meter that was fed with (time, frame)."""
    meter = Meter()
    for now, frame in posts:
        meter.post(json.dumps(frame).encode(), now)
    return meter


def test_entries_are_counted_within_their_frames() -> None:
    """Three in one frame and one alone: four entries, two frames, by rooms."""
    meter = metered((NOW, batch(chat(NOW), chat(NOW), chat(NOW, "chess"))), (NOW, chat(NOW)))
    counts = meter.last(NOW)
    assert (counts.entries, counts.frames) == (4, 2)
    assert counts.rooms == {"tea": 3, "chess": 1}


def test_percentiles_are_of_entries() -> None:
    """Each counts from when it was stored, also those that share a frame; a clock that is behind counts as none."""
    ages = [*range(1, 100), 900]
    counts = metered((NOW, batch(*(chat(NOW - it) for it in ages)))).last(NOW)
    assert (counts.percentile(0.5), counts.percentile(0.99), counts.percentile(1)) == (50, 99, 900)
    assert metered((NOW, chat(NOW + 5))).last(NOW).percentile(0.5) == 0
    assert Meter().last(NOW).percentile(0.5) is None


def test_the_last_second_is_told_and_no_more() -> None:
    """What recovered shows within it: nothing older stays in any figure."""
    meter = metered((NOW, chat(NOW - 800)), (NOW + 600, chat(NOW + 590)))
    assert meter.last(NOW + 600).entries == 2
    later = meter.last(NOW + SPAN_MS + 50)
    assert (later.entries, later.frames, later.percentile(0.99)) == (1, 1, 10)
    assert meter.last(NOW + 10 * SPAN_MS).entries == 0


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "user_joined", "data": {"roomId": "tea", "userId": "ada"}},
        {"type": "welcome", "data": {"rooms": []}},
        {"type": "read", "data": {"roomId": "tea", "seq": 3}},
        {"type": "noise", "data": "." * 100},
        {"type": "odd", "data": {"sentAt": "noon"}},
        ["no", "object"],
        7,
    ],
)
def test_what_is_no_entry_counts_as_none(frame: object) -> None:
    """Anybody may post anything, as a test of the gateway does."""
    assert metered((NOW, frame)).last(NOW).frames == 0


def test_bytes_that_are_no_text_count_as_nothing() -> None:
    meter = Meter()
    meter.post(b"\xff\xfe{", NOW)
    assert meter.last(NOW).entries == 0


def test_rates_are_those_of_the_last_second() -> None:
    """Ten a half second are twenty a second; a counter that has stopped is at 0 a second later."""
    rates = Rates()
    assert rates.read({"sent": 100}, NOW) == {"sent": 0.0}
    assert rates.read({"sent": 110}, NOW + 500) == {"sent": 20.0}
    assert rates.read({"sent": 120}, NOW + 1_000) == {"sent": 20.0}
    assert rates.read({"sent": 120}, NOW + 1_500) == {"sent": 10.0}
    assert rates.read({"sent": 120}, NOW + 2_000) == {"sent": 0.0}


def test_readings_that_come_a_little_late_are_still_those_of_a_second() -> None:
    """What comes once a second in one burst is neither none nor twice as much, in turn."""
    rates = Rates()
    for number in range(12):
        told = rates.read({"sent": 100 * (number // 2)}, NOW + 505 * number)["sent"]
        assert number < 2 or 60 <= told <= 100


def test_a_counter_that_is_new_began_at_nothing() -> None:
    rates = Rates()
    rates.read({}, NOW)
    assert rates.read({"gone": 3}, NOW + 500) == {"gone": 6.0}
