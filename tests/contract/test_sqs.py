"""SqsQueue, beside its contract: what it sends, what fails within a call, and what answers mean."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from typing import Any

import aioboto3
import pytest
import pytest_asyncio
from aiobotocore.config import AioConfig
from botocore.exceptions import ClientError

from adapters.memory import ManualClock
from adapters.sqs import RESEND_DELAYS, SqsQueue
from domain.errors import Unavailable
from domain.fanout import Remainder
from tests.contract.answers import Answers
from tests.contract.lanes import SqsLanes, doorbell, notice, remainder

pytestmark = pytest.mark.asyncio(loop_scope="session")

URLS = {"interactive": "http://q/1/interactive.fifo", "retry": "http://q/1/retry", "ephemeral": "http://q/1/ephemeral"}


@pytest_asyncio.fixture(loop_scope="session")
async def queue(aws: aioboto3.Session, answers: Answers) -> AsyncIterator[SqsQueue]:
    """A queue whose service answers as told, and whose client does not try again."""
    config = AioConfig(connect_timeout=1, read_timeout=0.2, retries={"total_max_attempts": 1})
    async with aws.client("sqs", endpoint_url=answers.endpoint, config=config) as client:
        yield SqsQueue(client, URLS, URLS, ManualClock(), random.Random(1))


def _sent(*failed: str, of: int) -> str:
    """An answer to SendMessageBatch: entries `failed`, by their ids, out of `of`."""
    return json.dumps(
        {
            "Successful": [{"Id": str(it), "MessageId": "m"} for it in range(of) if str(it) not in failed],
            "Failed": [{"Id": it, "Code": "InternalError", "SenderFault": False} for it in failed],
        }
    )


def _entries(answers: Answers) -> list[list[dict[str, Any]]]:
    return [json.loads(body)["Entries"] for _, _, body in answers.requests]


async def test_what_a_doorbell_is_sent_with(queue: SqsQueue, answers: Answers) -> None:
    """Group and deduplication id name the shard and the seq, within SQS's 128 characters for the longest of all."""
    answers.script(_sent(of=1))
    longest = doorbell(2**53 - 1, room="inbox#" + "u" * 64, shard=99_999)
    await queue.ring("interactive", [longest])
    ((entry,),) = _entries(answers)
    assert entry["MessageGroupId"] == f"inbox#{'u' * 64}#5#99999"
    assert entry["MessageDeduplicationId"] == f"{entry['MessageGroupId']}#9007199254740991"
    assert len(entry["MessageDeduplicationId"]) <= 128
    assert "DelaySeconds" not in entry


async def test_a_body_holds_only_what_sqs_takes(queue: SqsQueue, answers: Answers) -> None:
    """U+FFFE and U+FFFF stand in it as JSON's escapes, which mean the same; a backslash before them stays one."""
    answers.script(json.dumps({"MessageId": "m"}))
    event = '{"a":"\\\\\ufffe\uffff \U0001fffe"}'
    await queue.announce(notice(event.encode()))
    ((_, _, request),) = answers.requests
    body = json.loads(request)["MessageBody"]
    assert "\ufffe" not in body
    assert "\uffff" not in body
    assert json.loads(body)["event"] == json.loads(event) == {"a": "\\\ufffe\uffff \U0001fffe"}


async def test_entries_that_fail_within_a_call_are_sent_again(queue: SqsQueue, answers: Answers) -> None:
    """Those alone, until all are in."""
    answers.script(_sent("1", "2", of=3), _sent("2", of=2), _sent(of=1))
    await queue.ring("interactive", [doorbell(1), doorbell(2), doorbell(3)])
    assert [[it["Id"] for it in call] for call in _entries(answers)] == [["0", "1", "2"], ["1", "2"], ["2"]]


async def test_entries_that_keep_failing_are_unavailable(queue: SqsQueue, answers: Answers) -> None:
    """After a few tries; what follows them was not sent."""
    answers.script(_sent("0", of=1))
    with pytest.raises(Unavailable):
        await queue.defer([remainder(it) for it in range(11)])
    assert len(answers.requests) == len(RESEND_DELAYS) + 1
    assert all(it[0]["Id"] == "0" for it in _entries(answers))


async def test_calls_hold_ten_entries_and_256_kb(queue: SqsQueue, answers: Answers) -> None:
    """Many connections make a remainder long."""
    answers.script(_sent(of=10))
    await queue.defer([remainder(it) for it in range(12)])
    long = Remainder(
        room="r", epoch=1, shard=0, first=1, last=1, connections=["x" * 15] * 6_000, attempt=0, not_after=9
    )
    await queue.defer([long] * 5)
    assert [len(it) for it in _entries(answers)] == [10, 2, 2, 2, 1]


async def test_long_remainders_pass_a_real_check_of_size(moto_lanes: SqsLanes) -> None:
    """moto refuses calls that are too long."""
    long = Remainder(
        room="r", epoch=1, shard=0, first=1, last=1, connections=["x" * 15] * 6_000, attempt=0, not_after=9
    )
    await moto_lanes.queue.defer([long] * 5)
    assert await moto_lanes.jobs("retry") == [long] * 5


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "RequestThrottled"),
        (400, "ThrottlingException"),
        (400, "OverLimit"),
        (500, "InternalFailure"),
        (503, "ServiceUnavailable"),
    ],
)
async def test_answers_that_mean_not_now(queue: SqsQueue, answers: Answers, status: int, kind: str) -> None:
    """Throttled or failed, whatever the call."""
    answers.answer(status, json.dumps({"__type": f"com.amazonaws.sqs#{kind}", "message": "m"}))
    for call in (
        queue.ring("interactive", [doorbell(1)]),
        queue.defer([remainder()]),
        queue.announce(notice()),
        queue.bury("retry", "b", None),
        queue.hide("retry", "receipt", 1),
    ):
        with pytest.raises(Unavailable):
            await call


async def test_no_answer(queue: SqsQueue, answers: Answers) -> None:
    """A time-out: the doorbell may have been rung all the same."""
    answers.hang()
    with pytest.raises(Unavailable):
        await queue.ring("interactive", [doorbell(1)])


async def test_faults_of_ours_stay_as_they_are(queue: SqsQueue, answers: Answers) -> None:
    """A queue that is not there, or a right that is missing."""
    for kind in ("QueueDoesNotExist", "AccessDeniedException"):
        answers.answer(400, json.dumps({"__type": f"com.amazonaws.sqs#{kind}", "message": "m"}))
        with pytest.raises(ClientError, match=kind):
            await queue.ring("interactive", [doorbell(1)])
        with pytest.raises(ClientError, match=kind):
            await queue.hide("retry", "receipt", 1)


@pytest.mark.parametrize("kind", ["ReceiptHandleIsInvalid", "MessageNotInflight", "InvalidParameterValue"])
async def test_a_receipt_that_is_spent_is_no_error(queue: SqsQueue, answers: Answers, kind: str) -> None:
    """Whichever way the service says so."""
    answers.answer(400, json.dumps({"__type": f"com.amazonaws.sqs#{kind}", "message": "m"}))
    await queue.hide("interactive", "receipt", 1)
    assert len(answers.requests) == 1
