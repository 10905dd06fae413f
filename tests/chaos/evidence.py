"""What is left after a run, to be audited: what was said, what clients were given, and all that is stored."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from domain.ports import RoomStore
from domain.rooms import Entry, Member, Shard, ShardKey, inbox_of
from loadtest.audit import ClientLog, Membership
from loadtest.plan import Message

__all__ = ["Evidence", "PrivateWord", "StoredRoom", "StoredShard", "connections_of", "given", "read_rooms"]

PAGE_ENTRIES = 500
PAGE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class PrivateWord:
    """A private message: its place, once it is acknowledged, is that in its sender's inbox."""

    message: Message
    target: str


@dataclass(frozen=True, slots=True)
class StoredShard:
    """A shard's row, and its members' rows."""

    shard: Shard | None
    members: Sequence[Member]


@dataclass(frozen=True, slots=True)
class StoredRoom:
    """A room or an inbox as it is stored."""

    room: str
    epoch: int
    head: int
    entries: Sequence[Entry]
    """The whole log, by seq."""
    shards: Sequence[StoredShard]

    def text(self, epoch: int, seq: int) -> str | None:
        """What the log says there; None if nothing."""
        # Where there is no gap, that is its place.
        place = seq - 1 if seq <= len(self.entries) and self.entries[seq - 1].seq == seq else None
        found = self.entries[place] if place is not None else next((it for it in self.entries if it.seq == seq), None)
        return str(found.body["message"]) if found is not None and epoch == self.epoch else None

    def owed(self, user: str, head: int) -> list[int]:
        """The seqs that a member since `head` is to be given: all, save those of its own making in its own inbox."""
        own = self.room == inbox_of(user)
        return [it.seq for it in self.entries if it.seq > head and not (own and it.sender == user)]


def given(log: ClientLog, member: Membership) -> list[int]:
    """The seqs that a client's user was given of what followed the beginning of a membership, in that order."""
    place = member.room, member.epoch
    return [it.seq for it in log.released if (it.room, it.epoch) == place and it.seq > member.head]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All of a run."""

    messages: Sequence[Message]
    """That were sent to rooms, answered or not."""
    private: Sequence[PrivateWord]
    logs: Sequence[ClientLog]
    """Every client, also those that have gone. A client's name is its user."""
    rooms: Mapping[str, StoredRoom]
    """Every room and inbox in which anybody was or said anything."""
    quiet: Collection[str]
    """Of these, those in which something was said when nobody came or went any more: there the counts are right."""
    open: Collection[str]
    """Of the connections that have a member's row, those with an open socket."""
    dead: Mapping[str, int]
    """Lane → dead letters."""
    refusals: Sequence[str] = ()
    """What clients were refused, or told to have missed, though nothing of the kind is right here."""


async def read_rooms(store: RoomStore, rooms: Iterable[str]) -> dict[str, StoredRoom]:
    """These rooms, as far as they exist, read strongly, to the last row."""
    found = [await _read_room(store, it) for it in rooms]
    return {it.room: it for it in found if it is not None}


def connections_of(rooms: Mapping[str, StoredRoom]) -> set[str]:
    """Those that have a member's row."""
    return {member.connection for it in rooms.values() for shard in it.shards for member in shard.members}


async def _read_room(store: RoomStore, room: str) -> StoredRoom | None:
    meta = await store.room(room)
    if meta is None:
        return None
    entries: list[Entry] = []
    while page := await store.entries(
        room, meta.epoch, entries[-1].seq if entries else 0, limit=PAGE_ENTRIES, max_bytes=PAGE_BYTES
    ):
        entries += page
    keys = [ShardKey(room, meta.epoch, it) for it in range(meta.shards)]
    shards = [StoredShard(await store.shard(it), await store.members(it)) for it in keys]
    return StoredRoom(room, meta.epoch, meta.head, entries, shards)
