"""What the benchmarks came to: one JSON object for programs, tables for people."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from loadtest.bench.flood import Flood
from loadtest.bench.growth import GrowthRow
from loadtest.bench.history import History
from loadtest.bench.isolation import Isolation
from loadtest.bench.limiter import Limiter
from loadtest.bench.packing import Packing
from loadtest.bench.room import RoomRow
from loadtest.bench.search import Search

__all__ = ["Figures", "Machine"]

BASELINE = "recipe_loop"
"""What the other ways to post are compared with."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where and when it was measured."""

    cpu: str
    cores: int
    python: str
    date: str
    """ISO 8601, UTC."""
    load: float
    """The machine's load average of the minute before: well below 1 is an idle one."""

    @classmethod
    def here(cls) -> Machine:
        return cls(
            cpu=_cpu_model(),
            cores=os.cpu_count() or 1,
            python=platform.python_version(),
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            load=round(os.getloadavg()[0], 2),
        )


@dataclass(slots=True)
class Figures:
    """The result of one run; a part that was not asked for is None."""

    machine: Machine
    quick: bool
    post: Mapping[str, float] | None = None
    """Contender → posts for each second of CPU."""
    post_tls: Mapping[str, float] | None = None
    """The same over TLS."""
    room: Sequence[RoomRow] | None = None
    growth: Sequence[GrowthRow] | None = None
    packing: Packing | None = None
    packing_throttled: Packing | None = None
    isolation: Isolation | None = None
    flood: Flood | None = None
    limiter: Limiter | None = None
    history: History | None = None
    search: Search | None = None
    import_ms: Mapping[str, float] | None = None

    def as_json(self) -> dict[str, Any]:
        """The keys that commands promise, and more; without the parts that were not asked for."""
        result: dict[str, Any] = {"machine": asdict(self.machine), "quick": self.quick}
        if self.post is not None:
            result["post"] = _post_json(self.post)
        if self.post_tls is not None:
            result["post_tls"] = _post_json(self.post_tls)
        if self.room is not None:
            result["room"] = [_room_json(it) for it in self.room]
        if self.growth is not None:
            result["growth"] = [_rounded(it) for it in self.growth]
        if self.packing is not None:
            result["packing"] = _rounded(self.packing)
        if self.packing_throttled is not None:
            result["packing_throttled"] = _rounded(self.packing_throttled)
        if self.isolation is not None:
            result["isolation"] = {**_rounded(self.isolation), "ratio": round(self.isolation.ratio, 2)}
        if self.flood is not None:
            result["flood"] = {**_rounded(self.flood), "ratio": round(self.flood.ratio, 2)}
        if self.limiter is not None:
            result["limiter"] = _rounded(self.limiter, 4)
        if self.history is not None:
            result["history"] = _rounded(self.history)
        if self.search is not None:
            result["search"] = _rounded(self.search, 5)
        if self.import_ms is not None:
            result["import_ms"] = {name: round(it, 1) for name, it in self.import_ms.items()}
        return result

    def tables(self) -> Iterator[Table]:
        """The same for people, a table a part."""
        if self.post is not None:
            yield _post_table("Posting, one process", self.post)
        if self.post_tls is not None:
            yield _post_table("Posting over TLS, one process", self.post_tls)
        if self.room is not None:
            yield _room_table(self.room)
        if self.growth is not None:
            yield _growth_table(self.growth)
        if self.packing is not None:
            yield _packing_table("Packing", self.packing)
        if self.packing_throttled is not None:
            yield _packing_table("Packing, posts throttled", self.packing_throttled)
        if self.isolation is not None:
            yield _isolation_table(self.isolation)
        if self.flood is not None:
            yield _flood_table(self.flood)
        if self.limiter is not None:
            yield _limiter_table(self.limiter)
        if self.history is not None:
            yield _history_table(self.history)
        if self.search is not None:
            yield _search_table(self.search)
        if self.import_ms is not None:
            yield _import_table(self.import_ms)


def _post_table(title: str, post: Mapping[str, float]) -> Table:
    table = _table(title, "", "posts a CPU-second", "µs CPU a post", "× the recipe's")
    for name, it in post.items():
        table.add_row(name, f"{it:,.0f}", f"{1e6 / it:,.0f}", f"{it / post[BASELINE]:,.1f}")
    return table


def _room_table(rows: Iterable[RoomRow]) -> Table:
    table = _table("One broadcast, to the last member", "members", "a post takes", "recipe ms", "roomcast ms", "ratio")
    for it in rows:
        latency = f"{it.latency_ms} ± {it.latency_ms} ms"
        table.add_row(f"{it.members:,}", latency, f"{it.recipe_ms:,.0f}", f"{it.roomcast_ms:,.0f}", f"{it.ratio:,.1f}")
    return table


