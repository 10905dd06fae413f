"""Serving a shard: entries, members, frames, posts, remainder, purge, advance. In this order, which is the point.

A worker may die between any two lines. What keeps that harmless: jobs are references, so that a successor starts at
the shard's `sent`; `sent` rises only after every member has its frames or a remainder; a remainder is enqueued before
the jobs are deleted. So a death repeats frames, and never skips one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from domain.errors import PostError
from domain.events import Head, encode_event
from domain.fanout import (
    NOT_AFTER_MS,
    ROUND_BYTES,
    ROUND_ENTRIES,
    Frame,
    Outcome,
    Remainder,
    encode_entry,
    group_by_first,
    pack,
)
from domain.ports import Ports
from domain.protocol import FRAME_LIMIT
from domain.rooms import Dialect, Entry, Member, Shard, ShardKey
from pipeline.known import KnownMembers, KnownShard
from pipeline.posting import RESERVE, Poster, TimeLeft

__all__ = ["Broadcast"]

REMAINDER_CONNECTIONS = 1_000
"""Connections in one remainder: far below what a queue message holds, and a piece of work that ends in time."""
SLOW_ATTEMPTS = 5
"""Tries of a remainder, some eight seconds, after which the socket of a client that does not read is closed."""
_NO_RINGS: Mapping[int, Mapping[str, int]] = {}


@dataclass(frozen=True, slots=True)
class _Owed:
    """A member that was not posted everything: the first seq it is owed, and whether its client is why."""

    member: Member
    first: int
    slow: bool


class Broadcast:
    """Posts what is in the rooms' logs to their members. One for each worker environment; shards side by side."""

    def __init__(self, ports: Ports, poster: Poster, known: KnownMembers) -> None:
        """`known`: the environment's. Counts EntriesServed, Deliveries, Frames and Remainders beside what the poster
        counts."""
        self.lags: list[int] = []
        """For each round: milliseconds from the store of its oldest entry to its last delivery."""
        self._ports = ports
        self._poster = poster
        self._known = known

    async def serve(
        self,
        key: ShardKey,
        seqs: Sequence[int],
        time_left: TimeLeft,
        rings: Mapping[int, Mapping[str, int]] = _NO_RINGS,
    ) -> int:
        """Bring every member of the shard to the log's end. Jobs up to the seq that is returned are done.

        `rings`: of the traced among them, seq → what their doorbells know of the way up to here.

        Raises `Unavailable` when the store or the queue fails: the jobs must come again.
        """
        store, clock = self._ports.store, self._ports.clock
        last = max(seqs)
        while True:
            known = self._known.recall(key, clock.now())
            if known is not None and known.sent >= last:
                return last
            sent, shard, entries = await self._unsent(key, known, min(seqs) - 1, last)
            if sent >= last:
                return last
            if not entries:
                if known is None:
                    return last  # past the log's retention: there is nothing left to send
                self._known.forget(key)  # others have served more than one read of the log holds
                continue
            now = clock.now()
            entries = [_stamped(it, **rings.get(it.seq, {}), servedAt=now) for it in entries]
            version = shard.version if shard is not None else 0
            counted: int | None = None
            if known is None or known.version != version:
                # Entries, then members: whoever joined before an entry was stored is seen.
                known = KnownShard(sent, version, await store.members(key), now)
                counted = len(known.members)
            reached = entries[-1].seq
            failed = await self._deliver(key, entries, known.members, time_left)
            await self._defer(key, failed, reached, attempt=1, not_after=clock.now() + NOT_AFTER_MS)
            await store.advance(key, reached, counted, shard)
            self._known.remember(key, replace(known, sent=reached))
            if reached >= last or time_left() < RESERVE:
                return reached

    async def _unsent(
        self, key: ShardKey, known: KnownShard | None, before: int, last: int
    ) -> tuple[int, Shard | None, list[Entry]]:
        """How far the shard is served (or `before`), its row, and what follows, unless it is served to `last`."""
        store = self._ports.store
        if known is None:
            # The shard row before the members: the census may not be older than its version.
            shard = await store.shard(key)
            sent = shard.sent if shard is not None and shard.sent is not None else before
            entries = [] if sent >= last else await self._entries(key, sent)
            return sent, shard, entries
        # The shard row after the entries: whoever joined before one was stored has raised the version by then, or
        # begins at a head that holds it.
        entries = await self._entries(key, known.sent)
        shard = await store.shard(key)
        sent = shard.sent if shard is not None and shard.sent is not None else known.sent
        return sent, shard, [it for it in entries if it.seq > sent]

    async def _entries(self, key: ShardKey, after: int) -> list[Entry]:
        return await self._ports.store.entries(key.room, key.epoch, after, limit=ROUND_ENTRIES, max_bytes=ROUND_BYTES)

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
        now = self._ports.clock.now()
        entries = [_stamped(it, servedAt=now) for it in entries]
        members = await store.members_among(key, remainder.connections)
        failed = await self._deliver(key, entries, members, time_left)
        if remainder.attempt >= SLOW_ATTEMPTS:
            failed = [it for it in failed if not (it.slow and await self._closed(it.member))]
        await self._defer(key, failed, remainder.last, attempt=remainder.attempt + 1, not_after=remainder.not_after)

    async def _deliver(
        self, key: ShardKey, entries: Sequence[Entry], members: Sequence[Member], time_left: TimeLeft
    ) -> list[_Owed]:
        """Post `entries` to `members`, side by side; what those are still owed whose posts failed."""
        if not entries:  # a remainder's, that are there no longer
            return []
        now = self._ports.clock.now()
        frames_for = _packer(key, [_stamped(it, packedAt=now) for it in entries])
        failed: list[_Owed] = []
        counts = self._poster.counts
        last_post = 0

        async def deliver(member: Member) -> None:
            nonlocal last_post
            for frame in frames_for(member):  # strictly one after the other: the order of the log
                outcome = await self._poster.post(member, frame.body, time_left)
                if outcome is Outcome.GONE:
                    await self._poster.purge(key, member)
                    return
                if outcome is Outcome.OVER:
                    return
                if outcome is not Outcome.DELIVERED:
                    failed.append(_Owed(member, frame.first, slow=outcome is Outcome.SLOW))
                    return
                counts["Frames"] += 1
                counts["Deliveries"] += frame.events
                last_post = self._ports.clock.now()

        await self._poster.to_each(members, deliver)
        counts["EntriesServed"] += len(entries)
        if last_post:
            # Two machines' clocks differ, and one negative value costs CloudWatch the percentiles.
            self.lags.append(max(0, last_post - entries[0].at))
        return failed

    async def _defer(self, key: ShardKey, failed: Iterable[_Owed], last: int, *, attempt: int, not_after: int) -> None:
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
            for first, connections in sorted(group_by_first((it.member.connection, it.first) for it in failed).items())
            for start in range(0, len(connections), REMAINDER_CONNECTIONS)
        ]
        if remainders:
            await self._ports.queue.defer(remainders)
            self._poster.counts["Remainders"] += len(remainders)

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
                outcome = await self._poster.post(member, encode_event(beacon), time_left)
            if outcome is Outcome.GONE:
                await self._poster.purge(remainder.key, member)
            elif outcome is not Outcome.DELIVERED:
                await self._poster.close(member)

    async def _closed(self, member: Member) -> bool:
        """Close the socket of a client that does not read: it comes back, and finds in `history` what it missed."""
        try:
            await self._poster.close(member)
        except PostError:
            return False
        return True


def _stamped(entry: Entry, **moments: int) -> Entry:
    """The entry with more in its trace, if it has one."""
    if "trace" not in entry.body:
        return entry
    return replace(entry, body={**entry.body, "trace": entry.body["trace"] | moments})


def _packer(key: ShardKey, entries: Sequence[Entry]) -> Callable[[Member], list[Frame]]:
    """Member → its frames. Bytes are made once for all members of a dialect, save for those that are not owed all of
    it: they came in between, or sent an entry which is not posted back to them."""
    events = [(it.seq, encode_entry(key.room, key.epoch, it)) for it in entries]
    origins = {it.origin for it in entries if it.origin is not None}
    shared: dict[Dialect, list[Frame]] = {"v1": pack(events, "v1"), "recipe": pack(events, "recipe")}

    def frames_for(member: Member) -> list[Frame]:
        if member.since < entries[0].seq and member.connection not in origins:
            return shared[member.dialect]
        owed = [
            event
            for entry, event in zip(entries, events, strict=True)
            if entry.seq > member.since and entry.origin != member.connection
        ]
        return pack(owed, member.dialect)

    return frames_for
