"""The arithmetic behind the figures, and what is written down of them."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from loadtest.audit import Audit, Finding
from loadtest.bench.errors import BenchError
from loadtest.bench.flood import Flood
from loadtest.bench.growth import GrowthRow, Usage
from loadtest.bench.history import History
from loadtest.bench.isolation import Isolation
from loadtest.bench.limiter import Limiter, Reading
from loadtest.bench.packing import Packing
from loadtest.bench.posters import CONTENDERS
from loadtest.bench.posting import Turn, per_cpu_second
from loadtest.bench.report import Figures, Machine
from loadtest.bench.room import RoomRow
from loadtest.bench.search import Search
from loadtest.counts import Circumstances, Counts
from loadtest.plan import Message, Plan
from loadtest.report import Report
from loadtest.series import Series

MACHINE = Machine(cpu="an abacus", cores=2, python="3.11.7", date="2026-01-01T00:00:00+00:00", load=0.5)
DOCUMENT = Path(__file__).parents[3] / "docs/benchmarks.md"


def figures() -> Figures:
    return Figures(
        MACHINE,
        quick=False,
        post={"recipe_loop": 1_000.4, "roomcast": 2_500.6},
        post_tls={"recipe_loop": 800.4, "roomcast": 2_000.6},
        room=[RoomRow(4_000, 10, recipe_ms=45_000.04, roomcast_ms=1_500.0)],
        growth=[GrowthRow(20_000, 32, 1_600.04, 80.0, 151.04, 23.0, 128.04, 1_056, 1.012, 75.14)],
        packing=Packing(1_000, 4.8, 19_876.5, 380.04, 651.0),
        packing_throttled=Packing(1_000, 6.7, 19_900.0, 480.04, 851.0),
        isolation=Isolation(5_000, 50, 40.0, 80.0, 50.0, 120.04, 2_900.4),
        flood=Flood(20, 20.0, 199.8, 0.8, 20.0, 50.0, 24.0, 60.04),
        limiter=Limiter(1_000, 1_000.0, 500.0, 0.97123, 0.05, 5.1, 2_100.0),
        history=History(100_000, 600, 12.04, 30.0, 2.0, 9.04, 98.6),
        search=Search(100_000, 1_031, 67, 90.0, 120.04, 2.0, 131.04, 140.0, 8_777.0, 0.00109),
        import_ms={"services.connect": 312.34},
    )


def test_posts_for_each_second_of_cpu() -> None:
    """The median of each contender's turns, so that one bad turn counts for nothing."""
    turns = [Turn("a", 500, 0.5), Turn("b", 10, 1.0), Turn("a", 100, 1.0), Turn("b", 30, 1.0), Turn("a", 2_400, 2.0)]
    assert per_cpu_second(turns) == {"a": 1_000, "b": 20}


def test_a_room_s_row() -> None:
    """Medians of each side, which may have been timed differently often, and how many times faster ours is."""
    row = RoomRow.of(1_000, 10, recipe=[12_000, 11_000], ours=[500, 9_000, 460])
    assert (row.recipe_ms, row.roomcast_ms, row.ratio) == (11_500, 500, 23)


def test_json() -> None:
    """The keys that programs rely on, with as many digits as mean something."""
    assert figures().as_json() == {
        "machine": {
            "cpu": "an abacus",
            "cores": 2,
            "python": "3.11.7",
            "date": "2026-01-01T00:00:00+00:00",
            "load": 0.5,
        },
        "quick": False,
        "post": {"recipe_loop": 1_000, "roomcast": 2_501},
        "post_tls": {"recipe_loop": 800, "roomcast": 2_001},
        "room": [{"members": 4_000, "latency_ms": 10, "recipe_ms": 45_000.0, "roomcast_ms": 1_500.0, "ratio": 30.0}],
        "packing": {
            "members": 1_000,
            "entries_per_post": 4.8,
            "deliveries_per_s": 19_876.5,
            "p50_ms": 380.04,
            "p99_ms": 651.0,
        },
        "growth": [
            {
                "members": 20_000,
                "shards": 32,
                "cpu_ms": 1_600.04,
                "cpu_us_per_delivery": 80.0,
                "requests": 151.04,
                "sqs_requests": 23.0,
                "dynamodb_requests": 128.04,
                "read_units": 1_056,
                "usd_per_million": 1.01,
                "memory_mb": 75.14,
            }
        ],
        "packing_throttled": {
            "members": 1_000,
            "entries_per_post": 6.7,
            "deliveries_per_s": 19_900.0,
            "p50_ms": 480.04,
            "p99_ms": 851.0,
        },
        "isolation": {
            "members": 5_000,
            "rooms": 50,
            "alone_p50_ms": 40.0,
            "alone_p99_ms": 80.0,
            "beside_p50_ms": 50.0,
            "beside_p99_ms": 120.04,
            "large_posts_per_s": 2_900.4,
            "ratio": 1.5,
        },
        "flood": {
            "rooms": 20,
            "rate": 20.0,
            "asked_per_s": 199.8,
            "refused_share": 0.8,
            "without_p50_ms": 20.0,
            "without_p99_ms": 50.0,
            "beside_p50_ms": 24.0,
            "beside_p99_ms": 60.04,
            "ratio": 1.2,
        },
        "limiter": {
            "members": 1_000,
            "rate": 1_000.0,
            "burst": 500.0,
            "goodput": 0.9712,
            "throttled_share": 0.05,
            "entries_per_post": 5.1,
            "p99_ms": 2_100.0,
        },
        "history": {
            "entries": 100_000,
            "pages": 600,
            "p50_ms": 12.04,
            "p99_ms": 30.0,
            "queries": 2.0,
            "read_units": 9.04,
            "page_entries": 98.6,
        },
        "search": {
            "entries": 100_000,
            "hits": 1_031,
            "pages": 67,
            "page_p50_ms": 90.0,
            "page_p99_ms": 120.04,
            "queries": 2.0,
            "page_read_units": 131.04,
            "most_read_units": 140.0,
            "read_units": 8_777.0,
            "usd": 0.00109,
        },
        "import_ms": {"services.connect": 312.3},
    }


