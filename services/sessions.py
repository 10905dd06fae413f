"""Connections and memberships: how they begin and how they end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from msgspec import Raw

from domain.errors import Conflict, Refused, Unavailable
from domain.events import Joined, Left, encode_event
from domain.fanout import WELCOME_MS, Arrived
from domain.policy import Needs
from domain.ports import Ports
from domain.protocol import HISTORY_LIMIT
from domain.requests import JoinRoom, LeaveRoom
from domain.rooms import (
    Connection,
    Count,
    Dialect,
    Member,
    Membership,
    Profile,
    Room,
    ShardKey,
    check_may_join,
    check_room_open,
    inbox_of,
    is_inbox,
    is_small,
    lease_end,
    needs_of,
    should_grow,
)
from domain.tokens import reconnect_at, rows_end
from services.caller import Caller
from services.history import PAGE_BYTES, fitting, kept
from services.patience import Patience
from services.places import check_place

__all__ = ["connect", "disconnect", "join_room", "last_room", "leave_room"]

PATIENCE = 2.0
"""Seconds for which a join or an end that meets conflicts is tried again."""


@dataclass(frozen=True, slots=True)
class _Entered:
    """A membership that has begun, with the room as it was read afterwards."""

    room: Room
    key: ShardKey
    member: Member
    count: Count | None
    """None for who was a member already."""


async def connect(ports: Ports, caller: Caller, room: str, dialect: Dialect) -> None:
    """Begin a connection in its first room and in its user's inbox, and have it welcomed. `Refused` ends the handshake.

    Nothing is posted here: until the handshake is over, the connection does not exist for posts.
    """
    now = ports.clock.now()
    connection = Connection(
        connection=caller.connection,
        user=caller.user,
        name=caller.name,
        dialect=dialect,
        connected_at=now,
        expires_at=rows_end(now, caller.token_expires_at),
        last_room=room,
    )
    connection = replace(connection, lease_until=lease_end(connection, now))
    try:
        entered, inbox = await _enter(ports, connection, caller.groups, [room, inbox_of(caller.user)], first=True)
        # A kick that came between the join's steps has deleted the row: it must not be answered with a welcome.
        if not await ports.store.members_among(entered.key, [caller.connection]):
            raise Refused("FORBIDDEN", "You were removed from this room a moment ago")
        tell_others = entered.count is not None and is_small(entered.count, ports.rules)
        await ports.queue.announce(
            Arrived(
                room=room,
                epoch=entered.key.epoch,
                shard=entered.key.shard,
                connection=caller.connection,
                user=caller.user,
                name=caller.name,
                head=entered.room.head,
                inbox_epoch=inbox.room.epoch,
                inbox_head=inbox.room.head,
                inbox_messages=inbox.room.messages,
                reconnect_at=reconnect_at(now, caller.token_expires_at, now, ports.draw),
                tell_others=tell_others,
                not_after=now + WELCOME_MS,
            )
        )
        if entered.count is not None and not tell_others:
            await ports.roster.joined(entered.member, entered.key, entered.count)
    except (Refused, Unavailable):
        await disconnect(ports, caller.connection)
        raise


async def disconnect(ports: Ports, connection: str) -> None:
    """End a connection. Idempotent."""
    patience = Patience(ports, PATIENCE)
    while True:
        try:
            await ports.roster.end(connection)
        except Unavailable:
            if await patience.lasts():
                continue
            raise
        return


async def join_room(ports: Ports, caller: Caller, request: JoinRoom) -> bytes:
    """Join a room and say where it is. In the recipe's dialect the connection moves out of the room it joined last."""
    session = await ports.store.session(caller.connection)
    connection = session.connection
    if connection is None:
        raise Refused("FORBIDDEN", "This connection has ended; connect again")
    rooms = {it.room for it in session.memberships if not is_inbox(it.room)}
    limit = ports.rules.max_rooms_per_connection
    if request.room_id not in rooms and len(rooms) >= limit:
        raise Refused("ROOM_FULL", f"A connection is in at most {limit} rooms; leave one first")
    [entered] = await _enter(ports, connection, caller.groups, [request.room_id])
    previous = session.membership(connection.last_room)
    if connection.dialect == "recipe" and previous is not None and previous.room != request.room_id:
        await ports.roster.leave(caller.connection, previous)
    if entered.count is not None:
        await ports.roster.joined(entered.member, entered.key, entered.count)
    events, recovered = await _since(ports, entered.room, request)
    joined = Joined(
        client_id=request.client_id,
        room_id=entered.room.room,
        epoch=entered.room.epoch,
        head=entered.room.head,
        recovered=recovered,
        events=[Raw(it) for it in events],
    )
    return encode_event(joined)


