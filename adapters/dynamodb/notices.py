"""Who wants no notices, and which was sent last, in the table of rooms: rows of the inbox of whom they are for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from adapters.dynamodb import rows
from adapters.dynamodb.tables import Tables, named
from domain.errors import Conflict
from domain.notices import ANNOUNCED_FOR_MS, NOTICE_EVERY_MS, OfflineNotice
from domain.ports import Notices

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient

__all__ = ["DynamoNotices"]

_THIS = "roomId = :room AND epoch = :epoch AND seq = :seq"


class DynamoNotices(Notices):
    """Notices on a DynamoDB client, whose own retries stay on. `tables`: connections, rooms, messages → name.

    A row of who was sent what is deleted by its time-to-live; one that is there still is told by its age.
    """

    def __init__(
        self,
        client: DynamoDBClient,
        tables: Mapping[str, str],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._tables = Tables(client, sleep)
        self._rooms = tables["rooms"]

    async def silent(self, users: Sequence[str]) -> frozenset[str]:
        asked = list(dict.fromkeys(users))
        found = await self._tables.get_many([(self._rooms, rows.notices_key(it)) for it in asked])
        return frozenset(it for it, row in zip(asked, found, strict=True) if row and not row["wanted"]["BOOL"])

    async def set_wanted(self, user: str, wanted: bool) -> None:
        # An update, as everything here is: whoever may do one may do the other.
        await self._tables.update(self._rooms, rows.notices_key(user), "SET wanted = :wanted", named(wanted=wanted))

    async def claim(self, notice: OfflineNotice, now: int) -> bool:
        ends = rows.seconds(now + ANNOUNCED_FOR_MS)
        try:
            await self._tables.update(
                self._rooms,
                rows.notice_key(notice.user_id, notice.sender_id),
                f"SET roomId = :room, epoch = :epoch, seq = :seq, claimedAt = :now, {rows.TTL_ATTRIBUTE} = :ends"
                " REMOVE settled",
                _values(notice) | named(now=now, ends=ends, before=now - NOTICE_EVERY_MS),
                condition="attribute_not_exists(pk) OR claimedAt <= :before"
                f" OR ({_THIS} AND attribute_not_exists(settled))",
            )
        except Conflict:
            return False
        return True

    async def release(self, notice: OfflineNotice) -> None:
        with suppress(Conflict):  # none, or another's, or it was sent
            await self._tables.update(
                self._rooms,
                rows.notice_key(notice.user_id, notice.sender_id),
                "SET claimedAt = :never",
                _values(notice) | named(never=0),
                condition=f"{_THIS} AND attribute_not_exists(settled)",
            )

    async def settle(self, notice: OfflineNotice) -> None:
        with suppress(Conflict):  # another was claimed meanwhile
            await self._tables.update(
                self._rooms,
                rows.notice_key(notice.user_id, notice.sender_id),
                "SET settled = :settled",
                _values(notice) | named(settled=True),
                condition=_THIS,
            )


def _values(notice: OfflineNotice) -> rows.Item:
    return named(room=notice.room_id, epoch=notice.epoch, seq=notice.seq)
