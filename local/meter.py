"""What passes through a gateway, as rates and percentiles of the last moments. Pure: it is fed with time.

An entry is one event of a room's log, pushed to one member: a frame carries one or more of them. All else that is
posted (who came, who types) is counted among the posts alone.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

__all__ = ["Counts", "Meter", "Rates"]

SLOT_MS = 50
"""Over so many milliseconds what passes is added up."""
SPAN_MS = 1_000
"""Over the last so many all is told."""


class _Event(msgspec.Struct, rename="camel"):
    room_id: str = ""
    seq: int = 0
    sent_at: int = 0
    """When it was stored, in milliseconds since 1970; only entries have it."""


class _Enveloped(msgspec.Struct):
    data: _Event


class _Data(_Event, rename="camel"):
    events: list[_Enveloped] = []


class _Frame(msgspec.Struct):
    data: _Data


_decoder = msgspec.json.Decoder(_Frame)


@dataclass(slots=True)
class Counts:
    """What passed within a stretch of time."""

    frames: int = 0
    """Those that carried entries."""
    rooms: Counter[str] = field(default_factory=Counter)
    """Room → entries."""
    latencies: Counter[int] = field(default_factory=Counter)
    """Whole milliseconds from the store to the socket → entries."""

    @property
    def entries(self) -> int:
        return self.latencies.total()

    def percentile(self, part: float) -> int | None:
        """The latency in milliseconds that this part of the entries did not exceed; None where there were none."""
        left = part * self.entries
        for latency in sorted(self.latencies):
            left -= self.latencies[latency]
            if left <= 0:
                return latency
        return None


class Meter:
    """Entries as they are handed to sockets. Times are milliseconds since 1970."""

    def __init__(self) -> None:
        self._slots: deque[tuple[int, Counts]] = deque()

    def post(self, frame: bytes, now: int) -> None:
        """A frame was handed to a socket."""
        try:
            data = _decoder.decode(frame).data
        except (msgspec.MsgspecError, UnicodeError):
            return  # none of ours: whoever may post may post anything
        entries = [it.data for it in data.events] or [data]
        entries = [it for it in entries if it.sent_at]
        if not entries:
            return
        counts = self._slot(now)
        counts.frames += 1
        for it in entries:
            counts.rooms[it.room_id] += 1
            counts.latencies[max(0, now - it.sent_at)] += 1

    def last(self, now: int, span: int = SPAN_MS) -> Counts:
        """What passed within the last `span` milliseconds."""
        self._forget(now)
        total = Counts()
        for at, counts in self._slots:
            if at > now - span:
                total.frames += counts.frames
                total.rooms.update(counts.rooms)
                total.latencies.update(counts.latencies)
        return total

    def _slot(self, now: int) -> Counts:
        at = now - now % SLOT_MS
        if not self._slots or self._slots[-1][0] != at:
            self._forget(now)
            self._slots.append((at, Counts()))
        return self._slots[-1][1]

    def _forget(self, now: int) -> None:
        while self._slots and self._slots[0][0] <= now - SPAN_MS:
            self._slots.popleft()


class Rates:
    """Counters that only rise, as rates of the last second: between the newest reading and the last one before it."""

    def __init__(self) -> None:
        self._readings: deque[tuple[int, Mapping[Any, int]]] = deque()

    def read(self, counters: Mapping[Any, int], now: int) -> dict[Any, float]:
        """A second of each counter, from its former readings; 0 at the first. `now` in milliseconds."""
        # One from before the second stays: readings that come a little later than they should would halve the time.
        while len(self._readings) > 1 and self._readings[1][0] <= now - SPAN_MS:
            self._readings.popleft()
        before, then = (self._readings[0][1], self._readings[0][0]) if self._readings else (counters, now)
        self._readings.append((now, counters))
        seconds = (now - then) / 1000
        return {
            it: round((count - before.get(it, 0)) / seconds, 1) if seconds else 0.0 for it, count in counters.items()
        }
