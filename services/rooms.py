"""Rooms as such: made, changed, and ended by who may."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from msgspec import UNSET

from domain.errors import Refused
from domain.events import RoomChanged, RoomDeleted, encode_event
from domain.ports import Ports
from domain.protocol import ROOT
from domain.requests import CreateRoom, DeleteRoom, UpdateRoom
from domain.rooms import (
    Append,
    Entry,
    Profile,
    Room,
    Sender,
    Sending,
    audit_of,
    check_may_act,
    check_may_join,
    check_room_open,
    needs_of,
    rank_in,
)
from services.caller import Caller
from services.sending import Draft, commit

__all__ = ["create_room", "delete_room", "update_room"]

DEPTH_LIMIT = 5
"""Rooms below one another."""


async def create_room(ports: Ports, caller: Caller, request: CreateRoom) -> bytes:
    """Make the room, with the caller as its owner, and return what is settled about it.

    The same request again finds the room that it made. A deleted room can be made anew by who owned it: roles and bans
    go with its id.
    """
    depth = 1 if request.parent == ROOT else 1 + await _depth(ports, caller, request.parent)
    if depth > DEPTH_LIMIT:
        raise Refused("BAD_REQUEST", f"`parent`: rooms stand at most {DEPTH_LIMIT} deep")
    start = Profile(title=request.room_id, parent=request.parent, depth=depth, owner=caller.user)
    profile = _changed(start, request)
    there = await ports.store.room(request.room_id)
    replaced = None
    if there is not None and there.status == "deleted":
        standing = await ports.store.standing(there.room, caller.user)
        if rank_in(there, standing, caller.groups) not in {"owner", "admin"}:
            raise Refused("FORBIDDEN", "That room was deleted; only who owned it can make it anew")
        replaced = there
    now = ports.clock.now()
    # Epochs never go back, whatever the clock of this environment does.
    epoch = now if replaced is None else max(now, replaced.epoch + 1)
    wanted = Room(request.room_id, epoch, profile=profile)
    if there is None or replaced is not None:
        there = await ports.store.create_room(wanted, owner=caller.user, replaces=replaced)
    if there.status != "open" or there.profile != profile:
        raise Refused("ROOM_EXISTS", "There is such a room already; choose another id")
    return encode_event(_as_event(there, caller.user, there.epoch, request.client_id))


async def update_room(ports: Ports, caller: Caller, request: UpdateRoom) -> bytes:
    """Change what is settled about a room; its members are told by an entry of its log."""
    rooms = [request.room_id, audit_of(request.room_id)]

    async def draft(sending: Sending, now: int) -> Draft:
        room = check_room_open(sending.rooms.get(request.room_id))
        check_may_act(room, sending.standing, "update_room", caller.groups, now)
        if request.visibility is not None and (request.visibility == "public") != (room.profile.visibility == "public"):
            raise Refused("BAD_REQUEST", "`visibility`: a public room stays public, and no other becomes it")
        profile = _changed(room.profile, request)
        event = _as_event(replace(room, head=room.head + 1, profile=profile), caller.user, now, request.client_id)
        told = Entry(seq=room.head + 1, type=event.type, at=now, sender=caller.user, body=_body(profile, caller.user))
        audit = await _audit(ports, sending, rooms[1], told, now)
        needs = needs_of("update_room", room, caller.user, caller.groups)
        return Draft([Append(room, told, profile=profile), audit], Sender(caller.user, needs=needs), event)

    return await commit(ports, caller, request, rooms, draft)


async def delete_room(ports: Ports, caller: Caller, request: DeleteRoom) -> bytes:
    """End a room. Its last entry says so; what its members' rows say counts for nothing in a later life of it."""
    rooms = [request.room_id, audit_of(request.room_id)]

    async def draft(sending: Sending, now: int) -> Draft:
        room = check_room_open(sending.rooms.get(request.room_id))
        check_may_act(room, sending.standing, "delete_room", caller.groups, now)
        seq = room.head + 1
        told = Entry(seq=seq, type=RoomDeleted.type, at=now, sender=caller.user, body={"by": caller.user})
        event = RoomDeleted(
            client_id=UNSET if request.client_id is None else request.client_id,
            room_id=room.room,
            epoch=room.epoch,
            seq=seq,
            timestamp=now // 1000,
            sent_at=now,
            by=caller.user,
        )
        audit = await _audit(ports, sending, rooms[1], told, now)
        needs = needs_of("delete_room", room, caller.user, caller.groups)
        return Draft([Append(room, told, deletes=True), audit], Sender(caller.user, needs=needs), event)

    return await commit(ports, caller, request, rooms, draft)


async def _depth(ports: Ports, caller: Caller, parent: str) -> int:
    """How deep a parent stands, if the caller may see it."""
    standing = await ports.store.standing(parent, caller.user)
    room, _ = check_may_join(await ports.store.room(parent), standing, caller.user, caller.groups, ports.clock.now())
    return room.profile.depth


async def _audit(ports: Ports, sending: Sending, name: str, told: Entry, now: int) -> Append:
    audit = sending.rooms.get(name) or await ports.store.create_room(Room(name, now))
    return Append(audit, replace(told, seq=audit.head + 1))


def _changed(profile: Profile, request: CreateRoom | UpdateRoom) -> Profile:
    given = {
        it: value
        for it in ("title", "visibility", "default_role", "slow_mode", "max_members", "retention")
        if (value := getattr(request, it)) is not None
    }
    return replace(profile, **given)


def _body(profile: Profile, by: str) -> dict[str, Any]:
    settled: Mapping[str, Any] = {
        "title": profile.title,
        "parent": profile.parent,
        "visibility": profile.visibility,
        "defaultRole": profile.default_role,
        "slowMode": profile.slow_mode,
        "maxMembers": profile.max_members,
        "retention": profile.retention,
        "owner": profile.owner,
    }
    return {"by": by, **settled}


def _as_event(room: Room, by: str, now: int, client_id: str | None) -> RoomChanged:
    it = room.profile
    return RoomChanged(
        client_id=UNSET if client_id is None else client_id,
        room_id=room.room,
        epoch=room.epoch,
        seq=room.head,
        timestamp=now // 1000,
        sent_at=now,
        by=by,
        title=it.title or room.room,
        parent=it.parent,
        visibility=it.visibility,
        default_role=it.default_role,
        slow_mode=it.slow_mode,
        max_members=it.max_members,
        retention=it.retention,
        owner=it.owner,
    )
