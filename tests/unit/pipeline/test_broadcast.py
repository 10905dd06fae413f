"""Serving shards: packing, remainders, purge, census, and what a death between two steps leaves behind."""

import asyncio
import json
from dataclasses import replace

import pytest

from domain.errors import ConnectionGone, PostError, PostFailed, Throttled, Unavailable
from domain.fanout import NOT_AFTER_MS, YOUNG_MS, Remainder, encode_job
from domain.rooms import Dialect, Entry, ShardKey
from tests.unit.world import World


async def key_of(world: World, room: str = "general") -> ShardKey:
    [found] = (await world.store.rooms([room])).values()
    return ShardKey(room, found.epoch, 0)


async def test_what_gathered_goes_out_in_one_frame() -> None:
    """Twelve messages before the worker comes: one batch for v1, twelve frames for the recipe's client."""
    world = World()
    await world.connect("ada")
    await world.connect("bob", dialect="recipe")
    await world.pump()
    before = {name: len(world.sockets.received[name]) for name in ("ada", "bob")}
    for number in range(12):
        await world.say("ada", f"{number}")
    await world.pump()
    [batch] = world.sockets.received["ada"][before["ada"] :]
    assert json.loads(batch)["type"] == "batch"
    assert world.messages("ada") == world.messages("bob") == [f"{it}" for it in range(12)]
    assert len(world.sockets.received["bob"]) == before["bob"] + 12


async def test_jobs_that_another_round_has_served_post_nothing() -> None:
    """A doorbell at or below `sent` is done without a post: a second delivery of a job costs a read."""
    world = World()
    await world.connect("ada")
    await world.say("ada", "one")
    await world.pump()
    key = await key_of(world)
    body = f'{{"kind":"doorbell","v":1,"room":"general","epoch":{key.epoch},"shard":0,"seq":1}}'
    world.queue.put("interactive", body, str(key))
    await world.pump()
    assert world.messages("ada") == ["one"]


async def test_a_lost_doorbell_is_healed_by_the_next() -> None:
    """The log is the truth: the next job brings what an earlier one should have."""
    world = World()
    await world.connect("ada")
    await world.say("ada", "one")
    [record] = await world.queue.receive("interactive", 10)
    await world.queue.delete("interactive", record["receiptHandle"])
    await world.say("ada", "two")
    await world.pump()
    assert world.messages("ada") == ["one", "two"]


@pytest.mark.parametrize("dialect", ["v1", "recipe"])
async def test_who_comes_is_posted_only_what_is_newer(dialect: Dialect) -> None:
    """A message that was stored before the join is broadcast after it: to those who were there."""
    world = World()
    await world.connect("ada")
    await world.say("ada", "one")
    await world.connect("bob", dialect=dialect)
    await world.say("ada", "two")
    await world.pump()
    assert world.messages("ada") == ["one", "two"]
    assert world.messages("bob") == ["two"]


async def test_a_member_that_joins_again_is_owed_what_it_was() -> None:
    """The second join of a connection takes nothing from it that its first one gave it."""
    world = World()
    await world.connect("ada")
    await world.connect("bob")
    await world.say("bob", "one")
    await world.ask("ada", {"type": "join_room", "roomId": "general"})
    await world.pump()
    assert world.messages("ada") == ["one"]


async def test_a_long_backlog_goes_out_in_rounds() -> None:
    """More than a round holds: the worker begins again until the last job's seq is reached."""
    world = World()
    await world.connect("ada")
    for number in range(250):
        await world.say("ada", f"{number}")
    await world.pump()
    assert world.messages("ada") == [f"{it}" for it in range(250)]
    shard = await world.store.shard(await key_of(world))
    assert shard is not None
    assert shard.sent == 250


