"""The whole service when something dies: a worker in the middle of a broadcast, a client without a word."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aioboto3
import pytest

from adapters.dynamodb import DynamoMarks, DynamoStatuses, DynamoStore, DynamoWebhooks
from adapters.management_api import ManagementApi, management_client_config
from adapters.memory import MemoryNotices
from adapters.roster import AnnouncingRoster
from adapters.runtime import SystemClock
from adapters.settings import table_names
from adapters.sqs import SqsQueue
from domain.fanout import YOUNG_MS
from domain.lanes import LANES, override_lanes
from domain.ports import Ports
from domain.rooms import Rules, ShardKey
from local.cloud import CREDENTIALS, REGION
from local.event_source import EventSource
from local.functions import Invoke
from local.twin import PREFIX, Twin
from pipeline.batch import Worker
from pipeline.worker import read_record
from tests.e2e.people import Person, person
from tests.unit.local.processes import until

MEMBERS = 200
LARGE = ("left", "right")


@pytest.mark.slow
@pytest.mark.parametrize(
    "rounds", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(5, marks=pytest.mark.large)]
)
async def test_killed_workers_lose_nothing(tmp_path: Path, rounds: int) -> None:
    """kill -9 of the worker in the middle of a broadcast to 200 members, two, four or ten times: everybody gets every
    message, and while a stricken room stands still for the visibility time, other rooms are served."""
    lanes = override_lanes(LANES, ["interactive.timeout=3", "interactive.visibility=4"])
    async with Twin(state=tmp_path, lanes=lanes, post_latency=lambda: 0.1) as twin, AsyncExitStack() as stack:
        members = [await stack.enter_async_context(person(twin.ws_url, "m0", "left"))]
        for _ in range(1, MEMBERS, 10):
            joining = (person(twin.ws_url, f"m{len(members) + it}", "left") for it in range(10))
            members += await asyncio.gather(*map(stack.enter_async_context, joining))
        await asyncio.gather(*(it.ask(type="join_room", roomId="right") for it in members))
        neighbour = await stack.enter_async_context(person(twin.ws_url, "neighbour", "small"))
        for number in range(rounds):
            for room in LARGE:
                text = f"{room} {number}"
                await members[0].say(text, room)
                await _delivery_begins(members, text)
                await until(lambda: len(_busy(twin)) == 1)  # the neighbour's is done
                os.kill(_busy(twin)[0], signal.SIGKILL)
                await neighbour.say(f"beside {text}", "small")
                await neighbour.hears(f"beside {text}")
                assert 0 < _having(members, text) < len(members), "the kill came too late to show anything"
            await asyncio.gather(*(it.hears(*(f"{room} {number}" for room in LARGE)) for it in members))
        assert twin.functions["interactive"].tally.crashes == rounds * len(LARGE)
        for it in members:
            assert sorted(set(it.messages)) == sorted(f"{room} {number}" for room in LARGE for number in range(rounds))


def _busy(twin: Twin) -> list[int]:
    return [pid for pid, busy in twin.functions["interactive"].pids.items() if busy]


def _having(members: list[Person], text: str) -> int:
    return sum(text in it.messages for it in members)


async def _delivery_begins(members: list[Person], text: str) -> None:
    hearing = [asyncio.create_task(it.hears(text)) for it in members]
    await asyncio.wait(hearing, return_when=asyncio.FIRST_COMPLETED)
    for it in hearing:
        it.cancel()
    await asyncio.gather(*hearing, return_exceptions=True)


class LaterClock(SystemClock):
    """The machine's time, and then some."""

    def __init__(self, ahead_ms: int) -> None:
        self._ahead = ahead_ms

    def now(self) -> int:
        return super().now() + self._ahead


class WorkerHere:
    """The interactive lane's worker in this process, on real adapters and a clock of the test's."""

    max_concurrency = 1

    def __init__(self, ports: Ports, sockets: ManagementApi) -> None:
        self.worker = Worker(ports, sockets, LANES["interactive"])

    @asynccontextmanager
    async def free_environment(self) -> AsyncIterator[Invoke]:
        yield self.invoke

    async def invoke(self, event: Mapping[str, Any]) -> dict[str, Any]:
        records = [read_record(it) for it in event["Records"]]
        worked = await self.worker.work(records, lambda: 10.0)
        return {"batchItemFailures": [{"itemIdentifier": it.id} for it in worked.failed]}


