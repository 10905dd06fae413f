"""Notices to who is away, on the real twin: its functions and queues, and the emulator's SNS with subscribers."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from adapters.dynamodb import DynamoStore
from adapters.settings import table_names
from domain.rooms import ShardKey, inbox_of
from local.twin import PREFIX, Twin
from tests.conformance.clients import fresh
from tests.e2e.people import PATIENCE, Person, person

pytestmark = pytest.mark.asyncio(loop_scope="module")

POLL = 0.05
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Here:
    """A twin, and how notices are got from it."""

    twin: Twin

    @property
    def ws(self) -> str:
        return self.twin.ws_url

    async def subscribe(self, *users: str) -> str:
        """A queue that gets the notices of these users; its URL."""
        sqs, topic = self.twin.cloud.sqs, (await self.twin.status())["topic"]
        name = f"subscriber-{next(_numbers)}"
        await sqs.create_queue(QueueName=name)
        url = f"{self.twin.cloud.endpoint}/000000000000/{name}"
        arn = (await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"]))["Attributes"]["QueueArn"]
        wanted = {"RawMessageDelivery": "true", "FilterPolicy": json.dumps({"userId": list(users)})}
        await self.twin.cloud.sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes=wanted)
        return url

    async def gone(self, someone: Person) -> None:
        """Leave, until the service knows."""
        await someone.leave()
        store = DynamoStore(self.twin.cloud.dynamodb, table_names(PREFIX))
        inbox = await store.room(inbox_of(someone.user))
        assert inbox is not None
        key = ShardKey(inbox.room, inbox.epoch, 0)
        async with asyncio.timeout(PATIENCE):
            while await store.members(key):  # noqa: ASYNC110  # rows tell nobody that they go
                await asyncio.sleep(POLL)

    async def notices(self, url: str) -> list[tuple[dict[str, Any], dict[str, str]]]:
        """(notice, attributes) of all that is in a queue once every job is done."""
        async with asyncio.timeout(PATIENCE):
            while True:
                depth = (await self.twin.cloud.queue_depths())["ephemeral"]
                if not depth.visible + depth.in_flight + depth.delayed:
                    assert depth.dead == 0
                    break
                await asyncio.sleep(POLL)
        found: list[tuple[dict[str, Any], dict[str, str]]] = []
        while True:
            answer = await self.twin.cloud.sqs.receive_message(
                QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"], VisibilityTimeout=60
            )
            messages: Sequence[Any] = answer.get("Messages", ())
            if not messages:
                return found
            for it in messages:
                attributes = {name: value["StringValue"] for name, value in it["MessageAttributes"].items()}
                found.append((json.loads(it["Body"]), attributes))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Here]:
    """A twin for all tests here; each uses names of its own."""
    state: Path = tmp_path_factory.mktemp("twin")
    async with Twin(state=state) as twin:
        yield Here(twin)


async def whisper(someone: Person, target: str) -> dict[str, Any]:
    reply = await someone.ask(type="private_message", targetUserId=target, message="psst")
    data: dict[str, Any] = reply["data"]
    return data


async def test_who_is_away_gets_one_notice(here: Here) -> None:
    """Of ten messages within the minute, in their own queue, with attributes, and no word of what was said; others'
    notices go to others' queues."""
    room = fresh("hall")
    async with person(here.ws, fresh("ada"), room) as ada, person(here.ws, fresh("dan"), room) as dan:
        async with person(here.ws, fresh("bob"), room) as bob, person(here.ws, fresh("cid"), room) as cid:
            to_bob, to_cid, to_dan = [await here.subscribe(it.user) for it in (bob, cid, dan)]
            await here.gone(bob)
            await here.gone(cid)
        acks = [await whisper(ada, bob.user) for _ in range(10)]
        assert {it["online"] for it in acks} == {False}
        ack = await ada.say("who comes?", room, mentions=[cid.user, dan.user, fresh("nobody")])
        [(notice, attributes)] = await here.notices(to_bob)
        assert 1 <= notice.pop("seq") <= 10
        assert notice.pop("at") > 0
        assert notice.pop("epoch") > 0
        assert notice == {
            "v": 1,
            "kind": "private_message",
            "userId": bob.user,
            "roomId": f"inbox#{bob.user}",
            "senderId": ada.user,
            "senderName": ada.user.title(),
        }
        names = ("userId", "kind", "roomId", "senderId")
        assert attributes == {it: notice[it] for it in names}
        [(mention, _)] = await here.notices(to_cid)
        assert (mention["kind"], mention["roomId"], mention["seq"]) == ("mention", room, ack["seq"])
        assert await here.notices(to_dan) == []


async def test_who_opted_out_gets_none(here: Here) -> None:
    """Until they want them again."""
    room = fresh("hall")
    async with person(here.ws, fresh("ada"), room) as ada, person(here.ws, fresh("eve"), room) as eve:
        bob = fresh("bob")
        queue = await here.subscribe(bob)
        for sender, enabled in ((ada, False), (eve, True)):
            async with person(here.ws, bob, room) as he:
                reply = await he.ask(type="notices", enabled=enabled)
                assert (reply["type"], reply["data"]["enabled"]) == ("notices", enabled)
                await here.gone(he)
            assert (await whisper(sender, bob))["online"] is False
            await sender.say("hello", room, mentions=[bob])
        assert [it["senderId"] for it, _ in await here.notices(queue)] == [eve.user]


async def test_a_muted_or_banned_sender_tells_nobody(here: Here) -> None:
    """Nor does who writes from a private room tell a stranger of it."""
    async with person(here.ws, fresh("ada"), fresh("hall")) as ada, person(here.ws, fresh("eve"), fresh("hall")) as eve:
        room, den, bob = fresh("den"), fresh("den"), fresh("bob")
        queue = await here.subscribe(bob)
        await ada.ask(type="create_room", roomId=room)
        await ada.ask(type="create_room", roomId=den, visibility="private")
        for it in (room, den):
            await ada.ask(type="join_room", roomId=it)
        await eve.ask(type="join_room", roomId=room)
        async with person(here.ws, bob, room) as he:
            await here.gone(he)
        await ada.say("a secret", den, mentions=[bob])
        assert (await ada.ask(type="mute", roomId=room, userId=eve.user))["type"] == "ack"
        refused = await eve.ask(type="chat", roomId=room, message="hello", mentions=[bob])
        assert refused["data"]["code"] == "MUTED"
        assert (await ada.ask(type="ban", roomId=room, userId=eve.user))["type"] == "ack"
        await eve.until(lambda: eve.socket.close_code is not None)
        assert await here.notices(queue) == []
        await ada.say("no secret", room, mentions=[bob])
        assert [it["roomId"] for it, _ in await here.notices(queue)] == [room]
