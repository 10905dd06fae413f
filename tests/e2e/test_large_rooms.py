"""A room of several shards, through the whole service: it grows, its workers die, its posts fail, a client does not
read, the account is throttled.

The tests share one twin and one crowd, because connecting is what takes long; each can also run alone. `-m slow`
runs three of them small, `-m large` all at full size, and `-rP` shows what was measured.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from random import Random

import pytest
import pytest_asyncio

from domain.events import Chat, Welcome
from loadtest.status import wait_until_idle
from local.gateway import BURST, RATE
from tests.e2e.crowd import PATIENCE, Crowd, percentile
from tests.e2e.hall import Hall, Reader, Size, open_hall
from tests.unit.local.processes import until

SCALED = Size(
    shard_limit=50,
    first=45,
    grown=225,
    members=250,
    kills=3,
    failing=4,
    throttled=200,
    rate=400,
    small=3,
    seconds=4,
    lanes=["bulk.post_rate=500", "bulk.timeout=3", "bulk.visibility=4"],
)
FULL = Size(
    shard_limit=1_000,
    first=900,
    grown=4_500,
    members=5_000,
    kills=10,
    failing=20,
    throttled=1_000,
    rate=1_000,
    small=10,
    seconds=30,
    lanes=[],
)
SEED = 7
NEVER = 1e6
"""Seconds."""
JOINS_PER_SECOND = 30
"""Half of what two cores can do, so that they have something left for the broadcast."""

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="module",
    params=[
        pytest.param(SCALED, id="scaled", marks=pytest.mark.slow),
        pytest.param(FULL, id="full", marks=[pytest.mark.large, pytest.mark.timeout(900)]),
    ],
)
async def hall(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hall]:
    with pytest.MonkeyPatch.context() as patch:
        # A ping asks `history` for what a remainder is about to bring; what is filled must tell of the service alone.
        patch.setattr("client.session.PING_EVERY", NEVER)
        async with open_hall(tmp_path_factory.mktemp("hall"), request.param) as opened:
            yield opened


async def test_a_room_grows_while_it_talks(hall: Hall) -> None:
    """It gets five times as large at ten messages a second: nobody misses one, and its jobs change the lane."""
    crowd, size, bulk = hall.crowd, hall.size, hall.twin.sources["bulk"]
    await crowd.join(size.first)
    async with crowd.talking(rate=10):
        await crowd.join(size.grown, JOINS_PER_SECOND)
    await crowd.arrived()
    shards = await hall.shards()
    assert sum(map(len, shards)) == len(set.union(*shards)) == crowd.members
    assert len(shards) > size.grown / size.shard_limit
    assert all(shards)
    assert bulk.tally.deleted > len(shards)
    found = crowd.audit()
    assert found.findings == []
    assert found.received == found.expected > size.first * len(crowd.sent)
    print(
        f"{crowd.members} members in shards of {sorted(map(len, shards))}; {len(crowd.sent)} messages, {found.received}"
        f" deliveries, {found.filled} filled; {times(crowd, 0)}"
    )


@pytest.mark.large
async def test_only_a_dead_workers_shards_hear_twice(hall: Hall) -> None:
    """kill -9 of one of two bulk workers at a random point of a broadcast: everybody gets every message, and entries
    are repeated in shards alone whose jobs that worker had in hand."""
    crowd, size, draw = hall.crowd, hall.size, Random(SEED)
    await crowd.join()
    shards = await hall.shards()
    before = hall.repeats(shards)
    total: Counter[int] = Counter()
    while len(hall.stricken) < size.kills:
        deaths = len(hall.stricken)
        await crowd.say(1)
        [message] = crowd.sent[-1:]
        point = draw.randrange(1, crowd.members * 3 // 4)
        await until(lambda: message.received >= point and hall.busy_workers())  # noqa: B023  # within this round
        os.kill(draw.choice(hall.busy_workers()), signal.SIGKILL)
        await crowd.arrived()
        await wait_until_idle(hall.twin.ws_url)  # repeats come last
        stricken = set().union(*hall.stricken[deaths:])
        assert len(stricken) < len(shards)
        now = hall.repeats(shards)
        repeated = now - before
        assert set(repeated) <= stricken
        before, total = now, total + repeated
        print(f"killed at {point} of {crowd.members}: shards {stricken} in hand, repeats {dict(repeated)}")
    assert hall.twin.functions["bulk"].tally.crashes == size.kills
    assert total, "the kills came too late to show anything"
    assert sum(map(len, await hall.shards())) == hall.gateway.open_connections == crowd.members
    found = crowd.audit()
    assert found.findings == []
    assert found.received == found.expected


async def test_only_what_failed_is_posted_again(hall: Hall) -> None:
    """One post in twenty fails: it costs the posts that failed and no others, and nobody's connection."""
    crowd, gateway = hall.crowd, hall.gateway
    await crowd.join()
    posts, failed, asked = gateway.message_posts, gateway.posts.failed, crowd.filled
    gateway.fail_every = 20
    for _ in range(hall.size.failing):
        await crowd.say(1)
        await crowd.arrived()
    gateway.fail_every = 0
    posts = gateway.message_posts - posts
    assert gateway.posts.failed - failed == pytest.approx(posts / 20, abs=1)
    assert posts <= 1.06 * crowd.members * hall.size.failing
    assert sum(map(len, await hall.shards())) == gateway.open_connections == crowd.members
    assert not any(it.reconnects for it in crowd.clients.values())
    assert crowd.filled == asked
    found = crowd.audit()
    assert found.findings == []
    assert found.received == found.expected
    print(f"{posts / (crowd.members * hall.size.failing):.4f} posts a member and message")


