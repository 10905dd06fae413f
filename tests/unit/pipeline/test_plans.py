"""Plans: what a send enqueues in place of the doorbells of a room with more than ten shards."""

from __future__ import annotations

from domain.fanout import Doorbell, Plan, parse_job
from tests.unit.world import World


async def test_of_several_plans_the_newest_rings() -> None:
    """A doorbell is for all entries before it: three messages to twelve shards are twelve doorbells, of the third."""
    world = World()
    await world.queue.ring("bulk", [Plan(room="tea", epoch=7, shards=12, seq=it) for it in (1, 2, 3)])
    assert await world.work_once("bulk") == []
    rung = [parse_job(it["body"]) for _ in range(2) for it in await world.queue.receive("bulk", 10)]
    assert rung == [Doorbell(room="tea", epoch=7, shard=it, seq=3) for it in range(12)]
