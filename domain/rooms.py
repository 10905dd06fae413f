"""What a room is made of, and what may be done in it: (state, request, now) -> a decision.

Times are whole milliseconds since 1970 unless a name says otherwise.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from domain.errors import Refused
from domain.notices import Announcement
from domain.policy import (
    Action,
    Needs,
    Rank,
    Role,
    Visibility,
    check_may,
    check_visible,
    needs,
    outranks,
    rank,
)
from domain.protocol import ROOT, Status

__all__ = [
    "DUE_BUCKETS",
    "FOREVER",
    "GROWTH_CLAIM_MS",
    "KICK_MARK_MS",
    "LEASE_MS",
    "LIFETIME_MS",
    "ONCE_RETENTION_MS",
    "RECONNECT_BEFORE_MS",
    "ROW_LIFETIME_MS",
    "Append",
    "Connection",
    "Count",
    "Dialect",
    "Directory",
    "Entry",
    "Member",
    "Membership",
    "Once",
    "Profile",
    "Reaction",
    "Ring",
    "Room",
    "Rules",
    "Sender",
    "Sending",
    "Session",
    "Shard",
    "ShardKey",
    "Standing",
    "audit_of",
    "audited",
    "check_may_act",
    "check_may_amend",
    "check_may_join",
    "check_may_send",
    "check_room_open",
    "due_bucket",
    "due_minute",
    "inbox_of",
    "is_audit",
    "is_inbox",
    "is_listed",
    "is_message",
    "is_small",
    "is_stranger",
    "lease_end",
    "listing_of",
    "members_limit",
    "needs_of",
    "rank_in",
    "should_grow",
]

ONCE_RETENTION_MS = 24 * 3600 * 1000
"""How long a request's `clientId` is remembered."""
LIFETIME_MS = 2 * 3600 * 1000
"""API Gateway cuts a connection after so long."""
ROW_LIFETIME_MS = LIFETIME_MS + 60_000
"""A connection's rows that are older belong to nobody."""
RECONNECT_BEFORE_MS = (300_000, 900_000)
"""A client is asked to open its next socket so long before the cut, drawn evenly: all at once would be a storm."""
LEASE_MS = 15 * 60 * 1000
"""A v1 client that was not heard of for so long is gone: it pings every four minutes, and API Gateway cuts a connection
that is idle for ten. The recipe's clients don't ping; theirs lasts as long as the connection may."""
DUE_BUCKETS = 4
"""Partitions that the leases of one minute are spread over."""
GROWTH_CLAIM_MS = 5_000
"""How long one join may take to double a room's shards before another tries."""
KICK_MARK_MS = 10_000
"""For how long after a kick the user's joins are refused, so that a kick is not outrun by a reconnect."""
_AUDIT = "audit#"
FOREVER = 2**53 - 1
"""The end of a ban without an end."""
_MESSAGES = frozenset({"chat", "private_message"})
"""The types of entries that are counted as messages."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a deployment allows."""

    open_rooms: bool = True
    """Whether the first join makes a room that nobody created."""
    max_rooms_per_connection: int = 50
    max_connections_per_user: int = 100
    """0: as many as they like."""
    max_members: int = 0
    """Of any room. 0: as many as come."""
    retention_days: int = 30
    """For which entries are kept at most; 0: for ever."""
    roster_limit: int = 50
    """Members up to which a room is told who comes and goes; a larger one is told how many there are."""
    shard_limit: int = 1_000
    """Members of a shard; from four fifths of it on a join doubles the room's shards."""
    trace: bool = False
    """Whether a message's event may say when it passed each stage."""
    edit_window: int = 0
    """Seconds for which its sender may edit a message; 0: for as long as it is there. Moderators always may."""
    delete_window: int = 0
    """Seconds for which its sender may delete it; likewise."""
    notices: bool = False
    """Whether what is said to who is away is announced."""
    hook_days: int = 3
    """For how long a hook's receiver may fail before the hook is disabled."""
    hooks_anywhere: bool = False
    """Whether a hook may name any port, and http: of a twin."""


Dialect = Literal["v1", "recipe"]


@dataclass(frozen=True, slots=True)
class ShardKey:
    """One shard of the members of one life (epoch) of a room: the unit of ordering and of work."""

    room: str
    epoch: int
    shard: int

    def __str__(self) -> str:
        return f"{self.room}#{self.epoch}#{self.shard}"


