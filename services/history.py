"""Reading a room's log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import UNSET, Raw, UnsetType

from domain.errors import Refused
from domain.events import HistoryPage, encode_event
from domain.fanout import encode_entry
from domain.ports import Ports
from domain.protocol import FRAME_LIMIT
from domain.requests import HistoryRequest
from domain.retention import has_ended
from domain.rooms import Entry, Room, audited, check_may_act, is_audit
from services.caller import Caller
from services.outsiders import outsider

__all__ = ["PAGE_BYTES", "fitting", "kept", "read_history", "room_to_read"]

PAGE_BYTES = FRAME_LIMIT - 768
"""Bytes of entries in one reply: a frame less what stands around them."""


async def read_history(ports: Ports, caller: Caller, request: HistoryRequest) -> bytes:
    """A page of the log, cut at an entry so that the reply fits into a frame."""
    if request.before is not None and request.after is not None:
        raise Refused("BAD_REQUEST", "`before` and `after` exclude each other; give one of them")
    room = await room_to_read(ports, caller, request.room_id)
    following: int | UnsetType
    if request.thread is not None:
        events, following = await _thread(ports, room, request, request.thread)
    elif request.after is not None:
        entries = await _kept_after(ports, room, request.after, request.limit)
        events = fitting(room, entries)
        entries = entries[: len(events)]
        following = entries[-1].seq if entries and entries[-1].seq < room.head else UNSET
    else:
        before = room.head + 1 if request.before is None else request.before
        entries = kept(
            ports, room, await ports.store.entries_before(room.room, room.epoch, before, **_page(request.limit))
        )
        events = fitting(room, reversed(entries))[::-1]
        entries = entries[len(entries) - len(events) :]
        following = entries[0].seq if entries and entries[0].seq > 1 else UNSET
    page = HistoryPage(
        client_id=request.client_id,
        room_id=room.room,
        epoch=room.epoch,
        head=room.head,
        entries=[Raw(it) for it in events],
        next=following,
    )
    return encode_event(page)


async def room_to_read(ports: Ports, caller: Caller, room_id: str) -> Room:
    """A room whose log the caller may read, or `Refused`."""
    return await (_audit if is_audit(room_id) else _own)(ports, caller, room_id)


def kept(ports: Ports, room: Room, entries: Sequence[Entry]) -> list[Entry]:
    """Those of the entries that have not ended."""
    now = ports.clock.now()
    return [it for it in entries if not has_ended(it, room, ports.rules, now)]


def _page(limit: int) -> dict[str, int]:
    return {"limit": limit, "max_bytes": PAGE_BYTES}


async def _kept_after(ports: Ports, room: Room, after: int, limit: int) -> list[Entry]:
    """The page of entries behind `after`. Where all of it has ended, the page where the log begins now."""
    entries = await ports.store.entries(room.room, room.epoch, after, **_page(limit))
    found = kept(ports, room, entries)
    if found or not entries:
        return found
    # Rows that have ended may be there for days, and hundreds of thousands: the first that has not is found by halving.
    first, last = entries[-1].seq + 1, room.head + 1
    while first < last:
        middle = (first + last) // 2
        entries = await ports.store.entries(room.room, room.epoch, middle - 1, limit=1, max_bytes=1)
        if entries and not kept(ports, room, entries):
            first = entries[0].seq + 1
        else:
            last = middle
    return kept(ports, room, await ports.store.entries(room.room, room.epoch, first - 1, **_page(limit)))


async def _thread(
    ports: Ports, room: Room, request: HistoryRequest, root: int
) -> tuple[Sequence[bytes], int | UnsetType]:
    """The events of a page of a thread, the message that began it before its replies, and the page that follows."""
    limit, store = request.limit, ports.store
    if request.after is not None:
        begin = [root] if request.after < root else []
        seqs = begin + await store.thread_after(room.room, room.epoch, root, request.after, limit + 1)
        entries = kept(ports, room, await store.entries_at(room.room, room.epoch, seqs[:limit]))
        events = fitting(room, entries)
        more = len(events) < len(entries) or len(seqs) > limit
        if not more:
            return events, UNSET
        return events, entries[len(events) - 1].seq if events else seqs[limit - 1]  # all of a page may have ended
    before = room.head + 1 if request.before is None else request.before
    begin = [root] if before > root else []
    seqs = begin + await store.thread_before(room.room, room.epoch, root, before, limit + 1)
    entries = kept(ports, room, await store.entries_at(room.room, room.epoch, seqs[-limit:]))
    events = fitting(room, reversed(entries))[::-1]
    more = len(events) < len(entries) or len(seqs) > limit
    return events, entries[len(entries) - len(events)].seq if more and events else UNSET


async def _own(ports: Ports, caller: Caller, room_id: str) -> Room:
    """A room that the connection is in; or was in when it ended, since its last entries may still be on their way."""
    room = await ports.store.room(room_id)
    membership = (await ports.store.session(caller.connection)).membership(room_id)
    if room is not None and membership is not None and membership.epoch == room.epoch:
        return room
    raise await outsider(ports, caller, room, "Join the room before you read it")


async def _audit(ports: Ports, caller: Caller, room_id: str) -> Room:
    """What moderators did in a room, for its moderators, also when it has ended; nobody is a member there."""
    about = audited(room_id)
    rooms = await ports.store.rooms([about, room_id])
    if about not in rooms:
        raise Refused("ROOM_NOT_FOUND", "Room not found")
    standing = await ports.store.standing(about, caller.user)
    check_may_act(rooms[about], standing, "read_audit", caller.groups, ports.clock.now())
    return rooms.get(room_id) or Room(room_id, epoch=0)


def fitting(room: Room, entries: Iterable[Entry]) -> Sequence[bytes]:
    """The events of as many of `entries`, from the first, as one reply holds."""
    events: list[bytes] = []
    size = 0
    for entry in entries:
        event = encode_entry(room.room, room.epoch, entry)
        size += len(event) + 1
        if events and size > PAGE_BYTES:
            break
        events.append(event)
    return events
