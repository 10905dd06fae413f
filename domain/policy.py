"""Who may do what in a room: one table of least roles, and nothing that is not in it.

A user's role in a room is the one recorded there, or the room's own default for who has none: a private or hidden room
has none for strangers. The groups `admin` and `moderator` of the whole deployment count in every room.

What is decided before a write has to be so when it is written, too: `Needs` carries the same decision to the store,
which checks it in the transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from domain.errors import Refused

__all__ = [
    "ADMINS",
    "LEAST",
    "MODERATORS",
    "ROLES",
    "VISIBILITIES",
    "Action",
    "Needs",
    "Rank",
    "Role",
    "Visibility",
    "check_may",
    "check_outranks",
    "check_visible",
    "may",
    "needs",
    "outranks",
    "rank",
]

Role = Literal["guest", "member", "moderator", "owner"]
"""What can be recorded for a user in a room, the least first."""
Rank = Literal["stranger", "guest", "member", "moderator", "owner", "admin"]
"""What a user is in a room: a role, nobody, or an admin of the deployment."""
Visibility = Literal["public", "private", "hidden"]
"""public: listed, and open to all. private: listed for those with a role, and open to them. hidden: open to them as
well, but listed for nobody, and to all others as if it weren't there."""
Action = Literal[
    "join",
    "send",
    "update_room",
    "delete_room",
    "set_role",
    "kick",
    "ban",
    "unban",
    "mute",
    "unmute",
    "read_audit",
    "edit_message",
    "delete_message",
    "delete_any_message",
    "react",
]

ROLES: tuple[Role, ...] = get_args(Role)
VISIBILITIES: tuple[Visibility, ...] = get_args(Visibility)
ADMINS = "admin"
"""The group whose users may do everything everywhere, and against whom no room holds anything."""
MODERATORS = "moderator"
"""The group whose users are moderators of every room."""
_RANKS: tuple[Rank, ...] = get_args(Rank)

LEAST: Mapping[Action, Rank] = {
    "join": "guest",
    "send": "member",
    "read_audit": "moderator",
    "set_role": "moderator",
    "kick": "moderator",
    "ban": "moderator",
    "unban": "moderator",
    "mute": "moderator",
    "unmute": "moderator",
    "update_room": "owner",
    "delete_room": "owner",
    "edit_message": "member",
    "delete_message": "member",
    "delete_any_message": "moderator",
    "react": "member",
}
"""Action → the least that a user has to be."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a room must still say of a user when something is stored for them."""

    room: str
    user: str
    roles: frozenset[Role] = frozenset(ROLES)
    """The recorded roles that will do."""
    without: bool = True
    """Whether none will do as well."""
    unkicked: bool = False
    """Whether no kick may be fresh."""
    unmuted: bool = False
    """Whether the user may not be muted. Never banned, in any case."""
    pause: int = 0
    """Milliseconds since the user's last message that must have passed: the room's slow mode. 0: none need, and the
    time of this one is not noted."""


def rank(role: Role | None, visibility: Visibility, default: Role, groups: Collection[str]) -> Rank:
    """What a user is in a room with that recorded `role`; `default` is the room's for who has none."""
    if ADMINS in groups:
        return "admin"
    own: Rank = role or (default if visibility == "public" else "stranger")
    if MODERATORS in groups and outranks("moderator", own):
        return "moderator"
    return own


def may(action: Action, as_rank: Rank) -> bool:
    """Whether who is that may do it. What is not in the table, nobody may."""
    least = LEAST.get(action)
    return least is not None and _RANKS.index(as_rank) >= _RANKS.index(least)


def outranks(one: Rank, other: Rank) -> bool:
    """Whether `one` stands above `other`."""
    return _RANKS.index(one) > _RANKS.index(other)


def needs(
    action: Action, room: str, user: str, visibility: Visibility, default: Role, groups: Collection[str]
) -> Needs | None:
    """What the room must say of the user for the action; None where it need say nothing."""
    if may(action, rank(None, "hidden", default, groups)):
        return None  # by the deployment's groups alone, whatever the room records
    return Needs(
        room=room,
        user=user,
        roles=frozenset(it for it in ROLES if may(action, rank(it, visibility, default, groups))),
        without=may(action, rank(None, visibility, default, groups)),
    )


def check_may(action: Action, as_rank: Rank) -> None:
    """`Refused` where who is that may not do it."""
    if not may(action, as_rank):
        raise Refused("FORBIDDEN", "You may not do that in this room")


def check_outranks(actor: Rank, target: Rank) -> None:
    """`Refused` where the actor does not stand above whom this is about."""
    if not outranks(actor, target):
        raise Refused("FORBIDDEN", "That user stands as high in this room as you do, or higher")


def check_visible(visibility: Visibility, as_rank: Rank) -> None:
    """`Refused` where the room is not to be seen by who is that: a hidden one as if it weren't there."""
    if as_rank != "stranger":
        return
    if visibility == "hidden":
        raise Refused("ROOM_NOT_FOUND", "Room not found")
    raise Refused("FORBIDDEN", "This room is private; ask its owner or a moderator to let you in")
