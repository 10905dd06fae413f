"""Rooms of several shards: who joins which, when they become more, and what a message rings then."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from domain.errors import Unavailable
from domain.fanout import Doorbell, Plan, Rung, parse_job
from domain.rooms import GROWTH_CLAIM_MS, Room, ShardKey
from tests.unit.world import World

ROOM = "arena"


async def room_of(world: World) -> Room:
    found = await world.store.room(ROOM)
    assert found is not None
    return found


async def with_shards(shards: int, **settings: Any) -> World:
    """A world whose room has so many shards, and nobody in it."""
    world = World(**settings)
    room = await world.store.create_room(Room(ROOM, 5))
    while room.shards < shards:
        await world.store.grow(room)
        room = await room_of(world)
    return world


async def sizes(world: World) -> list[int]:
    """How many are in each shard, by its member rows."""
    room = await room_of(world)
    return [len(await world.store.members(ShardKey(ROOM, room.epoch, it))) for it in range(room.shards)]


async def connect(world: World, names: Sequence[str]) -> None:
    for it in names:
        await world.connect(it, ROOM)


def members(count: int, start: int = 0) -> list[str]:
    return [f"m{it}" for it in range(start, start + count)]


async def rung(world: World, lane: str) -> list[Any]:
    """The jobs that wait on the lane, taken off it."""
    jobs = []
    while records := await world.queue.receive(lane, 10):
        for it in records:
            jobs.append(parse_job(it["body"]))
            await world.queue.delete(lane, it["receiptHandle"])
    return jobs


def watch(world: World, *methods: str, before: Callable[[str, tuple[Any, ...]], Any] | None = None) -> list[str]:
    """The names of the store's methods as they are called; `before` may await or raise."""
    calls: list[str] = []

    def watched(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        async def called(*arguments: Any) -> Any:
            calls.append(name)
            if before is not None:
                await before(name, arguments)
            return await method(*arguments)

        return called

    for name in methods:
        setattr(world.store, name, watched(name, getattr(world.store, name)))
    return calls


# ---- which shard


async def test_joins_spread_evenly() -> None:
    """4,000 over eight shards: none has more than a few more than another."""
    world = await with_shards(8, seed=3, shard_limit=10_000)
    await connect(world, members(4_000))
    found = await sizes(world)
    assert sum(found) == 4_000
    assert max(found) - min(found) <= 8


async def test_a_full_shard_is_spared_until_the_new_ones_are_as_full() -> None:
    """Each doubling waits for the whole room to be four fifths full, not for one old shard to be drawn again."""
    world = World(shard_limit=50)
    grown = [(0, 1)]
    for number, name in enumerate(members(700), 1):
        await world.connect(name, ROOM)
        room = await room_of(world)
        if room.shards != grown[-1][1]:
            grown.append((number, room.shards))
    assert [shards for _, shards in grown] == [1, 2, 4, 8, 16, 32]
    for number, shards in grown[1:]:
        assert number == pytest.approx(40 * shards / 2, rel=0.05)
    assert max(await sizes(world)) <= 41


async def test_a_join_keeps_its_shard() -> None:
    """Joining again, after the room has grown, moves nobody and counts nobody twice."""
    world = World(shard_limit=10)
    await connect(world, members(30))
    before = await sizes(world)
    assert len(before) == 4
    for name in members(30):
        reply = await world.ask(name, {"type": "join_room", "roomId": ROOM})
        assert reply["type"] == "joined"
    assert await sizes(world) == before
    counted = await world.store.shards([ShardKey(ROOM, (await room_of(world)).epoch, it) for it in range(4)])
    assert [it.members for it in counted.values()] == before


# ---- growth


async def test_a_room_grows_above_four_fifths_of_the_limit() -> None:
    """Not with the fortieth of fifty; with the next."""
    world = World(shard_limit=50)
    calls = watch(world, "claim_growth")
    await connect(world, members(40))
    assert (calls, (await room_of(world)).shards) == ([], 1)
    await world.connect("one-more", ROOM)
    assert (calls, (await room_of(world)).shards) == (["claim_growth"], 2)


async def test_many_joins_find_it_full_and_one_doubles() -> None:
    """Twenty at once: one opens and doubles."""
    world = World(shard_limit=50)
    await connect(world, members(40))
    calls = watch(world, "claim_growth", "open_shards", "grow")
    await asyncio.gather(*(world.connect(it, ROOM) for it in members(20, 40)))
    counted = Counter(calls)
    assert counted["claim_growth"] > 1
    assert (counted["open_shards"], counted["grow"]) == (1, 1)
    room = await room_of(world)
    assert (room.shards, room.growing_at) == (2, 0)
    assert sum(await sizes(world)) == 60


async def test_growth_comes_through_between_sends() -> None:
    """A send has the room's row: the doubling tries again, and the join is not held up for long."""
    world = World(shard_limit=10)
    await connect(world, members(8))
    refusals = iter([True, True, True, False])

    async def busy(name: str, arguments: object) -> None:
        if next(refusals):
            raise Unavailable("a transaction holds the row")

    calls = watch(world, "grow", before=busy)
    begun = world.clock.monotonic()
    await world.connect("one-more", ROOM)
    assert calls == ["grow"] * 4
    assert (await room_of(world)).shards == 2
    assert world.clock.monotonic() - begun < 1


async def test_a_doubling_that_died_is_taken_over_after_five_seconds() -> None:
    """The join succeeds without it; the next ones leave the claim alone until it is old."""
    world = World(shard_limit=10)
    await connect(world, members(8))
    down = True

    async def fail(name: str, arguments: object) -> None:
        if down:
            raise Unavailable("throttled")

    calls = watch(world, "claim_growth")
    watch(world, "open_shards", before=fail)
    await world.connect("unlucky", ROOM)
    claimed = await room_of(world)
    assert (claimed.shards, claimed.growing_at) == (1, world.clock.now())
    down = False
    world.clock.advance(GROWTH_CLAIM_MS / 1000 - 0.001)
    await world.connect("early", ROOM)
    assert (calls, (await room_of(world)).shards) == (["claim_growth"], 1)
    world.clock.advance(0.001)
    await world.connect("late", ROOM)
    grown = await room_of(world)
    assert (calls, grown.shards, grown.growing_at) == (["claim_growth"] * 2, 2, 0)


async def test_new_shards_start_at_the_head_before_anybody_can_join_them() -> None:
    """The first worker of a new shard would else begin anywhere. The head is the one that the join read last."""
    world = World(shard_limit=10)
    await connect(world, members(8))
    await world.say("m0", "before", ROOM)
    epoch = (await room_of(world)).epoch
    starts: list[int | None] = []

    async def look(name: str, arguments: object) -> None:
        if name == "grow":
            shard = await world.store.shard(ShardKey(ROOM, epoch, 1))
            starts.append(shard.sent if shard else None)

    calls = watch(world, "claim_growth", "open_shards", "grow", before=look)
    await world.connect("one-more", ROOM)
    assert calls == ["claim_growth", "open_shards", "grow"]
    assert starts == [1]
    await world.connect("newcomer", ROOM)
    await world.say("m0", "after", ROOM)
    await world.pump()
    assert world.messages("newcomer") == ["after"]
    assert world.messages("m1") == ["before", "after"]


async def test_an_inbox_grows_like_any_room() -> None:
    """A user with more connections than a shard holds still gets every private message on each of them."""
    world = World(shard_limit=5)
    await world.connect("ada", "lobby")
    for number in range(12):
        await world.connect(f"bob-{number}", "lobby", user="bob")
    await world.ask("ada", {"type": "private_message", "targetUserId": "bob", "message": "psst"})
    await world.pump()
    heard = [[it["data"]["message"] for it in world.events(f"bob-{n}", "private_message")] for n in range(12)]
    assert heard == [["psst"]] * 12


# ---- what a message rings


async def test_a_send_that_read_too_few_shards_rings_them_all() -> None:
    """The room grows between the read and the transaction: it conflicts, is decided anew, and rings the new ones."""
    world = World(shard_limit=10)
    await connect(world, members(3))
    grows = iter([True, False])

    async def grow(name: str, arguments: object) -> None:
        if next(grows):
            await world.store.grow(await room_of(world))

    calls = watch(world, "append", before=grow)
    ack = await world.say("m0", "hello", ROOM)
    assert calls == ["append"] * 2
    assert ack["seq"] == 1
    assert await rung(world, "interactive") == []
    assert [(it.shard, it.seq) for it in await rung(world, "bulk")] == [(0, 1), (1, 1)]


@pytest.mark.parametrize(("shards", "lane", "kinds"), [(1, "interactive", 1), (2, "bulk", 2), (8, "bulk", 8)])
async def test_up_to_ten_shards_have_a_doorbell_each(shards: int, lane: str, kinds: int) -> None:
    """On `interactive` where there is one, else on `bulk`."""
    world = await with_shards(shards)
    await world.connect("ada", ROOM)
    await world.say("ada", "hello", ROOM)
    jobs = await rung(world, lane)
    assert [(type(it), it.shard) for it in jobs] == [(Doorbell, it) for it in range(kinds)]
    assert [world.queue.depth(it) for it in ("interactive", "bulk")] == [0, 0]


async def test_a_plan_stands_for_more_than_ten() -> None:
    """One job, however many shards; the worker rings each."""
    world = await with_shards(16)
    await world.connect("ada", ROOM)
    await world.say("ada", "hello", ROOM)
    [record] = await world.queue.receive("bulk", 10)
    assert parse_job(record["body"]) == Plan(room=ROOM, epoch=5, shards=16, seq=1)
    assert await world.work("bulk", [record]) == []
    await world.queue.delete("bulk", record["receiptHandle"])
    assert [(type(it), it.shard, it.seq) for it in await rung(world, "bulk")] == [(Doorbell, it, 1) for it in range(16)]


async def test_a_plan_that_fails_comes_again() -> None:
    """The queue takes some of the doorbells and fails: all are rung again, and each is one."""
    world = await with_shards(16, shard_limit=10)
    await connect(world, members(64))
    await world.pump()
    await world.say("m0", "hello", ROOM)
    ring = world.queue.ring

    async def some(lane: str, jobs: Sequence[Rung]) -> None:
        await ring(lane, jobs[:7])
        raise Unavailable("the rest was not taken")

    world.queue.ring = some  # type: ignore[method-assign]  # a failure at exactly this point
    assert await world.work_once("bulk") != []
    world.queue.ring = ring  # type: ignore[method-assign]  # whole again
    await world.pump(seconds=5)
    assert [world.messages(it) for it in members(64)] == [["hello"]] * 64
    assert world.queue.dead("bulk") == []


@pytest.mark.parametrize("count", [60, 200])
async def test_every_member_of_every_shard_hears_once(count: int) -> None:
    """By doorbells and by plans; private messages go past the large room on `interactive`."""
    world = World(shard_limit=10)
    await connect(world, members(count))
    await world.pump()
    assert (await room_of(world)).shards == (8 if count == 60 else 32)
    for number in range(3):
        await world.say("m0", f"{number}", ROOM)
    await world.ask("m0", {"type": "private_message", "targetUserId": "m1", "message": "psst"})
    assert world.queue.depth("interactive") == 2
    assert all(it.room.startswith("inbox#") for it in await rung(world, "interactive"))
    await world.pump(seconds=3)
    assert [world.messages(it) for it in members(count)] == [["0", "1", "2"]] * count
    assert world.counts["EntriesServed"] == 3 * (await room_of(world)).shards


# ---- what is told of a room


async def test_a_room_is_listed_with_the_members_of_all_its_shards() -> None:
    """`room_list` sums their counts; `members` pages through shard after shard, and names everybody once."""
    world = World(shard_limit=10)
    await connect(world, members(60))
    assert (await room_of(world)).shards == 8
    for name in members(10):
        await world.disconnect(name)
    listed = await world.ask("m59", {"type": "room_list"})
    assert [(it["roomId"], it["activeUsers"]) for it in listed["data"]["rooms"]] == [(ROOM, 50)]
    named: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await world.ask("m59", {"type": "members", "roomId": ROOM, **cursor}))["data"]
        named += [it["userId"] for it in page["members"]]
        if "cursor" not in page:
            break
        cursor = {"cursor": page["cursor"]}
    assert sorted(named) == sorted(members(50, 10))


async def test_a_shard_is_told_how_many_are_in_the_room() -> None:
    """Where somebody has come: at most every S seconds, and the last one is counted in the last that is told."""
    world = World(shard_limit=150, roster_limit=5)
    await connect(world, members(300))
    await world.pump(seconds=10)
    before = len(world.events("m0", "room_stats"))
    for name in members(150, 300):
        await world.connect(name, ROOM)
        world.clock.advance(0.1)
        await world.pump()
    await world.pump(seconds=10)
    assert (await room_of(world)).shards == 4
    assert world.events("m449", "room_stats")[-1]["data"]["activeUsers"] == 450
    told = [len(world.events(it, "room_stats")) - before for it in members(300)]
    assert 2 <= max(told) <= 15 / 4 + 1
