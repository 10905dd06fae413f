"""Notices to who is away of what was said to them: who is owed one is decided here, long after the message's ack."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress

from domain.errors import Unavailable
from domain.fanout import Absent
from domain.notices import OfflineNotice
from domain.ports import Ports, Publisher
from domain.rooms import Room, ShardKey, inbox_of, is_inbox, is_stranger

__all__ = ["PUBLISH_DEADLINE", "Notifier"]

PUBLISH_DEADLINE = 1.0
"""Seconds, at most, that a publish may take: the batch's other jobs wait for it to end."""


class Notifier:
    """Works the jobs of the ephemeral lane that tell who is away."""

    def __init__(self, ports: Ports, counts: Counter[str]) -> None:
        """`counts` gets NoticesPublished, and NoticesHeldBack: one about that sender was sent within the minute."""
        self._ports = ports
        self._counts = counts

    async def tell(self, job: Absent) -> None:
        """Publish a notice for each of the job's users who is owed one, side by side.

        Raises what one of them failed with: the job must come again, and finds the others told.
        """
        ports, now = self._ports, self._ports.clock.now()
        if ports.publisher is None or now > job.not_after:
            return
        rooms = await ports.store.rooms(list(dict.fromkeys([job.room, *map(inbox_of, job.users)])))
        room = rooms.get(job.room)
        if room is None or room.epoch != job.epoch or room.status != "open":
            return
        standing = await ports.store.standing(job.room, job.sender)
        if standing.banned_until > now or standing.muted_until > now:
            return
        silent = await ports.notices.silent(job.users)
        known = {it: rooms[inbox_of(it)] for it in job.users if it not in silent and inbox_of(it) in rooms}
        outcomes = await asyncio.gather(
            *(self._tell(ports.publisher, job, room, user, inbox) for user, inbox in known.items()),
            return_exceptions=True,
        )
        for it in outcomes:
            if it is not None:
                raise it

    async def _tell(self, publisher: Publisher, job: Absent, room: Room, user: str, inbox: Room) -> None:
        notice = OfflineNotice(
            kind=job.about,
            user_id=user,
            room_id=job.room,
            epoch=job.epoch,
            seq=job.seq,
            sender_id=job.sender,
            sender_name=job.name,
            at=job.at,
        )
        if await self._is_here(inbox):
            # An earlier try may have claimed it, and died: who goes again is owed the next.
            await self._ports.notices.release(notice)
            return
        if not await self._may_be_in(room, user):
            return
        if not await self._ports.notices.claim(notice, self._ports.clock.now()):
            self._counts["NoticesHeldBack"] += 1
            return
        await publisher.publish(notice, PUBLISH_DEADLINE)
        self._counts["NoticesPublished"] += 1
        # It went: better that a repeat of the message sends it again than that this job does.
        with suppress(Unavailable):
            await self._ports.notices.settle(notice)

    async def _is_here(self, inbox: Room) -> bool:
        """Whether any connection of the inbox's owner is open, as far as the rows know."""
        now = self._ports.clock.now()
        for shard in range(inbox.shards):
            members = await self._ports.store.members(ShardKey(inbox.room, inbox.epoch, shard))
            if any(it.expires_at > now for it in members):
                return True
        return False

    async def _may_be_in(self, room: Room, user: str) -> bool:
        """Whether the user could see what was said. Of the deployment's groups nothing is known here."""
        if is_inbox(room.room):
            return True
        standing = await self._ports.store.standing(room.room, user)
        return standing.banned_until <= self._ports.clock.now() and not is_stranger(room, standing)
