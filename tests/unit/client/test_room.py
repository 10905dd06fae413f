"""A room that was joined, as one iterates it: against a room server on a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from client import connection
from client.connection import Connection, connect
from client.errors import ConnectionEnded, HandshakeRefused, RequestRefused
from client.feeds import KEPT_LIMIT
from client.room import Room
from domain.events import Chat
from tests.unit.client.draws import IMPATIENT
from tests.unit.client.room_server import PAGE, RoomServer

BEHIND = KEPT_LIMIT + 2 * PAGE + 5
"""Messages after which the log has what is not kept."""


@pytest.fixture
async def server() -> AsyncIterator[RoomServer]:
    async with RoomServer() as running:
        yield running


@pytest.fixture
async def me(server: RoomServer) -> AsyncIterator[Connection]:
    async with connect(server.url, user="ada", draw=IMPATIENT) as me:
        yield me


async def say(server: RoomServer, room: str, count: int) -> list[str]:
    texts = [f"{room} {number}" for number in range(count)]
    for it in texts:
        await server.say(room, it)
    return texts


async def take(room: Room, count: int) -> list[str]:
    async with asyncio.timeout(5):
        return [(await anext(room)).message for _ in range(count)]


async def rest(room: Room) -> list[str]:
    """Until the iteration ends."""
    async with asyncio.timeout(5):
        return [it.message async for it in room]


async def test_what_is_said_there_comes_once_in_order(server: RoomServer, me: Connection) -> None:
    """From the join on, that room's alone, across a break that takes pages to make up for; `events` has it as well."""
    await server.say("side", "before")
    room = await me.join("side")
    assert (room.room_id, room.epoch, room.head) == ("side", 1, 1)
    said = await say(server, "side", 3)
    assert await take(room, 3) == said
    server.cut("ada")
    await say(server, "general", PAGE + 5)
    said = await say(server, "side", PAGE + 5)
    assert await take(room, len(said)) == said
    events = me.events()
    beside = [it async for it in first(events, Chat, 2 * PAGE + 13)]
    assert [it.seq for it in beside if it.room_id == "side"] == list(range(2, PAGE + 10))


async def test_what_one_does_in_it(server: RoomServer, me: Connection) -> None:
    """send, history, members; one's own messages come back like anybody's."""
    room = await me.join("side")
    assert (await room.send("Hello")).seq == 1
    assert [(it.sender_id, it.message) async for it in first(room, Chat, 1)] == [("ada", "Hello")]
    assert [it.seq for it in (await room.history(after=0)).events if isinstance(it, Chat)] == [1]
    assert [it.user_id for it in await room.members()] == ["ada"]


async def test_each_join_has_its_own_copies(server: RoomServer, me: Connection) -> None:
    """Two rooms of one name, one joined later; and several readers of one, which share what it gets."""
    early = await me.join("side")
    first_words = await say(server, "side", 2)
    assert await take(early, 1) == first_words[:1]
    late = await me.join("side")
    said = await say(server, "side", 4)
    assert await take(early, 5) == [*first_words[1:], *said]
    shared = await asyncio.gather(*(take(late, 2) for _ in range(2)))
    assert sorted(it for some in shared for it in some) == said


async def test_a_slow_reader_finds_the_rest_in_the_log(server: RoomServer, me: Connection) -> None:
    """A bounded number is kept; requests are answered meanwhile, and what is said while the log is read comes after."""
    room = await me.join("side")
    said = await say(server, "side", BEHIND)
    assert (await room.send("mine")).seq == BEHIND + 1
    assert "history" not in {it["type"] for it in server.requests}
    got = await take(room, KEPT_LIMIT + 1)
    said += ["mine", *await say(server, "side", 3)]
    got += await take(room, len(said) - len(got))
    assert got == said
    assert [it["after"] for it in server.requests if it["type"] == "history"] == [
        KEPT_LIMIT,
        KEPT_LIMIT + 10,
        KEPT_LIMIT + 20,
    ]
    await me.ping()
    said = await say(server, "side", 2)
    assert await take(room, 2) == said


async def test_cancelling_takes_none(server: RoomServer, me: Connection) -> None:
    """Neither while one waits for a message, nor while the log is read."""
    room = await me.join("side")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(room), 0)
    said = await say(server, "side", BEHIND)
    await me.ping()
    got = await take(room, KEPT_LIMIT)
    reading = asyncio.create_task(anext(room))
    async with asyncio.timeout(5):
        await server.asked("history")
    reading.cancel()
    said += await say(server, "side", 2)
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert got + await take(room, BEHIND + 2 - KEPT_LIMIT) == said


