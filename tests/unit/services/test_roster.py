"""Who comes and goes, and who is told; typing."""

import asyncio

from domain.errors import Unavailable
from domain.rooms import ShardKey
from tests.unit.world import World


def told(world: World, name: str) -> list[tuple[str, str]]:
    return [(it["type"], it["data"]["userId"]) for it in world.events(name, "user_joined", "user_left")]


async def test_welcome_comes_before_ones_own_user_joined() -> None:
    """The joiner gets both, in one frame where it understands batches; the others hear of it."""
    world = World()
    await world.connect("ada", room="tea")
    await world.pump()
    await world.connect("bob", room="tea", dialect="recipe")
    await world.pump()
    assert [it["type"] for it in world.events("bob")] == ["welcome", "user_joined"]
    assert len(world.sockets.received["bob"]) == 2
    assert len(world.sockets.received["ada"]) == 2
    assert told(world, "ada") == [("user_joined", "ada"), ("user_joined", "bob")]
    [_, own] = world.events("bob")
    assert own["data"] | {"timestamp": 0, "sentAt": 0} == {
        "roomId": "tea",
        "userId": "bob",
        "username": "Bob",
        "timestamp": 0,
        "sentAt": 0,
    }


async def test_a_late_welcome_is_told_to_nobody_else() -> None:
    """After three seconds that somebody has come is no news; the welcome is worth sending for a minute."""
    world = World()
    await world.connect("ada", room="tea")
    await world.pump()
    await world.connect("bob", room="tea")
    world.clock.advance(3.5)
    await world.pump()
    assert [it["type"] for it in world.events("bob", "welcome", "user_joined")] == ["welcome", "user_joined"]
    assert told(world, "ada") == [("user_joined", "ada")]


async def test_who_leaves_at_once_is_welcomed_all_the_same() -> None:
    """It knows who it is by that alone; nobody is told that it has joined."""
    world = World()
    await world.connect("ada", room="tea")
    await world.pump()
    await world.connect("bob", room="tea")
    await world.ask("bob", {"type": "leave_room", "roomId": "tea"})
    await world.connect("cid", room="tea")
    await world.disconnect("cid")
    await world.pump()
    assert [it["type"] for it in world.events("bob")] == ["welcome"]
    assert world.events("cid") == []
    assert ("user_joined", "bob") not in told(world, "ada")


async def test_a_move_is_told_in_both_rooms() -> None:
    """`user_joined` reaches the new room, `user_left` the old one."""
    world = World()
    await world.connect("ada", room="one")
    await world.connect("cid", room="two")
    await world.connect("bob", room="one", dialect="recipe")
    await world.pump()
    await world.ask("bob", {"type": "join_room", "roomId": "two"})
    await world.pump()
    assert told(world, "ada")[-1] == ("user_left", "bob")
    assert told(world, "cid")[-1] == ("user_joined", "bob")
    assert told(world, "bob")[-1] == ("user_joined", "bob")


async def test_a_second_device_neither_comes_nor_goes() -> None:
    """Whoever is in a room by several connections has come with the first of them and goes with the last."""
    world = World()
    await world.connect("bob", room="one")
    await world.connect("cid", room="two")
    await world.connect("phone", room="one", user="ada")
    await world.ask("phone", {"type": "join_room", "roomId": "two"})
    await world.pump()
    told_before = {name: told(world, name) for name in ("bob", "cid", "phone")}
    assert [it.count(("user_joined", "ada")) for it in told_before.values()] == [1, 1, 2]
    await world.connect("laptop", room="one", user="ada")
    await world.ask("laptop", {"type": "join_room", "roomId": "two"})
    await world.pump()
    assert told(world, "laptop") == [("user_joined", "ada")] * 2
    await world.ask("phone", {"type": "leave_room", "roomId": "two"})
    await world.disconnect("phone")
    await world.pump()
    assert {name: told(world, name) for name in told_before} == told_before
    await world.ask("laptop", {"type": "leave_room", "roomId": "two"})
    await world.disconnect("laptop")
    await world.pump()
    for name in ("bob", "cid"):
        assert told(world, name) == [*told_before[name], ("user_left", "ada")]


