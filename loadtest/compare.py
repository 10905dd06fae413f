"""Two results side by side: their key figures, how far apart they are, and what was set differently. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from loadtest.result import Result

__all__ = ["FIGURES", "Comparison", "Figure", "compare", "flat", "readable", "settings_of"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a result."""

    path: str
    """The keys that lead to it in the JSON."""
    label: str
    better: Literal["less", "more", ""] = ""
    unit: str = ""

    def of(self, result: Result) -> float | None:
        value: Any = result
        for name in self.path.split("."):
            value = getattr(value, name, None)
        return None if value is None else float(value)


FIGURES: Sequence[Figure] = (
    Figure("clients.connected", "clients connected"),
    Figure("messages.acknowledged", "messages acknowledged"),
    Figure("messages.refused", "messages refused", "less"),
    Figure("deliveries.received", "deliveries"),
    Figure("deliveries.lost", "deliveries lost", "less"),
    Figure("deliveries.per_s", "deliveries a second", "more"),
    Figure("held_rate", "highest rate that held", "more"),
    Figure("deliveries.filled", "filled by history", "less"),
    Figure("frames.entries_per_frame", "entries a frame", "more"),
    *(Figure(f"latency_ms.{it}", f"latency {it}", "less", "ms") for it in ("p50", "p95", "p99", "max")),
    *(Figure(f"ack_ms.{it}", f"acknowledgement {it}", "less", "ms") for it in ("p50", "p99")),
    *(Figure(f"time_to_last_ms.{it}", f"time to last member {it}", "less", "ms") for it in ("p50", "p99", "max")),
    Figure("posts.sent", "posts", "less"),
    Figure("posts.throttled", "posts throttled (429)", "less"),
    Figure("posts.failed", "posts failed", "less"),
    Figure("queue.sent", "queue messages", "less"),
    Figure("queue.dead", "messages in dead-letter queues", "less"),
    Figure("units.read", "DynamoDB read units", "less"),
    Figure("units.write", "DynamoDB write units", "less"),
    Figure("cost_usd.per_million_deliveries", "cost of a million deliveries", "less", "$"),
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure of both results; None where a result lacks it."""

    figure: Figure
    a: float | None
    b: float | None

    @property
    def difference(self) -> float | None:
        return None if self.a is None or self.b is None else self.b - self.a

    @property
    def ratio(self) -> float | None:
        """b ÷ a; None where a is 0."""
        return None if not self.a or self.b is None else self.b / self.a

    @property
    def verdict(self) -> Literal["better", "worse", ""]:
        """What b is beside a. Within a tenth it is neither: two runs of the same settings differ by as much."""
        if not self.figure.better or self.a is None or self.b is None or abs(self.b - self.a) <= abs(self.a) / 10:
            return ""
        return "better" if (self.b < self.a) == (self.figure.better == "less") else "worse"


def compare(a: Result, b: Result) -> list[Comparison]:
    """Every figure that at least one of them has."""
    both = (Comparison(it, it.of(a), it.of(b)) for it in FIGURES)
    return [it for it in both if it.a is not None or it.b is not None]


def settings_of(result: Result) -> dict[str, str]:
    """What was asked for and where it ran, as text by dotted name; what a run only measured is left out."""
    asked: dict[str, Any] = {
        "profile": result.profile,
        "clients": result.clients.asked,
        "rooms": result.rooms,
        "messages": result.messages.planned,
        "dialect": result.dialect or None,
        "phases": {it.name: f"{it.rate or 0:g}/s from {it.from_:g} s to {it.to:g} s" for it in result.phases},
        "target": _target(result),
        "machine": msgspec.to_builtins(result.machine) if result.machine else None,
    }
    settings = dict(flat("", asked))
    settings.pop("machine.load", None)
    return settings


def _target(result: Result) -> dict[str, Any]:
    """Without the address of a twin, whose port is another each time."""
    if result.target is None:
        return {}
    address = None if result.target.twin else result.target.url
    return {"url": address, "twin": result.target.twin, **(result.target.settings or {})}


def flat(path: str, value: Any) -> list[tuple[str, str]]:
    """(dotted name, text) of every leaf that is there."""
    if isinstance(value, Mapping):
        return [it for name, inner in value.items() for it in flat(f"{path}.{name}".lstrip("."), inner)]
    if value is None or value == "":
        return []
    if isinstance(value, bool):
        return [(path, "yes" if value else "no")]
    return [
        (path, f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value))
    ]


def readable(value: float | None) -> str:
    """A number to three digits or more, thousands apart; a dash for none."""
    if value is None:
        return "–"
    if value < 0:
        return f"−{readable(-value)}"
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3g}"
