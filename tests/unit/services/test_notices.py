"""Notices to who is away: who is owed one, who is not, and that none is lost."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from domain.errors import Unavailable
from domain.fanout import Absent, parse_job
from domain.notices import ANNOUNCED_FOR_MS, OfflineNotice, notice_attributes, notice_text
from domain.rooms import FOREVER, Standing
from pipeline.absent import PUBLISH_DEADLINE
from services.backend import answer as publish
from tests.unit.world import World


async def whisper(world: World, name: str, target: str, **fields: Any) -> dict[str, Any]:
    """Send a private message; the reply's `data`."""
    request = {"type": "private_message", "targetUserId": target, "message": "psst", **fields}
    reply: dict[str, Any] = (await world.ask(name, request))["data"]
    return reply


async def mention(world: World, name: str, *users: str, room: str = "general") -> dict[str, Any]:
    """Say something that mentions users; the reply's `data`."""
    request = {"type": "chat", "roomId": room, "message": "you there", "mentions": list(users)}
    reply: dict[str, Any] = (await world.ask(name, request))["data"]
    return reply


async def seen(world: World, *users: str) -> None:
    """Users who were here, and are away."""
    for it in users:
        await world.connect(it)
        await world.disconnect(it)
    await world.pump()


def jobs(world: World) -> list[Absent]:
    waiting = [parse_job(it.body) for it in world.queue._messages["ephemeral"].values()]
    return [it for it in waiting if isinstance(it, Absent)]


def told(world: World) -> list[tuple[str, str]]:
    """(user, sender) of each notice."""
    return [(it.user_id, it.sender_id) for it in world.topic.published]


async def test_an_offline_target_gets_a_notice() -> None:
    """After the ack, with where the message is, and nothing of its text."""
    world = World()
    await world.connect("ada")
    await seen(world, "bob")
    ack = await whisper(world, "ada", "bob")
    assert (ack["online"], world.topic.published) == (False, [])
    await world.pump()
    [notice] = world.topic.published
    inbox = await world.store.room("inbox#bob")
    assert inbox is not None
    assert notice == OfflineNotice(
        kind="private_message",
        user_id="bob",
        room_id="inbox#bob",
        epoch=inbox.epoch,
        seq=1,
        sender_id="ada",
        sender_name="Ada",
        at=notice.at,
    )
    assert "psst" not in notice_text(notice)
    assert world.counts["NoticesPublished"] == 1


async def test_who_is_here_or_was_never_seen_gets_none() -> None:
    """A private message to who is online enqueues nothing at all; of a mention, the worker looks who is here."""
    world = World()
    await world.connect("ada")
    await world.connect("bob")
    await seen(world, "cid")
    await whisper(world, "ada", "bob")
    await whisper(world, "ada", "ada")
    await mention(world, "ada", "ada")
    await world.say("ada", "nobody in particular")
    assert jobs(world) == []
    await mention(world, "ada", "bob", "cid", "nobody", "ada", "cid")
    assert [it.users for it in jobs(world)] == [["bob", "cid", "nobody"]]
    await world.pump()
    assert told(world) == [("cid", "ada")]
    [notice] = world.topic.published
    assert (notice.kind, notice.room_id, notice.seq) == ("mention", "general", 3)


async def test_a_deployment_without_a_topic_enqueues_nothing() -> None:
    """Neither for private messages nor for mentions."""
    world = World(notices=False)
    await world.connect("ada")
    await seen(world, "bob")
    await whisper(world, "ada", "bob")
    await mention(world, "ada", "bob")
    assert jobs(world) == []


async def test_a_service_announces_too() -> None:
    """What a server says to a user who is away."""
    world = World()
    await seen(world, "bob")
    action = {"action": "publish", "userId": "bob", "message": "rain", "as": {"id": "weather", "name": "Weather"}}
    answered = await publish(world.ports, world.sockets, action, "r1")
    assert answered["online"] is False
    await world.pump()
    assert told(world) == [("bob", "service#weather")]


async def test_one_notice_a_minute_and_sender() -> None:
    """Ten messages are one notice; another sender's is one more; after the minute there is the next."""
    world = World()
    for it in ("ada", "eve"):
        await world.connect(it)
    await seen(world, "bob")
    for _ in range(10):
        await whisper(world, "ada", "bob")
    await whisper(world, "eve", "bob")
    await world.pump()
    assert told(world) == [("bob", "ada"), ("bob", "eve")]
    assert world.counts["NoticesHeldBack"] == 9
    world.clock.advance(59)
    await whisper(world, "ada", "bob")
    await world.pump()
    assert len(world.topic.published) == 2
    world.clock.advance(1)
    await whisper(world, "ada", "bob")
    await world.pump()
    assert told(world)[2:] == [("bob", "ada")]


