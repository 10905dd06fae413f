"""The wire: requests, events and error codes of protocol version 1, and the one table of request types.

A request is a JSON object with its fields beside `type`; an event is `{"type": …, "data": {…}}`. Durable events
carry `roomId`, `epoch` and `seq` (1, 2, 3 … per room and epoch). Times on the wire: `timestamp` in whole seconds,
`sentAt` and `time` in milliseconds since 1970.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from domain.errors import Refused

__all__ = [
    "ERROR_CODES",
    "EVENTS",
    "FRAME_LIMIT",
    "HISTORY_LIMIT",
    "LIST_LIMIT",
    "MESSAGE_LIMIT",
    "REQUESTS",
    "ROOT",
    "SUBPROTOCOL",
    "Ack",
    "Batch",
    "Chat",
    "ChatMessage",
    "Envelope",
    "Error",
    "Event",
    "Head",
    "HistoryPage",
    "HistoryRequest",
    "JoinRoom",
    "Joined",
    "LeaveRoom",
    "Left",
    "ListMembers",
    "ListRooms",
    "MemberList",
    "MemberSummary",
    "Ping",
    "Pong",
    "PrivateMessage",
    "Request",
    "RequestType",
    "RoomHead",
    "RoomList",
    "RoomStats",
    "RoomSummary",
    "SendPrivateMessage",
    "Typing",
    "UserJoined",
    "UserLeft",
    "UserTyping",
    "Welcome",
    "encode_event",
    "encode_request",
    "parse_envelope",
    "parse_request",
    "request_head",
    "request_type",
    "valid_id",
    "valid_name",
]

SUBPROTOCOL = "roomcast.v1"
FRAME_LIMIT = 32 * 1024
"""Bytes in one frame, either way; API Gateway closes the socket beyond it."""
MESSAGE_LIMIT = 24 * 1024
"""Bytes of UTF-8 in one chat message."""
HISTORY_LIMIT = 100
"""Entries in one page of history."""
LIST_LIMIT = 100
"""Rooms, or members, in one page of a list."""
ROOT = "root"
"""The parent of the rooms at the top."""

ERROR_CODES: Mapping[str, str] = {
    "BAD_JSON": "the frame is not JSON",
    "BAD_REQUEST": "a field is missing, unknown, or of the wrong form",
    "UNKNOWN_TYPE": "there is no such request type",
    "EMPTY_MESSAGE": "the message holds nothing but white space",
    "TOO_LARGE": f"the message is longer than {MESSAGE_LIMIT // 1024} KB",
    "UNAUTHENTICATED": "the credential is missing or not accepted",
    "FORBIDDEN": "this user may not do that now",
    "NOT_A_MEMBER": "the connection is not in that room",
    "ROOM_NOT_FOUND": "there is no such room",
    "ROOM_FULL": "the connection is in as many rooms as it may join",
    "USER_OFFLINE": "no such user was ever here",
    "ROOM_BUSY": "too many write to the room at once; send the same request again after `retryAfter`",
    "MUTED": "the user is muted in that room",
    "BANNED": "the user is banned from that room",
    "INTERNAL": "the service failed; send the same request again",
}

# `$` would let a trailing newline through; the look-ahead says "here it ends" to Python and to ECMAScript alike.
_ID_PATTERN = r"^[A-Za-z0-9_.:-]{1,64}(?![\s\S])"
_ROOM_REF_PATTERN = r"^(inbox#)?[A-Za-z0-9_.:-]{1,64}(?![\s\S])"
_NAME_PATTERN = r"^[^\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]{1,64}(?![\s\S])"
Id = Annotated[
    str,
    Meta(pattern=_ID_PATTERN, description="1 to 64 letters, digits, or any of _ . : -"),
]
RoomRef = Annotated[str, Meta(pattern=_ROOM_REF_PATTERN, description="a room, or the user's own inbox: inbox#USER")]
ClientId = Annotated[
    str,
    Meta(
        pattern=_ID_PATTERN,
        min_length=8,
        description="8 to 64 characters, unique for ever",
    ),
]
Seq = Annotated[int, Meta(ge=0, le=2**53 - 1)]

_id = re.compile(_ID_PATTERN)
_name = re.compile(_NAME_PATTERN)


def valid_id(text: str) -> bool:
    """Whether `text` may name a room or a user."""
    return _id.match(text) is not None


def valid_name(text: str) -> bool:
    """Whether `text` may be shown as a user's name: 1 to 64 characters, none of them a control character."""
    return _name.match(text) is not None and not text.isspace()


# ------------------------------------------------------------------------------------------------ requests


