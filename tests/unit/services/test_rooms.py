"""Rooms as such: made, changed, listed, ended, and made anew."""

from __future__ import annotations

from typing import Any

import pytest

from domain.rooms import Profile
from tests.unit.world import World


async def world_with(*names: str) -> World:
    world = World()
    for it in names:
        await world.connect(it, room="general")
    return world


async def make(world: World, owner: str, room: str, **fields: Any) -> dict[str, Any]:
    reply = await world.ask(owner, {"type": "create_room", "roomId": room, **fields})
    assert reply["type"] == "room", reply
    data: dict[str, Any] = reply["data"]
    return data


async def code(world: World, name: str, kind: str, room: str, **fields: Any) -> str | None:
    reply = await world.ask(name, {"type": kind, "roomId": room, **fields})
    answered: str | None = reply["data"].get("code")
    return answered


async def listed(world: World, name: str, parent: str = "root") -> list[str]:
    reply = await world.ask(name, {"type": "room_list", "parent": parent})
    return [it["roomId"] for it in reply["data"]["rooms"]]


async def test_who_makes_a_room_owns_it_and_is_told_what_is_settled() -> None:
    """The defaults are said, too. The same request again gets the same answer; another user's is refused."""
    world = await world_with("ada", "eve")
    request = {"type": "create_room", "roomId": "tea", "title": "Tea", "slowMode": 3, "clientId": "make-0001"}
    made = await world.ask("ada", request)
    assert {it: made["data"][it] for it in ("title", "parent", "visibility", "defaultRole", "slowMode", "owner")} == {
        "title": "Tea",
        "parent": "root",
        "visibility": "public",
        "defaultRole": "member",
        "slowMode": 3,
        "owner": "ada",
    }
    world.clock.advance(5)
    assert await world.ask("ada", request) == made
    assert await code(world, "eve", "create_room", "tea", title="Tea", slowMode=3) == "ROOM_EXISTS"
    assert await code(world, "ada", "create_room", "general") == "ROOM_EXISTS"
    assert (await world.store.standing("tea", "ada")).role == "owner"


async def test_an_update_changes_what_is_given_and_tells_the_room() -> None:
    """An entry of the log; a repeat changes nothing."""
    world = await world_with("ada", "eve")
    await make(world, "ada", "tea", title="Tea", slowMode=3)
    for it in ("ada", "eve"):
        await world.ask(it, {"type": "join_room", "roomId": "tea"})
    request = {"type": "update_room", "roomId": "tea", "title": "Coffee", "clientId": "update-01"}
    reply = await world.ask("ada", request)
    await world.pump()
    [told] = world.events("eve", "room")
    assert (told["data"]["title"], told["data"]["slowMode"], told["data"]["seq"]) == ("Coffee", 3, 1)
    assert told["data"]["by"] == "ada"
    assert (reply["data"]["seq"], reply["data"]["clientId"]) == (1, "update-01")
    await world.ask("ada", {"type": "update_room", "roomId": "tea", "title": "Water"})
    assert await world.ask("ada", request) == reply
    room = await world.store.room("tea")
    assert room is not None
    assert room.profile == Profile(title="Water", slow_mode=3, owner="ada")
    assert await code(world, "eve", "update_room", "tea", title="Mine") == "FORBIDDEN"


@pytest.mark.parametrize(
    ("before", "after", "refused"),
    [
        ("public", "private", "BAD_REQUEST"),
        ("hidden", "public", "BAD_REQUEST"),
        ("private", "hidden", None),
        ("hidden", "private", None),
        ("public", "public", None),
    ],
)
async def test_a_room_stays_public_or_not(before: str, after: str, refused: str | None) -> None:
    """Who is in it was let in by what it was."""
    world = await world_with("ada")
    await make(world, "ada", "tea", visibility=before)
    assert await code(world, "ada", "update_room", "tea", visibility=after) == refused


async def test_a_deleted_room_tells_its_members_and_is_gone() -> None:
    """Its last entry says so; nobody writes, joins or lists it afterwards, and only who was in it reads it."""
    world = await world_with("ada", "eve")
    await make(world, "ada", "tea")
    await world.ask("eve", {"type": "join_room", "roomId": "tea"})
    assert await code(world, "eve", "delete_room", "tea") == "FORBIDDEN"
    assert (await world.ask("ada", {"type": "delete_room", "roomId": "tea"}))["type"] == "room_deleted"
    await world.pump()
    [told] = world.events("eve", "room_deleted")
    assert (told["data"]["seq"], told["data"]["by"]) == (1, "ada")
    assert "tea" not in await listed(world, "ada")
    for kind, fields in (("chat", {"message": "hello"}), ("join_room", {}), ("members", {})):
        assert await code(world, "eve", kind, "tea", **fields) == "ROOM_NOT_FOUND"
    assert await code(world, "eve", "history", "tea") is None
    assert await code(world, "ada", "history", "tea") == "ROOM_NOT_FOUND"


