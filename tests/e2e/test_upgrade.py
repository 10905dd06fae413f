"""Upgrades under load: the form of jobs changes in two steps, forth and back, and nothing is lost on the way."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import re
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from domain.fanout import Doorbell, encode_job
from domain.lanes import LANES, override_lanes
from loadtest.audit import Audit, audit
from loadtest.clients import LoadClient
from loadtest.ledger import Ledger
from loadtest.plan import Plan, plan_messages
from loadtest.status import wait_until_idle
from local.event_source import EventSource
from local.functions import Function, Invoke
from local.twin import PREFIX, Twin
from tests.e2e.people import Person, person
from tests.unit.local.processes import ROOT, until

PACKAGES = ("adapters", "domain", "pipeline", "services")
"""What a function's bundle holds of ours."""
CLIENTS, ROOMS = 8, 2
RATE = 20.0
"""Messages a second."""
SLOW_POST = 15
"""Every so many posts one outlasts the deadline of a shard's worker, so that the retry lane has work."""
PATIENCE = 40.0
"""Seconds after which what was awaited is taken to be lost."""


def release(folder: Path, *, reads: int, writes: int) -> Path:
    """What the functions carry, copied, with other versions of jobs: the newest that is read, and the written one."""
    code = folder / f"reads-{reads}-writes-{writes}"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, code / package, ignore=shutil.ignore_patterns("__pycache__"))
    fanout = code / "domain" / "fanout.py"
    text = fanout.read_text()
    for constant, version in {"JOB_VERSION": reads, "WRITTEN_VERSION": writes}.items():
        text, found = re.subn(rf"^{constant} = \d+$", f"{constant} = {version}", text, flags=re.MULTILINE)
        assert found == 1, constant
    fanout.write_text(text)
    return code


class Load:
    """20 messages a second from the load test's clients, and the audit of every one of them."""

    def __init__(self, url: str) -> None:
        self._plan = Plan(url, clients=CLIENTS, rooms=ROOMS, rate=RATE, seconds=600)
        self._ledger = Ledger(random.Random(0))
        self._clients = {it: LoadClient(it, self._plan, self._ledger, random.Random(it)) for it in range(CLIENTS)}
        self._members = Counter(it.room for it in self._clients.values())
        self._sent = 0
        self._flowing = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    @property
    def room(self) -> str:
        """One of the rooms."""
        return self._plan.room_of(0)

    @property
    def acknowledged(self) -> int:
        return self._ledger.tally.acknowledged

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """All are connected; messages are sent until the block ends."""
        for it in self._clients.values():  # one after the other, by the environments that are warm
            assert await it.connect()
        await until(lambda: all(it.ready for it in self._clients.values()), PATIENCE)
        senders = {room: [it.number for it in self._clients.values() if it.room == room] for room in self._members}
        self._ledger.open(plan_messages(self._plan, senders, self._loop.time()))
        self._flowing.set()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._send()), group.create_task(self._send_again())]
            yield
            self._flowing.clear()
            await self.arrived()
            for task in tasks:
                task.cancel()
        await asyncio.gather(*(client.close() for client in self._clients.values()))

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Everything has arrived when the block begins, and nothing is sent in it."""
        self._flowing.clear()
        await self.arrived()
        yield
        self._flowing.set()

    async def arrived(self) -> None:
        """Until every message is acknowledged and at every client."""
        await until(lambda: not self._ledger.under_way and not self._ledger.missing(self._members), PATIENCE)

    def audit(self) -> Audit:
        sent = self._ledger.messages[: self._sent]
        assert self.acknowledged == len(sent)
        return audit(sent, [it.log for it in self._clients.values()])

    async def _send(self) -> None:
        for message in self._ledger.messages:
            await self._flowing.wait()
            self._ledger.send(message, self._clients, self._loop.time())
            self._sent += 1
            await asyncio.sleep(1 / RATE)

    async def _send_again(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            self._ledger.send_due(self._clients, self._loop.time())


class Watched:
    """A lane's function between its queue and its environments: it notes the version of every job done or failed."""

    def __init__(self, function: Function) -> None:
        self.max_concurrency = function.max_concurrency
        self.done: Counter[int] = Counter()
        self.failed: Counter[int] = Counter()
        self._function = function

    @asynccontextmanager
    async def free_environment(self) -> AsyncIterator[Invoke]:
        async with self._function.free_environment() as invoke:

            async def invoke_and_note(event: Mapping[str, Any]) -> Any:
                result = await invoke(event)
                failed = {it["itemIdentifier"] for it in result["batchItemFailures"]}
                for it in event["Records"]:
                    into = self.failed if it["messageId"] in failed else self.done
                    into[json.loads(it["body"])["v"]] += 1
                return result

            yield invoke_and_note