def test_what_was_not_asked_for_is_left_out() -> None:
    """No key, and no table."""
    partial = Figures(MACHINE, quick=True, import_ms={"services.connect": 1.0})
    assert set(partial.as_json()) == {"machine", "quick", "import_ms"}
    assert len(list(partial.tables())) == 1


def test_tables() -> None:
    """One for each part, with the ratios that people look for."""
    out = io.StringIO()
    Console(file=out, width=120).print(*figures().tables())
    rows = [re.sub(r"\s*│\s*", "|", it).strip("|") for it in out.getvalue().splitlines() if it.startswith("│")]
    assert rows == [
        "recipe_loop|1,000|1,000|1.0",
        "roomcast|2,501|400|2.5",
        "recipe_loop|800|1,249|1.0",
        "roomcast|2,001|500|2.5",
        "4,000|10 ± 10 ms|45,000|1,500|30.0",
        "20,000|32|80|151.0|1,056|1.01|75",
        "1,000|4.8|19,876|380|651",
        "1,000|6.7|19,900|480|851",
        "alone|40|80",
        "beside 2,900 posts/s|50|120",
        "ratio|1.2|1.5",
        "without|20|50",
        "beside 200 requests/s|24|60",
        "ratio|1.2|1.2",
        "1,000|97.1%|5.0%|5.1|2,100",
        "600|98.6|2.00|9.0|12|30",
        "1,031|67|2.00|131.0|140.0|8,777|0.00109|90|120",
        "services.connect|312",
    ]


def test_this_machine() -> None:
    """Everything about it is known."""
    machine = Machine.here()
    assert machine.cpu
    assert machine.cores >= 1
    assert machine.date.endswith("+00:00")


def report(*findings: Finding, acknowledged: bool = True) -> Report:
    message = Message("m", "r", "t", 0, due=0.0, sent_at=0.0)
    if acknowledged:
        message.acknowledged_at = 0.01
    else:
        message.refusal = "MUTED"
    return Report(
        plan=Plan("ws://h/dev", clients=10),
        audit=Audit(expected=20, received=20, pushed=20, findings=list(findings)),
        circumstances=Circumstances.now(),
        processes=1,
        counts=Counts(connected=10, frames=Counter({"batch": 20}), entry_frames=5),
        connects_per_second=100,
        messages=[message],
        owed=[],
        members={"r": 10},
        series=Series(),
        seconds=0.5,
    )


def test_packing_from_a_load_test() -> None:
    """Entries of a frame and deliveries a second, as the load test counts them."""
    packing = Packing.of(report())
    assert (packing.members, packing.entries_per_post, packing.deliveries_per_s) == (10, 4.0, 40.0)


def test_packing_of_a_run_that_lost_something() -> None:
    """A figure bought by losing messages is none."""
    lost = Finding("lost", "load-1", "r", 1, 3, "t")
    with pytest.raises(BenchError, match=r"is not clean: lost: client load-1"):
        Packing.of(report(lost))
    with pytest.raises(BenchError, match=r"is not clean: no message was acknowledged"):
        Packing.of(report(acknowledged=False))


def test_a_broadcast_s_share() -> None:
    """What some broadcasts used, divided by them: requests, and read units of the rows' sizes, shard by shard."""
    before = Usage(1.0, 100, 1, 10, 5, read_units=50, write_units=2, memory_mb=60)
    used = Usage(3.0, 1_100, 5, 26, 13, read_units=58, write_units=6, memory_mb=70).since(before)
    row = GrowthRow.of(members=1_001, shards=2, broadcasts=2, used=used)
    assert (row.cpu_ms, row.requests, row.sqs_requests, row.dynamodb_requests) == (1_000, 12, 4, 8)
    assert row.cpu_us_per_delivery == pytest.approx(1e6 / 1_001)
    assert row.read_units == 4
    assert row.memory_mb == 70
    # The posts alone are a dollar a million.
    assert 1 < row.usd_per_million < 1.1


def test_what_a_throttle_grants() -> None:
    """Posts between the first reading and the last, as a share of the rate; refusals as a share of the answers."""
    readings = [Reading(10.0, 500, 40), Reading(11.0, 1_400, 45), Reading(12.0, 2_400, 140)]
    limiter = Limiter.of(readings, members=7, entries_per_post=2.0, p99_ms=3.0)
    assert (limiter.goodput, limiter.throttled_share) == (0.95, 0.05)
    with pytest.raises(BenchError, match=r"^the gateway took no posts while the room was busy$"):
        Limiter.of(readings[:1], members=7, entries_per_post=2.0, p99_ms=3.0)


def test_the_document() -> None:
    """Every way to post has its row, and every key of the result is explained."""
    text = DOCUMENT.read_text()
    rows = {it.split("|")[1].strip().strip("`") for it in text.splitlines() if it.startswith("| `")}
    assert set(CONTENDERS) <= rows
    result = json.loads(json.dumps(figures().as_json()))
    keys = {*result, *result["room"][0], *result["growth"][0]}
    parts = ("packing", "packing_throttled", "isolation", "flood", "limiter", "history", "search")
    keys |= {it for part in parts for it in result[part]}
    assert [it for it in keys if f"`{it}`" not in text] == []
