"""What a search has found: for people, for programs, and as a plot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from ops.search import Objective, Point, Search, Trial, pareto
from ops.trial import Load, up_options

__all__ = ["Findings", "lane_settings", "write_plot"]


def lane_settings(lane: str, names: Sequence[str], point: Point) -> list[str]:
    """`LANE.SETTING=NUMBER` for each, as `--lane` takes them."""
    return [f"{lane}.{name}={value:g}" for name, value in zip(names, point, strict=True)]


@dataclass(slots=True)
class Findings:
    """A search with what it was for."""

    objective: Objective
    lane: str
    names: Sequence[str]
    """The settings that were searched."""
    first: Point
    """Their values as they are."""
    load: Load
    seed: int
    stage: str | None
    search: Search
    post_latency: float = 0.0
    """Milliseconds that a post took on the twin, on average."""
    interrupted: bool = False

    @property
    def best(self) -> Trial | None:
        return self.search.best()

    def settings(self, point: Point) -> list[str]:
        return lane_settings(self.lane, self.names, point)

    def words(self, point: Point) -> str:
        return "  ".join(f"{name}={value:g}" for name, value in zip(self.names, point, strict=True))

    def up_options(self, point: Point) -> str:
        return " ".join(up_options(self.settings(point), self.post_latency))

    def deploy_flags(self, point: Point) -> str:
        """As `make deploy ARGS=` takes them. Lambda's mappings take no maximum concurrency below 2."""
        values = (max(2.0, it) if name == "max_concurrency" else it for name, it in zip(self.names, point, strict=True))
        return " ".join(f"-c lane.{it}" for it in self.settings(tuple(values)))

    def as_json(self) -> dict[str, Any]:
        """All that was measured; a figure that is infinite, because the run had a fault, is null."""
        best, front = self.best, pareto(self.search.trials.values())
        return {
            "objective": "cost" if self.objective.limit is None else {"p99": self.objective.limit},
            "lane": self.lane,
            "load": asdict(self.load),
            "post_latency_ms": self.post_latency if self.stage is None else None,
            "seed": self.seed,
            "stage": self.stage,
            "interrupted": self.interrupted,
            "trials": [self._trial(it) | {"pareto": it in front} for it in self.search.ranked()],
            "best": self._trial(best) | {"met": self.objective.met(best)} if best else None,
            "up": self.up_options(best.point) if best else None,
            "deploy": self.deploy_flags(best.point) if best else None,
        }

    def table(self) -> Table:
        """Every trial, the best first."""
        goal = "least cost" if self.objective.limit is None else f"p99 ≤ {self.objective.limit:g} ms, then cost"
        table = Table(title=f"{self.lane}: {goal}", title_justify="left", header_style="bold", box=box.SIMPLE)
        for name in (*self.names, "p99_ms", "range_ms", "$ a_million", "runs"):
            table.add_column(name.replace("_", "\n"), justify="right", no_wrap=True)
        table.add_column("")
        best, front = self.best, pareto(self.search.trials.values())
        for trial in self.search.ranked():
            p99s = [it.p99 for it in trial.figures]
            faults = [it.fault for it in trial.figures if it.fault]
            marks = [
                "best" if trial is best else "",
                "pareto" if trial in front else "",
                "as it is" if trial.point == self.first else "",
                *faults[:1],
            ]
            table.add_row(
                *(f"{it:g}" for it in trial.point),
                _number(trial.p99, 0),
                "" if len(p99s) == 1 else f"{_number(min(p99s), 0)}–{_number(max(p99s), 0)}",
                _number(trial.cost, 2),
                str(len(p99s)),
                ", ".join(it for it in marks if it),
                style="bold" if trial is best else None,
            )
        return table

    def advice(self) -> list[str]:
        """What to do with it."""
        best = self.best
        if best is None:
            return ["Nothing was measured."]
        lines = []
        if not self.objective.met(best):
            nearest = "none ran without a fault" if math.isinf(best.p99) else f"the nearest has {best.p99:,.0f} ms"
            lines.append(f"No settings serve the objective; {nearest}.")
        lines += [
            f"On the twin:   roomcast up {self.up_options(best.point)}",
            f'On a stage:    make deploy STAGE={self.stage or "dev"} ARGS="{self.deploy_flags(best.point)}"',
        ]
        if self.stage is not None:
            use = " ".join(f"--use {it}" for it in self.settings(best.point))
            lines.append(f"At once:       roomcast tune --stage {self.stage} --apply {use}")
        return lines

    def _trial(self, trial: Trial) -> dict[str, Any]:
        return {
            "settings": dict(zip(self.names, trial.point, strict=True)),
            "p99_ms": _finite(trial.p99),
            "per_million_deliveries_usd": _finite(trial.cost),
            "runs": [
                {"p99_ms": _finite(it.p99), "per_million_deliveries_usd": _finite(it.cost), "fault": it.fault or None}
                for it in trial.figures
            ],
        }


def write_plot(findings: Findings, path: Path) -> None:
    """Cost against p99 of every trial, as an HTML page that needs no network."""
    from plotly.io import to_html  # noqa: PLC0415  # a third of a second, for those who want the page

    trials = [it for it in findings.search.ranked() if it.p99 < math.inf]
    front = pareto(trials)

    def trace(name: str, shown: Sequence[Trial], **style: Any) -> dict[str, Any]:
        return {
            "name": name,
            "x": [it.p99 for it in shown],
            "y": [it.cost for it in shown],
            "text": [f"{findings.words(it.point)} ({len(it.figures)} runs)" for it in shown],
            "hovertemplate": "%{text}<br>p99 %{x:.0f} ms, $%{y:.2f} a million",
            **style,
        }

    figure = {
        "data": [
            trace("tried", trials, mode="markers", marker={"size": 9, "color": "#9aa4b2"}),
            trace("pareto", front, mode="lines+markers", line={"color": "#2563eb"}, marker={"size": 10}),
            trace(
                "best",
                [findings.best] if findings.best in trials and findings.best else [],
                mode="markers",
                marker={"size": 16, "symbol": "star", "color": "#dc2626"},
            ),
        ],
        "layout": {
            "title": {"text": f"roomcast tune: lane {findings.lane}, seed {findings.seed}"},
            "xaxis": {"title": {"text": "p99, ms"}, "type": "log"},
            "yaxis": {"title": {"text": "US dollars for a million deliveries"}, "rangemode": "tozero"},
            "shapes": []
            if findings.objective.limit is None
            else [
                {
                    "type": "line",
                    "x0": findings.objective.limit,
                    "x1": findings.objective.limit,
                    "y0": 0,
                    "y1": 1,
                    "yref": "paper",
                    "line": {"dash": "dash", "color": "#9aa4b2"},
                }
            ],
        },
    }
    path.write_text(to_html(figure, include_plotlyjs=True, validate=False))


def _number(value: float, digits: int) -> str:
    return "–" if math.isinf(value) else f"{value:,.{digits}f}"


def _finite(value: float) -> float | None:
    return None if math.isinf(value) else round(value, 3)