async def test_leaving_ends_it(server: RoomServer, me: Connection) -> None:
    """At once: what was not read is not wanted, also where the log is being read. A later join begins anew."""
    room, other = await me.join("side"), await me.join("side")
    reading = asyncio.create_task(rest(other))
    await say(server, "side", BEHIND)
    await me.ping()
    await take(room, KEPT_LIMIT)
    in_the_log = asyncio.create_task(rest(room))
    async with asyncio.timeout(5):
        await server.asked("history")
    await room.leave()
    assert await rest(room) == []
    assert len(await in_the_log) <= BEHIND - KEPT_LIMIT
    assert len(await reading) <= BEHIND
    again = await me.join("side")
    said = await say(server, "side", 1)
    assert await take(again, 1) == said
    assert await rest(room) == []


async def test_the_end_of_a_room_ends_it(server: RoomServer, me: Connection) -> None:
    """After what was said before; also where that is known by another room of its name alone."""
    room, other = await me.join("side"), await me.join("hall")
    said = {it: await say(server, it, 2) for it in ("side", "hall")}
    times = {"timestamp": 1, "sentAt": 1000}
    end = {"roomId": "side", "epoch": 1, "seq": 3, "messageId": "m", "by": "eve", **times}
    await server.tell("ada", {"type": "room_deleted", "data": end})
    assert await rest(room) == said["side"]
    server.room("hall").epoch = 2
    await server.say("hall", "anew")
    await me.ping()
    assert await rest(other) == said["hall"]


async def test_more_than_is_kept_of_a_room_that_ended(server: RoomServer, me: Connection) -> None:
    """Is lost to a reader so far behind, who is told so instead of an end."""
    room = await me.join("side")
    await say(server, "side", BEHIND)
    await me.ping()
    server.room("side").epoch = 2
    await take(room, KEPT_LIMIT)
    for _ in range(2):
        with pytest.raises(RequestRefused, match="ROOM_NOT_FOUND"):
            await rest(room)


async def test_a_room_that_is_closed_to_us_ends_it(server: RoomServer) -> None:
    """After a reconnect; other rooms go on."""
    async with connect(server.url, user="ada", draw=IMPATIENT) as me:
        den, attic = await me.join("den"), await me.join("attic")
        said = await say(server, "den", 1)
        await me.ping()
        server.closed_rooms = {"den"}
        server.cut("ada")
        assert await rest(den) == said
        said = await say(server, "attic", 1)
        assert await take(attic, 1) == said


async def test_closing_the_connection_ends_it(server: RoomServer) -> None:
    """After what came before. A reader who is further behind than what is kept is told that there was more."""
    async with connect(server.url, user="ada", draw=IMPATIENT) as me:
        room, slow = await me.join("side"), await me.join("hall")
        said = await say(server, "side", 2)
        await say(server, "hall", BEHIND)
        await me.ping()
    assert await rest(room) == said
    assert await rest(room) == []
    await take(slow, KEPT_LIMIT)
    with pytest.raises(ConnectionEnded):
        await rest(slow)


async def test_a_refused_reconnect_is_raised(server: RoomServer, me: Connection) -> None:
    """As `events` does, after what came before."""
    room = await me.join("side")
    said = await say(server, "side", 1)
    await me.ping()
    server.refuse = 401
    server.cut("ada")
    assert await take(room, 1) == said
    with pytest.raises(HandshakeRefused):
        await rest(room)


async def test_a_refused_join_leaves_nothing(server: RoomServer, me: Connection) -> None:
    """The refusal is raised, and the next join is whole."""
    server.closed_rooms = {"den"}
    with pytest.raises(RequestRefused, match="BANNED"):
        await me.join("den")
    server.closed_rooms = set()
    room = await me.join("den")
    said = await say(server, "den", 1)
    assert await take(room, 1) == said


async def test_events_that_nobody_asks_for_are_bounded(
    server: RoomServer, me: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last ones are kept until somebody does, and from then on all of them."""
    monkeypatch.setattr(connection, "UNHEARD_LIMIT", 3)
    room = await me.join("side")
    said = await say(server, "side", 5)
    assert await take(room, 5) == said
    events = me.events()
    assert [it.message async for it in first(events, Chat, 3)] == said[2:]
    said = await say(server, "side", 5)
    assert await take(room, 5) == said
    assert [it.message async for it in first(events, Chat, 5)] == said


async def first(events: AsyncIterator[object], kind: type[Chat], count: int) -> AsyncIterator[Chat]:
    """The next `count` of a kind."""
    async with asyncio.timeout(5):
        while count:
            event = await anext(events)
            if isinstance(event, kind):
                count -= 1
                yield event
