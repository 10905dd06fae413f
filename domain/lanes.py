"""The lanes of the broadcast: one table of data. Each lane is a queue, its dead-letter queue, a function and a mapping.

The CDK constructs, the twin's emulator and event source, and the worker all read this table, so they can't drift.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace

from domain.errors import BadSetting

__all__ = ["LANES", "LIMITS", "Lane", "check_lane", "override_lanes"]


@dataclass(frozen=True, slots=True)
class Lane:
    """How one kind of job travels and is worked. Times are in seconds."""

    name: str
    fifo: bool
    """FIFO in high-throughput mode (one worker at a time for a message group), or standard."""
    batch_size: int = 10
    """Messages in one batch at most."""
    window: float = 0
    """How long a mapping gathers a batch; above 0 a quiet queue waits that long or longer."""
    max_concurrency: int = 2
    """Worker environments at most."""
    post_concurrency: int = 64
    """Posts under way at once in one worker."""
    post_rate: float = 0
    """Posts a second of one worker at most, so that a lane leaves the account's quota to the others. 0: no cap."""
    post_deadline: float = 0.5
    """The longest that one post may take."""
    timeout: float = 10
    """The longest that a worker may take for a batch."""
    visibility: float = 15
    """How long a received message stays hidden: after a worker's death its shards stand still for so long."""
    max_receives: int = 5
    """Receives before a message goes to the dead-letter queue."""
    sockets: bool = True
    """Whether its worker posts to members' sockets, and has to share the account's rate."""
    retention: int = 3600
    dead_retention: int = 14 * 24 * 3600


LANES: Mapping[str, Lane] = {
    it.name: it
    for it in (
        Lane("interactive", fifo=True),
        # Few enough that workers end a large room together, enough that doorbells that come late don't hold it up.
        Lane("bulk", fifo=True, batch_size=4, post_rate=1_500),
        Lane("retry", fifo=False, post_deadline=3, post_rate=500),
        Lane("ephemeral", fifo=False, post_rate=1_000),
        # Its posts go to hooks' receivers: a slow one takes no more of a worker than the deadline and a bit. A bell is
        # kept over a weekend on which nobody mends its worker.
        Lane(
            "hooks",
            fifo=True,
            max_concurrency=5,
            post_deadline=6,
            timeout=30,
            visibility=45,
            sockets=False,
            retention=4 * 24 * 3600,
        ),
    )
}

LIMITS: Mapping[str, tuple[float, float]] = {
    "batch_size": (1, 10_000),
    "window": (0, 300),
    "max_concurrency": (1, 1_000),
    "post_concurrency": (1, 1_024),
    "post_rate": (0, 10_000),
    "post_deadline": (0.05, 29),
    "timeout": (3, 900),
    "visibility": (1, 43_200),
    "max_receives": (1, 1_000),
    "retention": (60, 1_209_600),
    "dead_retention": (60, 1_209_600),
}
"""Setting → the least and the most that it may be, whatever the others are."""


def override_lanes(lanes: Mapping[str, Lane], settings: Iterable[str]) -> dict[str, Lane]:
    """The lanes with settings such as `interactive.batch_size=5` applied, checked together at the end."""
    result = dict(lanes)
    for setting in settings:
        path, equals, text = setting.partition("=")
        name, dot, field = path.partition(".")
        if not (equals and dot):
            raise BadSetting(
                f"lane setting '{setting}': write it as LANE.SETTING=NUMBER, e.g. interactive.batch_size=5"
            )
        if name not in result:
            raise BadSetting(f"lane setting '{setting}': there is no lane '{name}'; the lanes are {', '.join(result)}")
        if field not in LIMITS:
            raise BadSetting(f"lane setting '{setting}': a lane has no '{field}'; it has {', '.join(LIMITS)}")
        whole = next(it.type for it in fields(Lane) if it.name == field) == "int"
        try:
            value = int(text) if whole else float(text)
        except ValueError:
            kind = "a whole number" if whole else "a number"
            raise BadSetting(f"lane setting '{setting}': '{text}' is not {kind}") from None
        result[name] = replace(result[name], **{field: value})  # type: ignore[arg-type]  # the table above knows the type
    for lane in result.values():
        check_lane(lane)
    return result


def check_lane(lane: Lane) -> None:
    """Raises `BadSetting` where the lane's settings are out of bounds or contradict one another."""
    for field, (low, high) in LIMITS.items():
        value = getattr(lane, field)
        if not low <= value <= high:
            raise BadSetting(f"lane setting {lane.name}.{field}={value:g}: it must be between {low:g} and {high:g}")
    if lane.fifo and lane.batch_size > 10:
        raise BadSetting(f"lane setting {lane.name}.batch_size={lane.batch_size}: a FIFO queue gives at most 10")
    if lane.fifo and lane.window:
        raise BadSetting(f"lane setting {lane.name}.window={lane.window:g}: a FIFO queue has no window; leave it 0")
    if lane.batch_size > 10 and lane.window < 1:
        raise BadSetting(f"lane setting {lane.name}.batch_size={lane.batch_size}: more than 10 needs a window of ≥ 1 s")
    if lane.visibility <= lane.timeout:
        raise BadSetting(
            f"lane setting {lane.name}.visibility={lane.visibility:g}: it must be longer than the time-out"
            f" ({lane.timeout:g} s), or a batch that is still being worked is delivered again"
        )
