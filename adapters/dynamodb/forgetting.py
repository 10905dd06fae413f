"""Forgetting a user in the three tables: rows are read and changed, and how far that has come is remembered.

What is changed and that it was counted is one transaction. So whenever this ends, the counts say what was done; and
each change has the condition that the row is as it was read, so that nobody's later write is lost.

The memory is in the table of rooms: `#forget#HASH`/`run` is the run that goes on, `pass#N#PART` how far a part of it
has come (`position`, `done`) and what it has changed, `done#STARTED` what a finished run has done. HASH stands for the
user; a position may name them, and goes with the run.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from adapters.dynamodb import rows
from adapters.dynamodb.forgotten import RECORDS, ForgottenRows, Found
from adapters.dynamodb.rows import Item, Key
from adapters.dynamodb.tables import Tables, named
from domain.errors import Conflict, Unavailable
from domain.forgetting import Kind, user_hash

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import TransactWriteItemTypeDef

__all__ = ["DynamoForgetting", "DynamoRecords", "Progress", "Run", "row_bytes"]

AT_ONCE = 50
"""Writes in a transaction. A message is at most 24 KB, and stands in it twice: as it was and as it becomes."""
PAUSES = (0.05, 0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds before each further try of what was throttled, or met somebody else's write."""


_T = TypeVar("_T")


def row_bytes(item: Mapping[str, Any]) -> int:
    """About how large a row is, as DynamoDB bills it."""
    return sum(len(name) + len(str(next(iter(it.values()))).encode()) for name, it in item.items())


