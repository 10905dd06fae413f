"""What servers do with hooks: secrets told once, nothing but the room's own, one clear error for each bad input."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from domain.webhooks import HOOKS_LIMIT, ROTATION_MS
from services.backend import answer
from tests.unit.world import World

ADD = {
    "action": "add_webhook",
    "roomId": "general",
    "direction": "outgoing",
    "name": "ci",
    "url": "https://x.example/in",
}


async def ask(world: World, request: dict[str, Any]) -> dict[str, Any]:
    return await answer(world.ports, world.sockets, request, "invocation")


async def made(world: World, **changes: Any) -> dict[str, Any]:
    result = await ask(world, ADD | changes)
    assert "error" not in result, result
    return result


async def listed(world: World) -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = (await ask(world, {"action": "list_webhooks", "roomId": "general"}))["webhooks"]
    return result


async def a_world() -> World:
    world = World()
    await world.connect("ada")
    await world.say("ada", "before")
    return world


async def test_a_hook_is_made_and_listed_without_its_secret() -> None:
    """With where it stands: what was said before is not its business."""
    world = await a_world()
    hook = await made(world, events=["chat", "chat"], **{"as": {"id": "ops"}})
    assert hook["id"].startswith("general~")
    assert hook["secret"].startswith("whsec_")
    [shown] = await listed(world)
    assert "secret" not in str(shown)
    assert hook["secret"] not in str(shown)
    expected = {
        "id": hook["id"], "direction": "outgoing", "name": "ci", "url": ADD["url"], "events": ["chat"], "enabled": True,
        "createdBy": "service#ops", "position": 1, "behind": 0, "failures": 0, "cause": "",
    }  # fmt: skip
    assert {it: shown[it] for it in expected} == expected


async def test_an_incoming_one() -> None:
    """It has neither URL nor events, and the room need not name it."""
    world = await a_world()
    hook = await made(world, direction="incoming", url=None)
    [shown] = await listed(world)
    assert (shown["id"], shown["direction"], shown["behind"]) == (hook["id"], "incoming", 0)
    room = await world.store.room("general")
    assert room is not None
    assert room.hooks == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"roomId": "nowhere"}, "Room not found"),
        ({"roomId": "inbox#ada"}, "`roomId`"),
        ({"roomId": "audit#general"}, "`roomId`"),
        ({"direction": "both"}, "`direction`"),
        ({"name": "a b"}, "`name`"),
        ({"url": None}, "`url`"),
        ({"url": "http://x.example/"}, "`url`"),
        ({"url": "https://127.0.0.1/"}, "`url`"),
        ({"events": ["user_joined"]}, "`events`"),
        ({"events": "chat"}, "`events`"),
        ({"direction": "incoming"}, "`url`"),
        ({"direction": "incoming", "url": None, "events": ["chat"]}, "`events`"),
        ({"secret": "mine"}, "secret"),
    ],
)
async def test_bad_inputs(changes: dict[str, Any], words: str) -> None:
    """One clear error that names the field, and nothing is made."""
    world = await a_world()
    result = await ask(world, ADD | changes)
    assert words in result["error"]["message"], result
    assert await listed(world) == []


@pytest.mark.parametrize("action", ["remove_webhook", "enable_webhook", "rotate_webhook"])
async def test_one_that_is_not_there(action: str) -> None:
    """Neither of the room nor of any."""
    world = await a_world()
    for room in ("general", "nowhere"):
        result = await ask(world, {"action": action, "webhookId": f"{room}~0123456789abcdef"})
        assert result["error"]["message"] == "`webhookId`: there is no such webhook"
    for bad in ("general", "general~", "general~0123456789ABCDEF", "inbox#ada~0123456789abcdef", 7):
        assert "`webhookId`" in (await ask(world, {"action": action, "webhookId": bad}))["error"]["message"]


async def test_a_room_has_so_many_at_most() -> None:
    """Also when all are made at once; one that is removed makes room for another."""
    world = await a_world()
    results = await asyncio.gather(*(ask(world, ADD) for _ in range(HOOKS_LIMIT + 3)))
    ids = [it["id"] for it in results if "id" in it]
    # Who met too many others is told to come again.
    assert {it["error"]["code"] for it in results if "id" not in it} <= {"BAD_REQUEST", "ROOM_BUSY"}
    ids += [(await made(world))["id"] for _ in range(HOOKS_LIMIT - len(ids))]
    assert "at most" in (await ask(world, ADD))["error"]["message"]
    room = await world.store.room("general")
    assert room is not None
    assert {f"general~{it}" for it in room.hooks} == set(ids)
    assert await ask(world, {"action": "remove_webhook", "webhookId": ids[0]}) == {"removed": ids[0]}
    assert ids[0] not in [it["id"] for it in await listed(world)]
    await made(world)


async def test_a_new_secret_and_the_one_before() -> None:
    """Both count for a day."""
    world = await a_world()
    hook = await made(world)
    fresh = await ask(world, {"action": "rotate_webhook", "webhookId": hook["id"]})
    assert fresh["secret"] != hook["secret"]
    stored = await world.webhooks.hook(hook["id"])
    assert stored is not None
    now = world.clock.now()
    assert stored.secrets(now) == [fresh["secret"], hook["secret"]]
    assert stored.secrets(now + ROTATION_MS) == [fresh["secret"]]


async def test_enabling() -> None:
    """From where it stands, or from now on; what it failed with is forgotten, and its room names it again."""
    world = await a_world()
    hook = await made(world)
    stored = await world.webhooks.hook(hook["id"])
    room = await world.store.room("general")
    assert stored is not None
    assert room is not None
    disabled = replace(stored, version=2, disabled_at=1, cause="410", failing_since=1, failures=9, retry_at=2**50)
    await world.webhooks.put(room, stored, disabled)
    await world.say("ada", "unheard")
    [shown] = await listed(world)
    assert (shown["enabled"], shown["cause"], shown["behind"]) == (False, "410", 1)
    result = await ask(world, {"action": "enable_webhook", "webhookId": hook["id"]})
    assert (result["enabled"], result["behind"], result["failures"], result["cause"]) == (True, 1, 0, "")
    await world.pump()
    assert len(world.receivers.taken) == 1, "enabling rings"
    await world.say("ada", "also unheard")
    result = await ask(world, {"action": "enable_webhook", "webhookId": hook["id"], "fromNow": True})
    assert result["behind"] == 0


async def test_a_room_that_is_made_anew_has_no_hooks() -> None:
    """Those of its life before are not shown, not found, and go when the next one is made."""
    world = World()
    await world.connect("ada")
    await world.ask("ada", {"type": "create_room", "roomId": "general2"})
    hook = await made(world, roomId="general2")
    await world.ask("ada", {"type": "delete_room", "roomId": "general2"})
    world.clock.advance(1)
    await world.ask("ada", {"type": "create_room", "roomId": "general2"})
    assert (await ask(world, {"action": "list_webhooks", "roomId": "general2"}))["webhooks"] == []
    assert "error" in await ask(world, {"action": "enable_webhook", "webhookId": hook["id"]})
    second = await made(world, roomId="general2")
    assert [it.id for it in await world.webhooks.hooks("general2")] == [second["id"]]
