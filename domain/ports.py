"""What the use cases and the broadcast need of the world. Each docstring is the guarantee that an adapter gives.

Every method may raise `Unavailable`: throttled, failed, or no answer in time, with the effect possibly done. Reads are
strongly consistent throughout; a caller relies on the order of its reads. Times are milliseconds since 1970.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Protocol

from domain.fanout import Ephemeral, Remainder, Rung
from domain.marks import Mark
from domain.notices import OfflineNotice
from domain.policy import Needs
from domain.presence import Presence
from domain.protocol import Status
from domain.rates import RateLimiter
from domain.rooms import (
    Append,
    Connection,
    Count,
    Directory,
    Entry,
    Member,
    Membership,
    Once,
    Room,
    Rules,
    Sender,
    Sending,
    Session,
    Shard,
    ShardKey,
    Standing,
)
from domain.webhooks import Hook

__all__ = [
    "Answered",
    "Archive",
    "BroadcastQueue",
    "Clock",
    "Connections",
    "Handshake",
    "Identity",
    "Marks",
    "Notices",
    "Ports",
    "Principal",
    "Publisher",
    "Receivers",
    "Review",
    "RoomStore",
    "Roster",
    "Statuses",
    "StoredObject",
    "Webhooks",
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

    async def create_room(self, room: Room, *, owner: str | None = None, replaces: Room | None = None) -> Room:
        """Make the room with its empty log, list it if it is to be listed, and record its owner's role: together, and
        only unless there is one, whatever its status, or while it is `replaces`, which was deleted. The room that is
        there afterwards."""
        ...

    async def directory(self, parent: str, after: str, limit: int) -> list[Directory]:
        """Up to `limit` rooms below `parent` whose ids are greater than `after`, by id. From an index: a room made a
        moment ago may be missing."""
        ...

    async def standing(self, room: str, user: str) -> Standing:
        """What the room records of the user; the empty standing if that is nothing."""
        ...

    async def standings(self, rooms: Sequence[str], user: str) -> dict[str, Standing]:
        """What each of up to 100 rooms records of the user."""
        ...

    async def set_standing(self, room: str, user: str, standing: Standing) -> None:
        """Record a user's standing in a room, whatever it was."""
        ...

    async def judge(
        self, room: str, user: str, read: Standing, standing: Standing, by: Sender, client_id: str, now: int
    ) -> None:
        """Record in a user's standing what differs between `read` and `standing`.

        Raises `Conflict`, with nothing written, if that is not as `read` any more, what `by.needs` is not so (of
        another user of the room), there is an unexpired once-row of the sender's, or another transaction holds one of
        the rows. Nothing happens where nothing differs.
        """
        ...

    async def sending(self, rooms: Sequence[str], connection: str, user: str, client_id: str) -> Sending:
        """All that a send to `rooms` depends on, in one read; membership and standing are those of the first room.
        The once-row may have expired: deletion by TTL lags."""
        ...

    async def append(
        self,
        appends: Sequence[Append],
        sender: Sender,
        client_id: str,
        once: Once,
        now: int,
    ) -> None:
        """All or nothing: for each of `appends` (of different rooms, by one sender) the room's head rises from
        `read.head` to `entry.seq`, what else changes of it is written (how it is listed, too), and the entry is put;
        body and `beside` of the entries that it amends are written, its reaction is put or deleted, and it is listed
        in its thread. The once-row is put, alone where there is nothing to append; and if `sender.needs` has a pause,
        `now` is noted as the time the sender last spoke.

        Raises `Conflict`, with nothing written, if a room is not as `read` (head, epoch, shards, status, hooks), an
        entry exists, one that it amends does not, an unexpired once-row exists, the member row of `sender.membership`
        is gone, `sender.needs` is not so, or another transaction holds one of the rows. The caller reads again and
        decides anew.
        After `Unavailable` the entries may be stored: the caller reads again and finds its once-row.
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

    async def entries_at(self, room: str, epoch: int, seqs: Sequence[int]) -> list[Entry]:
        """Those of the entries (up to 100) that are there, in the order of `seqs`, each once, in one read."""
        ...

    async def has_reacted(self, room: str, epoch: int, of: int, user: str, emoji: str) -> bool:
        """Whether the user's reaction to the message at `of` stands."""
        ...

    async def thread_after(self, room: str, epoch: int, root: int, after: int, limit: int) -> list[int]:
        """The seqs of the first `limit` replies with seq > `after` in the thread that began at `root`, in order."""
        ...

    async def thread_before(self, room: str, epoch: int, root: int, before: int, limit: int) -> list[int]:
        """Those of the last `limit` replies with seq < `before`, in order."""
        ...

    # ---- connections and memberships

    async def session(self, connection: str) -> Session:
        """The connection's row and all its memberships, in one read."""
        ...

    async def connect(
        self, connection: Connection, joins: Sequence[tuple[Member, ShardKey, Needs | None]], now: int
    ) -> None:
        """All or nothing: the connection's row, member and reverse row of each of `joins`, and the lease's due row.

        Raises `Conflict`, with nothing written, if a reverse row is there that is not this very join's, what one of
        them needs is not so, or another transaction holds one of the rows.
        """
        ...

    async def join(self, member: Member, key: ShardKey, read: Membership | None, needs: Needs | None, now: int) -> None:
        """All or nothing: member row, reverse row, and the connection's `last_room`.

        Raises `Conflict`, with nothing written, if the reverse row is not as `read` (by its join id, or absent) and
        not this very join's, the connection's row is gone or ends at another time than the member, what it needs is not
        so, or another transaction holds one of the rows.
        """
        ...

    async def set_last_room(self, connection: str, room: str, read: str) -> None:
        """Say that the connection joined `room` last, if its row still says `read`: of a join that was taken back."""
        ...

    async def count_join(self, key: ShardKey, head: int, shards: int = 1, *, joined: int = 1) -> Count:
        """Add `joined` (0 for who was a member already) to the shard's count, raise its version, note that the room has
        so many `shards`, and let a shard that was never served start at `head`. The new count."""
        ...

    async def leave(self, connection: str, membership: Membership) -> Count | None:
        """Delete the member row, take one from the count and raise the shard's version, delete the reverse row: in this
        order, and each row only if it carries the membership's join id.

        So a leave that dies on its way is finished by its next try, which raises the version in any case. The new count
        for the one caller whose call deleted the member row; None if that was gone or belongs to a later join.
        """
        ...

    async def drop_member(self, key: ShardKey, member: Member) -> Count | None:
        """Delete the member row alone if it still carries `member.join_id`, and take one from the count.

        For a row whose reverse row has moved on to a later epoch of the room. The new count if this call deleted it.
        """
        ...

    async def end_connection(self, connection: str) -> None:
        """Delete the connection's own row, after which nothing can join for it. Its memberships stay."""
        ...

    async def lengthen(self, connection: str, expires_at: int, lease_until: int) -> None:
        """Let a connection's own row end later, and its lease; without effect if the row is gone, or ends later yet."""
        ...

    async def lengthen_membership(self, connection: str, membership: Membership, expires_at: int) -> None:
        """Let member and reverse row end at that time, each only if it carries the membership's join id, and then raise
        the shard's version, so that who has read the members reads them again."""
        ...

    # ---- leases

    async def renew(self, connection: str, lease_until: int) -> None:
        """Lengthen a connection's lease; without effect if its row is gone. Its due row stays where it is: the tick
        that finds it too early moves it."""
        ...

    async def due(self, minute: int, bucket: int, limit: int) -> list[str]:
        """Up to `limit` connections whose due rows are in that minute and bucket."""
        ...

    async def move_due(self, connection: str, minute: int, later: int | None) -> None:
        """Take a connection's due row out of `minute`; put it into `later`, first, if that is given."""
        ...

    async def ticked(self, bucket: int) -> int | None:
        """The last minute whose due rows of that bucket are all done; None before the first."""
        ...

    async def set_ticked(self, bucket: int, minute: int) -> None:
        """Record that minute."""
        ...

    # ---- shards

    async def claim_growth(self, room: Room, now: int) -> bool:
        """Set the room's `growing_at` to `now` if epoch, shards and `growing_at` are still as in `room`: True for the
        one caller who may double its shards."""
        ...

    async def open_shards(self, keys: Sequence[ShardKey], head: int) -> None:
        """Let those of the shards that were never served start at `head`."""
        ...

    async def grow(self, room: Room) -> None:
        """Double the room's shards and end the claim, if epoch and shards are still as in `room`."""
        ...

    async def shard(self, key: ShardKey) -> Shard | None:
        """The shard's row; None before the first join counted."""
        ...

    async def shards(self, keys: Sequence[ShardKey]) -> dict[ShardKey, Shard]:
        """The rows of many shards; those that don't exist are left out."""
        ...

    async def claim_stats(self, key: ShardKey, read: int, now: int) -> bool:
        """Set the shard's `stats_at` to `now` if it is still `read`: True for the one caller who may tell the room."""
        ...

    async def members_page(self, key: ShardKey, after: str, limit: int) -> list[Member]:
        """Up to `limit` member rows of the shard whose connections are greater than `after`, in that order."""
        ...

    async def members(self, key: ShardKey) -> list[Member]:
        """Every member row of the shard; expired ones too (check `expires_at`)."""
        ...

    async def members_among(self, key: ShardKey, connections: Sequence[str]) -> list[Member]:
        """The member rows of those of `connections` that are still members."""
        ...

    async def advance(self, key: ShardKey, sent: int, counted: int | None, read: Shard | None) -> None:
        """Raise `sent` to `sent`, and set the count to `counted` if version and census are still as `read`.

        Where one of them has moved, or nothing was `counted`, `sent` alone is raised. `sent` never goes down.
        """
        ...