async def leave_room(ports: Ports, caller: Caller, request: LeaveRoom) -> bytes:
    """Leave a room. Leaving a room that one is not in is answered the same."""
    room = request.room_id or await last_room(ports, caller)
    await _leave(ports, caller.connection, room)
    return encode_event(Left(client_id=request.client_id, room_id=room))


async def last_room(ports: Ports, caller: Caller) -> str:
    """The room that the connection joined last: where a request without `roomId` goes."""
    connection = (await ports.store.session(caller.connection)).connection
    if connection is None:
        raise Refused("NOT_A_MEMBER", "This connection is in no room; connect again")
    return connection.last_room


async def _enter(
    ports: Ports, connection: Connection, groups: frozenset[str], room_ids: Sequence[str], *, first: bool = False
) -> list[_Entered]:
    """Become a member of all of the rooms, then read where they are: whatever is stored above will be broadcast to us.

    The order is the point. Put the membership, raise the shard's version, then read the head: a worker that knows the
    members of an older version does not know us, and the head that it is at is no higher. Any other order loses what
    comes in between. `first` begins the connection with them, in one transaction.
    """
    store, clock = ports.store, ports.clock
    join_id = f"{ports.draw.getrandbits(64):016x}"
    member = Member(
        connection=connection.connection,
        user=connection.user,
        name=connection.name,
        dialect=connection.dialect,
        connected_at=connection.connected_at,
        expires_at=connection.expires_at,
        join_id=join_id,
    )
    patience = Patience(ports, PATIENCE)
    again = False
    while True:
        before = await _open_rooms(ports, connection, room_ids)
        if again:
            for room in before:
                standing = await store.standing(room.room, connection.user)
                check_may_join(room, standing, connection.user, groups, clock.now())
        memberships: list[Membership | None] = [None] * len(before)
        if again or not first:
            session = await store.session(connection.connection)
            memberships = [session.membership(it.room) for it in before]
            if session.connection is not None:  # a fresh token may have lengthened it
                member = replace(member, expires_at=session.connection.expires_at)
        keys = [await _key(ports, room, membership) for room, membership in zip(before, memberships, strict=True)]
        members = [
            replace(member, since=_owed_since(room, membership))
            for room, membership in zip(before, memberships, strict=True)
        ]
        # What the rooms record is not read: the transaction looks at it. Only where it fails the reason is asked for.
        needs = [_needs(room, connection.user, groups) for room in before]
        try:
            if first:
                await store.connect(connection, list(zip(members, keys, needs, strict=True)), clock.now())
            else:
                await store.join(members[0], keys[0], memberships[0], needs[0], clock.now())
        except (Conflict, Unavailable) as error:
            # Unavailable may have joined all the same: the next try finds its own join id and goes on from there.
            again = await patience.lasts()
            if again:
                continue
            raise Unavailable("the join met conflicts for too long") from error
        break
    counts = await asyncio.gather(
        *(
            _count(ports, room, membership, member, key)
            for room, membership, key in zip(before, memberships, keys, strict=True)
        )
    )
    after = await store.rooms(room_ids)
    entered = []
    now = clock.now()
    for room, key, member, count in zip(before, keys, members, counts, strict=True):
        now_there = after.get(room.room)
        if now_there is None or now_there.epoch != room.epoch or now_there.status != "open":
            await _turn_back(ports, connection, room, count)
            raise Refused("ROOM_NOT_FOUND", "Room not found")
        await check_place(ports, connection, now_there, count, room_ids)
        if count is not None and should_grow(now_there, count, ports.rules, now):
            await _grow(ports, now_there, now)
        entered.append(_Entered(now_there, key, member, count))
    return entered


async def _turn_back(ports: Ports, connection: Connection, room: Room, count: Count | None) -> None:
    """Be no member of a room that ended meanwhile, unless it was one before: then it is owed the last entries."""
    if count is not None:
        await _leave(ports, connection.connection, room.room)


