"""What a delivery costs as a room grows: the worker's CPU and memory, its requests, and what they would cost on AWS.

The worker, its queues and its tables are real; the room's members are rows, and posts go to a server that answers 200
at once: so many sockets would take more files and more CPU than a machine has for them.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from adapters.dynamodb import rows
from adapters.runtime import SystemClock
from adapters.settings import Settings
from adapters.sqs import SqsQueue
from domain.fanout import jobs_for, lane_of
from domain.lanes import LANES
from domain.rooms import Entry, Ring, Room, Rules
from loadtest.bench.environ import ENVIRON
from loadtest.bench.errors import BenchError
from loadtest.bench.posters import TEXT
from loadtest.bench.seats import put_rows, seat
from loadtest.children import Peer, start
from loadtest.cost import PRICES, WORKER_GB
from loadtest.run import Watch
from local.cloud import REGION, Cloud
from local.event_source import EventSource
from local.functions import Function
from local.twin import WORKER
from local.units import sum_units

__all__ = ["GrowthRow", "Usage", "measure_growth"]

ROOM = "bench"
PREFIX = "bench"
LANE_NAMES = ("interactive", "bulk")
READY_WITHIN = 60.0
SERVED_WITHIN = 120.0
"""Seconds for one broadcast."""
POLL_SECONDS = 0.02
WARM_BROADCASTS = 3
"""So that most environments have served most shards before it counts."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a room's broadcasts took of all its workers, since they began or of some broadcasts."""

    cpu_seconds: float
    billed_ms: int
    invocations: int
    dynamodb: int
    sqs: int
    """Requests: the workers', and their mappings' that were not in vain."""
    read_units: float
    write_units: float
    """DynamoDB's, as the twin counts them."""
    memory_mb: float
    """The largest that a worker ever was."""

    def since(self, before: Usage) -> Usage:
        return Usage(
            self.cpu_seconds - before.cpu_seconds,
            self.billed_ms - before.billed_ms,
            self.invocations - before.invocations,
            self.dynamodb - before.dynamodb,
            self.sqs - before.sqs,
            self.read_units - before.read_units,
            self.write_units - before.write_units,
            self.memory_mb,
        )


@dataclass(frozen=True, slots=True)
class GrowthRow:
    """One broadcast to so many members, on average."""

    members: int
    shards: int
    cpu_ms: float
    """Of the workers, user and kernel mode."""
    cpu_us_per_delivery: float
    requests: float
    """To SQS and DynamoDB, the doorbells' included; without the transaction that stores the message."""
    sqs_requests: float
    dynamodb_requests: float
    read_units: float
    """A quiet room's: the members are read anew when somebody comes or goes, and once a minute."""
    usd_per_million: float
    """A million deliveries at list prices."""
    memory_mb: float
    """The largest that a worker was, up to this size of the room."""

    @classmethod
    def of(cls, members: int, shards: int, broadcasts: int, used: Usage) -> GrowthRow:
        """`used` by so many broadcasts, the doorbells included."""
        sqs, dynamodb = used.sqs / broadcasts, used.dynamodb / broadcasts
        reads, writes = used.read_units / broadcasts, used.write_units / broadcasts
        cost = (
            members * PRICES["websocket message"]
            + used.invocations / broadcasts * PRICES["lambda request"]
            + used.billed_ms / 1000 / broadcasts * WORKER_GB * PRICES["lambda GB-second"]
            + sqs * PRICES["sqs request"]
            + reads * PRICES["dynamodb read unit"]
            + writes * PRICES["dynamodb write unit"]
        )
        return cls(
            members=members,
            shards=shards,
            cpu_ms=used.cpu_seconds * 1000 / broadcasts,
            cpu_us_per_delivery=used.cpu_seconds * 1e6 / broadcasts / members,
            requests=sqs + dynamodb,
            sqs_requests=sqs,
            dynamodb_requests=dynamodb,
            read_units=reads,
            usd_per_million=cost / members * 1e6,
            memory_mb=used.memory_mb,
        )