class BroadcastQueue(Protocol):
    """The lanes of the broadcast."""

    async def ring(self, lane: str, jobs: Sequence[Rung]) -> None:
        """Enqueue on a durable lane, in order, deduplicated by (room, epoch, shard, seq) for five minutes; plans among
        themselves by (room, epoch, seq), and a hook's by (hook, epoch, seq, again).

        Returns when all are enqueued; raises `Unavailable` when some may not be: ring all again.
        """
        ...

    async def defer(self, remainders: Sequence[Remainder]) -> None:
        """Enqueue remainders, each delayed by its attempt. Returns when all are enqueued."""
        ...

    async def announce(self, job: Ephemeral, delay: int = 0) -> None:
        """Enqueue an ephemeral job, to be seen after `delay` seconds."""
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


class Roster(Protocol):
    """Who comes and goes, and who is told: small rooms who it was, large ones how many there are, at most once a
    second. Telling is best effort; the memberships are not."""

    async def joined(self, member: Member, key: ShardKey, count: Count) -> None:
        """Tell a room of a member that has joined it."""
        ...

    async def leave(self, connection: str, membership: Membership) -> bool:
        """End a membership, and tell the room if it was this call that ended it.

        False: it was over, or is another's by now, of a join that was carried out meanwhile.
        """
        ...

    async def end(self, connection: str) -> None:
        """End a connection: its own row first, so that no join slips in behind, then its memberships. Idempotent; after
        `Unavailable` call it again."""
        ...

    async def drop(self, member: Member, key: ShardKey) -> None:
        """End a connection of which `member` is a row, also where no reverse row leads to it."""
        ...

    async def work_out(self, user: str) -> Presence:
        """Work out how a user is, of all connections that there are now, and tell the small rooms that they are in, and
        their other devices, if that has changed. Of two work-outs at a time the one that saw less has no effect."""
        ...


