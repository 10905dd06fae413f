"""Telling hooks: every entry, in order, until it is taken; what fails waits, and holds nobody up."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from typing import Any

import pytest
from standardwebhooks import Webhook

from adapters.memory import Delivery
from domain.errors import PostFailed, Unavailable
from domain.fanout import HOOKS_LANE, HookBell
from domain.ports import Answered
from domain.webhooks import Hook
from services.backend import answer
from tests.unit.world import World

DAY = 24 * 3600


async def a_world(**settings: Any) -> World:
    world = World(**settings)
    await world.connect("ada")
    await world.say("ada", "before")
    await world.pump()
    return world


async def a_hook(world: World, room: str = "general", **changes: Any) -> dict[str, Any]:
    request = {
        "action": "add_webhook",
        "roomId": room,
        "direction": "outgoing",
        "name": "ci",
        "url": "https://x.example",
    }
    return await answer(world.ports, world.sockets, request | changes, "invocation")


async def stored(world: World, hook: dict[str, Any]) -> Hook:
    found = await world.webhooks.hook(hook["id"])
    assert found is not None
    return found


def seqs(deliveries: list[Delivery]) -> list[int]:
    return [json.loads(it.body)["data"]["seq"] for it in deliveries]


def texts(world: World) -> list[str]:
    return [json.loads(it.body)["data"].get("message") for it in world.receivers.taken]


def answering(world: World, *statuses: int, retry_after: float | None = None) -> None:
    """The next posts are answered so, and those after them like the last."""
    left = list(statuses)

    async def answered(_: Delivery) -> Answered:
        return Answered(left.pop(0) if len(left) > 1 else left[0], retry_after)

    world.receivers.answer = answered


async def test_what_is_in_the_log_is_told_in_order() -> None:
    """Messages, edits, reactions: from when the hook was made, as the wire has them; who comes is not."""
    world = await a_world()
    hook = await a_hook(world)
    said = await world.say("ada", "one")
    await world.ask("ada", {"type": "edit_message", "roomId": "general", "seq": said["seq"], "message": "two"})
    await world.ask("ada", {"type": "react", "roomId": "general", "seq": said["seq"], "emoji": "👍"})
    await world.connect("bob")
    await world.pump()
    told = [json.loads(it.body) for it in world.receivers.taken]
    assert [(it["type"], it["data"]["seq"]) for it in told] == [("chat", 2), ("message_edited", 3), ("reaction", 4)]
    assert told[0]["data"]["roomId"] == "general"
    assert told[0]["timestamp"].endswith("Z")
    assert (await stored(world, hook)).position == 4


async def test_a_delivery_is_signed_as_the_standard_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The standard's own library accepts it, by the new secret and, for a day, by the one before."""
    world = await a_world()
    hook = await a_hook(world)
    monkeypatch.setattr(world.ports.clock, "now", _now_of_the_machine)
    rotated = await answer(world.ports, world.sockets, {"action": "rotate_webhook", "webhookId": hook["id"]}, "i")
    await world.say("ada", "one")
    await world.pump()
    [delivery] = world.receivers.taken
    for it in (hook, rotated):
        assert Webhook(it["secret"]).verify(delivery.body, dict(delivery.headers))["data"]["message"] == "one"


def _now_of_the_machine() -> int:
    return time.time_ns() // 1_000_000


async def test_only_what_was_chosen() -> None:
    """The others count as told."""
    world = await a_world()
    hook = await a_hook(world, events=["reaction"])
    said = await world.say("ada", "one")
    await world.ask("ada", {"type": "react", "roomId": "general", "seq": said["seq"], "emoji": "👍"})
    await world.say("ada", "two")
    await world.pump()
    assert [json.loads(it.body)["type"] for it in world.receivers.taken] == ["reaction"]
    assert (await stored(world, hook)).position == 4


