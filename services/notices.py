"""Notices of what is said to who is away: to whom a message is announced, and who wants none."""

from __future__ import annotations

from collections.abc import Iterable

from domain.events import NoticesSet, encode_event
from domain.notices import Announcement, NoticeKind
from domain.ports import Ports
from domain.requests import SetNotices
from domain.rooms import Entry, Room
from services.caller import Caller

__all__ = ["announcement_of", "set_notices"]


async def set_notices(ports: Ports, caller: Caller, request: SetNotices) -> bytes:
    """Record whether the user wants notices, if the request says so, and return what stands."""
    enabled = request.enabled
    if enabled is None:
        enabled = caller.user not in await ports.notices.silent([caller.user])
    else:
        await ports.notices.set_wanted(caller.user, enabled)
    return encode_event(NoticesSet(client_id=request.client_id, enabled=enabled))


def announcement_of(
    ports: Ports, caller: Caller, kind: NoticeKind, room: Room, entry: Entry, users: Iterable[str]
) -> Announcement | None:
    """To whom the entry is announced, if they are away: each of the users once, the sender aside. None where that is
    nobody, or where the deployment announces nothing."""
    others = [it for it in dict.fromkeys(users) if it != caller.user]
    if not others or not ports.rules.notices:
        return None
    return Announcement(kind, room.room, room.epoch, entry.seq, entry.at, caller.user, caller.name, others)
