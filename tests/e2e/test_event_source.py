"""A lane's mapping from a real queue to a function."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from domain.lanes import Lane
from local.cloud import Cloud
from local.event_source import EventSource
from local.functions import Function, FunctionError, Invoke
from tests.unit.local.processes import ROOT, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

STANDARD = Lane("retry", fifo=False, visibility=1, max_concurrency=1)
FIFO = Lane("interactive", fifo=True, visibility=1)


class Worker:
    """A function in this process: it keeps the batches that it gets, and answers as the test says."""

    def __init__(self, max_concurrency: int, handler: Callable[[list[dict[str, Any]]], Awaitable[Any]]) -> None:
        self.max_concurrency = max_concurrency
        self.batches: list[list[dict[str, Any]]] = []
        self._handler = handler
        self._free = asyncio.Semaphore(max_concurrency)

    @asynccontextmanager
    async def free_environment(self) -> AsyncIterator[Invoke]:
        async with self._free:
            yield self._invoke

    async def _invoke(self, event: Any) -> Any:
        self.batches.append(event["Records"])
        return await self._handler(event["Records"])

    @property
    def bodies(self) -> list[list[str]]:
        """What came, by batches."""
        return [[it["body"] for it in batch] for batch in self.batches]


async def succeed(records: list[dict[str, Any]]) -> None:
    """All is well."""


class Stage:
    """A cloud with the queues of one lane, and mappings that end with the test."""

    def __init__(self, cloud: Cloud, prefix: str, ends: AsyncExitStack) -> None:
        self.cloud = cloud
        self.prefix = prefix
        self._ends = ends

    async def url(self, lane: Lane) -> str:
        return (await self.cloud.create_queues(self.prefix, [lane])).urls[lane.name]

    async def send(self, lane: Lane, *bodies: str, group: str = "room") -> None:
        url = await self.url(lane)
        for it in bodies:
            fifo = {"MessageDeduplicationId": it} if lane.fifo else {}
            await self.cloud.sqs.send_message(QueueUrl=url, MessageBody=it, MessageGroupId=group, **fifo)  # type: ignore[arg-type]

    async def start(self, lane: Lane, function: Worker | Function) -> EventSource:
        source = EventSource(lane, await self.url(lane), function, self.cloud.sqs)
        source.start()
        self._ends.push_async_callback(source.stop)
        return source

    async def depth(self, lane: Lane) -> dict[str, int]:
        """What is in the lane, where anything is."""
        depth = (await self.cloud.queue_depths())[lane.name]
        counts = {"visible": depth.visible, "in_flight": depth.in_flight, "dead": depth.dead}
        return {name: count for name, count in counts.items() if count}

    async def drained(self, lane: Lane) -> None:
        async with asyncio.timeout(20):
            while set(await self.depth(lane)) - {"dead"}:  # noqa: ASYNC110  # the queue is another process's
                await asyncio.sleep(0.05)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def emulator(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cloud]:
    async with Cloud(tmp_path_factory.mktemp("cloud")) as cloud:
        yield cloud


@pytest_asyncio.fixture(loop_scope="module")
async def stage(emulator: Cloud, tmp_path: Path) -> AsyncIterator[Stage]:
    """Queues that no other test has."""
    async with AsyncExitStack() as ends:
        yield Stage(emulator, tmp_path.name.replace("_", "-")[:40], ends)


async def test_a_batch_that_succeeds_is_deleted(stage: Stage) -> None:
    """What waits goes out in one batch, as Lambda writes it, and is gone when the function returns."""
    worker = Worker(1, succeed)
    await stage.send(FIFO, "a", "b", "c")
    source = await stage.start(FIFO, worker)
    await stage.drained(FIFO)
    assert worker.bodies == [["a", "b", "c"]]
    record = worker.batches[0][0]
    assert record["eventSource"] == "aws:sqs"
    assert record["eventSourceARN"].endswith(f":{stage.prefix}-interactive.fifo")
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert record["attributes"]["MessageGroupId"] == "room"
    assert record["attributes"]["MessageDeduplicationId"] == "a"
    assert record["attributes"]["SentTimestamp"].isdecimal()
    assert {"messageId", "receiptHandle", "md5OfBody", "awsRegion", "messageAttributes"} <= set(record)
    assert (source.tally.batches, source.tally.messages, source.tally.deleted) == (1, 3, 3)


async def test_groups_are_shared_among_the_environments_that_are_free(stage: Stage) -> None:
    """Two shards' jobs came by turns: each of two environments gets one shard's, in order, and both work at once."""
    both = asyncio.Event()

    async def meet(records: list[dict[str, Any]]) -> None:
        if len(worker.batches) == 2:
            both.set()
        await asyncio.wait_for(both.wait(), 20)

    worker = Worker(2, meet)
    for body in ("a1", "b1", "a2", "b2", "a3"):
        await stage.send(FIFO, body, group=body[0])
    await stage.start(FIFO, worker)
    await stage.drained(FIFO)
    assert sorted(worker.bodies) == [["a1", "a2", "a3"], ["b1", "b2"]]


async def test_one_free_environment_gets_the_groups_together(stage: Stage) -> None:
    """Nobody else could take them."""
    worker = Worker(1, succeed)
    for body in ("a1", "b1", "a2"):
        await stage.send(FIFO, body, group=body[0])
    await stage.start(FIFO, worker)
    await stage.drained(FIFO)
    assert [sorted(it) for it in worker.bodies] == [["a1", "a2", "b1"]]


async def test_message_attributes_come_in_lambdas_form(stage: Stage) -> None:
    """Strings as they are, bytes in Base64."""
    worker = Worker(1, succeed)
    url = await stage.url(STANDARD)
    attributes: Any = {
        "trace": {"DataType": "String", "StringValue": "1-2"},
        "blob": {"DataType": "Binary", "BinaryValue": b"\x00"},
    }
    await stage.cloud.sqs.send_message(QueueUrl=url, MessageBody="a", MessageAttributes=attributes)
    await stage.start(STANDARD, worker)
    await stage.drained(STANDARD)
    got = worker.batches[0][0]["messageAttributes"]
    assert (got["trace"]["stringValue"], got["trace"]["dataType"]) == ("1-2", "String")
    assert got["blob"]["binaryValue"] == "AA=="


async def test_only_what_failed_comes_again(stage: Stage) -> None:
    """A message named in batchItemFailures comes back after the visibility time; the others of its batch do not."""

    async def fail_b_once(records: list[dict[str, Any]]) -> dict[str, Any]:
        failed = [it for it in records if it["body"] == "b" and it["attributes"]["ApproximateReceiveCount"] == "1"]
        return {"batchItemFailures": [{"itemIdentifier": it["messageId"]} for it in failed]}

    worker = Worker(1, fail_b_once)
    await stage.send(STANDARD, "a", "b", "c")
    await stage.start(STANDARD, worker)
    await stage.drained(STANDARD)
    assert worker.bodies == [["a", "b", "c"], ["b"]]


async def test_a_function_that_raises_has_done_nothing(stage: Stage) -> None:
    """The whole batch comes again."""
    attempts = iter([FunctionError("ValueError", "no"), None])

    async def fail_once(records: list[dict[str, Any]]) -> None:
        if error := next(attempts):
            raise error

    worker = Worker(1, fail_once)
    await stage.send(STANDARD, "a", "b")
    source = await stage.start(STANDARD, worker)
    await stage.drained(STANDARD)
    assert worker.bodies == [["a", "b"]] * 2
    assert source.tally.failed_batches == 1


async def test_what_fails_too_often_is_dead(stage: Stage) -> None:
    """After the lane's receives a message goes to the dead-letter queue, and the group behind it moves on."""
    lane = Lane("interactive", fifo=True, visibility=1, max_receives=2, batch_size=1)

    async def fail_poison(records: list[dict[str, Any]]) -> None:
        if records[0]["body"] == "poison":
            raise FunctionError("ValueError", "poison")

    worker = Worker(1, fail_poison)
    await stage.send(lane, "poison", "good")
    await stage.start(lane, worker)
    await stage.drained(lane)
    assert worker.bodies == [["poison"], ["poison"], ["good"]]
    assert await stage.depth(lane) == {"dead": 1}


