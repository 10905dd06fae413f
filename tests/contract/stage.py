"""A room store under test, with a room, users and connections of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from adapters.dynamodb import DynamoStatuses, rows
from adapters.memory import MemoryStatuses, MemoryStore
from domain.policy import Needs
from domain.ports import RoomStore, Statuses
from domain.rooms import (
    Append,
    Connection,
    Directory,
    Entry,
    Member,
    Membership,
    Once,
    Profile,
    Ring,
    Room,
    Sender,
    ShardKey,
    Standing,
    due_minute,
    inbox_of,
)

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient

__all__ = ["EPOCH", "HOUR", "NOW", "DynamoStage", "MemoryStage", "StoreStage"]

NOW = 1_700_000_000_000
HOUR = 3_600_000
"""Milliseconds."""
EPOCH = 5


class StoreStage(ABC):
    """The words of the tests: ada is in `room` by the connection `ada`, unless the test says otherwise."""

    store: RoomStore
    statuses: Statuses

    def __init__(self, store: RoomStore, statuses: Statuses) -> None:
        self.store = store
        self.statuses = statuses

    def fresh(self, number: int) -> Self:
        """The same store, with names that nothing in it knows yet."""
        stage = copy(self)
        stage.room = f"room-{number}"
        stage.user = f"ada-{number}"
        stage.connection = f"conn{number}="
        stage.key = ShardKey(stage.room, EPOCH, 0)
        stage.inbox = ShardKey(inbox_of(stage.user), EPOCH, 0)
        stage.number = number
        stage.minute = due_minute(NOW) + number
        return stage

    room: str
    user: str
    connection: str
    key: ShardKey
    inbox: ShardKey
    number: int
    """Another one for each test."""
    minute: int
    """In which the lease of the connection ends."""

    @abstractmethod
    async def put_members(self, members: Sequence[Member]) -> None:
        """Put many member rows of `key` in a short time."""

    @abstractmethod
    async def put_entries(self, *bodies: dict[str, Any]) -> None:
        """Put entries 1, 2, 3 … of the room's log in a short time."""

    def member(self, connection: str = "", join_id: str = "join-1", **fields: Any) -> Member:
        row = Member(
            connection=connection or self.connection,
            user=self.user,
            name="Ada Löwe",
            dialect="v1",
            connected_at=NOW,
            expires_at=NOW + 2 * HOUR,
            join_id=join_id,
            since=7,
        )
        return replace(row, **fields)

    def membership(self, join_id: str = "join-1", **fields: Any) -> Membership:
        return replace(Membership(self.room, EPOCH, 0, join_id, self.user, "Ada Löwe", since=7), **fields)

    def may_join(self, room: str = "") -> Needs:
        """What a join needs in a public room."""
        return Needs(room or self.room, self.user, unkicked=True)

    def sender(self, membership: Membership | None = None) -> Sender:
        """Who writes to a public room as its member."""
        member = membership or self.membership()
        return Sender(self.user, self.connection, member, Needs(member.room, self.user, unmuted=True))

    def connected(self, connection: str = "", **fields: Any) -> Connection:
        """A connection's row as it begins."""
        row = Connection(
            connection=connection or self.connection,
            user=self.user,
            name="Ada Löwe",
            dialect="v1",
            connected_at=NOW,
            expires_at=NOW + 2 * HOUR,
            last_room=self.room,
            lease_until=self.minute * 60_000,
        )
        return replace(row, **fields)

    def listed(self, room: str, **fields: Any) -> Directory:
        """A room's directory row, below `room`."""
        return replace(Directory(room, f"The {room} \N{HOT BEVERAGE}", self.user, self.room), **fields)

    def profile(self, room: str, **fields: Any) -> Profile:
        """What makes it so."""
        return replace(Profile(title=f"The {room} \N{HOT BEVERAGE}", owner=self.user, parent=self.room), **fields)

    def once(self, seq: int = 1, **fields: Any) -> Once:
        row = Once(digest="3f", reply='{"type":"ack"}', rings=[Ring(self.room, EPOCH, 1, seq)], expires_at=NOW + HOUR)
        return replace(row, **fields)

    def entry(self, seq: int, **body: Any) -> Entry:
        return Entry(seq, "chat", NOW, self.user, body, ends_at=NOW + 24 * HOUR)

    async def open_room(self) -> Room:
        await self.store.create_room(Room(self.room, EPOCH))
        return await self.read_room()

    async def read_room(self) -> Room:
        room = await self.store.room(self.room)
        assert room is not None
        return room

    async def connect(self, connection: str = "", join_id: str = "join-1") -> None:
        """Connect, not yet counted."""
        join = self.member(connection, join_id), self.key, self.may_join()
        await self.store.connect(self.connected(connection), [join], NOW)

    async def enter(self, connection: str = "", join_id: str = "join-1") -> Membership:
        """Connect, counted."""
        await self.connect(connection, join_id)
        await self.store.count_join(self.key, 0)
        return self.membership(join_id)

    async def say(self, *bodies: dict[str, Any]) -> None:
        """Append entries, each with a body."""
        for body in bodies:
            room = await self.read_room()
            seq = room.head + 1
            await self.append(room, self.entry(seq, **body), client_id=f"request-{seq}")

    async def append(
        self,
        read: Room,
        entry: Entry,
        *,
        client_id: str = "request-1",
        sender: Membership | None = None,
        once: Once | None = None,
        now: int = NOW,
    ) -> None:
        await self.store.append(
            [Append(read, entry)],
            self.sender(sender),
            client_id,
            once or self.once(entry.seq),
            now,
        )

    async def change(self, append: Append) -> None:
        """Append an entry that changes its room."""
        seq = append.entry.seq
        await self.store.append([append], self.sender(), f"request-{seq}", self.once(seq), NOW)

    async def judge(
        self,
        read: Standing,
        standing: Standing,
        *,
        needs: Needs | None = None,
        client_id: str = "request-judge",
        now: int = NOW,
    ) -> None:
        """Let the user judge eve."""
        await self.store.judge(self.room, "eve", read, standing, Sender(self.user, needs=needs), client_id, now)


