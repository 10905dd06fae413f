"""Removing a user from a room: close the sockets, then delete the rows. In this order, which is the point.

A worker that read the members a moment ago posts to closed sockets. If the rows went first, and who removes died then,
sockets would be left open that nobody finds any more.
"""

from __future__ import annotations

from domain.errors import ConnectionGone, PostError, Unavailable
from domain.fanout import YOUNG_MS
from domain.ports import Connections, Ports
from domain.rooms import Connection, ShardKey, inbox_of

__all__ = ["connections_of", "evict"]

CLOSE_AGAIN = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds before each further try to close a socket whose handshake may not be over."""


async def evict(ports: Ports, connections: Connections, user: str, room: str | None = None) -> int:
    """End the connections of a user that are in a room, or all of them; how many they were.

    What keeps the user from coming back is recorded before: whoever joined earlier is found here. A connection ends in
    all its rooms, since only its socket can be closed. `Unavailable` where a handshake is still under way: the socket
    that it opens would not be closed. Call again then.
    """
    ended = 0
    for name in await connections_of(ports, user):
        session = await ports.store.session(name)
        if room is not None and session.membership(room) is None:
            continue
        await _close(ports, connections, name, session.connection)
        await ports.roster.end(name)
        ended += 1
    return ended


async def connections_of(ports: Ports, user: str) -> list[str]:
    """The user's connections: the members of the user's inbox."""
    inbox = await ports.store.room(inbox_of(user))
    if inbox is None:
        return []
    keys = [ShardKey(inbox.room, inbox.epoch, it) for it in range(inbox.shards)]
    return [member.connection for key in keys for member in await ports.store.members(key)]


async def _close(ports: Ports, connections: Connections, name: str, row: Connection | None) -> None:
    for pause in (*CLOSE_AGAIN, None):
        # The age before the call: a connection that was young then may not have existed yet.
        young = row is not None and ports.clock.now() - row.connected_at < YOUNG_MS
        try:
            await connections.close(name)
        except ConnectionGone:
            if not young:
                return
        except PostError as error:
            raise Unavailable("a socket could not be closed") from error
        else:
            return
        if pause is not None:
            await ports.clock.sleep(pause)
    raise Unavailable("a handshake is not over yet")