async def test_a_group_has_one_batch_under_way(stage: Stage) -> None:
    """While a worker has a batch of a room, the room's next messages wait; another room's do not."""
    lane = Lane("interactive", fifo=True, visibility=30)
    release = asyncio.Event()

    async def hold_first(records: list[dict[str, Any]]) -> None:
        if records[0]["body"] == "tea-1":
            await release.wait()

    worker = Worker(2, hold_first)
    await stage.send(lane, "tea-1", group="tea")
    await stage.start(lane, worker)
    await until(lambda: worker.batches)
    await stage.send(lane, "tea-2", "tea-3", group="tea")
    await stage.send(lane, "chess-1", group="chess")
    await until(lambda: len(worker.batches) == 2)
    assert worker.bodies == [["tea-1"], ["chess-1"]]
    release.set()
    await stage.drained(lane)
    assert worker.bodies == [["tea-1"], ["chess-1"], ["tea-2", "tea-3"]]


async def test_nothing_is_fetched_ahead(stage: Stage) -> None:
    """While the only environment works, messages stay in the queue and gather: the next batch holds them all."""
    release = asyncio.Event()

    async def hold_first(records: list[dict[str, Any]]) -> None:
        if records[0]["body"] == "first":
            await release.wait()

    lane = Lane("retry", fifo=False, visibility=30)
    worker = Worker(1, hold_first)
    await stage.send(lane, "first")
    await stage.start(lane, worker)
    await until(lambda: worker.batches)
    await stage.send(lane, "second", "third", "fourth")
    assert await stage.depth(lane) == {"visible": 3, "in_flight": 1}
    release.set()
    await stage.drained(lane)
    assert worker.bodies == [["first"], ["second", "third", "fourth"]]


