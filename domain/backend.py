"""What a server may ask of the service, past the WebSocket: `{"action": …}` and its fields, and who it says it is.

A service is no user: `service#NAME` is what stands as the sender of what it says. `#` is in no id, so no client can be
one, or be taken for one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from domain.errors import Refused
from domain.events import MemberSummary
from domain.protocol import ClientId, Id, Name

__all__ = ["Action", "As", "Close", "Failure", "Members", "Page", "Publish", "read_action", "sender_of"]


class As(Struct, frozen=True, forbid_unknown_fields=True):
    """A service, as it is shown."""

    id: Id
    name: Name | None = None
    """Its id, where there is none."""


class _Action(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, tag_field="action"):
    pass


class Publish(_Action, frozen=True, kw_only=True, tag="publish"):
    """Say something in a room, or to a user. One message for each (`as`, `clientId`), however often it is sent."""

    room_id: Id | None = None
    user_id: Id | None = None
    message: str
    sender: As = msgspec.field(name="as")
    client_id: ClientId | None = None


class Members(_Action, frozen=True, kw_only=True, tag="members"):
    """Who is in a room, a page from behind `cursor` on."""

    room_id: Id
    cursor: Annotated[str, Meta(max_length=128)] | None = None


class Close(_Action, frozen=True, kw_only=True, tag="close"):
    """End all connections of a user. They may come back."""

    user_id: Id


Action = Publish | Members | Close


class Page(Struct, frozen=True, rename="camel", omit_defaults=True):
    """A page of a room's members."""

    members: list[MemberSummary]
    cursor: str | UnsetType = UNSET


class Failure(Struct, frozen=True, rename="camel", omit_defaults=True):
    """What is answered in place of a result: as an `error` event says it."""

    code: str
    message: str
    retry_after: float | None = None


def read_action(request: Any) -> Action:
    """The action in decoded JSON, or `Refused` with BAD_REQUEST: one sentence that names what is wrong."""
    if not isinstance(request, Mapping):
        raise Refused("BAD_REQUEST", "A request is a JSON object with an `action`: publish, members or close")
    try:
        action: Action = msgspec.convert(request, Action, str_keys=True)
    except (msgspec.ValidationError, RecursionError) as error:
        raise Refused("BAD_REQUEST", _words(str(error))) from None
    if isinstance(action, Publish) and (action.room_id is None) == (action.user_id is None):
        raise Refused("BAD_REQUEST", "Name a `roomId` or a `userId`, one of them")
    return action


def sender_of(service: As) -> str:
    """The id that stands as the sender of what the service says."""
    return f"service#{service.id}"


def _words(error: str) -> str:
    words, _, path = error.partition(" - at ")
    if "matching regex" in words:
        words = "Expected 1 to 64 characters, of an id letters, digits, or any of _ . : -"
    field = path.strip("`").removeprefix("$.").removeprefix("$")
    text = f"`{field}`: {words}" if field else words
    return "".join(it if it.isprintable() else "\N{REPLACEMENT CHARACTER}" for it in text[:200])
