"""What one process counts: by the second, so that a run can be seen as it goes, and in all."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from hdrh.histogram import HdrHistogram

from domain.events import Trace
from loadtest.histogram import encoded, new_histogram, record
from loadtest.result import STAGES

__all__ = ["Second", "Tally"]


@dataclass(slots=True)
class Second:
    """One whole second of the machine's monotonic clock."""

    at: int
    clients: int = 0
    """With an open socket, at its end."""
    sent: int = 0
    acknowledged: int = 0
    deliveries: int = 0
    errors: int = 0
    """Answers that were errors, and sockets that broke."""
    frames: int = 0
    """With entries."""
    entries: int = 0
    latency: str = ""
    """Of the deliveries, encoded."""


@dataclass(slots=True)
class Tally:
    """Counters of one process. Times are in seconds of the monotonic clock."""

    frames: Counter[str] = field(default_factory=Counter)
    """By the type of their event; "" for what is none."""
    entry_frames: int = 0
    """Frames that carried pushed entries."""
    acknowledged: int = 0
    open: int = 0
    """Sockets now."""
    _closed: list[Second] = field(default_factory=list)
    _second: Second = field(default_factory=lambda: Second(int(time.monotonic())))
    _latency: HdrHistogram = field(default_factory=new_histogram)
    acks: HdrHistogram = field(default_factory=new_histogram)
    stages: dict[str, HdrHistogram] = field(default_factory=dict)
    _wall: float = field(default_factory=lambda: time.time() - time.monotonic())

    def second(self, now: float) -> Second:
        """The second that `now` is in, to count in; those before it are over."""
        if now >= self._second.at + 1:
            self._turn(int(now))
        return self._second

    def delivered(self, now: float, latency: float) -> None:
        self.second(now).deliveries += 1
        record(self._latency, latency)

    def answered(self, now: float, latency: float) -> None:
        self.second(now).acknowledged += 1
        self.acknowledged += 1
        record(self.acks, latency)

    def framed(self, kind: str, entries: int, now: float) -> None:
        """A frame came with so many pushed entries."""
        self.frames[kind] += 1
        if entries:
            self.entry_frames += 1
            second = self.second(now)
            second.frames += 1
            second.entries += entries

    def traced(self, trace: Trace, due: float, now: float) -> None:
        """The stages of a delivery, each timed since the one before that its trace knows of, the first since `due`."""
        before = (due + self._wall) * 1000
        times = (trace.accepted_at, trace.stored_at, trace.rung_at, trace.served_at, trace.packed_at)
        for stage, at in zip(STAGES, (*times, (now + self._wall) * 1000), strict=True):
            if isinstance(at, int | float):
                if stage not in self.stages:
                    self.stages[stage] = new_histogram()
                record(self.stages[stage], (at - before) / 1000)
                before = at

    def take(self, now: float, *, last: bool = False) -> list[Second]:
        """The seconds that are over and were not taken yet, each once, also those in which nothing happened; `last`:
        with the present one, since nothing will be counted any more."""
        self.second(now + last)
        closed, self._closed = self._closed, []
        return closed

    def _turn(self, now: int) -> None:
        self._second.latency = encoded(self._latency)
        self._latency.reset()
        while self._second.at < now:
            self._second.clients = self.open
            self._closed.append(self._second)
            self._second = Second(self._second.at + 1)