class Statuses(Protocol):
    """How users are, and whom that is still to be told."""

    async def presences(self, users: Sequence[str]) -> dict[str, Presence]:
        """The rows of users, up to 100 in one read; the empty row of who has none."""
        ...

    async def record(self, presence: Presence) -> None:
        """Put a user's row. Raises `Conflict`, with nothing written, if the one that is there is not of the version
        before."""
        ...

    async def set_status(
        self, connection: str, inbox: Membership, status: Status, key: str, once: Once, now: int
    ) -> None:
        """All or nothing: the member row of the connection in its user's inbox says `status`, and the once-row `key` of
        the user is put.

        Raises `Conflict`, with nothing written, if there is an unexpired once-row, the member row is gone or belongs to
        another join, or another transaction holds one of the rows.
        """
        ...

    async def note(self, room: str, epoch: int, user: str, now: int) -> bool:
        """Add the user to those whose status a room is to be told: True for the one caller who is to see to it that
        they are taken. That is who finds nobody waiting, or those that wait since `CLAIM_MS`."""
        ...

    async def take(self, room: str, epoch: int) -> list[str]:
        """The users noted, who are noted no longer: the next one is the first again. After `Unavailable` they may be
        gone."""
        ...

    async def claim_typing(self, user: str, now: int) -> bool:
        """True, once within `TYPING_EVERY_MS`, however many ask."""
        ...