async def test_a_client_gone_without_a_word_is_purged(tmp_path: Path) -> None:
    """No close frame, no `$disconnect`: the next broadcast purges it once older than 30 s, others miss nothing."""
    async with Twin(state=tmp_path, lose_disconnects=True) as twin, AsyncExitStack() as stack:
        session = aioboto3.Session(
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            region_name=REGION,
        )
        sockets = await stack.enter_async_context(
            session.client(
                "apigatewaymanagementapi",
                endpoint_url=twin.gateway.management_endpoint,
                config=management_client_config(64),
            )
        )
        queues = await twin.cloud.create_queues(PREFIX, twin.lanes.values())
        clock, source = LaterClock(YOUNG_MS + 1), twin.sources["interactive"]
        store = DynamoStore(twin.cloud.dynamodb, table_names(PREFIX))
        queue = SqsQueue(twin.cloud.sqs, queues.urls, queues.dead, clock, random.Random(0))
        statuses = DynamoStatuses(twin.cloud.dynamodb, table_names(PREFIX))
        roster = AnnouncingRoster(store, statuses, queue, clock, Rules())
        webhooks = DynamoWebhooks(twin.cloud.dynamodb, table_names(PREFIX))
        marks = DynamoMarks(twin.cloud.dynamodb, table_names(PREFIX))
        ports = Ports(
            store, queue, roster, clock, marks=marks, notices=MemoryNotices(), statuses=statuses, webhooks=webhooks
        )
        here = WorkerHere(ports, ManagementApi(sockets))
        await source.stop()
        mine = EventSource(LANES["interactive"], queues.urls["interactive"], here, twin.cloud.sqs)
        mine.start()
        stack.push_async_callback(mine.stop)

        ada, bob, cid = [
            await stack.enter_async_context(person(twin.ws_url, name, "tea")) for name in ("ada", "bob", "cid")
        ]
        await bob.ask(type="join_room", roomId="lobby")
        gone = bob.seen("welcome")[0]["connectionId"]
        room = await store.room("tea")
        assert room is not None
        key = ShardKey("tea", room.epoch, 0)
        assert gone in {it.connection for it in await store.members(key)}
        await bob.vanish()
        await ada.say("hello", "tea")
        for someone in (ada, cid):
            await someone.hears("hello")
        # The broadcast ends with the census, after the purge.
        await ada.say("and on", "tea")
        for someone in (ada, cid):
            await someone.hears("and on")
            assert someone.messages == ["hello", "and on"]
        assert gone not in {it.connection for it in await store.members(key)}
        session_of_bob = await store.session(gone)
        assert (session_of_bob.connection, list(session_of_bob.memberships)) == (None, [])
        assert here.worker.counts["ConnectionsPurged"] == 1


async def test_a_poison_job_ends_in_the_dead_letter_queue(tmp_path: Path) -> None:
    """Its cause is in the log, what it says is not; the room that it was meant for goes on."""
    async with Twin(state=tmp_path) as twin, person(twin.ws_url, "ada", "tea") as ada:
        queues = await twin.cloud.create_queues(PREFIX, twin.lanes.values())
        store = DynamoStore(twin.cloud.dynamodb, table_names(PREFIX))
        room = await store.room("tea")
        assert room is not None
        await twin.cloud.sqs.send_message(
            QueueUrl=queues.urls["interactive"],
            MessageBody='{"kind":"doorbell","said":"a secret"}',
            MessageGroupId=str(ShardKey("tea", room.epoch, 0)),
            MessageDeduplicationId="poison",
        )
        await ada.say("hello", "tea")
        await ada.hears("hello")
        depths = await twin.cloud.queue_depths()
        assert (depths["interactive"].dead, depths["interactive"].visible) == (1, 0)
        answer = await twin.cloud.sqs.receive_message(QueueUrl=queues.dead["interactive"])
        [dead] = answer["Messages"]
        assert "a secret" in dead["Body"]
    log = (tmp_path / "logs" / "interactive.log").read_text()
    assert "unreadable job moved to the dead-letter queue" in log
    assert "ValidationError" in log
    assert "a secret" not in log