async def test_a_failure_comes_again_and_nothing_overtakes_it() -> None:
    """With the same id; the bells of what is said meanwhile don't wait in the queue."""
    world = await a_world()
    hook = await a_hook(world)
    answering(world, 500, 503, 204)
    await world.say("ada", "one")
    await world.pump()
    failing = await stored(world, hook)
    assert (failing.failures, failing.position, failing.problem) == (1, 1, "the answer was 500")
    assert failing.failing_since
    await world.say("ada", "two")
    await world.say("ada", "three")
    await world.pump()
    assert len(world.receivers.posted) == 1
    assert world.queue.depth(HOOKS_LANE) == 0
    await world.pump(10)
    assert seqs(world.receivers.taken) == [2, 3, 4]
    assert seqs(world.receivers.posted) == [2, 2, 2, 3, 4]
    assert len({it.headers["webhook-id"] for it in world.receivers.posted}) == 3
    after = await stored(world, hook)
    assert (after.failures, after.failing_since, after.retry_at, after.problem, after.position) == (0, 0, 0, "", 4)


async def test_a_backlog_of_many_pages_after_a_failure() -> None:
    """Two hundred entries that nobody rang for again, all in order, each once."""
    world = await a_world()
    await a_hook(world)
    answering(world, 500, 204)
    for number in range(200):
        await world.say("ada", str(number))
        if not number:
            await world.pump()
    await world.pump(5)
    assert texts(world) == [str(it) for it in range(200)]


async def test_a_redirect_is_a_failure() -> None:
    """And says so."""
    world = await a_world()
    hook = await a_hook(world)
    answering(world, 302)
    await world.say("ada", "one")
    await world.pump()
    assert (await stored(world, hook)).problem == "the answer was 302, a redirect, and none is followed"


async def test_retry_after_is_kept_to_within_bounds() -> None:
    """Ten minutes are ten minutes; an hour is a quarter of one."""
    for asked, waited in ((600.0, 600), (3_600.0, 900)):
        world = await a_world()
        hook = await a_hook(world)
        answering(world, 503, retry_after=asked)
        await world.say("ada", "one")
        await world.pump()
        assert (await stored(world, hook)).retry_at == world.clock.now() + waited * 1000


async def test_pauses_grow() -> None:
    """Up to a quarter of an hour: in a day of failures some hundred tries, not one a second."""
    world = await a_world()
    hook = await a_hook(world)
    answering(world, 500)
    await world.say("ada", "one")
    await world.pump(DAY, step=30)
    assert 96 <= len(world.receivers.posted) <= 220
    assert (await stored(world, hook)).enabled


async def test_after_days_of_failure_it_is_disabled() -> None:
    """With its cause; its room names it no longer, so nothing rings, and enabling it tells what was missed."""
    world = await a_world()
    hook = await a_hook(world)
    answering(world, 500)
    await world.say("ada", "one")
    await world.pump(3 * DAY + 3600, step=30)
    disabled = await stored(world, hook)
    assert not disabled.enabled
    assert disabled.cause == "its receiver failed for 3 days: the answer was 500"
    assert world.counts["HooksDisabled"] == 1
    room = await world.store.room("general")
    assert room is not None
    assert room.hooks == ()
    posts = len(world.receivers.posted)
    await world.connect("bob")
    await world.say("bob", "two")
    await world.pump(DAY, step=30)
    assert len(world.receivers.posted) == posts
    world.receivers.answer = None
    await answer(world.ports, world.sockets, {"action": "enable_webhook", "webhookId": hook["id"]}, "i")
    await world.pump()
    assert texts(world) == ["one", "two"]


async def test_gone_disables_at_once() -> None:
    """What was told before it counts as told."""
    world = await a_world()
    hook = await a_hook(world)
    answering(world, 204, 410)
    await world.say("ada", "one")
    await world.say("ada", "two")
    await world.pump()
    disabled = await stored(world, hook)
    assert (disabled.enabled, disabled.cause, disabled.position) == (False, "its receiver is gone: 410", 2)


async def test_a_success_ends_the_days_of_failure() -> None:
    """Two days, a success, two days: still enabled."""
    world = await a_world()
    hook = await a_hook(world)
    for text in ("one", "two"):
        answering(world, 500)
        await world.say("ada", text) if text == "one" else await _again(world, text)
        await world.pump(2 * DAY, step=60)
        world.receivers.answer = None
        await world.pump(1800, step=30)
    assert texts(world) == ["one", "two"]
    assert (await stored(world, hook)).enabled


async def _again(world: World, text: str) -> None:
    await world.connect("bob")
    await world.say("bob", text)


