"""How users are, on DynamoDB: rows of the rooms table. `rows.py` beside it has their form."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from adapters.dynamodb import rows
from adapters.dynamodb.rows import TTL_ATTRIBUTE
from adapters.dynamodb.tables import Tables, named, to_put, to_update
from domain.errors import Conflict
from domain.ports import Statuses
from domain.presence import CLAIM_MS, TYPING_EVERY_MS, Presence
from domain.protocol import Status
from domain.rooms import Membership, Once

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient

__all__ = ["DynamoStatuses"]

CHANGED_RETENTION_MS = 3_600_000
"""How long users wait that nobody takes."""


class DynamoStatuses(Statuses):
    """On a DynamoDB client, whose own retries stay on. `tables`: rooms, messages → name."""

    def __init__(
        self,
        client: DynamoDBClient,
        tables: Mapping[str, str],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._tables = Tables(client, sleep)
        self._rooms = tables["rooms"]
        self._messages = tables["messages"]

    async def presences(self, users: Sequence[str]) -> dict[str, Presence]:
        users = list(dict.fromkeys(users))
        items = await self._tables.get_many([(self._rooms, rows.presence_key(it)) for it in users])
        return {
            user: rows.read_presence(it, user) if it else Presence(user) for user, it in zip(users, items, strict=True)
        }

    async def record(self, presence: Presence) -> None:
        row = rows.presence_row(presence)
        before = presence.version - 1
        await self._tables.update(
            self._rooms,
            rows.presence_key(presence.user),
            "SET " + ", ".join(f"#{it} = :{it}" for it in row),
            named(**row, before=before or None),
            condition="#version = :before" if before else "attribute_not_exists(pk)",
            names={f"#{it}": it for it in row},
        )

    async def set_status(
        self, connection: str, inbox: Membership, status: Status, key: str, once: Once, now: int
    ) -> None:
        await self._tables.transact(
            to_update(
                self._rooms,
                rows.member_key(inbox.key, connection),
                "SET #status = :status",
                "joinId = :join",
                names={"#status": "status"},
                status=status,
                join=inbox.join_id,
            ),
            to_put(
                self._messages,
                rows.once_row(inbox.user, key, once),
                "attribute_not_exists(pk) OR expiresAtMs <= :now",
                now=now,
            ),
        )

    async def note(self, room: str, epoch: int, user: str, now: int) -> bool:
        row, mine = rows.changed_key(room, epoch), secrets.token_hex(8)
        item = await self._tables.update(
            self._rooms,
            row,
            "SET claim = if_not_exists(claim, :mine), claimedAt = if_not_exists(claimedAt, :now),"
            f" {TTL_ATTRIBUTE} = :ttl ADD changed :users",
            named(mine=mine, now=now, ttl=(now + CHANGED_RETENTION_MS) // 1000) | {":users": {"SS": [user]}},
        )
        claim = item["claim"]["S"]
        if claim == mine:
            return True
        if int(item["claimedAt"]["N"]) > now - CLAIM_MS:
            return False
        try:
            await self._tables.update(
                self._rooms,
                row,
                "SET claim = :mine, claimedAt = :now",
                named(mine=mine, now=now, read=claim),
                condition="claim = :read",
            )
        except Conflict:
            # Somebody else has taken them, or is the one who sees to it.
            return False
        return True

    async def take(self, room: str, epoch: int) -> list[str]:
        item = await self._tables.take(self._rooms, rows.changed_key(room, epoch))
        return sorted(item["changed"]["SS"]) if item else []

    async def claim_typing(self, user: str, now: int) -> bool:
        try:
            await self._tables.update(
                self._rooms,
                rows.typing_key(user),
                f"SET typedAt = :now, {TTL_ATTRIBUTE} = :ttl",
                named(now=now, before=now - TYPING_EVERY_MS, ttl=(now + 2 * TYPING_EVERY_MS) // 1000),
                condition="attribute_not_exists(pk) OR typedAt <= :before",
            )
        except Conflict:
            return False
        return True
