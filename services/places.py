"""How many may be in a room: whether there was a place for who has just joined, and the way out where there was none.

A join is counted after it has become a member, so of many at once none is let in beyond the limit; two that meet at the
last place may both be refused, and one of them finds it free at its next try.
"""

from __future__ import annotations

from collections.abc import Sequence

from domain.errors import Refused, Unavailable
from domain.ports import Ports
from domain.rooms import Connection, Count, Room, ShardKey, is_inbox, members_limit
from services.patience import Patience

__all__ = ["check_place"]

PATIENCE = 2.0
"""Seconds for which the way out is tried."""


async def check_place(
    ports: Ports, connection: Connection, room: Room, count: Count | None, joined: Sequence[str]
) -> None:
    """`Refused` if the room has more members than its limit since the connection was counted there (None: it was not).

    Its memberships in the rooms `joined` have ended then, without a word to anybody, since nobody was told that they
    began; and the room that it joined last is what it was in `connection`, the row as it was read before.
    """
    limit = members_limit(room, ports.rules)
    if count is None or not limit or await _members(ports, room, count, limit) <= limit:
        return
    await _withdraw(ports, connection, joined)
    if is_inbox(room.room):
        raise Refused("TOO_MANY_CONNECTIONS", f"You have as many connections as you may: {limit}")
    raise Refused("ROOM_FULL", f"The room has as many members as it may: {limit}")


async def _members(ports: Ports, room: Room, count: Count, limit: int) -> int:
    """How many there are, by the shards' counts; by the rows themselves where that would refuse somebody.

    A count is too high after a function that died while it ended a membership, until the next broadcast; a quiet room
    has none, and would be full for ever. Of a room that may have more than a shard's members the count is taken as it
    is: what it may be wrong by is little, and the rows would be thousands.
    """
    keys = [ShardKey(room.room, room.epoch, it) for it in range(room.shards)]
    members = count.members
    if room.shards > 1:
        members = sum(it.members for it in (await ports.store.shards(keys)).values())
    if members <= limit or limit > ports.rules.shard_limit:
        return members
    now = ports.clock.now()
    rows = [member for it in keys for member in await ports.store.members(it)]
    return sum(it.expires_at > now for it in rows)


async def _withdraw(ports: Ports, connection: Connection, rooms: Sequence[str]) -> None:
    patience = Patience(ports, PATIENCE)
    while True:
        try:
            for it in (await ports.store.session(connection.connection)).memberships:
                if it.room in rooms:
                    await ports.store.leave(connection.connection, it)
            if connection.last_room not in rooms:
                await ports.store.set_last_room(connection.connection, connection.last_room, rooms[-1])
        except Unavailable:
            if not await patience.lasts():
                raise
        else:
            return
