"""The room store on DynamoDB: three tables, on demand, no Scan anywhere.

The client keeps botocore's own retries. `adapters/rows.py` has the rows.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from adapters import rows
from adapters.aws import NO_ANSWER, answered_status, error_code
from adapters.rows import TTL_ATTRIBUTE, Item, Key, values
from domain.errors import Conflict, RoomcastError, Unavailable
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
    from types_aiobotocore_dynamodb.type_defs import DeleteTypeDef, TransactWriteItemTypeDef

__all__ = ["TTL_ATTRIBUTE", "DynamoStore", "table_definitions"]

BATCH_KEYS = 100
"""Keys in one BatchGetItem at most."""
REREAD_DELAYS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds before each further try of a batch read that left keys unprocessed; each is cut by up to a half."""


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
    """The room store on a DynamoDB client.

    A single write that meets a row held by a transaction raises `Unavailable`: nothing was done, and the same call
    may succeed a moment later.
    """

    def __init__(
        self,
        client: DynamoDBClient,
        tables: Mapping[str, str],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._connections = tables["connections"]
        self._rooms = tables["rooms"]
        self._messages = tables["messages"]
        self._sleep = sleep

    # ---- rooms and their logs

    async def room(self, room: str) -> Room | None:
        item = await self._get(self._rooms, rows.meta_key(room))
        return rows.read_room(item) if item else None

    async def rooms(self, rooms: Sequence[str]) -> dict[str, Room]:
        keys = [(self._rooms, rows.meta_key(it)) for it in dict.fromkeys(rooms)]
        found = [rows.read_room(it) for it in await self._get_many(keys) if it]
        return {it.room: it for it in found}

    async def create_room(self, room: str, epoch: int) -> None:
        with suppress(Conflict), _translated():
            await self._client.put_item(
                TableName=self._rooms,
                Item=rows.room_row(Room(room, epoch)),
                ConditionExpression="attribute_not_exists(pk)",
            )

    async def standing(self, room: str, user: str) -> Standing:
        return rows.read_standing(await self._get(self._rooms, rows.user_key(room, user)) or {})

    async def set_standing(self, room: str, user: str, standing: Standing) -> None:
        row = rows.standing_row(standing)
        with _translated():
            await self._client.update_item(
                TableName=self._rooms,
                Key=rows.user_key(room, user),
                UpdateExpression="SET " + ", ".join(f"{it} = :{it}" for it in row),
                ExpressionAttributeValues=_named(**row),
            )

    async def sending(self, room: str, connection: str, user: str, client_id: str) -> Sending:
        meta, reverse, standing, once = await self._get_many(
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
        await self._transact(
            {
                "Update": {
                    "TableName": self._rooms,
                    "Key": rows.meta_key(read.room),
                    "UpdateExpression": "SET head = :seq",
                    "ConditionExpression": (
                        "head = :head AND epoch = :epoch AND shards = :shards AND #status = :status"
                    ),
                    "ExpressionAttributeNames": {"#status": "status"},
                    "ExpressionAttributeValues": _named(
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
                    "ExpressionAttributeValues": _named(now=now),
                }
            },
            {
                "ConditionCheck": {
                    "TableName": self._rooms,
                    "Key": rows.member_key(sender.key, connection),
                    "ConditionExpression": "joinId = :join",
                    "ExpressionAttributeValues": _named(join=sender.join_id),
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
                    "ExpressionAttributeValues": _named(no=False, now=now),
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
        query = {
            "TableName": self._messages,
            "KeyConditionExpression": "pk = :log AND sk BETWEEN :first AND :last",
            "ExpressionAttributeValues": _named(
                log=rows.log_key(room, epoch), first=rows.seq_text(first), last=rows.seq_text(last)
            ),
            "ScanIndexForward": forward,
            "Limit": limit,
        }
        async with aclosing(self._query(query)) as items:
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
        query = {
            "TableName": self._connections,
            "KeyConditionExpression": "pk = :connection",
            "ExpressionAttributeValues": _named(connection=connection),
        }
        own: Connection | None = None
        memberships: list[Membership] = []
        async for item in self._query(query):
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
        await self._transact(
            {"Put": {"TableName": self._rooms, "Item": rows.member_row(member, key)}},
            {
                "Put": {
                    "TableName": self._connections,
                    "Item": rows.membership_row(member, key),
                    "ConditionExpression": (
                        "joinId IN (:read, :mine)" if read else "attribute_not_exists(pk) OR joinId = :mine"
                    ),
                    "ExpressionAttributeValues": _named(read=read.join_id if read else None, mine=member.join_id),
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
                    "ExpressionAttributeValues": _named(room=key.room),
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
                    "ExpressionAttributeValues": _named(no=False, before=now - KICK_MARK_MS),
                }
            },
        )

    async def count_join(self, key: ShardKey, head: int) -> int:
        with _translated():
            answer = await self._client.update_item(
                TableName=self._rooms,
                Key=rows.shard_key(key),
                UpdateExpression="SET sent = if_not_exists(sent, :head) ADD members :one, version :one",
                ExpressionAttributeValues=_named(head=head, one=1),
                ReturnValues="UPDATED_NEW",
            )
        return int(answer["Attributes"]["members"]["N"])

    async def leave(self, connection: str, membership: Membership) -> bool:
        try:
            await self._transact(
                {"Delete": _of_join(self._rooms, rows.member_key(membership.key, connection), membership.join_id)},
                {
                    "Delete": _of_join(
                        self._connections, rows.membership_key(connection, membership.room), membership.join_id
                    )
                },
            )
        except _Held as held:
            raise Unavailable(str(held)) from held
        except Conflict:
            return False
        await self._count_leave(membership.key)
        return True

    async def drop_member(self, key: ShardKey, member: Member) -> bool:
        try:
            with _translated():
                await self._client.delete_item(
                    **_of_join(self._rooms, rows.member_key(key, member.connection), member.join_id)
                )
        except Conflict:
            return False
        await self._count_leave(key)
        return True

    async def end_connection(self, connection: str) -> None:
        with _translated():
            await self._client.delete_item(TableName=self._connections, Key=rows.connection_key(connection))

    # ---- shards

    async def shard(self, key: ShardKey) -> Shard | None:
        item = await self._get(self._rooms, rows.shard_key(key))
        return rows.read_shard(item) if item else None

    async def members(self, key: ShardKey) -> list[Member]:
        names = {f"#{it}": it for it in rows.MEMBER_ATTRIBUTES}
        query = {
            "TableName": self._rooms,
            "KeyConditionExpression": "pk = :shard",
            "ExpressionAttributeValues": _named(shard=str(key)),
            "ProjectionExpression": ", ".join(names),
            "ExpressionAttributeNames": names,
        }
        own = rows.shard_key(key)["sk"]
        return [rows.read_member(it) async for it in self._query(query) if it["sk"] != own]

    async def members_among(self, key: ShardKey, connections: Sequence[str]) -> list[Member]:
        keys = [(self._rooms, rows.member_key(key, it)) for it in dict.fromkeys(connections)]
        return [rows.read_member(it) for it in await self._get_many(keys) if it]

    async def advance(self, key: ShardKey, sent: int, counted: int, read: Shard | None) -> None:
        as_read = "version = :version" if read and read.version else "attribute_not_exists(version)"
        census = _named(counted=counted, one=1, version=(read and read.version) or None)
        raised = _named(sent=sent)
        try:
            await self._update_shard(
                key,
                "SET sent = :sent, members = :counted ADD version :one",
                f"{as_read} AND (attribute_not_exists(sent) OR sent <= :sent)",
                census | raised,
            )
            return
        except Conflict:
            pass
        try:
            await self._update_shard(key, "SET sent = :sent", "attribute_not_exists(sent) OR sent < :sent", raised)
        except Conflict:
            # Then `sent` was the obstacle, and the census may still speak of the present.
            with suppress(Conflict):
                await self._update_shard(key, "SET members = :counted ADD version :one", as_read, census)

    async def _count_leave(self, key: ShardKey) -> None:
        with _translated():
            await self._client.update_item(
                TableName=self._rooms,
                Key=rows.shard_key(key),
                UpdateExpression="ADD members :less, version :one",
                ExpressionAttributeValues=_named(less=-1, one=1),
            )

    async def _update_shard(self, key: ShardKey, update: str, condition: str, named: Item) -> None:
        with _translated():
            await self._client.update_item(
                TableName=self._rooms,
                Key=rows.shard_key(key),
                UpdateExpression=update,
                ConditionExpression=condition,
                ExpressionAttributeValues=named,
            )

    # ---- calls

    async def _get(self, table: str, key: Key) -> Mapping[str, Any] | None:
        with _translated():
            answer = await self._client.get_item(TableName=table, Key=key, ConsistentRead=True)
        return answer.get("Item")

    async def _get_many(self, keys: Sequence[tuple[str, Key]]) -> list[Mapping[str, Any] | None]:
        """The rows at (table, key), each key once; None where there is no row. Up to 100 are one read."""
        result: list[Mapping[str, Any] | None] = []
        for start in range(0, len(keys), BATCH_KEYS):
            result += await self._get_batch(keys[start : start + BATCH_KEYS])
        return result

    async def _get_batch(self, keys: Sequence[tuple[str, Key]]) -> list[Mapping[str, Any] | None]:
        request: dict[str, Any] = {}
        for table, key in keys:
            request.setdefault(table, {"ConsistentRead": True, "Keys": []})["Keys"].append(key)
        for delay in (*REREAD_DELAYS, None):
            with _translated():
                answer = await self._client.batch_get_item(RequestItems=request)
            if not answer.get("UnprocessedKeys"):
                break
            # All keys again: a caller takes what it gets as one read, so no part of it may be older than another.
            if delay is None:
                raise Unavailable("a batch read stayed incomplete")
            await self._sleep(random.uniform(delay / 2, delay))
        found = {
            (table, item["pk"]["S"], item["sk"]["S"]): item
            for table, items in answer["Responses"].items()
            for item in items
        }
        return [found.get((table, key["pk"]["S"], key["sk"]["S"])) for table, key in keys]

    async def _query(self, query: dict[str, Any]) -> AsyncGenerator[Mapping[str, Any], None]:
        while True:
            with _translated():
                answer = await self._client.query(**query, ConsistentRead=True)
            for item in answer["Items"]:
                yield item
            if "LastEvaluatedKey" not in answer:
                return
            query = query | {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    async def _transact(self, *writes: TransactWriteItemTypeDef) -> None:
        with _translated():
            await self._client.transact_write_items(TransactItems=writes)


def _of_join(table: str, key: Key, join_id: str) -> DeleteTypeDef:
    """A deletion of the row if it carries that join id."""
    return {
        "TableName": table,
        "Key": key,
        "ConditionExpression": "joinId = :join",
        "ExpressionAttributeValues": _named(join=join_id),
    }


def _named(**row: str | int | bool | None) -> Item:
    """Values for expressions, `:name` → value; those that are None are left out."""
    return values({f":{name}": it for name, it in row.items()})


# ------------------------------------------------------------------------------------------------ errors


class _Held(Conflict):
    """Another transaction holds one of the rows."""


_ERRORS: Mapping[str, type[RoomcastError]] = {
    "ConditionalCheckFailedException": Conflict,
    "TransactionConflictException": Unavailable,
    "ThrottlingException": Unavailable,
    "ProvisionedThroughputExceededException": Unavailable,
    "RequestLimitExceeded": Unavailable,
    "TransactionInProgressException": Unavailable,
    "InternalServerError": Unavailable,
    # The reasons of a cancelled transaction:
    "ConditionalCheckFailed": Conflict,
    "TransactionConflict": _Held,
    "ThrottlingError": Unavailable,
    "ProvisionedThroughputExceeded": Unavailable,
}
"""What an answer means; of several reasons the first in this order counts. Any other error is a fault of ours."""


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        reasons: Sequence[Any] = error.response.get("CancellationReasons", ())
        codes = {error_code(error), *(it.get("Code") for it in reasons)}
        known = next((it for code, it in _ERRORS.items() if code in codes), None)
        if known is None and answered_status(error) >= 500:
            known = Unavailable
        if known is None:
            raise
        raise known(f"{error.operation_name}: {', '.join(sorted(codes - {None, 'None'}))}") from error
    except NO_ANSWER as error:
        raise Unavailable(type(error).__name__) from error
