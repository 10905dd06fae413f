"""Members that a worker environment knows: read anew when somebody came or went, and never a reason to miss anybody."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from domain.fanout import YOUNG_MS
from domain.rooms import Entry, Member, Shard, ShardKey
from pipeline.known import KNOWN_MS, MEMBERS_LIMIT, KnownMembers, KnownShard
from tests.unit.world import World

KEY = ShardKey("general", 1, 0)


class Reads:
    """How often the members of the room are read."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._members = world.store.members
        monkeypatch.setattr(world.store, "members", self.members)

    async def members(self, key: ShardKey) -> list[Member]:
        self.count += key.room == "general"
        return await self._members(key)


async def shard_of(world: World) -> tuple[ShardKey, Shard]:
    [room] = (await world.store.rooms(["general"])).values()
    key = ShardKey("general", room.epoch, 0)
    shard = await world.store.shard(key)
    assert shard is not None
    return key, shard


async def test_a_quiet_rooms_members_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much is said in it; the count stays what the census found."""
    world = World()
    for name in ("ada", "bob"):
        await world.connect(name)
    await world.pump()
    reads = Reads(world, monkeypatch)
    for number in range(5):
        await world.say("ada", f"{number}")
        await world.pump()
    assert reads.count == 1
    assert world.messages("bob") == [f"{it}" for it in range(5)]
    _, shard = await shard_of(world)
    assert (shard.sent, shard.members) == (5, 2)


async def test_who_comes_and_who_goes_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A join and a leave raise the version, and the next broadcast reads the members anew: once for each."""
    world = World()
    await world.connect("ada")
    await world.say("ada", "one")
    await world.pump()
    reads = Reads(world, monkeypatch)
    await world.connect("bob")
    await world.say("ada", "two")
    await world.pump()
    await world.ask("bob", {"type": "leave_room", "roomId": "general"})
    await world.say("ada", "three")
    await world.pump()
    await world.say("ada", "four")
    await world.pump()
    assert world.messages("ada") == ["one", "two", "three", "four"]
    assert world.messages("bob") == ["two"]
    assert reads.count == 2 + 2, "two broadcasts, and two notices of who came and went"
    _, shard = await shard_of(world)
    assert shard.members == 1


async def test_who_is_gone_is_purged_and_not_posted_to_again() -> None:
    """A 410 deletes the rows, which raises the version."""
    world = World()
    for name in ("ada", "bob"):
        await world.connect(name)
    await world.say("ada", "one")
    await world.pump()
    world.clock.advance(YOUNG_MS / 1000 + 1)
    world.sockets.drop("bob")
    for number in range(3):
        await world.say("ada", f"{number}")
        await world.pump()
    assert world.counts["PostsGone"] == 1


