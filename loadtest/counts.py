"""What a run's processes counted in all, and the circumstances in which they did."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self

from hdrh.histogram import HdrHistogram

from loadtest.histogram import merge, new_histogram

__all__ = ["Circumstances", "Counts", "Owed"]


@dataclass(frozen=True, slots=True)
class Circumstances:
    """When and where a run was carried out."""

    began_at: datetime
    load: tuple[float, float, float]
    """Of the machine when it began: averages of 1, 5 and 15 minutes."""
    interrupted: bool = False

    @classmethod
    def now(cls) -> Self:
        return cls(datetime.now(UTC), os.getloadavg())


class Owed(NamedTuple):
    """So many clients are owed what is in a room's log above `head`."""

    room: str
    epoch: int
    head: int
    clients: int


@dataclass(slots=True)
class Counts:
    """What the client processes counted in all."""

    connected: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    """Why clients could not connect, or were not welcomed."""
    retries: int = 0
    reconnects: int = 0
    frames: Counter[str] = field(default_factory=Counter)
    """By the type of their event."""
    entry_frames: int = 0
    """Frames that carried pushed entries."""
    grown_kb: int = 0
    """The processes' memory, from before the first socket to before the last was closed."""
    acks: HdrHistogram = field(default_factory=new_histogram)
    stages: dict[str, HdrHistogram] = field(default_factory=dict)

    @classmethod
    def of(cls, results: Iterable[Mapping[str, Any]]) -> Self:
        """Of what each process tells in the end."""
        counts = cls()
        for it in results:
            counts.connected += it["ready"]
            counts.failures.update(it["failures"])
            counts.retries += it["retries"]
            counts.reconnects += it["reconnects"]
            counts.frames.update(it["frames"])
            counts.entry_frames += it["entry_frames"]
            counts.grown_kb += it["grown_kb"]
            merge(counts.acks, it["acks"])
            for stage, text in it["stages"].items():
                merge(counts.stages.setdefault(stage, new_histogram()), text)
        return counts
