"""Joining, leaving, connecting, disconnecting, and reading back."""

import asyncio
from typing import Any

import pytest

from domain.errors import Refused
from domain.rooms import FOREVER, Count, Room, ShardKey, Standing
from tests.unit.world import World


async def test_a_connection_is_welcomed_through_the_queue() -> None:
    """`welcome` names the connection and where its room stands."""
    world = World()
    await world.connect("ada")
    await world.say("ada", "before")
    await world.connect("bob", room="general", user="bob")
    await world.pump()
    [welcome] = world.events("bob", "welcome")
    data = welcome["data"]
    assert (data["connectionId"], data["userId"], data["roomId"], data["head"]) == ("bob", "bob", "general", 1)
    assert (data["message"], data["protocol"]) == ("Welcome to room general!", 1)


async def test_joined_says_where_the_room_is() -> None:
    """A join after three messages gets head 3 and hears the fourth, not the three."""
    world = World()
    await world.connect("ada", room="tea")
    for number in range(3):
        await world.say("ada", f"{number}", "tea")
    await world.pump()
    await world.connect("bob")
    joined = await world.ask("bob", {"type": "join_room", "roomId": "tea"})
    assert (joined["type"], joined["data"]["head"], joined["data"]["recovered"]) == ("joined", 3, False)
    await world.say("ada", "3", "tea")
    await world.pump()
    assert world.messages("bob") == ["3"]


async def test_joins_between_sends_miss_nothing_above_their_head() -> None:
    """Twenty joins race with twenty sends: each joiner gets every message above the head it was told."""
    world = World(seed=5)
    await world.connect("ada", room="tea")
    heads: dict[str, int] = {}

    async def join(name: str) -> None:
        await world.connect(name, room="lobby")
        joined = await world.ask(name, {"type": "join_room", "roomId": "tea"})
        heads[name] = joined["data"]["head"]

    async def send() -> None:
        for number in range(20):
            await world.say("ada", f"{number}", "tea")
            await world.work_once("interactive")

    await asyncio.gather(send(), *(join(f"joiner-{it}") for it in range(20)))
    await world.pump()
    for name, head in heads.items():
        seqs = {it["data"]["seq"] for it in world.events(name, "chat")}
        assert seqs >= set(range(head + 1, 21)), (name, head)


async def test_since_is_answered_whole_or_not_at_all() -> None:
    """`recovered` with all that followed; false where it is too much for a reply, of another epoch, or unknown."""
    world = World()
    await world.connect("ada", room="tea")
    acks = [await world.say("ada", f"{it}", "tea") for it in range(5)]
    await world.connect("bob")

    async def join(**fields: object) -> dict[str, object]:
        reply = await world.ask("bob", {"type": "join_room", "roomId": "tea", **fields})
        data: dict[str, object] = reply["data"]
        return data

    data = await join(since=2, epoch=acks[0]["epoch"])
    assert data["recovered"] is True
    assert [it["data"]["seq"] for it in data["events"]] == [3, 4, 5]  # type: ignore[attr-defined]
    assert (await join(since=5))["recovered"] is True
    assert (await join(since=6))["recovered"] is False
    other_epoch = await join(since=2, epoch=1)
    assert (other_epoch["recovered"], other_epoch["events"]) == (False, [])
    for _ in range(4):
        await world.say("ada", "x" * 10_000, "tea")
    too_much = await join(since=2)
    assert (too_much["recovered"], too_much["events"]) == (False, [])


async def test_the_recipes_client_moves_from_room_to_room() -> None:
    """Without a subprotocol `join_room` leaves the room joined last; with one it adds a room."""
    world = World()
    await world.connect("ada", room="one", dialect="recipe")
    await world.connect("bob", room="one")
    for name in ("ada", "bob"):
        await world.ask(name, {"type": "join_room", "roomId": "two"})
    await world.say("bob", "in one", "one")
    await world.say("bob", "in two", "two")
    await world.pump()
    assert world.messages("ada") == ["in two"]
    assert sorted(world.messages("bob")) == ["in one", "in two"]


async def test_a_message_without_room_goes_to_the_room_joined_last() -> None:
    """`roomId` is optional for chat and leave_room."""
    world = World()
    await world.connect("ada", room="one")
    await world.ask("ada", {"type": "join_room", "roomId": "two"})
    assert (await world.ask("ada", {"message": "x"}))["data"]["roomId"] == "two"
    assert (await world.ask("ada", {"type": "leave_room"}))["data"]["roomId"] == "two"


async def test_a_repeated_join_keeps_the_membership_and_the_count() -> None:
    """Joining twice counts once."""
    world = World()
    await world.connect("ada", room="tea")
    joined = await world.ask("ada", {"type": "join_room", "roomId": "tea"})
    key = ShardKey("tea", joined["data"]["epoch"], 0)
    shard = await world.store.shard(key)
    assert shard is not None
    assert (shard.members, len(await world.store.members(key))) == (1, 1)


@pytest.mark.parametrize(("name", "told"), [("ada", 1), ("bob", 0)])
async def test_a_join_that_meets_the_end_of_the_room_takes_no_membership_from_who_had_one(
    monkeypatch: pytest.MonkeyPatch, name: str, told: int
) -> None:
    """Ada, who was a member, is owed the room's last entries; Bob, who was none, does not become one."""
    world = World()
    for it in ("ada", "bob"):
        await world.connect(it)
    await world.ask("ada", {"type": "create_room", "roomId": "tea"})
    await world.ask("ada", {"type": "join_room", "roomId": "tea"})
    count_join = world.store.count_join

    async def end_and_count(*given: Any, **named: Any) -> Count:
        ended = await world.ask("ada", {"type": "delete_room", "roomId": "tea"})
        assert ended["type"] == "room_deleted"
        return await count_join(*given, **named)

    monkeypatch.setattr(world.store, "count_join", end_and_count)
    refused = await world.ask(name, {"type": "join_room", "roomId": "tea"})
    assert refused["data"]["code"] == "ROOM_NOT_FOUND"
    await world.pump()
    assert len(world.events(name, "room_deleted")) == told