@dataclass(frozen=True, slots=True)
class Run:
    """A run that goes on, maybe after it had stopped."""

    started_at: int
    """Milliseconds since 1970."""
    number: int
    """Of the pass."""
    resumed: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a part of a pass has come."""

    position: str = ""
    """Where it goes on; empty at its beginning."""
    done: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    """Kind → what was changed."""
    kept: int = 0
    """Bans that stay, as far as it has come."""
    left: int = 0
    """Rows and objects that name the user still, of which nothing could be done."""
    counted: str = ""
    """An object of the archive whose lines are counted, whether or not they are changed yet."""


class DynamoRecords:
    """What is remembered of forgetting a user. `tables`: connections, rooms, messages → name."""

    def __init__(
        self,
        client: DynamoDBClient,
        tables: Mapping[str, str],
        user: str,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._tables = Tables(client, sleep)
        self._rooms = tables["rooms"]
        self._pk = RECORDS + user_hash(user)

    async def begin(self, by: str, now: int) -> Run:
        """The run that goes on, or else a new one."""
        row = await self._tables.update(
            self._rooms,
            self._key("run"),
            "SET startedAt = if_not_exists(startedAt, :now), startedBy = if_not_exists(startedBy, :by),"
            " passNumber = if_not_exists(passNumber, :one), v = :one ADD starts :one",
            named(now=now, by=by, one=1),
        )
        return Run(int(row["startedAt"]["N"]), int(row["passNumber"]["N"]), int(row["starts"]["N"]) > 1)

    async def next_pass(self, number: int) -> None:
        """The run is in that pass now."""
        await self._tables.update(self._rooms, self._key("run"), "SET passNumber = :number", named(number=number))

    async def progress(self) -> dict[tuple[int, str], Progress]:
        """(pass, part) → how far it has come, for all that were begun."""
        result: dict[tuple[int, str], Progress] = {}
        condition = "pk = :pk AND begins_with(sk, :pass)"
        async for item in self._tables.query(self._rooms, condition, named(**{"pk": self._pk, "pass": "pass#"})):
            _, number, part = item["sk"]["S"].split("#", 2)
            counts = Counter({str(it): int(item[it]["N"]) for it in Kind if it in item})
            result[int(number), part] = Progress(
                position=item.get("position", {"S": ""})["S"],
                done="done" in item,
                counts=counts,
                kept=int(item.get("kept", {"N": "0"})["N"]),
                left=int(item.get("left", {"N": "0"})["N"]),
                counted=item.get("counted", {"S": ""})["S"],
            )
        return result

    async def settle(
        self, number: int, part: str, position: str, *, done: bool = False, kept: int = 0, left: int = 0
    ) -> None:
        """The part has come so far, and has met so many more bans that stay, and rows that are left."""
        await self._tables.update(
            self._rooms,
            self._key(_part(number, part)),
            f"SET #position = :position{', #done = :done' if done else ''} ADD #kept :kept, #left :left",
            named(position=position, done=True if done else None, kept=kept, left=left),
            names={f"#{it}": it for it in ("position", "kept", "left", *(["done"] if done else []))},
        )

    async def count(self, number: int, part: str, kind: Kind, more: int, counted: str) -> None:
        """Count lines of an object before they are changed."""
        await self._tables.update(
            self._rooms,
            self._key(_part(number, part)),
            "SET counted = :counted ADD #kind :more",
            named(counted=counted, more=more),
            names={"#kind": kind},
        )

    async def finished(self, run: Run) -> dict[str, Any] | None:
        """The record of the run, if it was kept: then all that is left to do is to let go of the rest."""
        item = await self._tables.get(self._rooms, self._key(f"done#{run.started_at}"))
        return None if item is None else json.loads(item["record"]["S"])

    async def finish(self, run: Run, record: Mapping[str, Any]) -> None:
        """Keep the record, and let go of all that was remembered on the way."""
        done = self._key(f"done#{run.started_at}") | rows.values({"v": 1, "record": json.dumps(record)})
        await self._tables.put(self._rooms, done)
        for number, part in await self.progress():
            await self._tables.delete(self._rooms, self._key(_part(number, part)))
        await self._tables.delete(self._rooms, self._key("run"))

    def counter(self, number: int, part: str, counts: Mapping[str, int]) -> TransactWriteItemTypeDef:
        """Counting, as a part of a transaction."""
        update: Any = {
            "TableName": self._rooms,
            "Key": self._key(_part(number, part)),
            "UpdateExpression": "ADD " + ", ".join(f"#{it} :{it}" for it in counts),
            "ExpressionAttributeNames": {f"#{it}": it for it in counts},
            "ExpressionAttributeValues": named(**counts),
        }
        return {"Update": update}

    def _key(self, sk: str) -> Key:
        return {"pk": {"S": self._pk}, "sk": {"S": sk}}


class DynamoForgetting:
    """Rows, read and changed. `counter`: counts → how they are counted, in the transaction of the change."""

    def __init__(
        self,
        client: DynamoDBClient,
        tables: Mapping[str, str],
        judge: ForgottenRows,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._tables = Tables(client, sleep)
        self._names = tables
        self._judge = judge
        self._sleep = sleep

    async def page(
        self, table: str, segment: int, segments: int, after: Key | None, limit: int, *, strong: bool
    ) -> tuple[list[Item], Key | None]:
        """(rows of a segment of a table from behind a key on, the key of the last one if more follow)."""
        return await self._patiently(
            lambda: self._tables.scan(
                self._names[table], after, limit, Segment=segment, TotalSegments=segments, ConsistentRead=strong
            )
        )

    async def partition(self, table: str, pk: str) -> list[Item]:
        """All rows of a partition."""

        async def read() -> list[Item]:
            return [dict(it) async for it in self._tables.query(self._names[table], "pk = :pk", named(pk=pk))]

        return await self._patiently(read)

    async def change(self, found: Sequence[Found], counter: Callable[[Mapping[str, int]], Any]) -> int:
        """Make of the rows what they become, and count it; how many were changed: others may have changed some
        meanwhile so that nothing is to be done any more."""
        changed = 0
        alone = [it for it in found if it.kind is Kind.REACTION]
        for batch in self._batches([it for it in found if it.kind is not Kind.REACTION]):
            writes = [write for it in batch for write in self._writes(it)]
            try:
                await self._tables.transact(*writes, counter(Counter(str(it.kind) for it in batch)))
                changed += len(batch)
            except (Conflict, Unavailable):  # of which row, one after the other will tell; and whether it was done
                alone += batch
        for it in alone:
            changed += await self._change_one(it.table, it.key, counter)
        return changed

    # ---- private

    def _batches(self, found: Sequence[Found]) -> Iterator[list[Found]]:
        batch: list[Found] = []
        room = AT_ONCE
        for it in found:
            if batch and room < 1 + len(it.also):
                yield batch
                batch, room = [], AT_ONCE
            batch.append(it)
            room -= 1 + len(it.also)
        if batch:
            yield batch

    async def _change_one(self, table: str, key: Key, counter: Callable[[Mapping[str, int]], Any]) -> bool:
        """Change a row as it is by now; whether anything was to be done."""

        async def attempt() -> bool:
            item = await self._tables.get(self._names[table], key)
            found = self._judge.found(table, item) if item is not None else None
            if found is None:
                return False
            more = await self._taken_back(found) if found.kind is Kind.REACTION else []
            await self._tables.transact(*self._writes(found), *more, counter({str(found.kind): 1}))
            return True

        return await self._patiently(attempt)

    async def _taken_back(self, found: Found) -> list[TransactWriteItemTypeDef]:
        """What becomes of the message that a reaction is to."""
        place: Any = found.key
        _, seq, _, emoji = place["sk"]["S"].split("~", 3)
        key: Key = {"pk": place["pk"], "sk": {"S": seq}}
        item = await self._tables.get(self._names["messages"], key)
        if item is None:
            return []
        entry = rows.read_entry(item)
        body = self._judge.forgetting.takes_back(entry.body, emoji)
        if body == entry.body:
            return []
        becomes: Item = {"body": {"S": rows.body_text(replace(entry, body=body))}}
        return self._writes(Found(Kind.ENTRY, "messages", key, {"body": item["body"]}, becomes))

    def _writes(self, found: Found) -> list[TransactWriteItemTypeDef]:
        table = self._names[found.table]
        names = {f"#{number}": it for number, it in enumerate(found.read)}
        values: dict[str, Any] = {f":was{number}": it for number, it in enumerate(found.read.values())}
        as_read = [f"#{number} = :was{number}" for number in range(len(names))]
        write: Any = {
            "TableName": table,
            "Key": found.key,
            "ConditionExpression": " AND ".join(as_read) or "attribute_exists(pk)",
        }
        also: list[Any] = [{"Delete": {"TableName": table, "Key": it}} for it in found.also]
        if found.becomes is not None:
            sets, gone = [], []
            for name, attribute in names.items():
                if attribute in found.becomes:
                    values[f":{name[1:]}"] = found.becomes[attribute]
                    sets.append(f"{name} = :{name[1:]}")
                else:
                    gone.append(name)
            write["UpdateExpression"] = (f"SET {', '.join(sets)} " if sets else "") + (
                f"REMOVE {', '.join(gone)}" if gone else ""
            )
        if names:
            write |= {"ExpressionAttributeNames": names, "ExpressionAttributeValues": values}
        return [{"Delete" if found.becomes is None else "Update": write}, *also]

    async def _patiently(self, call: Callable[[], Awaitable[_T]]) -> _T:
        for pause in PAUSES:
            try:
                return await call()
            except (Conflict, Unavailable):
                await self._sleep(pause)
        return await call()


def _part(number: int, part: str) -> str:
    return f"pass#{number}#{part}"