async def test_a_join_between_the_reads_is_owed_nothing_that_it_misses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its row is there before the log is read, its version is not when the shard is: its head is read later still."""
    world = World()
    await world.connect("ada")
    await world.connect("bob", room="other")
    await world.say("ada", "one")
    await world.pump()
    await world.say("ada", "two")
    joined: list[dict[str, Any]] = []
    entries, count_join = world.store.entries, world.store.count_join

    async def at_the_same_time(*key: Any, **bounds: Any) -> list[Entry]:
        monkeypatch.setattr(world.store, "entries", entries)
        found = await entries(*key, **bounds)
        joined.append(await world.ask("bob", {"type": "join_room", "roomId": "general"}))
        return found

    async def serve_first(*key: Any, **more: Any) -> Any:
        monkeypatch.setattr(world.store, "count_join", count_join)
        await world.say("ada", "three")
        await world.pump()
        return await count_join(*key, **more)

    # Once after the log was read: the shard's row shows the new version. Once between the join's rows and its count.
    monkeypatch.setattr(world.store, "entries", at_the_same_time)
    await world.pump()
    assert (joined[0]["data"]["head"], world.messages("bob")) == (2, [])
    await world.connect("cid", room="other")
    monkeypatch.setattr(world.store, "count_join", serve_first)
    reply = await world.ask("cid", {"type": "join_room", "roomId": "general"})
    assert world.messages("bob") == ["three"]
    assert (reply["data"]["head"], world.messages("cid")) == (3, [])
    await world.say("ada", "four")
    await world.pump()
    assert world.messages("cid") == ["four"]


async def test_a_join_that_died_before_it_counted_is_made_good_by_its_next_try() -> None:
    """The connection is a member already; the version rises all the same."""
    world = World()
    await world.connect("ada")
    await world.connect("bob", room="other")
    await world.say("ada", "one")
    await world.pump()
    key, _ = await shard_of(world)
    session = await world.store.session("bob")
    assert session.connection is not None
    own = session.connection
    member = Member("bob", "bob", "Bob", "v1", own.connected_at, own.expires_at, "died")
    await world.store.join(member, key, None, None, world.clock.now())
    reply = await world.ask("bob", {"type": "join_room", "roomId": "general"})
    assert reply["data"]["head"] == 1
    await world.say("ada", "two")
    await world.pump()
    assert world.messages("bob") == ["two"]
    _, shard = await shard_of(world)
    assert shard.members == 2


async def test_two_environments_know_one_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one counts is no news to the other."""
    world = World()
    for name in ("ada", "bob"):
        await world.connect(name)
    await world.pump()
    reads = Reads(world, monkeypatch)
    environments = [KnownMembers(), KnownMembers()]
    for number in range(6):
        world.known["interactive"] = environments[number % 2]
        await world.say("ada", f"{number}")
        await world.pump()
    assert world.messages("bob") == [f"{it}" for it in range(6)]
    assert reads.count == 2


async def test_they_are_read_again_after_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a death left without a new version is found then."""
    world = World()
    await world.connect("ada")
    await world.pump(seconds=4)
    await world.say("ada", "one")
    await world.pump()
    reads = Reads(world, monkeypatch)
    for seconds, expected in ((KNOWN_MS / 1000 - 1, 0), (1, 1)):
        world.clock.advance(seconds)
        await world.say("ada", f"after {seconds}")
        await world.pump()
        assert reads.count == expected


async def test_what_another_environment_has_served_is_not_repeated() -> None:
    """Be it a message or more than one read of the log holds."""
    world = World()
    await world.connect("ada")
    await world.say("ada", "0")
    await world.pump()
    mine = world.known["interactive"]
    for number in range(1, 131):
        world.known["interactive"] = KnownMembers()
        await world.say("ada", f"{number}")
        if number in {1, 129}:
            await world.pump()
    world.known["interactive"] = mine
    await world.pump()
    assert world.messages("ada") == [f"{it}" for it in range(131)]


def known(members: int, read_at: int = 0) -> KnownShard:
    everybody: Sequence[Member] = [Member(f"c{it}", "u", "U", "v1", 0, 2**60, "j") for it in range(members)]
    return KnownShard(1, 1, everybody, read_at)


def test_only_so_many_are_known() -> None:
    """The shards served least recently are forgotten first; one that is served again is not the oldest any more."""
    shards = KnownMembers()
    third = known(MEMBERS_LIMIT // 3)
    for shard in (0, 1, 2, 0, 3):
        shards.remember(replace(KEY, shard=shard), third)
    assert [it for it in range(4) if shards.recall(replace(KEY, shard=it), 0) is not None] == [0, 2, 3]
    shards.remember(KEY, known(MEMBERS_LIMIT + 1))
    assert [it for it in range(4) if shards.recall(replace(KEY, shard=it), 0) is not None] == []


def test_what_is_too_old_is_forgotten() -> None:
    """By the time its members were read."""
    shards = KnownMembers()
    shards.remember(KEY, known(1, read_at=5))
    assert shards.recall(KEY, KNOWN_MS + 4) is not None
    assert shards.recall(KEY, KNOWN_MS + 5) is None
    assert shards.recall(KEY, 5) is None