@dataclass(frozen=True, slots=True)
class Handshake:
    """What a client brings when it connects."""

    connection: str
    query: Mapping[str, str]
    subprotocols: Sequence[str]
    authorization: str = ""
    """The header of that name; empty where there is none."""
    origins: Sequence[str] = ()
    """The values of the header `Origin`: a browser sends one, other clients none."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a connection is."""

    user: str
    name: str
    groups: frozenset[str] = frozenset()
    """The deployment's groups that the user is in."""
    expires_at: int | None = None
    """When the credential expires, in milliseconds since 1970; None: never."""


class Identity(Protocol):
    """Turns a credential into a user.

    `Refused` says UNAUTHENTICATED (who are you?), TOKEN_EXPIRED (show a fresh one), or FORBIDDEN (not you).
    `Unavailable`: nobody can be told from anybody now, since the issuer's keys can't be had.
    """

    async def admit(self, handshake: Handshake) -> Principal:
        """The user behind the handshake, or `Refused`."""
        ...

    async def renew(self, user: str, token: str) -> Principal:
        """The same user by a fresh token, or `Refused`, also where it is another's."""
        ...


class Review(Protocol):
    """What a deployment has every message looked at by before it is stored."""

    async def review(self, room: str, user: str, text: str) -> str:
        """The text to store, which may be another one; `Refused` with REJECTED where it may not be stored, or with
        INTERNAL where that could not be found out."""
        ...


class Marks(Protocol):
    """How far users have read rooms. A mark belongs to one life (epoch) of its room, and never goes back."""

    async def mark(self, room: str, user: str, mark: Mark) -> Mark:
        """Move the user's mark of the room on to `mark`, unless it is there or further on already, by (epoch, seq). The
        mark that stands afterwards, whoever has set it."""
        ...

    async def marks(self, rooms: Sequence[str], user: str) -> dict[str, Mark]:
        """The user's marks of up to 100 rooms; those without one are left out."""


class Notices(Protocol):
    """Who wants no notices, and which was sent last."""

    async def silent(self, users: Sequence[str]) -> frozenset[str]:
        """Those of up to 100 users who want none."""
        ...

    async def set_wanted(self, user: str, wanted: bool) -> None:
        """Record whether the user wants any."""
        ...

    async def claim(self, notice: OfflineNotice, now: int) -> bool:
        """Record that the user is about to be sent this notice: True for whoever may send it.

        That is: none about this sender was claimed within `NOTICE_EVERY_MS` before `now`, or it was this very one,
        which was not settled. So of a claimant who died, the next try sends the notice.
        """
        ...

    async def release(self, notice: OfflineNotice) -> None:
        """Take back the claim of this notice, if it is the last and not settled: it need not be sent any more, and
        holds back no other."""
        ...

    async def settle(self, notice: OfflineNotice) -> None:
        """Record that the notice was sent, if it is the last that was claimed: it is not claimed again before its time
        is over, however often its request is repeated."""
        ...


