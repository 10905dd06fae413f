"""The asyncio shell against a room server on a real socket."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from client.connection import Connection, connect, with_query
from client.errors import ConnectionEnded, HandshakeRefused, RequestRefused, Unreachable
from client.events import Released
from domain.protocol import Chat, Joined, RoomHead, Welcome
from tests.unit.client.room_server import PAGE, RoomServer

IMPATIENT = random.Random()
IMPATIENT.uniform = lambda a, b: a  # type: ignore[method-assign]  # no jitter: reconnects come at once


@pytest.fixture
async def server() -> AsyncIterator[RoomServer]:
    async with RoomServer() as running:
        yield running


def ada(server: RoomServer, room: str = "general") -> Connection:
    return connect(server.url, user="ada", name="Ada", room=room, draw=IMPATIENT)


async def take(connection: Connection, kind: type[Released], count: int = 1) -> list[Released]:
    """The next `count` events of a kind."""
    found: list[Released] = []
    async with aclosing(connection.events()) as events, asyncio.timeout(5):  # type: ignore[type-var]
        async for event in events:
            if isinstance(event, kind):
                found.append(event)
                if len(found) == count:
                    break
    return found


async def test_a_message_is_acknowledged_and_comes_back(server: RoomServer) -> None:
    """Two clients, one message: both get it, the sender its ack."""
    async with ada(server) as me, connect(server.url, user="bob", room="general", draw=IMPATIENT) as bob:
        ack = await me.send("general", "Hello")
        assert (ack.room_id, ack.seq) == ("general", 1)
        for it in (me, bob):
            (chat,) = await take(it, Chat)
            assert isinstance(chat, Chat)
            assert (chat.sender_name, chat.message) == ("Ada", "Hello")
    assert server.queries[0] == {"roomId": "general", "userId": "ada", "username": "Ada"}


async def test_rooms_are_joined_read_and_left(server: RoomServer) -> None:
    """join, history in pages, leave, ping."""
    for number in range(PAGE + 2):
        await server.say("side", f"old {number}")
    async with ada(server) as me:
        joined = await me.join("side")
        assert joined.head == PAGE + 2
        newest = await me.history("side")
        assert [it.seq for it in newest.events if isinstance(it, Chat)] == list(range(3, PAGE + 3))
        oldest = await me.history("side", before=newest.next)
        assert [it.seq for it in oldest.events if isinstance(it, Chat)] == [1, 2]
        assert (await me.ping()).heads["side"].seq == PAGE + 2
        await me.leave("side")
        assert "side" not in (await me.ping()).heads


async def test_what_was_said_during_a_break_comes_after_it(server: RoomServer) -> None:
    """The socket breaks; after the reconnect every message is there once, in order, in every room."""
    async with ada(server) as me:
        await me.join("side")
        await me.send("general", "before")
        server.cut("ada")
        for number in range(2 * PAGE + 3):
            await server.say("general", f"meanwhile {number}")
            await server.say("side", f"aside {number}")
        await me.send("general", "after")
        chats = await take(me, Chat, 2 + 2 * (2 * PAGE + 3))
        for room, last in (("general", 2 * PAGE + 5), ("side", 2 * PAGE + 3)):
            seqs = [it.seq for it in chats if isinstance(it, Chat) and it.room_id == room]
            assert seqs == list(range(1, last + 1))


async def test_a_message_under_way_survives_a_break(server: RoomServer) -> None:
    """The reply is lost with the socket: the message goes again under the same clientId and is stored once."""
    async with ada(server) as me:
        await take(me, Welcome)
        server.refusals = [{"code": None}]
        sending = asyncio.create_task(me.send("general", "once"))
        async with asyncio.timeout(5):
            await server.asked("chat")
            server.cut("ada")
            ack = await sending
    assert ack.seq == 1
    ids = [it["clientId"] for it in server.requests if it["type"] == "chat"]
    assert len(ids) == 2
    assert len(set(ids)) == 1


async def test_a_busy_room_is_tried_again(server: RoomServer) -> None:
    """ROOM_BUSY and API Gateway's own error are the session's business, not the user's."""
    server.refusals = [{"code": "ROOM_BUSY", "retryAfter": 0.01}, {}, {"code": "INTERNAL"}]
    async with ada(server) as me:
        assert (await me.send("general", "patience")).seq == 1


async def test_a_refusal_is_raised(server: RoomServer) -> None:
    """An error the client can't help is the caller's, with its code."""
    server.refusals = [{"code": "EMPTY_MESSAGE", "message": "Message cannot be empty"}]
    async with ada(server) as me:
        with pytest.raises(RequestRefused, match="EMPTY_MESSAGE: Message cannot be empty"):
            await me.send("general", " ")
        with pytest.raises(RequestRefused, match="TOO_LARGE"):
            await me.send("general", "x" * 33_000)


async def test_closing_ends_what_waits(server: RoomServer) -> None:
    """close() ends `events` and raises in requests without an answer."""
    server.refusals = [{"code": None}]
    me = ada(server)
    async with me:
        sending = asyncio.create_task(me.send("general", "never answered"))
        await take(me, Welcome)
    with pytest.raises(ConnectionEnded):
        await sending
    assert [it async for it in me.events()] == []
    with pytest.raises(ConnectionEnded):
        await me.ping()


async def test_cancelling_a_request_leaves_the_connection_whole(server: RoomServer) -> None:
    """A caller may give up waiting; the next request is answered."""
    server.refusals = [{"code": None}]
    async with ada(server) as me:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(me.send("general", "unheard"), 0.05)
        assert (await me.ping()).heads == {"general": RoomHead(epoch=1, seq=0)}


async def test_nobody_there(unused_tcp_port: int) -> None:
    """One exception says that no service answers."""
    with pytest.raises(Unreachable, match="no WebSocket service answers at ws://127"):
        async with connect(f"ws://127.0.0.1:{unused_tcp_port}/dev"):
            pass


async def test_a_refused_handshake(server: RoomServer) -> None:
    """The HTTP status tells why; at a reconnect it ends the connection, since trying again can't help."""
    async with ada(server) as me:
        await take(me, Welcome)
        server.refuse = 403
        server.cut("ada")
        with pytest.raises(HandshakeRefused, match="403"):
            await take(me, Chat)
        with pytest.raises(HandshakeRefused):
            await me.ping()
    server.refuse = 401
    with pytest.raises(HandshakeRefused, match="check the token"):
        async with ada(server):
            pass


async def test_the_recipe_dialect(server: RoomServer) -> None:
    """No subprotocol; a join moves out of the room before."""
    async with connect(server.url, user="ada", dialect="recipe", draw=IMPATIENT) as me:
        joined = await me.join("side")
        assert isinstance(joined, Joined)
        await server.say("general", "unheard")
        await server.say("side", "heard")
        (chat,) = await take(me, Chat)
        assert isinstance(chat, Chat)
        assert chat.message == "heard"


def test_the_query_is_added_to_the_url() -> None:
    """What the URL brings along stays."""
    assert with_query("ws://h/dev?a=1", {"roomId": "x y", "token": None}) == "ws://h/dev?a=1&roomId=x+y"