class Request(
    Struct,
    frozen=True,
    kw_only=True,
    rename="camel",
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """What every request may carry. `type` is checked before the model is chosen."""

    client_id: ClientId | None = None


class ChatMessage(Request, frozen=True, kw_only=True, tag="chat"):
    """Send `message` to a room: the one joined last where `roomId` is absent."""

    message: str = ""
    room_id: Id | None = None
    reply_to: Seq | None = None
    mentions: Annotated[list[Id], Meta(max_length=20)] | None = None


class SendPrivateMessage(Request, frozen=True, kw_only=True, tag="private_message"):
    """Say something to one user, wherever they are connected, or next are."""

    target_user_id: Id
    message: str


class JoinRoom(Request, frozen=True, kw_only=True, tag="join_room"):
    """Join a room. `since` (with the `epoch` it belongs to) asks for all that followed that seq."""

    room_id: Id
    since: Seq | None = None
    epoch: Seq | None = None


class LeaveRoom(Request, frozen=True, kw_only=True, tag="leave_room"):
    """Leave a room: the one joined last where `roomId` is absent."""

    room_id: Id | None = None


class HistoryRequest(Request, frozen=True, kw_only=True, tag="history"):
    """A page of a room's log: the newest entries, those `before` a seq, or those `after` one."""

    room_id: RoomRef
    before: Seq | None = None
    after: Seq | None = None
    limit: Annotated[int, Meta(ge=1, le=HISTORY_LIMIT)] = HISTORY_LIMIT


class Ping(Request, frozen=True, kw_only=True, tag="ping"):
    """Where are my rooms? `cursors` names the rooms the client follows, each with the last seq it has seen."""

    cursors: Annotated[dict[RoomRef, Seq], Meta(max_length=51)] | None = None


class ListRooms(Request, frozen=True, kw_only=True, tag="room_list"):
    """The rooms below `parent`, by id, from behind `cursor` on."""

    parent: Id = ROOT
    cursor: Id | None = None
    limit: Annotated[int, Meta(ge=1, le=LIST_LIMIT)] = LIST_LIMIT


class ListMembers(Request, frozen=True, kw_only=True, tag="members"):
    """Who is in a room, a page from behind `cursor` on."""

    room_id: Id
    cursor: Annotated[str, Meta(max_length=128)] | None = None


class Typing(Request, frozen=True, kw_only=True, tag="typing"):
    """The user is writing. It has no reply, and is never stored."""

    room_id: Id


@dataclass(frozen=True, slots=True)
class RequestType:
    """A row of the request table."""

    model: type[Request]
    reply: str | None
    """The type of the event that answers it; None where only an error does."""
    event: str | None = None
    """The type of the event that others receive."""
    route: str = "$default"
    """The API Gateway route that carries it."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """The recipe's words for a field that is absent."""


def request_type(request: Request | type[Request]) -> str:
    """The request's type on the wire."""
    return str(request.__struct_config__.tag)


_PRIVATE_WORDS = "Target user ID and message required for private messages"

REQUESTS: Mapping[str, RequestType] = {
    request_type(row.model): row
    for row in (
        RequestType(ChatMessage, "ack", "chat", "chat"),
        RequestType(JoinRoom, "joined", "user_joined", "join_room", {"roomId": "Room ID required"}),
        RequestType(
            SendPrivateMessage,
            "ack",
            "private_message",
            "private_message",
            {"targetUserId": _PRIVATE_WORDS, "message": _PRIVATE_WORDS},
        ),
        RequestType(LeaveRoom, "left", "user_left"),
        RequestType(HistoryRequest, "history"),
        RequestType(Ping, "pong"),
        RequestType(ListRooms, "room_list"),
        RequestType(ListMembers, "members"),
        RequestType(Typing, None, "typing"),
    )
}


class _Head(Struct, frozen=True, rename="camel"):
    type: Any = "chat"
    client_id: Any = None


_head_decoder = msgspec.json.Decoder(_Head)
_decoders = {name: msgspec.json.Decoder(row.model) for name, row in REQUESTS.items()}
_missing_field = re.compile(r"missing required field `(\w+)`")


def parse_request(text: str | bytes) -> Request:
    """The request in a frame, or `Refused` with `BAD_JSON`, `BAD_REQUEST` or `UNKNOWN_TYPE`."""
    if isinstance(text, str):
        text = text.encode("utf-8", "surrogatepass")
    try:
        head = _head_decoder.decode(text)
    except msgspec.ValidationError:
        raise Refused("BAD_REQUEST", "A request is a JSON object") from None
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise Refused("BAD_JSON", "Invalid JSON format") from None
    if not isinstance(head.type, str):
        raise Refused("BAD_REQUEST", "`type` must be a string")
    row = REQUESTS.get(head.type)
    if row is None:
        raise Refused("UNKNOWN_TYPE", f"Unknown message type: {_printable(head.type)}")
    try:
        return _decoders[head.type].decode(text)
    except msgspec.ValidationError as error:
        raise Refused("BAD_REQUEST", _reason(str(error), row)) from None
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise Refused("BAD_JSON", "Invalid JSON format") from None


def encode_request(request: Request) -> bytes:
    """The request's frame, as UTF-8 JSON."""
    return _encoder.encode(request)


def request_head(text: str | bytes) -> tuple[str | None, str | None]:
    """(type, clientId) of a frame as far as they can be read, for the error that answers it. Never raises."""
    try:
        head = _head_decoder.decode(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return None, None
    known = head.type if isinstance(head.type, str) and head.type in REQUESTS else None
    client_id = head.client_id if isinstance(head.client_id, str) and valid_id(head.client_id) else None
    return known, client_id


def _reason(error: str, row: RequestType) -> str:
    """What is wrong with which field, from the decoder's words."""
    missing = _missing_field.search(error)
    if missing:
        return row.missing.get(missing[1], f"`{missing[1]}` is missing")
    words, _, path = error.partition(" - at ")
    if "matching regex" in words:
        words = "Expected 1 to 64 letters, digits, or any of _ . : -"
    field_name = path.strip("`").removeprefix("$.")
    return _printable(f"`{field_name}`: {words}" if field_name else words, 200)


def _printable(text: str, limit: int = 64) -> str:
    shown = "".join(it if it.isprintable() else "\N{REPLACEMENT CHARACTER}" for it in text[:limit])
    return shown + "…" if len(text) > limit else shown


# ------------------------------------------------------------------------------------------------ events


class Event(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The `data` of an event; the class variable `type` is the envelope's."""

    type: ClassVar[str]


class RoomHead(Struct, frozen=True, kw_only=True):
    """Where a room is."""

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
    inbox: RoomHead
    """Where the user's inbox, the room `inbox#USER`, stands."""
    reconnect_at: int
    """When to open the next socket, in milliseconds since 1970: a while before this one is cut."""
    timestamp: int
    sent_at: int


class PrivateMessage(Event, frozen=True, kw_only=True):
    """A private message in an inbox: the target's, or the sender's own copy."""

    type = "private_message"
    message_id: str
    room_id: str
    sender_id: str
    sender_name: str
    target_user_id: str
    message: str
    timestamp: int
    sent_at: int
    epoch: int
    seq: int
    client_id: str | UnsetType = UNSET
    """In the sender's copy: the request's, by which a client knows what it sent itself."""


class UserJoined(Event, frozen=True, kw_only=True):
    """Somebody has joined a room that is small enough to tell."""

    type = "user_joined"
    room_id: str
    user_id: str
    username: str
    timestamp: int
    sent_at: int


class UserLeft(Event, frozen=True, kw_only=True):
    """Somebody has left a room that is small enough to tell."""

    type = "user_left"
    room_id: str
    user_id: str
    username: str
    timestamp: int
    sent_at: int


class RoomStats(Event, frozen=True, kw_only=True):
    """How many connections are in a large room, in place of who comes and goes."""

    type = "room_stats"
    room_id: str
    active_users: int
    timestamp: int
    sent_at: int


class UserTyping(Event, frozen=True, kw_only=True):
    """Somebody is writing."""

    type = "typing"
    room_id: str
    user_id: str
    username: str
    timestamp: int
    sent_at: int


class Chat(Event, frozen=True, kw_only=True):
    """A chat message in a room."""

    type = "chat"
    message_id: str
    room_id: str
    sender_id: str
    sender_name: str
    message: str
    timestamp: int
    sent_at: int
    epoch: int
    seq: int
    reply_to: int | UnsetType = UNSET
    mentions: list[str] | UnsetType = UNSET


class Ack(Event, frozen=True, kw_only=True):
    """The sender's reply: stored, and handed to the fan-out. Of a private message, the place in the sender's inbox."""

    type = "ack"
    client_id: str | None = None
    message_id: str
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


class MemberList(Event, frozen=True, kw_only=True):
    """A page of a room's members, each user once a page. `cursor` is the next page's; absent at the end."""

    type = "members"
    client_id: str | None = None
    room_id: str
    members: list[MemberSummary]
    cursor: str | UnsetType = UNSET


class Head(Event, frozen=True, kw_only=True):
    """A beacon: this room is at `seq`. Who has seen less asks `history`."""

    type = "head"
    room_id: str
    epoch: int
    seq: int
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
        Ack,
        Joined,
        Left,
        HistoryPage,
        RoomList,
        MemberList,
        Pong,
        Head,
        Error,
        Batch,
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
