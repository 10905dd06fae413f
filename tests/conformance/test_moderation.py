"""Rooms that somebody owns: who is let in, who is removed, and what the others hear of it."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from tests.conformance.clients import fresh, replied
from tests.e2e.people import Person, person

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def owned(ada: Person, **settled: Any) -> str:
    """A room of ada's, with her in it."""
    room = fresh("den")
    await replied(ada, "room", {"type": "create_room", "roomId": room, **settled})
    await replied(ada, "joined", {"type": "join_room", "roomId": room})
    return room


async def test_a_ban_closes_the_socket_and_keeps_its_user_out(ws: str) -> None:
    """Nothing of the room comes after the ack; the others are told by an entry of the log; an unban opens the door."""
    async with AsyncExitStack() as stack:
        ada = await stack.enter_async_context(person(ws, fresh("ada"), fresh("hall")))
        room = await owned(ada)
        bob = await stack.enter_async_context(person(ws, fresh("bob"), room))
        eve = await stack.enter_async_context(person(ws, fresh("eve"), room))
        about = {"roomId": room, "userId": eve.user}
        ack = await replied(ada, "ack", {"type": "ban", **about})
        await eve.until(lambda: eve.socket.close_code is not None)
        heard = len(eve.seen("chat"))
        await ada.say("she is gone", room)
        await bob.until(lambda: bool(bob.seen("banned")) and bool(bob.seen("chat")))
        assert (bob.seen("banned")[0]["seq"], bob.seen("banned")[0]["userId"]) == (ack["seq"], eve.user)
        assert len(eve.seen("chat")) == heard
        with pytest.raises(InvalidStatus) as caught:
            await stack.enter_async_context(person(ws, eve.user, room))
        assert caught.value.response.status_code == 403
        await replied(ada, "ack", {"type": "unban", **about})
        again = await stack.enter_async_context(person(ws, eve.user, room))
        assert again.seen("welcome")


@pytest.mark.parametrize(("visibility", "code"), [("private", "FORBIDDEN"), ("hidden", "ROOM_NOT_FOUND")])
async def test_a_room_that_is_not_public_asks_for_a_role(ws: str, visibility: str, code: str) -> None:
    """A stranger is refused; who is given a role comes in, and goes when it is taken."""
    async with person(ws, fresh("ada"), fresh("hall")) as ada, person(ws, fresh("eve"), fresh("hall")) as eve:
        room = await owned(ada, visibility=visibility)
        refused = await replied(eve, "error", {"type": "join_room", "roomId": room})
        assert refused["code"] == code
        about = {"roomId": room, "userId": eve.user}
        await replied(ada, "ack", {"type": "set_role", **about, "role": "member"})
        joined = await replied(eve, "joined", {"type": "join_room", "roomId": room})
        assert joined["roomId"] == room
        await ada.say("welcome", room)
        await eve.until(lambda: bool(eve.seen("chat")))
        await replied(ada, "ack", {"type": "set_role", **about, "role": "none"})
        await eve.until(lambda: eve.socket.close_code is not None)


async def test_a_mute_and_slow_mode_hold_back_who_writes(ws: str) -> None:
    """Refused with the time to wait; reading goes on."""
    async with person(ws, fresh("ada"), fresh("hall")) as ada, person(ws, fresh("eve"), fresh("hall")) as eve:
        room = await owned(ada, slowMode=600)
        await replied(eve, "joined", {"type": "join_room", "roomId": room})
        await eve.say("one", room)
        slow = await replied(eve, "error", {"type": "chat", "roomId": room, "message": "two"})
        assert slow["code"] == "RATE_LIMITED"
        assert 500 < slow["retryAfter"] <= 600
        await replied(ada, "ack", {"type": "mute", "roomId": room, "userId": eve.user, "seconds": 60})
        muted = await replied(eve, "error", {"type": "chat", "roomId": room, "message": "three"})
        assert muted["code"] == "MUTED"


async def test_a_deleted_room_is_made_anew_by_its_owner(ws: str) -> None:
    """Its members are told; what was in it is not in the new one."""
    async with person(ws, fresh("ada"), fresh("hall")) as ada, person(ws, fresh("eve"), fresh("hall")) as eve:
        room = await owned(ada, title="Tea")
        await replied(eve, "joined", {"type": "join_room", "roomId": room})
        await ada.say("old", room)
        changed = await replied(ada, "room", {"type": "update_room", "roomId": room, "title": "Coffee"})
        assert (changed["title"], changed["seq"]) == ("Coffee", 2)
        await replied(ada, "room_deleted", {"type": "delete_room", "roomId": room})
        await eve.until(lambda: bool(eve.seen("room_deleted")))
        assert (await replied(eve, "error", {"type": "create_room", "roomId": room}))["code"] == "FORBIDDEN"
        made = await replied(ada, "room", {"type": "create_room", "roomId": room})
        joined = await replied(eve, "joined", {"type": "join_room", "roomId": room})
        assert (joined["epoch"], joined["head"]) == (made["epoch"], 0)
