"""The memory adapters, beside their contracts: what no emulator can show, and what tests steer them by."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest

from adapters.memory import ManualClock, MemoryConnections, MemoryQueue, MemoryStore
from domain.errors import Conflict, ConnectionGone, PostFailed, Throttled, Unavailable
from domain.fanout import parse_job
from domain.lanes import LANES
from domain.rooms import FOREVER, Standing
from tests.contract.lanes import doorbell, remainder
from tests.contract.stage import NOW, MemoryStage

# ---- transactions


async def test_a_transaction_meets_a_row_that_another_one_only_checks() -> None:
    """Two connections of a user write to two rooms at once: they share no row. Two joins of a room share the user's."""
    stage = MemoryStage(MemoryStore()).fresh(1)
    joins = [
        stage.store.connect(
            stage.connected(it), [(stage.member(it, user=user), stage.key, replace(stage.may_join(), user=user))], NOW
        )
        for it, user in (("one", "ada"), ("two", "ada"), ("three", "bob"))
    ]
    outcomes = await asyncio.gather(*joins, return_exceptions=True)
    assert [type(it) for it in outcomes] == [type(None), Conflict, type(None)]
    assert [it.connection for it in await stage.store.members(stage.key)] == ["one", "three"]


async def test_a_single_write_meets_a_transaction() -> None:
    """It fails with nothing done, as DynamoDB's TransactionConflictException says."""
    stage = MemoryStage(MemoryStore()).fresh(1)
    ban, join = await asyncio.gather(
        stage.store.set_standing(stage.room, stage.user, Standing(banned_until=FOREVER)),
        stage.connect(),
        return_exceptions=True,
    )
    assert isinstance(ban, Unavailable)
    assert join is None
    assert await stage.store.standing(stage.room, stage.user) == Standing()


async def test_a_cancelled_transaction_lets_its_rows_go() -> None:
    """Nothing is written, and the next one finds the rows free."""
    stage = MemoryStage(MemoryStore()).fresh(1)
    join = asyncio.create_task(stage.connect())
    await asyncio.sleep(0)
    join.cancel()
    with pytest.raises(asyncio.CancelledError):
        await join
    assert await stage.store.members(stage.key) == []
    await stage.enter()


# ---- time and lanes


async def test_time_passes_when_told_and_when_somebody_sleeps() -> None:
    """Nobody waits."""
    clock = ManualClock(now=1_000)
    clock.advance(1.5)
    await clock.sleep(3600)
    assert clock.now() == 1_000 + 1_500 + 3_600_000
    assert clock.monotonic() == 3601.5


async def test_deduplication_ends_after_five_minutes() -> None:
    """Then the same doorbell is a new message."""
    clock = ManualClock()
    queue = MemoryQueue(clock)
    await queue.ring("interactive", [doorbell(1)])
    clock.advance(299)
    await queue.ring("interactive", [doorbell(1)])
    assert queue.depth("interactive") == 1
    clock.advance(2)
    await queue.ring("interactive", [doorbell(1)])
    assert queue.depth("interactive") == 2


async def test_a_batch_whose_worker_died_comes_again_after_the_visibility_time() -> None:
    """The shard stands still until then, others go on; a late delete of the dead worker has no effect."""
    clock = ManualClock()
    queue = MemoryQueue(clock)
    await queue.ring("interactive", [doorbell(1), doorbell(2)])
    (first, _) = await queue.receive("interactive", 10)
    await queue.ring("interactive", [doorbell(1, room="other")])
    assert [parse_job(it["body"]).room for it in await queue.receive("interactive", 10)] == ["other"]
    clock.advance(LANES["interactive"].visibility)
    again = await queue.receive("interactive", 2)
    assert [it["attributes"]["ApproximateReceiveCount"] for it in again] == ["2", "2"]
    await queue.delete("interactive", first["receiptHandle"])
    assert queue.depth("interactive") == 3


async def test_the_group_that_waits_longest_comes_first() -> None:
    """Not the one that was the first once: its later messages wait behind the other's."""
    queue = MemoryQueue(ManualClock())
    await queue.ring("interactive", [doorbell(1), doorbell(1, room="other"), doorbell(2)])
    [first] = await queue.receive("interactive", 1)
    await queue.delete("interactive", first["receiptHandle"])
    batch = [parse_job(it["body"]) for it in await queue.receive("interactive", 2)]
    assert batch == [doorbell(1, room="other"), doorbell(2)]


async def test_a_receive_prefers_one_group() -> None:
    """As SQS does: the group of the oldest message first, as many as there are."""
    queue = MemoryQueue(ManualClock())
    await queue.ring("interactive", [doorbell(1), doorbell(1, room="other"), doorbell(2)])
    batch = [parse_job(it["body"]) for it in await queue.receive("interactive", 2)]
    assert batch == [doorbell(1), doorbell(2)]


async def test_a_delayed_remainder_is_drawn_from_the_queue_s_own_source() -> None:
    """The same seed, the same delays."""
    depths = []
    for _ in range(2):
        clock = ManualClock()
        queue = MemoryQueue(clock, draw=random.Random(3))
        await queue.defer([remainder(it, attempt=6) for it in range(20)])
        clock.advance(8)
        depths.append(len(await queue.receive("retry", 20)))
    assert depths[0] == depths[1]
    assert 0 < depths[0] < 20


# ---- sockets


async def test_posts_fail_as_told() -> None:
    """One error a post, then as before."""
    sockets = MemoryConnections()
    sockets.open("a")
    sockets.fail_next("a", Throttled("t"), PostFailed("f"))
    with pytest.raises(Throttled):
        await sockets.post("a", b"1", 1)
    with pytest.raises(PostFailed):
        await sockets.post("a", b"2", 1)
    await sockets.post("a", b"3", 1)
    assert sockets.received["a"] == [b"3"]


async def test_a_hook_sees_each_post_before_it_is_delivered() -> None:
    """It may drop the connection meanwhile, or raise."""
    sockets = MemoryConnections()
    sockets.open("a")

    async def drop(connection: str, _: bytes) -> None:
        sockets.drop(connection)

    sockets.on_post = drop
    with pytest.raises(ConnectionGone):
        await sockets.post("a", b"1", 1)
    assert not sockets.is_open("a")