async def test_a_window_gathers_more_than_one_call_gives(stage: Stage) -> None:
    """With a window a batch may hold more than the ten messages of one ReceiveMessage."""
    lane = Lane("ephemeral", fifo=False, visibility=30, batch_size=15, window=1)
    worker = Worker(1, succeed)
    await stage.send(lane, *(str(number) for number in range(17)))
    await stage.start(lane, worker)
    await stage.drained(lane)
    assert [len(it) for it in worker.batches] == [15, 2]


async def test_a_killed_environments_batch_comes_again(stage: Stage, tmp_path: Path) -> None:
    """kill -9 of a real environment within a batch: the messages come back after the visibility time."""
    pid_file = tmp_path / "pid"
    function = Function(
        "worker",
        "tests.unit.local.handlers:hang_at_first",
        {"PYTHONPATH": str(ROOT), "PID_FILE": str(pid_file)},
        timeout=600,
        max_concurrency=1,
        log=tmp_path / "worker.log",
    )
    try:
        await stage.send(FIFO, "a", "b")
        source = await stage.start(FIFO, function)
        await until(pid_file.exists)
        os.kill(int(pid_file.read_text()), signal.SIGKILL)
        await stage.drained(FIFO)
        assert (source.tally.batches, source.tally.messages, source.tally.deleted) == (2, 4, 2)
        assert function.tally.crashes == 1
    finally:
        await source.stop()
        await function.stop()


async def test_stop_lets_a_batch_end(stage: Stage) -> None:
    """A batch under way is finished and deleted; nothing more is received."""
    release = asyncio.Event()

    async def wait(records: list[dict[str, Any]]) -> None:
        await release.wait()

    worker = Worker(1, wait)
    await stage.send(STANDARD, "a")
    source = await stage.start(STANDARD, worker)
    await until(lambda: worker.batches)
    stopping = asyncio.create_task(source.stop(grace=20))
    await stage.send(STANDARD, "b")
    release.set()
    await stopping
    assert worker.bodies == [["a"]]
    assert await stage.depth(STANDARD) == {"visible": 1}


async def test_stop_does_not_wait_for_ever(stage: Stage) -> None:
    """A batch that does not end within the grace is given up, and comes again later."""

    async def hang(records: list[dict[str, Any]]) -> None:
        await asyncio.Event().wait()

    worker = Worker(1, hang)
    await stage.send(STANDARD, "a")
    source = await stage.start(STANDARD, worker)
    await until(lambda: worker.batches)
    await source.stop(grace=0)
    assert source.tally.deleted == 0


async def test_an_outage_of_the_queue_is_outlived(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """A mapping whose queue is not there yet goes on asking."""
    worker = Worker(1, succeed)
    url = f"{stage.cloud.endpoint}/000000000000/{stage.prefix}-retry"
    missing = EventSource(STANDARD, url, worker, stage.cloud.sqs)
    missing.start()
    try:
        await until(lambda: "NonExistentQueue" in caplog.text or "does not exist" in caplog.text)
        await stage.send(STANDARD, "a")
        await until(lambda: worker.batches)
    finally:
        await missing.stop()
