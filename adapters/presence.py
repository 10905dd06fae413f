"""Working out how users are, and whom that is told: for whoever begins, ends or changes a connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from domain.errors import Conflict, Unavailable
from domain.fanout import PRESENCE_MS, Presences
from domain.ports import BroadcastQueue, Clock, RoomStore, Statuses
from domain.presence import PRESENCE_EVERY, Presence, shown, worked_out
from domain.rooms import Count, Member, Membership, Rules, ShardKey, inbox_of, is_inbox, is_small

__all__ = ["WorkOut"]

TRIES = 10
"""Of one work-out. The second one that writes in vain finds that another has seen what it saw."""


class WorkOut:
    """How a user is, of all their connections."""

    def __init__(self, store: RoomStore, statuses: Statuses, queue: BroadcastQueue, clock: Clock, rules: Rules) -> None:
        self._store = store
        self._statuses = statuses
        self._queue = queue
        self._clock = clock
        self._rules = rules

    async def work_out(self, user: str, ended: Sequence[Membership] = ()) -> Presence:
        """`ended`: where a connection was that has just ended; those rooms are told as well.

        The row before the connections, and a write on condition that the row is as read: whoever has changed something
        since has read it before and is in what this reads, or reads it later and writes last. A row that has moved
        twice is the work of one who began after this did, and has seen all that this saw.
        """
        first = read = await self._read(user)
        for _ in range(TRIES):
            members = await self._connections(user)
            now = self._clock.now()
            presence = worked_out(read, members, now)
            try:
                await self._statuses.record(presence)
            except Conflict:
                read = await self._read(user)
                if read.version < first.version + 2:
                    continue
                presence = read
            if shown(presence, now) != shown(first, now):
                await self._tell(user, members, ended, now)
            return presence
        raise Unavailable("a user's status met conflicts for too long")

    async def _read(self, user: str) -> Presence:
        return (await self._statuses.presences([user]))[user]

    async def _connections(self, user: str) -> list[Member]:
        inbox = await self._store.room(inbox_of(user))
        if inbox is None:
            return []
        keys = [ShardKey(inbox.room, inbox.epoch, it) for it in range(inbox.shards)]
        return [it for key in keys for it in await self._store.members(key)]

    async def _tell(self, user: str, members: Sequence[Member], ended: Sequence[Membership], now: int) -> None:
        """Note the change in the small rooms that the user is in, and in the inbox where another device has it from
        nobody else. Best effort: what has changed has changed, and `members` says it."""
        with contextlib.suppress(Unavailable):
            sessions = await asyncio.gather(*(self._store.session(it.connection) for it in members))
            memberships = {it.room: it for session in sessions for it in session.memberships}
            for it in ended:
                memberships.setdefault(it.room, it)
            told = [it for it in await self._small(memberships) if not is_inbox(it.room)]
            inbox = memberships.get(inbox_of(user))
            if inbox is not None and members and (len(members) > 1 or ended):
                told.append(inbox.key)
            await asyncio.gather(*(self._note(it, user, now) for it in told))

    async def _small(self, memberships: dict[str, Membership]) -> list[ShardKey]:
        keys = [it.key for it in memberships.values() if it.shard == 0 and not is_inbox(it.room)]
        rooms, counts = await asyncio.gather(self._store.rooms([it.room for it in keys]), self._store.shards(keys))
        return [
            it
            for it in keys
            if it in counts
            and it.room in rooms
            and (rooms[it.room].epoch, rooms[it.room].status) == (it.epoch, "open")
            and is_small(Count(counts[it].members, 0, rooms[it.room].shards), self._rules)
        ]

    async def _note(self, key: ShardKey, user: str, now: int) -> None:
        if await self._statuses.note(key.room, key.epoch, user, now):
            job = Presences(room=key.room, epoch=key.epoch, shard=key.shard, not_after=now + PRESENCE_MS)
            await self._queue.announce(job, delay=PRESENCE_EVERY)