async def measure_growth(*, sizes: Sequence[int], deliveries: int, folder: Path, watch: Watch) -> list[GrowthRow]:
    """A row for each size: the room grows from size to size, each served until so many `deliveries` are made, at least
    once. Raises `BenchError`."""
    if sys.platform != "linux":
        raise BenchError("the growth part reads its workers' CPU from /proc: leave it out of --only on this machine")
    found: list[GrowthRow] = []
    watch("growth", 0, len(sizes))
    async with _workers(folder) as workers:
        for members in sorted(sizes):
            found.append(await workers.measure(members, -(-deliveries // members)))
            watch("growth", len(found), len(sizes))
    return found


@asynccontextmanager
async def _workers(folder: Path) -> AsyncIterator[_Workers]:
    """The emulator, the server that takes the posts, and the lanes' functions behind their queues."""
    # A lane's cap would be all that is measured.
    lanes = {name: replace(LANES[name], post_rate=0) for name in LANE_NAMES}
    state = folder / "growth"
    state.mkdir()
    async with AsyncExitStack() as running:
        sink = await running.enter_async_context(start("sink", "loadtest.bench.sink", folder=folder, environ=ENVIRON))
        endpoint = (await sink.read(READY_WITHIN))["endpoint"]
        cloud = await running.enter_async_context(Cloud(state))
        queues = await cloud.create_queues(PREFIX, lanes.values())
        settings = Settings(
            tables=await cloud.create_tables(PREFIX),
            queues=queues.urls,
            dead_letter_queues=queues.dead,
            management_endpoint=endpoint,
            region=REGION,
            lanes={**LANES, **lanes},
        )
        functions, sources = [], []
        for name, lane in lanes.items():
            environ = replace(settings, lane=name).as_environment() | {"AWS_ENDPOINT_URL": cloud.endpoint}
            function = Function(
                name,
                WORKER,
                environ,
                timeout=lane.timeout,
                max_concurrency=lane.max_concurrency,
                log=folder / f"{name}.log",
            )
            running.push_async_callback(function.stop)
            await function.warm(lane.max_concurrency)
            functions.append(function)
            sources.append(EventSource(lane, queues.urls[name], function, cloud.sqs))
            sources[-1].start()
            running.push_async_callback(sources[-1].stop)
        queue = SqsQueue(cloud.sqs, queues.urls, queues.dead, SystemClock(), random.Random())
        yield _Workers(cloud, settings, queue, sink, functions, sources)


class _Workers:
    def __init__(
        self,
        cloud: Cloud,
        settings: Settings,
        queue: SqsQueue,
        sink: Peer,
        functions: Sequence[Function],
        sources: Sequence[EventSource],
    ) -> None:
        self._cloud = cloud
        self._settings = settings
        self._queue = queue
        self._sink = sink
        self._functions = functions
        self._sources = sources
        self._members = self._seq = self._sends = 0

    async def measure(self, members: int, broadcasts: int) -> GrowthRow:
        newcomers = [f"Bench{number:09d}A=" for number in range(self._members, members)]
        tables, shard_limit = self._settings.tables, Rules().shard_limit
        room = await seat(self._cloud.dynamodb, tables, ROOM, newcomers, shard_limit)
        self._members = members
        for _ in range(WARM_BROADCASTS):  # who has not served a room of this size pays for it once
            await self._broadcast(room)
        before = self._usage()
        for _ in range(broadcasts):
            await self._broadcast(room)
        return GrowthRow.of(members, room.shards, broadcasts, self._usage().since(before))

    async def _broadcast(self, room: Room) -> None:
        """Store an entry, ring its doorbells, and wait until all of it is done."""
        self._seq += 1
        body = {"messageId": "0" * 32, "senderId": "user-0", "senderName": "User 0", "message": TEXT}
        entry = Entry(seq=self._seq, type="chat", at=SystemClock().now(), sender="user-0", body=body)
        tables = self._settings.tables
        await put_rows(self._cloud.dynamodb, tables["messages"], [rows.entry_row(ROOM, room.epoch, entry)])
        await put_rows(self._cloud.dynamodb, tables["rooms"], [rows.room_row(replace(room, head=self._seq))])
        due = await self._posts() + self._members
        await self._queue.ring(lane_of(room.shards), jobs_for(Ring(ROOM, room.epoch, room.shards, self._seq)))
        self._sends += 1
        deadline = time.monotonic() + SERVED_WITHIN
        while await self._posts() < due or await self._busy():
            if time.monotonic() > deadline:
                raise BenchError(f"a broadcast to {self._members} members was not through within {SERVED_WITHIN:g} s")
            await asyncio.sleep(POLL_SECONDS)
        posted = await self._posts()
        if posted != due:
            raise BenchError(f"a broadcast to {self._members} members made {posted - due} posts too many")

    async def _posts(self) -> int:
        return int((await self._sink.ask(READY_WITHIN))["posts"])

    async def _busy(self) -> bool:
        depths = await self._cloud.queue_depths()
        waiting = any(it.visible or it.in_flight or it.dead for it in depths.values())
        return waiting or any(busy for it in self._functions for busy in it.pids.values())

    def _usage(self) -> Usage:
        pids = [pid for it in self._functions for pid in it.pids]
        calls = sum((it.tally.calls for it in self._functions), Counter[str]())
        units = sum_units(it.tally.units for it in self._functions)
        mappings = sum(it.tally.receives - it.tally.empty_receives + it.tally.deletes for it in self._sources)
        return Usage(
            cpu_seconds=sum(map(_cpu_seconds, pids)),
            billed_ms=sum(it.tally.billed_ms for it in self._functions),
            invocations=sum(it.tally.invocations for it in self._functions),
            dynamodb=_requests(calls, "dynamodb."),
            sqs=_requests(calls, "sqs.") + mappings + self._sends,
            read_units=units["read"],
            write_units=units["write"],
            memory_mb=max(map(_memory_mb, pids)),
        )


def _requests(calls: Counter[str], service: str) -> int:
    return sum(count for name, count in calls.items() if name.startswith(service))


def _cpu_seconds(pid: int) -> float:
    """User and kernel mode, all threads: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html"""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def _memory_mb(pid: int) -> float:
    """The most that was ever resident."""
    fields: dict[str, Any] = dict(it.split(":", 1) for it in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmHWM"].split()[0]) / 1024
