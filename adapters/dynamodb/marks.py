"""Read marks on DynamoDB: a row of the rooms table for each room and user."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from adapters.dynamodb import rows
from adapters.dynamodb.tables import Tables, named
from domain.errors import Conflict, Unavailable
from domain.marks import Mark
from domain.ports import Marks

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient

__all__ = ["DynamoMarks"]


class DynamoMarks(Marks):
    """Marks on a DynamoDB client, whose own retries stay on. `tables`: connections, rooms, messages → name."""

    def __init__(
        self,
        client: DynamoDBClient,
        tables: Mapping[str, str],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._tables = Tables(client, sleep)
        self._rooms = tables["rooms"]

    async def mark(self, room: str, user: str, mark: Mark) -> Mark:
        key = rows.mark_key(room, user)
        try:
            await self._tables.update(
                self._rooms,
                key,
                "SET epoch = :epoch, seq = :seq, nth = :nth",
                named(epoch=mark.epoch, seq=mark.seq, nth=mark.nth),
                condition="attribute_not_exists(pk) OR epoch < :epoch OR (epoch = :epoch AND seq < :seq)",
            )
        except Conflict as conflict:
            # It stands as far or further, and only goes on from there: a read now tells no less.
            there = await self._tables.get(self._rooms, key)
            if there is None:
                raise Unavailable(f"the mark of {room} was there a moment ago") from conflict
            return rows.read_mark(there)
        return mark

    async def marks(self, rooms: Sequence[str], user: str) -> dict[str, Mark]:
        asked = list(dict.fromkeys(rooms))
        found = await self._tables.get_many([(self._rooms, rows.mark_key(it, user)) for it in asked])
        return {it: rows.read_mark(row) for it, row in zip(asked, found, strict=True) if row}
