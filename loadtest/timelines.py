"""The report page's charts over the seconds of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from loadtest.chart import LEVELS, SHADES, Chart, axis_title, frame, identity, label, log_axis, panel_title, short
from loadtest.result import Posts, Result, Second

__all__ = ["entries", "latency", "load", "posts", "queues"]

MOST_LABELS = 6
"""Phases with their names above the chart: more would run into each other."""
PANEL, GAP = 170, 34
"""Pixels of one panel, and of what is between two."""
MINUTES_FROM = 900
"""Seconds from which the time axis counts in minutes."""
LANE_COLOURS = {
    "interactive": "--accent",
    "bulk": "--second",
    "retry": "--bad",
    "ephemeral": "--faint",
    "hooks": "--faint",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One value of each second."""

    name: str
    of: Callable[[Second], float | None]
    colour: str


@dataclass(frozen=True, slots=True)
class Panel:
    """Lines that share an axis."""

    title: str
    lines: Sequence[Line]
    log: bool = False


def latency(runs: Sequence[Result]) -> Chart:
    lines = [Line(name, _level_of(name), colour) for name, colour in LEVELS]
    return _over_time(
        runs,
        "latency",
        "Latency over time",
        "From the moment a message was due to its arrival at a member, by the second of the arrival. Level lines are"
        " good. Lines that climb through a phase mean that a queue grows and the rate is too high; a peak that falls"
        " back is a pause from which the service recovered.",
        [Panel("ms, logarithmic", lines if len(runs) == 1 else lines[::2], log=True)],
        "The result holds no latencies by the second.",
        tall=True,
    )


def load(runs: Sequence[Result]) -> Chart:
    sends = [
        Line("sent", lambda it: it.sent, "--faint"),
        Line("acknowledged", lambda it: it.acknowledged, "--accent"),
        Line("errors", lambda it: it.errors, "--bad"),
    ]
    return _over_time(
        runs,
        "load",
        "Deliveries and sends",
        "Deliveries should follow the sends at once, times the members of a room. Deliveries that go on after the last"
        " send had to wait. Acknowledgements below the sends, errors, or clients that drop away are trouble.",
        [
            Panel("deliveries a second", [Line("deliveries", lambda it: it.deliveries, "--accent")]),
            Panel("messages a second", sends),
            Panel("clients connected", [Line("clients", lambda it: it.clients, "--shade-3")]),
        ],
        "The result holds no counts by the second.",
    )


def entries(runs: Sequence[Result]) -> Chart:
    line = Line("entries", lambda it: it.entries / it.frames if it.frames else None, "--accent")
    return _over_time(
        runs,
        "entries",
        "Entries per frame",
        "How many messages one frame carried. What waits is packed together, so that it rises with the rate in a room:"
        " that keeps posts few. One entry a frame while latency climbs would mean that nothing is packed.",
        [Panel("entries per frame", [line])],
        "The result counts no frames by the second.",
    )


def queues(runs: Sequence[Result]) -> Chart:
    depths = [it.queue for run in runs for it in run.series if it.queue is not None]
    lanes = dict.fromkeys(lane for depth in depths for lane, waiting in depth.items() if waiting)
    lines = [
        Line(label(lane), _depth_of(lane), LANE_COLOURS.get(lane, SHADES[place % len(SHADES)]))
        for place, lane in enumerate(lanes)
    ]
    return _over_time(
        runs,
        "queues",
        "Queue depth",
        "Messages waiting or being worked on, by lane; lanes that held nothing are left out. A saw-tooth that returns"
        " to zero is good. A slope means that work comes in faster than it is done, and latency will follow.",
        [Panel("messages", lines)],
        "No lane held a message whenever the queues were read."
        if depths
        else "The queues of this target were not read.",
    )


