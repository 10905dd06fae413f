"""Time-driven ends: connections that were not heard of until their lease ended, found minute by minute.

A lease's due row stands in the minute in which it ends. The tick takes the rows of each minute that has passed: a
lease that was renewed meanwhile moves on to its new minute, so that a ping costs no second row; any other ends its
connection.
"""

from __future__ import annotations

from domain.errors import ConnectionGone, PostError, Unavailable
from domain.ports import Connections, Ports
from domain.rooms import DUE_BUCKETS, due_minute

__all__ = ["sweep"]

FIRST_MINUTES = 5
"""Minutes that the first sweep takes, its own among them: those of the others may have had sweeps that died before they
wrote down where they begin."""
PAGE = 100
"""Due rows in one read."""


async def sweep(ports: Ports, connections: Connections) -> int:
    """Do all minutes that have passed since the last sweep; returns how many connections were ended.

    A sweep that dies is done again by the next: a minute counts as done only when all its rows are.
    """
    ended = 0
    current = ports.clock.now() // 60_000
    # All before the first is swept: a sweep that dies in one bucket must not move where the others begin.
    done = [await _begun(ports, bucket, current) for bucket in range(DUE_BUCKETS)]
    for bucket, last in enumerate(done):
        for minute in range(last + 1, current + 1):
            ended += await _sweep_minute(ports, connections, minute, bucket)
            await ports.store.set_ticked(bucket, minute)
    return ended


async def _begun(ports: Ports, bucket: int, current: int) -> int:
    """The last minute of a bucket that is done; the first sweep of all decides where it begins."""
    last = await ports.store.ticked(bucket)
    if last is None:
        last = current - FIRST_MINUTES
        await ports.store.set_ticked(bucket, last)
    return last


async def _sweep_minute(ports: Ports, connections: Connections, minute: int, bucket: int) -> int:
    ended = 0
    while found := await ports.store.due(minute, bucket, PAGE):
        for connection in found:
            row = (await ports.store.session(connection)).connection
            if row is not None and row.lease_until > ports.clock.now():
                await ports.store.move_due(connection, minute, due_minute(row.lease_until))
                continue
            if row is not None:
                await _close(connections, connection)
                ended += 1
            await ports.roster.end(connection)
            await ports.store.move_due(connection, minute, None)
    return ended


async def _close(connections: Connections, connection: str) -> None:
    """Close a socket that may still be open, so that its client notices and comes back."""
    try:
        await connections.close(connection)
    except ConnectionGone:
        return
    except PostError as error:
        raise Unavailable("a socket could not be closed") from error
