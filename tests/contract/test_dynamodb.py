"""DynamoStore, beside its contract: the rows as they are stored, how it reads, and what answers mean."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aioboto3
import pytest
import pytest_asyncio
from aiobotocore.config import AioConfig
from botocore.exceptions import ClientError

from adapters.dynamodb import DynamoStore, rows
from adapters.dynamodb.store import CREATE_DELAYS
from adapters.dynamodb.tables import REREAD_DELAYS
from adapters.settings import table_names
from domain.errors import Conflict, RoomcastError, Unavailable
from domain.rooms import FOREVER, Member, Membership, Room, ShardKey, Standing, due_bucket
from tests.contract.answers import Answers
from tests.contract.stage import EPOCH, HOUR, NOW, DynamoStage

pytestmark = pytest.mark.asyncio(loop_scope="session")


KEY = ShardKey("r", 1, 0)
MEMBER = Member("c", "u", "U", "v1", NOW, NOW + HOUR, "join-1")
MEMBERSHIP = Membership("r", 1, 0, "join-1", "u", "U")


# ---- rows


async def test_rows_are_as_the_design_says(dynamo_stage: DynamoStage) -> None:
    """Keys, attributes, and a time-to-live in seconds."""
    stage = dynamo_stage
    await stage.store.create_room(Room(stage.room, EPOCH, profile=stage.profile(stage.room, parent="root")))
    await stage.enter()
    await stage.say({"message": "é"})
    await stage.store.claim_stats(stage.key, 0, NOW + 1)
    await stage.store.set_ticked(stage.number, stage.minute)
    await stage.store.set_standing(stage.room, stage.user, Standing(muted_until=3))
    times = {"connectedAt": NOW, "expiresAt": (NOW + 3 * HOUR) // 1000, "expiresAtMs": NOW + 2 * HOUR}
    person = {"userId": stage.user, "name": "Ada Löwe", "dialect": "v1"}
    assert await stage.row("rooms", stage.room, "meta") == {
        "epoch": EPOCH,
        "head": 1,
        "shards": 1,
        "status": "open",
        "profile": rows.profile_text(stage.profile(stage.room, parent="root")),
        "messages": 1,
    }
    assert await stage.row("rooms", stage.room, "directory") == {
        "title": f"The {stage.room} \N{HOT BEVERAGE}",
        "owner": stage.user,
        "parent": "root",
        "visibility": "public",
    }
    assert await stage.row("rooms", stage.room, f"user#{stage.user}") == {
        "roomRole": "-",
        "bannedUntil": 0,
        "mutedUntil": 3,
        "kickedAt": 0,
        "spokeAt": 0,
    }
    shard = f"{stage.room}#{EPOCH}#0"
    assert await stage.row("rooms", shard, "shard") == {
        "sent": 0,
        "members": 1,
        "version": 1,
        "shards": 1,
        "statsAt": NOW + 1,
    }
    assert await stage.row("rooms", shard, stage.connection) == {
        "v": 1,
        "joinId": "join-1",
        "since": 7,
        **person,
        **times,
    }
    lease = {"lastRoom": stage.room, "leaseUntil": stage.minute * 60_000}
    assert await stage.row("connections", stage.connection, "#") == {**person, **times, **lease}
    assert await stage.row("connections", stage.connection, stage.room) == {
        "epoch": EPOCH,
        "shard": 0,
        "joinId": "join-1",
        "userId": stage.user,
        "name": "Ada Löwe",
        "since": 7,
        "expiresAt": times["expiresAt"],
    }
    due = f"due#{stage.minute}#{due_bucket(stage.connection)}"
    assert await stage.row("connections", due, stage.connection) == {"expiresAt": stage.minute * 60 + 6 * 3600}
    assert await stage.row("connections", f"tick#{stage.number}", "#") == {"minute": stage.minute}
    assert await stage.row("messages", f"{stage.room}#{EPOCH}", "0000000000000001") == {
        "v": 1,
        "type": "chat",
        "at": NOW,
        "sender": stage.user,
        "body": '{"message":"é"}',
        "nth": 1,
        "expiresAt": (NOW + 24 * HOUR) // 1000,
    }
    once = await stage.row("messages", f"#once#{stage.user}", "request-1")
    assert once == {
        "v": 1,
        "digest": "3f",
        "reply": '{"type":"ack"}',
        "rings": f'[{{"room":"{stage.room}","epoch":{EPOCH},"shards":1,"seq":1}}]',
        "expiresAt": (NOW + HOUR) // 1000,
        "expiresAtMs": NOW + HOUR,
    }


async def test_an_entry_s_origin_is_stored_where_there_is_one(dynamo_stage: DynamoStage) -> None:
    """Most entries have none."""
    stage = dynamo_stage
    await stage.open_room()
    await stage.enter()
    await stage.append(await stage.read_room(), replace(stage.entry(1), origin="c="))
    assert (await stage.row("messages", f"{stage.room}#{EPOCH}", "0000000000000001"))["origin"] == "c="


async def test_a_standing_leaves_the_rest_of_the_user_row(dynamo_stage: DynamoStage) -> None:
    """The row holds the user's role as well; and a row without a standing is an empty one, which may write and join."""
    stage = dynamo_stage
    key = {"pk": {"S": stage.room}, "sk": {"S": f"user#{stage.user}"}}
    await stage.client.put_item(TableName=stage.tables["rooms"], Item={**key, "role": {"S": "owner"}})
    assert await stage.store.standing(stage.room, stage.user) == Standing()
    await stage.open_room()
    await stage.enter()
    await stage.say({"message": "one"})
    await stage.store.set_standing(stage.room, stage.user, Standing(banned_until=FOREVER))
    assert (await stage.row("rooms", stage.room, f"user#{stage.user}"))["role"] == "owner"


