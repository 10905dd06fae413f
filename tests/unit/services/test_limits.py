"""Limits: who asks too often is told when to ask again, which costs nothing but the answer."""

from __future__ import annotations

import itertools
import json
import random

from client.session import Session
from domain.rates import CONNECTION, USER, Rate
from tests.unit.world import World


def counted(world: World) -> list[int]:
    """Grows by an element with every call of the store."""
    calls: list[int] = []
    answer = world.store._answer

    async def count() -> None:
        calls.append(1)
        await answer()

    world.store._answer = count
    return calls


async def test_a_refusal_costs_no_call() -> None:
    """Neither the store nor the queue hears of it; the answer carries code, request, clientId and retryAfter."""
    world = World(rates={"chat": Rate(2, 3)})
    await world.connect("ada")
    for number in range(3):
        await world.say("ada", f"{number}")
    calls, depth = counted(world), world.queue.depth("interactive")
    reply = await world.ask("ada", {"type": "chat", "message": "4", "clientId": "flooded-1"})
    assert reply["type"] == "error"
    assert reply["data"] | {"message": ""} == {
        "code": "RATE_LIMITED",
        "message": "",
        "request": "chat",
        "clientId": "flooded-1",
        "retryAfter": 0.5,
    }
    assert (calls, world.queue.depth("interactive")) == ([], depth)
    world.clock.advance(reply["data"]["retryAfter"])
    assert (await world.ask("ada", {"type": "chat", "message": "4", "clientId": "flooded-1"}))["type"] == "ack"


async def test_what_is_no_request_counts_too() -> None:
    """Garbage takes of the connection and of the user."""
    world = World(rates={CONNECTION: Rate(1, 2), USER: Rate(1, 3)})
    await world.connect("ada")
    await world.connect("ada-2", user="ada")

    async def codes(name: str, *frames: str) -> list[str]:
        return [(await world.ask(name, it))["data"]["code"] for it in frames]

    assert await codes("ada", "{", "[]", "{") == ["BAD_JSON", "BAD_REQUEST", "RATE_LIMITED"]
    assert await codes("ada-2", '{"type": "shout"}', "{") == ["UNKNOWN_TYPE", "RATE_LIMITED"]


async def test_a_flood_leaves_the_others_alone() -> None:
    """Who floods is refused; who speaks beside, in the same room, is not."""
    world = World(rates={USER: Rate(1, 2)})
    for name in ("mallory", "ada"):
        await world.connect(name)
    for number in range(20):
        await world.ask("mallory", {"type": "chat", "message": f"{number}"})
    await world.say("ada", "hello")
    await world.pump()
    assert world.messages("ada") == ["0", "1", "hello"]


async def test_the_sdk_keeps_its_order() -> None:
    """Its messages to a room, refused on the way, go again when they may, and stand there as they were said."""
    world = World(rates={"chat": Rate(2, 2)})
    await world.connect("ada")
    ids = (f"message-{it}" for it in itertools.count())
    session = Session("general", new_id=lambda: next(ids), draw=random.Random(1))
    session.connected(0)
    texts = [f"{it}" for it in range(12)]
    for it in texts:
        session.send("general", it, 0)
    refused, now = 0, 0.0
    while now < 60:
        for frame in session.frames():
            reply = await world.ask("ada", frame.decode())
            refused += reply["data"].get("code") == "RATE_LIMITED"
            session.receive(json.dumps(reply), now)
        now += 0.05
        world.clock.advance(0.05)
        session.tick(now)
    await world.pump()
    assert world.messages("ada") == texts
    assert refused > 0
