"""Everybody loses the socket at once, and is back as fast as the account lets them in."""

from __future__ import annotations

import asyncio
import gc
import resource
import time
from collections.abc import Iterator, Sequence

import pytest

from tests.simulation.reconnect_wave import ReconnectWave, Scale, busiest_second
from tests.simulation.virtual_time import run_virtually

FULL = Scale(
    rooms=((1, 20_000), (400, 100), (1_600, 25)),
    connects=500,
    share=1,
    shard_limit=1_000,
    roster_limit=50,
    messages=2,
    # Five hundred arrivals a second are told of in their rooms; two workers are not enough for that.
    settings=("ephemeral.max_concurrency=16", "ephemeral.post_rate=300"),
)
SCALED = Scale(
    rooms=((1, 200), (40, 10), (100, 4)), connects=5, share=1 / 20, shard_limit=13, roster_limit=5, messages=1
)


@pytest.fixture
def rare_collections() -> Iterator[None]:
    """Looking for garbage among a hundred thousand clients again and again takes longer than the wave."""
    usual = gc.get_threshold()
    gc.set_threshold(500_000, 20, 100)
    yield
    gc.set_threshold(*usual)


@pytest.mark.usefixtures("rare_collections")
@pytest.mark.parametrize(
    "scale",
    [
        pytest.param(SCALED, id="scaled"),
        pytest.param(FULL, id="full", marks=[pytest.mark.large, pytest.mark.timeout(1_800)]),
    ],
)
def test_everybody_is_back_and_has_it_all(scale: Scale) -> None:
    """No client gives up, misses a message or gets one twice; hardly a connect of the quota is left unused; everybody
    is welcomed; and two hours later the wave does not come again."""

    async def scenario() -> None:
        begun = time.process_time()
        async with asyncio.TaskGroup() as group:
            wave = ReconnectWave(scale, group)
            await wave.run()
        heads = await wave.heads()
        clients, gateway = wave.clients, wave.gateway
        took = max(it.whole_at for it in clients) - wave.lost_at
        print(  # pytest shows it with -s: the figures of the full size
            f"\n{len(clients):,} clients in {len(wave.rooms):,} rooms, {scale.connects:g} connects/s: all back after"
            f" {took:.1f} s ({scale.ideal:.0f} if no connect were left unused)"
            f"\nhandshakes a client: {_spread([it.tries for it in clients])};"
            f" {gateway.refused:,} refused in all"
            f"\nlet in within the busiest second: {busiest_second(gateway.admitted)} with the burst,"
            f" {busiest_second([it for it in gateway.admitted if it > wave.lost_at + 1])} afterwards"
            f"\nopen → all messages had: {_spread([it.whole_at - it.opened_at for it in clients])} s;"
            f" → welcome: {_spread([it.welcomed_at - it.opened_at for it in clients])} s"
            f"\nrequests a client: {gateway.asked.total() / len(clients):.2f} ({_counts(gateway.asked)});"
            f" errors: {_counts(gateway.answered) or 'none'}"
            f"\n{wave.said} messages; posts: {_counts(gateway.posts)}"
            f"\nreconnects asked for within the busiest second of the next wave: {next_wave(wave)}"
            f"\n{time.process_time() - begun:.0f} s of CPU,"
            f" {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB"
        )
        assert [(it.name, it.faults) for it in clients if it.faults] == []
        assert [it.name for it in clients if it.session.cursor(it.room) != heads[it.room]] == []
        assert [it.name for it in clients if it.seen != heads[it.room][1]] == []
        assert wave.said == gateway.acknowledged == sum(head for _, head in heads.values())
        assert [it.name for it in clients if not it.welcomed_at] == []
        assert {it: wave.queue.dead(it) for it in wave.lanes} == {it: [] for it in wave.lanes}
        assert took <= 1.15 * scale.ideal
        # In one second what is granted, and what a bucket that was full holds beside it.
        assert busiest_second(gateway.admitted) <= 2 * scale.connects
        assert next_wave(wave) <= 2 * scale.connects

    run_virtually(scenario())


def next_wave(wave: ReconnectWave) -> int:
    """How many clients the service has asked to reconnect within one and the same second, at most."""
    return busiest_second([it.reconnect_at / 1000 for it in wave.clients])


def _spread(figures: Sequence[float]) -> str:
    ordered = sorted(figures)
    middle, most = ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]
    return f"p50 {middle:.3g}, p99 {most:.3g}, max {ordered[-1]:.3g}"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))
