"""Notices: who wants none, and who may send the next, on memory, moto and the emulator; and the topic on SNS."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aioboto3
import pytest
import pytest_asyncio
from aiobotocore.config import AioConfig
from botocore.exceptions import ClientError
from msgspec.structs import replace

from adapters.dynamodb import DynamoNotices, table_definitions
from adapters.memory import ManualClock, MemoryNotices, MemoryPublisher
from adapters.settings import table_names
from adapters.sns import RESPITE, SnsPublisher, topic_name
from domain.errors import Unavailable
from domain.notices import NOTICE_EVERY_MS, OfflineNotice, notice_text
from domain.ports import Notices, Publisher
from local.cloud import Cloud
from tests.contract.answers import Answers
from tests.contract.stage import NOW

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_sqs import SQSClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

_numbers = itertools.count(1)
NOTICE = OfflineNotice(
    kind="private_message",
    user_id="bob",
    room_id="inbox#bob",
    epoch=5,
    seq=1,
    sender_id="service#weather",
    sender_name="Löwe \N{HOT BEVERAGE}",
    at=NOW,
)


# ---- who wants none, and who may send the next


@pytest.fixture
def memory_notices() -> Notices:
    return MemoryNotices()


@pytest_asyncio.fixture(loop_scope="session")
async def moto_notices(moto_dynamodb: DynamoDBClient) -> Notices:
    return await _dynamo_notices(moto_dynamodb)


@pytest_asyncio.fixture(loop_scope="session")
async def ministack_notices(cloud: Cloud) -> Notices:
    return await _dynamo_notices(cloud.dynamodb)


async def _dynamo_notices(client: DynamoDBClient) -> Notices:
    tables = table_names(f"notices{next(_numbers)}")
    [rooms] = (it for it in table_definitions(tables) if it["TableName"] == tables["rooms"])
    await client.create_table(**rooms)
    return DynamoNotices(client, tables)


@pytest.fixture(params=["memory", "moto", "ministack"])
def notices(request: pytest.FixtureRequest) -> Notices:
    """Each in turn, with nothing in it."""
    found: Notices = request.getfixturevalue(f"{request.param}_notices")
    return found


@pytest.fixture(params=["memory", "ministack"])
def racing_notices(request: pytest.FixtureRequest) -> Notices:
    """The same without moto, which may let two threads pass the same condition."""
    found: Notices = request.getfixturevalue(f"{request.param}_notices")
    return found


async def test_who_wants_none(notices: Notices) -> None:
    """Everybody wants them who has not said otherwise; the last word counts."""
    assert await notices.silent(["ada", "bob", "ada"]) == frozenset()
    await notices.set_wanted("bob", False)
    await notices.set_wanted("bob", False)
    await notices.set_wanted("cid", True)
    assert await notices.silent(["ada", "bob", "cid"]) == {"bob"}
    await notices.set_wanted("bob", True)
    assert await notices.silent(["ada", "bob", "cid"]) == frozenset()
    assert await notices.silent([]) == frozenset()


async def test_one_a_minute_and_sender(notices: Notices) -> None:
    """Another about the same sender waits for its minute; other senders and other users don't."""
    assert await notices.claim(NOTICE, NOW)
    assert not await notices.claim(replace(NOTICE, seq=2), NOW + NOTICE_EVERY_MS - 1)
    assert not await notices.claim(replace(NOTICE, room_id="tea"), NOW + 1)
    assert not await notices.claim(replace(NOTICE, epoch=6), NOW + 1)
    assert await notices.claim(replace(NOTICE, sender_id="ada"), NOW + 1)
    assert await notices.claim(replace(NOTICE, user_id="cid"), NOW + 1)
    assert await notices.claim(replace(NOTICE, seq=2), NOW + NOTICE_EVERY_MS)