async def test_a_join_that_is_carried_out_while_its_client_leaves_is_ended_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that had no answer has sent its join twice; the first one takes effect between the look at the
    membership and its deletion."""
    world = World()
    await world.connect("ada", room="tea")
    leave = world.store.leave

    async def join_first(*given: Any) -> Count | None:
        monkeypatch.setattr(world.store, "leave", leave)
        assert (await world.ask("ada", {"type": "join_room", "roomId": "tea"}))["type"] == "joined"
        return await leave(*given)

    monkeypatch.setattr(world.store, "leave", join_first)
    assert (await world.ask("ada", {"type": "leave_room", "roomId": "tea"}))["type"] == "left"
    [room] = (await world.store.rooms(["tea"])).values()
    key = ShardKey("tea", room.epoch, 0)
    shard = await world.store.shard(key)
    assert shard is not None
    assert (shard.members, await world.store.members(key)) == (0, [])


async def test_who_left_hears_nothing_more() -> None:
    """leave_room, and disconnect, end the membership."""
    world = World()
    for name in ("ada", "bob", "cid"):
        await world.connect(name, room="tea")
    await world.ask("bob", {"type": "leave_room", "roomId": "tea"})
    await world.disconnect("cid")
    await world.disconnect("cid")
    await world.say("ada", "for me", "tea")
    await world.pump()
    assert (world.messages("ada"), world.messages("bob"), world.messages("cid")) == (["for me"], [], [])
    [room] = (await world.store.rooms(["tea"])).values()
    shard = await world.store.shard(ShardKey("tea", room.epoch, 0))
    assert shard is not None
    assert shard.members == 1


async def test_an_ended_connection_cannot_join() -> None:
    """A join that comes after the disconnect finds no connection row."""
    world = World()
    await world.connect("ada")
    await world.disconnect("ada")
    reply = await world.ask("ada", {"type": "join_room", "roomId": "tea"})
    assert reply["data"]["code"] == "FORBIDDEN"


@pytest.mark.parametrize("standing", [Standing(banned_until=FOREVER), Standing(kicked_at=1_700_000_000_000)])
async def test_a_banned_or_just_kicked_user_cannot_connect(standing: Standing) -> None:
    """The handshake is refused, and leaves no row behind."""
    world = World()
    await world.store.create_room(Room("tea", 1))
    await world.store.set_standing("tea", "ada", standing)
    with pytest.raises(Refused):
        await world.connect("ada", room="tea")
    assert await world.store.members(ShardKey("tea", 1, 0)) == []
    assert (await world.store.session("ada")).connection is None


async def test_a_connection_joins_fifty_rooms_at_most() -> None:
    """The fifty-first is ROOM_FULL; one it is in already is not."""
    world = World()
    await world.connect("ada", room="room-0")
    for number in range(1, 50):
        await world.ask("ada", {"type": "join_room", "roomId": f"room-{number}"})
    assert (await world.ask("ada", {"type": "join_room", "roomId": "more"}))["data"]["code"] == "ROOM_FULL"
    assert (await world.ask("ada", {"type": "join_room", "roomId": "room-7"}))["type"] == "joined"


async def test_history_pages_forwards_and_backwards() -> None:
    """Every entry comes once over all pages, cut to what a frame holds, oldest first in each."""
    world = World()
    await world.connect("ada", room="tea")
    for number in range(60):
        await world.say("ada", f"{number} " + "x" * 900, "tea")
    for key, cursor in (("after", 0), ("before", 61)):
        seqs: list[int] = []
        pages = 0
        following: int | None = cursor
        while following is not None:
            reply = await world.ask("ada", {"type": "history", "roomId": "tea", key: following})
            page = [it["data"]["seq"] for it in reply["data"]["entries"]]
            assert page == sorted(page)
            seqs = seqs + page if key == "after" else page + seqs
            following = reply["data"].get("next")
            pages += 1
        assert seqs == list(range(1, 61))
        assert pages > 1
    newest = await world.ask("ada", {"type": "history", "roomId": "tea", "limit": 2})
    assert [it["data"]["seq"] for it in newest["data"]["entries"]] == [59, 60]
    assert newest["data"]["head"] == 60


async def test_history_is_for_members() -> None:
    """A room that one is not in is not read; both bounds at once make no sense."""
    world = World()
    await world.connect("ada", room="tea")
    await world.connect("bob", room="lobby")
    assert (await world.ask("bob", {"type": "history", "roomId": "tea"}))["data"]["code"] == "NOT_A_MEMBER"
    both = {"type": "history", "roomId": "tea", "before": 1, "after": 1}
    assert (await world.ask("ada", both))["data"]["code"] == "BAD_REQUEST"


async def test_pong_tells_the_heads() -> None:
    """All rooms of the connection, or those whose cursors it sends."""
    world = World()
    await world.connect("ada", room="one")
    await world.ask("ada", {"type": "join_room", "roomId": "two"})
    ack = await world.say("ada", "x", "two")
    pong = await world.ask("ada", {"type": "ping", "clientId": "ping-0001"})
    assert pong["data"]["heads"]["two"] == {"epoch": ack["epoch"], "seq": 1}
    assert pong["data"]["heads"]["one"]["seq"] == 0
    assert pong["data"]["clientId"] == "ping-0001"
    followed = await world.ask("ada", {"type": "ping", "cursors": {"two": 0, "elsewhere": 3}})
    assert list(followed["data"]["heads"]) == ["two"]
