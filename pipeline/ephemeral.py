"""Events that are worth nothing when old: sent once, never stored, dropped when late."""

from __future__ import annotations

from collections.abc import Sequence

from domain.errors import PostFailed
from domain.events import InboxHead, PresenceChanged, RoomStats, UserJoined, UserStatus, Welcome, encode_event
from domain.fanout import NOTICE_MS, WELCOME_MS, Arrived, Notice, Outcome, Presences, Stats, pack
from domain.marks import unread
from domain.ports import Ports
from domain.presence import Presence, shown
from domain.rooms import Member, ShardKey, inbox_of, is_inbox
from pipeline.posting import Poster, TimeLeft

__all__ = ["Announcer"]

STATUSES = 100
"""Users in one event, which is far below a frame then, whatever their ids are."""


class Announcer:
    """Works the ephemeral lane."""

    def __init__(self, ports: Ports, poster: Poster) -> None:
        self._ports = ports
        self._poster = poster

    async def greet(self, arrived: Arrived, time_left: TimeLeft) -> None:
        """Welcome a connection, and tell it that it has joined, if it is still a member; then a small room, unless that
        is no news any more; then work out how its user is, and tell it where that is not as it expects.

        Raises `PostFailed` while the connection may yet be reached: the job must come again.
        """
        if self._ports.clock.now() <= arrived.not_after:
            await self._welcome(arrived, time_left)
        presence = await self._ports.roster.work_out(arrived.user)
        if presence.status not in {"online", "offline"}:
            key = ShardKey(inbox_of(arrived.user), arrived.inbox_epoch, 0)
            for member in await self._ports.store.members_among(key, [arrived.connection]):
                for event in self._presence_events(key.room, [presence]):
                    await self._poster.post(member, event, time_left, patient=False)

    async def _welcome(self, arrived: Arrived, time_left: TimeLeft) -> None:
        now = self._ports.clock.now()
        welcome = Welcome(
            connection_id=arrived.connection,
            user_id=arrived.user,
            room_id=arrived.room,
            message=f"Welcome to room {arrived.room}!",
            protocol=1,
            epoch=arrived.epoch,
            head=arrived.head,
            inbox=await self._inbox(arrived),
            reconnect_at=arrived.reconnect_at,
            timestamp=now // 1000,
            sent_at=now,
        )
        joined = encode_event(
            UserJoined(
                room_id=arrived.room, user_id=arrived.user, username=arrived.name, timestamp=now // 1000, sent_at=now
            )
        )
        members = await self._ports.store.members_among(arrived.key, [arrived.connection])
        greeting = [(0, encode_event(welcome)), *((0, joined) for _ in members)]
        for member in members or await self._without_room(arrived.connection):
            for frame in pack(greeting, member.dialect):
                if await self._poster.post(member, frame.body, time_left) in {Outcome.RETRY, Outcome.SLOW}:
                    raise PostFailed("the welcome was not delivered")
        # When thousands come at once, their welcomes would wait until each of them has been told of in its room.
        if members and arrived.tell_others and now <= arrived.not_after - WELCOME_MS + NOTICE_MS:
            others = await self._ports.store.members(arrived.key)
            if not _also_there(others, arrived.user, arrived.connection):
                await self._tell(arrived.key, joined, others, time_left, skip=arrived.connection)

    async def _inbox(self, arrived: Arrived) -> InboxHead:
        """Where the inbox was when the connection came, and what of that is unread by now."""
        inbox = inbox_of(arrived.user)
        mark = (await self._ports.marks.marks([inbox], arrived.user)).get(inbox)
        return InboxHead(
            epoch=arrived.inbox_epoch,
            seq=arrived.inbox_head,
            read=0 if mark is None else mark.seq,
            unread=unread(arrived.inbox_messages, mark),
        )

    async def notify(self, notice: Notice, time_left: TimeLeft) -> None:
        """Post the notice's event to the shard, if it is not too late."""
        if self._ports.clock.now() > notice.not_after:
            return
        members = await self._ports.store.members(notice.key)
        if notice.user is not None and _also_there(members, notice.user, notice.connection):
            members = [it for it in members if it.connection == notice.connection]
        await self._tell(notice.key, bytes(notice.event), members, time_left, skip=notice.skip)

    async def count(self, stats: Stats, time_left: TimeLeft) -> None:
        """Tell the shard how many are in its room now."""
        now = self._ports.clock.now()
        room = await self._ports.store.room(stats.room)
        if now > stats.not_after or room is None or room.epoch != stats.epoch:
            return
        keys = [ShardKey(stats.room, stats.epoch, it) for it in range(room.shards)]
        counted = await self._ports.store.shards(keys)
        event = RoomStats(
            room_id=stats.room,
            active_users=max(0, sum(it.members for it in counted.values())),
            timestamp=now // 1000,
            sent_at=now,
        )
        await self._tell(stats.key, encode_event(event), await self._ports.store.members(stats.key), time_left)

    async def _without_room(self, connection: str) -> list[Member]:
        """A connection that is in its first room no more: it has left, or the room has ended. It is to be welcomed all
        the same, since it knows who it is by that alone; none if it has ended."""
        row = (await self._ports.store.session(connection)).connection
        if row is None:
            return []
        return [Member(connection, row.user, row.name, row.dialect, row.connected_at, row.expires_at, join_id="")]

    async def tell_presence(self, job: Presences, time_left: TimeLeft) -> None:
        """Tell the room how those are whose status has changed, unless it has grown too large for that.

        They are taken before their rows are read: who changes in between is noted anew, for the next job.
        """
        if self._ports.clock.now() > job.not_after:
            return
        statuses = self._ports.statuses
        users = await statuses.take(job.room, job.epoch)
        if not users:
            return
        presences = await statuses.presences(users)
        members = await self._ports.store.members(job.key)
        if len(members) > self._ports.rules.roster_limit and not is_inbox(job.room):
            return
        events = [(0, it) for it in self._presence_events(job.room, [presences[it] for it in users])]

        async def deliver(member: Member) -> None:
            for frame in pack(events, member.dialect):
                if await self._poster.post(member, frame.body, time_left, patient=False) is Outcome.GONE:
                    await self._poster.purge(job.key, member)
                    return

        await self._poster.to_each(members, deliver)

    def _presence_events(self, room: str, presences: Sequence[Presence]) -> list[bytes]:
        now = self._ports.clock.now()
        statuses = [UserStatus(user_id=it.user, status=shown(it, now), since=it.since) for it in presences]
        return [
            encode_event(
                PresenceChanged(
                    room_id=room, members=statuses[start : start + STATUSES], timestamp=now // 1000, sent_at=now
                )
            )
            for start in range(0, len(statuses), STATUSES)
        ]

    async def _tell(
        self, key: ShardKey, event: bytes, members: Sequence[Member], time_left: TimeLeft, *, skip: str | None = None
    ) -> None:
        async def deliver(member: Member) -> None:
            if member.connection == skip:
                return
            if await self._poster.post(member, event, time_left, patient=False) is Outcome.GONE:
                await self._poster.purge(key, member)

        await self._poster.to_each(members, deliver)


def _also_there(members: Sequence[Member], user: str, connection: str | None) -> bool:
    """Whether the user is a member by another connection, too."""
    return any(it.user == user and it.connection != connection for it in members)