# ---- calls


async def test_every_read_is_strong_and_of_few_calls(moto_store: DynamoStage) -> None:
    """A caller relies on the order of its reads; a send reads once and writes once."""
    stage = moto_store.fresh(0)
    await stage.open_room()
    await stage.enter()
    calls: list[tuple[str, dict[str, Any]]] = []

    def record(params: dict[str, Any], model: Any, **_: Any) -> None:
        calls.append((model.name, params))

    events, hook = stage.client.meta.events, "before-parameter-build.dynamodb"
    events.register(hook, record)
    try:
        await stage.store.sending([stage.room, stage.inbox.room], stage.connection, stage.user, "request-1")
        await stage.append(await stage.read_room(), stage.entry(1))
        assert [name for name, _ in calls] == ["BatchGetItem", "GetItem", "TransactWriteItems"]
        await stage.store.rooms([stage.room])
        await stage.store.standing(stage.room, stage.user)
        await stage.store.entries(stage.room, EPOCH, 0, limit=1, max_bytes=1)
        await stage.store.entries_before(stage.room, EPOCH, 9, limit=1, max_bytes=1)
        await stage.store.session(stage.connection)
        await stage.store.shard(stage.key)
        await stage.store.members(stage.key)
        await stage.store.members_among(stage.key, [stage.connection])
        await stage.store.shards([stage.key, stage.inbox])
        await stage.store.members_page(stage.key, "", 9)
        await stage.store.due(stage.minute, 0, 9)
        await stage.store.ticked(0)
    finally:
        events.unregister(hook, record)
    for name, params in calls:
        if name == "BatchGetItem":
            assert all(it["ConsistentRead"] for it in params["RequestItems"].values())
        elif name != "TransactWriteItems":
            assert params["ConsistentRead"], name
    assert len(calls) == 15


# ---- answers that no emulator gives


@pytest_asyncio.fixture(loop_scope="session")
async def store(aws: aioboto3.Session, answers: Answers) -> AsyncIterator[DynamoStore]:
    """A store whose service answers as told, and whose client does not try again. Pauses take no time."""
    config = AioConfig(connect_timeout=1, read_timeout=0.2, retries={"total_max_attempts": 1})

    async def sleep(_: float) -> None:
        pass

    async with aws.client("dynamodb", endpoint_url=answers.endpoint, config=config) as client:
        yield DynamoStore(client, table_names("t"), sleep=sleep)


def _error(kind: str, *reasons: str) -> str:
    body: dict[str, Any] = {"__type": f"com.amazonaws.dynamodb.v20120810#{kind}", "message": "m"}
    if reasons:
        body["CancellationReasons"] = [{"Code": it} for it in reasons]
    return json.dumps(body)


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        (("None", "ConditionalCheckFailed"), Conflict),
        (("None", "TransactionConflict"), Conflict),
        (("ThrottlingError", "ConditionalCheckFailed"), Conflict),
        (("None", "ThrottlingError"), Unavailable),
        (("ProvisionedThroughputExceeded", "None"), Unavailable),
    ],
)
async def test_reasons_of_a_cancelled_transaction(
    store: DynamoStore, answers: Answers, reasons: tuple[str, ...], expected: type
) -> None:
    """A condition or another transaction is a conflict; throttling is not."""
    answers.answer(400, _error("TransactionCanceledException", *reasons))
    with pytest.raises(RoomcastError) as caught:
        await store.join(MEMBER, KEY, None, None, NOW)
    assert isinstance(caught.value, expected)


async def test_a_leave_that_meets_a_transaction_is_not_told_that_the_rows_are_gone(
    store: DynamoStore, answers: Answers
) -> None:
    """It may be a send of the same member: nothing is known, so the caller tries again."""
    answers.answer(400, _error("TransactionConflictException"))
    with pytest.raises(Unavailable):
        await store.leave("c", MEMBERSHIP)