@pytest.mark.parametrize("error", [PostFailed("503"), Throttled("429"), ConnectionGone("410")])
async def test_exactly_who_failed_gets_a_remainder(error: PostError) -> None:
    """One member's posts fail: the others get one frame each, the one gets its frame from the retry lane."""
    world = World()
    for name in ("ada", "bob", "cid"):
        await world.connect(name)
    await world.pump()
    world.sockets.fail_next("bob", *[error] * 5)
    await world.say("ada", "hello")
    await world.work_once("interactive")
    assert (world.messages("ada"), world.messages("bob"), world.messages("cid")) == (["hello"], [], ["hello"])
    await world.pump(seconds=60)
    assert [len(world.messages(it)) for it in ("ada", "bob", "cid")] == [1, 1, 1]
    assert world.queue.depth("retry") == 0


async def test_a_remainder_begins_at_the_first_frame_that_failed() -> None:
    """The recipe's client got two of four frames: the remainder owes it the last two, in order."""
    world = World()
    await world.connect("ada", dialect="recipe")
    await world.pump()
    for number in range(4):
        await world.say("ada", f"{number}")
    posts = 0

    async def third_fails(connection: str, frame: bytes) -> None:
        nonlocal posts
        posts += 1
        if posts == 3:
            raise PostFailed("reset")

    world.sockets.on_post = third_fails
    await world.work_once("interactive")
    assert world.messages("ada") == ["0", "1"]
    await world.pump(seconds=5)
    assert world.messages("ada") == ["0", "1", "2", "3"]


async def test_a_large_failure_makes_several_remainders() -> None:
    """A throttled account: 1,200 members are owed their frame by two jobs, each small enough for the queue."""
    world = World(post_concurrency=512, shard_limit=2_000)
    for number in range(1_200):
        await world.connect(f"m{number}")
    await world.pump()
    posts = 0

    async def throttled(connection: str, frame: bytes) -> None:
        nonlocal posts
        posts += 1
        if posts <= 1_200:
            raise PostFailed("503")

    world.sockets.on_post = throttled
    await world.say("m0", "hello")
    await world.work_once("interactive")
    assert (posts, world.queue.depth("retry")) == (1_200, 2)
    await world.pump(seconds=2)
    assert all(world.messages(f"m{it}") == ["hello"] for it in range(1_200))


async def test_a_remainder_of_what_is_there_no_longer_is_done() -> None:
    """Its entries were deleted by their time-to-live meanwhile: nobody is owed anything."""
    world = World()
    await world.connect("ada")
    await world.pump()
    room = await world.store.room("general")
    assert room is not None
    gone = Remainder(
        room="general",
        epoch=room.epoch,
        shard=0,
        first=1,
        last=2,
        connections=["ada"],
        attempt=1,
        not_after=world.clock.now() + 60_000,
    )
    await world.queue.defer([gone])
    await world.pump(seconds=30)
    assert (world.messages("ada"), world.queue.depth("retry"), world.queue.dead("retry")) == ([], 0, [])


async def test_a_remainder_is_for_members_only() -> None:
    """Who left in the meantime gets nothing more."""
    world = World()
    await world.connect("ada")
    await world.connect("bob")
    await world.pump()
    world.sockets.fail_next("bob", PostFailed("503"))
    await world.say("ada", "late")
    await world.work_once("interactive")
    await world.ask("bob", {"type": "leave_room"})
    await world.pump(seconds=30)
    assert world.messages("bob") == []


async def test_a_remainder_past_its_time_becomes_a_beacon_or_a_close() -> None:
    """After ten minutes v1 is told the head, and the recipe's client is closed so that it comes back."""
    world = World()
    await world.connect("ada")
    await world.connect("bob", dialect="recipe")
    await world.pump()
    world.sockets.fail_next("ada", PostFailed("503"))
    world.sockets.fail_next("bob", PostFailed("503"))
    await world.say("ada", "stuck")
    await world.work_once("interactive")
    world.clock.advance(NOT_AFTER_MS / 1000 + 1)
    await world.pump(seconds=30)
    [head] = world.events("ada", "head")
    assert (head["data"]["roomId"], head["data"]["seq"]) == ("general", 1)
    assert world.sockets.is_open("ada")
    assert not world.sockets.is_open("bob")