@dataclass(frozen=True, slots=True)
class Profile:
    """What is settled about a room."""

    title: str = ""
    """Its id, where that is empty."""
    parent: str = ROOT
    """The room that it is listed below. Roles are not inherited."""
    depth: int = 1
    """Rooms from the top down to it."""
    visibility: Visibility = "public"
    default_role: Role = "member"
    """What who has no role is in a public room: `guest` for a room in which only some write."""
    slow_mode: int = 0
    """Seconds between two messages of one user; 0 for none. Moderators need not wait."""
    max_members: int = 0
    """Connections in it at most; 0 for as many as the deployment allows."""
    retention: int = 0
    """Seconds for which entries are kept; 0 for as long as the deployment keeps them."""
    owner: str = ""
    """Who made it."""


@dataclass(frozen=True, slots=True)
class Room:
    """A room's meta row."""

    room: str
    epoch: int
    head: int = 0
    """The seq of the newest entry; 0 before the first."""
    shards: int = 1
    status: Literal["open", "deleted"] = "open"
    growing_at: int = 0
    """When a join began to double the shards; 0 while none has."""
    profile: Profile = Profile()
    messages: int = 0
    """How many of the entries so far are messages; see `is_message`."""
    hooks: tuple[str, ...] = ()
    """The keys of the outgoing hooks that are told of its entries."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A durable event in a room's log. `body` holds what belongs to its type alone, in the words of the wire."""

    seq: int
    type: str
    at: int
    sender: str
    body: dict[str, Any] = field(default_factory=dict)
    origin: str | None = None
    """The connection that this entry is not posted to: it sent the private message, and has the ack."""
    beside: dict[str, int] = field(default_factory=dict)
    """What is remembered of it and never goes on the wire. Of a message, `edit`: the seq of the one edit that still
    holds a text; of a private one, `twin`: the seq of the other copy."""
    ends_at: int = FOREVER
    """Until when it is kept."""
    nth: int = field(default=0, compare=False)
    """How many messages there are up to here, this one included. The store's to set, as `Append.stored` says; 0 in an
    entry from before they were counted. It says where the entry stands, not what it says."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard's row: how far its members have been served, and how many they are."""

    sent: int | None
    """The last seq that was posted to (or scheduled for) every member; None while a join is between its steps."""
    members: int
    version: int
    """Rises after every join and leave, so that who has read the members can tell whether they are still the same."""
    census: int = 0
    """Rises whenever they were counted: of two counts of one version, the one begun later is the right one."""


@dataclass(frozen=True, slots=True)
class Member:
    """A connection's row in a shard: whom the worker posts to."""

    connection: str
    user: str
    name: str
    dialect: Dialect
    connected_at: int
    expires_at: int
    join_id: str
    since: int = 0
    """The room's head before it was a member: it is owed, and posted, only what is newer."""
    status: Status = "online"
    """How the user is on this connection: in the row of the inbox alone."""


@dataclass(frozen=True, slots=True)
class Membership:
    """The reverse row: where a connection's member row of one room stands."""

    room: str
    epoch: int
    shard: int
    join_id: str
    user: str
    name: str
    since: int = 0
    """As in the member row."""

    @property
    def key(self) -> ShardKey:
        return ShardKey(self.room, self.epoch, self.shard)


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection's own row."""

    connection: str
    user: str
    name: str
    dialect: Dialect
    connected_at: int
    expires_at: int
    last_room: str
    """The room it joined last: where a request without `roomId` goes."""
    lease_until: int = 0
    """When it counts as gone if it has not been heard of; 0 in a row that was never leased."""


@dataclass(frozen=True, slots=True)
class Session:
    """A connection with all its memberships. `connection` is None once it has ended."""

    connection: Connection | None
    memberships: Sequence[Membership]

    def membership(self, room: str) -> Membership | None:
        return next((it for it in self.memberships if it.room == room), None)


@dataclass(frozen=True, slots=True)
class Standing:
    """What a room records of a user. It belongs to the room's id, whatever its epoch."""

    role: Role | None = None
    banned_until: int = 0
    muted_until: int = 0
    kicked_at: int = 0
    spoke_at: int = 0
    """When the user last wrote, in a room with slow mode."""


@dataclass(frozen=True, slots=True)
class Ring:
    """What an entry rang: every shard that its room had when it was stored."""

    room: str
    epoch: int
    shards: int
    seq: int
    hooks: tuple[str, ...] = ()
    """And every outgoing hook, by key."""


@dataclass(frozen=True, slots=True)
class Reaction:
    """That a user has reacted to a message: a row of its own, so that nobody counts twice."""

    of: int
    """The message's seq."""
    ends_at: int
    """Until when the message is kept: the row goes when it does."""
    user: str
    emoji: str
    given: bool = True
    """Whether it is given or taken back."""


