"""Rooms, logs and members in dicts, with the transactions of DynamoDB."""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields, replace

import msgspec

from domain.errors import Conflict, Unavailable
from domain.policy import Needs
from domain.ports import RoomStore
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
    Sender,
    Sending,
    Session,
    Shard,
    ShardKey,
    Standing,
    due_bucket,
    due_minute,
    is_listed,
    listing_of,
)

__all__ = ["MemoryStore", "give_way"]


async def give_way() -> None:
    """Let other tasks run, and take no time."""
    await asyncio.sleep(0)


class MemoryStore(RoomStore):
    """Rooms in dicts, with DynamoDB's transactions.

    A transaction holds its rows while it is under way, those it only checks as well. Another transaction that meets
    a held row gets `Conflict`, and a single write `Unavailable`, as DynamoDB answers TransactionConflict.
    """

    def __init__(self, answer: Callable[[], Awaitable[None]] = give_way) -> None:
        """`answer`: awaited in every call before its effect, and by a transaction while it holds its rows: how long
        the store takes."""
        self._answer = answer
        self._rooms: dict[str, Room] = {}
        self._directory: dict[str, dict[str, Directory]] = defaultdict(dict)
        self._standings: dict[tuple[str, str], Standing] = {}
        self._entries: dict[tuple[str, int], dict[int, Entry]] = defaultdict(dict)
        self._reactions: set[tuple[str, int, int, str, str]] = set()
        """(room, epoch, seq, user, emoji)"""
        self._threads: dict[tuple[str, int, int], list[int]] = defaultdict(list)
        self._once: dict[tuple[str, str], Once] = {}
        self._connections: dict[str, Connection] = {}
        self._memberships: dict[str, dict[str, Membership]] = defaultdict(dict)
        self._members: dict[ShardKey, dict[str, Member]] = defaultdict(dict)
        self._shards: dict[ShardKey, Shard] = {}
        self._stats_at: dict[ShardKey, int] = {}
        self._shards_known: dict[ShardKey, int] = {}
        self._due: dict[tuple[int, int], set[str]] = defaultdict(set)
        self._ticked: dict[int, int] = {}
        self._held: set[Hashable] = set()

    # ---- rooms and their logs

    async def room(self, room: str) -> Room | None:
        await self._answer()
        return self._rooms.get(room)

    async def rooms(self, rooms: Sequence[str]) -> dict[str, Room]:
        await self._answer()
        return {it: self._rooms[it] for it in rooms if it in self._rooms}

    async def create_room(self, room: Room, *, owner: str | None = None, replaces: Room | None = None) -> Room:
        async with self._single_write(("meta", room.room)):
            there = self._rooms.get(room.room)
            ended = there is not None and there.status == "deleted"
            if there is None or (ended and replaces is not None and there.epoch == replaces.epoch):
                self._put_room(room)
                if owner is not None:
                    self._standings[room.room, owner] = replace(self._standing(room.room, owner), role="owner")
            return self._rooms[room.room]

    @asynccontextmanager
    async def naming_hooks(self, room: Room | None, hooks: Sequence[str]) -> AsyncIterator[None]:
        """A transaction of `MemoryWebhooks`, at whose end the room's `hooks` are those; of no room where it is None.

        Raises `Conflict` where epoch or hooks are not as in `room`, or another transaction holds its row.
        """
        if room is None:
            await self._answer()
            yield
            return
        async with self._transaction(("meta", room.room)):
            there = self._rooms.get(room.room)
            if there is None or (there.epoch, there.hooks) != (room.epoch, room.hooks):
                raise Conflict("the room has other hooks")
            yield
            self._rooms[room.room] = replace(there, hooks=tuple(hooks))

    async def directory(self, parent: str, after: str, limit: int) -> list[Directory]:
        await self._answer()
        listed = self._directory[parent]
        return [listed[it] for it in sorted(listed) if it > after][:limit]

    async def standing(self, room: str, user: str) -> Standing:
        await self._answer()
        return self._standing(room, user)

    async def standings(self, rooms: Sequence[str], user: str) -> dict[str, Standing]:
        await self._answer()
        return {it: self._standing(it, user) for it in rooms}

    async def set_standing(self, room: str, user: str, standing: Standing) -> None:
        async with self._single_write(("user", room, user)):
            self._standings[room, user] = standing

    async def judge(
        self, room: str, user: str, read: Standing, standing: Standing, by: Sender, client_id: str, now: int
    ) -> None:
        differing = [it.name for it in fields(Standing) if getattr(read, it.name) != getattr(standing, it.name)]
        if not differing:
            return
        rows: list[Hashable] = [("user", room, user), ("once", by.user, client_id)]
        if by.needs is not None:
            rows.append(("user", by.needs.room, by.needs.user))
        async with self._transaction(*rows):
            there, earlier = self._standing(room, user), self._once.get((by.user, client_id))
            _require(all(getattr(there, it) == getattr(read, it) for it in differing), "the standing has changed")
            _require(earlier is None or earlier.expires_at <= now, "the once-row exists")
            self._require_needs(by.needs, now)
            self._standings[room, user] = replace(there, **{it: getattr(standing, it) for it in differing})

    async def sending(self, rooms: Sequence[str], connection: str, user: str, client_id: str) -> Sending:
        await self._answer()
        return Sending(
            rooms={it: self._rooms[it] for it in rooms if it in self._rooms},
            membership=self._memberships[connection].get(rooms[0]),
            standing=self._standing(rooms[0], user),
            once=self._once.get((user, client_id)),
        )

    async def append(
        self,
        appends: Sequence[Append],
        sender: Sender,
        client_id: str,
        once: Once,
        now: int,
    ) -> None:
        membership, needs = sender.membership, sender.needs
        rows: list[Hashable] = [("once", sender.user, client_id)]
        if membership is not None:
            rows.append(("member", membership.key, sender.connection))
        if needs is not None:
            rows.append(("user", needs.room, needs.user))
        for it in appends:
            rows += [("meta", it.read.room), ("entry", it.read.room, it.read.epoch, it.entry.seq)]
            rows += [("entry", it.read.room, it.read.epoch, amended.seq) for amended in it.amends]
        async with self._transaction(*rows):
            earlier = self._once.get((sender.user, client_id))
            for it in appends:
                _require(self._rooms.get(it.read.room) == it.read, "the room has moved")
                log = self._entries[it.read.room, it.read.epoch]
                _require(it.entry.seq not in log, "the entry exists")
                _require(all(amended.seq in log for amended in it.amends), "an entry that it amends does not")
            _require(earlier is None or earlier.expires_at <= now, "the once-row exists")
            if membership is not None:
                member = self._members[membership.key].get(sender.connection)
                ended = member is None or member.join_id != membership.join_id
                _require(not ended, "the sender's membership has ended")
            self._require_needs(needs, now)
            if needs is not None and needs.pause:
                row = needs.room, needs.user
                self._standings[row] = replace(self._standing(*row), spoke_at=now)
            for it in appends:
                self._put_room(it.after)
                self._entries[it.read.room, it.read.epoch][it.entry.seq] = it.stored
                self._amend(it)
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
        await self._answer()
        log = self._entries[room, epoch]
        last = next(reversed(log), 0)  # they are put in order
        seqs = range(after + 1, (last if upto is None else min(upto, last)) + 1)
        return _cut((log[it] for it in seqs if it in log), limit, max_bytes)

    async def entries_before(self, room: str, epoch: int, before: int, *, limit: int, max_bytes: int) -> list[Entry]:
        await self._answer()
        log = self._entries[room, epoch]
        seqs = range(min(before - 1, next(reversed(log), 0)), 0, -1)
        return _cut((log[it] for it in seqs if it in log), limit, max_bytes)[::-1]

    async def entries_at(self, room: str, epoch: int, seqs: Sequence[int]) -> list[Entry]:
        await self._answer()
        log = self._entries[room, epoch]
        return [log[it] for it in dict.fromkeys(seqs) if it in log]

    async def has_reacted(self, room: str, epoch: int, of: int, user: str, emoji: str) -> bool:
        await self._answer()
        return (room, epoch, of, user, emoji) in self._reactions

    async def thread_after(self, room: str, epoch: int, root: int, after: int, limit: int) -> list[int]:
        await self._answer()
        return [it for it in self._threads[room, epoch, root] if it > after][:limit]

    async def thread_before(self, room: str, epoch: int, root: int, before: int, limit: int) -> list[int]:
        await self._answer()
        return [it for it in self._threads[room, epoch, root] if it < before][-limit:]

    # ---- connections and memberships

    async def session(self, connection: str) -> Session:
        await self._answer()
        memberships = self._memberships[connection]
        return Session(self._connections.get(connection), [memberships[it] for it in sorted(memberships)])

    async def connect(
        self, connection: Connection, joins: Sequence[tuple[Member, ShardKey, Needs | None]], now: int
    ) -> None:
        due = due_minute(connection.lease_until)
        rows: list[Hashable] = [("connection", connection.connection), ("due", due, connection.connection)]
        for member, key, needs in joins:
            rows += _rows_of_join(member, key, needs)
        async with self._transaction(*rows):
            for member, key, needs in joins:
                self._require_may_join(member, key, None, needs, now)
            self._connections[connection.connection] = connection
            for member, key, _ in joins:
                self._put_join(member, key)
            self._due[due, due_bucket(connection.connection)].add(connection.connection)

    async def join(self, member: Member, key: ShardKey, read: Membership | None, needs: Needs | None, now: int) -> None:
        async with self._transaction(("connection", member.connection), *_rows_of_join(member, key, needs)):
            row = self._connections.get(member.connection)
            self._require_may_join(member, key, read, needs, now)
            if row is None or row.expires_at != member.expires_at:
                raise Conflict("the connection has ended, or was lengthened")
            self._connections[member.connection] = replace(row, last_room=key.room)
            self._put_join(member, key)

    async def set_last_room(self, connection: str, room: str, read: str) -> None:
        async with self._single_write(("connection", connection)):
            row = self._connections.get(connection)
            if row is not None and row.last_room == read:
                self._connections[connection] = replace(row, last_room=room)

    async def count_join(self, key: ShardKey, head: int, shards: int = 1, *, joined: int = 1) -> Count:
        await self._answer()
        self._shards_known[key] = shards
        return self._count(key, self._started(key, head), joined)

    async def leave(self, connection: str, membership: Membership) -> Count | None:
        key, count = membership.key, None
        if await self._delete_member(key, connection, membership.join_id):
            count = await self._count_leave(key)
        else:
            await self._answer()
            if _join_id(self._memberships[connection].get(membership.room)) != membership.join_id:
                return None
            await self._answer()
            self._count(key, self._shards.get(key) or Shard(None, 0, 0), 0)
        async with self._single_write(("reverse", connection, membership.room)):
            if _join_id(self._memberships[connection].get(membership.room)) == membership.join_id:
                del self._memberships[connection][membership.room]
        return count

    async def drop_member(self, key: ShardKey, member: Member) -> Count | None:
        if await self._delete_member(key, member.connection, member.join_id):
            return await self._count_leave(key)
        return None

    async def end_connection(self, connection: str) -> None:
        async with self._single_write(("connection", connection)):
            self._connections.pop(connection, None)

    async def lengthen(self, connection: str, expires_at: int, lease_until: int) -> None:
        async with self._single_write(("connection", connection)):
            row = self._connections.get(connection)
            if row is not None and row.expires_at <= expires_at:
                self._connections[connection] = replace(row, expires_at=expires_at, lease_until=lease_until)

    async def lengthen_membership(self, connection: str, membership: Membership, expires_at: int) -> None:
        key = membership.key
        async with self._single_write(("member", key, connection)):
            member = self._members[key].get(connection)
            if member is None or member.join_id != membership.join_id:
                return
            self._members[key][connection] = replace(member, expires_at=expires_at)
        await self._answer()
        self._count(key, self._shards.get(key) or Shard(None, 0, 0), 0)

    # ---- leases

    async def renew(self, connection: str, lease_until: int) -> None:
        async with self._single_write(("connection", connection)):
            row = self._connections.get(connection)
            if row is not None:
                self._connections[connection] = replace(row, lease_until=lease_until)

    async def due(self, minute: int, bucket: int, limit: int) -> list[str]:
        await self._answer()
        return sorted(self._due[minute, bucket])[:limit]

    async def move_due(self, connection: str, minute: int, later: int | None) -> None:
        bucket = due_bucket(connection)
        if later is not None:
            async with self._single_write(("due", later, connection)):
                self._due[later, bucket].add(connection)
        async with self._single_write(("due", minute, connection)):
            self._due[minute, bucket].discard(connection)

    async def ticked(self, bucket: int) -> int | None:
        await self._answer()
        return self._ticked.get(bucket)

    async def set_ticked(self, bucket: int, minute: int) -> None:
        await self._answer()
        self._ticked[bucket] = minute

    # ---- shards

    async def claim_growth(self, room: Room, now: int) -> bool:
        async with self._single_write(("meta", room.room)):
            if not self._is_as_read(room) or self._rooms[room.room].growing_at != room.growing_at:
                return False
            self._rooms[room.room] = replace(self._rooms[room.room], growing_at=now)
            return True

    async def open_shards(self, keys: Sequence[ShardKey], head: int) -> None:
        await self._answer()
        for key in keys:
            self._shards[key] = self._started(key, head)

    async def grow(self, room: Room) -> None:
        async with self._single_write(("meta", room.room)):
            if self._is_as_read(room):
                doubled = replace(self._rooms[room.room], shards=2 * room.shards, growing_at=0)
                self._rooms[room.room] = doubled

    async def shard(self, key: ShardKey) -> Shard | None:
        await self._answer()
        return self._shards.get(key)

    async def shards(self, keys: Sequence[ShardKey]) -> dict[ShardKey, Shard]:
        await self._answer()
        return {it: self._shards[it] for it in keys if it in self._shards}

    async def claim_stats(self, key: ShardKey, read: int, now: int) -> bool:
        await self._answer()
        if key not in self._shards or self._stats_at.get(key, 0) != read:
            return False
        self._stats_at[key] = now
        return True

    async def members_page(self, key: ShardKey, after: str, limit: int) -> list[Member]:
        await self._answer()
        members = self._members[key]
        return [members[it] for it in sorted(members) if it > after][:limit]

    async def members(self, key: ShardKey) -> list[Member]:
        await self._answer()
        members = self._members[key]
        return [members[it] for it in sorted(members)]

    async def members_among(self, key: ShardKey, connections: Sequence[str]) -> list[Member]:
        await self._answer()
        members = self._members[key]
        return [members[it] for it in dict.fromkeys(connections) if it in members]

    async def advance(self, key: ShardKey, sent: int, counted: int | None, read: Shard | None) -> None:
        await self._answer()
        shard = self._shards.get(key) or Shard(None, 0, 0)
        raised = replace(shard, sent=sent if shard.sent is None else max(shard.sent, sent))
        as_read = (read.version, read.census) if read else (0, 0)
        if counted is not None and (shard.version, shard.census) == as_read:
            raised = replace(raised, members=counted, census=shard.census + 1)
        self._shards[key] = raised

    async def _delete_member(self, key: ShardKey, connection: str, join_id: str) -> bool:
        """Delete a member row if it is this join's; whether it was."""
        async with self._single_write(("member", key, connection)):
            if _join_id(self._members[key].get(connection)) != join_id:
                return False
            del self._members[key][connection]
            return True

    async def _count_leave(self, key: ShardKey) -> Count:
        await self._answer()
        return self._count(key, self._shards.get(key) or Shard(None, 0, 0), -1)

    def _count(self, key: ShardKey, shard: Shard, more: int) -> Count:
        members = shard.members + more
        self._shards[key] = replace(shard, members=members, version=shard.version + 1)
        return Count(members, self._stats_at.get(key, 0), self._shards_known.get(key, 1))

    def _started(self, key: ShardKey, head: int) -> Shard:
        shard = self._shards.get(key) or Shard(None, 0, 0)
        return replace(shard, sent=head if shard.sent is None else shard.sent)

    def _is_as_read(self, room: Room) -> bool:
        present = self._rooms.get(room.room)
        return present is not None and (present.epoch, present.shards) == (room.epoch, room.shards)

    # ---- rows

    def _standing(self, room: str, user: str) -> Standing:
        return self._standings.get((room, user), Standing())

    def _require_needs(self, needs: Needs | None, now: int) -> None:
        if needs is None:
            return
        it = self._standing(needs.room, needs.user)
        _require(it.role in needs.roles if it.role else needs.without, "the user's role does not do")
        _require(it.banned_until <= now, "the user is banned")
        _require(not needs.unkicked or it.kicked_at + KICK_MARK_MS <= now, "the user was kicked a moment ago")
        _require(not needs.unmuted or it.muted_until <= now, "the user is muted")
        _require(it.spoke_at + needs.pause <= now, "the user wrote a moment ago")

    def _require_may_join(
        self, member: Member, key: ShardKey, read: Membership | None, needs: Needs | None, now: int
    ) -> None:
        present = self._memberships[member.connection].get(key.room)
        _require(_join_id(present) in {_join_id(read), member.join_id}, "another join of the connection came first")
        self._require_needs(needs, now)

    def _put_room(self, room: Room) -> None:
        before = self._rooms.get(room.room)
        self._rooms[room.room] = room
        if before is not None:
            self._directory[before.profile.parent].pop(room.room, None)
        if is_listed(room):
            self._directory[room.profile.parent][room.room] = listing_of(room)

    def _amend(self, append: Append) -> None:
        room, epoch, reaction = append.read.room, append.read.epoch, append.reaction
        log = self._entries[room, epoch]
        for it in append.amends:
            log[it.seq] = replace(log[it.seq], body=it.body, beside=it.beside or log[it.seq].beside)
        if append.thread is not None:
            self._threads[room, epoch, append.thread].append(append.entry.seq)
        if reaction is not None:
            row = room, epoch, reaction.of, reaction.user, reaction.emoji
            (self._reactions.add if reaction.given else self._reactions.discard)(row)

    def _put_join(self, member: Member, key: ShardKey) -> None:
        there = self._members[key].get(member.connection)
        if there is not None and there.join_id == member.join_id:
            member = replace(member, status=there.status)
        self._members[key][member.connection] = member
        self._memberships[member.connection][key.room] = Membership(
            key.room, key.epoch, key.shard, member.join_id, member.user, member.name, member.since
        )

    @asynccontextmanager
    async def _transaction(self, *rows: Hashable) -> AsyncIterator[None]:
        if not self._held.isdisjoint(rows):
            await self._answer()
            raise Conflict("another transaction holds one of the rows")
        self._held.update(rows)
        try:
            await self._answer()
            yield
        finally:
            self._held.difference_update(rows)

    @asynccontextmanager
    async def _single_write(self, row: Hashable) -> AsyncIterator[None]:
        await self._answer()
        if row in self._held:
            raise Unavailable("a transaction holds the row")
        yield


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise Conflict(otherwise)


def _rows_of_join(member: Member, key: ShardKey, needs: Needs | None) -> list[Hashable]:
    rows: list[Hashable] = [("member", key, member.connection), ("reverse", member.connection, key.room)]
    return rows if needs is None else [*rows, ("user", needs.room, needs.user)]


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
