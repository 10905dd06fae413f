"""Requests, client to service: the models, the one table of request types, and the parser.

A request is a JSON object with its fields beside `type`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from domain.errors import Refused
from domain.policy import Role, Visibility
from domain.protocol import (
    HISTORY_LIMIT,
    LIST_LIMIT,
    ROOT,
    SEARCH_CHARACTERS,
    TOKEN_LIMIT,
    ClientId,
    Emoji,
    Id,
    Name,
    RoomRef,
    Seq,
    Status,
    valid_id,
)

__all__ = [
    "REQUESTS",
    "Ban",
    "ChatMessage",
    "CreateRoom",
    "DeleteMessage",
    "DeleteRoom",
    "EditMessage",
    "HistoryRequest",
    "JoinRoom",
    "Kick",
    "LeaveRoom",
    "ListMembers",
    "ListRooms",
    "MarkRead",
    "Mute",
    "Ping",
    "React",
    "Reauth",
    "Request",
    "RequestType",
    "Search",
    "SendPrivateMessage",
    "SetNotices",
    "SetPresence",
    "SetRole",
    "Typing",
    "Unban",
    "Unmute",
    "UpdateRoom",
    "encode_request",
    "parse_request",
    "request_head",
    "request_type",
]


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
    """The seq of the message that it answers, in whose thread it is then."""
    mentions: Annotated[list[Id], Meta(max_length=20)] | None = None
    trace: bool = False
    """Have the event say when it passed each stage, where the deployment allows it."""


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
    """A page of a room's log, or of one of its threads: the newest entries, those `before` a seq, or those `after`
    one."""

    room_id: RoomRef
    before: Seq | None = None
    after: Seq | None = None
    thread: Seq | None = None
    """Of one thread alone: the seq of the message that began it."""
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


class _WithProfile(Request, frozen=True, kw_only=True):
    room_id: Id
    title: Name | None = None
    visibility: Visibility | None = None
    default_role: Literal["guest", "member"] | None = None
    """What who has no role is in a public room."""
    slow_mode: Annotated[int, Meta(ge=0, le=21_600)] | None = None
    """Seconds between two messages of one user; 0 for none."""
    max_members: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    """Connections at most; 0 for as many as the deployment allows."""
    retention: Annotated[int, Meta(ge=0, le=10 * 366 * 86_400)] | None = None
    """Seconds for which what is said is kept; 0 for as long as the deployment keeps it."""


class CreateRoom(_WithProfile, frozen=True, kw_only=True, tag="create_room"):
    """Make a room, and be its owner. It is listed below `parent`, by default at the top."""

    parent: Id = ROOT


class UpdateRoom(_WithProfile, frozen=True, kw_only=True, tag="update_room"):
    """Change what is given of a room. A public room stays one; private and hidden may change places."""


class DeleteRoom(Request, frozen=True, kw_only=True, tag="delete_room"):
    """End a room. Who owned it may make it anew, with an empty log."""

    room_id: Id


class _AboutUser(Request, frozen=True, kw_only=True):
    room_id: Id
    user_id: Id
    reason: Annotated[str, Meta(max_length=256)] | None = None
    """For the log of what moderators did."""


class SetRole(_AboutUser, frozen=True, kw_only=True, tag="set_role"):
    """Give a user a role in a room, which lets them into a private one; `none` takes it."""

    role: Role | Literal["none"]


class Kick(_AboutUser, frozen=True, kw_only=True, tag="kick"):
    """Close a user's connections that are in a room; for ten seconds they can't come back to it."""


class Ban(_AboutUser, frozen=True, kw_only=True, tag="ban"):
    """Kick a user, who can't come back for `seconds`, or until `unban`."""

    seconds: Annotated[int, Meta(ge=1, le=10 * 366 * 86_400)] | None = None


class Unban(_AboutUser, frozen=True, kw_only=True, tag="unban"):
    """End a ban."""


class Mute(_AboutUser, frozen=True, kw_only=True, tag="mute"):
    """Let a user write nothing in a room for `seconds`, or until `unmute`."""

    seconds: Annotated[int, Meta(ge=1, le=10 * 366 * 86_400)] | None = None


