"""Members without the work of joining, and messages without that of sending: a room of thousands is there in seconds.

A join costs some 40 ms of CPU, over all processes, and a broadcast does not depend on how its members came. So sockets
that ask for a seat are let in without the functions, and `seat` writes what a broadcast reads of a join: the member's
row. The room's shards double as joins would double them, by the store's own calls.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from adapters.dynamodb import DynamoStore, rows
from adapters.runtime import SystemClock
from domain.rooms import LIFETIME_MS, Entry, Member, Room, ShardKey
from local.gateway import Gateway
from local.handshake import Integration
from local.sockets import GatewayConnection

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient

__all__ = ["SEAT", "Needle", "SeatingGateway", "fill_log", "members_of", "put_rows", "seat"]

SEAT = "seat"
"""The parameter by which a handshake asks for a seat."""
ARCHIVIST = "archivist"
"""Who has said all that is in a log that was filled."""
WORDS = "What a room says in a message is rarely longer than this one, which is about a hundred characters."
NEEDLE = "Deux RENARDS couleur d’Ambre dorment; c’est ce que dit, en une centaine de lettres, un message sur cent."
HALF_A_NEEDLE = "Un renard ne dort pas, et ce message, long lui aussi d’une centaine de lettres, ne dit rien de plus."
"""What is not searched for: it has one of the words alone."""
WRITES = 25
"""Rows in one call to DynamoDB."""
WRITERS = 4
"""Calls under way at once."""


@dataclass(frozen=True, slots=True)
class Needle:
    """Which messages of a log that is filled have both words that are searched for: one of `every`, from `first` on.
    The one after each has one of them."""

    every: int
    first: int

    def text(self, seq: int) -> str:
        """What the message at that seq says."""
        return {0: NEEDLE, 1: HALF_A_NEEDLE}.get((seq - self.first) % self.every, WORDS)


class SeatingGateway(Gateway):
    """A gateway with seats."""

    def __init__(self, *, authorizer: Integration, connect: Integration, **rest: Any) -> None:
        self.newcomers: list[str] = []
        """Connections that have a seat, until somebody takes them from here."""
        super().__init__(authorizer=_Door(authorizer, _allow), connect=_Door(connect, self._seat), **rest)

    def _seat(self, event: Mapping[str, Any]) -> dict[str, Any]:
        self.newcomers.append(event["requestContext"]["connectionId"])
        return {"statusCode": 200}

    def _owe_disconnect(self, connection: GatewayConnection) -> None:
        if SEAT not in connection.context["authorizer"]:
            super()._owe_disconnect(connection)


class _Door(Integration):
    """A function that is not asked about seats."""

    def __init__(self, function: Integration, answer: Callable[[Mapping[str, Any]], dict[str, Any]]) -> None:
        self._function = function
        self._answer = answer

    async def invoke(self, event: Any) -> Any:
        if SEAT in event.get("queryStringParameters", ()):
            return self._answer(event)
        return await self._function.invoke(event)


def _allow(event: Mapping[str, Any]) -> dict[str, Any]:
    statement = {"Action": "execute-api:Invoke", "Effect": "Allow", "Resource": event["methodArn"]}
    return {"principalId": SEAT, "policyDocument": {"Statement": [statement]}, "context": {SEAT: True}}


async def seat(
    dynamodb: DynamoDBClient, tables: Mapping[str, str], room: str, connections: Sequence[str], shard_limit: int
) -> Room:
    """Make connections members of a room, which is made where it is missing; the room as it is then."""
    store, now = DynamoStore(dynamodb, tables), SystemClock().now()
    found = await store.room(room) or await store.create_room(Room(room, now))
    shards = [(len(await store.members(it)), it.shard) for it in _shards(found)]
    members = sum(count for count, _ in shards) + len(connections)
    while members * 5 > shard_limit * 4 * found.shards:
        new = range(found.shards, 2 * found.shards)
        await store.open_shards([ShardKey(room, found.epoch, it) for it in new], found.head)
        await store.grow(found)
        shards += [(0, it) for it in new]
        found = await store.room(room) or found
    heapq.heapify(shards)
    items = []
    seated: Counter[ShardKey] = Counter()
    for connection in connections:
        count, shard = shards[0]
        heapq.heapreplace(shards, (count + 1, shard))
        member = Member(connection, SEAT, SEAT, "v1", now, now + LIFETIME_MS, join_id="0" * 16)
        key = ShardKey(room, found.epoch, shard)
        items.append(rows.member_row(member, key))
        seated[key] += 1
    await put_rows(dynamodb, tables["rooms"], items)
    for key, count in seated.items():  # which tells workers that know the shard to read it anew
        await store.count_join(key, found.head, found.shards, joined=count)
    return found


async def members_of(store: DynamoStore, room: str) -> AsyncIterator[Member]:
    """All members of a room that exists, shard by shard."""
    found = await store.room(room)
    assert found is not None  # noqa: S101  # its members have joined
    for key in _shards(found):
        for member in await store.members(key):
            yield member


async def fill_log(
    dynamodb: DynamoDBClient, tables: Mapping[str, str], room: str, entries: int, needle: Needle | None = None
) -> None:
    """Let a room's log grow by so many messages, of which nobody is told."""
    found = await DynamoStore(dynamodb, tables).room(room)
    assert found is not None  # noqa: S101  # somebody has joined it
    now, head = SystemClock().now(), found.head + entries
    who = {"senderId": ARCHIVIST, "senderName": ARCHIVIST}
    log = (
        Entry(
            seq,
            "chat",
            now,
            ARCHIVIST,
            {"messageId": f"{seq:032x}", **who, "message": needle.text(seq) if needle else WORDS},
        )
        for seq in range(found.head + 1, head + 1)
    )
    await put_rows(dynamodb, tables["messages"], (rows.entry_row(room, found.epoch, it) for it in log))
    await put_rows(dynamodb, tables["rooms"], [rows.room_row(replace(found, head=head))])


async def put_rows(dynamodb: DynamoDBClient, table: str, items: Iterable[rows.Item]) -> None:
    """Write rows, none of them twice."""
    puts: list[Any] = [{"PutRequest": {"Item": it}} for it in items]
    starts = iter(range(0, len(puts), WRITES))

    async def write() -> None:
        for start in starts:
            await dynamodb.batch_write_item(RequestItems={table: puts[start : start + WRITES]})

    async with asyncio.TaskGroup() as group:
        for _ in range(WRITERS):
            group.create_task(write())


def _shards(room: Room) -> list[ShardKey]:
    return [ShardKey(room.room, room.epoch, it) for it in range(room.shards)]
