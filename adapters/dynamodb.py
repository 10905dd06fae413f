"""The room store on DynamoDB: three tables, on demand, no Scan anywhere. `adapters/rows.py` has their rows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

from adapters import rows
from adapters.rows import TTL_ATTRIBUTE, Item
from adapters.tables import Held, Tables, named
from domain.errors import Conflict, Unavailable
from domain.ports import RoomStore
from domain.rooms import (
    KICK_MARK_MS,
    Connection,
    Entry,
    Member,
    Membership,
    Once,
    Room,
    Sending,
    Session,
    Shard,
    ShardKey,
    Standing,
)

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient

__all__ = ["TTL_ATTRIBUTE", "DynamoStore", "table_definitions"]


def table_definitions(names: dict[str, str]) -> list[dict[str, Any]]:
    """The arguments of `CreateTable` for each table of {connections, rooms, messages} → name."""
    return [
        {
            "TableName": names[it],
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "sk", "AttributeType": "S"},
            ],
            "KeySchema": [
                {"AttributeName": "pk", "KeyType": "HASH"},
                {"AttributeName": "sk", "KeyType": "RANGE"},
            ],
        }
        for it in ("connections", "rooms", "messages")
    ]


class DynamoStore(RoomStore):
    """The room store on a DynamoDB client, whose own retries stay on. `tables`: connections, rooms, messages → name."""

    def __init__(
        self,
        client: DynamoDBClient,
        tables: Mapping[str, str],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._tables = Tables(client, sleep)
        self._connections = tables["connections"]
        self._rooms = tables["rooms"]
        self._messages = tables["messages"]

    # ---- rooms and their logs

    async def room(self, room: str) -> Room | None:
        item = await self._tables.get(self._rooms, rows.meta_key(room))
        return rows.read_room(item) if item else None

    async def rooms(self, rooms: Sequence[str]) -> dict[str, Room]:
        keys = [(self._rooms, rows.meta_key(it)) for it in dict.fromkeys(rooms)]
        found = [rows.read_room(it) for it in await self._tables.get_many(keys) if it]
        return {it.room: it for it in found}

    async def create_room(self, room: str, epoch: int) -> None:
        with suppress(Conflict):
            await self._tables.put(self._rooms, rows.room_row(Room(room, epoch)), "attribute_not_exists(pk)")

    async def standing(self, room: str, user: str) -> Standing:
        return rows.read_standing(await self._tables.get(self._rooms, rows.user_key(room, user)) or {})

    async def set_standing(self, room: str, user: str, standing: Standing) -> None:
        row = rows.standing_row(standing)
        update = "SET " + ", ".join(f"{it} = :{it}" for it in row)
        await self._tables.update(self._rooms, rows.user_key(room, user), update, named(**row))

    async def sending(self, room: str, connection: str, user: str, client_id: str) -> Sending:
        meta, reverse, standing, once = await self._tables.get_many(
            [
                (self._rooms, rows.meta_key(room)),
                (self._connections, rows.membership_key(connection, room)),
                (self._rooms, rows.user_key(room, user)),
                (self._messages, rows.once_key(user, client_id)),
            ]
        )
        return Sending(
            room=rows.read_room(meta) if meta else None,
            membership=rows.read_membership(reverse) if reverse else None,
            standing=rows.read_standing(standing or {}),
            once=rows.read_once(once) if once else None,
        )

    async def append(
        self,
        read: Room,
        entry: Entry,
        sender: Membership,
        connection: str,
        client_id: str,
        once: Once,
        now: int,
    ) -> None:
        await self._tables.transact(
            {
                "Update": {
                    "TableName": self._rooms,
                    "Key": rows.meta_key(read.room),
                    "UpdateExpression": "SET head = :seq",
                    "ConditionExpression": (
                        "head = :head AND epoch = :epoch AND shards = :shards AND #status = :status"
                    ),
                    "ExpressionAttributeNames": {"#status": "status"},
                    "ExpressionAttributeValues": named(
                        seq=entry.seq, head=read.head, epoch=read.epoch, shards=read.shards, status=read.status
                    ),
                }
            },
            {
                "Put": {
                    "TableName": self._messages,
                    "Item": rows.entry_row(read.room, read.epoch, entry),
                    "ConditionExpression": "attribute_not_exists(pk)",
                }
            },
            {
                "Put": {
                    "TableName": self._messages,
                    "Item": rows.once_row(entry.sender, client_id, once),
                    "ConditionExpression": "attribute_not_exists(pk) OR expiresAtMs <= :now",
                    "ExpressionAttributeValues": named(now=now),
                }
            },
            {
                "ConditionCheck": {
                    "TableName": self._rooms,
                    "Key": rows.member_key(sender.key, connection),
                    "ConditionExpression": "joinId = :join",
                    "ExpressionAttributeValues": named(join=sender.join_id),
                }
            },
            {
                "ConditionCheck": {
                    "TableName": self._rooms,
                    "Key": rows.user_key(read.room, entry.sender),
                    "ConditionExpression": (
                        "(attribute_not_exists(banned) OR banned = :no)"
                        " AND (attribute_not_exists(mutedUntil) OR mutedUntil <= :now)"
                    ),
                    "ExpressionAttributeValues": named(no=False, now=now),
                }
            },
        )

    async def entries(
        self,
        room: str,
        epoch: int,
        after: int,
        *,
        upto: int | None = None,
        limit: int,
        max_bytes: int,
    ) -> list[Entry]:
        last = 10**16 - 1 if upto is None else upto
        return await self._log(room, epoch, after + 1, last, limit, max_bytes, forward=True)

    async def entries_before(self, room: str, epoch: int, before: int, *, limit: int, max_bytes: int) -> list[Entry]:
        newest_first = await self._log(room, epoch, 1, before - 1, limit, max_bytes, forward=False)
        return newest_first[::-1]

    async def _log(
        self, room: str, epoch: int, first: int, last: int, limit: int, max_bytes: int, *, forward: bool
    ) -> list[Entry]:
        result: list[Entry] = []
        if first > last:
            return result
        size = 0
        async with aclosing(
            self._tables.query(
                self._messages,
                "pk = :log AND sk BETWEEN :first AND :last",
                named(log=rows.log_key(room, epoch), first=rows.seq_text(first), last=rows.seq_text(last)),
                ScanIndexForward=forward,
                Limit=limit,
            )
        ) as items:
            async for item in items:
                size += len(item["body"]["S"].encode())
                if result and size > max_bytes:
                    break
                result.append(rows.read_entry(item))
                if len(result) == limit:
                    break
        return result

    # ---- connections and memberships

    async def session(self, connection: str) -> Session:
        own: Connection | None = None
        memberships: list[Membership] = []
        async for item in self._tables.query(self._connections, "pk = :connection", named(connection=connection)):
            if item["sk"]["S"] == "#":
                own = rows.read_connection(item)
            else:
                memberships.append(rows.read_membership(item))
        return Session(own, memberships)

    async def join(
        self,
        member: Member,
        key: ShardKey,
        read: Membership | None,
        now: int,
        *,
        connect: Connection | None = None,
    ) -> None:
        await self._tables.transact(
            {"Put": {"TableName": self._rooms, "Item": rows.member_row(member, key)}},
            {
                "Put": {
                    "TableName": self._connections,
                    "Item": rows.membership_row(member, key),
                    "ConditionExpression": (
                        "joinId IN (:read, :mine)" if read else "attribute_not_exists(pk) OR joinId = :mine"
                    ),
                    "ExpressionAttributeValues": named(read=read.join_id if read else None, mine=member.join_id),
                }
            },
            {"Put": {"TableName": self._connections, "Item": rows.connection_row(connect, key.room)}}
            if connect
            else {
                "Update": {
                    "TableName": self._connections,
                    "Key": rows.connection_key(member.connection),
                    "UpdateExpression": "SET lastRoom = :room",
                    "ConditionExpression": "attribute_exists(pk)",
                    "ExpressionAttributeValues": named(room=key.room),
                }
            },
            {
                "ConditionCheck": {
                    "TableName": self._rooms,
                    "Key": rows.user_key(key.room, member.user),
                    "ConditionExpression": (
                        "(attribute_not_exists(banned) OR banned = :no)"
                        " AND (attribute_not_exists(kickedAt) OR kickedAt <= :before)"
                    ),
                    "ExpressionAttributeValues": named(no=False, before=now - KICK_MARK_MS),
                }
            },
        )

    async def count_join(self, key: ShardKey, head: int) -> int:
        changed = await self._update_shard(
            key, "SET sent = if_not_exists(sent, :head) ADD members :one, version :one", named(head=head, one=1)
        )
        return int(changed["members"]["N"])

    async def leave(self, connection: str, membership: Membership) -> bool:
        of_join = named(join=membership.join_id)
        try:
            await self._tables.transact(
                {
                    "Delete": {
                        "TableName": self._rooms,
                        "Key": rows.member_key(membership.key, connection),
                        "ConditionExpression": "joinId = :join",
                        "ExpressionAttributeValues": of_join,
                    }
                },
                {
                    "Delete": {
                        "TableName": self._connections,
                        "Key": rows.membership_key(connection, membership.room),
                        "ConditionExpression": "joinId = :join",
                        "ExpressionAttributeValues": of_join,
                    }
                },
            )
        except Held as held:
            raise Unavailable(str(held)) from held
        except Conflict:
            return False
        await self._count_leave(membership.key)
        return True

    async def drop_member(self, key: ShardKey, member: Member) -> bool:
        try:
            await self._tables.delete(
                self._rooms,
                rows.member_key(key, member.connection),
                ConditionExpression="joinId = :join",
                ExpressionAttributeValues=named(join=member.join_id),
            )
        except Conflict:
            return False
        await self._count_leave(key)
        return True

    async def end_connection(self, connection: str) -> None:
        await self._tables.delete(self._connections, rows.connection_key(connection))

    # ---- shards

    async def shard(self, key: ShardKey) -> Shard | None:
        item = await self._tables.get(self._rooms, rows.shard_key(key))
        return rows.read_shard(item) if item else None

    async def members(self, key: ShardKey) -> list[Member]:
        names = {f"#{it}": it for it in rows.MEMBER_ATTRIBUTES}
        items = self._tables.query(
            self._rooms,
            "pk = :shard",
            named(shard=str(key)),
            ProjectionExpression=", ".join(names),
            ExpressionAttributeNames=names,
        )
        own = rows.shard_key(key)["sk"]
        return [rows.read_member(it) async for it in items if it["sk"] != own]

    async def members_among(self, key: ShardKey, connections: Sequence[str]) -> list[Member]:
        keys = [(self._rooms, rows.member_key(key, it)) for it in dict.fromkeys(connections)]
        return [rows.read_member(it) for it in await self._tables.get_many(keys) if it]

    async def advance(self, key: ShardKey, sent: int, counted: int, read: Shard | None) -> None:
        as_read = "version = :version" if read and read.version else "attribute_not_exists(version)"
        census = named(counted=counted, one=1, version=(read and read.version) or None)
        raised = named(sent=sent)
        try:
            await self._update_shard(
                key,
                "SET sent = :sent, members = :counted ADD version :one",
                census | raised,
                condition=f"{as_read} AND (attribute_not_exists(sent) OR sent <= :sent)",
            )
            return
        except Conflict:
            pass
        try:
            await self._update_shard(
                key, "SET sent = :sent", raised, condition="attribute_not_exists(sent) OR sent < :sent"
            )
        except Conflict:
            # Then `sent` was the obstacle, and the census may still speak of the present.
            with suppress(Conflict):
                await self._update_shard(key, "SET members = :counted ADD version :one", census, condition=as_read)

    async def _count_leave(self, key: ShardKey) -> None:
        await self._update_shard(key, "ADD members :less, version :one", named(less=-1, one=1))

    async def _update_shard(
        self, key: ShardKey, update: str, values: Item, *, condition: str | None = None
    ) -> Mapping[str, Any]:
        return await self._tables.update(self._rooms, rows.shard_key(key), update, values, condition=condition)
