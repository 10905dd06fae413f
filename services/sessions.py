"""Connections and memberships: how they begin and how they end."""

from __future__ import annotations

from msgspec import Raw

from domain.errors import Conflict, Refused, Unavailable
from domain.fanout import WELCOME_MS, Arrived
from domain.ports import Ports
from domain.protocol import HISTORY_LIMIT, Joined, JoinRoom, LeaveRoom, Left, encode_event
from domain.rooms import (
    Connection,
    Dialect,
    Member,
    Room,
    ShardKey,
    check_may_join,
    check_room_open,
)
from services.caller import Caller
from services.history import PAGE_BYTES, fitting
from services.patience import Patience

__all__ = ["connect", "disconnect", "join_room", "last_room", "leave_room"]

PATIENCE = 2.0
"""Seconds for which a join or an end that meets conflicts is tried again."""
LIFETIME_MS = 2 * 3600 * 1000 + 60_000
"""API Gateway cuts a connection after two hours; a row that is older belongs to nobody."""


async def connect(ports: Ports, caller: Caller, room: str, dialect: Dialect) -> None:
    """Begin a connection in its first room, and have it welcomed. `Refused` ends the handshake.

    Nothing is posted here: until the handshake is over, the connection does not exist for posts.
    """
    now = ports.clock.now()
    connection = Connection(
        connection=caller.connection,
        user=caller.user,
        name=caller.name,
        dialect=dialect,
        connected_at=now,
        expires_at=now + LIFETIME_MS,
        last_room=room,
    )
    try:
        entered, key = await _enter(ports, connection, room, first=True)
        # A kick that came between the join's steps has deleted the row: it must not be answered with a welcome.
        if not await ports.store.members_among(key, [caller.connection]):
            raise Refused("FORBIDDEN", "You were removed from this room a moment ago")
        await ports.queue.announce(
            Arrived(
                room=room,
                epoch=key.epoch,
                shard=key.shard,
                connection=caller.connection,
                user=caller.user,
                name=caller.name,
                connected_at=now,
                head=entered.head,
                not_after=now + WELCOME_MS,
            )
        )
    except (Refused, Unavailable):
        await disconnect(ports, caller.connection)
        raise


async def disconnect(ports: Ports, connection: str) -> None:
    """End a connection: its own row first, so that no join slips in behind, then its memberships. Idempotent."""
    patience = Patience(ports, PATIENCE)
    while True:
        try:
            await ports.store.end_connection(connection)
            for membership in (await ports.store.session(connection)).memberships:
                await ports.store.leave(connection, membership)
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
    rooms = {it.room for it in session.memberships}
    limit = ports.rules.max_rooms_per_connection
    if request.room_id not in rooms and len(rooms) >= limit:
        raise Refused("ROOM_FULL", f"A connection is in at most {limit} rooms; leave one first")
    room, _ = await _enter(ports, connection, request.room_id)
    previous = session.membership(connection.last_room)
    if connection.dialect == "recipe" and previous is not None and previous.room != request.room_id:
        await ports.store.leave(caller.connection, previous)
    events, recovered = await _since(ports, room, request)
    joined = Joined(
        client_id=request.client_id,
        room_id=room.room,
        epoch=room.epoch,
        head=room.head,
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


async def _enter(ports: Ports, connection: Connection, room_id: str, *, first: bool = False) -> tuple[Room, ShardKey]:
    """Become a member, then read where the room is: whatever is stored above that head will be broadcast to us.

    The order is the point. Put the membership, then read the head: the other order loses what comes in between.
    """
    store, clock = ports.store, ports.clock
    join_id = f"{ports.draw.getrandbits(64):016x}"
    patience = Patience(ports, PATIENCE)
    again = False
    while True:
        room = await store.room(room_id)
        if room is None and ports.rules.open_rooms:
            await store.create_room(room_id, clock.now())
            room = await store.room(room_id)
        if again:
            check_may_join(room, await store.standing(room_id, connection.user), clock.now())
        room = check_room_open(room)
        membership = (await store.session(connection.connection)).membership(room_id) if again or not first else None
        member_before = membership is not None and membership.epoch == room.epoch and membership.join_id != join_id
        shard = membership.shard if membership is not None and membership.epoch == room.epoch else 0
        key = ShardKey(room_id, room.epoch, shard)
        member = Member(
            connection=connection.connection,
            user=connection.user,
            name=connection.name,
            dialect=connection.dialect,
            connected_at=connection.connected_at,
            expires_at=connection.expires_at,
            join_id=join_id,
        )
        try:
            await store.join(member, key, membership, clock.now(), connect=connection if first else None)
        except (Conflict, Unavailable) as error:
            # Unavailable may have joined all the same: the next try finds its own join id and goes on from there.
            again = await patience.lasts()
            if again:
                continue
            raise Unavailable("the join met conflicts for too long") from error
        if not member_before:
            await store.count_join(key, room.head)
        after = await store.room(room_id)
        if after is not None and after.epoch == room.epoch and after.status == "open":
            return after, key
        await _leave(ports, connection.connection, room_id)
        raise Refused("ROOM_NOT_FOUND", "Room not found")


async def _leave(ports: Ports, connection: str, room: str) -> None:
    membership = (await ports.store.session(connection)).membership(room)
    if membership is not None:
        await ports.store.leave(connection, membership)


async def _since(ports: Ports, room: Room, request: JoinRoom) -> tuple[list[bytes], bool]:
    """What followed `since` up to the room's head, and whether that is all of it. Never a silent part."""
    if request.since is None or request.epoch not in (None, room.epoch) or request.since > room.head:
        return [], False
    if request.since == room.head:
        return [], True
    entries = await ports.store.entries(
        room.room, room.epoch, request.since, upto=room.head, limit=HISTORY_LIMIT, max_bytes=PAGE_BYTES
    )
    complete = [it.seq for it in entries] == list(range(request.since + 1, room.head + 1))
    events = list(fitting(room, entries)) if complete else []
    return (events, True) if complete and len(events) == len(entries) else ([], False)
