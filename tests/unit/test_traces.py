"""Traces: when a message passed each stage, for whoever asks where it is allowed; for all others nothing changes."""

import json
from typing import Any

import pytest

from domain.errors import PostFailed
from domain.events import Chat, Trace, parse_envelope
from domain.fanout import Doorbell, Plan, jobs_for
from domain.rooms import Ring
from tests.unit.world import World

TRACED = {"message": "hello", "clientId": "traced-once", "trace": True}


def slowly(world: World, owner: object, method: str, seconds: float) -> None:
    """Let time pass within every call of the method, before it has an effect."""
    call = getattr(owner, method)

    async def slow(*arguments: Any, **options: Any) -> Any:
        world.clock.advance(seconds)
        return await call(*arguments, **options)

    setattr(owner, method, slow)


def traces(world: World, name: str) -> list[dict[str, int] | None]:
    return [it["data"].get("trace") for it in world.events(name, "chat")]


async def test_each_stage_says_when_it_was_passed() -> None:
    """The five moments of a message, each behind what takes its time before it."""
    world = World(trace=True)
    await world.connect("ada")
    await world.pump()
    slowly(world, world.store, "append", 0.010)
    slowly(world, world.queue, "ring", 0.020)
    slowly(world, world.store, "entries", 0.040)
    slowly(world, world.store, "members", 0.080)
    began = world.clock.now()
    await world.ask("ada", TRACED)
    world.clock.advance(1)
    await world.pump()
    event = parse_envelope(world.sockets.received["ada"][-1])
    assert isinstance(event, Chat)
    assert event.trace == Trace(
        accepted_at=began,
        stored_at=began + 10,
        rung_at=began + 30,
        served_at=began + 1_070,
        packed_at=began + 1_150,
    )


async def test_what_goes_out_before_its_own_doorbell_is_traced_without_it() -> None:
    """The first doorbell brings both entries; when the second was stored and rung, its own would have said."""
    world = World(trace=True, batch_size=1)
    await world.connect("ada")
    await world.pump()
    for client_id in ("the-first", "the-second"):
        await world.ask("ada", TRACED | {"clientId": client_id})
    await world.pump()
    first, second = (set(it or ()) for it in traces(world, "ada"))
    assert first == {"acceptedAt", "storedAt", "rungAt", "servedAt", "packedAt"}
    assert second == {"acceptedAt", "servedAt", "packedAt"}


async def test_a_post_that_failed_is_traced_as_it_comes_again() -> None:
    """What the retry lane sends says when it was served there."""
    world = World(trace=True)
    await world.connect("ada")
    await world.pump()
    world.sockets.fail_next("ada", PostFailed("503"))
    await world.ask("ada", TRACED)
    await world.pump(seconds=5)
    [trace] = traces(world, "ada")
    assert set(trace or ()) == {"acceptedAt", "servedAt", "packedAt"}


@pytest.mark.parametrize(("allowed", "asked"), [(False, True), (True, False), (False, False)])
async def test_otherwise_nothing_is_added_anywhere(allowed: bool, asked: bool) -> None:
    """Neither in the job, nor in the log, nor in the frame is a byte of it."""
    world = World(trace=allowed)
    await world.connect("ada")
    await world.pump()
    ack = await world.ask("ada", TRACED | {"trace": asked})
    [record] = await world.queue.receive("interactive", 10)
    assert set(json.loads(record["body"])) == {"kind", "v", "room", "epoch", "shard", "seq"}
    [entry] = await world.store.entries("general", ack["data"]["epoch"], 0, limit=1, max_bytes=1)
    assert set(entry.body) == {"messageId", "senderId", "senderName", "message"}
    await world.work("interactive", [record])
    assert traces(world, "ada") == [None]


async def test_the_bytes_are_the_same_for_all_members() -> None:
    """A traced frame is made once, as any."""
    world = World(trace=True)
    await world.connect("ada")
    await world.connect("bob")
    await world.pump()
    slowly(world, world.sockets, "post", 1)
    await world.ask("ada", TRACED)
    await world.pump()
    assert world.sockets.received["ada"][-1] == world.sockets.received["bob"][-1]


@pytest.mark.parametrize(("first", "again"), [(True, False), (False, True)])
async def test_a_request_sent_again_is_the_same_one(first: bool, again: bool) -> None:
    """Whether either asks for a trace or not: one message, one reply."""
    world = World(trace=True)
    await world.connect("ada")
    replies = [await world.ask("ada", TRACED | {"trace": it}) for it in (first, again)]
    assert replies[0]["type"] == "ack"
    assert replies[0] == replies[1]


async def test_history_knows_when_it_was_accepted() -> None:
    """The log holds that alone."""
    world = World(trace=True)
    await world.connect("ada")
    began = world.clock.now()
    await world.ask("ada", TRACED)
    await world.pump()
    page = await world.ask("ada", {"type": "history", "roomId": "general"})
    assert page["data"]["entries"][0]["data"]["trace"] == {"acceptedAt": began}


@pytest.mark.parametrize("shards", [1, 10])
def test_every_shard_hears_when_the_entry_was_stored(shards: int) -> None:
    """A doorbell for each, or a plan that passes it on to them."""
    doorbells = jobs_for(Ring("tea", 7, shards, 3), 1_234)
    assert doorbells == [Doorbell(room="tea", epoch=7, shard=it, seq=3, stored_at=1_234) for it in range(shards)]


async def test_a_plan_passes_it_on() -> None:
    """From eleven shards on; the plan's doorbells say it too."""
    [plan] = jobs_for(Ring("tea", 7, 11, 3), 1_234)
    assert isinstance(plan, Plan)
    world = World()
    await world.queue.ring("bulk", [plan])
    await world.work_once("bulk")
    bodies = [json.loads(it["body"]) for it in await world.queue.receive("bulk", 10)]
    assert {it["storedAt"] for it in bodies} == {1_234}
