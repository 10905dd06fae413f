"""A chart of the report page, as plotly.js takes it: plain values, nothing drawn.

A colour is the name of a variable of page.css (`--accent`); page.js puts in what it is in a light or dark page. With
one result every line has its own colour; with two, a colour is a run and the stroke tells the lines apart.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from loadtest.result import Result

__all__ = ["LEVELS", "RUN_COLOURS", "SHADES", "TEMPLATE", "Chart"]
__all__ += ["axis_title", "frame", "identity", "label", "log_axis", "panel_title", "run_name", "short"]

RUN_COLOURS = ("--accent", "--second")
STROKES = ("solid", "dot", "dash", "dashdot")
SHADES = tuple(f"--shade-{it}" for it in range(1, 7))
"""Of the accent, towards the contrast of the page."""
LEVELS = (("p50", "--shade-3"), ("p95", "--shade-4"), ("p99", "--shade-6"), ("max", "--faint"))
"""The percentiles that are drawn. Of two results, every other one."""
LABEL_CHARACTERS = 24
DECADES_WITH_DIGITS = 3
ABOVE, BELOW, LEGEND = 30, 52, 30
"""Pixels of a chart's height that are not its plot: the title, the time axis, and the legend below that."""

_AXIS = {
    "gridcolor": "--line",
    "linecolor": "--line",
    "zeroline": False,
    "zerolinecolor": "--line",
    "exponentformat": "none",
    "separatethousands": True,
    "tickfont": {"color": "--muted"},
}
TEMPLATE: dict[str, Any] = {
    "layout": {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": "--text", "size": 12},
        "margin": {"l": 8, "r": 12, "t": ABOVE},
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "yanchor": "top", "font": {"color": "--muted"}},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "--faint", "activecolor": "--accent"},
        "hoverlabel": {"bgcolor": "--panel", "bordercolor": "--line", "font": {"color": "--text", "size": 12}},
        "xaxis": {**_AXIS, "showgrid": False, "ticks": "outside", "tickcolor": "--line"},
        "yaxis": {**_AXIS, "zeroline": True, "automargin": True},
    }
}


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart with what is said of it. Without traces, `absent` says why."""

    key: str
    title: str
    caption: str
    """What one sees, and what a bad picture would look like."""
    absent: str = ""
    traces: list[dict[str, Any]] = field(default_factory=list)
    layout: dict[str, Any] = field(default_factory=dict)


def identity(runs: Sequence[Result], run: int, name: str, colour: str, number: int) -> dict[str, Any]:
    """Name and stroke of a line: the `number`th of its panel, of `runs[run]`."""
    if len(runs) == 1:
        return {"name": name, "line": {"color": colour, "width": 1.75}}
    stroke = {"color": RUN_COLOURS[run], "width": 1.75, "dash": STROKES[number % len(STROKES)]}
    return {"name": f"{run_name(runs, run)}{name}", "line": stroke}


def run_name(runs: Sequence[Result], run: int) -> str:
    return "" if len(runs) == 1 else f"{'AB'[run]} "


def frame(plot: int, lines: int) -> dict[str, Any]:
    """A layout around a plot of so many pixels, with a legend below it unless there is but one line."""
    below = BELOW + (LEGEND if lines > 1 else 0)
    place = {"height": ABOVE + plot + below, "margin": {"b": below}}
    return {**place, "legend": {"y": -BELOW / plot}, "showlegend": lines > 1}


def axis_title(text: str) -> dict[str, Any]:
    return {"text": text, "font": {"color": "--muted"}, "standoff": 6}


def log_axis(values: Iterable[float | None]) -> dict[str, Any]:
    """A logarithmic axis with ticks at 1, 2 and 5 of each decade, or at 1 where there are many decades."""
    told = [it for it in values if it is not None and it > 0]
    decades = math.log10(max(told) / min(told)) if told else 0
    digits = (1, 2, 5) if decades <= DECADES_WITH_DIGITS else (1,)
    ticks = [digit * 10.0**decade for decade in range(-3, 9) for digit in digits]
    return {"type": "log", "tickvals": ticks, "ticktext": [f"{it:,.10g}" for it in ticks]}


def panel_title(text: str, top: float = 1) -> dict[str, Any]:
    """Above the plot at its left, where it needs no turning of heads."""
    place = {"x": 0, "y": top, "xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "bottom"}
    return place | {"text": text, "showarrow": False, "font": {"color": "--muted", "size": 12}, "yshift": 5}


def short(value: float | None) -> float | None:
    """Four significant digits: what can be seen, at a third of the size."""
    return None if value is None else float(f"{value:.4g}")


def label(text: str) -> str:
    """A text of the result's for plotly.js, which reads a little HTML."""
    return html.escape(text if len(text) <= LABEL_CHARACTERS else f"{text[: LABEL_CHARACTERS - 1]}…")
