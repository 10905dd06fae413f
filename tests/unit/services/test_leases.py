"""The minute tick: who was not heard of is gone, in all rooms; who pings stays."""

import pytest

from domain.errors import PostFailed, Unavailable
from domain.rooms import LEASE_MS, LIFETIME_MS
from services.leases import FIRST_MINUTES, sweep
from tests.unit.world import World

MINUTE = 60


async def minutes(world: World, count: int, *pinging: str) -> int:
    """Let minutes pass, a tick in each; who pings does so in every one. How many were ended."""
    ended = 0
    for _ in range(count):
        world.clock.advance(MINUTE)
        for name in pinging:
            await world.ask(name, {"type": "ping"})
        ended += await sweep(world.ports, world.sockets)
    return ended


async def test_who_is_not_heard_of_is_purged_in_all_rooms() -> None:
    """Ada pings, Bob vanished without `$disconnect`: he is gone within a minute of his lease's end."""
    world = World()
    for name in ("ada", "bob"):
        await world.connect(name, room="tea")
        await world.ask(name, {"type": "join_room", "roomId": "cake"})
    world.sockets.drop("bob")
    lease = LEASE_MS // 60_000
    assert await minutes(world, lease - 1, "ada") == 0
    assert (await world.store.session("bob")).connection is not None
    assert await minutes(world, 2, "ada") == 1
    session = await world.store.session("bob")
    assert (session.connection, list(session.memberships)) == (None, [])
    listed = await world.ask("ada", {"type": "room_list"})
    assert {it["roomId"]: it["activeUsers"] for it in listed["data"]["rooms"]} == {"tea": 1, "cake": 1}
    assert (await world.store.session("ada")).connection is not None


async def test_a_silent_socket_is_closed() -> None:
    """Its client is there but frozen: it must notice, and come back."""
    world = World()
    await world.connect("ada")
    await minutes(world, LEASE_MS // 60_000 + 1)
    assert not world.sockets.is_open("ada")


async def test_the_recipes_client_need_not_ping() -> None:
    """Its lease is the connection's lifetime; after that its rows belong to nobody."""
    world = World()
    await world.connect("ada", dialect="recipe")
    await minutes(world, LIFETIME_MS // 60_000)
    assert (await world.store.session("ada")).connection is not None
    await minutes(world, 3)
    assert (await world.store.session("ada")).connection is None


async def test_minutes_that_were_missed_are_done_later() -> None:
    """No tick for an hour: the next does all that has passed."""
    world = World()
    await minutes(world, 1)
    await world.connect("ada")
    world.clock.advance(3600)
    assert await sweep(world.ports, world.sockets) == 1
    assert await sweep(world.ports, world.sockets) == 0


@pytest.mark.parametrize("failed", range(3))
async def test_the_first_sweeps_that_die_skip_nothing(failed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they begin is written down before anything is swept; what fails is that, after so many partitions."""
    world = World()
    for number in range(40):  # in all partitions
        await world.connect(f"client-{number}", token_expires_at=world.clock.now())
    set_ticked, calls = world.store.set_ticked, 0

    async def dies(bucket: int, minute: int) -> None:
        nonlocal calls
        calls += 1
        if calls > failed:
            raise Unavailable("throttled")
        await set_ticked(bucket, minute)

    monkeypatch.setattr(world.store, "set_ticked", dies)
    for _ in range(FIRST_MINUTES - 1):
        world.clock.advance(MINUTE)
        with pytest.raises(Unavailable):
            await sweep(world.ports, world.sockets)
    monkeypatch.undo()
    world.clock.advance(MINUTE)
    await sweep(world.ports, world.sockets)
    assert [it for it in world.callers if (await world.store.session(it)).connection is not None] == []


async def test_a_sweep_that_dies_is_done_again() -> None:
    """It fails at the second of three: the minute is not done until all are."""
    world = World()
    for name in ("ada", "bob", "cid"):
        await world.connect(name)
        world.sockets.drop(name)
    world.clock.advance(LEASE_MS / 1000 + MINUTE)
    end = world.store.end_connection
    calls = 0

    async def dies(connection: str) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise Unavailable("throttled")
        await end(connection)

    world.store.end_connection = dies  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        await sweep(world.ports, world.sockets)
    await sweep(world.ports, world.sockets)
    for name in ("ada", "bob", "cid"):
        assert (await world.store.session(name)).connection is None


async def test_a_socket_that_cannot_be_closed_keeps_its_rows() -> None:
    """Closed first, then purged: the other order leaves an open socket that hears nothing."""
    world = World()
    await world.connect("ada")
    world.clock.advance(LEASE_MS / 1000 + MINUTE)

    async def fails(connection: str) -> None:
        raise PostFailed("503")

    close = world.sockets.close
    world.sockets.close = fails  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        await sweep(world.ports, world.sockets)
    assert (await world.store.session("ada")).connection is not None
    world.sockets.close = close  # type: ignore[method-assign]
    assert await sweep(world.ports, world.sockets) == 1
