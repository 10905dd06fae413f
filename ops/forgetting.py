"""Forgetting a user, pass after pass through all that is kept, until a pass finds nothing more.

A pass closes the user's sockets, deletes what stands under known keys, reads every row of the tables and every object
of the archive, and changes what is about the user. Only that proves that nothing is left: there is no index by user,
since it would cost a write for each message for ever. From the second pass on the reads are strong, so that a pass that
finds nothing is the proof.

How far it has come stands in the table of rooms: killed at any moment and run again, it goes on there.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from adapters.dynamodb.forgetting import DynamoForgetting, DynamoRecords, Progress, Run, row_bytes
from adapters.dynamodb.forgotten import ForgottenRows, Found
from adapters.dynamodb.rows import Item, Key
from domain.forgetting import Forgetting, user_hash
from domain.ports import Archive
from domain.rooms import inbox_of
from ops.forgetting_archive import ArchiveObjects

__all__ = ["READ_UNITS", "WRITE_UNITS", "Oblivion", "Outcome", "Pace"]

READ_UNITS = 1_000.0
"""A second, where the operator names no other number."""
WRITE_UNITS = 500.0
"""Likewise; a partition of a table takes 1,000, and a room's log is one."""
PASSES = 5
"""In one run at most: who writes all the while is found anew in each."""
SEGMENTS = 8
"""Of a table, read side by side. A position is one of a segment of so many."""
PAGE = 1_000
"""Rows that are read at a time."""
SHOWN = 20
"""Rows and objects that are named where something is left."""
TABLES = ("connections", "messages", "rooms")


