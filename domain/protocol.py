"""What both directions of the wire share: limits, error codes, and what may be a name. Protocol version 1.

Requests are in `domain/requests.py`, events in `domain/events.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta

__all__ = [
    "ERROR_CODES",
    "FRAME_LIMIT",
    "HISTORY_LIMIT",
    "LIST_LIMIT",
    "MESSAGE_LIMIT",
    "REACTIONS_LIMIT",
    "REACTORS_LIMIT",
    "ROOT",
    "SEARCH_CHARACTERS",
    "SUBPROTOCOL",
    "TOKEN_LIMIT",
    "ClientId",
    "Emoji",
    "Id",
    "Name",
    "RoomRef",
    "Seq",
    "Shown",
    "Status",
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
SEARCH_CHARACTERS = 200
"""Characters of what is searched for."""
REACTIONS_LIMIT = 20
"""Different reactions on one message."""
REACTORS_LIMIT = 10
"""Users that a reaction names; the count tells how many there are."""
TOKEN_LIMIT = 8 * 1024
"""Characters of a token. API Gateway takes 10 KB of headers and query in all."""
ROOT = "root"
"""The parent of the rooms at the top."""

ERROR_CODES: Mapping[str, str] = {
    "BAD_JSON": "the frame is not JSON",
    "BAD_REQUEST": "a field is missing, unknown, or of the wrong form",
    "UNKNOWN_TYPE": "there is no such request type",
    "EMPTY_MESSAGE": "the message holds nothing but white space",
    "REJECTED": "the deployment's review refused the message; `message` says why",
    "TOO_LARGE": f"the message is longer than {MESSAGE_LIMIT // 1024} KB, or has as many reactions as it may have",
    "UNAUTHENTICATED": "the credential is missing or not accepted",
    "TOKEN_EXPIRED": "the token has expired; connect with a fresh one",
    "FORBIDDEN": "this user may not do that now",
    "NOT_A_MEMBER": "the connection is not in that room",
    "ROOM_NOT_FOUND": "there is no such room",
    "ROOM_EXISTS": "there is such a room already",
    "ROOM_FULL": "the room has as many members as it may have, or the connection is in as many rooms",
    "TOO_MANY_CONNECTIONS": "the user has as many connections as they may have; close one",
    "USER_OFFLINE": "no such user was ever here",
    "ROOM_BUSY": "too many write to the room at once; send the same request again after `retryAfter`",
    "RATE_LIMITED": "the user, or this connection, asks too often; send the same request again after `retryAfter`",
    "MUTED": "the user is muted in that room",
    "BANNED": "the user is banned from that room",
    "INTERNAL": "the service failed; send the same request again",
}

# `$` would let a trailing newline through; the look-ahead says "here it ends" to Python and to ECMAScript alike.
_ID_PATTERN = r"^[A-Za-z0-9_.:-]{1,64}(?![\s\S])"
_ROOM_REF_PATTERN = r"^(inbox#|audit#)?[A-Za-z0-9_.:-]{1,64}(?![\s\S])"
_NAME_PATTERN = r"^[^\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]{1,64}(?![\s\S])"
_EMOJI_PATTERN = r"^[^\s\x00-\x1f\x7f-\x9f\ud800-\udfff\ufeff\ufffe\uffff]{1,32}(?![\s\S])"
Id = Annotated[
    str,
    Meta(pattern=_ID_PATTERN, description="1 to 64 letters, digits, or any of _ . : -"),
]
RoomRef = Annotated[
    str,
    Meta(
        pattern=_ROOM_REF_PATTERN,
        description="a room, the user's own inbox: inbox#USER, or what moderators did: audit#ROOM",
    ),
]
ClientId = Annotated[
    str,
    Meta(
        pattern=_ID_PATTERN,
        min_length=8,
        description="8 to 64 characters, unique for ever",
    ),
]
Name = Annotated[
    str,
    Meta(pattern=_NAME_PATTERN, description="1 to 64 characters, none of them a control character"),
]
Emoji = Annotated[
    str,
    Meta(
        pattern=_EMOJI_PATTERN,
        description="1 to 32 characters, none of them white space or a control character",
    ),
]
Seq = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Status = Literal["online", "away", "busy"]
"""How a connection says that its user is."""
Shown = Literal["online", "away", "busy", "offline"]
"""How a user is, over all connections."""

_id = re.compile(_ID_PATTERN)
_name = re.compile(_NAME_PATTERN)


def valid_id(text: str) -> bool:
    """Whether `text` may name a room or a user."""
    return _id.match(text) is not None


def valid_name(text: str) -> bool:
    """Whether `text` may be shown as a user's name: 1 to 64 characters, none of them a control character."""
    return _name.match(text) is not None and not text.isspace()
