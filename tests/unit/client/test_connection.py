"""The asyncio shell against a room server on a real socket."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing

import pytest

from client.connection import Connection, connect
from client.errors import ConnectionEnded, HandshakeRefused, RequestRefused, Unreachable
from client.events import Released
from client.handshake import with_query
from client.outbox import REPLY_WITHIN
from domain.events import (
    Chat,
    Error,
    PrivateMessage,
    RoomHead,
    RoomStats,
    UserJoined,
    UserLeft,
    UserTyping,
    Welcome,
)
from tests.clocks import SteppedClock
from tests.unit.client.draws import IMPATIENT
from tests.unit.client.room_server import PAGE, RoomServer


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


async def test_a_search_goes_on_page_after_page(server: RoomServer) -> None:
    """Newest first, each once, also where a page has none and while more is said; a room made anew ends it."""
    for number in range(3 * PAGE):
        await server.say("general", f"needle {number}" if number in {1, 4, 3 * PAGE - 1} else f"hay {number}")
    await server.whisper("ada", "a private needle")
    async with ada(server) as me:
        found = []
        async for message in me.search("general", "needle"):
            found.append(message.seq)
            await server.say("general", "one more needle")
        assert found == [3 * PAGE, 5, 2]
        assert [it.message async for it in me.search("inbox#ada", "needle")] == ["a private needle"]
        page = await me.search_page("general", "needle", limit=1)
        assert ([it.seq for it in page.messages], page.epoch, page.next) == ([3 * PAGE + 3], 1, 3 * PAGE + 3)
        searching = me.search("general", "needle")
        assert (await anext(searching)).seq == 3 * PAGE + 3
        server.room("general").epoch = 2
        with pytest.raises(RequestRefused, match="ROOM_NOT_FOUND"):
            [it async for it in searching]


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
        await take(me, UserJoined)
    with pytest.raises(ConnectionEnded):
        await sending
    assert [it async for it in me.events()] == []
    with pytest.raises(ConnectionEnded):
        await me.ping()


async def test_closing_at_once(server: RoomServer) -> None:
    """Nothing is left of a connection that was never used."""
    async with ada(server) as me:
        async with connect(server.url, user="bob", draw=IMPATIENT) as bob:
            pass
        async for _ in bob.events():
            pass
        await take(me, UserLeft)


async def test_cancelling_a_request_leaves_the_connection_whole(server: RoomServer) -> None:
    """A caller may give up waiting; the next request is answered."""
    server.refusals = [{"code": None}]
    async with ada(server) as me:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(me.send("general", "unheard"), 0.05)
        nothing = RoomHead(epoch=1, seq=0)
        assert (await me.ping()).heads == {"general": nothing, "inbox#ada": nothing}


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


async def test_each_handshake_shows_a_fresh_token(server: RoomServer) -> None:
    """In a header, since URLs end in logs; the same for two sockets would be refused when it is needed most."""
    numbers = itertools.count(1)

    async def fresh() -> str:
        return f"token-{next(numbers)}"

    async with connect(server.url, user="ada", token=fresh, draw=IMPATIENT) as me:
        await take(me, Welcome)
        server.cut("ada")
        await me.send("general", "after")
    assert server.tokens == ["token-1", "token-2"]
    assert not any("token" in it for it in server.queries)


async def test_a_refused_token_ends_the_connection(server: RoomServer) -> None:
    """At a reconnect too: the same one again would be refused again."""
    async with connect(server.url, user="ada", token="stale", draw=IMPATIENT) as me:
        await take(me, Welcome)
        server.refuse_token = "stale"
        server.cut("ada")
        with pytest.raises(HandshakeRefused, match="401"):
            await take(me, Chat)


async def test_private_messages(server: RoomServer) -> None:
    """They reach every connection of the target, and the sender's other ones; the sending one gets the ack alone."""
    async with AsyncExitStack() as stack:
        me, tablet = [await stack.enter_async_context(ada(server)) for _ in range(2)]
        bob = await stack.enter_async_context(connect(server.url, user="bob", draw=IMPATIENT))
        await take(bob, Welcome)
        ack = await me.send_private("bob", "psst")
        assert (ack.room_id, ack.seq, ack.online) == ("inbox#ada", 1, True)
        await bob.send_private("ada", "what?")
        for it, expected in ((bob, ["psst"]), (tablet, ["psst", "what?"]), (me, ["what?"])):
            got = await take(it, PrivateMessage, len(expected))
            assert [one.message for one in got if isinstance(one, PrivateMessage)] == expected
        with pytest.raises(RequestRefused, match="USER_OFFLINE"):
            await me.send_private("nobody", "hello?")
        assert [it.seq for it in (await me.history("inbox#ada")).events if isinstance(it, PrivateMessage)] == [1, 2]
        with pytest.raises(RequestRefused, match="NOT_A_MEMBER"):
            await me.history("inbox#bob")


