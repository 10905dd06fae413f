"""Events, service to client: `{"type": …, "data": {…}}`.

Durable events carry `roomId`, `epoch` and `seq` (1, 2, 3 … per room and epoch). `timestamp` is in whole seconds,
`sentAt`, `time` and `reconnectAt` in milliseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

from domain.protocol import Shown

__all__ = [
    "EVENTS",
    "Ack",
    "Banned",
    "Batch",
    "Chat",
    "Envelope",
    "Error",
    "Event",
    "Head",
    "HistoryPage",
    "InboxHead",
    "Joined",
    "Kicked",
    "Left",
    "Logged",
    "MemberList",
    "MemberSummary",
    "MessageDeleted",
    "MessageEdited",
    "Muted",
    "NoticesSet",
    "Pong",
    "PresenceChanged",
    "PrivateMessage",
    "Reacted",
    "ReactionCount",
    "Reauthenticated",
    "Replies",
    "RoleSet",
    "RoomChanged",
    "RoomDeleted",
    "RoomHead",
    "RoomList",
    "RoomStats",
    "RoomSummary",
    "SearchPage",
    "Trace",
    "Unbanned",
    "Unmuted",
    "UserJoined",
    "UserLeft",
    "UserRead",
    "UserStatus",
    "UserTyping",
    "Welcome",
    "encode_event",
    "parse_envelope",
]


class Event(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The `data` of an event; the class variable `type` is the envelope's."""

    type: ClassVar[str]


class RoomHead(Struct, frozen=True, kw_only=True):
    """Where a room is."""

    epoch: int
    seq: int


class InboxHead(RoomHead, frozen=True, kw_only=True):
    """Where a user's inbox is, and how far they have read it."""

    read: int = 0
    """The seq up to which they have; 0 for nothing."""
    unread: int = 0
    """Private messages behind that."""


class Logged(Event, frozen=True, kw_only=True):
    """An entry of a room's log, or of an inbox."""

    room_id: str
    timestamp: int
    sent_at: int
    epoch: int
    seq: int


class Welcome(Event, frozen=True, kw_only=True):
    """The first event of a connection: who it is, and where its room stands."""

    type = "welcome"
    connection_id: str
    user_id: str
    room_id: str
    message: str
    protocol: int
    epoch: int
    head: int
    inbox: InboxHead
    """Where the user's inbox, the room `inbox#USER`, stands."""
    reconnect_at: int
    """When to open the next socket, in milliseconds since 1970: a while before this one is cut."""
    timestamp: int
    sent_at: int


class ReactionCount(Struct, frozen=True, kw_only=True):
    """How many have reacted to a message so."""

    emoji: str
    count: int
    users: list[str]
    """At most ten of them."""


class Replies(Struct, frozen=True, kw_only=True, rename="camel"):
    """What has become of the thread that a message began."""

    count: int
    last_seq: int


class _Message(Logged, frozen=True, kw_only=True):
    """A message as it is by now, with all that later entries of the log have made of it."""

    message_id: str
    sender_id: str
    sender_name: str
    message: str
    """Empty in one that was deleted."""
    edited_at: int | UnsetType = UNSET
    """Milliseconds since 1970, as `deleted_at`."""
    deleted_at: int | UnsetType = UNSET
    deleted_by: str | UnsetType = UNSET
    reactions: list[ReactionCount] | UnsetType = UNSET


class PrivateMessage(_Message, frozen=True, kw_only=True):
    """A private message in an inbox: the target's, or the sender's own copy."""

    type = "private_message"
    target_user_id: str
    client_id: str | UnsetType = UNSET
    """In the sender's copy: the request's, by which a client knows what it sent itself."""


class _AboutUser(Event, frozen=True, kw_only=True):
    room_id: str
    user_id: str
    username: str
    timestamp: int
    sent_at: int


class UserJoined(_AboutUser, frozen=True, kw_only=True):
    """Somebody has joined a room that is small enough to tell."""

    type = "user_joined"


class UserLeft(_AboutUser, frozen=True, kw_only=True):
    """Somebody has left a room that is small enough to tell."""

    type = "user_left"


class RoomStats(Event, frozen=True, kw_only=True):
    """How many connections are in a large room, in place of who comes and goes."""

    type = "room_stats"
    room_id: str
    active_users: int
    timestamp: int
    sent_at: int


class UserTyping(_AboutUser, frozen=True, kw_only=True):
    """Somebody is writing."""

    type = "typing"


