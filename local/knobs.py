"""The settings of a lane that may be turned while the twin runs: one table, and what turning one comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from domain.errors import BadSetting
from domain.lanes import LIMITS, Lane, override_lanes

__all__ = ["KNOBS", "Knob", "knobs_of", "turned"]


@dataclass(frozen=True, slots=True)
class Knob:
    """A setting, for people."""

    name: str
    unit: str
    low: float
    high: float
    """Where it is useful to turn it on one machine; the lane's limits may be wider."""
    step: float
    says: str
    posts: bool = False
    """Whether only lanes have it that post to members' sockets."""


KNOBS = (
    Knob("batch_size", "jobs", 1, 10, 1, "Jobs that a worker gets at once. Those of one room go out together."),
    Knob("window", "s", 0, 5, 1, "How long a batch is gathered, however few jobs wait. Later, and fuller."),
    Knob("max_concurrency", "workers", 1, 16, 1, "Workers at most. One works a room's shard at a time."),
    Knob(
        "post_concurrency",
        "posts",
        1,
        256,
        1,
        "Posts under way at once in one worker. Fewer: a round takes longer, and frames carry more entries.",
        posts=True,
    ),
    Knob(
        "post_rate",
        "posts/s",
        0,
        3_000,
        10,
        "Posts a second of one worker at most; 0: no cap. Below what the room asks for, frames carry more entries.",
        posts=True,
    ),
    Knob("post_deadline", "s", 0.05, 10, 0.05, "How long one post may take before it counts as failed."),
    Knob("timeout", "s", 3, 60, 1, "How long a worker may take for a batch before it is killed."),
    Knob(
        "visibility", "s", 4, 120, 1, "How long what a dead worker had in hand stands still. Longer than the timeout."
    ),
    Knob("max_receives", "receives", 1, 20, 1, "How often a job is tried before it is a dead letter."),
)


def knobs_of(lane: Lane) -> list[dict[str, Any]]:
    """The knobs that mean something for a lane, ready for JSON: name, min, max, usual, step, unit, says."""
    return [
        {
            "name": it.name,
            "min": _bounds(lane, it)[0],
            "max": _bounds(lane, it)[1],
            "usual": {"low": it.low, "high": it.high},
            "step": it.step,
            "unit": it.unit,
            "says": it.says,
        }
        for it in KNOBS
        if _has(lane, it)
    ]


def turned(lane: Lane, changes: Mapping[str, Any]) -> Lane:
    """The lane with these settings. Raises `BadSetting`."""
    names = [it.name for it in KNOBS if _has(lane, it)]
    for name, value in changes.items():
        if name not in names:
            raise BadSetting(f"lane setting {lane.name}.{name}: there is no such knob; there are {', '.join(names)}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BadSetting(f"lane setting {lane.name}.{name}: write it as a number")
    settings = [f"{lane.name}.{name}={value}" for name, value in changes.items()]
    return override_lanes({lane.name: lane}, settings)[lane.name]


def _has(lane: Lane, knob: Knob) -> bool:
    return (lane.sockets or not knob.posts) and not (lane.fifo and knob.name == "window")


def _bounds(lane: Lane, knob: Knob) -> tuple[float, float]:
    low, high = LIMITS[knob.name]
    return low, min(high, 10) if lane.fifo and knob.name == "batch_size" else high