async def test_a_repeat_announces_again_and_is_told_once() -> None:
    """The first try's job may be lost with its sender's function; who was told is not told again."""
    world = World()
    await world.connect("ada")
    await seen(world, "bob")
    for _ in range(3):
        await whisper(world, "ada", "bob", clientId="the-same-message")
        assert len(jobs(world)) == 1
        await world.pump()
        assert told(world) == [("bob", "ada")]


async def test_who_opted_out_gets_none_until_they_opt_in() -> None:
    """For all their connections; the reply says what stands."""
    world = World()
    await world.connect("ada")
    for enabled in (False, True):
        await world.connect("bob")
        assert (await world.ask("bob", {"type": "notices"}))["data"] == {"enabled": not enabled}
        reply = await world.ask("bob", {"type": "notices", "enabled": enabled, "clientId": "notices-1"})
        assert reply == {"type": "notices", "data": {"clientId": "notices-1", "enabled": enabled}}
        assert (await world.ask("bob", {"type": "notices"}))["data"] == {"enabled": enabled}
        await world.disconnect("bob")
        await whisper(world, "ada", "bob")
        await mention(world, "ada", "bob")
        await world.pump()
        assert len(world.topic.published) == enabled


@pytest.mark.parametrize("enabled", ["yes", 1, [], {}])
async def test_nonsense_is_refused(enabled: Any) -> None:
    """By the name of the field, and nothing changes."""
    world = World()
    await world.connect("bob")
    reply = await world.ask("bob", {"type": "notices", "enabled": enabled})
    assert reply["data"]["code"] == "BAD_REQUEST"
    assert "`enabled`" in reply["data"]["message"]
    assert (await world.ask("bob", {"type": "notices"}))["data"] == {"enabled": True}


@pytest.mark.parametrize("standing", [Standing(muted_until=FOREVER), Standing(banned_until=FOREVER)])
async def test_a_sender_who_was_silenced_meanwhile_tells_nobody(standing: Standing) -> None:
    """Between the ack and the worker."""
    world = World()
    await world.connect("ada")
    await seen(world, "bob")
    await mention(world, "ada", "bob")
    await world.store.set_standing("general", "ada", standing)
    await world.pump()
    assert told(world) == []
    assert (await mention(world, "ada", "bob"))["code"] in {"MUTED", "BANNED"}
    assert jobs(world) == []
    await world.store.set_standing("general", "ada", Standing())
    await mention(world, "ada", "bob")
    await world.pump()
    assert told(world) == [("bob", "ada")]


async def test_who_may_not_be_in_the_room_is_not_told_of_it() -> None:
    """The banned, strangers of a private room, and nobody once the room has ended."""
    world = World()
    await world.connect("ada")
    await seen(world, "bob", "cid", "dan")
    await world.ask("ada", {"type": "create_room", "roomId": "den", "visibility": "private"})
    await world.ask("ada", {"type": "join_room", "roomId": "den"})
    await world.ask("ada", {"type": "set_role", "roomId": "den", "userId": "bob", "role": "guest"})
    await world.store.set_standing("den", "cid", Standing(role="member", banned_until=FOREVER))
    await mention(world, "ada", "bob", "cid", "dan", room="den")
    await world.pump()
    assert told(world) == [("bob", "ada")]
    world.clock.advance(61)
    await mention(world, "ada", "bob", room="den")
    await world.ask("ada", {"type": "delete_room", "roomId": "den"})
    await world.pump()
    assert len(world.topic.published) == 1


async def test_who_comes_back_before_the_worker_is_not_told() -> None:
    """They see it where they are."""
    world = World()
    await world.connect("ada")
    await seen(world, "bob")
    await whisper(world, "ada", "bob")
    await world.connect("bob")
    await world.pump()
    assert told(world) == []


