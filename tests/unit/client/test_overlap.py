"""At `reconnectAt`: the next socket is open before the old one is closed, at a room server on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from client.connection import OVERLAP, Connection, connect
from client.errors import ConnectionEnded, HandshakeRefused
from client.outbox import REPLY_WITHIN
from domain.events import Chat, UserTyping
from tests.clocks import SteppedClock
from tests.unit.client.draws import IMPATIENT
from tests.unit.client.room_server import RoomServer
from tests.unit.local.processes import until

LIFE = 60.0


@pytest.fixture
async def server() -> AsyncIterator[RoomServer]:
    async with RoomServer() as running:
        running.life_ms = round(LIFE * 1000)
        yield running


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


def ada(server: RoomServer, clock: SteppedClock) -> Connection:
    return connect(server.url, user="ada", draw=IMPATIENT, clock=clock)


async def heard(me: Connection, words: str) -> list[str]:
    """What was said until that was, in all rooms, and that somebody wrote."""
    found = []
    async with asyncio.timeout(5):
        async for event in me.events():
            if isinstance(event, UserTyping):
                found.append("typing")
            if isinstance(event, Chat):
                found.append(event.message)
                if event.message == words:
                    break
    return found


async def grown_stale(server: RoomServer, clock: SteppedClock, me: Connection) -> None:
    """Until the second handshake is waiting at the door."""
    await me.ping()  # so that the welcome has been read
    server.door.clear()
    clock.advance(LIFE)
    async with asyncio.timeout(5):
        await server.tried(2)


async def test_the_old_socket_goes_after_the_new_one_has_joined(server: RoomServer, clock: SteppedClock) -> None:
    """It is used until the next one is open, and is there until that one is in all rooms. What comes over both of them
    is given once."""
    async with ada(server, clock) as me:
        await me.join("side")
        await grown_stale(server, clock, me)
        await server.say("side", "while it waits")
        await me.send("side", "over the old one")
        assert server.sockets("ada") == 1
        server.door.set()
        async with asyncio.timeout(5):
            await server.asked("join_room", 3)
        await server.say("side", "over both")
        typing = {"roomId": "side", "userId": "bob", "username": "Bob", "timestamp": 1, "sentAt": 1000}
        await server.tell("ada", {"type": "typing", "data": typing})
        await me.send("side", "over the new one")
        assert server.sockets("ada") == 2
        assert await heard(me, "over the new one") == [
            "while it waits",
            "over the old one",
            "over both",
            "typing",
            "over the new one",
        ]
        clock.advance(OVERLAP)
        async with asyncio.timeout(5):
            await server.gone("ada")
        assert (server.codes["ada"], server.sockets("ada")) == (1000, 1)
        await server.say("side", "after all")
        assert await heard(me, "after all") == ["after all"]
    assert len(server.queries) == 2


async def test_a_second_socket_that_is_refused_for_now(server: RoomServer, clock: SteppedClock) -> None:
    """The user may have no more of them: the old one serves until it is cut, and nothing is lost by that."""
    async with ada(server, clock) as me:
        await grown_stale(server, clock, me)
        server.refuse = 429
        server.door.set()
        async with asyncio.timeout(5):
            await server.tried(4)
        await me.send("general", "over the old one")
        server.cut("ada")
        await until(lambda: not server.sockets("ada"))
        await server.say("general", "while nobody is there")
        server.refuse = None
        await me.send("general", "over the new one")
        assert await heard(me, "over the new one") == ["over the old one", "while nobody is there", "over the new one"]
    assert len(server.queries) == 2


async def test_a_second_socket_that_is_refused_for_good(server: RoomServer, clock: SteppedClock) -> None:
    """As at any reconnect it ends the connection."""
    async with ada(server, clock) as me:
        await grown_stale(server, clock, me)
        server.refuse = 401
        server.door.set()
        with pytest.raises(HandshakeRefused, match="401"):
            await heard(me, "nothing")
        with pytest.raises(HandshakeRefused):
            await me.ping()
        await until(lambda: not server.sockets("ada"))


async def test_the_last_place_in_a_room(server: RoomServer, clock: SteppedClock) -> None:
    """The old socket has it until it is closed: the room is joined again after that, and nothing of it is lost."""
    server.seats["side"] = 1
    async with ada(server, clock) as me:
        await me.join("side")
        await grown_stale(server, clock, me)
        server.door.set()
        async with asyncio.timeout(5):
            await server.asked("join_room", 3)
        await server.say("side", "while it is full")
        clock.advance(OVERLAP)
        async with asyncio.timeout(5):
            await server.gone("ada")
        sending = asyncio.create_task(me.send("side", "in again"))
        clock.advance(REPLY_WITHIN)
        assert await heard(me, "in again") == ["while it is full", "in again"]
        await sending


async def test_the_last_place_in_the_only_room(server: RoomServer, clock: SteppedClock) -> None:
    """No second socket is let in: the first one goes before."""
    server.seats["general"] = 1
    async with ada(server, clock) as me:
        await grown_stale(server, clock, me)
        await me.send("general", "over the old one")
        server.door.set()
        async with asyncio.timeout(5):
            await server.welcomed(2)
        await me.send("general", "over the new one")
        assert await heard(me, "over the new one") == ["over the old one", "over the new one"]


async def test_the_old_socket_breaks_first(server: RoomServer, clock: SteppedClock) -> None:
    """The handshake that is under way is the one that counts."""
    async with ada(server, clock) as me:
        await grown_stale(server, clock, me)
        server.cut("ada")
        await until(lambda: not server.sockets("ada"))
        sending = asyncio.create_task(me.send("general", "over the new one"))
        await asyncio.sleep(0)
        server.door.set()
        await sending
    assert len(server.queries) == 2


@pytest.mark.parametrize("when", ["at the door", "beside the old one"])
async def test_closing_closes_both(server: RoomServer, clock: SteppedClock, when: str) -> None:
    """Also the one that is on its way."""
    async with ada(server, clock) as me:
        await grown_stale(server, clock, me)
        if when != "at the door":
            server.door.set()
            await until(lambda: server.sockets("ada") == 2)
    server.door.set()
    await until(lambda: not server.sockets("ada"))
    with pytest.raises(ConnectionEnded):
        await me.ping()
    assert [it for it in asyncio.all_tasks() if "Connection." in repr(it.get_coro())] == []