class Pace:
    """At most so many units a second, on the average."""

    def __init__(
        self,
        per_second: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.spent = 0.0
        self._per_second = per_second
        self._clock = clock
        self._sleep = sleep
        self._free_at = 0.0

    async def spend(self, units: float) -> None:
        """Note units that were used, and return when others may be."""
        self.spent += units
        now = self._clock()
        self._free_at = max(self._free_at, now) + units / self._per_second
        await self._sleep(self._free_at - now)


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What came of it."""

    counts: Counter[str] = field(default_factory=Counter)
    """Kind → how many were changed; of a run that had stopped before, in all. Of a look: how many there are."""
    closed: int = 0
    """Connections that this run has closed."""
    kept_bans: int = 0
    passes: int = 0
    resumed: bool = False
    left: int = 0
    """What names the user still, in the last pass."""
    where: list[str] = field(default_factory=list)
    """Some of that."""
    quiet: bool = True
    """Whether the last pass found nothing: else there is more to come, and nobody knows how much."""

    @property
    def is_proven(self) -> bool:
        """Whether nothing is left."""
        return self.quiet and not self.left


@dataclass(slots=True, kw_only=True)
class Oblivion:
    """What forgets one user. Calls of AWS's belong within `answered`."""

    user: str
    dynamodb: Any
    """An aioboto3 client."""
    tables: Mapping[str, str]
    archive: Archive | None
    """None where there is none."""
    close: Callable[[], Awaitable[int]]
    """Close the user's connections; how many they were."""
    by: str
    """Who has it done."""
    keep_bans: bool = False
    reads: Pace = field(default_factory=lambda: Pace(READ_UNITS))
    writes: Pace = field(default_factory=lambda: Pace(WRITE_UNITS))
    now: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    """Milliseconds since 1970."""
    tell: Callable[[int], None] = lambda _rows: None
    """Called with the number of rows or objects that were read."""
    outcome: Outcome = field(default_factory=Outcome)
    page: int = PAGE

    async def look(self) -> Outcome:
        """Count what there is of the user, and change nothing."""
        judge, rows = self._judge(self.now())
        for table in TABLES:
            for segment in range(SEGMENTS):
                async for items, _ in self._pages(rows, table, segment, None, strong=True):
                    self.outcome.counts.update(str(it.kind) for it in self._found(judge, table, items))
                    self._note(judge, table, items)
        if self.archive is not None:
            objects = ArchiveObjects(self.archive, judge.forgetting, tell=self.tell, leave=self._leave)
            self.outcome.counts += await objects.look()
        self.outcome.quiet = not self.outcome.counts
        return self.outcome

    async def run(self) -> Outcome:
        """Forget, as far as it is not done yet. Raises `Unavailable` where AWS goes on refusing: run it again."""
        records = DynamoRecords(self.dynamodb, self.tables, self.user)
        run = await records.begin(self.by, self.now())
        self.outcome.resumed = run.resumed
        if (record := await records.finished(run)) is not None:
            self.outcome.counts = Counter(record["counts"])
            self.outcome.passes, self.outcome.kept_bans = record["passes"], record["keptBans"]
            await records.finish(run, record)
            return self.outcome
        for number in range(run.number, run.number + PASSES):
            self.outcome.where = []
            await self._pass(records, run, number)
            progress = await records.progress()
            this = [it for (passed, _), it in progress.items() if passed == number]
            self.outcome.counts = sum((it.counts for it in progress.values()), Counter())
            self.outcome.passes = number
            self.outcome.kept_bans = sum(it.kept for it in this)
            self.outcome.left = sum(it.left for it in this)
            self.outcome.quiet = not any(it.counts.total() for it in this)
            if self.outcome.is_proven:
                await records.finish(run, self._record(run))
                return self.outcome
            await records.next_pass(number + 1)
            if self.outcome.quiet:
                break
        return self.outcome

    # ---- private

    def _judge(self, at: int) -> tuple[ForgottenRows, DynamoForgetting]:
        keep = self.now() if self.keep_bans else None
        judge = ForgottenRows(Forgetting(self.user, at), keep)
        return judge, DynamoForgetting(self.dynamodb, self.tables, judge)

    def _record(self, run: Run) -> dict[str, Any]:
        return {
            "user": user_hash(self.user),
            "by": self.by,
            "startedAt": run.started_at,
            "finishedAt": self.now(),
            "passes": self.outcome.passes,
            "counts": dict(self.outcome.counts),
            "keptBans": self.outcome.kept_bans,
            "archive": self.archive is not None,
        }

    async def _pass(self, records: DynamoRecords, run: Run, number: int) -> None:
        judge, rows = self._judge(run.started_at)
        progress = {part: it for (passed, part), it in (await records.progress()).items() if passed == number}
        await self._known(records, judge, rows, number)
        slots = asyncio.Semaphore(SEGMENTS)

        async def segment(table: str, segment: int) -> None:
            async with slots:
                part = f"{table}-{segment}"
                await self._segment(records, judge, rows, number, table, segment, progress.get(part, Progress()))

        await _together([segment(table, it) for table in TABLES for it in range(SEGMENTS)])
        if self.archive is not None:
            objects = ArchiveObjects(self.archive, judge.forgetting, tell=self.tell, leave=self._leave)
            await objects.change(records, number, progress.get("archive", Progress()))

    async def _known(self, records: DynamoRecords, judge: ForgottenRows, rows: DynamoForgetting, number: int) -> None:
        """Close the user's sockets, and delete what stands under known keys. The inbox's own row goes first: nothing is
        sent to an inbox that is not there."""
        self.outcome.closed += await self.close()
        inbox = inbox_of(self.user)
        own = await self._partition(rows, "rooms", inbox)
        meta = [it for it in own if it["sk"] == {"S": "meta"}]
        await self._change(records, rows, number, "known", self._found(judge, "rooms", meta))
        partitions = [("messages", f"#once#{self.user}")]
        for it in meta:
            epoch = it["epoch"]["N"]
            partitions.append(("messages", f"{inbox}#{epoch}"))
            partitions += [("rooms", f"{inbox}#{epoch}#{shard}") for shard in range(int(it["shards"]["N"]))]
        for table, pk in [("rooms", inbox), *partitions]:
            items = await self._partition(rows, table, pk)
            await self._change(records, rows, number, "known", self._found(judge, table, items))

    async def _partition(self, rows: DynamoForgetting, table: str, pk: str) -> list[Item]:
        items = await rows.partition(table, pk)
        await self.reads.spend(max(1, sum(map(row_bytes, items)) / 4096))
        self.tell(len(items))
        return items

    async def _segment(
        self,
        records: DynamoRecords,
        judge: ForgottenRows,
        rows: DynamoForgetting,
        number: int,
        table: str,
        segment: int,
        progress: Progress,
    ) -> None:
        if progress.done:
            return
        part = f"{table}-{segment}"
        async for items, last in self._pages(rows, table, segment, _key(progress.position), strong=number > 1):
            await self._change(records, rows, number, part, self._found(judge, table, items))
            kept, left = self._note(judge, table, items)
            await records.settle(number, part, _text(last), done=last is None, kept=kept, left=left)
            await self.writes.spend(1)

    async def _pages(
        self, rows: DynamoForgetting, table: str, segment: int, after: Key | None, *, strong: bool
    ) -> AsyncIterator[tuple[list[Item], Key | None]]:
        while True:
            items, after = await rows.page(table, segment, SEGMENTS, after, self.page, strong=strong)
            await self.reads.spend(max(1, sum(map(row_bytes, items)) / 4096) * (1 if strong else 0.5))
            self.tell(len(items))
            yield items, after
            if after is None:
                return

    def _found(self, judge: ForgottenRows, table: str, items: Sequence[Item]) -> list[Found]:
        return [found for it in items if (found := judge.found(table, it)) is not None]

    def _note(self, judge: ForgottenRows, table: str, items: Sequence[Item]) -> tuple[int, int]:
        """(bans that stay, rows that name the user though there is nothing to be done) among rows."""
        left = [it for it in items if judge.found(table, it) is None and judge.is_left(table, it)]
        for it in left:
            self._leave(f"{table}: {it['pk'].get('S')} {it['sk'].get('S')}")
        return sum(judge.is_kept(table, it) for it in items), len(left)

    def _leave(self, where: str) -> None:
        if len(self.outcome.where) < SHOWN:
            self.outcome.where.append(where)

    async def _change(
        self, records: DynamoRecords, rows: DynamoForgetting, number: int, part: str, found: Sequence[Found]
    ) -> None:
        if found:
            await rows.change(found, partial(records.counter, number, part))
            await self.writes.spend(sum(_write_units(it) for it in found))


async def _together(calls: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Side by side; if one fails none goes on."""
    tasks = [asyncio.create_task(it) for it in calls]
    try:
        await asyncio.gather(*tasks)
    finally:
        for it in tasks:
            it.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _write_units(found: Found) -> float:
    """Of a change within a transaction, which costs twice; of the counter's share a little more."""
    kilobytes = max(1, -(-row_bytes(found.read) // 1024))
    return 2 * (kilobytes + len(found.also)) + 0.1


def _text(key: Key | None) -> str:
    return "" if key is None else json.dumps([next(iter(key[it].values())) for it in ("pk", "sk")])


def _key(position: str) -> Key | None:
    if not position:
        return None
    pk, sk = json.loads(position)
    return {"pk": {"S": pk}, "sk": {"S": sk}}
