"""What a mapping deletes, by what the function answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import pytest

from domain.lanes import Lane
from local.event_source import FORGET_SECONDS, EventSource
from local.functions import Invoke
from tests.unit.local.fakes import FakeFunction


class FakeQueue:
    """A client of SQS whose queue gives one batch, then nothing."""

    def __init__(self, *ids: str) -> None:
        self.deleted: list[str] = []
        self.calls: list[int] = []
        """Entries of each DeleteMessageBatch."""
        self.empty = asyncio.Event()
        self._waiting = [
            {
                "MessageId": it,
                "ReceiptHandle": f"receipt-{it}",
                "Body": it,
                "MD5OfBody": "",
                "Attributes": {"SentTimestamp": str(1_000_000 * (number + 1))},
            }
            for number, it in enumerate(ids)
        ]

    async def receive_message(self, *, MaxNumberOfMessages: int, **_: Any) -> dict[str, Any]:  # noqa: N803  # SQS's name
        batch, self._waiting = self._waiting[:MaxNumberOfMessages], self._waiting[MaxNumberOfMessages:]
        if not batch:
            self.empty.set()
            await asyncio.sleep(0)
        return {"Messages": batch} if batch else {}

    async def delete_message_batch(self, *, Entries: list[dict[str, str]], **_: Any) -> dict[str, Any]:  # noqa: N803
        self.calls.append(len(Entries))
        self.deleted += [it["ReceiptHandle"].removeprefix("receipt-") for it in Entries]
        return {"Successful": Entries}


class FakeWorker(FakeFunction):
    max_concurrency = 1

    @asynccontextmanager
    async def free_environment(self) -> AsyncIterator[Invoke]:
        yield self.invoke


async def deleted(answer: Any, *ids: str, lane: Lane | None = None) -> FakeQueue:
    """The queue after a function has answered to a batch of these messages."""
    queue = FakeQueue(*ids)
    lane = lane or Lane("retry", fifo=False)
    source = EventSource(lane, "http://host/1/q", FakeWorker(answer), cast("Any", queue))
    source.start()
    await queue.empty.wait()
    await source.stop()
    return queue


@pytest.mark.parametrize("answer", [None, {}, {"batchItemFailures": []}, {"batchItemFailures": None}, {"ok": 1}])
async def test_no_failures_named_means_all_is_done(answer: Any) -> None:
    """As Lambda reads an empty answer."""
    assert (await deleted(answer, "a", "b")).deleted == ["a", "b"]


async def test_named_failures_stay() -> None:
    """The others are deleted."""
    answer = {"batchItemFailures": [{"itemIdentifier": "b"}, {"itemIdentifier": "b"}]}
    assert (await deleted(answer, "a", "b", "c")).deleted == ["a", "c"]


@pytest.mark.parametrize(
    "answer",
    [
        {"batchItemFailures": [{"itemIdentifier": "stranger"}]},
        {"batchItemFailures": [{"itemIdentifier": "a"}, {"itemIdentifier": "stranger"}]},
        {"batchItemFailures": [{"itemIdentifier": ""}]},
        {"batchItemFailures": [{"itemIdentifier": None}]},
        {"batchItemFailures": [{"itemIdentifier": ["a"]}]},
        {"batchItemFailures": [{"itemId": "a"}]},
        {"batchItemFailures": ["a"]},
        {"batchItemFailures": {"itemIdentifier": "a"}},
        "done",
        ["a"],
    ],
)
async def test_an_answer_that_makes_no_sense_means_that_all_failed(answer: Any) -> None:
    """Nothing is deleted on the word of a function that names what it did not get."""
    assert (await deleted(answer, "a", "b")).deleted == []


async def test_a_large_batch_is_deleted_ten_at_a_time() -> None:
    """SQS takes no more in one call."""
    lane = Lane("ephemeral", fifo=False, batch_size=25, window=1)
    queue = await deleted(None, *(str(number) for number in range(25)), lane=lane)
    assert queue.calls == [10, 10, 5]
    assert len(set(queue.deleted)) == 25


async def test_the_oldest_is_what_was_received_and_is_not_done() -> None:
    """A message that failed is still waiting, until it must have come again or gone to the dead-letter queue."""
    queue = FakeQueue("a", "b", "c")
    worker = FakeWorker({"batchItemFailures": [{"itemIdentifier": "b"}, {"itemIdentifier": "c"}]})
    source = EventSource(Lane("retry", fifo=False, visibility=15), "http://host/1/q", worker, cast("Any", queue))
    now = time.time()
    assert source.oldest(now) is None
    source.start()
    await queue.empty.wait()
    await source.stop()
    assert source.oldest(now) == pytest.approx(now - 2_000, abs=0.1)
    assert source.oldest(now + 15 + FORGET_SECONDS + 60) is None


class Bench:
    """A function whose batches end when the test says; `queue` gives them one message each."""

    def __init__(self, environments: int, *ids: str) -> None:
        self.max_concurrency = environments
        self.queue = FakeQueue(*ids)
        self.batches: list[list[str]] = []
        self.ends = asyncio.Event()

    @asynccontextmanager
    async def free_environment(self) -> AsyncIterator[Invoke]:
        yield self._invoke

    async def _invoke(self, event: Any) -> None:
        self.batches.append([it["messageId"] for it in event["Records"]])
        await self.ends.wait()


async def turns(count: int = 20) -> None:
    """Let everything run that can."""
    for _ in range(count):
        await asyncio.sleep(0)


ONE_BY_ONE = Lane("retry", fifo=False, batch_size=1)


async def test_more_environments_are_polled_for_at_once() -> None:
    """While the only one is busy, a change to three has two more batches under way."""
    bench = Bench(1, "a", "b", "c", "d")
    source = EventSource(ONE_BY_ONE, "http://host/1/q", bench, cast("Any", bench.queue))
    source.start()
    await turns()
    assert bench.batches == [["a"]]
    source.change(replace(ONE_BY_ONE, max_concurrency=3))
    await turns()
    assert bench.batches == [["a"], ["b"], ["c"]]
    bench.ends.set()
    await bench.queue.empty.wait()
    await source.stop()
    assert sorted(bench.queue.deleted) == ["a", "b", "c", "d"]


async def test_fewer_environments_end_what_they_have_in_hand() -> None:
    """Three batches are under way when the lane may have one: each ends and is deleted once, and one poller goes on."""
    bench = Bench(3, *"abcdefg")
    source = EventSource(ONE_BY_ONE, "http://host/1/q", bench, cast("Any", bench.queue))
    source.start()
    await turns()
    assert sorted(bench.batches) == [["a"], ["b"], ["c"]]
    source.change(replace(ONE_BY_ONE, max_concurrency=1))
    first, bench.ends = bench.ends, asyncio.Event()
    first.set()
    await turns()
    assert sorted(bench.queue.deleted) == ["a", "b", "c"]
    assert bench.batches[3:] == [["d"]]
    bench.ends.set()
    await bench.queue.empty.wait()
    await source.stop()
    assert [len(it) for it in bench.batches] == [1] * 7
    assert sorted(bench.queue.deleted) == list("abcdefg")


async def test_there_and_back_leaves_as_many_pollers() -> None:
    """A slider that is dragged to and fro while nothing ends."""
    bench = Bench(2, *"abcdef")
    source = EventSource(ONE_BY_ONE, "http://host/1/q", bench, cast("Any", bench.queue))
    source.start()
    await turns()
    for count in (1, 4, 2, 1, 3):
        source.change(replace(ONE_BY_ONE, max_concurrency=count))
    await turns()
    assert len(bench.batches) == 3
    bench.ends.set()
    await bench.queue.empty.wait()
    await source.stop()
    assert sorted(bench.queue.deleted) == list("abcdef")


async def test_the_next_batch_has_the_new_size() -> None:
    """The one under way keeps what it has."""
    bench = Bench(1, *"abcde")
    source = EventSource(ONE_BY_ONE, "http://host/1/q", bench, cast("Any", bench.queue))
    source.start()
    await turns()
    source.change(replace(ONE_BY_ONE, batch_size=3, max_concurrency=1))
    bench.ends.set()
    await bench.queue.empty.wait()
    await source.stop()
    assert bench.batches == [["a"], ["b", "c", "d"], ["e"]]
