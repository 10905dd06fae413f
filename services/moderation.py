"""Roles, kicks, bans, mutes: record → close the sockets → delete the rows → log → ack.

What is recorded keeps the user out, so who is found afterwards is all there is to remove. The entry in the room's log
comes last, with the request's once-row: a request whose once-row is there is done, and any other does all its steps
again, since the one before may have died between them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from domain.errors import Conflict, Refused, Unavailable
from domain.events import Ack, Banned, Event, Kicked, Muted, RoleSet, Unbanned, Unmuted
from domain.policy import Action, Rank, Role, check_outranks
from domain.ports import Connections, Ports
from domain.requests import Ban, Kick, Mute, Request, SetRole, Unban, Unmute
from domain.rooms import (
    FOREVER,
    Append,
    Entry,
    Room,
    Sender,
    Sending,
    Standing,
    audit_of,
    check_may_act,
    check_room_open,
    is_stranger,
    needs_of,
    rank_in,
)
from services.caller import Caller
from services.eviction import evict
from services.patience import Patience
from services.sending import BUSY_AFTER, RETRY_AFTER, Draft, commit, is_done, once_key

__all__ = ["ACTS", "moderate"]

About = SetRole | Kick | Ban | Unban | Mute | Unmute


@dataclass(frozen=True, slots=True)
class Act:
    """What a kind of request does."""

    action: Action
    event: type[Event]
    change: Callable[[Any, Standing, int], Standing]
    """(request, standing, now) → what is recorded of the user."""
    body: Callable[[Any, int], Mapping[str, Any]] = lambda _request, _now: {}
    """(request, now) → what the entry says beside whom it is about and who did it."""
    evicts: Callable[[Room, Standing], bool] = lambda _room, _standing: False
    """(room, what is recorded) → whether the user has to go."""


async def moderate(ports: Ports, connections: Connections, caller: Caller, request: About) -> bytes:
    """Carry out what a moderator asks for, and return the `ack`. No membership is asked for, only the rank."""
    act = ACTS[type(request)]
    if request.user_id == caller.user:
        raise Refused("BAD_REQUEST", "`userId`: nobody can do that to themselves")
    rooms = [request.room_id, audit_of(request.room_id)]
    await _judge(ports, connections, caller, request, act, rooms)

    async def draft(sending: Sending, now: int) -> Draft:
        room = check_room_open(sending.rooms.get(request.room_id))
        check_may_act(room, sending.standing, act.action, caller.groups, now)
        audit = sending.rooms.get(rooms[1]) or await ports.store.create_room(Room(rooms[1], now))
        about = {"userId": request.user_id, "by": caller.user, **act.body(request, now)}
        told = _entry(act.event.type, room, caller, about, now)
        kept = _entry(act.event.type, audit, caller, about | _reason(request), now)
        ack = Ack(client_id=request.client_id, room_id=room.room, epoch=room.epoch, seq=told.seq)
        needs = needs_of(act.action, room, caller.user, caller.groups)
        return Draft([Append(room, told), Append(audit, kept)], Sender(caller.user, needs=needs), ack)

    return await commit(ports, caller, request, rooms, draft)


async def _judge(
    ports: Ports, connections: Connections, caller: Caller, request: About, act: Act, rooms: list[str]
) -> None:
    """Record it and remove the user, unless this very request is done already."""
    patience = Patience(ports, BUSY_AFTER)
    key = once_key(caller, request)
    while True:
        sending = await ports.store.sending(rooms, caller.connection, caller.user, key)
        now = ports.clock.now()
        if is_done(sending, now):
            return
        room = check_room_open(sending.rooms.get(request.room_id))
        rank = check_may_act(room, sending.standing, act.action, caller.groups, now)
        standing = await ports.store.standing(room.room, request.user_id)
        _check_reach(request, room, rank, standing)
        changed = act.change(request, standing, now)
        by = Sender(caller.user, needs=needs_of(act.action, room, caller.user, caller.groups))
        try:
            await ports.store.judge(room.room, request.user_id, standing, changed, by, key, now)
        except (Conflict, Unavailable):
            if await patience.lasts():
                continue
            raise Refused("ROOM_BUSY", "Too many change this at once", retry_after=RETRY_AFTER) from None
        break
    if act.evicts(room, changed):
        await evict(ports, connections, request.user_id, room.room)


def _check_reach(request: About, room: Room, rank: Rank, standing: Standing) -> None:
    """`Refused` where the user stands too high for this, before it or after."""
    check_outranks(rank, rank_in(room, standing, ()))
    if isinstance(request, SetRole) and request.role != "none" and rank not in {"owner", "admin"}:
        check_outranks(rank, request.role)


def _entry(kind: str, room: Room, caller: Caller, body: Mapping[str, Any], now: int) -> Entry:
    return Entry(seq=room.head + 1, type=kind, at=now, sender=caller.user, body=dict(body))


def _reason(request: About) -> dict[str, str]:
    return {} if request.reason is None else {"reason": request.reason}


def _end(request: Ban | Mute, now: int) -> int:
    return FOREVER if request.seconds is None else now + request.seconds * 1000


def _until(request: Ban | Mute, now: int) -> Mapping[str, Any]:
    return {} if request.seconds is None else {"until": _end(request, now)}


def _role(request: SetRole) -> Role | None:
    return None if request.role == "none" else request.role


def _goes(room: Room, standing: Standing) -> bool:
    return True


ACTS: Mapping[type[Request], Act] = {
    SetRole: Act(
        "set_role",
        RoleSet,
        lambda request, standing, now: replace(standing, role=_role(request)),
        lambda request, now: {"role": request.role},
        evicts=is_stranger,
    ),
    Kick: Act("kick", Kicked, lambda request, standing, now: replace(standing, kicked_at=now), evicts=_goes),
    Ban: Act(
        "ban",
        Banned,
        lambda request, standing, now: replace(standing, banned_until=_end(request, now)),
        _until,
        evicts=_goes,
    ),
    Unban: Act("unban", Unbanned, lambda request, standing, now: replace(standing, banned_until=0)),
    Mute: Act("mute", Muted, lambda request, standing, now: replace(standing, muted_until=_end(request, now)), _until),
    Unmute: Act("unmute", Unmuted, lambda request, standing, now: replace(standing, muted_until=0)),
}
"""Request → what it does."""
