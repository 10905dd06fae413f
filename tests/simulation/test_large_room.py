"""A room fills to a hundred thousand members while people write in it."""

from __future__ import annotations

import pytest

from tests.simulation.large_room import LargeRoom, Scale
from tests.simulation.virtual_time import run_virtually

FULL = Scale(members=100_000, shard_limit=1_000, joins=500, messages=20, share=1)
SCALED = Scale(members=5_000, shard_limit=50, joins=25, messages=1, share=1 / 20)


@pytest.mark.parametrize(
    "scale",
    [
        pytest.param(SCALED, id="scaled"),
        pytest.param(FULL, id="full", marks=[pytest.mark.large, pytest.mark.timeout(1_800)]),
    ],
)
def test_a_room_fills_while_it_is_written_in(scale: Scale) -> None:
    """No join is refused, no shard grows beyond its limit, no member misses a message, every count is exact after the
    next broadcast, and that takes as long as the bulk lane's rate says."""

    async def scenario() -> None:
        stage = LargeRoom(scale)
        async with stage.environments.work():
            await stage.fill()
            filled = stage.clock.monotonic()
            await stage.environments.drain()
            drained = stage.clock.monotonic()
            await stage.say("is everybody here?")
            said = stage.clock.monotonic()
            await stage.environments.drain()
        room = await stage.room()
        sizes = await stage.shard_sizes()
        bulk = stage.lanes["bulk"]
        budget = bulk.post_rate * bulk.max_concurrency
        expected = scale.members / budget
        took = stage.sockets.last_chat - said
        print(  # pytest shows it with -s: the figures of the full size
            f"\n{room.shards} shards of {min(sizes)[1]} to {max(sizes)[1]} members, filled in {filled:.0f} s, served"
            f" {drained - filled:.0f} s later; {stage.sockets.posts} posts; to the last of all {took:.1f} s"
            f" ({expected:.1f} expected)"
        )
        assert stage.refused == []
        assert stage.environments.causes == []
        assert room.head == stage.acknowledged
        assert {it: stage.queue.dead(it) for it in stage.lanes} == {it: [] for it in stage.lanes}
        assert max(members for _, members in sizes) <= 1.2 * scale.shard_limit
        assert sum(members for _, members in sizes) == scale.members
        assert all(counted == members for counted, members in sizes)
        missed = {it: seqs for it in stage.members if (seqs := stage.sockets.missed(it, room.head))}
        assert missed == {}
        assert took == pytest.approx(expected, rel=0.05)

    run_virtually(scenario())
