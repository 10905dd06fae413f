"""Kicks, bans, mutes, roles: what they do to sockets, rows, logs, and what a death between two steps leaves."""

from __future__ import annotations

from typing import Any

import pytest

from domain.errors import Unavailable
from domain.fanout import YOUNG_MS
from domain.rooms import FOREVER, ShardKey, Standing
from tests.unit.world import World

ROOM = "den"


async def den(visibility: str = "public", *names: str) -> World:
    """ada's room, with a moderator mo, and whoever else in it."""
    world = World()
    await world.connect("ada", room="general")
    made = await world.ask("ada", {"type": "create_room", "roomId": ROOM, "visibility": visibility})
    assert made["type"] == "room"
    await act(world, "ada", "set_role", "mo", role="moderator")
    for it in names:
        await act(world, "ada", "set_role", it, role="member")
    for it in ("ada", "mo", *names):
        if it not in world.callers:
            await world.connect(it, room=ROOM)
        else:
            await world.ask(it, {"type": "join_room", "roomId": ROOM})
    world.clock.advance(YOUNG_MS / 1000)
    await world.pump()
    return world


async def act(world: World, actor: str, kind: str, user: str, **fields: Any) -> dict[str, Any]:
    reply = await world.ask(actor, {"type": kind, "roomId": ROOM, "userId": user, **fields})
    assert reply["type"] == "ack", reply
    data: dict[str, Any] = reply["data"]
    return data


async def refused(world: World, actor: str, kind: str, user: str = "", **fields: Any) -> str:
    about = {"userId": user} if user else {}
    reply = await world.ask(actor, {"type": kind, "roomId": ROOM, **about, **fields})
    assert reply["type"] == "error", reply
    return str(reply["data"]["code"])


def closed(world: World) -> list[str]:
    """Whose sockets are."""
    return [it for it in world.callers if not world.sockets.is_open(it)]


async def members(world: World) -> list[str]:
    room = await world.store.room(ROOM)
    assert room is not None
    return [it.connection for it in await world.store.members(ShardKey(ROOM, room.epoch, 0))]


async def test_a_kick_closes_deletes_and_tells() -> None:
    """The user's socket is closed and its rows are gone before the ack; the room's log and the audit's say so."""
    world = await den("public", "eve")
    ack = await act(world, "mo", "kick", "eve", reason="spam")
    assert closed(world) == ["eve"]
    assert await members(world) == ["ada", "mo"]
    assert (await world.store.session("eve")).connection is None
    await world.say("ada", "she is gone", room=ROOM)
    await world.pump()
    [kicked] = world.events("ada", "kicked")
    assert (kicked["data"]["userId"], kicked["data"]["by"], kicked["data"]["seq"]) == ("eve", "mo", ack["seq"])
    assert "reason" not in kicked["data"]
    assert "she is gone" not in world.messages("eve")
    audit = await world.ask("mo", {"type": "history", "roomId": f"audit#{ROOM}"})
    assert audit["data"]["entries"][-1]["data"]["reason"] == "spam"


async def test_who_was_kicked_comes_back_after_ten_seconds_and_who_was_banned_after_the_ban() -> None:
    """Until then joins are refused, however they come."""
    world = await den("public", "eve")
    await act(world, "mo", "kick", "eve")
    await world.connect("eve2", room="general", user="eve")
    assert await refused(world, "eve2", "join_room") == "FORBIDDEN"
    world.clock.advance(10)
    assert (await world.ask("eve2", {"type": "join_room", "roomId": ROOM}))["type"] == "joined"
    world.clock.advance(YOUNG_MS / 1000)
    banned = await act(world, "mo", "ban", "eve", seconds=60)
    assert "eve2" in closed(world)
    await world.connect("eve3", room="general", user="eve")
    world.clock.advance(59.9)
    assert await refused(world, "eve3", "join_room") == "BANNED"
    world.clock.advance(0.1)
    assert (await world.ask("eve3", {"type": "join_room", "roomId": ROOM}))["type"] == "joined"
    world.clock.advance(YOUNG_MS / 1000)
    await act(world, "mo", "ban", "eve")
    await world.connect("eve4", room="general", user="eve")
    assert await refused(world, "eve4", "join_room") == "BANNED"
    await act(world, "ada", "unban", "eve")
    assert (await world.ask("eve4", {"type": "join_room", "roomId": ROOM}))["type"] == "joined"
    assert banned["roomId"] == ROOM