class Unmute(_AboutUser, frozen=True, kw_only=True, tag="unmute"):
    """Let a user write again."""


class Reauth(Request, frozen=True, kw_only=True, tag="reauth"):
    """Stay beyond the end of the token that the connection came with, by a fresh one of the same user."""

    token: Annotated[str, Meta(max_length=TOKEN_LIMIT)]


class _AboutMessage(Request, frozen=True, kw_only=True):
    room_id: RoomRef
    """The own inbox, for a private message."""
    seq: Seq
    """Of the message."""


class EditMessage(_AboutMessage, frozen=True, kw_only=True, tag="edit_message"):
    """Let an own message say something else."""

    message: str


class DeleteMessage(_AboutMessage, frozen=True, kw_only=True, tag="delete_message"):
    """Take a message away: an own one, or as a moderator anybody's in a room."""


class React(_AboutMessage, frozen=True, kw_only=True, tag="react"):
    """Say of a message what can be said in one sign; `remove` takes it back."""

    emoji: Emoji
    remove: bool = False


class MarkRead(Request, frozen=True, kw_only=True, tag="read"):
    """The user has read a room, or their inbox, up to `seq` (of the `epoch` given, if one is)."""

    room_id: RoomRef
    seq: Seq
    epoch: Seq | None = None


class SetNotices(Request, frozen=True, kw_only=True, tag="notices"):
    """Want notices of what is said while away, or none; without `enabled`: which is it?"""

    enabled: bool | None = None


class SetPresence(Request, frozen=True, kw_only=True, tag="presence"):
    """How the user is on this connection. Over all of them the most engaged counts."""

    status: Status


class Search(Request, frozen=True, kw_only=True, tag="search"):
    """The messages of a room with all the words of `query` in them, the newest first: those that a bounded part of its
    log holds, from the newest entry on, or from below `cursor`."""

    room_id: RoomRef
    query: Annotated[str, Meta(min_length=1, max_length=SEARCH_CHARACTERS)]
    cursor: Seq | None = None
    """The `next` of the page before."""
    limit: Annotated[int, Meta(ge=1, le=HISTORY_LIMIT)] = HISTORY_LIMIT


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
        RequestType(CreateRoom, "room"),
        RequestType(UpdateRoom, "room", "room"),
        RequestType(DeleteRoom, "room_deleted", "room_deleted"),
        RequestType(SetRole, "ack", "role"),
        RequestType(Kick, "ack", "kicked"),
        RequestType(Ban, "ack", "banned"),
        RequestType(Unban, "ack", "unbanned"),
        RequestType(Mute, "ack", "muted"),
        RequestType(Unmute, "ack", "unmuted"),
        RequestType(Reauth, "reauthenticated"),
        RequestType(EditMessage, "ack", "message_edited"),
        RequestType(DeleteMessage, "ack", "message_deleted"),
        RequestType(React, "ack", "reaction"),
        RequestType(MarkRead, "read", "read"),
        RequestType(SetNotices, "notices"),
        RequestType(SetPresence, "presence", "presence"),
        RequestType(Search, "search"),
    )
}


class _Head(Struct, frozen=True, rename="camel"):
    """Raw, so that what is no text, or beyond a float, does not make the other unreadable."""

    type: Raw = Raw(b'"chat"')
    client_id: Raw = Raw(b"null")


_encoder = msgspec.json.Encoder()
_head_decoder = msgspec.json.Decoder(_Head)
_text_decoder = msgspec.json.Decoder(str)
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
    try:
        kind = _text_decoder.decode(head.type)
    except msgspec.ValidationError:
        raise Refused("BAD_REQUEST", "`type` must be a string") from None
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise Refused("BAD_JSON", "Invalid JSON format") from None
    row = REQUESTS.get(kind)
    if row is None:
        raise Refused("UNKNOWN_TYPE", f"Unknown message type: {_printable(kind)}")
    try:
        return _decoders[kind].decode(text)
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
    kind, client_id = _text(head.type), _text(head.client_id)
    return kind if kind in REQUESTS else None, client_id if client_id is not None and valid_id(client_id) else None


def _text(value: Raw) -> str | None:
    """A JSON text; None for anything else."""
    try:
        return _text_decoder.decode(value)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return None


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
