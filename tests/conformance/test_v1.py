"""A client of `roomcast.v1`: many rooms, batches, acks, history, resuming, and who is there."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlencode

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from domain.protocol import FRAME_LIMIT, SUBPROTOCOL
from tests.conformance.clients import fresh, named, replied, tell
from tests.e2e.people import PATIENCE, Person, person

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_the_subprotocol_is_echoed_and_the_token_is_not(ws: str) -> None:
    """Of what was offered only `roomcast.v1` comes back, or a browser would drop the socket."""
    offered = [Subprotocol(SUBPROTOCOL), Subprotocol("bearer.valid_x")]
    async with connect(f"{ws}?{urlencode({'roomId': fresh('hall')})}", subprotocols=offered) as socket:
        assert socket.subprotocol == SUBPROTOCOL


@pytest.mark.parametrize(
    ("query", "offered", "status"),
    [
        ({}, ["other.v9"], 400),
        ({}, [SUBPROTOCOL, "bearer.wrong"], 401),
        ({"roomId": "a#b"}, [SUBPROTOCOL], 400),
        ({"userId": "x" * 65}, [SUBPROTOCOL], 400),
        ({"username": "\0"}, [SUBPROTOCOL], 400),
    ],
)
async def test_a_refused_handshake_is_an_http_status(
    ws: str, query: dict[str, str], offered: list[str], status: int
) -> None:
    """Never a socket that opens and closes."""
    with pytest.raises(InvalidStatus) as caught:
        await connect(f"{ws}?{urlencode(query)}", subprotocols=[Subprotocol(it) for it in offered])
    assert caught.value.response.status_code == status


async def test_batches_hold_events_in_order(ws: str) -> None:
    """Whatever a burst is packed into: frames of at most 32 KB, each an event or a batch, and every seq in its turn."""
    room, writers, each = fresh("hall"), 4, 10
    user = fresh("reader")
    query = urlencode({"roomId": room, "userId": user})
    async with (
        connect(f"{ws}?{query}", subprotocols=[Subprotocol(SUBPROTOCOL)]) as reader,
        AsyncExitStack() as stack,
    ):
        people = [await stack.enter_async_context(person(ws, fresh("ada"), room)) for _ in range(writers)]
        await asyncio.gather(*(it.say(f"{number} " + "x" * 2000, room) for it in people for number in range(each)))
        types: list[str] = []
        seqs: list[int] = []
        async with asyncio.timeout(PATIENCE):
            while len(set(seqs)) < writers * each:
                frame = await reader.recv()
                assert len(frame) <= FRAME_LIMIT
                event = json.loads(frame)
                inner = event["data"]["events"] if event["type"] == "batch" else [event]
                # Who else came may be told of before: another's broadcast overtakes a welcome.
                types += [it["type"] for it in inner if it["data"].get("userId", user) == user]
                seqs += [it["data"]["seq"] for it in inner if it["type"] == "chat"]
    assert types.index("welcome") < types.index("user_joined")
    assert list(dict.fromkeys(seqs)) == list(range(1, writers * each + 1))


async def test_an_ack_says_where_the_message_stands(ws: str) -> None:
    """The request's `clientId` comes back; the same request again has the same ack, and no second message."""
    room = fresh("hall")
    async with person(ws, fresh("ada"), room) as ada:
        [welcome] = ada.seen("welcome")
        first = await ada.say("once", room, clientId="the-same-key")
        assert first["clientId"] == "the-same-key"
        assert (first["roomId"], first["epoch"], first["seq"]) == (room, welcome["epoch"], 1)
        again = await replied(
            ada, "ack", {"type": "chat", "message": "once", "roomId": room, "clientId": "the-same-key"}
        )
        assert again == first
        other = await replied(
            ada, "error", {"type": "chat", "message": "twice", "roomId": room, "clientId": "the-same-key"}
        )
        assert (other["code"], other["clientId"]) == ("BAD_REQUEST", "the-same-key")
        assert (await ada.say("after", room))["seq"] == 2
        await ada.hears("once", "after")
        assert {it["messageId"]: it["seq"] for it in ada.seen("chat")}[first["messageId"]] == 1