async def test_who_does_not_read_is_closed_alone_and_catches_up(hall: Hall) -> None:
    """Its buffer is full to the brim: all others are served meanwhile; it is closed, comes back, and has everything."""
    crowd, gateway = hall.crowd, hall.gateway
    await crowd.join()
    heard: list[str] = []
    known = asyncio.get_running_loop().create_future()

    async def listen(reader: Reader) -> None:
        async for event in reader.events():
            if isinstance(event, Welcome) and not known.done():
                known.set_result(event.connection_id)
            elif isinstance(event, Chat):
                heard.append(event.message)

    quiet = len(crowd.ledger.latencies)
    await crowd.say(10, rate=5)
    await crowd.arrived()
    async with Reader(hall.twin.ws_url, crowd.room, "reader") as reader:
        listening = asyncio.create_task(listen(reader))
        connection = await asyncio.wait_for(known, PATIENCE)
        stalled = reader.socket
        stalled.transport.pause_reading()
        await hall.fill_buffer(connection)
        throttled = gateway.posts.throttled
        meanwhile, first = len(crowd.ledger.latencies), len(crowd.sent)
        await crowd.say(1)
        await crowd.arrived()
        assert gateway.open_connections == crowd.members + 1, "the others had to wait"
        async with crowd.talking(rate=5):
            await until(lambda: gateway.open_connections == crowd.members, PATIENCE)
        await crowd.arrived()
        assert heard == []
        throttled = gateway.posts.throttled - throttled
        stalled.transport.resume_reading()
        texts = [it.text for it in crowd.sent[first:]]
        await until(lambda: len(heard) >= len(texts), PATIENCE)
        assert sorted(heard) == sorted(texts)
        assert reader.socket is not stalled
    await listening
    assert not any(it.reconnects for it in crowd.clients.values())
    found = crowd.audit()
    assert found.findings == []
    assert found.received == found.expected
    print(
        f"{crowd.members} others: {times(crowd, quiet, meanwhile)} before, {times(crowd, meanwhile)} meanwhile;"
        f" {throttled} posts refused in {len(texts)} messages"
    )


@pytest.mark.large
async def test_a_throttled_account_gets_what_it_is_granted(hall: Hall) -> None:
    """A room is broadcast to without a pause, at several times what the account grants: nothing is lost, few posts
    are refused, and small rooms beside it hear everything, too."""
    size, gateway, url = hall.size, hall.gateway, hall.twin.ws_url
    async with Crowd(url, size.throttled) as large, Crowd(url, 5 * size.small, size.small) as small:
        await large.join()
        await small.join()
        gateway.throttle(size.rate, size.rate / 2)
        try:
            sent = gateway.posts.sent
            async with large.talking(rate=5), small.talking(rate=size.small):
                await until(lambda: gateway.posts.sent - sent >= 3 * size.rate, PATIENCE)
                # What is cold has started by now: the first messages wait for that, and not for the throttle.
                warm = [len(it.ledger.latencies) for it in (large, small)]
                before, began = (gateway.posts.sent, gateway.posts.throttled), asyncio.get_running_loop().time()
                await until(lambda: gateway.posts.sent - before[0] >= size.seconds * size.rate, PATIENCE)
                after, ended = (gateway.posts.sent, gateway.posts.throttled), asyncio.get_running_loop().time()
            await asyncio.gather(large.arrived(), small.arrived())
        finally:
            gateway.throttle(RATE, BURST)
        for crowd in (large, small):
            found = crowd.audit()
            assert found.findings == []
            assert found.received == found.expected == len(crowd.sent) * crowd.members / crowd.rooms
        delivered, refused = after[0] - before[0], after[1] - before[1]
        print(
            f"{delivered / (ended - began) / size.rate:.3f} of {size.rate:g} posts/s,"
            f" {refused / (delivered + refused):.3f} refused;"
            f" large: {times(large, warm[0])}, small: {times(small, warm[1])}"
        )
        assert refused <= 0.1 * (delivered + refused)


def times(crowd: Crowd, first: int, last: int | None = None) -> str:
    """Percentiles of some of the deliveries."""
    some = crowd.ledger.latencies[first:last]
    return f"p50 {percentile(some, 0.5)} ms, p99 {percentile(some, 0.99)} ms"
