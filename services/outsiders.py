"""What who is not in a room is told: that they are not, or, if it is hidden from them, that there is no such room."""

from __future__ import annotations

from domain.errors import Refused
from domain.policy import check_visible
from domain.ports import Ports
from domain.rooms import Room, check_room_open, rank_in
from services.caller import Caller

__all__ = ["outsider"]


async def outsider(ports: Ports, caller: Caller, room: Room | None, words: str) -> Refused:
    """The refusal to raise: with `words`, or as for a room that nobody made."""
    try:
        found = check_room_open(room)
        if found.profile.visibility == "hidden":
            standing = await ports.store.standing(found.room, caller.user)
            check_visible("hidden", rank_in(found, standing, caller.groups))
    except Refused as refused:
        return refused
    return Refused("NOT_A_MEMBER", words)
