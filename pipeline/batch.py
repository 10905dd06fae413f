"""Working a batch of a lane's messages: groups side by side, and exactly what failed comes again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from domain.errors import Unavailable, UnreadableJob
from domain.fanout import Arrived, Doorbell, Job, Remainder, parse_job
from domain.lanes import Lane
from domain.ports import BroadcastQueue
from domain.rooms import ShardKey
from pipeline.broadcast import Broadcast, TimeLeft

__all__ = ["Record", "Worked", "work"]


@dataclass(frozen=True, slots=True)
class Record:
    """One message of a batch."""

    id: str
    receipt: str
    body: str
    group: str | None
    receives: int


@dataclass(frozen=True, slots=True)
class Worked:
    """What became of a batch."""

    failed: list[Record] = field(default_factory=list)
    """These must come again."""
    buried: list[tuple[Record, UnreadableJob]] = field(default_factory=list)
    """These lie in the dead-letter queue now."""
    causes: list[Exception] = field(default_factory=list)
    """Why groups failed."""


async def work(
    broadcast: Broadcast, queue: BroadcastQueue, lane: Lane, records: Sequence[Record], time_left: TimeLeft
) -> Worked:
    """Work a batch: its groups side by side, the jobs of a group together.

    On a standard queue the group names a tenant, not an order, and every message is a group of its own.
    """
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.group if lane.fifo and record.group else record.id, []).append(record)
    worked = Worked()
    await asyncio.gather(*(_work_group(broadcast, queue, lane, it, time_left, worked) for it in groups.values()))
    return worked


async def _work_group(
    broadcast: Broadcast,
    queue: BroadcastQueue,
    lane: Lane,
    records: Sequence[Record],
    time_left: TimeLeft,
    worked: Worked,
) -> None:
    unserved = {it.id: it for it in records}
    try:
        doorbells: list[tuple[Record, Doorbell]] = []
        for record in records:
            job = await _read(queue, lane, record, worked)
            match job:
                case None:
                    del unserved[record.id]
                case Doorbell():
                    doorbells.append((record, job))
                case Remainder():
                    await broadcast.settle(job, time_left)
                    del unserved[record.id]
                case Arrived():
                    await broadcast.welcome(job, time_left)
                    del unserved[record.id]
        shards: dict[ShardKey, list[tuple[Record, Doorbell]]] = {}
        for record, job in doorbells:
            shards.setdefault(job.key, []).append((record, job))
        for key, rung in shards.items():
            reached = await broadcast.serve(key, [job.seq for _, job in rung], time_left)
            for record, job in rung:
                if job.seq <= reached:
                    del unserved[record.id]
    except Exception as error:  # whatever it was: these jobs are not done, and the other groups go on
        worked.causes.append(error)
    for record in unserved.values():
        worked.failed.append(record)
        # Else the shard would stand still for the whole visibility time.
        with contextlib.suppress(Unavailable):
            await queue.hide(lane.name, record.receipt, min(2 ** (record.receives - 1), round(lane.visibility)))


async def _read(queue: BroadcastQueue, lane: Lane, record: Record, worked: Worked) -> Job | None:
    """The record's job; None once an unreadable one is out of its group's way."""
    try:
        return parse_job(record.body)
    except UnreadableJob as error:
        await queue.bury(lane.name, record.body, record.group)
        worked.buried.append((record, error))
        return None
