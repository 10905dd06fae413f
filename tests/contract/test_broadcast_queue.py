"""BroadcastQueue: the lanes as a worker meets them."""

from __future__ import annotations

import random

import msgspec
import pytest

from domain.fanout import Absent, Arrived, Doorbell, Ephemeral, Notice, Presences, Stats, parse_job, remainder_delay
from tests.contract.lanes import MAX_RECEIVES, SEED, LaneStage, doorbell, notice, plan, remainder

pytestmark = pytest.mark.asyncio(loop_scope="session")


# ---- ring


async def test_doorbells_of_a_shard_come_in_order(lanes: LaneStage) -> None:
    """However many calls it takes to enqueue them."""
    await lanes.queue.ring("interactive", [doorbell(seq) for seq in range(1, 13)])
    first = await lanes.receive("interactive")
    assert await lanes.receive("interactive") == []
    for it in first:
        await lanes.delete("interactive", it["receiptHandle"])
    second = await lanes.receive("interactive")
    assert [it["body"] for it in first + second] == [doorbell_body(seq) for seq in range(1, 13)]


async def test_a_record_names_its_group_and_its_receives(lanes: LaneStage) -> None:
    """What the worker sorts a batch by, and backs off by."""
    await lanes.queue.ring("interactive", [doorbell(1, room="a" * 64)])
    (record,) = await lanes.receive("interactive")
    assert record["attributes"]["MessageGroupId"] == f"{'a' * 64}#5#0"
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert int(record["attributes"]["SentTimestamp"]) > 1_600_000_000_000


async def test_one_batch_of_a_shard_is_in_flight(lanes: LaneStage) -> None:
    """While a worker has doorbells of a shard nobody gets more of it; other shards and rooms go on."""
    await lanes.queue.ring("interactive", [doorbell(1), doorbell(2)])
    (held,) = await lanes.receive("interactive", 1)
    await lanes.queue.ring("interactive", [doorbell(3), doorbell(1, shard=1), doorbell(1, room="other")])
    assert await lanes.jobs("interactive") == [doorbell(1, shard=1), doorbell(1, room="other")]
    await lanes.delete("interactive", held["receiptHandle"])
    assert await lanes.jobs("interactive") == [doorbell(2), doorbell(3)]


async def test_a_doorbell_rung_twice_comes_once(lanes: LaneStage) -> None:
    """In one call or two; another seq, shard or room is another doorbell."""
    others = [doorbell(2), doorbell(1, shard=1), doorbell(1, room="other")]
    await lanes.queue.ring("interactive", [doorbell(1), doorbell(1)])
    await lanes.queue.ring("interactive", [doorbell(1), *others])
    assert sorted(map(str, await lanes.jobs("interactive"))) == sorted(map(str, [doorbell(1), *others]))


async def test_a_doorbell_that_was_served_does_not_come_again(exact_lanes: LaneStage) -> None:
    """Deduplication outlives the message."""
    lanes = exact_lanes
    await lanes.queue.ring("interactive", [doorbell(1)])
    (record,) = await lanes.receive("interactive")
    await lanes.delete("interactive", record["receiptHandle"])
    await lanes.queue.ring("interactive", [doorbell(1), doorbell(2)])
    assert await lanes.jobs("interactive") == [doorbell(2)]


async def test_each_durable_lane_is_a_queue_of_its_own(lanes: LaneStage) -> None:
    """The same doorbell on `bulk` and `interactive` is two: they share neither messages nor deduplication."""
    await lanes.queue.ring("interactive", [doorbell(1)])
    await lanes.queue.ring("bulk", [doorbell(1), doorbell(1, shard=1)])
    assert await lanes.jobs("bulk") == [doorbell(1), doorbell(1, shard=1)]
    assert await lanes.jobs("interactive") == [doorbell(1)]