async def test_private_messages_of_a_break_come_after_it(server: RoomServer) -> None:
    """The inbox goes on where it was, also with an ack that was lost: its copy is not given back to who sent it."""
    async with ada(server) as me:
        await take(me, Welcome)
        await server.whisper("ada", "first", user="bob")
        server.lose_acks = 1
        sending = asyncio.create_task(me.send_private("bob", "mine"))
        await server.asked("private_message")
        server.cut("ada")
        for number in range(PAGE + 2):
            await server.whisper("ada", f"meanwhile {number}", user="bob")
        async with asyncio.timeout(5):
            assert (await sending).seq == 2
        await server.whisper("ada", "last", user="bob")
        got = [it.message for it in await take(me, PrivateMessage, PAGE + 4) if isinstance(it, PrivateMessage)]
        assert got == ["first", *(f"meanwhile {it}" for it in range(PAGE + 2)), "last"]
    assert server.said("inbox#bob", "ada") == ["mine"]


async def test_who_is_here(server: RoomServer) -> None:
    """Joins, leaves, typing and counts come as they are; rooms and members are read page by page."""
    server.roster_limit = 2
    for number in range(PAGE + 3):
        server.room(f"room-{number:02d}")
    async with ada(server) as me:
        async with connect(server.url, user="bob", draw=IMPATIENT) as bob:
            joins = await take(me, UserJoined, 2)
            assert [it.user_id for it in joins if isinstance(it, UserJoined)] == ["ada", "bob"]
            async with connect(server.url, user="eve", draw=IMPATIENT):
                (stats,) = await take(me, RoomStats)
                assert isinstance(stats, RoomStats)
                assert stats.active_users == 3
            left = await take(me, UserLeft)
            assert [it.user_id for it in left if isinstance(it, UserLeft)] == ["eve"]
            bob.typing("general")
            (typing,) = await take(me, UserTyping)
            assert isinstance(typing, UserTyping)
            assert (typing.room_id, typing.user_id) == ("general", "bob")
            assert [it.user_id for it in await me.members("general")] == ["ada", "bob"]
        await take(me, UserLeft)
        rooms = {it.room_id: it.active_users for it in await me.rooms()}
        assert rooms == {"general": 1} | {f"room-{it:02d}": 0 for it in range(PAGE + 3)}


async def test_members_of_many_pages(server: RoomServer) -> None:
    """Each user once, however many connections they have."""
    async with AsyncExitStack() as stack:
        for number in range(PAGE + 3):
            await stack.enter_async_context(connect(server.url, user=f"user-{number % 7}", draw=IMPATIENT))
        me = await stack.enter_async_context(ada(server))
        users = sorted(it.user_id for it in await me.members("general"))
        assert users == ["ada", *(f"user-{it}" for it in range(7))]