async def test_what_fails_comes_again_and_holds_nobody_up() -> None:
    """The job alone, for those who were not told; the typing beside it goes out."""
    world = World(batch_size=10)
    await world.connect("ada")
    await world.connect("eve")
    await seen(world, "bob", "cid")

    async def refuse(notice: OfflineNotice) -> None:
        if notice.user_id == "cid":
            raise Unavailable("throttled")

    world.topic.on_publish = refuse
    await mention(world, "ada", "bob", "cid")
    await world.ask("ada", {"type": "typing", "roomId": "general"})
    await world.work_once("interactive")
    failed = await world.work_once("ephemeral")
    assert failed is not None
    assert len(failed) == 1
    assert (told(world), len(world.events("eve", "typing"))) == ([("bob", "ada")], 1)
    world.topic.on_publish = None
    await world.pump(seconds=5)
    assert told(world) == [("bob", "ada"), ("cid", "ada")]


async def test_a_publish_without_an_answer_is_given_up() -> None:
    """After its deadline; the batch goes on, and the job comes again."""
    world = World(batch_size=10)
    await world.connect("ada")
    await seen(world, "bob")
    begun: list[float] = []

    async def hang(_: OfflineNotice) -> None:
        begun.append(asyncio.get_running_loop().time())
        await asyncio.get_running_loop().create_future()

    world.topic.on_publish = hang
    await whisper(world, "ada", "bob")
    await world.work_once("interactive")
    assert len(await world.work_once("ephemeral") or ()) == 1
    assert len(begun) == 1
    assert PUBLISH_DEADLINE <= 2
    world.topic.on_publish = None
    await world.pump(seconds=5)
    assert told(world) == [("bob", "ada")]


async def test_a_job_that_is_late_is_dropped() -> None:
    """A notice of ten minutes ago is none."""
    world = World()
    await world.connect("ada")
    await seen(world, "bob")
    await whisper(world, "ada", "bob")
    world.clock.advance(ANNOUNCED_FOR_MS / 1000 + 1)
    await world.pump()
    assert (told(world), jobs(world)) == ([], [])


async def test_a_worker_that_died_after_its_claim_is_made_good() -> None:
    """The same job may claim again; once it was sent, it may not."""
    world = World()
    await world.connect("ada")
    await seen(world, "bob")
    await whisper(world, "ada", "bob")
    [job] = jobs(world)
    notice = OfflineNotice(
        kind="private_message",
        user_id="bob",
        room_id=job.room,
        epoch=job.epoch,
        seq=job.seq,
        sender_id="ada",
        sender_name="Ada",
        at=job.at,
    )
    assert await world.ports.notices.claim(notice, world.clock.now())
    await world.pump()
    assert told(world) == [("bob", "ada")]
    await world.ports.queue.announce(job)
    await world.pump()
    assert len(world.topic.published) == 1


async def test_who_was_back_is_told_of_what_comes_after_they_went_again() -> None:
    """A worker claimed their notice and died; by its next try they were here, so that it was never sent: within the
    same minute it holds back no other."""
    world = World()
    await world.connect("ada")
    await seen(world, "bob")
    await whisper(world, "ada", "bob")

    async def die(_: OfflineNotice) -> None:
        raise Unavailable("no answer")

    world.topic.on_publish = die
    await world.work_once("interactive")
    assert len(await world.work_once("ephemeral") or ()) == 1
    world.topic.on_publish = None
    await world.connect("bob")
    await world.pump(seconds=5)
    assert told(world) == []
    await world.disconnect("bob")
    await whisper(world, "ada", "bob")
    await world.pump()
    assert told(world) == [("bob", "ada")]


async def test_a_worker_without_a_topic_drops_the_job() -> None:
    """As after a deployment that took the topic away."""
    world = World()
    await world.connect("ada")
    await seen(world, "bob")
    await whisper(world, "ada", "bob")
    world.ports = replace(world.ports, publisher=None)
    await world.pump()
    assert (told(world), jobs(world)) == ([], [])


def test_what_a_subscriber_gets() -> None:
    """JSON that any transport lets through, and attributes to filter by."""
    notice = OfflineNotice(
        kind="mention",
        user_id="bob",
        room_id="tea",
        epoch=5,
        seq=7,
        sender_id="ada",
        sender_name="Ada \N{HOT BEVERAGE}",
        at=1_700_000_000_000,
    )
    text = notice_text(notice)
    assert text.isascii()
    assert json.loads(text) == {
        "v": 1,
        "kind": "mention",
        "userId": "bob",
        "roomId": "tea",
        "epoch": 5,
        "seq": 7,
        "senderId": "ada",
        "senderName": "Ada \N{HOT BEVERAGE}",
        "at": 1_700_000_000_000,
    }
    assert notice_attributes(notice) == {"userId": "bob", "kind": "mention", "roomId": "tea", "senderId": "ada"}