@dataclass(frozen=True, slots=True)
class Answered:
    """What a hook's receiver answered."""

    status: int
    retry_after: float | None = None
    """Seconds that it asks for; None where it does not."""


class Receivers(Protocol):
    """Where outgoing hooks go."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, deadline: float) -> Answered:
        """Post JSON to a receiver of the public internet, within `deadline` seconds, and follow no redirect.

        Raises `PostFailed`, in words for people, where there is no answer in time, or where the URL leads to an address
        that nothing is sent to.
        """
        ...


class Publisher(Protocol):
    """Where notices go."""

    async def publish(self, notice: OfflineNotice, deadline: float) -> None:
        """Hand the notice over to whoever has subscribed, or raise `Unavailable`, which it does after `deadline`
        seconds without an answer; the notice may have gone all the same."""
        ...


class Webhooks(Protocol):
    """The hooks of rooms."""

    async def hooks(self, room: str) -> list[Hook]:
        """All hooks of the room, by key; also what is left of those of its earlier lives."""
        ...

    async def hook(self, hook: str) -> Hook | None:
        """The hook with that id."""
        ...

    async def put(self, room: Room | None, read: Hook | None, hook: Hook) -> None:
        """All or nothing: make `hook` of `read` (None: there is none before), and name it among its room's `hooks`
        while it is an enabled outgoing one. Its position is left as it is, unless it is new or another than was read.

        Raises `Conflict`, with nothing written, if the hook is not of the version that was read, the room not of the
        epoch or not with the `hooks` that were read, or another transaction holds one of the rows. `room`: None, or of
        another epoch than the hook, where the room has nothing to do with it any more.
        """
        ...

    async def remove(self, room: Room | None, hook: Hook) -> None:
        """All or nothing: delete the hook, which its room names no longer. Raises `Conflict` likewise."""
        ...

    async def follow(self, hook: Hook) -> None:
        """Record where an outgoing hook stands: `position`, which never goes down, and what is said of its failures.

        Raises `Conflict`, with nothing written, if it is of another version meanwhile, or stands further on already.
        """
        ...


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object of the archive, as it was read."""

    content: bytes
    version: str
    """Another one after each time that the object is put with another content."""


class Archive(Protocol):
    """Where entries are kept that the log need not keep. What is in an object, and its name: `domain/archive.py`."""

    def names(self, prefix: str, after: str = "") -> AsyncIterator[str]:
        """The names of all objects that begin with `prefix` and are greater than `after`, in their order (of bytes)."""
        ...

    async def read(self, name: str) -> StoredObject | None:
        """The object of that name; None if there is none."""
        ...

    async def put(self, name: str, content: bytes, *, replaces: StoredObject | None) -> None:
        """Put an object if there is none of that name, or while it is still `replaces`, which was read.

        Raises `Conflict`, with nothing changed, if it is not so any more; after `Unavailable` it may be put.
        """
        ...

    async def delete(self, name: str) -> None:
        """Delete an object, whatever it is by now; nothing happens if there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Ports:
    """The world, handed to every use case. Who posts to sockets is handed `Connections` beside it."""

    store: RoomStore
    queue: BroadcastQueue
    roster: Roster
    clock: Clock
    rules: Rules = field(default_factory=Rules)
    draw: random.Random = field(default_factory=random.Random)
    limiter: RateLimiter = field(default_factory=lambda: RateLimiter({}))
    """How often a client may ask, as far as this environment knows; by itself there is no limit."""
    review: Review | None = None
    identity: Identity | None = None
    """None where nobody's credential can be told, as in the workers' tests."""
    _: KW_ONLY
    marks: Marks
    notices: Notices
    statuses: Statuses
    webhooks: Webhooks
    publisher: Publisher | None = None
    """None where no notice is sent: in every function but one, and in a deployment without a topic."""
    receivers: Receivers | None = None
    """None in every function but the one that tells them."""