def _growth_table(rows: Iterable[GrowthRow]) -> Table:
    table = _table(
        "A broadcast, by the size of the room",
        "members",
        "shards",
        "µs CPU a delivery",
        "requests",
        "read units",
        "$ a million",
        "MB",
    )
    for it in rows:
        table.add_row(
            f"{it.members:,}",
            f"{it.shards}",
            f"{it.cpu_us_per_delivery:,.0f}",
            f"{it.requests:,.1f}",
            f"{it.read_units:,.0f}",
            f"{it.usd_per_million:.2f}",
            f"{it.memory_mb:,.0f}",
        )
    return table


def _packing_table(title: str, it: Packing) -> Table:
    table = _table(title, "members", "entries a post", "deliveries a second", "p50 ms", "p99 ms")
    table.add_row(
        f"{it.members:,}",
        f"{it.entries_per_post:g}",
        f"{it.deliveries_per_s:,.0f}",
        f"{it.p50_ms:,.0f}",
        f"{it.p99_ms:,.0f}",
    )
    return table


def _isolation_table(it: Isolation) -> Table:
    table = _table(f"{it.rooms} small rooms beside one of {it.members:,}", "", "p50 ms", "p99 ms")
    table.add_row("alone", f"{it.alone_p50_ms:,.0f}", f"{it.alone_p99_ms:,.0f}")
    table.add_row(f"beside {it.large_posts_per_s:,.0f} posts/s", f"{it.beside_p50_ms:,.0f}", f"{it.beside_p99_ms:,.0f}")
    table.add_row("ratio", f"{it.beside_p50_ms / it.alone_p50_ms:.1f}", f"{it.ratio:.1f}")
    return table


def _flood_table(it: Flood) -> Table:
    table = _table(
        f"{it.rooms} small rooms beside a flood, {it.refused_share:.0%} of it refused", "", "p50 ms", "p99 ms"
    )
    table.add_row("without", f"{it.without_p50_ms:,.0f}", f"{it.without_p99_ms:,.0f}")
    table.add_row(f"beside {it.asked_per_s:,.0f} requests/s", f"{it.beside_p50_ms:,.0f}", f"{it.beside_p99_ms:,.0f}")
    table.add_row("ratio", f"{it.beside_p50_ms / it.without_p50_ms:.1f}", f"{it.ratio:.1f}")
    return table


def _limiter_table(it: Limiter) -> Table:
    title = f"A throttle of {it.rate:,.0f} a second, burst {it.burst:,.0f}"
    table = _table(title, "members", "used of it", "429s", "entries a post", "p99 ms")
    table.add_row(
        f"{it.members:,}",
        f"{it.goodput:.1%}",
        f"{it.throttled_share:.1%}",
        f"{it.entries_per_post:g}",
        f"{it.p99_ms:,.0f}",
    )
    return table


def _history_table(it: History) -> Table:
    table = _table(
        f"Pages of a room with {it.entries:,} entries", "pages", "entries", "queries", "read units", "p50 ms", "p99 ms"
    )
    table.add_row(
        f"{it.pages:,}",
        f"{it.page_entries:.1f}",
        f"{it.queries:.2f}",
        f"{it.read_units:.1f}",
        f"{it.p50_ms:,.0f}",
        f"{it.p99_ms:,.0f}",
    )
    return table


def _search_table(it: Search) -> Table:
    table = _table(
        f"A search of a room with {it.entries:,} entries",
        *("hits", "pages", "queries", "read units a page", "at most", "in all", "$", "p50 ms", "p99 ms"),
    )
    table.add_row(
        f"{it.hits:,}",
        f"{it.pages:,}",
        f"{it.queries:.2f}",
        f"{it.page_read_units:.1f}",
        f"{it.most_read_units:.1f}",
        f"{it.read_units:,.0f}",
        f"{it.usd:.5f}",
        f"{it.page_p50_ms:,.0f}",
        f"{it.page_p99_ms:,.0f}",
    )
    return table


def _import_table(import_ms: Mapping[str, float]) -> Table:
    table = _table("Imports", "", "ms")
    for name, it in import_ms.items():
        table.add_row(name, f"{it:,.0f}")
    return table


def _post_json(post: Mapping[str, float]) -> dict[str, int]:
    return {name: round(it) for name, it in post.items()}


def _rounded(
    row: GrowthRow | Packing | Isolation | Flood | Limiter | History | Search, digits: int = 2
) -> dict[str, Any]:
    return {name: round(it, digits) for name, it in asdict(row).items()}


def _room_json(row: RoomRow) -> dict[str, Any]:
    return {
        "members": row.members,
        "latency_ms": row.latency_ms,
        "recipe_ms": round(row.recipe_ms, 1),
        "roomcast_ms": round(row.roomcast_ms, 1),
        "ratio": round(row.ratio, 2),
    }


def _table(title: str, first: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(first)
    for it in columns:
        table.add_column(it, justify="right")
    return table


def _cpu_model() -> str:
    """As Linux names it; elsewhere what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (it.partition(":")[2].strip() for it in lines if it.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
