"""Every port in memory: for tests, for the simulation, and to read what the real adapters promise.

Each method gives way to other tasks at least once before its effect, so that tasks interleave as they do with real
services; the effect itself is one step. Data does not expire by itself, just as deletion by TTL lags.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import random
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from domain.errors import Conflict, ConnectionGone, PostError, Unavailable
from domain.fanout import Doorbell, Ephemeral, Remainder, encode_job, remainder_delay
from domain.lanes import LANES, Lane
from domain.ports import BroadcastQueue, Clock, Connections, RoomStore
from domain.rooms import (
    KICK_MARK_MS,
    Append,
    Connection,
    Count,
    Directory,
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
    due_bucket,
    due_minute,
)

__all__ = ["ManualClock", "MemoryConnections", "MemoryQueue", "MemoryStore"]

DEDUPLICATION_MS = 300_000
"""For how long a FIFO queue swallows a second message with the same deduplication id."""


class ManualClock(Clock):
    """Time that passes only when told to, or when somebody sleeps.

    `sleep` moves the time on at once and gives way to other tasks, so nothing ever really waits; tasks that sleep
    side by side add their times up.
    """

    def __init__(self, now: int = 1_700_000_000_000) -> None:
        self._start = now
        self._passed = 0.0

    def now(self) -> int:
        return self._start + round(self._passed * 1000)

    def monotonic(self) -> float:
        return self._passed

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self._passed += max(0.0, seconds)


class MemoryStore(RoomStore):
    """Rooms in dicts, with DynamoDB's transactions.

    A transaction holds its rows while it is under way, those it only checks as well. Another transaction that meets
    a held row gets `Conflict`, and a single write `Unavailable`, as DynamoDB answers TransactionConflict.
    """

    def __init__(self) -> None:
        self._rooms: dict[str, Room] = {}
        self._directory: dict[str, dict[str, Directory]] = defaultdict(dict)
        self._standings: dict[tuple[str, str], Standing] = {}
        self._entries: dict[tuple[str, int], dict[int, Entry]] = defaultdict(dict)
        self._once: dict[tuple[str, str], Once] = {}
        self._connections: dict[str, Connection] = {}
        self._memberships: dict[str, dict[str, Membership]] = defaultdict(dict)
        self._members: dict[ShardKey, dict[str, Member]] = defaultdict(dict)
        self._shards: dict[ShardKey, Shard] = {}
        self._stats_at: dict[ShardKey, int] = {}
        self._due: dict[tuple[int, int], set[str]] = defaultdict(set)
        self._ticked: dict[int, int] = {}
        self._held: set[Hashable] = set()

    # ---- rooms and their logs

    async def room(self, room: str) -> Room | None:
        await asyncio.sleep(0)
        return self._rooms.get(room)

    async def rooms(self, rooms: Sequence[str]) -> dict[str, Room]:
        await asyncio.sleep(0)
        return {it: self._rooms[it] for it in rooms if it in self._rooms}

    async def create_room(self, room: str, epoch: int, directory: Directory | None) -> Room:
        async with self._single_write(("meta", room)):
            if room not in self._rooms:
                self._rooms[room] = Room(room, epoch)
                if directory is not None:
                    self._directory[directory.parent][room] = directory
            return self._rooms[room]

    async def directory(self, parent: str, after: str, limit: int) -> list[Directory]:
        await asyncio.sleep(0)
        listed = self._directory[parent]
        return [listed[it] for it in sorted(listed) if it > after][:limit]

    async def standing(self, room: str, user: str) -> Standing:
        await asyncio.sleep(0)
        return self._standing(room, user)

    async def set_standing(self, room: str, user: str, standing: Standing) -> None:
        async with self._single_write(("user", room, user)):
            self._standings[room, user] = standing

    async def sending(self, rooms: Sequence[str], connection: str, user: str, client_id: str) -> Sending:
        await asyncio.sleep(0)
        return Sending(
            rooms={it: self._rooms[it] for it in rooms if it in self._rooms},
            membership=self._memberships[connection].get(rooms[0]),
            standing=self._standing(rooms[0], user),
            once=self._once.get((user, client_id)),
        )

    async def append(
        self,
        appends: Sequence[Append],
        sender: Membership,
        connection: str,
        client_id: str,
        once: Once,
        now: int,
    ) -> None:
        rows: list[Hashable] = [
            ("once", sender.user, client_id),
            ("member", sender.key, connection),
            ("user", sender.room, sender.user),
        ]
        for it in appends:
            rows += [("meta", it.read.room), ("entry", it.read.room, it.read.epoch, it.entry.seq)]
        async with self._transaction(*rows):
            earlier = self._once.get((sender.user, client_id))
            member = self._members[sender.key].get(connection)
            standing = self._standing(sender.room, sender.user)
            for it in appends:
                _require(self._rooms.get(it.read.room) == it.read, "the room has moved")
                _require(it.entry.seq not in self._entries[it.read.room, it.read.epoch], "the entry exists")
            _require(earlier is None or earlier.expires_at <= now, "the once-row exists")
            _require(member is not None and member.join_id == sender.join_id, "the sender's membership has ended")
            _require(not standing.banned and standing.muted_until <= now, "the sender may not write")
            for it in appends:
                self._rooms[it.read.room] = replace(it.read, head=it.entry.seq)
                self._entries[it.read.room, it.read.epoch][it.entry.seq] = it.entry
            self._once[sender.user, client_id] = once

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
        await asyncio.sleep(0)
        log = self._entries[room, epoch]
        wanted = (log[it] for it in sorted(log) if it > after and (upto is None or it <= upto))
        return _cut(wanted, limit, max_bytes)

    async def entries_before(self, room: str, epoch: int, before: int, *, limit: int, max_bytes: int) -> list[Entry]:
        await asyncio.sleep(0)
        log = self._entries[room, epoch]
        wanted = (log[it] for it in sorted(log, reverse=True) if it < before)
        return _cut(wanted, limit, max_bytes)[::-1]

    # ---- connections and memberships

    async def session(self, connection: str) -> Session:
        await asyncio.sleep(0)
        memberships = self._memberships[connection]
        return Session(self._connections.get(connection), [memberships[it] for it in sorted(memberships)])

    async def connect(self, connection: Connection, joins: Sequence[tuple[Member, ShardKey]], now: int) -> None:
        due = due_minute(connection.lease_until)
        rows: list[Hashable] = [("connection", connection.connection), ("due", due, connection.connection)]
        for member, key in joins:
            rows += _rows_of_join(member, key)
        async with self._transaction(*rows):
            for member, key in joins:
                self._require_may_join(member, key, None, now)
            self._connections[connection.connection] = connection
            for member, key in joins:
                self._put_join(member, key)
            self._due[due, due_bucket(connection.connection)].add(connection.connection)

    async def join(self, member: Member, key: ShardKey, read: Membership | None, now: int) -> None:
        async with self._transaction(("connection", member.connection), *_rows_of_join(member, key)):
            row = self._connections.get(member.connection)
            self._require_may_join(member, key, read, now)
            if row is None:
                raise Conflict("the connection has ended")
            self._connections[member.connection] = replace(row, last_room=key.room)
            self._put_join(member, key)

    async def count_join(self, key: ShardKey, head: int) -> Count:
        await asyncio.sleep(0)
        shard = self._shards.get(key) or Shard(None, 0, 0)
        return self._count(key, replace(shard, sent=head if shard.sent is None else shard.sent), 1)

    async def leave(self, connection: str, membership: Membership) -> Count | None:
        rows = (("member", membership.key, connection), ("reverse", connection, membership.room))
        try:
            async with self._transaction(*rows):
                member = self._members[membership.key].get(connection)
                present = self._memberships[connection].get(membership.room)
                if not (_join_id(member) == _join_id(present) == membership.join_id):
                    return None
                del self._members[membership.key][connection]
                del self._memberships[connection][membership.room]
        except Conflict as conflict:
            raise Unavailable(str(conflict)) from None
        return await self._count_leave(membership.key)

    async def drop_member(self, key: ShardKey, member: Member) -> Count | None:
        async with self._single_write(("member", key, member.connection)):
            present = self._members[key].get(member.connection)
            if present is None or present.join_id != member.join_id:
                return None
            del self._members[key][member.connection]
        return await self._count_leave(key)

    async def end_connection(self, connection: str) -> None:
        async with self._single_write(("connection", connection)):
            self._connections.pop(connection, None)

    # ---- leases

    async def renew(self, connection: str, lease_until: int) -> None:
        async with self._single_write(("connection", connection)):
            row = self._connections.get(connection)
            if row is not None:
                self._connections[connection] = replace(row, lease_until=lease_until)

    async def due(self, minute: int, bucket: int, limit: int) -> list[str]:
        await asyncio.sleep(0)
        return sorted(self._due[minute, bucket])[:limit]

    async def move_due(self, connection: str, minute: int, later: int | None) -> None:
        bucket = due_bucket(connection)
        if later is not None:
            async with self._single_write(("due", later, connection)):
                self._due[later, bucket].add(connection)
        async with self._single_write(("due", minute, connection)):
            self._due[minute, bucket].discard(connection)

    async def ticked(self, bucket: int) -> int | None:
        await asyncio.sleep(0)
        return self._ticked.get(bucket)

    async def set_ticked(self, bucket: int, minute: int) -> None:
        await asyncio.sleep(0)
        self._ticked[bucket] = minute

    # ---- shards

    async def shard(self, key: ShardKey) -> Shard | None:
        await asyncio.sleep(0)
        return self._shards.get(key)

    async def shards(self, keys: Sequence[ShardKey]) -> dict[ShardKey, Shard]:
        await asyncio.sleep(0)
        return {it: self._shards[it] for it in keys if it in self._shards}

    async def claim_stats(self, key: ShardKey, read: int, now: int) -> bool:
        await asyncio.sleep(0)
        if key not in self._shards or self._stats_at.get(key, 0) != read:
            return False
        self._stats_at[key] = now
        return True

    async def members_page(self, key: ShardKey, after: str, limit: int) -> list[Member]:
        await asyncio.sleep(0)
        members = self._members[key]
        return [members[it] for it in sorted(members) if it > after][:limit]

    async def members(self, key: ShardKey) -> list[Member]:
        await asyncio.sleep(0)
        members = self._members[key]
        return [members[it] for it in sorted(members)]

    async def members_among(self, key: ShardKey, connections: Sequence[str]) -> list[Member]:
        await asyncio.sleep(0)
        members = self._members[key]
        return [members[it] for it in dict.fromkeys(connections) if it in members]

    async def advance(self, key: ShardKey, sent: int, counted: int, read: Shard | None) -> None:
        await asyncio.sleep(0)
        shard = self._shards.get(key) or Shard(None, 0, 0)
        raised = replace(shard, sent=sent if shard.sent is None else max(shard.sent, sent))
        if shard.version == (read.version if read else 0):
            raised = replace(raised, members=counted, version=shard.version + 1)
        self._shards[key] = raised

    async def _count_leave(self, key: ShardKey) -> Count:
        await asyncio.sleep(0)
        return self._count(key, self._shards.get(key) or Shard(None, 0, 0), -1)

    def _count(self, key: ShardKey, shard: Shard, more: int) -> Count:
        members = shard.members + more
        self._shards[key] = replace(shard, members=members, version=shard.version + 1)
        return Count(members, self._stats_at.get(key, 0))

    # ---- rows

    def _standing(self, room: str, user: str) -> Standing:
        return self._standings.get((room, user), Standing())

    def _require_may_join(self, member: Member, key: ShardKey, read: Membership | None, now: int) -> None:
        present = self._memberships[member.connection].get(key.room)
        standing = self._standing(key.room, member.user)
        _require(_join_id(present) in {_join_id(read), member.join_id}, "another join of the connection came first")
        _require(not standing.banned and standing.kicked_at + KICK_MARK_MS <= now, "the user may not join")

    def _put_join(self, member: Member, key: ShardKey) -> None:
        self._members[key][member.connection] = member
        self._memberships[member.connection][key.room] = Membership(
            key.room, key.epoch, key.shard, member.join_id, member.user, member.name
        )

    @asynccontextmanager
    async def _transaction(self, *rows: Hashable) -> AsyncIterator[None]:
        if not self._held.isdisjoint(rows):
            await asyncio.sleep(0)
            raise Conflict("another transaction holds one of the rows")
        self._held.update(rows)
        try:
            await asyncio.sleep(0)
            yield
        finally:
            self._held.difference_update(rows)

    @asynccontextmanager
    async def _single_write(self, row: Hashable) -> AsyncIterator[None]:
        await asyncio.sleep(0)
        if row in self._held:
            raise Unavailable("a transaction holds the row")
        yield


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise Conflict(otherwise)


def _rows_of_join(member: Member, key: ShardKey) -> list[Hashable]:
    return [
        ("member", key, member.connection),
        ("reverse", member.connection, key.room),
        ("user", key.room, member.user),
    ]


def _join_id(row: Member | Membership | None) -> str | None:
    return row.join_id if row else None


def _cut(entries: Iterable[Entry], limit: int, max_bytes: int) -> list[Entry]:
    result: list[Entry] = []
    size = 0
    for entry in itertools.islice(entries, limit):
        size += len(msgspec.json.encode(entry.body))
        if result and size > max_bytes:
            break
        result.append(entry)
    return result


@dataclass(slots=True)
class _Message:
    """A message in a queue. Times are milliseconds since 1970."""

    id: str
    body: str
    group: str
    sent_at: int
    visible_at: int
    deduplication: str | None = None
    receives: int = 0
    receipt: str | None = None
    """Of the receive that holds it now."""


class MemoryQueue(BroadcastQueue):
    """The lanes in memory, with SQS's groups, deduplication, delays, visibility and dead letters.

    `receive` and `delete` are the worker's side; retention is not modelled.
    """

    def __init__(self, clock: Clock, lanes: Mapping[str, Lane] = LANES, draw: random.Random | None = None) -> None:
        self._clock = clock
        self._lanes = lanes
        self._draw = draw or random.Random()
        self._messages: dict[str, list[_Message]] = {it: [] for it in lanes}
        self._dead: dict[str, list[_Message]] = {it: [] for it in lanes}
        self._deduplicated: dict[tuple[str, str], int] = {}
        self._numbers = itertools.count(1)

    async def ring(self, doorbells: Sequence[Doorbell]) -> None:
        await asyncio.sleep(0)
        for it in doorbells:
            self.put("interactive", encode_job(it), str(it.key), deduplication=f"{it.key}#{it.seq}")

    async def defer(self, remainders: Sequence[Remainder]) -> None:
        await asyncio.sleep(0)
        for it in remainders:
            self.put("retry", encode_job(it), it.room, delay=remainder_delay(it.attempt, self._draw))

    async def announce(self, job: Ephemeral, delay: int = 0) -> None:
        await asyncio.sleep(0)
        self.put("ephemeral", encode_job(job), job.room, delay=delay)

    async def bury(self, lane: str, body: str, group: str | None) -> None:
        await asyncio.sleep(0)
        now = self._clock.now()
        self._dead[lane].append(_Message(f"{next(self._numbers)}", body, group or "poison", now, now))

    async def hide(self, lane: str, receipt: str, seconds: int) -> None:
        await asyncio.sleep(0)
        message = self._in_flight(lane, receipt)
        if message is not None:
            message.visible_at = self._clock.now() + seconds * 1000

    def put(self, lane: str, body: str, group: str, *, deduplication: str | None = None, delay: int = 0) -> None:
        """Enqueue a body as it is; visible after `delay` seconds."""
        now = self._clock.now()
        if deduplication is not None:
            if self._deduplicated.get((lane, deduplication), 0) > now:
                return
            self._deduplicated[lane, deduplication] = now + DEDUPLICATION_MS
        number = f"{next(self._numbers)}"
        self._messages[lane].append(_Message(number, body, group, now, now + delay * 1000, deduplication))

    async def receive(self, lane: str, batch_size: int) -> list[dict[str, Any]]:
        """Up to `batch_size` visible messages as records of a Lambda event.

        On a FIFO lane: of a group with a message in flight none; of the group of the oldest message as many as
        there are, then those of the next group.
        """
        await asyncio.sleep(0)
        now = self._clock.now()
        self._bury_spent(lane, now)
        waiting = self._messages[lane]
        if self._lanes[lane].fifo:
            held = {it.group for it in waiting if it.visible_at > now}
            groups: dict[str, list[_Message]] = defaultdict(list)
            for it in waiting:
                if it.group not in held:
                    groups[it.group].append(it)
            ready = list(itertools.chain.from_iterable(groups.values()))
        else:
            ready = [it for it in waiting if it.visible_at <= now]
        return [self._take(lane, it, now) for it in ready[:batch_size]]

    async def delete(self, lane: str, receipt: str) -> None:
        """Delete a received message; without effect once it is visible again."""
        await asyncio.sleep(0)
        message = self._in_flight(lane, receipt)
        if message is not None:
            self._messages[lane].remove(message)

    def depth(self, lane: str) -> int:
        """How many messages the lane holds: waiting, delayed and in flight."""
        return len(self._messages[lane])

    def dead(self, lane: str) -> list[str]:
        """The bodies in the lane's dead-letter queue, oldest first."""
        return [it.body for it in self._dead[lane]]

    def _bury_spent(self, lane: str, now: int) -> None:
        most = self._lanes[lane].max_receives
        spent = [it for it in self._messages[lane] if it.visible_at <= now and it.receives >= most]
        for it in spent:
            self._messages[lane].remove(it)
            self._dead[lane].append(it)

    def _take(self, lane: str, message: _Message, now: int) -> dict[str, Any]:
        message.receives += 1
        message.receipt = f"{message.id}.{message.receives}"
        message.visible_at = now + round(self._lanes[lane].visibility * 1000)
        attributes = {
            "ApproximateReceiveCount": str(message.receives),
            "SentTimestamp": str(message.sent_at),
            "MessageGroupId": message.group,
        }
        if message.deduplication is not None:
            attributes["MessageDeduplicationId"] = message.deduplication
            attributes["SequenceNumber"] = message.id.zfill(20)
        return {
            "messageId": message.id,
            "receiptHandle": message.receipt,
            "body": message.body,
            "attributes": attributes,
            "messageAttributes": {},
            "md5OfBody": hashlib.md5(message.body.encode(), usedforsecurity=False).hexdigest(),
            "eventSource": "aws:sqs",
            "eventSourceARN": f"arn:aws:sqs:memory:000000000000:{lane}",
            "awsRegion": "memory",
        }

    def _in_flight(self, lane: str, receipt: str) -> _Message | None:
        now = self._clock.now()
        return next((it for it in self._messages[lane] if it.receipt == receipt and it.visible_at > now), None)