async def test_a_room_that_others_are_making_is_tried_again(store: DynamoStore, answers: Answers) -> None:
    """Whether one of them has made it is not known; after a handful of tries the caller is told so."""
    answers.answer(400, _error("TransactionCanceledException", "TransactionConflict", "None"))
    with pytest.raises(Unavailable):
        await store.create_room(Room("r", 1))
    assert len(answers.requests) == len(CREATE_DELAYS) + 1


async def test_a_due_row_is_put_before_it_is_deleted(store: DynamoStore, answers: Answers) -> None:
    """A tick that dies in between leaves one too many, never none."""
    answers.answer(503, _error("ServiceUnavailable"))
    with pytest.raises(Unavailable):
        await store.move_due("c", 7, 8)
    ((_, _, put),) = answers.requests
    assert json.loads(put)["Item"]["pk"] == {"S": f"due#8#{due_bucket('c')}"}
    answers.answer(200, "{}")
    await store.move_due("c", 7, 8)
    assert json.loads(answers.requests[-1][2])["Key"]["pk"] == {"S": f"due#7#{due_bucket('c')}"}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "ThrottlingException"),
        (400, "ProvisionedThroughputExceededException"),
        (400, "RequestLimitExceeded"),
        (400, "TransactionConflictException"),
        (400, "TransactionInProgressException"),
        (500, "InternalServerError"),
        (503, "ServiceUnavailable"),
    ],
)
async def test_answers_that_mean_not_now(store: DynamoStore, answers: Answers, status: int, kind: str) -> None:
    """Throttled, failed, or held by a transaction: reads and writes alike."""
    answers.answer(status, _error(kind))
    for call in (store.room("r"), store.end_connection("c"), store.members(KEY)):
        with pytest.raises(Unavailable):
            await call


async def test_no_answer(store: DynamoStore, answers: Answers) -> None:
    """A time-out, and an answer from something in between."""
    answers.hang()
    with pytest.raises(Unavailable):
        await store.room("r")
    answers.answer(502, "<html>")
    with pytest.raises(Unavailable):
        await store.room("r")


async def test_nobody_there(aws: aioboto3.Session, deserted: str) -> None:
    """The connection is refused."""
    config = AioConfig(retries={"total_max_attempts": 1})
    async with aws.client("dynamodb", endpoint_url=deserted, config=config) as client:
        with pytest.raises(Unavailable):
            await DynamoStore(client, table_names("t")).room("r")


async def test_faults_of_ours_stay_as_they_are(store: DynamoStore, answers: Answers) -> None:
    """A table that is not there, or a right that is missing, is no state of the world to try again in."""
    for kind in ("ResourceNotFoundException", "AccessDeniedException", "ValidationException"):
        answers.answer(400, _error(kind))
        with pytest.raises(ClientError, match=kind):
            await store.room("r")


async def test_an_incomplete_batch_read_is_read_again_as_a_whole(store: DynamoStore, answers: Answers) -> None:
    """All keys again: what a send depends on is one read, and no part of it may be older than another."""
    tables = table_names("t")
    stale = {"pk": {"S": "r"}, "sk": {"S": "meta"}, **_meta(head=1)}
    fresh = {"pk": {"S": "r"}, "sk": {"S": "meta"}, **_meta(head=2)}
    left = {tables["messages"]: {"Keys": [{"pk": {"S": "#once#u"}, "sk": {"S": "request-1"}}]}}
    answers.script(
        json.dumps({"Responses": {tables["rooms"]: [stale]}, "UnprocessedKeys": left}),
        json.dumps({"Responses": {tables["rooms"]: [fresh]}, "UnprocessedKeys": {}}),
    )
    read = await store.sending(["r"], "c", "u", "request-1")
    assert read.rooms["r"].head == 2
    first, second = (json.loads(body) for _, _, body in answers.requests)
    assert first == second


async def test_a_batch_read_that_stays_incomplete_is_unavailable(store: DynamoStore, answers: Answers) -> None:
    """After a handful of tries."""
    left = {table_names("t")["rooms"]: {"Keys": [{"pk": {"S": "r"}, "sk": {"S": "meta"}}]}}
    answers.script(json.dumps({"Responses": {}, "UnprocessedKeys": left}))
    with pytest.raises(Unavailable):
        await store.rooms(["r"])
    assert len(answers.requests) == len(REREAD_DELAYS) + 1


def _meta(head: int) -> dict[str, Any]:
    return {"epoch": {"N": "1"}, "head": {"N": str(head)}, "shards": {"N": "1"}, "status": {"S": "open"}}
