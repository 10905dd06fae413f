"""How many may be there: connections of a user, members of a room."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from domain.errors import Refused, RoomcastError, Unavailable
from domain.rooms import Profile, Room, Rules, ShardKey, inbox_of, members_limit
from tests.unit.world import World


async def members(world: World, room: str) -> set[str]:
    found = await world.store.room(room)
    assert found is not None
    keys = [ShardKey(room, found.epoch, it) for it in range(found.shards)]
    rows = [it for key in keys for it in await world.store.members(key)]
    counts = [it.members for it in (await world.store.shards(keys)).values()]
    assert sum(counts) == len(rows)
    return {it.connection for it in rows}


async def come(world: World, *names: str, **options: Any) -> list[str]:
    """The codes of those that are not let in, all of them at once; of one user, they may also meet for too long."""
    outcomes = await asyncio.gather(*(world.connect(it, **options) for it in names), return_exceptions=True)
    assert all(isinstance(it, RoomcastError) for it in outcomes if isinstance(it, BaseException))
    return [it.code for it in outcomes if isinstance(it, RoomcastError)]


async def test_a_user_has_so_many_connections() -> None:
    """The next is refused, and leaves nothing: no connection, no membership, no count, no word to anybody."""
    world = World(max_connections_per_user=3)
    assert await come(world, "a", "b", "c", user="ada") == []
    await world.pump()
    told = len(world.sockets.received["a"])
    assert await come(world, "d", user="ada") == ["TOO_MANY_CONNECTIONS"]
    await world.pump()
    assert len(world.sockets.received["a"]) == told
    assert await members(world, inbox_of("ada")) == await members(world, "general") == {"a", "b", "c"}
    session = await world.store.session("d")
    assert (session.connection, session.memberships) == (None, [])
    assert await come(world, "e", user="bob") == []
    await world.disconnect("b")
    assert await come(world, "f", user="ada") == []


async def test_of_many_at_once_none_is_let_in_beyond_it() -> None:
    """Handshakes of a user who may have five, six at a time, in an inbox of several shards as well."""
    for shard_limit in (1_000, 2):
        world = World(max_connections_per_user=5, shard_limit=shard_limit, seed=3)
        refused: list[str] = []
        for turn in range(5):
            refused += await come(world, *(f"c{turn}-{it}" for it in range(6)), user="ada")
        assert "TOO_MANY_CONNECTIONS" in refused
        there = await members(world, inbox_of("ada"))
        assert len(there) == 30 - len(refused) <= 5
        while len(there) < 5:  # who met another at the last place finds it free now
            assert await come(world, f"later{len(there)}", user="ada") == []
            there = await members(world, inbox_of("ada"))


async def test_a_room_has_so_many_members() -> None:
    """A join and a handshake beyond it are refused with ROOM_FULL; who is a member already may say so again."""
    world = World(max_members=2)
    await world.connect("ada", room="tea")
    await world.connect("bob", room="tea")
    await world.connect("eve", room="lobby")
    await world.pump()
    told = len(world.sockets.received["ada"])
    reply = await world.ask("eve", {"type": "join_room", "roomId": "tea"})
    assert reply["data"]["code"] == "ROOM_FULL"
    with pytest.raises(Refused, match="ROOM_FULL"):
        await world.connect("dan", room="tea")
    await world.pump()
    assert len(world.sockets.received["ada"]) == told
    assert await members(world, "tea") == {"ada", "bob"}
    assert (await world.ask("bob", {"type": "join_room", "roomId": "tea"}))["type"] == "joined"
    assert (await world.ask("eve", {"type": "chat", "message": "hi"}))["type"] == "ack"  # in the lobby as before
    await world.ask("bob", {"type": "leave_room", "roomId": "tea"})
    assert (await world.ask("eve", {"type": "join_room", "roomId": "tea"}))["type"] == "joined"


async def test_a_room_of_many_shards_counts_them_all() -> None:
    """Fifty at once into a room for forty that has several shards."""
    world = World(max_members=40, shard_limit=10, seed=7)
    for number in range(30):
        await world.connect(f"first-{number}", room="hall")
    await come(world, *(f"next-{it}" for it in range(20)), room="hall")
    found = await world.store.room("hall")
    assert found is not None
    assert found.shards > 1
    there = await members(world, "hall")
    assert 30 <= len(there) <= 40
    for number in range(40 - len(there)):
        await world.connect(f"last-{number}", room="hall")
    assert await come(world, "late", room="hall") == ["ROOM_FULL"]


async def test_a_count_that_is_wrong_refuses_nobody() -> None:
    """A function that died has left it too high: the rows say that there is a place."""
    world = World(max_members=3)
    await world.connect("ada", room="tea")
    room = await world.store.room("tea")
    assert room is not None
    await world.store.count_join(ShardKey("tea", room.epoch, 0), 0, joined=5)
    await world.connect("bob", room="tea")
    assert {it.connection for it in await world.store.members(ShardKey("tea", room.epoch, 0))} == {"ada", "bob"}


async def test_the_way_out_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that fails for a moment leaves no member behind."""
    world = World(max_members=1)
    await world.connect("ada", room="tea")
    await world.connect("bob", room="lobby")
    leave, failures = world.store.leave, [Unavailable("throttled")] * 2

    async def fail_first(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return await leave(*arguments)

    monkeypatch.setattr(world.store, "leave", fail_first)
    reply = await world.ask("bob", json.dumps({"type": "join_room", "roomId": "tea"}))
    assert reply["data"]["code"] == "ROOM_FULL"
    assert await members(world, "tea") == {"ada"}


def test_whose_limit_it_is() -> None:
    """An inbox's is the user's, whatever a room may have."""
    rules = Rules(max_members=7, max_connections_per_user=5)
    assert members_limit(Room("tea", 1), rules) == 7
    assert members_limit(Room(inbox_of("ada"), 1), rules) == 5
    for own, limit in ((0, 7), (3, 3), (9, 7)):
        assert members_limit(Room("tea", 1, profile=Profile(max_members=own)), rules) == limit
    assert members_limit(Room("tea", 1, profile=Profile(max_members=3)), Rules()) == 3
    assert members_limit(Room("tea", 1), Rules()) == 0
