"""A load test's result as it stands in its JSON file: the keys that a report and a comparison read, with their types.

Keys that a run could not fill are null or absent; those not named here are ignored, so that files of older and newer
releases are read too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec
from hdrh.histogram import HdrHistogram
from msgspec import Struct, field

from domain.errors import BadSetting

__all__ = ["STAGES", "Phase", "Quantiles", "Result", "Second", "Size", "histogram", "read_result", "typed"]

STAGES = ("accepted", "stored", "rung", "served", "packed", "received")
"""What happens to a message, in this order."""


class Quantiles(Struct, frozen=True):
    """Milliseconds."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None


class Clients(Struct, frozen=True):
    asked: int
    connected: int
    failed: int = 0
    connects_per_s: float = 0
    reconnects: int = 0


class Messages(Struct, frozen=True):
    sent: int
    acknowledged: int
    refused: int = 0
    planned: int | None = None
    unanswered: int = 0
    retries: int = 0


class Deliveries(Struct, frozen=True):
    expected: int
    received: int
    lost: int = 0
    duplicates: int = 0
    """Repeats on the wire, which clients drop."""
    out_of_order: int = 0
    to_non_members: int = 0
    wrong_bodies: int = 0
    filled: int = 0
    """By history."""
    per_s: float = 0


class Frames(Struct, frozen=True):
    received: int = 0
    entries_per_frame: float = 0


class Posts(Struct, frozen=True):
    sent: int = 0
    gone: int = 0
    throttled: int = 0
    failed: int = 0


class Queue(Struct, frozen=True):
    sent: int = 0
    received: int = 0
    dead: int = 0
    left: int = 0


class Cost(Struct, frozen=True):
    """US dollars; of the run, but for the first."""

    per_million_deliveries: float | None = None
    api_gateway: float = 0
    lambda_: float = field(name="lambda", default=0)
    sqs: float = 0
    dynamodb: float = 0


class Units(Struct, frozen=True):
    """Of DynamoDB."""

    read: float = 0
    write: float = 0


class Phase(Struct, frozen=True):
    """Seconds since the sending began; messages a second."""

    name: str
    from_: float = field(name="from")
    to: float
    rate: float | None = None


class Second(Struct, frozen=True):
    """One second of the run, `t` seconds after the sending began."""

    t: float
    clients: int = 0
    sent: int = 0
    acknowledged: int = 0
    deliveries: int = 0
    errors: int = 0
    frames: int = 0
    entries: int = 0
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None
    queue: dict[str, int] | None = None
    posts: Posts | None = None


class Size(Struct, frozen=True):
    """Time to the last member, in milliseconds, of messages to rooms with so many members."""

    members: int
    messages: int = 0
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None


class Histograms(Struct, frozen=True):
    """HDR histograms of microseconds, encoded."""

    latency: str | None = None
    ack: str | None = None
    time_to_last: str | None = None


class Machine(Struct, frozen=True):
    cpus: int | None = None
    platform: str = ""
    python: str = ""
    load: list[float] = []
    """Averages of 1, 5 and 15 minutes when the run began."""


class Target(Struct, frozen=True):
    url: str = ""
    twin: bool | None = None
    settings: dict[str, Any] | None = None


class Result(Struct, frozen=True):
    """One run."""

    clients: Clients
    messages: Messages
    deliveries: Deliveries
    frames: Frames
    latency_ms: Quantiles
    ack_ms: Quantiles
    time_to_last_ms: Quantiles
    audit: Literal["clean", "violated"]
    name: str = ""
    profile: str | None = None
    began_at: str | None = None
    interrupted: bool = False
    rooms: int | None = None
    dialect: str = ""
    seconds: float = 0
    posts: Posts | None = None
    queue: Queue | None = None
    cost_usd: Cost | None = None
    units: Units | None = None
    machine: Machine | None = None
    target: Target | None = None
    phases: list[Phase] = []
    held_rate: float | None = None
    """The highest rate that held, messages a second, where steps were to find it."""
    series: list[Second] = []
    histograms: Histograms | None = None
    sizes: list[Size] = []
    stages_ms: dict[str, Quantiles] | None = None
    findings: list[str] | None = None
    warnings: list[str] = []


def read_result(path: Path) -> Result:
    """The result in a file that `roomcast loadtest --json` wrote. Raises `BadSetting`, naming the file."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Result)
    except OSError as error:
        raise BadSetting(f"{path}: it can't be read: {error.strerror}") from None
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadSetting(f"{path}: it is no result of `roomcast loadtest --json`: {error}") from None


def typed(raw: dict[str, Any]) -> Result:
    """The same from an object that was never a file. Raises `BadSetting`."""
    try:
        return msgspec.convert(raw, Result)
    except msgspec.ValidationError as error:
        raise BadSetting(f"no result of a load test: {error}") from None


def histogram(text: str | None) -> HdrHistogram | None:
    """An encoded histogram with something in it; None for any other, which a report can do without."""
    if text is None:
        return None
    try:
        decoded = HdrHistogram.decode(text)
    except Exception:  # its decoder raises ValueError, zlib's, ctypes' and its own errors
        return None
    return decoded if decoded.get_total_count() else None