@dataclass(frozen=True, slots=True)
class Append:
    """One entry for one room, as the room was read, and what else becomes of the room."""

    read: Room
    entry: Entry
    profile: Profile | None = None
    """The new one, where it changes."""
    deletes: bool = False
    """Whether the room ends with it."""
    amends: Sequence[Entry] = ()
    """Earlier entries of the log as they become: body and `beside` are written. They have to be read after the room:
    whoever amends one raises the head, so that this fails where they are not as read any more."""
    reaction: Reaction | None = None
    """Given or taken back with it."""
    thread: int | None = None
    """The seq of the message that began the thread which the entry is listed in."""

    @property
    def after(self) -> Room:
        """The room with the entry."""
        return replace(
            self.read,
            head=self.entry.seq,
            profile=self.profile or self.read.profile,
            status="deleted" if self.deletes else self.read.status,
            messages=self.read.messages + is_message(self.read.room, self.entry),
        )

    @property
    def stored(self) -> Entry:
        """The entry as it is kept."""
        return replace(self.entry, nth=self.after.messages)

    @property
    def ring(self) -> Ring:
        return Ring(self.read.room, self.read.epoch, self.read.shards, self.entry.seq, self.read.hooks)


@dataclass(frozen=True, slots=True)
class Sender:
    """Who stores entries, and what has to be so at that moment."""

    user: str
    """Of the once-row."""
    connection: str = ""
    membership: Membership | None = None
    """The connection's, whose member row has to be there; None where no membership is asked for."""
    needs: Needs | None = None
    """What a room has to say of the user; None where it need say nothing."""


@dataclass(frozen=True, slots=True)
class Count:
    """A shard's count after a join or a leave."""

    members: int
    stats_at: int
    """When the shard was last told how many they are; 0 before the first time."""
    shards: int = 1
    """How many shards the room had at the shard's last join."""


@dataclass(frozen=True, slots=True)
class Directory:
    """How a room is listed."""

    room: str
    title: str
    owner: str
    parent: str
    visibility: Visibility = "public"


@dataclass(frozen=True, slots=True)
class Once:
    """The memory of a request that was carried out: what it asked, what was answered, and what it rang."""

    digest: str
    """A hash of the request's content."""
    reply: str
    """The frame that answered it."""
    rings: Sequence[Ring]
    expires_at: int
    announcement: Announcement | None = None
    """Whom it announced its entry to; None where there was nobody to tell."""


@dataclass(frozen=True, slots=True)
class Sending:
    """All that a send depends on, read together."""

    rooms: Mapping[str, Room]
    """Those of the rooms asked for that exist."""
    membership: Membership | None
    """The sender's in the first of them."""
    standing: Standing
    once: Once | None


def inbox_of(user: str) -> str:
    """The room that only this user's connections are in. `#` is in no id, so no request can name another's."""
    return f"inbox#{user}"


def is_inbox(room: str) -> bool:
    """Whether the room is somebody's inbox."""
    return room.startswith("inbox#")


def is_message(room: str, entry: Entry) -> bool:
    """Whether the entry is something to read: edits, roles and the like are not, nor is in an inbox the owner's copy of
    what they wrote themselves."""
    return entry.type in _MESSAGES and room != inbox_of(entry.sender)


def audit_of(room: str) -> str:
    """The log of what moderators did in a room: a hidden room that nobody joins and moderators may read."""
    return f"{_AUDIT}{room}"


def is_listed(room: Room) -> bool:
    """Whether the room stands in the directory."""
    return room.status == "open" and room.profile.visibility != "hidden" and "#" not in room.room


def listing_of(room: Room) -> Directory:
    """How the room is listed, if it is."""
    it = room.profile
    return Directory(room.room, it.title or room.room, it.owner, it.parent, it.visibility)


def rank_in(room: Room, standing: Standing, groups: Collection[str]) -> Rank:
    """What a user is in the room."""
    return rank(standing.role, room.profile.visibility, room.profile.default_role, groups)


def is_stranger(room: Room, standing: Standing) -> bool:
    """Whether the room is closed to the user, unless a group of the deployment's opens it."""
    return rank_in(room, standing, ()) == "stranger"


def is_audit(room: str) -> bool:
    """Whether the room is the log of what moderators did in another."""
    return room.startswith(_AUDIT)


def audited(room: str) -> str:
    """The room that the log of what moderators did is about."""
    return room.removeprefix(_AUDIT)


def needs_of(action: Action, room: Room, user: str, groups: Collection[str]) -> Needs | None:
    """What the room has to say of the user when the action is carried out; None where it need say nothing."""
    return needs(action, room.room, user, room.profile.visibility, room.profile.default_role, groups)


def members_limit(room: Room, rules: Rules) -> int:
    """How many members the room may have; 0: any number. An inbox's are its user's connections."""
    if is_inbox(room.room):
        return rules.max_connections_per_user
    return min((it for it in (room.profile.max_members, rules.max_members) if it), default=0)


