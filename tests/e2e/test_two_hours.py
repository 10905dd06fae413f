"""What comes with time, at real sockets: idle closes, the cut after two hours, leases. Hours pass within seconds."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from client.connection import OVERLAP, Connection, connect
from client.outbox import REPLY_WITHIN
from domain.events import Chat, Error, UserLeft, Welcome
from domain.requests import CreateRoom
from domain.rooms import LEASE_MS
from tests.e2e.people import Person, person
from tests.inline import InlineService
from tests.unit.local.processes import until

MINUTE = 60.0


@pytest.fixture
async def service() -> AsyncIterator[InlineService]:
    async with InlineService() as service:
        yield service
    assert service.failures == []


async def pinging(service: InlineService, someone: Person, minutes: int) -> None:
    """Let minutes pass in which the client pings every fourth, as the SDK does."""
    for passed in range(0, minutes, 4):
        assert (await someone.ask(type="ping"))["type"] == "pong"
        await service.let_pass(min(4, minutes - passed) * MINUTE)


def closed_with(someone: Person) -> tuple[int, str] | None:
    """Code and reason with which the socket was closed; None while it is open."""
    code, reason = someone.socket.close_code, someone.socket.close_reason
    return None if code is None else (code, reason or "")


async def test_an_idle_client_is_closed_after_ten_minutes(service: InlineService) -> None:
    """With 1001; who pings stays, and hears of it."""
    async with person(service.url, "ada", "tea") as ada, person(service.url, "bob", "tea") as bob:
        await ada.until(lambda: len(ada.seen("user_joined")) == 2)
        await pinging(service, bob, 9)
        assert closed_with(ada) is None
        await pinging(service, bob, 2)
        await bob.until(lambda: bool(bob.seen("user_left")))
        assert bob.seen("user_left")[0]["userId"] == "ada"
        await ada.socket.wait_closed()
        assert closed_with(ada) == (1001, "Going away")
        assert closed_with(bob) is None


@pytest.mark.parametrize("dialect", ["v1", "recipe"])
async def test_every_client_is_cut_after_two_hours(service: InlineService, dialect: str) -> None:
    """However busy it is; it was told in time when to come back, and nothing of it is left."""
    async with person(service.url, "ada", "tea", dialect) as ada:
        [welcome] = ada.seen("welcome")
        connected_at = service.clock.now()
        assert 105 * MINUTE <= (welcome["reconnectAt"] - connected_at) / 1000 <= 115 * MINUTE
        await pinging(service, ada, 119)
        assert closed_with(ada) is None
        await pinging(service, ada, 1)
        await service.let_pass(10)
        await ada.socket.wait_closed()
        assert closed_with(ada) == (1001, "Going away")
        await until(lambda: service.gateway.tally.disconnects == 1)
        await service.let_pass(1)
        session = await service.store.session(welcome["connectionId"])
        assert (session.connection, list(session.memberships)) == (None, [])


async def test_a_lease_ends_who_left_without_a_word(service: InlineService) -> None:
    """No close frame, no `$disconnect`, no broadcast that could find it: the tick does, and the room hears of it."""
    service.gateway.lose_disconnects = True
    async with AsyncExitStack() as stack:
        bob = await stack.enter_async_context(person(service.url, "bob", "tea"))
        ada = await stack.enter_async_context(person(service.url, "ada", "tea"))
        await bob.until(lambda: len(bob.seen("user_joined")) == 2)
        gone = ada.seen("welcome")[0]["connectionId"]
        await service.let_pass(5)  # in which the room is told that they are online
        await ada.vanish()
        minutes = LEASE_MS // 60_000
        await pinging(service, bob, minutes - 1)
        assert (await service.store.session(gone)).connection is not None
        await pinging(service, bob, 3)
        await bob.until(lambda: bool(bob.seen("user_left")))
        assert [it["userId"] for it in bob.seen("user_left")] == ["ada"]
        assert (await service.store.session(gone)).connection is None
        listed = await bob.ask(type="room_list")
        assert [it["activeUsers"] for it in listed["data"]["rooms"]] == [1]


async def test_clients_come_back_in_time_and_miss_nothing(service: InlineService) -> None:
    """Two hours and a half, a message every half minute: each has every message once and in order, and nobody was cut,
    or was away for a moment. The old sockets are closed all the same."""
    heard: dict[str, list[str]] = {"ada": [], "bob": []}
    welcomed: set[str] = set()
    left: list[str] = []

    async def hear(name: str, someone: Connection) -> None:
        async for event in someone.events():
            if isinstance(event, Welcome):
                welcomed.add(name)
            elif isinstance(event, UserLeft):
                left.append(event.user_id)
            elif isinstance(event, Chat):
                heard[name].append(event.message)

    async with AsyncExitStack() as stack:
        ada, bob = [
            await stack.enter_async_context(
                connect(service.url, user=name, room="tea", clock=service.clock, draw=random.Random(name))
            )
            for name in heard
        ]
        hearing = [asyncio.create_task(hear("ada", ada)), asyncio.create_task(hear("bob", bob))]
        await until(lambda: welcomed == set(heard))
        said = [f"{number}" for number in range(300)]
        sockets = set()
        for text in said:
            sockets.add(service.gateway.open_connections)
            await ada.send("tea", text)
            await service.let_pass(30)
        await until(lambda: all(it[-1:] == said[-1:] for it in heard.values()))
        assert min(sockets) == len(heard)
        assert (service.gateway.tally.connects, service.gateway.open_connections) == (4, 2)
        assert 1001 not in service.closes
    await asyncio.gather(*hearing)
    assert heard == {"ada": said, "bob": said}
    assert left == []


async def test_who_has_the_last_place_keeps_it(service: InlineService) -> None:
    """A room for one: the next socket is let in when the old one has gone, and what was said there goes on."""
    async with connect(service.url, user="ada", clock=service.clock, draw=random.Random("ada")) as ada:
        await ada.ask(CreateRoom(room_id="nook", max_members=1))
        await ada.join("nook")
        refused = asyncio.create_task(_refusals(ada))
        await ada.send("nook", "mine")
        await service.let_pass(104 * MINUTE)
        while service.gateway.tally.connects == 1:
            await service.let_pass(1)
        await service.let_pass(OVERLAP)
        await until(lambda: service.gateway.open_connections == 1)
        await service.let_pass(REPLY_WITHIN)
        ack = await ada.send("nook", "still mine")
        assert ack.seq == (await ada.history("nook")).head
        assert service.gateway.tally.connects == 2
    assert await refused == []


async def _refusals(someone: Connection) -> list[Error]:
    return [event async for event in someone.events() if isinstance(event, Error)]
