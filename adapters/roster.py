"""Who comes and goes, over the store and the queue: one place for the API functions, the broadcast, and the tick."""

from __future__ import annotations

import contextlib

from msgspec import Raw

from adapters.presence import WorkOut
from domain.errors import Unavailable
from domain.events import UserJoined, UserLeft, encode_event
from domain.fanout import NOTICE_MS, STATS_DELAY_MS, STATS_EVERY_MS, Notice, Stats
from domain.ports import BroadcastQueue, Clock, RoomStore, Roster, Statuses
from domain.presence import Presence
from domain.rooms import Count, Member, Membership, Rules, ShardKey, is_inbox, is_small

__all__ = ["AnnouncingRoster"]


class AnnouncingRoster(Roster):
    """The roster of a deployment."""

    def __init__(self, store: RoomStore, statuses: Statuses, queue: BroadcastQueue, clock: Clock, rules: Rules) -> None:
        self._store = store
        self._presence = WorkOut(store, statuses, queue, clock, rules)
        self._queue = queue
        self._clock = clock
        self._rules = rules

    async def joined(self, member: Member, key: ShardKey, count: Count) -> None:
        now = self._clock.now()
        event = UserJoined(
            room_id=key.room, user_id=member.user, username=member.name, timestamp=now // 1000, sent_at=now
        )
        await self._tell(key, count, event, now, member.connection)

    async def leave(self, connection: str, membership: Membership) -> bool:
        count = await self._store.leave(connection, membership)
        if count is None:
            return False
        await self._left(membership.key, count, connection, membership)
        return True

    async def end(self, connection: str) -> None:
        await self._store.end_connection(connection)
        memberships = (await self._store.session(connection)).memberships
        for membership in memberships:
            if is_inbox(membership.room):
                await self.leave(connection, membership)
        if memberships:
            # After the inbox, of whose rows it is worked out, and before the rooms: who dies here leaves them to the
            # next try, which finds by them whose connection it was.
            await self._presence.work_out(memberships[0].user, memberships)
        for membership in memberships:
            if not is_inbox(membership.room):
                await self.leave(connection, membership)

    async def drop(self, member: Member, key: ShardKey) -> None:
        await self.end(member.connection)
        count = await self._store.drop_member(key, member)
        if count is not None:
            await self._left(key, count, member.connection, member)
            if is_inbox(key.room):
                await self.work_out(member.user)

    async def work_out(self, user: str) -> Presence:
        return await self._presence.work_out(user)

    async def _left(self, key: ShardKey, count: Count, connection: str, who: Member | Membership) -> None:
        now = self._clock.now()
        event = UserLeft(room_id=key.room, user_id=who.user, username=who.name, timestamp=now // 1000, sent_at=now)
        await self._tell(key, count, event, now, connection)

    async def _tell(self, key: ShardKey, count: Count, event: UserJoined | UserLeft, now: int, connection: str) -> None:
        if is_inbox(key.room):
            return
        # A shard of many is told as much more rarely, so that a room costs no more posts a second than one shard.
        every = min(STATS_EVERY_MS * count.shards, STATS_DELAY_MS)
        # Best effort: a membership that has changed has changed, whether anybody hears of it or not.
        with contextlib.suppress(Unavailable):
            if is_small(count, self._rules):
                notice = Notice(
                    room=key.room,
                    epoch=key.epoch,
                    shard=key.shard,
                    event=Raw(encode_event(event)),
                    user=event.user_id,
                    connection=connection,
                    not_after=now + NOTICE_MS,
                )
                await self._queue.announce(notice)
            elif now - count.stats_at >= every and await self._store.claim_stats(key, count.stats_at, now):
                # At the end of that time, so that its count takes in all who were too early to ask for the next.
                stats = Stats(room=key.room, epoch=key.epoch, shard=key.shard, not_after=now + every + NOTICE_MS)
                await self._queue.announce(stats, delay=every // 1000)