async def test_other_rooms_and_users_are_left_alone() -> None:
    """A connection of the same user that is not in the room stays open."""
    world = await den("public", "eve")
    await world.connect("eve-elsewhere", room="general", user="eve")
    await act(world, "mo", "kick", "eve")
    assert closed(world) == ["eve"]


async def test_a_mute_silences_and_ends() -> None:
    """Listening goes on; writing does not, until it ends or is ended."""
    world = await den("public", "eve")
    await act(world, "mo", "mute", "eve", seconds=30)
    assert await refused(world, "eve", "chat", message="hello") == "MUTED"
    await world.say("ada", "hush", room=ROOM)
    await world.pump()
    assert world.messages("eve") == ["hush"]
    world.clock.advance(30)
    await world.say("eve", "sorry", room=ROOM)
    await act(world, "mo", "mute", "eve")
    assert await refused(world, "eve", "chat", message="hello") == "MUTED"
    await act(world, "mo", "unmute", "eve")
    await world.say("eve", "thank you", room=ROOM)


@pytest.mark.parametrize(
    ("actor", "kind", "user", "fields"),
    [
        ("eve", "kick", "mo", {}),
        ("mo", "kick", "ada", {}),
        ("mo", "ban", "mo2", {}),
        ("mo", "set_role", "eve", {"role": "moderator"}),
        ("mo", "set_role", "mo2", {"role": "none"}),
        ("mo", "update_room", "", {"title": "Mine"}),
        ("mo", "delete_room", "", {}),
    ],
)
async def test_nobody_reaches_as_high_as_they_stand(actor: str, kind: str, user: str, fields: dict[str, Any]) -> None:
    """A moderator rules members, not moderators and owners; a member rules nobody. Nothing is recorded."""
    world = await den("public", "eve")
    await act(world, "ada", "set_role", "mo2", role="moderator")
    before = await world.store.standing(ROOM, user)
    assert await refused(world, actor, kind, user, **fields) == "FORBIDDEN"
    assert await world.store.standing(ROOM, user) == before
    assert closed(world) == []


async def test_an_owner_makes_another_owner_who_then_stands_beside() -> None:
    """Owners can't touch one another; an admin of the deployment can."""
    world = await den()
    await act(world, "ada", "set_role", "mo", role="owner")
    assert await refused(world, "ada", "set_role", "mo", role="member") == "FORBIDDEN"
    await world.connect("root", room="general", groups=["admin"])
    await act(world, "root", "set_role", "mo", role="member")
    assert await world.store.standing(ROOM, "mo") == Standing(role="member")


async def test_nobody_does_it_to_themselves() -> None:
    """Not even to give themselves less."""
    world = await den()
    assert await refused(world, "ada", "set_role", "ada", role="member") == "BAD_REQUEST"