async def test_the_doorbells_of_many_shards_come_in_order_for_each(lanes: LaneStage) -> None:
    """Three messages to sixteen shards, each enqueued by several calls: every shard hears 1, 2, 3."""
    for seq in (1, 2, 3):
        await lanes.queue.ring("bulk", [doorbell(seq, shard=it) for it in range(16)])
    heard: dict[int, list[int]] = {}
    for _ in range(48):
        for record in await lanes.receive("bulk"):
            job = parse_job(record["body"])
            assert isinstance(job, Doorbell)
            heard.setdefault(job.shard, []).append(job.seq)
            await lanes.delete("bulk", record["receiptHandle"])
    assert heard == {it: [1, 2, 3] for it in range(16)}


async def test_the_plans_of_a_room_are_a_group(lanes: LaneStage) -> None:
    """One worker at a time turns them into doorbells, in order; the shards and other rooms go on."""
    await lanes.queue.ring("bulk", [plan(1), plan(2)])
    (held,) = await lanes.receive("bulk", 1)
    assert held["attributes"]["MessageGroupId"] == "general#5"
    await lanes.queue.ring("bulk", [doorbell(1), plan(1, room="other")])
    assert await lanes.jobs("bulk") == [doorbell(1), plan(1, room="other")]
    await lanes.delete("bulk", held["receiptHandle"])
    assert await lanes.jobs("bulk") == [plan(2)]


async def test_a_plan_rung_twice_comes_once(lanes: LaneStage) -> None:
    """And is no doorbell, nor the next plan."""
    await lanes.queue.ring("bulk", [plan(1), doorbell(1), plan(1)])
    await lanes.queue.ring("bulk", [plan(1), plan(2)])
    assert sorted(map(str, await lanes.jobs("bulk"))) == sorted(map(str, [plan(1), doorbell(1), plan(2)]))


async def test_nothing_to_ring_or_defer(lanes: LaneStage) -> None:
    """No call, no error."""
    await lanes.queue.ring("interactive", [])
    await lanes.queue.defer([])
    assert await lanes.receive("interactive") == []
    assert await lanes.receive("retry") == []


# ---- defer, announce


async def test_a_remainder_waits_its_delay(lanes: LaneStage) -> None:
    """It is hidden for the seconds that its attempt draws, and carries its room as tenant."""
    attempt = 3
    delay = remainder_delay(attempt, random.Random(SEED))
    assert delay == 1
    await lanes.queue.defer([remainder(attempt=attempt)])
    assert await lanes.receive("retry") == []
    await lanes.pass_time(delay + 0.1)
    (record,) = await lanes.receive("retry")
    assert record["attributes"]["MessageGroupId"] == "general"


async def test_many_remainders_all_come(lanes: LaneStage) -> None:
    """More than a call takes, side by side."""
    remainders = [remainder(first, attempt=0) for first in range(1, 26)]
    await lanes.queue.defer(remainders)
    received = [it for _ in range(3) for it in await lanes.jobs("retry")]
    assert sorted(map(str, received)) == sorted(map(str, remainders))


ARRIVED = Arrived(
    room="general",
    epoch=5,
    shard=0,
    connection="a=",
    user="ada",
    name="Ada Löwe",
    head=3,
    inbox_epoch=4,
    inbox_head=2,
    reconnect_at=8,
    tell_others=True,
    not_after=9,
)
ABSENT = Absent(
    room="general",
    epoch=5,
    seq=7,
    about="mention",
    at=8,
    sender="ada",
    name="Löwe",
    users=["bob", "cid"],
    not_after=9,
)
STATS = Stats(room="general", epoch=5, shard=0, not_after=9)
PRESENCES = Presences(room="general", epoch=5, shard=0, not_after=9)


@pytest.mark.parametrize(
    "job",
    [ARRIVED, STATS, ABSENT, PRESENCES, notice()],
    ids=["arrived", "stats", "absent", "presences", "notice"],
)
async def test_an_ephemeral_job_is_announced(lanes: LaneStage, job: Ephemeral) -> None:
    """At once, on the ephemeral lane, with its room as tenant; the same twice comes twice."""
    await lanes.queue.announce(job)
    await lanes.queue.announce(job)
    records = await lanes.receive("ephemeral")
    assert [parse_job(it["body"]) for it in records] == [job, job]
    assert [it["attributes"]["MessageGroupId"] for it in records] == ["general"] * 2


