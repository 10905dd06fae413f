"""A run second by second, put together from what its processes count."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from hdrh.histogram import HdrHistogram

from loadtest.histogram import encoded, merge, new_histogram, percentiles
from loadtest.plan import Phase
from loadtest.status import Status
from loadtest.tally import Second

__all__ = ["LATE_MS", "Series", "Stretch"]

LATE_MS = 1000.0
"""A rate is too high when one in a hundred deliveries takes longer."""
_COUNTS = ("clients", "sent", "acknowledged", "deliveries", "errors", "frames", "entries")


@dataclass(slots=True)
class Stretch:
    """A phase as it went. Times are in seconds since sending began; `end` moves when the run is cut short."""

    phase: Phase
    begin: float
    end: float
    latency: HdrHistogram = field(default_factory=new_histogram)
    """Of what arrived while it lasted."""

    @property
    def held(self) -> bool:
        """It lasted as long as planned, and no more than one delivery in a hundred was late."""
        late = self.latency.get_value_at_percentile(99) > LATE_MS * 1000 if self.latency.get_total_count() else True
        return not late and self.end - self.begin >= self.phase.seconds - 1e-6

    def as_json(self) -> dict[str, Any]:
        told: dict[str, Any] = {"name": self.phase.name, "from": self.begin, "to": self.end, "rate": self.phase.rate}
        told["p99"] = percentiles(self.latency)["p99"]
        return told | ({"held": self.held} if self.phase.probes else {})


class Series:
    """Seconds of the machine's monotonic clock; a second is put together when every process is past it."""

    def __init__(self) -> None:
        self.latency = new_histogram()
        """Of all deliveries."""
        self.stretches: list[Stretch] = []
        self._rows: dict[int, dict[str, Any]] = {}
        self._open: dict[int, list[Second]] = defaultdict(list)
        self._statuses: dict[int, Status] = {}
        self._start = 0

    def begin(self, start: int, timeline: Sequence[Phase]) -> None:
        """Sending begins at `start`."""
        self._start = start
        at = 0.0
        for phase in timeline:
            self.stretches.append(Stretch(phase, at, at + phase.seconds))
            at += phase.seconds

    def cut(self, at: float) -> None:
        """Sending ends at `at`, sooner than planned."""
        since = at - self._start
        self.stretches = [it for it in self.stretches if it.begin < since]
        for it in self.stretches:
            it.end = min(it.end, since)

    def see(self, second: int, status: Status) -> None:
        """What a twin says in that second."""
        self._statuses[second] = status

    def take(self, looks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Add what each process told; returns the rows of the seconds that are now whole."""
        for look in looks:
            for raw in look["seconds"]:
                second = msgspec.convert(raw, Second)
                self._open[second.at].append(second)
        # Two processes may be told that it is over in different seconds.
        upto = min(look["until"] for look in looks) if looks else 0
        whole = sorted(it for it in self._open if it < upto)
        return [self._row(at, self._open.pop(at)) for at in whole]

    def overloaded(self) -> Stretch | None:
        """A stretch that was to find out what is too much, and has."""
        return next(
            (it for it in self.stretches if it.phase.probes and (percentiles(it.latency)["p99"] or 0.0) > LATE_MS),
            None,
        )

    def held_rate(self) -> float | None:
        """The highest rate of those tried that held; None where none was to be found, or none held."""
        rates = [it.phase.rate for it in self.stretches if it.phase.probes and it.held]
        return max(rates, default=None)

    def as_json(self) -> list[dict[str, Any]]:
        rows = []
        for at, row in sorted(self._rows.items()):
            status, before = self._statuses.get(at), self._statuses.get(at - 1)
            posts = status.posts_since(before) if status is not None and before is not None else None
            queue = status.depths if status is not None else None
            rows.append({"t": at - self._start, **row, "queue": queue, "posts": posts})
        return rows

    def _row(self, at: int, seconds: Sequence[Second]) -> dict[str, Any]:
        latency = new_histogram()
        for it in seconds:
            merge(latency, it.latency)
        text = encoded(latency)
        merge(self.latency, text)
        for stretch in self.stretches:
            # What arrives after the end is the last one's.
            if stretch.begin <= at - self._start and (at - self._start < stretch.end or stretch is self.stretches[-1]):
                merge(stretch.latency, text)
        row = {name: sum(getattr(it, name) for it in seconds) for name in _COUNTS} | percentiles(latency)
        self._rows[at] = row
        return row