async def test_replies_and_mentions_travel_with_a_message(ws: str) -> None:
    """They are the sender's, and come as they were sent."""
    room = fresh("hall")
    async with person(ws, fresh("ada"), room) as ada:
        await ada.say("question", room)
        await ada.say("answer", room, replyTo=1, mentions=["bob", "cid"])
        await ada.hears("answer")
        got = next(it for it in ada.seen("chat") if it["message"] == "answer")
        assert (got["replyTo"], got["mentions"]) == (1, ["bob", "cid"])


async def test_history_is_read_in_pages(ws: str) -> None:
    """Backwards and forwards, oldest first in each page, `next` as long as one follows."""
    room = fresh("hall")
    async with person(ws, fresh("ada"), room) as ada:
        for number in range(1, 6):
            await ada.say(f"{number}", room)

        async def page(**bounds: int) -> tuple[list[int], Any]:
            reply = await ada.ask(type="history", roomId=room, **bounds)
            assert (reply["type"], reply["data"]["head"]) == ("history", 5)
            return [it["data"]["seq"] for it in reply["data"]["entries"]], reply["data"].get("next")

        assert await page() == ([1, 2, 3, 4, 5], None)
        assert await page(limit=2) == ([4, 5], 4)
        assert await page(limit=2, before=4) == ([2, 3], 2)
        assert await page(limit=2, before=2) == ([1], None)
        assert await page(limit=3, after=0) == ([1, 2, 3], 3)
        assert await page(limit=3, after=3) == ([4, 5], None)
        async with person(ws, fresh("eve"), fresh("elsewhere")) as eve:
            refused = await eve.ask(type="history", roomId=room)
            assert refused["data"]["code"] == "NOT_A_MEMBER"


async def test_who_comes_back_gets_what_it_missed(ws: str) -> None:
    """All that followed `since`, or the clear word that it is not all."""
    room, bob_id = fresh("hall"), fresh("bob")
    async with person(ws, fresh("ada"), room) as ada:
        async with person(ws, bob_id, room) as bob:
            await ada.say("seen", room)
            await bob.hears("seen")
            epoch = bob.seen("welcome")[0]["epoch"]
        await ada.say("missed", room)
        await ada.say("missed, too", room)
        async with person(ws, bob_id, room) as bob:
            assert bob.seen("welcome")[0]["head"] == 3

            async def resume(**since: int) -> tuple[bool, list[str]]:
                data = (await bob.ask(type="join_room", roomId=room, **since))["data"]
                assert (data["epoch"], data["head"]) == (epoch, 3)
                return data["recovered"], [it["data"]["message"] for it in data["events"]]

            assert await resume(since=1, epoch=epoch) == (True, ["missed", "missed, too"])
            assert await resume(since=3, epoch=epoch) == (True, [])
            assert await resume(since=1, epoch=epoch - 1) == (False, [])
            assert await resume(since=4, epoch=epoch) == (False, [])
            assert await resume() == (False, [])


async def test_a_client_is_in_many_rooms(ws: str) -> None:
    """It hears each that it has joined, none that it has left, and learns where they stand by a ping."""
    first, second = fresh("first"), fresh("second")
    async with person(ws, fresh("ada"), first) as ada, person(ws, fresh("bob"), second) as bob:
        assert (await ada.ask(type="join_room", roomId=second))["type"] == "joined"
        await bob.until(named(bob, "user_joined", ada.user))
        await bob.say("to the second", second)
        await ada.say("to the first", first)
        await ada.hears("to the second", "to the first")
        heads = (await ada.ask(type="ping"))["data"]["heads"]
        assert {room: heads[room]["seq"] for room in (first, second)} == {first: 1, second: 1}
        only = (await ada.ask(type="ping", cursors={second: 1}))["data"]["heads"]
        assert list(only) == [second]
        assert (await ada.ask(type="leave_room", roomId=second))["data"]["roomId"] == second
        await bob.until(named(bob, "user_left", ada.user))
        await bob.say("without her", second)
        await bob.hears("without her")
        await ada.say("still here", first)
        await ada.hears("still here")
        assert "without her" not in ada.messages
        refused = await ada.ask(type="chat", message="may I?", roomId=second)
        assert refused["data"]["code"] == "NOT_A_MEMBER"


