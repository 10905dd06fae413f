"""Read marks: how far a user has read a room, for all their devices, and receipts for the others in a small one."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import UNSET, Raw
from msgspec.structs import replace

from domain.errors import Refused
from domain.events import UserRead, encode_event
from domain.fanout import NOTICE_MS, Notice
from domain.marks import mark_at, unread
from domain.ports import Ports
from domain.requests import MarkRead
from domain.rooms import Count, Entry, Room, ShardKey, inbox_of, is_inbox, is_small
from services.caller import Caller
from services.outsiders import outsider

__all__ = ["mark_read"]


async def mark_read(ports: Ports, caller: Caller, request: MarkRead) -> bytes:
    """Move the user's mark on, tell who is told, and return the mark that stands: this one, or one further on.

    For members; the own inbox is always open. Nothing is remembered of the request, since a mark that is set twice is
    the same mark: a repeat is told again, and answered with what stands by then.
    """
    own = inbox_of(caller.user)
    rooms = await ports.store.rooms([request.room_id, own])
    room = await _readable(ports, caller, rooms.get(request.room_id), request.room_id)
    if request.epoch not in {None, room.epoch}:
        raise Refused("BAD_REQUEST", "`epoch`: The room was made anew; that is not the life that you are in")
    if request.seq > room.head:
        raise Refused("BAD_REQUEST", f"`seq`: The room's last entry is number {room.head}")
    asked = mark_at(room, request.seq, await _following(ports, room, request.seq))
    stands = await ports.marks.mark(room.room, caller.user, asked)
    if stands.epoch != room.epoch:
        raise Refused("NOT_A_MEMBER", "The room was made anew; join it again")
    now = ports.clock.now()
    event = UserRead(
        room_id=room.room,
        user_id=caller.user,
        epoch=stands.epoch,
        seq=stands.seq,
        unread=unread(room.messages, stands),
        timestamp=now // 1000,
        sent_at=now,
    )
    if stands.seq == asked.seq:
        await _tell(ports, caller, _shards(rooms.get(own)), event, now)
        if not is_inbox(room.room) and await _is_small(ports, room):
            await _tell(ports, caller, _shards(room), replace(event, unread=UNSET), now)
    return encode_event(event if request.client_id is None else replace(event, client_id=request.client_id))


async def _readable(ports: Ports, caller: Caller, room: Room | None, room_id: str) -> Room:
    """The room, if the connection is in it or it is the user's own inbox."""
    if room is not None and room_id == inbox_of(caller.user):
        return room
    membership = (await ports.store.session(caller.connection)).membership(room_id)
    if room is None or room.status != "open" or membership is None or membership.epoch != room.epoch:
        raise await outsider(ports, caller, room, "Join the room before you say that you have read it")
    return room


async def _following(ports: Ports, room: Room, seq: int) -> Entry | None:
    """The first entry from `seq` on; None at the head, where nearly every mark is set: the room itself says enough."""
    if seq == room.head:
        return None
    found = await ports.store.entries(room.room, room.epoch, seq - 1, limit=1, max_bytes=1)
    return found[0] if found else None


async def _is_small(ports: Ports, room: Room) -> bool:
    key = ShardKey(room.room, room.epoch, 0)
    counted = (await ports.store.shards([key])).get(key)
    return counted is not None and is_small(Count(counted.members, 0, room.shards), ports.rules)


def _shards(room: Room | None) -> Iterable[ShardKey]:
    return () if room is None else (ShardKey(room.room, room.epoch, it) for it in range(room.shards))


async def _tell(ports: Ports, caller: Caller, shards: Iterable[ShardKey], event: UserRead, now: int) -> None:
    for key in shards:
        notice = Notice(
            room=key.room,
            epoch=key.epoch,
            shard=key.shard,
            event=Raw(encode_event(event)),
            skip=caller.connection,
            not_after=now + NOTICE_MS,
        )
        await ports.queue.announce(notice)