@pytest.mark.parametrize("visibility", ["private", "hidden"])
async def test_a_private_room_is_for_who_has_a_role(visibility: str) -> None:
    """Who loses it is removed, and receives nothing more; who never had one learns nothing."""
    world = await den(visibility, "eve")
    await world.connect("sam", room="general")
    assert await refused(world, "sam", "join_room") == ("FORBIDDEN" if visibility == "private" else "ROOM_NOT_FOUND")
    for kind, fields in (("history", {}), ("members", {}), ("chat", {"message": "hello"})):
        told = await refused(world, "sam", kind, **fields)
        assert told == ("NOT_A_MEMBER" if visibility == "private" else "ROOM_NOT_FOUND"), kind
    await act(world, "mo", "set_role", "eve", role="none")
    assert closed(world) == ["eve"]
    await world.say("ada", "among us", room=ROOM)
    await world.pump()
    assert "among us" not in world.messages("eve") + world.messages("sam")
    await act(world, "mo", "set_role", "sam", role="guest")
    assert (await world.ask("sam", {"type": "join_room", "roomId": ROOM}))["type"] == "joined"
    assert await refused(world, "sam", "chat", message="may I?") == "FORBIDDEN"


async def test_a_member_becomes_a_guest_and_stays() -> None:
    """In a public room a role taken changes what one may do, not where one is."""
    world = await den("public", "eve")
    await act(world, "mo", "set_role", "eve", role="guest")
    assert closed(world) == []
    assert await refused(world, "eve", "chat", message="hello") == "FORBIDDEN"


async def test_a_repeated_request_is_done_once() -> None:
    """The same clientId: one entry, the first answer; an unban in between is not undone by it."""
    world = await den("public", "eve")
    request = {"type": "ban", "roomId": ROOM, "userId": "eve", "clientId": "ban-0001"}
    first = await world.ask("mo", request)
    await act(world, "ada", "unban", "eve")
    assert await world.ask("mo", request) == first
    assert await world.store.standing(ROOM, "eve") == Standing(role="member")
    other = await world.ask("mo", {**request, "userId": "sam"})
    assert other["data"]["code"] == "BAD_REQUEST"


@pytest.mark.parametrize("step", ["close", "end", "append"])
async def test_a_kick_that_died_is_finished_by_its_repeat(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it died: recorded first, so that nobody slips in; the repeat does all that was left."""
    world = await den("public", "eve")

    async def dies(*_: Any, **__: Any) -> None:
        raise Unavailable("dead")

    owner = {"close": world.sockets, "end": world.ports.roster, "append": world.store}[step]
    request = {"type": "ban", "roomId": ROOM, "userId": "eve", "clientId": "ban-0001"}
    with monkeypatch.context() as patched:
        patched.setattr(owner, step, dies)
        assert (await world.ask("mo", request))["type"] == "error"
        assert (await world.store.standing(ROOM, "eve")).banned_until == FOREVER
    assert (await world.ask("mo", request))["type"] == "ack"
    assert await members(world) == ["ada", "mo"]
    assert closed(world) == ["eve"]
    room = await world.store.room(ROOM)
    assert room is not None
    entries = await world.store.entries(ROOM, room.epoch, 0, limit=100, max_bytes=10**6)
    assert [it.type for it in entries].count("banned") == 1


async def test_a_handshake_that_is_not_over_holds_a_kick_up() -> None:
    """The rows are there, the socket is not yet: no ack until it can be closed, or is too old to open."""
    world = await den()
    caller = await world.connect("eve", room=ROOM)
    world.sockets.drop("eve")
    request = {"type": "kick", "roomId": ROOM, "userId": "eve", "clientId": "kick-0001"}
    reply = await world.ask("mo", request)
    assert (reply["type"], reply["data"]["code"]) == ("error", "INTERNAL")
    world.sockets.open(caller.connection)
    assert (await world.ask("mo", request))["type"] == "ack"
    assert closed(world) == ["eve"]


async def test_the_audit_is_for_moderators() -> None:
    """Members do not read it; for strangers to a hidden room it is not there either."""
    world = await den("hidden", "eve")
    await world.connect("sam", room="general")
    codes = [
        (await world.ask(it, {"type": "history", "roomId": f"audit#{ROOM}"}))["data"].get("code")
        for it in ("eve", "sam", "mo")
    ]
    assert codes == ["FORBIDDEN", "ROOM_NOT_FOUND", None]