class Trace(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """When a chat message passed each stage, in milliseconds since 1970, by the clock of whoever it was there."""

    accepted_at: int
    """The message function had it."""
    stored_at: int | UnsetType = UNSET
    """It was in the log. As `rung_at` unset where it went out before its own doorbell had come."""
    rung_at: int | UnsetType = UNSET
    """The queue had its doorbell."""
    served_at: int | UnsetType = UNSET
    """A worker had read it from the log. As `packed_at` unset in what `history` gives."""
    packed_at: int | UnsetType = UNSET
    """It was put into the frame that came."""


class Chat(_Message, frozen=True, kw_only=True):
    """A chat message in a room."""

    type = "chat"
    reply_to: int | UnsetType = UNSET
    """The seq of the message that it answers."""
    thread: int | UnsetType = UNSET
    """The seq of the message that began the thread which it is in."""
    replies: Replies | UnsetType = UNSET
    """In the one that began it."""
    mentions: list[str] | UnsetType = UNSET
    trace: Trace | UnsetType = UNSET
    """Where the request asked for it and the deployment allows it."""


class RoomChanged(Logged, frozen=True, kw_only=True):
    """What is settled about a room: the reply to who made or changed it, and the change in its log."""

    type = "room"
    client_id: str | UnsetType = UNSET
    """In the reply."""
    by: str
    """Who did it."""
    title: str
    parent: str
    visibility: str
    default_role: str
    slow_mode: int
    max_members: int
    retention: int
    owner: str


class RoomDeleted(Logged, frozen=True, kw_only=True):
    """The room has ended: the reply, and the last entry of its log."""

    type = "room_deleted"
    client_id: str | UnsetType = UNSET
    """In the reply."""
    by: str


class _Moderated(Logged, frozen=True, kw_only=True):
    user_id: str
    """Whom it is about."""
    by: str
    """Who did it."""
    reason: str | UnsetType = UNSET
    """In the log of what moderators did, if one was given."""


class RoleSet(_Moderated, frozen=True, kw_only=True):
    """A user's role in the room is another now; `none`: they have none."""

    type = "role"
    role: str


class Kicked(_Moderated, frozen=True, kw_only=True):
    """A user's connections in the room were closed."""

    type = "kicked"


class Banned(_Moderated, frozen=True, kw_only=True):
    """A user was removed and can't come back, until a time in milliseconds since 1970, or for good."""

    type = "banned"
    until: int | UnsetType = UNSET


class Unbanned(_Moderated, frozen=True, kw_only=True):
    """A user may come back."""

    type = "unbanned"


class Muted(_Moderated, frozen=True, kw_only=True):
    """A user can't write, until a time in milliseconds since 1970, or for good."""

    type = "muted"
    until: int | UnsetType = UNSET


class Unmuted(_Moderated, frozen=True, kw_only=True):
    """A user may write again."""

    type = "unmuted"


class _Amendment(Logged, frozen=True, kw_only=True):
    of: int
    """The seq of the message that it is about, which shows what came of it wherever it is read."""


class MessageEdited(_Amendment, frozen=True, kw_only=True):
    """A message says something else now."""

    type = "message_edited"
    by: str
    message: str | UnsetType = UNSET
    """Absent where a later edit follows, or the message was deleted: nothing is kept of what it said before."""


class MessageDeleted(_Amendment, frozen=True, kw_only=True):
    """A message was taken away."""

    type = "message_deleted"
    by: str
    user_id: str | UnsetType = UNSET
    """In the log of what moderators did: whose it was."""


class Reacted(_Amendment, frozen=True, kw_only=True):
    """Somebody has reacted to a message, or took it back: how many have done so now."""

    type = "reaction"
    user_id: str
    emoji: str
    removed: bool = False
    count: int
    users: list[str]
    """At most ten of them."""


class Ack(Event, frozen=True, kw_only=True):
    """The sender's reply: stored, and handed to the fan-out. Of a private message, the place in the sender's inbox."""

    type = "ack"
    client_id: str | None = None
    message_id: str | UnsetType = UNSET
    """Of a message."""
    room_id: str
    epoch: int
    seq: int
    online: bool | UnsetType = UNSET
    """Of a private message: whether its target had an open connection."""


class Joined(Event, frozen=True, kw_only=True):
    """The membership has begun; `events` holds all that followed `since` where `recovered` is true."""

    type = "joined"
    client_id: str | None = None
    room_id: str
    epoch: int
    head: int
    recovered: bool
    events: list[msgspec.Raw]


class Left(Event, frozen=True, kw_only=True):
    """The membership has ended."""

    type = "left"
    client_id: str | None = None
    room_id: str


class HistoryPage(Event, frozen=True, kw_only=True):
    """Entries of a room, oldest first. `next` is the `before` or `after` of the page that follows, if one does."""

    type = "history"
    client_id: str | None = None
    room_id: str
    epoch: int
    head: int
    entries: list[msgspec.Raw]
    next: int | UnsetType = UNSET


class SearchPage(Event, frozen=True, kw_only=True):
    """Messages that were found, the newest first; there may be none. `next` is the `cursor` of the page that follows,
    as long as there is more of the log to look at."""

    type = "search"
    client_id: str | None = None
    room_id: str
    epoch: int
    entries: list[msgspec.Raw]
    next: int | UnsetType = UNSET


class Pong(Event, frozen=True, kw_only=True):
    """The heads of the rooms that this connection is in."""

    type = "pong"
    client_id: str | None = None
    time: int
    heads: dict[str, RoomHead]


class RoomSummary(Struct, frozen=True, kw_only=True, rename="camel"):
    """A room in a list."""

    room_id: str
    active_users: int
    """Connections in it."""
    title: str
    visibility: str
    parent: str
    head: int
    read: int | UnsetType = UNSET
    """The seq up to which the user has read it; as `unread` unset where they never said so."""
    unread: int | UnsetType = UNSET
    """Messages behind that."""


class RoomList(Event, frozen=True, kw_only=True):
    """A page of rooms, by id. `cursor` is the next page's; absent at the end."""

    type = "room_list"
    client_id: str | None = None
    rooms: list[RoomSummary]
    cursor: str | UnsetType = UNSET


class MemberSummary(Struct, frozen=True, kw_only=True, rename="camel"):
    """A user in a room."""

    user_id: str
    username: str
    status: Shown
    """Over all of the user's connections."""


class MemberList(Event, frozen=True, kw_only=True):
    """A page of a room's members, each user once a page. `cursor` is the next page's; absent at the end."""

    type = "members"
    client_id: str | None = None
    room_id: str
    members: list[MemberSummary]
    cursor: str | UnsetType = UNSET


class Reauthenticated(Event, frozen=True, kw_only=True):
    """The connection lasts as long as the fresh token."""

    type = "reauthenticated"
    client_id: str | None = None
    reconnect_at: int
    """As in the welcome, in place of what that said."""


class UserRead(Event, frozen=True, kw_only=True):
    """A user has read a room up to a seq: the reply to who said so, a notice to their other devices, and a receipt to
    the others in a small room."""

    type = "read"
    client_id: str | UnsetType = UNSET
    """In the reply."""
    room_id: str
    user_id: str
    epoch: int
    seq: int
    unread: int | UnsetType = UNSET
    """How many messages of the room are behind that; for the user alone."""
    timestamp: int
    sent_at: int


class NoticesSet(Event, frozen=True, kw_only=True):
    """Whether the user is sent notices of what is said while they are away."""

    type = "notices"
    client_id: str | None = None
    enabled: bool


class Head(Event, frozen=True, kw_only=True):
    """A beacon: this room is at `seq`. Who has seen less asks `history`."""

    type = "head"
    room_id: str
    epoch: int
    seq: int
    timestamp: int
    sent_at: int


class UserStatus(Struct, frozen=True, kw_only=True, rename="camel"):
    """How a user is, over all connections."""

    user_id: str
    status: Shown
    since: int
    """In milliseconds since 1970. Of two statuses of a user the one with the higher `since` is the later."""


class PresenceChanged(Event, frozen=True, kw_only=True):
    """Members of a small room whose status has changed. Of the inbox: the user's own, also as the reply."""

    type = "presence"
    client_id: str | UnsetType = UNSET
    """In the reply."""
    room_id: str
    members: list[UserStatus]
    timestamp: int
    sent_at: int


class Error(Event, frozen=True, kw_only=True):
    """A request was refused. `request` is its type."""

    type = "error"
    code: str
    message: str
    request: str | None = None
    client_id: str | None = None
    retry_after: float | None = None


class Batch(Event, frozen=True, kw_only=True):
    """Several events in one frame, oldest first; only `roomcast.v1` connections get it."""

    type = "batch"
    events: list[msgspec.Raw]


EVENTS: Mapping[str, type[Event]] = {
    it.type: it
    for it in (
        Welcome,
        Chat,
        PrivateMessage,
        UserJoined,
        UserLeft,
        RoomStats,
        UserTyping,
        RoomChanged,
        RoomDeleted,
        RoleSet,
        Kicked,
        Banned,
        Unbanned,
        Muted,
        Unmuted,
        Ack,
        Joined,
        Left,
        HistoryPage,
        RoomList,
        MemberList,
        Pong,
        Reauthenticated,
        NoticesSet,
        Head,
        Error,
        Batch,
        MessageEdited,
        MessageDeleted,
        Reacted,
        UserRead,
        PresenceChanged,
        SearchPage,
    )
}


class Envelope(Struct, frozen=True):
    """An event as it stands on the wire, its data not yet decoded."""

    type: str
    data: msgspec.Raw = msgspec.Raw(b"{}")


class _Outgoing(Struct, frozen=True):
    type: str
    data: Any


_encoder = msgspec.json.Encoder()
_envelope_decoder = msgspec.json.Decoder(Envelope)
_event_decoders = {name: msgspec.json.Decoder(model) for name, model in EVENTS.items()}


def encode_event(event: Event) -> bytes:
    """The event's frame, as UTF-8 JSON."""
    return _encoder.encode(_Outgoing(event.type, event))


def parse_envelope(frame: str | bytes) -> Event | None:
    """The event in a frame, or None for a type this version does not know. Raises `ValueError` if it is no event."""
    envelope = _envelope_decoder.decode(frame)
    decoder = _event_decoders.get(envelope.type)
    return decoder.decode(envelope.data) if decoder else None