def posts(runs: Sequence[Result]) -> Chart:
    failures = [
        Line("gone", _posts_of(lambda it: it.gone), "--faint"),
        Line("throttled", _posts_of(lambda it: it.throttled), "--second"),
        Line("failed", _posts_of(lambda it: it.failed), "--bad"),
    ]
    return _over_time(
        runs,
        "posts",
        "Posts",
        "Calls of @connections. Gone (410) belongs to clients that left. Throttled (429) means that the account's quota"
        " or a slow client's buffer was full; the service tries those again. Failed should stay at zero.",
        [
            Panel("posts a second", [Line("sent", _posts_of(lambda it: it.sent), "--accent")]),
            Panel("of them not delivered", failures),
        ],
        "The posts of this target were not counted by the second.",
    )


def _level_of(name: str) -> Callable[[Second], float | None]:
    return lambda it: getattr(it, name)


def _depth_of(lane: str) -> Callable[[Second], float | None]:
    return lambda it: None if it.queue is None else it.queue.get(lane, 0)


def _posts_of(outcome: Callable[[Posts], float]) -> Callable[[Second], float | None]:
    return lambda it: None if it.posts is None else outcome(it.posts)


def _over_time(
    runs: Sequence[Result],
    key: str,
    title: str,
    caption: str,
    panels: Sequence[Panel],
    absent: str,
    *,
    tall: bool = False,
) -> Chart:
    """Panels above each other over one time axis."""
    times = [it.t for run in runs for it in run.series]
    scale, unit = (60, "minutes") if max(times, default=0) > MINUTES_FROM else (1, "seconds")
    traces = []
    for row, panel in enumerate(panels):
        for number, line in enumerate(panel.lines):
            for run, result in enumerate(runs):
                values = [short(line.of(it)) for it in result.series]
                if any(it is not None for it in values):
                    trace = {"type": "scatter", "mode": "lines", "yaxis": _axis("y", row), "y": values}
                    trace |= {"x": [round(it.t / scale, 3) for it in result.series], "hovertemplate": "%{y:,.4~r}"}
                    traces.append(trace | identity(runs, run, line.name, line.colour, number))
    if not traces:
        return Chart(key, title, caption, absent)
    plot = len(panels) * PANEL + (len(panels) - 1) * GAP + (80 if tall else 0)
    layout = frame(plot, len(traces)) | {
        "hovermode": "x unified",
        "hoversubplots": "axis",
        "annotations": [],
        "shapes": [],
    }
    layout["xaxis"] = {"title": axis_title(f"{unit} since the sending began"), "anchor": _axis("y", len(panels) - 1)}
    layout["xaxis"]["range"] = [min(times) / scale, max(times) / scale]
    for row, panel in enumerate(panels):
        top = 1 - row * (PANEL + GAP) / plot
        bottom = max(0.0, top - PANEL / plot) if row < len(panels) - 1 else 0.0
        layout[_axis("yaxis", row)] = {"domain": [bottom, top], **_scaling(panel, traces)}
        layout["annotations"].append(panel_title(panel.title, top))
    _mark_phases(layout, runs, scale)
    return Chart(key, title, caption, "", traces, layout)


def _scaling(panel: Panel, traces: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return log_axis(it for trace in traces for it in trace["y"]) if panel.log else {"rangemode": "tozero"}


def _mark_phases(layout: dict[str, Any], runs: Sequence[Result], scale: float) -> None:
    """Where each phase begins, if it is the same for all runs."""
    phases = runs[0].phases
    if any(it.phases != phases for it in runs):
        return
    for it in phases:
        x = it.from_ / scale
        stroke = {"color": "--faint", "width": 1, "dash": "dot"}
        place = {"x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper"}
        layout["shapes"].append({"type": "line", "layer": "below", "line": stroke, **place})
        if 1 < len(phases) <= MOST_LABELS:
            name = {"text": label(it.name), "font": {"color": "--muted", "size": 11}, "showarrow": False}
            name |= {"bgcolor": "--page", "opacity": 0.8}
            layout["annotations"].append(name | {"x": x, "y": 1, "yref": "paper", "xanchor": "left", "yanchor": "top"})


def _axis(name: str, row: int) -> str:
    return name if row == 0 else f"{name}{row + 1}"
