"""How far users have read: one mark for all their devices, unread counts, receipts in small rooms."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from tests.conformance.clients import fresh, replied
from tests.e2e.people import Person, person

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def listed(someone: Person, room: str) -> tuple[int | None, int | None]:
    """(read, unread) of a room, as the list of all rooms says."""
    cursor: dict[str, str] = {}
    while True:
        page = (await someone.ask(type="room_list", **cursor))["data"]
        for row in page["rooms"]:
            if row["roomId"] == room:
                return row.get("read"), row.get("unread")
        cursor = {"cursor": page["cursor"]}


async def test_two_devices_of_a_user(ws: str) -> None:
    """A private message appears on both, and so does how far it was read; the next connect tells what is left."""
    ada_id, room = fresh("ada"), fresh("hall")
    async with AsyncExitStack() as stack:
        desk, phone = [await stack.enter_async_context(person(ws, ada_id, it)) for it in (room, fresh("elsewhere"))]
        bob = await stack.enter_async_context(person(ws, fresh("bob"), room))
        for text in ("one", "two"):
            await bob.ask(type="private_message", targetUserId=ada_id, message=text)
        for device in (desk, phone):
            await device.until(lambda it=device: len(it.seen("private_message")) == 2)  # type: ignore[misc]  # a default's type
        inbox = f"inbox#{ada_id}"
        marked = await replied(phone, "read", {"type": "read", "roomId": inbox, "seq": 1})
        assert (marked["seq"], marked["unread"], marked["userId"]) == (1, 1, ada_id)
        await desk.until(lambda: bool(desk.seen("read")))
        assert desk.seen("read") == [marked]
        tablet = await stack.enter_async_context(person(ws, ada_id, room))
        [welcome] = tablet.seen("welcome")
        assert welcome["inbox"] == {"epoch": marked["epoch"], "seq": 2, "read": 1, "unread": 1}
        refused = await replied(bob, "error", {"type": "read", "roomId": inbox, "seq": 1})
        assert refused["code"] == "NOT_A_MEMBER"
        assert bob.seen("read") == []


async def test_marks_of_devices_that_race(ws: str) -> None:
    """Side by side and sent again: the highest stands, and each is answered with one that is no lower than its own."""
    ada_id, room = fresh("ada"), fresh("hall")
    async with AsyncExitStack() as stack:
        devices = [await stack.enter_async_context(person(ws, ada_id, room)) for _ in range(3)]
        for number in range(9):
            await devices[0].say(f"{number}", room)
        asked = [(device, seq) for seq in (4, 9, 2, 7, 1) for device in devices]
        replies = await asyncio.gather(*(it.ask(type="read", roomId=room, seq=seq) for it, seq in asked))
        assert all(reply["data"]["seq"] >= seq for reply, (_, seq) in zip(replies, asked, strict=True))
        assert all(reply["data"]["unread"] == 9 - reply["data"]["seq"] for reply in replies)
        assert await listed(devices[1], room) == (9, 0)
        late = await devices[2].ask(type="read", roomId=room, seq=3, clientId=fresh("key"))
        assert (late["data"]["seq"], late["data"]["unread"]) == (9, 0)


async def test_what_is_unread_is_counted_in_messages(ws: str) -> None:
    """Roles and changes of the room lie between, and count for nothing."""
    async with person(ws, fresh("ada"), fresh("hall")) as ada, person(ws, fresh("bob"), fresh("hall")) as bob:
        room = fresh("den")
        await replied(ada, "room", {"type": "create_room", "roomId": room})
        for someone in (ada, bob):
            await replied(someone, "joined", {"type": "join_room", "roomId": room})
        await ada.say("one", room)
        await replied(ada, "ack", {"type": "set_role", "roomId": room, "userId": bob.user, "role": "guest"})
        await replied(ada, "room", {"type": "update_room", "roomId": room, "title": "Den"})
        last = await ada.say("two", room)
        assert last["seq"] == 4
        assert await listed(bob, room) == (None, None)
        unread = [
            (await replied(bob, "read", {"type": "read", "roomId": room, "seq": it}))["unread"] for it in range(5)
        ]
        assert unread == [2, 1, 1, 1, 0]
        refused = await replied(bob, "error", {"type": "read", "roomId": room, "seq": 5, "clientId": fresh("key")})
        assert (refused["code"], refused["request"]) == ("BAD_REQUEST", "read")
        assert "seq" in refused["message"]
        await ada.say("three", room)
        assert await listed(bob, room) == (4, 1)


async def test_a_small_room_gets_receipts(ws: str) -> None:
    """Everybody in it but the device that marked; without what is unread, which is the reader's own."""
    room = fresh("hall")
    async with person(ws, fresh("ada"), room) as ada, person(ws, fresh("bob"), room) as bob:
        await bob.say("hello", room)
        marked = await replied(ada, "read", {"type": "read", "roomId": room, "seq": 1})
        await bob.until(lambda: bool(bob.seen("read")))
        assert bob.seen("read") == [{it: marked[it] for it in marked if it != "unread"}]
        assert ada.seen("read") == [marked]