async def test_a_beacon_that_fails_closes_its_socket() -> None:
    """Who can't even be told is cut off, and fills up when it returns."""
    world = World()
    await world.connect("ada")
    await world.pump()
    key = await key_of(world)
    late = Remainder(
        room="general", epoch=key.epoch, shard=0, first=1, last=1, connections=["ada"], attempt=9, not_after=1
    )
    world.queue.put("retry", encode_job(late), "general")
    world.sockets.fail_next("ada", PostFailed("503"))
    await world.pump()
    assert not world.sockets.is_open("ada")


async def test_a_dead_connection_is_purged_by_the_next_broadcast() -> None:
    """Gone without a close: purged in all its rooms once older than 30 s; the others miss nothing."""
    world = World()
    for name in ("ada", "bob"):
        await world.connect(name)
        await world.ask(name, {"type": "join_room", "roomId": "tea"})
    world.sockets.drop("bob")
    world.clock.advance(YOUNG_MS / 1000 + 1)
    await world.say("ada", "hello", "tea")
    await world.pump()
    assert world.messages("ada") == ["hello"]
    session = await world.store.session("bob")
    assert (session.connection, list(session.memberships)) == (None, [])
    for room in ("general", "tea"):
        assert [it.connection for it in await world.store.members(await key_of(world, room))] == ["ada"]
    assert world.counts["ConnectionsPurged"] == 1


async def test_who_was_found_gone_is_posted_to_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remainders of several messages wait for one client in a batch, and the store does not take the purge."""
    world = World(post_concurrency=1)
    for name in ("ada", "bob"):
        await world.connect(name)
    for text in ("one", "two", "three"):
        world.sockets.fail_next("bob", PostFailed("503"))
        await world.say("ada", text)
        await world.work_once("interactive")
    assert world.queue.depth("retry") == 3
    world.sockets.drop("bob")
    world.clock.advance(YOUNG_MS / 1000 + 1)

    async def down(*given: object) -> None:
        raise Unavailable

    with monkeypatch.context() as patch:
        patch.setattr(world.ports.roster, "drop", down)
        await world.work_once("retry")
    assert world.counts["PostsGone"] == 1
    await world.say("ada", "four")
    await world.pump()
    assert (world.counts["PostsGone"], world.counts["ConnectionsPurged"]) == (2, 1)
    assert world.messages("ada") == ["one", "two", "three", "four"]


async def test_a_hundred_of_a_thousand_vanish() -> None:
    """No close, no `$disconnect`: the others miss nothing, the hundred are purged, the room's count says 900."""
    world = World()
    for number in range(1_000):
        await world.connect(f"m{number}", room="tea")
    await world.pump()
    for number in range(0, 1_000, 10):
        world.sockets.drop(f"m{number}")
    world.clock.advance(YOUNG_MS / 1000 + 1)
    await world.say("m1", "who is here?", "tea")
    await world.pump()
    assert world.counts["ConnectionsPurged"] == 100
    assert all(world.messages(f"m{it}") == ["who is here?"] for it in range(1_000) if it % 10)
    listed = await world.ask("m1", {"type": "room_list"})
    assert [(it["roomId"], it["activeUsers"]) for it in listed["data"]["rooms"]] == [("tea", 900)]


async def test_a_young_connection_is_never_purged() -> None:
    """A 410 during the handshake: tried again at once, then by remainder, and delivered when the socket opens."""
    world = World()
    await world.connect("ada")
    await world.pump()
    world.sockets.drop("ada")
    await world.say("ada", "early")
    await world.work_once("interactive")
    assert len(await world.store.members(await key_of(world))) == 1
    world.sockets.open("ada")
    await world.pump(seconds=10)
    assert world.messages("ada") == ["early"]


