"""What a run came to: one JSON object for programs, a table for people."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hdrh.histogram import HdrHistogram
from rich.table import Table

from loadtest.audit import Audit
from loadtest.cost import Cost
from loadtest.counts import Circumstances, Counts, Owed
from loadtest.histogram import encoded, new_histogram, percentiles, record
from loadtest.plan import Message, Plan
from loadtest.result import STAGES
from loadtest.series import Series
from loadtest.status import Status

__all__ = ["FINDINGS", "Report"]

FINDINGS = 100
"""How many the JSON names; all are counted."""


@dataclass(slots=True)
class Report:
    """The result of one run. Times are in seconds unless a name says otherwise."""

    plan: Plan
    circumstances: Circumstances
    processes: int
    audit: Audit
    counts: Counts
    connects_per_second: float
    messages: Sequence[Message]
    owed: Sequence[Owed]
    members: Mapping[str, int]
    """Room → clients in it when the sending began."""
    series: Series
    seconds: float
    """From the first message's due time to the last arrival."""
    before: Status | None = None
    ready: Status | None = None
    after: Status | None = None
    """The twin before the run, when the sending began, and after it; None where it is no twin."""
    cost: Cost | None = None

    @property
    def connected(self) -> int:
        return self.counts.connected

    @property
    def acknowledged(self) -> int:
        return sum(it.acknowledged_at is not None for it in self.messages)

    @property
    def unanswered(self) -> int:
        return sum(it.acknowledged_at is None and it.refusal is None for it in self.messages)

    @property
    def proves_nothing(self) -> bool:
        """No message was acknowledged, so that no audit could find anything."""
        return self.acknowledged == 0

    def warnings(self) -> list[str]:
        """What is no finding of the audit, and should not be overlooked; a sentence each."""
        said = [f"{count} clients could not take part: {why}" for why, count in self.counts.failures.items()]
        if self.circumstances.interrupted:
            said.append("the run was interrupted; what had been sent by then is told here")
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
        audit, counts, plan = self.audit, self.counts, self.plan
        refusals = Counter(it.refusal for it in self.messages if it.refusal is not None)
        per_frame = audit.pushed / counts.entry_frames if counts.entry_frames else 0.0
        last = self._times_to_last()
        return {
            "name": plan.name,
            "profile": plan.profile,
            "began_at": self.circumstances.began_at.isoformat(timespec="seconds"),
            "interrupted": self.circumstances.interrupted,
            "audit": "violated" if audit.violated else "clean",
            "findings": [str(it) for it in audit.findings[:FINDINGS]],
            "warnings": self.warnings(),
            "machine": self._machine(),
            "target": {
                "url": plan.url,
                "twin": self.before is not None,
                "settings": self.before.settings if self.before is not None else None,
            },
            "clients": {
                "asked": plan.clients,
                "connected": self.connected,
                "failed": plan.clients - self.connected,
                "connects_per_s": round(self.connects_per_second, 1),
                "reconnects": counts.reconnects,
                "failures": dict(counts.failures),
                "processes": self.processes,
                "kb_each": round(counts.grown_kb / plan.clients, 1),
            },
            "rooms": plan.rooms,
            "dialect": plan.dialect,
            "seconds": round(self.seconds, 3),
            "phases": [it.as_json() for it in self.series.stretches],
            "held_rate": self.series.held_rate(),
            "messages": {
                "planned": len(self.messages),
                "sent": sum(it.sent_at is not None for it in self.messages),
                "acknowledged": self.acknowledged,
                "refused": refusals.total(),
                "unanswered": self.unanswered,
                "retries": counts.retries,
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
                "received": counts.frames.total(),
                "entries_per_frame": round(per_frame, 2),
                "by_type": dict(counts.frames.most_common()),
            },
            "latency_ms": percentiles(self.series.latency),
            "ack_ms": percentiles(counts.acks),
            "time_to_last_ms": percentiles(_sum(last.values())),
            "sizes": self._sizes(last),
            "stages_ms": {it: percentiles(counts.stages[it]) for it in STAGES if it in counts.stages} or None,
            "posts": self._posts(),
            "queue": self._queue(),
            "units": self._units(),
            "cost_usd": self._cost(),
            "series": self.series.as_json(),
            "histograms": {
                "latency": encoded(self.series.latency),
                "ack": encoded(counts.acks),
                "time_to_last": encoded(_sum(last.values())),
            },
        }

    def table(self) -> Table:
        """The same for people."""
        it = self.as_json()
        table = Table(title=f"{self.plan.clients} clients, {self.plan.rooms} rooms, {len(self.messages)} messages")
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
        if any(stretch.phase.probes for stretch in self.series.stretches):
            held = it["held_rate"]
            rows.append(("highest rate that held, messages a second", f"{held:g}" if held is not None else "none"))
        rows.append(("audit", "[bold red]violated[/]" if self.audit.violated else "[bold green]clean[/]"))
        for name, value in rows:
            table.add_row(name, str(value))
        return table

    def _machine(self) -> dict[str, Any]:
        return {
            "cpus": os.cpu_count(),
            "platform": platform.platform(),
            "python": platform.python_version(),
            "load": list(self.circumstances.load),
        }

    def _times_to_last(self) -> dict[int, HdrHistogram]:
        """By members of the room when the sending began: from when a message was due to the last that is owed it."""
        owed: dict[tuple[str, int], list[Owed]] = {}
        for place in self.owed:
            owed.setdefault((place.room, place.epoch), []).append(place)
        found: dict[int, HdrHistogram] = {}
        for it in self.messages:
            if it.acknowledged_at is not None:
                clients = sum(place.clients for place in owed.get((it.room, it.epoch), ()) if place.head < it.seq)
                if 0 < clients <= it.received:
                    record(found.setdefault(self.members[it.room], new_histogram()), it.last_at - it.due)
        return found

    def _sizes(self, last: Mapping[int, HdrHistogram]) -> list[dict[str, Any]]:
        return [
            {"members": members, "messages": last[members].get_total_count(), **percentiles(last[members])}
            for members in sorted(last)
        ]

    def _units(self) -> dict[str, float] | None:
        if self.before is None or self.after is None or "units" not in self.after.raw:
            return None
        then, now = self.before.raw.get("units", {}), self.after.raw["units"]
        return {it: now[it] - then.get(it, 0) for it in ("read", "write")}

    def _posts(self) -> dict[str, int] | None:
        if self.before is None or self.after is None:
            return None
        posts = self.after.posts_since(self.before)
        if self.ready is None:
            return posts
        # What it took to connect everybody: in proportion to the clients, not to their square.
        return {**posts, "at_ready": self.ready.posts_since(self.before)["sent"]}

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


def _sum(histograms: Iterable[HdrHistogram]) -> HdrHistogram:
    total = new_histogram()
    for it in histograms:
        total.add(it)
    return total