async def test_a_room_made_anew_has_an_empty_log_and_its_old_roles() -> None:
    """By who owned it alone; who was a member of the old one hears nothing of the new one."""
    world = await world_with("ada", "eve", "sam")
    first = await make(world, "ada", "tea")
    for it in ("eve", "sam"):
        await world.ask(it, {"type": "join_room", "roomId": "tea"})
    await world.ask("ada", {"type": "ban", "roomId": "tea", "userId": "bob"})
    await world.ask("ada", {"type": "delete_room", "roomId": "tea"})
    assert await code(world, "eve", "create_room", "tea") == "FORBIDDEN"
    again = await make(world, "ada", "tea", visibility="private")
    assert again["epoch"] > first["epoch"]
    await world.ask("ada", {"type": "join_room", "roomId": "tea"})
    assert await code(world, "eve", "history", "tea") == "NOT_A_MEMBER"
    await world.say("ada", "just us", room="tea")
    await world.pump()
    assert world.messages("ada") == ["just us"]
    assert world.messages("eve") == world.messages("sam") == []
    assert await code(world, "eve", "join_room", "tea") == "FORBIDDEN"
    assert (await world.store.standing("tea", "bob")).banned_until > 0


async def test_lists_show_what_the_asker_may_see() -> None:
    """Private rooms to who has a role there, hidden ones to nobody; the same for what stands below them."""
    world = await world_with("ada", "eve")
    await world.connect("root", room="general", groups=["admin"])
    for room, visibility in (("open", "public"), ("closed", "private"), ("secret", "hidden")):
        await make(world, "ada", room, visibility=visibility)
        await make(world, "ada", f"{room}-inner", parent=room)
    assert await listed(world, "eve") == ["general", "open"]
    assert await listed(world, "ada") == await listed(world, "root") == ["closed", "general", "open"]
    assert await listed(world, "eve", "open") == ["open-inner"]
    assert await listed(world, "ada", "secret") == ["secret-inner"]
    reply = await world.ask("eve", {"type": "room_list", "parent": "closed"})
    assert reply["data"]["code"] == "FORBIDDEN"
    assert await listed(world, "eve", "secret") == await listed(world, "eve", "nowhere") == []
    await world.ask("ada", {"type": "set_role", "roomId": "closed", "userId": "eve", "role": "guest"})
    assert await listed(world, "eve") == ["closed", "general", "open"]


async def test_rooms_stand_five_deep_at_most() -> None:
    """Below a room that is there, and that its maker may join."""
    world = await world_with("ada", "eve")
    parent = "root"
    for depth in range(1, 6):
        await make(world, "ada", f"level-{depth}", parent=parent)
        parent = f"level-{depth}"
    assert await code(world, "ada", "create_room", "level-6", parent=parent) == "BAD_REQUEST"
    assert await code(world, "ada", "create_room", "lost", parent="nowhere") == "ROOM_NOT_FOUND"
    await make(world, "ada", "secret", visibility="hidden")
    assert await code(world, "eve", "create_room", "below", parent="secret") == "ROOM_NOT_FOUND"


async def test_slow_mode_makes_members_wait() -> None:
    """And neither moderators nor what is sent again."""
    world = await world_with("ada", "eve")
    await make(world, "ada", "tea", slowMode=10)
    for it in ("ada", "eve"):
        await world.ask(it, {"type": "join_room", "roomId": "tea"})
    await world.say("ada", "one", room="tea")
    await world.say("ada", "two", room="tea")
    request = {"type": "chat", "roomId": "tea", "message": "three", "clientId": "three-001"}
    first = await world.ask("eve", request)
    assert first["type"] == "ack"
    assert await world.ask("eve", request) == first
    slow = await world.ask("eve", {"type": "chat", "roomId": "tea", "message": "four"})
    assert (slow["data"]["code"], slow["data"]["retryAfter"]) == ("RATE_LIMITED", 10.0)
    world.clock.advance(10)
    await world.say("eve", "five", room="tea")


async def test_where_only_some_write() -> None:
    """A room whose default role is guest: all read, who has a role writes."""
    world = await world_with("ada", "eve")
    await make(world, "ada", "news", defaultRole="guest")
    for it in ("ada", "eve"):
        await world.ask(it, {"type": "join_room", "roomId": "news"})
    await world.say("ada", "today", room="news")
    assert await code(world, "eve", "chat", "news", message="me too") == "FORBIDDEN"
    await world.ask("ada", {"type": "set_role", "roomId": "news", "userId": "eve", "role": "member"})
    await world.say("eve", "me too", room="news")
