"""What a page of a long room's history takes: the newest, and those before and after any seq, over the wire.

The log is rows, written past the service; what reads it is the real function, asked by one client after another page.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.connection import Connection, Page, connect
from client.errors import ClientError
from loadtest.bench.errors import BenchError
from loadtest.bench.stage import ANSWER_WITHIN, start_stage
from loadtest.children import Peer
from loadtest.run import Watch

__all__ = ["History", "counts_of", "measure_history"]

ROOM = "archive"
FILL_WITHIN = 600.0
"""Seconds for the rows to be written."""
FUNCTION = "message"
QUERY, UNITS = "dynamodb.Query", "Query"
"""How its tally names them."""
WARM_PAGES = 20
"""So that every environment has read one before it counts."""


@dataclass(frozen=True, slots=True)
class History:
    """Pages of a hundred entries of a room with so many."""

    entries: int
    pages: int
    p50_ms: float
    """From the request to its reply."""
    p99_ms: float
    queries: float
    """Of a page: two, of which one is the caller's memberships."""
    read_units: float
    """Of a page's queries, as the twin counts them."""
    page_entries: float


async def measure_history(*, entries: int, pages: int, folder: Path, watch: Watch) -> History:
    """Raises `BenchError` where a page is not what it has to be."""
    async with start_stage(folder) as (stage, url), AsyncExitStack() as stack:
        reader = await stack.enter_async_context(connect(url, room=ROOM, user="reader"))
        await reader.ping()
        watch("history: filling", 0, entries)
        await stage.ask(FILL_WITHIN, fill=ROOM, entries=entries)
        draw = random.Random(1)
        await asyncio.gather(*(reader.history(ROOM) for _ in range(WARM_PAGES)))
        before = await counts_of(stage)
        took: list[float] = []
        read = 0
        for number in range(pages):
            seq = draw.randrange(entries)
            asked = ({}, {"before": seq + 1}, {"after": seq})[number % 3]
            begun = time.perf_counter()
            page = await _page(reader, asked)
            took.append(1000 * (time.perf_counter() - begun))
            read += _checked(page, asked, entries)
            watch("history", number + 1, pages)
        after = await counts_of(stage)
    return History(
        entries=entries,
        pages=pages,
        p50_ms=statistics.median(took),
        p99_ms=sorted(took)[-(-99 * len(took) // 100) - 1],
        queries=(after["queries"] - before["queries"]) / pages,
        read_units=(after["units"] - before["units"]) / pages,
        page_entries=read / pages,
    )


async def _page(reader: Connection, asked: Mapping[str, int]) -> Page:
    try:
        return await reader.history(ROOM, **asked)
    except ClientError as error:
        raise BenchError(f"a page of history was refused: {error}") from error


def _checked(page: Page, asked: Mapping[str, int], entries: int) -> int:
    """How many entries the page has, if they are those that were asked for."""
    seqs = [getattr(it, "seq", None) for it in page.events]
    if not seqs and asked in ({"before": 1}, {"after": entries}):
        return 0
    first, last = (seqs[0], seqs[-1]) if seqs else (None, None)
    expected = asked["after"] + 1 == first if "after" in asked else asked.get("before", entries + 1) - 1 == last
    if not expected or first is None or last is None or seqs != list(range(first, last + 1)):
        raise BenchError(f"a page of history that was asked for by {asked} holds {first} to {last}, or has gaps")
    return len(seqs)


async def counts_of(stage: Peer) -> dict[str, Any]:
    """How many queries the message function has made so far, and what they were billed."""
    counts = await stage.ask(ANSWER_WITHIN, tally=FUNCTION)
    return {"queries": counts["calls"].get(QUERY, 0), "units": counts["units"].get(UNITS, 0.0)}