class MemoryStage(StoreStage):
    """On `MemoryStore`."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store, MemoryStatuses(store))

    async def put_members(self, members: Sequence[Member]) -> None:
        for it in members:
            await self.store.connect(self.connected(it.connection), [(it, self.key, None)], NOW)

    async def put_entries(self, *bodies: dict[str, Any]) -> None:
        await self.open_room()
        await self.enter()
        await self.say(*bodies)


class DynamoStage(StoreStage):
    """On `DynamoStore` against an emulator."""

    def __init__(self, store: RoomStore, client: DynamoDBClient, tables: Mapping[str, str]) -> None:
        super().__init__(store, DynamoStatuses(client, tables))
        self.client = client
        self.tables = tables

    async def put_members(self, members: Sequence[Member]) -> None:
        await self._put("rooms", [rows.member_row(it, self.key) for it in members])

    async def put_entries(self, *bodies: dict[str, Any]) -> None:
        entries = [self.entry(seq, **body) for seq, body in enumerate(bodies, 1)]
        await self._put("messages", [rows.entry_row(self.room, EPOCH, it) for it in entries])

    async def _put(self, table: str, items: Sequence[rows.Item]) -> None:
        for start in range(0, len(items), 25):
            puts: Any = [{"PutRequest": {"Item": it}} for it in items[start : start + 25]]
            await self.client.batch_write_item(RequestItems={self.tables[table]: puts})

    async def row(self, table: str, pk: str, sk: str) -> dict[str, Any]:
        """A row's attributes beside its key, as plain values."""
        answer = await self.client.get_item(TableName=self.tables[table], Key={"pk": {"S": pk}, "sk": {"S": sk}})
        item: dict[str, Any] = dict(answer["Item"])
        return {
            name: int(it["N"]) if "N" in it else next(iter(it.values()))
            for name, it in item.items()
            if name not in {"pk", "sk"}
        }
