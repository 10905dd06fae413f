"""The settings that may be turned on a running twin."""

from __future__ import annotations

from typing import Any

import pytest

from domain.errors import BadSetting
from domain.lanes import LANES, LIMITS, check_lane
from local.knobs import knobs_of, turned


@pytest.mark.parametrize("lane", LANES)
def test_each_knob_has_the_bounds_of_its_lane(lane: str) -> None:
    """Its ends are refused by nothing but another setting that they must agree with, and what is beyond is refused."""
    for knob in knobs_of(LANES[lane]):
        name, low, high = knob["name"], knob["min"], knob["max"]
        assert LIMITS[name][0] == low <= knob["usual"]["low"] < knob["usual"]["high"] <= high
        for beyond in (low - 1, high + 1):
            with pytest.raises(BadSetting, match=name):
                turned(LANES[lane], {name: beyond})
        if name in {"post_concurrency", "post_rate", "post_deadline", "max_concurrency", "max_receives"}:
            for value in (low, high):
                assert getattr(turned(LANES[lane], {name: value}), name) == value


def test_a_lane_has_the_knobs_that_mean_something_there() -> None:
    """No window where the queue has none, and nothing about posts to sockets where there are none."""
    names = {lane: {it["name"] for it in knobs_of(LANES[lane])} for lane in LANES}
    assert "window" not in names["interactive"]
    assert "window" in names["retry"]
    assert {"post_rate", "post_concurrency"} <= names["bulk"]
    assert not {"post_rate", "post_concurrency"} & names["hooks"]


def test_settings_that_must_agree_are_turned_together() -> None:
    """One alone is refused; all that a request names are judged at the end."""
    with pytest.raises(BadSetting, match="visibility"):
        turned(LANES["interactive"], {"timeout": 20})
    lane = turned(LANES["interactive"], {"timeout": 20, "visibility": 30})
    check_lane(lane)
    assert (lane.timeout, lane.visibility, lane.batch_size) == (20, 30, 10)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fifo": 0}, "no such knob"),
        ({"retention": 60}, "no such knob"),
        ({"window": 1}, "no such knob"),
        ({"batch_size": "5"}, "as a number"),
        ({"batch_size": True}, "as a number"),
        ({"batch_size": None}, "as a number"),
        ({"batch_size": 2.5}, "not a whole number"),
        ({"batch_size": 11}, "between 1 and 10|at most 10"),
    ],
)
def test_what_is_no_setting_is_refused_in_words(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadSetting, match=words):
        turned(LANES["interactive"], changes)