async def test_two_hours(server: RoomServer) -> None:
    """At `reconnectAt` the next socket is opened; nothing that was said meanwhile, or while there was none, is lost."""
    clock = SteppedClock()
    server.life_ms = 115 * 60 * 1000
    async with connect(server.url, user="ada", draw=IMPATIENT, clock=clock) as me:
        await take(me, Welcome)
        said = []
        for minute in range(121):
            said += [f"room {minute}", f"inbox {minute}"]
            await server.say("general", f"room {minute}")
            await server.whisper("ada", f"inbox {minute}", user="bob")
            clock.advance(60)
            if minute == 114:
                await server.welcomed(2)
            await me.ping()
        got = await take(me, Chat | PrivateMessage, len(said))  # type: ignore[arg-type]  # a union is a kind, too
        assert sorted(it.message for it in got if isinstance(it, Chat | PrivateMessage)) == sorted(said)
        for kind in (Chat, PrivateMessage):
            assert [it.seq for it in got if isinstance(it, kind)] == list(range(1, 122))
    assert len(server.queries) == 2
    assert 24 <= [it["type"] for it in server.requests].count("ping") - 121 <= 38


async def test_a_lost_answer_is_asked_for_in_time(server: RoomServer) -> None:
    """After ten seconds, though the client had nothing to do for minutes when it was sent."""
    clock = SteppedClock()
    async with connect(server.url, user="ada", draw=IMPATIENT, clock=clock) as me:
        await take(me, UserJoined)
        server.lose_acks = 1
        server.drop = lambda user, event: True
        sending = asyncio.create_task(me.send("general", "once"))
        await server.asked("chat")
        clock.advance(REPLY_WITHIN)
        async with asyncio.timeout(5):
            assert (await sending).seq == 1
    assert server.said("general", "ada") == ["once"]


async def test_who_has_no_name_stays_who_they_are(server: RoomServer) -> None:
    """The service names anonymous users by their connection; after a reconnect they are the same all the same."""
    async with connect(server.url, draw=IMPATIENT) as me:
        (welcome,) = await take(me, Welcome)
        assert isinstance(welcome, Welcome)
        server.cut(welcome.user_id)
        (again,) = await take(me, Welcome)
        assert isinstance(again, Welcome)
        assert again.user_id == welcome.user_id
    assert server.queries == [{"roomId": "general"}, {"roomId": "general", "userId": welcome.user_id}]


async def test_a_reconnect_tries_other_rooms(server: RoomServer) -> None:
    """One that is closed to the client by now is reported; the others go on."""
    async with ada(server, "den") as me:
        await take(me, Welcome)
        await me.join("attic")
        server.closed_rooms = {"den"}
        server.cut("ada")
        (error,) = await take(me, Error)
        assert isinstance(error, Error)
        assert (error.code, error.request) == ("BANNED", "join_room")
        await server.say("attic", "still here?")
        await take(me, Chat)
        server.closed_rooms = {"attic"}
        server.cut("ada")
        await take(me, Error)
        assert [it["roomId"] for it in server.queries] == ["den", "attic", "general"]
        assert "general" not in (await me.ping()).heads
        server.closed_rooms = {"den", "attic", "general"}
        server.cut("ada")
        with pytest.raises(HandshakeRefused, match="403"):
            await take(me, Chat)


async def test_the_recipe_dialect(server: RoomServer) -> None:
    """No subprotocol; a join moves out of the room before."""
    async with connect(server.url, user="ada", dialect="recipe", draw=IMPATIENT) as me:
        await me.join("side")
        await server.say("general", "unheard")
        await server.say("side", "heard")
        (chat,) = await take(me, Chat)
        assert isinstance(chat, Chat)
        assert chat.message == "heard"


def test_the_query_is_added_to_the_url() -> None:
    """What the URL brings along stays."""
    assert with_query("ws://h/dev?a=1", {"roomId": "x y", "token": None}) == "ws://h/dev?a=1&roomId=x+y"