async def test_members_tells_who_is_there(ws: str) -> None:
    """Every user once, however many connections; for members alone."""
    room, ada_id = fresh("hall"), fresh("ada")
    async with (
        person(ws, ada_id, room) as ada,
        person(ws, ada_id, room),
        person(ws, fresh("bob"), room) as bob,
        person(ws, fresh("eve"), fresh("elsewhere")) as eve,
    ):
        reply = await ada.ask(type="members", roomId=room)
        found = [(it["userId"], it["username"]) for it in reply["data"]["members"]]
        assert sorted(found) == sorted([(ada_id, ada_id.title()), (bob.user, bob.user.title())])
        assert (await eve.ask(type="members", roomId=room))["data"]["code"] == "NOT_A_MEMBER"


async def test_typing_is_told_to_the_others(ws: str) -> None:
    """Not to who types, and nothing answers; it is in no history."""
    room = fresh("hall")
    async with person(ws, fresh("ada"), room) as ada, person(ws, fresh("bob"), room) as bob:
        await tell(ada, type="typing", roomId=room)
        await bob.until(named(bob, "typing", ada.user))
        assert bob.seen("typing")[0]["roomId"] == room
        page = await ada.ask(type="history", roomId=room)
        assert page["data"]["entries"] == []
        assert ada.seen("typing", "error") == []


async def test_typing_is_told_once_in_a_while(ws: str) -> None:
    """And is refused for a room that one is not in."""
    room = fresh("hall")
    async with person(ws, fresh("ada"), room) as ada, person(ws, fresh("bob"), room) as bob:
        for _ in range(3):
            await tell(ada, type="typing", roomId=room)
        await bob.until(named(bob, "typing", ada.user))
        await ada.say("that is all", room)
        await bob.hears("that is all")
        assert len(bob.seen("typing")) == 1
        refused = await ada.ask(type="typing", roomId=fresh("elsewhere"))
        assert refused["data"]["code"] == "ROOM_NOT_FOUND"


async def test_how_users_are_is_told_to_their_room(ws: str) -> None:
    """The reply says what counts over all devices, `members` too; the room hears of it within some seconds."""
    room, ada_id = fresh("hall"), fresh("ada")
    async with (
        person(ws, ada_id, room) as ada,
        person(ws, fresh("bob"), room) as bob,
        person(ws, ada_id, room) as phone,
    ):
        away = await phone.ask(type="presence", status="away")
        assert away["data"]["roomId"] == f"inbox#{ada_id}"
        assert [(it["userId"], it["status"]) for it in away["data"]["members"]] == [(ada_id, "online")]
        busy = await phone.ask(type="presence", status="busy", clientId=fresh("request"))
        assert [it["status"] for it in busy["data"]["members"]] == ["busy"]
        listed = await bob.ask(type="members", roomId=room)
        assert {it["userId"]: it["status"] for it in listed["data"]["members"]} == {
            ada_id: "busy",
            bob.user: "online",
        }

        def heard(who: Person, where: str, status: str) -> bool:
            told = [it["members"] for it in who.seen("presence") if it["roomId"] == where]
            return any((it["userId"], it["status"]) == (ada_id, status) for members in told for it in members)

        await bob.until(lambda: heard(bob, room, "busy"))
        await ada.until(lambda: heard(ada, f"inbox#{ada_id}", "busy"))


async def test_rooms_are_listed_in_pages(ws: str) -> None:
    """In the order of their ids; a page begins behind the cursor of the one before."""
    async with person(ws, fresh("ada"), fresh("hall")) as ada:
        for _ in range(2):
            await ada.ask(type="join_room", roomId=fresh("hall"))

        async def page(**fields: Any) -> tuple[list[str], str | None]:
            data = (await ada.ask(type="room_list", **fields))["data"]
            return [it["roomId"] for it in data["rooms"]], data.get("cursor")

        rooms: list[str] = []
        cursor: str | None = None
        while len(rooms) < 3:
            if cursor is None:  # from the beginning: a new room may be a moment late in the list
                rooms = []
            following, cursor = await page(limit=1, **({} if cursor is None else {"cursor": cursor}))
            assert following in ([], [cursor])  # a page may hold nothing but a room that ada may not see
            rooms += following
        assert rooms == sorted(set(rooms))
        assert (await page(parent=fresh("nowhere")))[0] == []
