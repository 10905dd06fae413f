"""The report page's charts: all of them in order, and those that are not over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from loadtest import timelines
from loadtest.chart import (
    LEVELS,
    RUN_COLOURS,
    SHADES,
    Chart,
    axis_title,
    frame,
    identity,
    log_axis,
    panel_title,
    run_name,
    short,
)
from loadtest.result import STAGES, Quantiles, Result, histogram

__all__ = ["charts"]

CURVES = (
    ("deliveries", "latency", "--accent"),
    ("time to last member", "time_to_last", "--shade-2"),
    ("acknowledgements", "ack", "--faint"),
)
POINTS_A_DECADE = 20
SERVICES = (("API Gateway", "api_gateway"), ("Lambda", "lambda_"), ("SQS", "sqs"), ("DynamoDB", "dynamodb"))


def charts(runs: Sequence[Result]) -> list[Chart]:
    """All charts of one or two results."""
    return [
        timelines.latency(runs),
        _distribution(runs),
        _sizes(runs),
        timelines.load(runs),
        timelines.entries(runs),
        _stages(runs),
        timelines.queues(runs),
        timelines.posts(runs),
        _cost(runs),
    ]


def _distribution(runs: Sequence[Result]) -> Chart:
    title = "Distribution of latency"
    caption = (
        "How long it took the slowest of so many, both axes logarithmic: at 99\u00a0% one in a hundred took that long"
        " or longer. A flat curve is good. A step at the far right is a rare stall; a cliff in the middle is met by"
        " all."
    )
    traces = []
    for number, (name, key, colour) in enumerate(CURVES):
        for run, result in enumerate(runs):
            if points := _curve(getattr(result.histograms, key, None)):
                odds, milliseconds, words = zip(*points, strict=True)
                trace = {"type": "scatter", "mode": "lines", "x": odds, "y": milliseconds, "customdata": words}
                trace["hovertemplate"] = "%{customdata}: %{y:,.4~r} ms"
                traces.append(trace | identity(runs, run, name, colour, number))
    if not traces:
        return Chart("distribution", title, caption, "The result holds no histograms.")
    ticks = {2: "50 %", 10: "90 %", 100: "99 %", 1_000: "99.9 %", 10_000: "99.99 %", 100_000: "99.999 %"}
    layout = frame(250, len(traces)) | {"hovermode": "x", "annotations": [panel_title("ms, logarithmic")]}
    layout["xaxis"] = {"type": "log", "tickvals": list(ticks), "ticktext": list(ticks.values()), "showgrid": True}
    layout["xaxis"] |= {"title": axis_title("percentile"), "tickangle": 0}
    layout["yaxis"] = log_axis(it for trace in traces for it in trace["y"])
    return Chart("distribution", title, caption, "", traces, layout)


def _curve(encoded: str | None) -> list[tuple[float, float | None, str]]:
    """(1 ÷ (1 - percentile), milliseconds, the percentile in words); the last is the slowest of all."""
    decoded = histogram(encoded)
    if decoded is None:
        return []
    count = float(decoded.get_total_count())
    odds = [it for step in range(10 * POINTS_A_DECADE) if (it := 10 ** (step / POINTS_A_DECADE)) < count]
    percentiles = [100 * (1 - 1 / it) for it in odds]
    microseconds = decoded.get_percentile_to_value_dict(percentiles)
    points = [
        (float(f"{it:.4g}"), short(microseconds[percentile] / 1000), f"{percentile:.6g} %")
        for it, percentile in zip(odds, percentiles, strict=True)
    ]
    return [*points, (count, short(decoded.get_max_value() / 1000), "100 %")]


def _sizes(runs: Sequence[Result]) -> Chart:
    title = "Time to the last member"
    caption = (
        "From the moment a message was due until every member of its room had it, by the size of the room. It may rise"
        " with the size; a line that rises faster than the size means that rooms wait for each other."
    )
    members = sorted({it.members for run in runs for it in run.sizes})
    if len(members) < 2:
        only = [f"Every room had {it:,} members: its figures are those above." for it in members]
        return Chart("sizes", title, caption, only[0] if only else "The result does not tell rooms by their size.")
    traces = []
    for number, (name, colour) in enumerate(LEVELS if len(runs) == 1 else LEVELS[::2]):
        for run, result in enumerate(runs):
            sizes = sorted(result.sizes, key=lambda it: it.members)
            trace: dict[str, Any] = {"type": "scatter", "mode": "lines+markers", "marker": {"size": 6}}
            trace |= {"x": [it.members for it in sizes], "y": [short(getattr(it, name)) for it in sizes]}
            trace["hovertemplate"] = "%{y:,.4~r} ms"
            traces.append(trace | identity(runs, run, name, colour, number))
    layout = frame(250, len(traces)) | {"hovermode": "x unified", "annotations": [panel_title("ms, logarithmic")]}
    layout["xaxis"] = {"type": "log", "title": axis_title("members of the room, logarithmic"), "tickvals": members}
    layout["xaxis"]["ticktext"] = [f"{it:,}" for it in members]
    layout["yaxis"] = log_axis(it for trace in traces for it in trace["y"])
    return Chart("sizes", title, caption, "", traces, layout)


def _stages(runs: Sequence[Result]) -> Chart:
    title = "Where the time goes"
    caption = (
        "The stages of a delivery since its message was due: accepted by the service, stored, its doorbell rung, taken"
        " up by a worker, packed, received. A bar that dwarfs the others is where to look first. The 99th percentiles"
        " of the stages are those of different deliveries: together they are more than any one took."
    )
    rows = [(run, level) for level in ("p99", "p50") for run in reversed(range(len(runs))) if runs[run].stages_ms]
    if not rows:
        return Chart("stages", title, caption, "The messages carried no trace.")
    traces = []
    for stage, colour in zip(STAGES, SHADES, strict=True):
        spans = [getattr((runs[run].stages_ms or {}).get(stage, Quantiles()), level) for run, level in rows]
        bar: dict[str, Any] = {"type": "bar", "orientation": "h", "name": stage, "hovertemplate": "%{x:,.4~r} ms"}
        bar |= {"x": [short(it) for it in spans], "y": [f"{run_name(runs, run)}{level}" for run, level in rows]}
        traces.append(bar | {"marker": {"color": colour, "line": {"color": "--page", "width": 1}}})
    layout = frame(30 + 46 * len(rows), len(traces)) | {"barmode": "stack", "hovermode": "y unified", "bargap": 0.35}
    layout["legend"]["traceorder"] = "normal"
    layout["xaxis"] = {"title": axis_title("ms"), "showgrid": True, "rangemode": "tozero"}
    layout["yaxis"] = {"tickfont": {"color": "--text"}, "ticksuffix": " "}
    return Chart("stages", title, caption, "", traces, layout)


def _cost(runs: Sequence[Result]) -> Chart:
    title = "Cost of a million deliveries"
    caption = (
        "Counted calls at the list prices of us\u2011east\u20111, by service. API Gateway bills frames and DynamoDB"
        " rows: packing makes the first small, and a large share of the second means that rows are read or written too"
        " often."
    )
    traces = []
    for run, result in enumerate(runs):
        cost = result.cost_usd
        if cost is not None and cost.per_million_deliveries:
            whole = sum(getattr(cost, key) for _, key in SERVICES) or 1
            shares = [getattr(cost, key) / whole * cost.per_million_deliveries for _, key in SERVICES]
            bar: dict[str, Any] = {"type": "bar", "orientation": "h", "y": [name for name, _ in SERVICES]}
            bar |= {"x": [short(it) for it in shares], "text": [f"${it:.3f}" for it in shares], "hoverinfo": "skip"}
            bar |= {"textposition": "outside", "cliponaxis": False, "marker": {"color": RUN_COLOURS[run]}}
            traces.append(bar | {"name": run_name(runs, run), "textfont": {"color": "--text"}})
    if not traces:
        return Chart(
            "cost", title, caption, "The calls of this target are not counted, so that there is no cost to show."
        )
    layout = frame(80 + 50 * len(traces), len(traces)) | {"barmode": "group", "bargap": 0.4}
    layout["xaxis"] = {"title": axis_title("US dollars"), "showgrid": True, "rangemode": "tozero"}
    layout["yaxis"] = {"autorange": "reversed", "tickfont": {"color": "--text"}, "ticksuffix": " "}
    layout["margin"] |= {"r": 56}
    return Chart("cost", title, caption, "", traces, layout)
