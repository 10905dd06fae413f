"""What a search of a long room takes: every page of a query for two words that few messages have, over the wire.

Two rooms hold as many messages, written past the service; in one of them some have both words, in the other, too, and
many have one of them. What was found is compared with what was written.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from client.connection import Connection, connect
from client.errors import ClientError
from loadtest.bench.errors import BenchError
from loadtest.bench.history import counts_of
from loadtest.bench.stage import start_stage
from loadtest.cost import PRICES
from loadtest.run import Watch

__all__ = ["Search", "measure_search"]

ROOM, OTHER = "archive", "attic"
EVERY = 97
"""One message of so many has both words. In the other room it is the same, of other messages."""
QUERY = "ambre Renard"
"""Of words that stand there as `Renards` and `d’Ambre`."""
FILL_WITHIN = 600.0
"""Seconds for the rows of a room to be written."""
WARM_PAGES = 10
"""So that every environment has read one before it counts."""


@dataclass(frozen=True, slots=True)
class Search:
    """All pages of one query in a room with so many entries."""

    entries: int
    hits: int
    pages: int
    page_p50_ms: float
    """From the request to its reply."""
    page_p99_ms: float
    queries: float
    """Of a page: two, of which one is the caller's memberships."""
    page_read_units: float
    """Of a page's queries, as the twin counts them."""
    most_read_units: float
    """Of the page that was billed for most."""
    read_units: float
    """Of all of them."""
    usd: float
    """What those cost."""


async def measure_search(*, entries: int, folder: Path, watch: Watch) -> Search:
    """Raises `BenchError` where it does not find what is there, each once."""
    async with start_stage(folder) as (stage, url), AsyncExitStack() as stack:
        reader = await stack.enter_async_context(connect(url, room=ROOM, user="reader"))
        await reader.join(OTHER)
        for number, room in enumerate((ROOM, OTHER)):
            watch("search: filling", number * entries, 2 * entries)
            await stage.ask(FILL_WITHIN, fill=room, entries=entries, needle={"every": EVERY, "first": 1 + number})
        await asyncio.gather(*(reader.search_page(OTHER, QUERY) for _ in range(WARM_PAGES)))
        took: list[float] = []
        units: list[float] = []
        seqs: list[int] = []
        cursor: int | None = None
        begun = before = await counts_of(stage)
        while True:
            page_begun = time.perf_counter()
            found, cursor = await _page(reader, cursor)
            took.append(1000 * (time.perf_counter() - page_begun))
            after = await counts_of(stage)
            units.append(after["units"] - before["units"])
            before = after
            seqs += found
            if cursor is None:
                break
            watch("search", entries - cursor, entries)
    expected = list(range(1, entries + 1, EVERY))[::-1]
    if seqs != expected:
        raise BenchError(f"a search found {len(seqs)} messages, {len(set(seqs))} of them different, of {len(expected)}")
    return Search(
        entries=entries,
        hits=len(seqs),
        pages=len(took),
        page_p50_ms=statistics.median(took),
        page_p99_ms=sorted(took)[-(-99 * len(took) // 100) - 1],
        queries=(before["queries"] - begun["queries"]) / len(took),
        page_read_units=statistics.mean(units),
        most_read_units=max(units),
        read_units=sum(units),
        usd=sum(units) * PRICES["dynamodb read unit"],
    )


async def _page(reader: Connection, cursor: int | None) -> tuple[list[int], int | None]:
    """The seqs of a page, and the cursor of the one that follows."""
    try:
        page = await reader.search_page(ROOM, QUERY, cursor=cursor)
    except ClientError as error:
        raise BenchError(f"a page of a search was refused: {error}") from error
    if any(it.room_id != ROOM for it in page.messages):
        raise BenchError("a search found a message of another room")
    return [it.seq for it in page.messages], page.next