def is_small(count: Count, rules: Rules) -> bool:
    """Whether the room is told who comes and goes, and not only how many there are."""
    return count.shards == 1 and count.members <= rules.roster_limit


def should_grow(room: Room, count: Count, rules: Rules, now: int) -> bool:
    """Whether the join that was counted so is to double the shards of the room, which it has read since."""
    full = count.shards == room.shards and count.members * 5 > rules.shard_limit * 4
    return full and room.growing_at + GROWTH_CLAIM_MS <= now


def lease_end(connection: Connection | Member, now: int) -> int:
    """Until when a connection that is heard of at `now` counts as there."""
    return min(connection.expires_at, now + LEASE_MS) if connection.dialect == "v1" else connection.expires_at


def due_minute(lease_until: int) -> int:
    """The minute (since 1970) whose tick looks at a lease: the first that begins when it has ended."""
    return -(-lease_until // 60_000)


def due_bucket(connection: str) -> int:
    """The partition of a minute that a connection's lease is in."""
    return zlib.crc32(connection.encode()) % DUE_BUCKETS


def check_room_open(room: Room | None) -> Room:
    """The room itself, if it is there to be used."""
    if room is None or room.status != "open":
        raise Refused("ROOM_NOT_FOUND", "Room not found")
    return room


def check_may_send(
    sending: Sending, room_id: str, user: str, groups: Collection[str], now: int
) -> tuple[Room, Membership, Needs | None]:
    """The room, the sender's membership, and what has to be so still when the message is stored, if the sender may
    write there now."""
    room, membership, needed = check_may_amend(sending, room_id, "send", user, groups, now)
    if needed is None:
        return room, membership, None
    standing = sending.standing
    pause = 0 if outranks(rank_in(room, standing, groups), "member") else room.profile.slow_mode * 1000
    if standing.spoke_at + pause > now:
        wait = (standing.spoke_at + pause - now) / 1000
        raise Refused("RATE_LIMITED", "This room is slow: wait before your next message", retry_after=wait)
    return room, membership, replace(needed, pause=pause)


def check_may_amend(
    sending: Sending, room_id: str, action: Action, user: str, groups: Collection[str], now: int
) -> tuple[Room, Membership, Needs | None]:
    """The same for what else a member does with words: slow mode does not count it."""
    room = check_room_open(sending.rooms.get(room_id))
    standing = sending.standing
    if sending.membership is None or sending.membership.epoch != room.epoch:
        if room.profile.visibility == "hidden":
            check_visible("hidden", rank_in(room, standing, groups))
        raise Refused("NOT_A_MEMBER", "Join the room before you send to it")
    needed = needs_of(action, room, user, groups)
    if needed is None:
        return room, sending.membership, None
    _check_not_banned(standing, now)
    if standing.muted_until > now:
        wait = (standing.muted_until - now) / 1000
        raise Refused("MUTED", "You are muted in this room", retry_after=wait)
    check_may(action, rank_in(room, standing, groups))
    return room, sending.membership, replace(needed, unmuted=True)


def check_may_join(
    room: Room | None, standing: Standing, user: str, groups: Collection[str], now: int
) -> tuple[Room, Needs | None]:
    """The room, and what has to be so still when the membership is written, if the user may join it now."""
    found = check_room_open(room)
    needed = needs_of("join", found, user, groups)
    if needed is None:
        return found, None
    as_rank = rank_in(found, standing, groups)
    if standing.banned_until > now and as_rank == "stranger" and found.profile.visibility == "hidden":
        raise Refused("ROOM_NOT_FOUND", "Room not found")
    _check_not_banned(standing, now)
    check_visible(found.profile.visibility, as_rank)
    check_may("join", as_rank)
    if standing.kicked_at + KICK_MARK_MS > now:
        wait = (standing.kicked_at + KICK_MARK_MS - now) / 1000
        raise Refused("FORBIDDEN", "You were removed from this room a moment ago", retry_after=wait)
    return found, replace(needed, unkicked=True)


def check_may_act(room: Room, standing: Standing, action: Action, groups: Collection[str], now: int) -> Rank:
    """What a user is in the room, if they may do that there now."""
    as_rank = rank_in(room, standing, groups)
    check_visible(room.profile.visibility, as_rank)
    if needs_of(action, room, "", groups) is not None:
        _check_not_banned(standing, now)
    check_may(action, as_rank)
    return as_rank


def _check_not_banned(standing: Standing, now: int) -> None:
    if standing.banned_until > now:
        wait = None if standing.banned_until == FOREVER else (standing.banned_until - now) / 1000
        raise Refused("BANNED", "You are banned from this room", retry_after=wait)