class Service:
    """A twin under load, whose functions get other code."""

    def __init__(self, twin: Twin, load: Load, somebody: Person) -> None:
        self.lanes = {it: Watched(twin.functions[it]) for it in twin.lanes}
        self._twin = twin
        self._load = load
        self._somebody = somebody

    async def watch(self, urls: Mapping[str, str]) -> None:
        """Put the watched functions between queues and environments."""
        await asyncio.gather(*(it.stop() for it in self._twin.sources.values()))
        for name, lane in self._twin.lanes.items():
            self._twin.sources[name] = EventSource(lane, urls[name], self.lanes[name], self._twin.cloud.sqs)
            self._twin.sources[name].start()

    async def deploy(self, code: Path, functions: Iterable[str]) -> None:
        """Update functions, and wait until no environment of the old code lives."""
        updated = [self._twin.functions[it] for it in functions]
        old = {pid for it in updated for pid in it.pids}
        assert old
        await asyncio.gather(*(it.update(code) for it in updated))
        await until(lambda: old.isdisjoint(pid for it in updated for pid in it.pids), PATIENCE)

    async def carries(self, version: int) -> None:
        """Messages flow, somebody is typing, and every lane does jobs of this version."""
        before = {name: it.done[version] for name, it in self.lanes.items()}
        acknowledged = self._load.acknowledged
        typing = asyncio.create_task(self._type())
        await until(lambda: all(it.done[version] > before[name] for name, it in self.lanes.items()), PATIENCE)
        await until(lambda: self._load.acknowledged > acknowledged, PATIENCE)
        typing.cancel()

    async def _type(self) -> None:
        """Again and again: what comes within three seconds of the one before is dropped."""
        while True:
            await self._somebody.socket.send(json.dumps({"type": "typing", "roomId": self._load.room}))
            await asyncio.sleep(1)

    async def reads(self) -> list[set[int]]:
        """For each lane, the versions of jobs that its environments read."""
        attributes = {"MessageGroupId": "nowhere", "ApproximateReceiveCount": "1", "SentTimestamp": "0"}
        records = [
            {"messageId": str(it), "receiptHandle": "none", "body": doorbell(it), "attributes": attributes}
            for it in (1, 2, 3)
        ]
        answers = await asyncio.gather(*(self._twin.functions[it].invoke({"Records": records}) for it in self.lanes))
        failed = [{int(it["itemIdentifier"]) for it in answer["batchItemFailures"]} for answer in answers]
        return [{1, 2, 3} - it for it in failed]


def doorbell(version: int) -> str:
    """A doorbell of any version, for a room that nobody has made."""
    job = json.loads(encode_job(Doorbell(room="nowhere", epoch=1, shard=0, seq=1)))
    return json.dumps({**job, "v": version})


@pytest.mark.slow
async def test_a_new_form_of_jobs_is_deployed_and_rolled_back_under_load(tmp_path: Path) -> None:
    """Step by step up to the release that writes version 2, and down again: no message is lost and no job buried."""
    first = release(tmp_path, reads=1, writes=1)
    reading = release(tmp_path, reads=2, writes=1)
    writing = release(tmp_path, reads=2, writes=2)
    posts = itertools.count(1)

    def latency() -> float:
        return 0.0 if next(posts) % SLOW_POST else 0.7

    # No room is large here, and `bulk` works as `interactive` does.
    small = {it: LANES[it] for it in ("interactive", "retry", "ephemeral")}
    lanes = override_lanes(small, ["retry.max_concurrency=1", "ephemeral.max_concurrency=1"])
    # Nobody leaves before the end, and no function need start for it then.
    twin = Twin(state=tmp_path / "twin", lanes=lanes, code=first, post_latency=latency, lose_disconnects=True)
    async with twin, AsyncExitStack() as stack:
        load = Load(twin.ws_url)
        somebody = await stack.enter_async_context(person(twin.ws_url, "somebody", load.room))
        queues = await twin.cloud.create_queues(PREFIX, twin.lanes.values())
        service = Service(twin, load, somebody)
        interactive = service.lanes["interactive"]
        await service.watch(queues.urls)
        workers, everything = list(twin.lanes), list(twin.functions)
        async with load.flowing():
            assert await service.reads() == [{1}] * 3
            await service.carries(1)
            # A job that is ahead of the workers waits for them.
            await twin.cloud.sqs.send_message(
                QueueUrl=queues.urls["interactive"],
                MessageBody=doorbell(2),
                MessageGroupId="nowhere",
                MessageDeduplicationId="ahead",
            )
            await until(lambda: interactive.failed[2], PATIENCE)

            await service.deploy(reading, workers)
            assert await service.reads() == [{1, 2}] * 3
            await service.carries(1)
            await until(lambda: interactive.done[2], PATIENCE)

            await service.deploy(writing, everything)
            assert await service.reads() == [{1, 2}] * 3
            await stack.enter_async_context(person(twin.ws_url, "newcomer", load.room))
            await service.carries(2)

            await service.deploy(reading, everything)
            assert await service.reads() == [{1, 2}] * 3
            await service.carries(1)
            # What reads version 1 alone may come only when nothing of version 2 is left.
            async with load.paused():
                status = await wait_until_idle(twin.ws_url)
                assert status is not None
                assert status.waiting == 0

            await service.deploy(first, everything)
            assert await service.reads() == [{1}] * 3
            await service.carries(1)
        status = await wait_until_idle(twin.ws_url)
    assert status is not None
    assert (status.waiting, status.dead) == (0, 0)
    found = load.audit()
    assert found.findings == []
    assert found.received == found.expected == load.acknowledged * CLIENTS // ROOMS