@pytest.mark.parametrize("error", [PostFailed("403"), PostFailed("413"), PostFailed("500"), Throttled("429")])
async def test_nothing_but_410_purges(error: PostFailed) -> None:
    """403, 413, 5xx and 429 of an old connection leave it a member."""
    world = World()
    await world.connect("ada")
    await world.pump()
    world.clock.advance(3600)
    world.sockets.fail_next("ada", *[error] * 3)
    await world.say("ada", "x")
    await world.work_once("interactive")
    assert len(await world.store.members(await key_of(world))) == 1


async def test_a_member_row_of_an_earlier_epoch_is_purged_too() -> None:
    """Its reverse row has moved on to the room made anew; the old row goes all the same."""
    world = World()
    await world.connect("ada", room="tea")
    key = await key_of(world, "tea")
    [member] = await world.store.members(key)
    later = ShardKey("tea", key.epoch + 1, 0)
    session = await world.store.session("ada")
    moved = replace(member, join_id="later")
    await world.store.join(moved, later, session.membership("tea"), None, world.clock.now())
    await world.store.end_connection("ada")
    world.sockets.drop("ada")
    world.clock.advance(60)
    # An entry of the old epoch that was never sent.
    world.store._entries["tea", key.epoch][1] = Entry(1, "chat", world.clock.now(), "ada", {"message": "old"})
    world.queue.put(
        "interactive",
        f'{{"kind":"doorbell","v":1,"room":"tea","epoch":{key.epoch},"shard":0,"seq":1}}',
        str(key),
    )
    await world.pump()
    assert await world.store.members(key) == []
    assert await world.store.members(later) == []


async def test_the_broadcast_is_a_census() -> None:
    """A count that drifted is right after a broadcast."""
    world = World()
    await world.connect("ada")
    key = await key_of(world)
    await world.store.count_join(key, 0)
    await world.store.count_join(key, 0)
    await world.say("ada", "x")
    await world.pump()
    shard = await world.store.shard(key)
    assert shard is not None
    assert shard.members == 1


async def test_sent_rises_only_after_the_remainder() -> None:
    """The retry queue fails: the jobs come again, and nobody is skipped."""
    world = World()
    await world.connect("ada")
    await world.connect("bob")
    await world.pump()
    world.sockets.fail_next("bob", PostFailed("503"))
    defer = world.queue.defer

    async def down(remainders: object) -> None:
        raise Unavailable("sqs")

    world.queue.defer = down  # type: ignore[method-assign]
    await world.say("ada", "x")
    failed = await world.work_once("interactive")
    assert failed
    shard = await world.store.shard(await key_of(world))
    assert shard is not None
    assert shard.sent == 0
    world.queue.defer = defer  # type: ignore[method-assign]
    await world.pump(seconds=20)
    assert world.messages("bob") == ["x"]


async def test_a_worker_that_dies_is_replaced_after_the_visibility() -> None:
    """Killed in the middle of the posts: its successor repeats frames and skips none."""
    world = World(post_concurrency=1)
    for number in range(6):
        await world.connect(f"m{number}")
    await world.pump()
    await world.say("m0", "hello")
    posts = 0

    async def die(connection: str, frame: bytes) -> None:
        nonlocal posts
        posts += 1
        if posts == 3:
            worker.cancel()
            await asyncio.sleep(1)

    world.sockets.on_post = die
    records = await world.queue.receive("interactive", 10)
    worker = asyncio.create_task(world.work("interactive", records))
    with pytest.raises(asyncio.CancelledError):
        await worker
    world.sockets.on_post = None
    await world.pump()
    assert world.messages("m5") == []
    await world.pump(seconds=world.lanes["interactive"].visibility + 1)
    assert [world.messages(f"m{it}") for it in range(6)] == [["hello"] * 2] * 2 + [["hello"]] * 4


async def test_short_of_time_the_rest_becomes_a_remainder() -> None:
    """Less than two seconds left: no post begins; the members are owed their frames by the retry lane."""
    world = World()
    for number in range(4):
        await world.connect(f"m{number}")
    await world.pump()
    await world.say("m0", "hello")
    world.time_left = 1.5
    assert await world.work_once("interactive") == []
    assert all(world.messages(f"m{it}") == [] for it in range(4))
    assert world.queue.depth("retry") == 1
    world.time_left = 10
    await world.pump(seconds=5)
    assert all(world.messages(f"m{it}") == ["hello"] for it in range(4))