async def test_a_slow_receiver_holds_no_other_up() -> None:
    """Each of a batch has its own time, side by side."""
    world = await a_world(post_deadline=0.05)
    slow = await a_hook(world, url="https://slow.example")
    await a_hook(world, url="https://fast.example")

    async def answered(delivery: Delivery) -> Answered:
        if "slow" in delivery.url:
            await asyncio.get_running_loop().create_future()
        return Answered(204)

    world.receivers.answer = answered
    for number in range(3):
        await world.say("ada", str(number))
    await world.pump()
    assert texts(world) == ["0", "1", "2"]
    assert [it.url for it in world.receivers.posted].count("https://slow.example") == 1
    assert (await stored(world, slow)).problem == "no answer in time"


async def test_a_worker_whose_time_is_over_goes_on_later() -> None:
    """What is left has a bell of its own, and nothing is told twice."""
    world = await a_world()
    await a_hook(world)

    async def answered(_: Delivery) -> Answered:
        world.clock.advance(2)
        return Answered(204)

    world.receivers.answer = answered
    for number in range(8):
        await world.say("ada", str(number))
    assert await world.work_once(HOOKS_LANE) == []
    assert len(world.receivers.taken) == 3
    await world.pump()
    assert texts(world) == [str(it) for it in range(8)]


async def test_what_time_has_taken_is_not_told() -> None:
    """A receiver that comes back after the room's retention gets what there is."""
    world = await a_world()
    await world.ask("ada", {"type": "create_room", "roomId": "brief", "retention": 60})
    await world.ask("ada", {"type": "join_room", "roomId": "brief"})
    await a_hook(world, "brief")
    answering(world, 500)
    await world.say("ada", "old", "brief")
    await world.pump(90, step=1)
    await world.say("ada", "new", "brief")
    world.receivers.answer = None
    await world.pump(300, step=1)
    assert texts(world) == ["new"]


async def test_the_last_words_of_a_room() -> None:
    """That it was deleted is told; the room made anew is another one."""
    world = await a_world()
    await world.ask("ada", {"type": "create_room", "roomId": "end"})
    await a_hook(world, "end")
    await world.ask("ada", {"type": "delete_room", "roomId": "end"})
    world.clock.advance(1)
    await world.ask("ada", {"type": "create_room", "roomId": "end"})
    await world.ask("ada", {"type": "join_room", "roomId": "end"})
    await world.say("ada", "anew", "end")
    await world.pump()
    assert [json.loads(it.body)["type"] for it in world.receivers.taken] == ["room_deleted"]


async def test_a_repeat_of_a_request_rings_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its function died between the members' doorbells and the hooks': the client's repeat makes it good."""
    world = await a_world()
    await a_hook(world)
    ring = world.queue.ring

    async def dies(lane: str, jobs: Any) -> None:
        if lane == HOOKS_LANE:
            raise Unavailable("died")
        await ring(lane, jobs)

    request = {"type": "chat", "roomId": "general", "message": "one", "clientId": "the-first"}
    monkeypatch.setattr(world.queue, "ring", dies)
    assert (await world.ask("ada", request))["type"] == "error"
    monkeypatch.setattr(world.queue, "ring", ring)
    assert (await world.ask("ada", request))["type"] == "ack"
    await world.pump()
    assert texts(world) == ["one"]


async def test_the_next_message_rings_for_those_before() -> None:
    """Of a message that was never acknowledged, and never asked for again, too."""
    world = await a_world()
    hook = await a_hook(world)
    await world.say("ada", "one")
    for it in await world.queue.receive(HOOKS_LANE, 10):
        await world.queue.delete(HOOKS_LANE, it["receiptHandle"])
    await world.say("ada", "two")
    await world.pump()
    assert texts(world) == ["one", "two"]
    assert (await stored(world, hook)).position == 3


async def test_a_worker_that_dies_before_it_recorded_tells_again() -> None:
    """With the same ids, from where it began."""
    world = await a_world()
    await a_hook(world)
    await world.say("ada", "one")
    records = await world.queue.receive(HOOKS_LANE, 10)
    follow = world.webhooks.follow
    world.webhooks.follow = _raise  # type: ignore[method-assign,assignment]  # it dies there
    assert await world.work(HOOKS_LANE, records) == [it["messageId"] for it in records]
    world.webhooks.follow = follow  # type: ignore[method-assign]
    await world.pump(60)
    assert texts(world) == ["one", "one"]
    assert len({it.headers["webhook-id"] for it in world.receivers.taken}) == 1