async def test_joining_again_is_not_told_again() -> None:
    """A repeated join changes nothing."""
    world = World()
    await world.connect("ada", room="tea")
    await world.pump()
    before = told(world, "ada")
    await world.ask("ada", {"type": "join_room", "roomId": "tea"})
    await world.pump()
    assert told(world, "ada") == before


async def test_a_purge_is_told_too() -> None:
    """Who vanished has left, once a broadcast has noticed."""
    world = World()
    await world.connect("ada")
    await world.connect("bob")
    world.sockets.drop("bob")
    world.clock.advance(60)
    await world.say("ada", "anyone?")
    await world.pump()
    assert told(world, "ada")[-1] == ("user_left", "bob")


async def test_a_large_room_is_told_how_many_they_are() -> None:
    """Above the limit: no names, one count a second at most, and the last one is right."""
    world = World(roster_limit=5)
    for number in range(40):
        await world.connect(f"m{number}", room="tea")
        await world.pump()
        world.clock.advance(0.1)
    await world.pump(seconds=3)
    assert told(world, "m0") == [("user_joined", f"m{it}") for it in range(5)]
    counts = [it["data"]["activeUsers"] for it in world.events("m0", "room_stats")]
    assert counts == sorted(counts)
    assert counts[-1] == 40
    assert len(counts) <= 6
    for number in range(10, 40):
        await world.disconnect(f"m{number}")
    await world.pump(seconds=3)
    assert world.events("m0", "room_stats")[-1]["data"]["activeUsers"] == 10


async def test_a_thousand_joins_cost_posts_in_proportion() -> None:
    """Posts for 1,000 joins at 100 a second: a welcome each, and at most a count a second to everybody."""
    world = World()
    for number in range(1_000):
        await world.connect(f"m{number}", room="tea")
        if number % 10 == 9:
            await world.pump()
            world.clock.advance(0.1)
    await world.pump(seconds=3)
    limit = world.rules.roster_limit
    welcomes, names = 1_000, limit * (limit - 1) // 2
    counts = sum(it * 100 for it in range(1, 11)) + 2 * 1_000
    assert world.counts["PostsDelivered"] <= welcomes + names + counts
    assert world.events("m999", "room_stats")[-1]["data"]["activeUsers"] == 1_000


async def test_typing_reaches_the_others_and_is_worth_nothing_when_late() -> None:
    """No reply, no echo; dropped after three seconds."""
    world = World()
    await world.connect("ada", room="tea")
    await world.connect("bob", room="tea")
    await world.pump()
    assert await world.ask("ada", {"type": "typing", "roomId": "tea"}) == {}
    await world.pump()
    assert [it["data"]["userId"] for it in world.events("bob", "typing")] == ["ada"]
    assert world.events("ada", "typing") == []
    await world.ask("ada", {"type": "typing", "roomId": "tea"})
    world.clock.advance(4)
    await world.pump()
    assert len(world.events("bob", "typing")) == 1


async def test_news_that_cannot_be_told_hold_up_nothing() -> None:
    """The ephemeral queue is down: joins and leaves go on."""
    world = World()
    await world.connect("ada")

    async def down(job: object, delay: int = 0) -> None:
        raise Unavailable("sqs")

    world.queue.announce = down  # type: ignore[method-assign]
    assert (await world.ask("ada", {"type": "join_room", "roomId": "tea"}))["type"] == "joined"
    assert (await world.ask("ada", {"type": "leave_room", "roomId": "tea"}))["type"] == "left"


async def test_counts_are_exact_after_a_storm_of_comings_and_goings() -> None:
    """Fifty connect and half of them go, all at once: the count is the rows' number."""
    world = World(seed=3)

    async def visit(number: int) -> None:
        await world.connect(f"m{number}", room="tea")
        if number % 2:
            await world.disconnect(f"m{number}")

    await asyncio.gather(*(visit(it) for it in range(50)))
    room = await world.store.room("tea")
    assert room is not None
    key = ShardKey("tea", room.epoch, 0)
    shard = await world.store.shard(key)
    assert shard is not None
    assert shard.members == len(await world.store.members(key)) == 25