class MemoryConnections(Connections):
    """Sockets in memory, each with a log of the frames that it received."""

    def __init__(self) -> None:
        self.received: dict[str, list[bytes]] = defaultdict(list)
        """Connection → frames, oldest first; kept when the connection ends."""
        self.on_post: Callable[[str, bytes], Awaitable[None]] | None = None
        """Awaited before each frame is delivered; what it raises is the answer to the post."""
        self._open: set[str] = set()
        self._failures: dict[str, deque[PostError]] = defaultdict(deque)

    def open(self, connection: str) -> None:
        """A client connects."""
        self._open.add(connection)

    def drop(self, connection: str) -> None:
        """A client vanishes."""
        self._open.discard(connection)

    def is_open(self, connection: str) -> bool:
        return connection in self._open

    def fail_next(self, connection: str, *errors: PostError) -> None:
        """Answer the next posts to the connection with these errors, one each."""
        self._failures[connection].extend(errors)

    async def post(self, connection: str, frame: bytes, deadline: float) -> None:
        await asyncio.sleep(0)
        if self.on_post is not None:
            await self.on_post(connection, frame)
        if self._failures[connection]:
            raise self._failures[connection].popleft()
        if connection not in self._open:
            raise ConnectionGone(connection)
        self.received[connection].append(frame)

    async def close(self, connection: str) -> None:
        await asyncio.sleep(0)
        if connection not in self._open:
            raise ConnectionGone(connection)
        self._open.discard(connection)
