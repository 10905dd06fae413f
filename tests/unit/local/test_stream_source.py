"""What the mapping of a stream hands over, by what the function answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from domain.rooms import Entry
from local import stream_source
from local.functions import FunctionError, Invoke
from local.stream_source import StreamSource
from tests.unit.changes import entry_record, record
from tests.unit.local.fakes import FakeFunction

ARN = "arn:aws:dynamodb:us-east-1:000000000000:table/roomcast-messages/stream/1"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for it in ("POLL_SECONDS", "OUTAGE_SECONDS"):
        monkeypatch.setattr(stream_source, it, 0.0)


def entries(count: int) -> list[dict[str, Any]]:
    return [entry_record("lobby", 5, Entry(it, "chat", 1_796_000_000_000, "ada", {})) for it in range(1, count + 1)]


class FakeStream:
    """A client of a stream that gives three records at a time."""

    def __init__(self, records: Sequence[dict[str, Any]], failures: int = 0) -> None:
        self._records = records
        self._failures = failures

    async def describe_stream(self, **_: Any) -> dict[str, Any]:
        return {"StreamDescription": {"Shards": [{"ShardId": "shard"}]}}

    async def get_shard_iterator(self, *, ShardIteratorType: str, **_: Any) -> dict[str, Any]:  # noqa: N803  # as boto names it
        assert ShardIteratorType == "TRIM_HORIZON"
        return {"ShardIterator": "0"}

    async def get_records(self, *, ShardIterator: str, **_: Any) -> dict[str, Any]:  # noqa: N803  # as boto names it
        await asyncio.sleep(0)
        if self._failures:
            self._failures -= 1
            raise OSError("no answer")
        start = int(ShardIterator)
        page = list(self._records[start : start + 3])
        return {"Records": page, "NextShardIterator": str(start + len(page))}


class FakeArchiver(FakeFunction):
    """Answers with the next of its answers, then that all is done."""

    max_concurrency = 1

    def __init__(self, *answers: Any) -> None:
        super().__init__(self._next)
        self._answers = list(answers)

    async def _next(self, event: Any) -> Any:
        answer = self._answers.pop(0) if self._answers else {"batchItemFailures": []}
        if isinstance(answer, Exception):
            raise answer
        return answer(event) if callable(answer) else answer

    @asynccontextmanager
    async def free_environment(self) -> AsyncIterator[Invoke]:
        yield self.invoke

    @property
    def batches(self) -> list[list[int]]:
        """The seqs of each batch."""
        return [[int(it["dynamodb"]["Keys"]["sk"]["S"]) for it in event["Records"]] for event in self.events]


async def handed_over(
    records: Sequence[dict[str, Any]], *answers: Any, batch_size: int = 4, failures: int = 0
) -> tuple[list[list[int]], StreamSource]:
    """The batches of a function that answers so."""
    function = FakeArchiver(*answers)
    source = StreamSource(ARN, function, FakeStream(records, failures), batch_size=batch_size, window=60)
    source.start()
    await source.stop()  # which drains the stream
    return function.batches, source


def naming(*places: int) -> Any:
    """An answer that names records by their place in the batch."""
    return lambda event: {
        "batchItemFailures": [{"itemIdentifier": event["Records"][it]["dynamodb"]["SequenceNumber"]} for it in places]
    }


async def test_a_stream_is_handed_over_in_order() -> None:
    """In batches of the size that was asked for; what is left at the end is one, too."""
    batches, source = await handed_over(entries(10))
    assert batches == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]
    assert (source.tally.records, source.tally.batches, source.tally.failed_batches) == (10, 3, 0)


async def test_only_entries_are_handed_over() -> None:
    """As by the mapping's filter; pages without any are passed over."""
    other = record({"pk": {"S": "lobby#5"}, "sk": {"S": "~0"}}, {"pk": {"S": "lobby#5"}, "sk": {"S": "~0"}})
    one, two = entries(2)
    batches, _ = await handed_over([other] * 7 + [one] + [other] * 9 + [two])
    assert batches == [[1, 2]]


@pytest.mark.parametrize("answer", [None, {}, {"batchItemFailures": []}, {"batchItemFailures": None}])
async def test_no_failures_named_means_all_is_done(answer: Any) -> None:
    """As Lambda reads an empty answer."""
    batches, _ = await handed_over(entries(2), answer)
    assert batches == [[1, 2]]


@pytest.mark.parametrize("places", [(1,), (3, 1), (1, 1)])
async def test_from_the_first_that_is_named_all_comes_again(places: tuple[int, ...]) -> None:
    """Whatever was done behind it."""
    batches, source = await handed_over(entries(5), naming(*places))
    assert batches == [[1, 2, 3, 4], [2, 3, 4, 5]]
    assert source.tally.failed_batches == 1


@pytest.mark.parametrize(
    "answer",
    [
        {"batchItemFailures": [{"itemIdentifier": "stranger"}]},
        {"batchItemFailures": [{"itemIdentifier": None}]},
        {"batchItemFailures": ["a"]},
        {"batchItemFailures": {"itemIdentifier": "a"}},
        "done",
    ],
)
async def test_an_answer_that_makes_no_sense_means_that_all_failed(answer: Any) -> None:
    """It comes again as it was."""
    batches, _ = await handed_over(entries(4), answer)
    assert batches == [[1, 2, 3, 4], [1, 2, 3, 4]]


async def test_a_batch_whose_function_fails_is_halved() -> None:
    """Until one gets through; then batches are whole again."""
    failure = FunctionError("MemoryError", "")
    batches, source = await handed_over(entries(6), failure, failure, failure)
    assert batches == [[1, 2, 3, 4], [1, 2], [1], [1], [2, 3, 4, 5], [6]]
    assert source.tally.failed_batches == 3


async def test_an_outage_of_the_stream_is_waited_out() -> None:
    """Nothing is skipped."""
    batches, _ = await handed_over(entries(5), failures=3)
    assert batches == [[1, 2, 3, 4], [5]]