async def test_the_same_again_until_it_was_sent(notices: Notices) -> None:
    """A claimant that died is followed by the next try, whose claim counts from then; what was sent is not claimed."""
    assert await notices.claim(NOTICE, NOW)
    assert await notices.claim(NOTICE, NOW + 10_000)
    assert not await notices.claim(replace(NOTICE, seq=2), NOW + NOTICE_EVERY_MS)
    await notices.settle(NOTICE)
    assert not await notices.claim(NOTICE, NOW + 11_000)
    later = NOW + 10_000 + NOTICE_EVERY_MS
    assert await notices.claim(NOTICE, later)
    assert await notices.claim(NOTICE, later + 1), "a new claim is not settled"


async def test_a_claim_that_is_taken_back(notices: Notices) -> None:
    """Holds back no other; one that was sent stays, and so does another's."""
    second = replace(NOTICE, seq=2)
    await notices.release(NOTICE)
    assert await notices.claim(NOTICE, NOW)
    await notices.release(second)
    assert not await notices.claim(second, NOW + 1)
    await notices.release(NOTICE)
    assert await notices.claim(second, NOW + 2)
    await notices.settle(second)
    await notices.release(second)
    assert not await notices.claim(replace(NOTICE, seq=3), NOW + 3)


async def test_what_is_not_the_last_is_not_settled(notices: Notices) -> None:
    """A claimant that wakes up late settles nothing of another's, and nothing where nothing was claimed."""
    await notices.settle(NOTICE)
    second = replace(NOTICE, seq=2)
    assert await notices.claim(NOTICE, NOW)
    assert await notices.claim(second, NOW + NOTICE_EVERY_MS)
    await notices.settle(NOTICE)
    assert await notices.claim(second, NOW + NOTICE_EVERY_MS + 1)


async def test_of_many_different_ones_at_once_one_is_claimed(racing_notices: Notices) -> None:
    """By whoever is first."""
    claimed = await asyncio.gather(*(racing_notices.claim(replace(NOTICE, seq=it), NOW) for it in range(1, 11)))
    assert sum(claimed) == 1


# ---- the topic


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A topic, and how to read what came out of it: (text, attributes) of each message."""

    publisher: Publisher
    sqs: Any = None
    queue: str = ""

    async def read(self, count: int) -> list[tuple[str, dict[str, str]]]:
        if isinstance(self.publisher, MemoryPublisher):
            return [(notice_text(it), {"userId": it.user_id}) for it in self.publisher.published]
        found: list[tuple[str, dict[str, str]]] = []
        while len(found) < count:
            answer = await self.sqs.receive_message(
                QueueUrl=self.queue, MaxNumberOfMessages=10, WaitTimeSeconds=1, MessageAttributeNames=["All"]
            )
            for it in answer.get("Messages", ()):
                attributes = {name: value["StringValue"] for name, value in it["MessageAttributes"].items()}
                found.append((it["Body"], attributes))
        return found


@pytest.fixture
def memory_topic() -> Subscribed:
    return Subscribed(MemoryPublisher())


@pytest_asyncio.fixture(loop_scope="session")
async def moto_topic(aws: aioboto3.Session, moto_endpoint: str, moto_sqs: SQSClient) -> AsyncIterator[Subscribed]:
    async with aws.client("sns", endpoint_url=moto_endpoint) as sns:
        yield await _subscribed(sns, moto_sqs)


@pytest_asyncio.fixture(loop_scope="session")
async def ministack_topic(cloud: Cloud) -> Subscribed:
    return await _subscribed(cloud.sns, cloud.sqs)


async def _subscribed(sns: Any, sqs: SQSClient) -> Subscribed:
    prefix = f"contract{next(_numbers)}"
    topic = (await sns.create_topic(Name=topic_name(prefix)))["TopicArn"]
    url = (await sqs.create_queue(QueueName=f"{prefix}-subscriber"))["QueueUrl"]
    arn = (await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"]))["Attributes"]["QueueArn"]
    settings = {"RawMessageDelivery": "true", "FilterPolicy": json.dumps({"userId": ["bob"]})}
    await sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes=settings)
    return Subscribed(SnsPublisher(sns, topic, ManualClock()), sqs, url)


@pytest.fixture(params=["memory", "moto", "ministack"])
def topic(request: pytest.FixtureRequest) -> Subscribed:
    """Each in turn, with a queue that wants bob's notices."""
    found: Subscribed = request.getfixturevalue(f"{request.param}_topic")
    return found


