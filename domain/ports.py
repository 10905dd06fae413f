"""What the use cases and the broadcast need of the world. Each docstring is the guarantee that an adapter gives.

Every method may raise `Unavailable`: throttled, failed, or no answer in time, with the effect possibly done. Reads are
strongly consistent throughout; a caller relies on the order of its reads. Times are milliseconds since 1970.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from domain.fanout import Arrived, Doorbell, Remainder
from domain.rooms import (
    Connection,
    Entry,
    Member,
    Membership,
    Once,
    Room,
    Rules,
    Sending,
    Session,
    Shard,
    ShardKey,
    Standing,
)

__all__ = [
    "BroadcastQueue",
    "Clock",
    "Connections",
    "Handshake",
    "Identity",
    "Ports",
    "Principal",
    "RoomStore",
]


class Clock(Protocol):
    """Time, replaceable."""

    def now(self) -> int:
        """Milliseconds since 1970."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean something."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""
        ...


class RoomStore(Protocol):
    """Rooms, their logs, and who is in them."""

    # ---- rooms and their logs

    async def room(self, room: str) -> Room | None:
        """The room's meta row."""
        ...

    async def rooms(self, rooms: Sequence[str]) -> dict[str, Room]:
        """The meta rows of up to 100 rooms; those that don't exist are left out."""
        ...

    async def create_room(self, room: str, epoch: int) -> None:
        """Make the room with that epoch and an empty log, unless there is one, whatever its status."""
        ...

    async def standing(self, room: str, user: str) -> Standing:
        """What the room holds against the user; the empty standing if nothing is recorded."""
        ...

    async def set_standing(self, room: str, user: str, standing: Standing) -> None:
        """Record a user's standing in a room."""
        ...

    async def sending(self, room: str, connection: str, user: str, client_id: str) -> Sending:
        """All that a send depends on, in one read. The once-row may have expired: deletion by TTL lags."""
        ...

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
        """All or nothing: the room's head rises from `read.head` to `entry.seq`, the entry and the once-row are put.

        Raises `Conflict`, with nothing written, if the room is not as `read` (head, epoch, shards, status), the
        entry exists, an unexpired once-row exists, the sender's member row is gone, the sender is banned or muted,
        or another transaction holds one of the rows. The caller reads again and decides anew.
        After `Unavailable` the entry may be stored: the caller reads again and finds its once-row.
        """
        ...

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
        """Entries with seq > `after` (and ≤ `upto`), oldest first: at most `limit`, and no more than make about
        `max_bytes` together, but at least one where there is one."""
        ...

    async def entries_before(self, room: str, epoch: int, before: int, *, limit: int, max_bytes: int) -> list[Entry]:
        """The newest entries with seq < `before`, oldest first, bounded likewise (the oldest are cut)."""
        ...

    # ---- connections and memberships

    async def session(self, connection: str) -> Session:
        """The connection's row and all its memberships, in one read."""
        ...

    async def join(
        self,
        member: Member,
        key: ShardKey,
        read: Membership | None,
        now: int,
        *,
        connect: Connection | None = None,
    ) -> None:
        """All or nothing: member row, reverse row, and the connection's `last_room`; with `connect`, its row as well.

        Raises `Conflict`, with nothing written, if the reverse row is not as `read` (by its join id, or absent) and
        not this very join's, the connection's row is gone (where `connect` does not put it), the user is banned or
        was kicked within `KICK_MARK_MS`, or another transaction holds one of the rows.
        """
        ...

    async def count_join(self, key: ShardKey, head: int) -> int:
        """Add one to the shard's count, and let a shard that was never served start at `head`. The new count."""
        ...

    async def leave(self, connection: str, membership: Membership) -> bool:
        """Delete member and reverse row if both carry the membership's join id, and take one from the count.

        True for the one caller whose call deleted them; False if they were gone or belong to a later join.
        """
        ...

    async def drop_member(self, key: ShardKey, member: Member) -> bool:
        """Delete the member row alone if it still carries `member.join_id`, and take one from the count.

        For a row whose reverse row has moved on to a later epoch of the room. True if this call deleted it.
        """
        ...

    async def end_connection(self, connection: str) -> None:
        """Delete the connection's own row, after which nothing can join for it. Its memberships stay."""
        ...

    # ---- shards

    async def shard(self, key: ShardKey) -> Shard | None:
        """The shard's row; None before the first join counted."""
        ...

    async def members(self, key: ShardKey) -> list[Member]:
        """Every member row of the shard; expired ones too (check `expires_at`)."""
        ...

    async def members_among(self, key: ShardKey, connections: Sequence[str]) -> list[Member]:
        """The member rows of those of `connections` that are still members."""
        ...

    async def advance(self, key: ShardKey, sent: int, counted: int, read: Shard | None) -> None:
        """Raise `sent` to `sent`, and set the count to `counted` if the shard's version is still as `read`.

        Where the version has moved, `sent` alone is raised. `sent` never goes down.
        """
        ...


class BroadcastQueue(Protocol):
    """The lanes of the broadcast."""

    async def ring(self, doorbells: Sequence[Doorbell]) -> None:
        """Enqueue on the durable lane, in order, deduplicated by (room, epoch, shard, seq) for five minutes.

        Returns when all are enqueued; raises `Unavailable` when some may not be: ring all again.
        """
        ...

    async def defer(self, remainders: Sequence[Remainder]) -> None:
        """Enqueue remainders, each delayed by its attempt. Returns when all are enqueued."""
        ...

    async def announce(self, arrived: Arrived) -> None:
        """Enqueue an ephemeral job."""
        ...

    async def bury(self, lane: str, body: str, group: str | None) -> None:
        """Put a record that no worker can read into the lane's dead-letter queue."""
        ...

    async def hide(self, lane: str, receipt: str, seconds: int) -> None:
        """Hide a received message for `seconds` from now, instead of the lane's visibility time."""
        ...


class Connections(Protocol):
    """The open sockets."""

    async def post(self, connection: str, frame: bytes, deadline: float) -> None:
        """Hand a frame to a connection's socket, or raise `ConnectionGone`, `Throttled`, or `PostFailed` (which it
        does after `deadline` seconds without an answer; the frame may arrive all the same)."""
        ...

    async def close(self, connection: str) -> None:
        """Close the socket; `ConnectionGone` if there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Handshake:
    """What a client brings when it connects."""

    connection: str
    query: Mapping[str, str]
    subprotocols: Sequence[str]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a connection is."""

    user: str
    name: str


class Identity(Protocol):
    """Turns a credential into a user."""

    async def admit(self, handshake: Handshake) -> Principal:
        """The user behind the handshake, or `Refused` with UNAUTHENTICATED (who are you?) or FORBIDDEN (not you)."""
        ...


@dataclass(frozen=True, slots=True)
class Ports:
    """The world, handed to every use case. Who posts to sockets is handed `Connections` beside it."""

    store: RoomStore
    queue: BroadcastQueue
    clock: Clock
    rules: Rules = field(default_factory=Rules)
    draw: random.Random = field(default_factory=random.Random)