def _needs(room: Room, user: str, groups: frozenset[str]) -> Needs | None:
    needs = None if is_inbox(room.room) else needs_of("join", room, user, groups)
    return needs and replace(needs, unkicked=True)


async def _grow(ports: Ports, room: Room, now: int) -> None:
    """Double the room's shards: by the one join that has the claim, since many find their shard full at once.

    The new shards begin where the room is before anybody can join them, so that their first worker knows where to
    start. Best effort: if it fails, a later join does it.
    """
    with suppress(Unavailable):
        if not await ports.store.claim_growth(room, now):
            return
        await ports.store.open_shards(
            [ShardKey(room.room, room.epoch, room.shards + it) for it in range(room.shards)], room.head
        )
        patience = Patience(ports, PATIENCE)
        while True:
            try:
                await ports.store.grow(room)
            except Unavailable:
                # A send has the room's row: they come one after the other, and this may take any gap.
                if not await patience.lasts():
                    raise
            else:
                return


async def _open_rooms(ports: Ports, connection: Connection, room_ids: Sequence[str]) -> list[Room]:
    """The rooms, made where they are missing and may be made."""
    rooms = await ports.store.rooms(room_ids)
    for it in room_ids:
        if it not in rooms and (ports.rules.open_rooms or is_inbox(it)):
            made = Room(it, ports.clock.now(), profile=Profile(owner=connection.user))
            rooms[it] = await ports.store.create_room(made)
    return [check_room_open(rooms.get(it)) for it in room_ids]


async def _key(ports: Ports, room: Room, membership: Membership | None) -> ShardKey:
    """The shard to join: the one the connection is in already, if it is; else the emptiest of two drawn at random and
    their siblings, half the shards away.

    Of two choices the fullest shard stays within a few members of the average, and nobody has to know them all. Of a
    shard and its sibling one is new after a doubling: a full shard gets no more while there are emptier ones, or its
    next join would double the shards again at once.
    """
    if membership is not None and membership.epoch == room.epoch:
        return membership.key
    if room.shards == 1:
        return ShardKey(room.room, room.epoch, 0)
    drawn = ports.draw.sample(range(room.shards), 2)
    choices = [
        ShardKey(room.room, room.epoch, (it + half) % room.shards) for it in drawn for half in (0, room.shards // 2)
    ]
    counted = await ports.store.shards(choices)
    return min(choices, key=lambda it: counted[it].members if it in counted else 0)


def _owed_since(room: Room, membership: Membership | None) -> int:
    """The head from which on who joins is a member: as it was read before, or as an earlier join of the room had it."""
    return membership.since if membership is not None and membership.epoch == room.epoch else room.head


async def _count(
    ports: Ports, room: Room, membership: Membership | None, member: Member, key: ShardKey
) -> Count | None:
    """Count the member; None for who was one before this join. The shard's version rises in any case: an earlier join
    may have died before it came to that."""
    was_member = membership is not None and membership.epoch == room.epoch and membership.join_id != member.join_id
    count = await ports.store.count_join(key, room.head, room.shards, joined=0 if was_member else 1)
    return None if was_member else count


async def _leave(ports: Ports, connection: str, room: str) -> None:
    """End the connection's membership of a room, whichever join it is of: one that the client has sent twice may be
    carried out for the second time after the look at it, and then it is that one's."""
    while (membership := (await ports.store.session(connection)).membership(room)) is not None:
        if await ports.roster.leave(connection, membership):
            return


async def _since(ports: Ports, room: Room, request: JoinRoom) -> tuple[Sequence[bytes], bool]:
    """What followed `since` up to the room's head, and whether that is all of it. Never a silent part."""
    if request.since is None or request.epoch not in {None, room.epoch} or request.since > room.head:
        return [], False
    if request.since == room.head:
        return [], True
    entries = await ports.store.entries(
        room.room, room.epoch, request.since, upto=room.head, limit=HISTORY_LIMIT, max_bytes=PAGE_BYTES
    )
    entries = kept(ports, room, entries)
    complete = [it.seq for it in entries] == list(range(request.since + 1, room.head + 1))
    events = fitting(room, entries) if complete else []
    return (events, True) if complete and len(events) == len(entries) else ([], False)
