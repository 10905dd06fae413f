"""What a server may ask of the service, past the WebSocket: `{"action": …}` and its fields, and who it says it is.

A service is no user: `service#NAME` is what stands as the sender of what it says. `#` is in no id, so no client can be
one, or be taken for one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from domain.errors import Refused
from domain.events import MemberSummary
from domain.protocol import ClientId, Id, Name
from domain.webhooks import HOOK_ID_PATTERN, Direction

__all__ = [
    "Action",
    "AddWebhook",
    "As",
    "Close",
    "EnableWebhook",
    "Failure",
    "HookMade",
    "HookPage",
    "HookSummary",
    "ListWebhooks",
    "Members",
    "Page",
    "Publish",
    "RemoveWebhook",
    "RotateWebhook",
    "Said",
    "read_action",
    "read_said",
    "sender_of",
]

ACTIONS = "publish, members, close, add_webhook, list_webhooks, remove_webhook, enable_webhook or rotate_webhook"


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


WebhookId = Annotated[str, Meta(pattern=HOOK_ID_PATTERN, description="ROOM~ and 16 hexadecimal digits")]


class AddWebhook(_Action, frozen=True, kw_only=True, tag="add_webhook"):
    """Make a hook of a room: outgoing, `url` is told of its entries; incoming, who has the secret speaks in it."""

    room_id: Id
    direction: Direction
    name: Id
    url: str | None = None
    events: list[str] = []
    """The types of entries that an outgoing one is told; none: all."""
    sender: As | None = msgspec.field(name="as", default=None)
    """Who makes it, as the list shows."""


class ListWebhooks(_Action, frozen=True, kw_only=True, tag="list_webhooks"):
    """A room's hooks, without their secrets."""

    room_id: Id


class RemoveWebhook(_Action, frozen=True, kw_only=True, tag="remove_webhook"):
    """Delete a hook."""

    webhook_id: WebhookId


class EnableWebhook(_Action, frozen=True, kw_only=True, tag="enable_webhook"):
    """Let a hook be told again, from where it stands or, `fromNow`, from now on; try one at once that is enabled."""

    webhook_id: WebhookId
    from_now: bool = False


class RotateWebhook(_Action, frozen=True, kw_only=True, tag="rotate_webhook"):
    """Give a hook a new secret; the one before counts for a day yet."""

    webhook_id: WebhookId


Action = Publish | Members | Close | AddWebhook | ListWebhooks | RemoveWebhook | EnableWebhook | RotateWebhook


class Said(Struct, frozen=True, forbid_unknown_fields=True):
    """What an incoming hook is posted."""

    message: str
    name: Name | None = None
    """Under which it is shown; the hook's own, where there is none."""


class HookMade(Struct, frozen=True, rename="camel"):
    """A hook and its secret, which nobody is told again."""

    id: str
    secret: str


class HookSummary(Struct, frozen=True, kw_only=True, rename="camel"):
    """A hook as it is listed. Times are milliseconds since 1970, and 0 where there is none."""

    id: str
    direction: Direction
    name: str
    created_at: int
    created_by: str
    enabled: bool
    url: str
    events: list[str]
    cause: str
    """Why it is disabled."""
    disabled_at: int
    position: int
    behind: int
    """Entries of the room that its receiver has not been told of, or had no wish to be."""
    failing_since: int
    failures: int
    problem: str
    """What its receiver's last failure was."""
    retry_at: int


class HookPage(Struct, frozen=True, rename="camel"):
    """A room's hooks."""

    webhooks: list[HookSummary]


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
        raise Refused("BAD_REQUEST", f"A request is a JSON object with an `action`: {ACTIONS}")
    try:
        action: Action = msgspec.convert(request, Action, str_keys=True)
    except (msgspec.ValidationError, RecursionError) as error:
        raise Refused("BAD_REQUEST", _words(str(error))) from None
    if isinstance(action, Publish) and (action.room_id is None) == (action.user_id is None):
        raise Refused("BAD_REQUEST", "Name a `roomId` or a `userId`, one of them")
    if isinstance(action, Publish) and _lone_surrogate.search(action.message):  # Python's JSON lets one through
        raise Refused("BAD_REQUEST", "`message`: it has half of a surrogate pair, which is no character")
    return action


def read_said(body: bytes) -> Said:
    """What a delivery says, or `Refused` with BAD_JSON or BAD_REQUEST likewise."""
    try:
        return _said.decode(body)
    except msgspec.ValidationError as error:
        raise Refused("BAD_REQUEST", _words(str(error))) from None
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise Refused("BAD_JSON", "The body is a JSON object with a `message`, and a `name` if you like") from None


def sender_of(service: As) -> str:
    """The id that stands as the sender of what the service says."""
    return f"service#{service.id}"


_said = msgspec.json.Decoder(Said)
_lone_surrogate = re.compile("[\ud800-\udfff]")


def _words(error: str) -> str:
    words, _, path = error.partition(" - at ")
    if "matching regex" in words:
        words = "Expected 1 to 64 characters, of an id letters, digits, or any of _ . : -"
    field = path.strip("`").removeprefix("$.").removeprefix("$")
    text = f"`{field}`: {words}" if field else words
    return "".join(it if it.isprintable() else "\N{REPLACEMENT CHARACTER}" for it in text[:200])