async def test_short_of_time_between_rounds_the_later_jobs_come_again() -> None:
    """The round ended short and time is up: jobs beyond `sent` are failures, those up to it are done."""
    world = World()
    await world.connect("ada")
    await world.pump()
    for number in range(105):
        await world.say("ada", f"{number}")
    while await world.queue.receive("interactive", 10):  # all but the last jobs are lost: they are not needed
        pass
    key = await key_of(world)
    world.queue.put(
        "interactive", f'{{"kind":"doorbell","v":1,"room":"general","epoch":{key.epoch},"shard":0,"seq":100}}', "g"
    )
    world.queue.put(
        "interactive", f'{{"kind":"doorbell","v":1,"room":"general","epoch":{key.epoch},"shard":0,"seq":105}}', "g"
    )
    records = [it for it in await world.queue.receive("interactive", 10) if it["attributes"]["MessageGroupId"] == "g"]
    world.time_left = 2.2

    async def slow(connection: str, frame: bytes) -> None:
        world.clock.advance(0.3)

    world.sockets.on_post = slow
    assert await world.work("interactive", records) == [records[1]["messageId"]]
    assert world.messages("ada")[-1] == "99"


async def test_an_unreadable_job_is_buried_and_the_rest_served() -> None:
    """One poison among ten: it lies in the dead-letter queue, its group goes on."""
    world = World()
    await world.connect("ada")
    key = await key_of(world)
    for poison in ("{", '{"kind":"doorbell"}', '{"kind":"doorbell","v":0,"room":"a","epoch":1,"shard":0,"seq":1}'):
        world.queue.put("interactive", poison, str(key))
    await world.say("ada", "x")
    await world.pump()
    assert world.messages("ada") == ["x"]
    assert len(world.queue.dead("interactive")) == 3
    assert world.queue.depth("interactive") == 0


async def test_a_failed_group_does_not_hold_up_another() -> None:
    """The store fails for one room: its jobs come again soon, the other room's are done."""
    world = World()
    await world.connect("ada", room="one")
    await world.connect("bob", room="two")
    await world.pump()
    members = world.store.members

    async def fails_for_one(key: ShardKey) -> object:
        if key.room == "one":
            raise Unavailable("throttled")
        return await members(key)

    world.store.members = fails_for_one  # type: ignore[method-assign,assignment]
    await world.say("ada", "1", "one")
    await world.say("bob", "2", "two")
    failed = await world.work_once("interactive")
    assert failed is not None
    assert (len(failed), world.messages("bob")) == (1, ["2"])
    world.store.members = members  # type: ignore[method-assign]
    await world.pump(seconds=1)
    assert world.messages("ada") == ["1"]


async def test_an_expired_member_gets_nothing() -> None:
    """Rows outlive their time: TTL lags, so expiry is checked in code."""
    world = World()
    await world.connect("ada")
    await world.pump()
    world.clock.advance(3 * 3600)
    await world.connect("bob")
    await world.say("bob", "x")
    await world.pump()
    assert (world.messages("ada"), world.messages("bob")) == ([], ["x"])


async def test_a_late_welcome_is_dropped() -> None:
    """Ephemeral events are worth nothing when old."""
    world = World()
    await world.connect("ada")
    world.clock.advance(61)
    await world.pump()
    assert world.events("ada", "welcome") == []


async def test_a_welcome_waits_for_the_handshake() -> None:
    """410 while the handshake is pending: the job comes again until it is welcome."""
    world = World()
    await world.connect("ada")
    world.sockets.drop("ada")
    await world.work_once("ephemeral")
    world.sockets.open("ada")
    await world.pump(seconds=3)
    assert len(world.events("ada", "welcome")) == 1