async def test_a_subscriber_gets_what_it_filters_for(topic: Subscribed) -> None:
    """As JSON, with the attributes; of a filter on `userId` nobody else's."""
    sent = [NOTICE, replace(NOTICE, user_id="cid"), replace(NOTICE, seq=2)]
    for it in sent:
        await topic.publisher.publish(it, 5)
    if isinstance(topic.publisher, MemoryPublisher):
        assert topic.publisher.published == sent
        return
    found = await topic.read(2)
    assert sorted(text for text, _ in found) == sorted(notice_text(it) for it in (sent[0], sent[2]))
    wanted = {"userId": "bob", "kind": "private_message", "roomId": "inbox#bob", "senderId": "service#weather"}
    assert [attributes for _, attributes in found] == [wanted, wanted]


async def test_a_publisher_without_an_answer_in_memory() -> None:
    """The memory's gives up likewise."""
    publisher = MemoryPublisher()

    async def hang(_: OfflineNotice) -> None:
        await asyncio.get_running_loop().create_future()

    publisher.on_publish = hang
    with pytest.raises(Unavailable):
        await publisher.publish(NOTICE, 0.01)
    assert publisher.published == []


# ---- what SNS answers


@pytest_asyncio.fixture(loop_scope="session")
async def sns(aws: aioboto3.Session, answers: Answers) -> AsyncIterator[tuple[SnsPublisher, ManualClock]]:
    """A topic whose service answers as told, and the clock that it goes by."""
    config = AioConfig(connect_timeout=1, read_timeout=5, retries={"total_max_attempts": 1})
    async with aws.client("sns", endpoint_url=answers.endpoint, config=config) as client:
        clock = ManualClock()
        yield SnsPublisher(client, "arn:aws:sns:us-east-1:000000000000:t", clock), clock


def _refusal(code: str) -> str:
    return f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>m</Message></Error></ErrorResponse>"


TAKEN = "<PublishResponse><PublishResult><MessageId>m</MessageId></PublishResult></PublishResponse>"


@pytest.mark.parametrize(
    ("status", "code"), [(400, "Throttling"), (429, "Throttled"), (500, "InternalError"), (503, "ServiceUnavailable")]
)
async def test_answers_that_mean_not_now(
    sns: tuple[SnsPublisher, ManualClock], answers: Answers, status: int, code: str
) -> None:
    """Throttled or failed; the next try is made all the same."""
    answers.answer(status, _refusal(code))
    for _ in range(2):
        with pytest.raises(Unavailable):
            await sns[0].publish(NOTICE, 5)
    assert len(answers.requests) == 2


async def test_without_an_answer_it_is_left_alone_for_a_while(
    sns: tuple[SnsPublisher, ManualClock], answers: Answers
) -> None:
    """So that one that hangs holds a lane up once in a while, and not at every job."""
    publisher, clock = sns
    answers.hang()
    for _ in range(3):
        with pytest.raises(Unavailable):
            await publisher.publish(NOTICE, 0.5)
    assert len(answers.requests) == 1
    answers.answer(200, TAKEN)
    clock.advance(RESPITE)
    await publisher.publish(NOTICE, 5)
    assert len(answers.requests) == 2


async def test_faults_of_ours_stay_as_they_are(sns: tuple[SnsPublisher, ManualClock], answers: Answers) -> None:
    """A topic that is not there, or a right that is missing."""
    for status, code in ((404, "NotFound"), (403, "AuthorizationError")):
        answers.answer(status, _refusal(code))
        with pytest.raises(ClientError, match=code):
            await sns[0].publish(NOTICE, 5)


async def test_nobody_listens(aws: aioboto3.Session, deserted: str) -> None:
    """No connection is no answer."""
    config = AioConfig(connect_timeout=1, retries={"total_max_attempts": 1})
    async with aws.client("sns", endpoint_url=deserted, config=config) as client:
        with pytest.raises(Unavailable):
            await SnsPublisher(client, "arn:aws:sns:us-east-1:000000000000:t", ManualClock()).publish(NOTICE, 5)
