"""What a run came to: one JSON object for programs, a table for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hdrh.histogram import HdrHistogram
from rich.table import Table

from loadtest.audit import Audit
from loadtest.cost import Cost
from loadtest.plan import Message, Plan
from loadtest.status import Status

__all__ = ["Report", "percentiles"]

LONGEST_US = 3_600_000_000
"""One hour, in microseconds: the longest latency that is told apart."""
SIGNIFICANT_DIGITS = 3


@dataclass(slots=True)
class Report:
    """The result of one run. Times are in seconds unless a name says otherwise."""

    plan: Plan
    audit: Audit
    connected: int
    connects_per_second: float
    failures: Counter[str]
    """Why clients could not connect, or were not welcomed."""
    messages: Sequence[Message]
    retries: int
    unanswered: int
    members: dict[str, int]
    """Room → clients in it when the sending began."""
    latencies: Sequence[float]
    acks: Sequence[float]
    seconds: float
    """From the first message's due time to the last arrival."""
    frames: Counter[str]
    """By the type of their event."""
    entry_frames: int
    """Frames that carried pushed entries."""
    reconnects: int
    before: Status | None = None
    ready: Status | None = None
    after: Status | None = None
    """The twin before the run, when the sending began, and after it; None where it is no twin."""
    cost: Cost | None = None

    @property
    def acknowledged(self) -> int:
        return len(self.acks)

    @property
    def proves_nothing(self) -> bool:
        """No message was acknowledged, so that no audit could find anything."""
        return self.acknowledged == 0

    def warnings(self) -> list[str]:
        """What is no finding of the audit, and should not be overlooked; a sentence each."""
        said = [f"{count} clients could not take part: {why}" for why, count in self.failures.items()]
        if self.unanswered:
            said.append(f"{self.unanswered} messages got no answer, so nothing is owed for them")
        queue = self._queue()
        if queue is not None and queue["dead"]:
            said.append(f"{queue['dead']} messages are in dead-letter queues")
        if queue is not None and queue["left"]:
            said.append(f"{queue['left']} messages are still in the queues")
        if self.proves_nothing:
            said.append("no message was acknowledged, so that the audit proves nothing")
        return said

    def as_json(self) -> dict[str, Any]:
        """The keys that commands promise, and more."""
        audit = self.audit
        sent = sum(it.sent_at is not None for it in self.messages)
        refusals = Counter(it.refusal for it in self.messages if it.refusal is not None)
        per_frame = audit.pushed / self.entry_frames if self.entry_frames else 0.0
        return {
            "clients": {
                "asked": self.plan.clients,
                "connected": self.connected,
                "failed": self.plan.clients - self.connected,
                "connects_per_s": round(self.connects_per_second, 1),
                "reconnects": self.reconnects,
                "failures": dict(self.failures),
            },
            "rooms": self.plan.rooms,
            "dialect": self.plan.dialect,
            "seconds": round(self.seconds, 3),
            "messages": {
                "planned": len(self.messages),
                "sent": sent,
                "acknowledged": self.acknowledged,
                "refused": sum(refusals.values()),
                "unanswered": self.unanswered,
                "retries": self.retries,
                "refusals": dict(refusals),
            },
            "deliveries": {
                "expected": audit.expected,
                "received": audit.received,
                "lost": audit.count("lost"),
                "duplicates": audit.duplicates,
                "out_of_order": audit.count("out_of_order"),
                "to_non_members": audit.count("to_non_member"),
                "wrong_bodies": audit.count("wrong_body"),
                "pushed": audit.pushed,
                "filled": audit.filled,
                "per_s": round(audit.received / self.seconds, 1) if self.seconds > 0 else 0.0,
            },
            "frames": {
                "received": self.frames.total(),
                "entries_per_frame": round(per_frame, 2),
                "by_type": dict(self.frames.most_common()),
            },
            "latency_ms": percentiles(self.latencies),
            "ack_ms": percentiles(self.acks),
            "time_to_last_ms": percentiles(self._times_to_last()),
            "posts": self._posts(),
            "queue": self._queue(),
            "cost_usd": self._cost(),
            "audit": "violated" if audit.violated else "clean",
        }

    def table(self) -> Table:
        """The same for people."""
        it = self.as_json()
        table = Table(
            title=f"{self.plan.clients} clients, {self.plan.rooms} rooms, {self.plan.rate:g} messages a second"
        )
        table.add_column("")
        table.add_column("", justify="right")
        deliveries = it["deliveries"]
        rows: list[tuple[str, Any]] = [
            ("clients connected", f"{self.connected} of {self.plan.clients}"),
            ("connects a second", it["clients"]["connects_per_s"]),
            ("messages acknowledged", f"{self.acknowledged} of {it['messages']['planned']}"),
            ("deliveries", f"{deliveries['received']:,} of {deliveries['expected']:,}"),
            ("deliveries a second", f"{deliveries['per_s']:,}"),
            ("entries a frame", it["frames"]["entries_per_frame"]),
            ("duplicates on the wire", deliveries["duplicates"]),
            ("filled by history", deliveries["filled"]),
        ]
        for name, key in (("latency", "latency_ms"), ("ack", "ack_ms"), ("time to last member", "time_to_last_ms")):
            values = it[key]
            if values["p50"] is not None:
                figures = " · ".join(f"{values[p]:,.0f}" for p in ("p50", "p95", "p99", "max"))
                rows.append((f"{name}, ms (p50 · p95 · p99 · max)", figures))
        if it["posts"] is not None:
            posts, queue = it["posts"], it["queue"]
            rows.append(
                (
                    "posts (410 · 429 · failed)",
                    f"{posts['sent']:,} ({posts['gone']} · {posts['throttled']} · {posts['failed']})",
                )
            )
            rows.append(("posts before the first message", f"{posts.get('at_ready', 0):,}"))
            rows.append(("queue messages (dead · left)", f"{queue['sent']:,} ({queue['dead']} · {queue['left']})"))
        if it["cost_usd"] is not None and it["cost_usd"]["per_million_deliveries"] is not None:
            rows.append(("cost of a million deliveries, $", f"{it['cost_usd']['per_million_deliveries']:.2f}"))
        rows.append(("audit", "[bold red]violated[/]" if self.audit.violated else "[bold green]clean[/]"))
        for name, value in rows:
            table.add_row(name, str(value))
        return table

    def _times_to_last(self) -> Iterable[float]:
        return [
            it.last_at - it.due
            for it in self.messages
            if it.acknowledged_at is not None and 0 < self.members[it.room] <= it.received
        ]

    def _posts(self) -> dict[str, int] | None:
        posts = self._growth("posts", ("sent", "gone", "throttled", "failed"))
        if posts is None or self.before is None or self.ready is None:
            return posts
        # What it took to connect everybody: in proportion to the clients, not to their square.
        return {**posts, "at_ready": self.ready.count("posts", "sent") - self.before.count("posts", "sent")}

    def _growth(self, part: str, names: Sequence[str]) -> dict[str, int] | None:
        if self.before is None or self.after is None:
            return None
        return {it: self.after.count(part, it) - self.before.count(part, it) for it in names}

    def _queue(self) -> dict[str, int] | None:
        growth = self._growth("sqs", ("sent", "received"))
        if growth is None or self.before is None or self.after is None:
            return None
        return {**growth, "dead": self.after.dead - self.before.dead, "left": self.after.waiting}

    def _cost(self) -> dict[str, float | None] | None:
        if self.cost is None:
            return None
        received = self.audit.received
        return {
            "per_million_deliveries": round(self.cost.total / received * 1e6, 4) if received else None,
            "api_gateway": round(self.cost.api_gateway, 6),
            "lambda": round(self.cost.lambda_, 6),
            "sqs": round(self.cost.sqs, 6),
            "dynamodb": round(self.cost.dynamodb, 6),
        }


def percentiles(seconds: Iterable[float]) -> dict[str, float | None]:
    """p50, p95, p99 and max in milliseconds, to three digits; None where there is nothing to tell."""
    histogram = HdrHistogram(1, LONGEST_US, SIGNIFICANT_DIGITS)
    for it in seconds:
        histogram.record_value(min(LONGEST_US, max(1, round(it * 1e6))))
    if not histogram.get_total_count():
        return {"p50": None, "p95": None, "p99": None, "max": None}
    values = {f"p{it}": histogram.get_value_at_percentile(it) / 1000 for it in (50, 95, 99)}
    return {**values, "max": histogram.get_max_value() / 1000}
