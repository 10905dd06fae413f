"""Serving a shard: entries, members, frames, posts, remainder, purge, advance. In this order, which is the point.

A worker may die between any two lines. What keeps that harmless: jobs are references, so that a successor starts at
the shard's `sent`; `sent` rises only after every member has its frames or a remainder; a remainder is enqueued before
the jobs are deleted. So a death repeats frames, and never skips one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from domain.errors import ConnectionGone, PostError, PostFailed, Throttled, Unavailable
from domain.fanout import (
    GRACE,
    NOT_AFTER_MS,
    ROUND_BYTES,
    ROUND_ENTRIES,
    Arrived,
    Frame,
    Outcome,
    Remainder,
    encode_entry,
    group_by_first,
    pack,
    read_outcome,
)
from domain.lanes import Lane
from domain.ports import Connections, Ports
from domain.protocol import FRAME_LIMIT, Head, Welcome, encode_event
from domain.rooms import Dialect, Entry, Member, ShardKey

__all__ = ["RESERVE", "Broadcast", "TimeLeft"]

RESERVE = 2.0
"""Seconds of an invocation that are kept for remainders and the advance: no post begins within them."""
REMAINDER_CONNECTIONS = 1_000
"""Connections in one remainder: far below what a queue message holds, and a piece of work that ends in time."""
THROTTLED_TRIES = 3
"""Posts to one connection that are answered with 429 before it becomes a remainder."""

TimeLeft = Callable[[], float]
"""Seconds until the function is cut off."""


class Broadcast:
    """Posts what is in the rooms' logs to their members. One for each worker environment; shards side by side."""

    def __init__(self, ports: Ports, connections: Connections, lane: Lane) -> None:
        self._ports = ports
        self._connections = connections
        self._lane = lane
        self._slots = asyncio.Semaphore(lane.post_concurrency)
        self.counts: Counter[str] = Counter()
        """Posts by outcome (`delivered`, `gone`, `throttled`, `post_failed`), and `frames` (of v1), `entries`,
        `remainders`, `purged`, `closed`."""

    async def serve(self, key: ShardKey, seqs: Sequence[int], time_left: TimeLeft) -> int:
        """Bring every member of the shard to the log's end. Jobs up to the seq that is returned are done.

        Raises `Unavailable` when the store or the queue fails: the jobs must come again.
        """
        store = self._ports.store
        last = max(seqs)
        while True:
            # The shard row before the members: the census may not be older than its version.
            shard = await store.shard(key)
            sent = shard.sent if shard is not None and shard.sent is not None else min(seqs) - 1
            if sent >= last:
                return last
            entries = await store.entries(key.room, key.epoch, sent, limit=ROUND_ENTRIES, max_bytes=ROUND_BYTES)
            if not entries:
                return last  # past the log's retention: there is nothing left to send
            # Entries, then members: whoever joined before an entry was stored is seen.
            members = await store.members(key)
            reached = entries[-1].seq
            failed = await self._deliver(key, entries, members, time_left)
            await self._defer(key, failed, reached, attempt=1, not_after=self._ports.clock.now() + NOT_AFTER_MS)
            await store.advance(key, reached, len(members), shard)
            if reached >= last or time_left() < RESERVE:
                return reached

    async def settle(self, remainder: Remainder, time_left: TimeLeft) -> None:
        """Post a remainder to those of its connections that are still members; what fails again is deferred again."""
        key, store = remainder.key, self._ports.store
        if self._ports.clock.now() > remainder.not_after:
            await self._give_up(remainder, time_left)
            return
        entries = await store.entries(
            key.room,
            key.epoch,
            remainder.first - 1,
            upto=remainder.last,
            limit=ROUND_ENTRIES,
            max_bytes=ROUND_ENTRIES * FRAME_LIMIT,
        )
        members = await store.members_among(key, remainder.connections)
        failed = await self._deliver(key, entries, members, time_left)
        await self._defer(key, failed, remainder.last, attempt=remainder.attempt + 1, not_after=remainder.not_after)

    async def welcome(self, arrived: Arrived, time_left: TimeLeft) -> None:
        """Greet a connection that is still a member. Raises `PostFailed` while it may yet be reached."""
        now = self._ports.clock.now()
        if now > arrived.not_after:
            return
        for member in await self._ports.store.members_among(arrived.key, [arrived.connection]):
            greeting = Welcome(
                connection_id=arrived.connection,
                user_id=arrived.user,
                room_id=arrived.room,
                message=f"Welcome to room {arrived.room}!",
                protocol=1,
                epoch=arrived.epoch,
                head=arrived.head,
                timestamp=now // 1000,
                sent_at=now,
            )
            if await self._post(member, encode_event(greeting), time_left) is Outcome.RETRY:
                raise PostFailed("the welcome was not delivered")

    # ------------------------------------------------------------------------------------------ delivery

    async def _deliver(
        self, key: ShardKey, entries: Sequence[Entry], members: Sequence[Member], time_left: TimeLeft
    ) -> list[tuple[str, int]]:
        """Post `entries` to `members`, side by side; (connection, first seq it is still owed) for each that failed."""
        events = [(it.seq, encode_entry(key.room, key.epoch, it)) for it in entries]
        frames: dict[Dialect, list[Frame]] = {"v1": pack(events, "v1"), "recipe": pack(events, "recipe")}
        now = self._ports.clock.now()
        todo = iter([it for it in members if it.expires_at > now])
        failed: list[tuple[str, int]] = []

        async def work_through() -> None:
            for member in todo:
                for frame in frames[member.dialect]:
                    outcome = await self._post(member, frame.body, time_left)
                    if outcome is Outcome.RETRY:
                        failed.append((member.connection, frame.first))
                    elif outcome is Outcome.GONE:
                        await self._purge(key, member)
                    else:
                        continue
                    break  # the frames of one connection go strictly one after the other

        async with asyncio.TaskGroup() as group:
            for _ in range(min(len(members), self._lane.post_concurrency)):
                group.create_task(work_through())
        self.counts["entries"] += len(entries)
        self.counts["frames"] += len(frames["v1"])
        return failed

    async def _post(self, member: Member, body: bytes, time_left: TimeLeft) -> Outcome:
        clock = self._ports.clock
        grace = iter(GRACE)
        throttled = 0
        while True:
            left = time_left() - RESERVE
            if left <= 0:
                return Outcome.RETRY
            # The age before the call: an answer that comes late must not make the connection old.
            age = clock.now() - member.connected_at
            try:
                async with self._slots:
                    await self._connections.post(member.connection, body, min(self._lane.post_deadline, left))
            except PostError as error:
                self.counts[error.code.lower()] += 1
                if read_outcome(error, age) is Outcome.GONE:
                    return Outcome.GONE
                if isinstance(error, ConnectionGone):
                    pause = next(grace, None)
                elif isinstance(error, Throttled):
                    throttled += 1
                    pause = self._ports.draw.uniform(0, 0.1 * throttled) if throttled < THROTTLED_TRIES else None
                else:
                    pause = None
                if pause is None:
                    return Outcome.RETRY
                await clock.sleep(pause)
            else:
                self.counts["delivered"] += 1
                return Outcome.DELIVERED

    async def _purge(self, key: ShardKey, member: Member) -> None:
        """End a connection that is no more, in all its rooms. If it fails, the next broadcast finds it again."""
        store = self._ports.store
        try:
            await store.end_connection(member.connection)
            memberships = (await store.session(member.connection)).memberships
            for membership in memberships:
                await store.leave(member.connection, membership)
            if all(it.join_id != member.join_id for it in memberships):
                await store.drop_member(key, member)
        except Unavailable:
            return
        self.counts["purged"] += 1

    # ------------------------------------------------------------------------------------------ what failed

    async def _defer(
        self, key: ShardKey, failed: Iterable[tuple[str, int]], last: int, *, attempt: int, not_after: int
    ) -> None:
        remainders = [
            Remainder(
                room=key.room,
                epoch=key.epoch,
                shard=key.shard,
                first=first,
                last=last,
                connections=connections[start : start + REMAINDER_CONNECTIONS],
                attempt=attempt,
                not_after=not_after,
            )
            for first, connections in sorted(group_by_first(failed).items())
            for start in range(0, len(connections), REMAINDER_CONNECTIONS)
        ]
        if remainders:
            await self._ports.queue.defer(remainders)
            self.counts["remainders"] += len(remainders)

    async def _give_up(self, remainder: Remainder, time_left: TimeLeft) -> None:
        """Too late for frames: tell who can ask `history` where the room is, and close the others' sockets, so that
        they reconnect and read what they missed."""
        now = self._ports.clock.now()
        beacon = Head(
            room_id=remainder.room, epoch=remainder.epoch, seq=remainder.last, timestamp=now // 1000, sent_at=now
        )
        for member in await self._ports.store.members_among(remainder.key, remainder.connections):
            outcome = Outcome.RETRY
            if member.dialect == "v1":
                outcome = await self._post(member, encode_event(beacon), time_left)
            if outcome is Outcome.GONE:
                await self._purge(remainder.key, member)
            elif outcome is Outcome.RETRY:
                await self._close(member)

    async def _close(self, member: Member) -> None:
        try:
            await self._connections.close(member.connection)
        except ConnectionGone:
            return
        self.counts["closed"] += 1
