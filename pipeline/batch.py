"""Working a batch of a lane's messages: groups side by side, and exactly what failed comes again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec import UNSET

from domain.errors import NewerVersion, Unavailable, UnreadableJob
from domain.fanout import (
    HOOKS_LANE,
    Absent,
    Arrived,
    Doorbell,
    HookBell,
    Job,
    Notice,
    Plan,
    Presences,
    Remainder,
    Stats,
    parse_job,
    planned,
)
from domain.lanes import Lane
from domain.ports import BroadcastQueue, Connections, Ports
from domain.rooms import ShardKey
from pipeline.absent import Notifier
from pipeline.broadcast import Broadcast
from pipeline.ephemeral import Announcer
from pipeline.hooks import Teller
from pipeline.known import KnownMembers
from pipeline.pacing import Pace
from pipeline.posting import Poster, TimeLeft

__all__ = ["Record", "Worked", "Worker"]


@dataclass(frozen=True, slots=True)
class Record:
    """One message of a batch."""

    id: str
    receipt: str
    body: str
    group: str | None
    receives: int
    sent_at: int = 0
    """When the queue got it."""


@dataclass(frozen=True, slots=True)
class Worked:
    """What became of a batch."""

    failed: list[Record] = field(default_factory=list)
    """These must come again."""
    buried: list[tuple[Record, UnreadableJob]] = field(default_factory=list)
    """These lie in the dead-letter queue now."""
    causes: list[Exception] = field(default_factory=list)
    """Why groups, or jobs of a newer version, failed."""


class Worker:
    """What works one batch of a lane."""

    def __init__(
        self,
        ports: Ports,
        connections: Connections,
        lane: Lane,
        pace: Pace | None = None,
        known: KnownMembers | None = None,
    ) -> None:
        """`pace` and `known`: the environment's, which remembers from batch to batch what the account grants and who is
        where; else new ones."""
        poster = Poster(ports, connections, lane, pace or Pace(lane.post_rate))
        self.counts = poster.counts
        """What was done, by metric: see `Poster` and `Broadcast`."""
        self._lane = lane
        self._queue: BroadcastQueue = ports.queue
        self._broadcast = Broadcast(ports, poster, known or KnownMembers())
        self.lags = self._broadcast.lags
        self._announcer = Announcer(ports, poster)
        self._notifier = Notifier(ports, self.counts)
        self._teller = Teller(ports, lane, self.counts)
        self.disabled = self._teller.disabled
        """Hooks that were disabled, by key, and why."""

    async def work(self, records: Sequence[Record], time_left: TimeLeft) -> Worked:
        """Work a batch: its groups side by side, the jobs of a group together.

        On a standard queue the group names a tenant, not an order, and every message is a group of its own.

        A job of a newer version fails and comes again, for a worker that reads it; after the lane's number of receives
        SQS moves it to the dead-letter queue, from where it can be redriven. The doorbells around it are served all the
        same: the order is the log's, and they need nothing of it.
        """
        groups: dict[str, list[Record]] = {}
        for record in records:
            groups.setdefault(record.group if self._lane.fifo and record.group else record.id, []).append(record)
        worked = Worked()
        await asyncio.gather(*(self._work_group(it, time_left, worked) for it in groups.values()))
        return worked

    async def _work_group(self, records: Sequence[Record], time_left: TimeLeft, worked: Worked) -> None:
        unserved = {it.id: it for it in records}
        try:
            shards: dict[ShardKey, list[tuple[Record, Doorbell]]] = {}
            plans: dict[str, Plan] = {}
            bells: dict[str, HookBell] = {}
            for record in records:
                try:
                    job = await self._read(record, worked)
                except NewerVersion as error:
                    worked.causes.append(error)
                    continue
                if isinstance(job, Doorbell):
                    shards.setdefault(job.key, []).append((record, job))
                    continue
                if isinstance(job, Plan):
                    plans[record.id] = job
                    continue
                if isinstance(job, HookBell) and self._lane.name == HOOKS_LANE:
                    bells[record.id] = job
                    continue
                if job is not None:
                    await self._do(job, time_left)
                del unserved[record.id]
            if plans:
                # A doorbell is for all that came before it, too, and the shards of a room only grow in number.
                await self._queue.ring(self._lane.name, planned(max(plans.values(), key=lambda it: it.seq)))
                unserved = {it: record for it, record in unserved.items() if it not in plans}
            if bells:
                await self._teller.tell(list(bells.values()), time_left)
                unserved = {it: record for it, record in unserved.items() if it not in bells}
            for key, rung in shards.items():
                await self._serve(key, rung, unserved, time_left)
        except Exception as error:  # whatever it was: these jobs are not done, and the other groups go on
            worked.causes.append(error)
        for record in unserved.values():
            worked.failed.append(record)
            # Else the shard would stand still for the whole visibility time.
            pause = min(2 ** (record.receives - 1), round(self._lane.visibility))
            with contextlib.suppress(Unavailable):
                await self._queue.hide(self._lane.name, record.receipt, pause)

    async def _serve(
        self, key: ShardKey, rung: Sequence[tuple[Record, Doorbell]], unserved: dict[str, Record], time_left: TimeLeft
    ) -> None:
        """Serve a shard, and take from `unserved` whose doorbells are answered by that."""
        rings = {
            job.seq: {"storedAt": job.stored_at, "rungAt": record.sent_at}
            for record, job in rung
            if job.stored_at is not UNSET
        }
        reached = await self._broadcast.serve(key, [job.seq for _, job in rung], time_left, rings)
        for record, job in rung:
            if job.seq <= reached:
                del unserved[record.id]

    async def _do(self, job: Job, time_left: TimeLeft) -> None:
        match job:
            case Remainder():
                await self._broadcast.settle(job, time_left)
            case Arrived():
                await self._announcer.greet(job, time_left)
            case Notice():
                await self._announcer.notify(job, time_left)
            case Stats():
                await self._announcer.count(job, time_left)
            case Absent():
                await self._notifier.tell(job)
            case HookBell():
                await self._queue.ring(HOOKS_LANE, [job])
            case Presences():
                await self._announcer.tell_presence(job, time_left)

    async def _read(self, record: Record, worked: Worked) -> Job | None:
        """The record's job; None once an unreadable one is out of its group's way. Raises `NewerVersion`."""
        try:
            return parse_job(record.body)
        except UnreadableJob as error:
            await self._queue.bury(self._lane.name, record.body, record.group)
            worked.buried.append((record, error))
            return None