async def test_an_announcement_waits_its_delay(lanes: LaneStage) -> None:
    """Nobody sees it before; others are not held up."""
    await lanes.queue.announce(STATS, delay=1)
    await lanes.queue.announce(ARRIVED)
    assert await lanes.jobs("ephemeral") == [ARRIVED]
    await lanes.pass_time(1.1)
    assert await lanes.jobs("ephemeral") == [STATS]


async def test_a_notice_may_hold_any_text(lanes: LaneStage) -> None:
    """Also what no message of SQS may: control characters, and the two that are no characters."""
    words = "".join(map(chr, [*range(0xA0), 0xD7FF, 0xE000, *range(0xFFF0, 0x1_0002), 0x1_FFFE, 0x10_FFFF])) + '\\\\"'
    await lanes.queue.announce(notice(msgspec.json.encode({"type": "t", "data": {words: words}})))
    (job,) = await lanes.jobs("ephemeral")
    assert isinstance(job, Notice)
    assert msgspec.json.decode(job.event) == {"type": "t", "data": {words: words}}


# ---- hide, bury


async def test_a_message_can_be_shown_again_at_once(lanes: LaneStage) -> None:
    """Hidden for no time it comes again, before those behind it, with its receives counted."""
    await lanes.queue.ring("interactive", [doorbell(1), doorbell(2)])
    (record,) = await lanes.receive("interactive", 1)
    await lanes.queue.hide("interactive", record["receiptHandle"], 0)
    again, behind = await lanes.receive("interactive")
    assert again["body"] == doorbell_body(1)
    assert again["attributes"]["ApproximateReceiveCount"] == "2"
    assert behind["attributes"]["ApproximateReceiveCount"] == "1"


@pytest.mark.parametrize(("lane", "job"), [("interactive", doorbell(1)), ("retry", remainder())])
async def test_a_hidden_message_comes_again_after_its_time(lanes: LaneStage, lane: str, job: object) -> None:
    """Instead of the lane's visibility time."""
    await (
        lanes.queue.ring("interactive", [doorbell(1)]) if lane == "interactive" else lanes.queue.defer([remainder()])
    )
    (record,) = await lanes.receive(lane)
    await lanes.queue.hide(lane, record["receiptHandle"], 1)
    assert await lanes.receive(lane) == []
    await lanes.pass_time(1.1)
    assert await lanes.jobs(lane) == [job]


async def test_hiding_what_is_gone_is_no_error(lanes: LaneStage) -> None:
    """The message was deleted, or has become visible by itself."""
    await lanes.queue.ring("interactive", [doorbell(1)])
    (record,) = await lanes.receive("interactive")
    await lanes.delete("interactive", record["receiptHandle"])
    await lanes.queue.hide("interactive", record["receiptHandle"], 3)
    assert await lanes.receive("interactive") == []


@pytest.mark.parametrize("lane", ["interactive", "retry"])
async def test_a_message_received_too_often_is_dead(lanes: LaneStage, lane: str) -> None:
    """After the lane's number of receives it is in the dead-letter queue and holds up nothing."""
    await (
        lanes.queue.ring("interactive", [doorbell(1)]) if lane == "interactive" else lanes.queue.defer([remainder()])
    )
    for _ in range(MAX_RECEIVES):
        (record,) = await lanes.receive(lane)
        await lanes.queue.hide(lane, record["receiptHandle"], 0)
    assert await lanes.receive(lane) == []
    assert await lanes.dead(lane) == [record["body"]]


@pytest.mark.parametrize("lane", ["interactive", "retry", "ephemeral"])
@pytest.mark.parametrize("group", ["general#5#0", None])
async def test_a_record_that_nobody_can_read_is_buried_as_it_is(lanes: LaneStage, lane: str, group: str | None) -> None:
    """Every time: the same body twice is two records."""
    await lanes.queue.bury(lane, "{ no job: ü", group)
    await lanes.queue.bury(lane, "{ no job: ü", group)
    assert await lanes.receive(lane) == []
    assert await lanes.dead(lane) == ["{ no job: ü"] * 2


def doorbell_body(seq: int) -> str:
    return f'{{"kind":"doorbell","v":1,"room":"general","epoch":5,"shard":0,"seq":{seq}}}'