async def test_a_failure_after_one_that_was_not_recorded_is_tried_again_too() -> None:
    """The worker died between the bell and the row, so that the next one counts the same failure: its bell must not be
    taken for the first one's, which has rung by then."""
    world = await a_world()
    hook = await a_hook(world)
    answering(world, 500, 500, 204)
    await world.say("ada", "one")
    records = await world.queue.receive(HOOKS_LANE, 10)
    follow = world.webhooks.follow
    world.webhooks.follow = _raise  # type: ignore[method-assign,assignment]  # it dies there
    assert await world.work(HOOKS_LANE, records) == [it["messageId"] for it in records]
    world.webhooks.follow = follow  # type: ignore[method-assign]
    world.clock.advance(5)
    await world.work_once("ephemeral")
    await world.pump(60)
    assert texts(world) == ["one"]
    assert (await stored(world, hook)).position == 2


async def _raise(_: Hook) -> None:
    raise Unavailable("no answer")


async def test_a_retry_that_cannot_be_seen_to_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The job comes again instead, or the hook would wait for a bell that nobody rings."""
    world = await a_world()
    hook = await a_hook(world)
    answering(world, 500, 204)
    await world.say("ada", "one")
    announce = world.queue.announce

    async def fails(*_: Any, **__: Any) -> None:
        raise Unavailable("no answer")

    monkeypatch.setattr(world.queue, "announce", fails)
    records = await world.queue.receive(HOOKS_LANE, 10)
    assert await world.work(HOOKS_LANE, records) == [it["messageId"] for it in records]
    assert (await stored(world, hook)).failures == 0
    monkeypatch.setattr(world.queue, "announce", announce)
    await world.pump(60)
    assert texts(world) == ["one"]


async def test_a_retry_that_comes_early_is_tried() -> None:
    """By the clock of a worker that is behind the one that failed: dropped, it would be the last of its bells."""
    world = await a_world()
    hook = await a_hook(world)
    answering(world, 500, 204)
    await world.say("ada", "one")
    await world.pump()
    failing = await stored(world, hook)
    await world.webhooks.follow(replace(failing, retry_at=world.clock.now() + 10_000))
    await world.pump(5)
    assert texts(world) == ["one"]


async def test_bells_for_nobody() -> None:
    """A hook that was removed, is disabled, incoming, or of another life of its room: nothing is posted."""
    world = await a_world()
    gone = await a_hook(world)
    await answer(world.ports, world.sockets, {"action": "remove_webhook", "webhookId": gone["id"]}, "i")
    incoming = await a_hook(world, direction="incoming", url=None)
    hook = await a_hook(world)
    await world.say("ada", "one")
    await world.queue.receive(HOOKS_LANE, 10)
    room = await world.store.room("general")
    read = await stored(world, hook)
    assert room is not None
    bells = [
        HookBell(room="general", epoch=room.epoch, hook=gone["id"][-16:], seq=2),
        HookBell(room="general", epoch=room.epoch, hook=incoming["id"][-16:], seq=2),
        HookBell(room="general", epoch=room.epoch - 1, hook=read.key, seq=2),
    ]
    await world.ports.webhooks.put(room, read, replace(read, version=2, disabled_at=1))
    bells.append(HookBell(room="general", epoch=room.epoch, hook=read.key, seq=2))
    world.clock.advance(400)
    await world.queue.ring(HOOKS_LANE, bells)
    await world.pump()
    assert world.receivers.posted == []


async def test_a_refused_address_is_a_failure_like_others() -> None:
    """Its words are the operator's to read."""
    world = await a_world()
    hook = await a_hook(world)

    async def refused(_: Delivery) -> Answered:
        raise PostFailed("its URL leads to an address that is not of the public internet")

    world.receivers.answer = refused
    await world.say("ada", "one")
    await world.pump()
    assert (await stored(world, hook)).problem == "its URL leads to an address that is not of the public internet"
