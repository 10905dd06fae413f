"""What becomes of messages: told to every device, shown wherever they are read, and once for each `clientId`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.clients import fresh, replied
from tests.e2e.people import Person, person

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def shown(someone: Person, room: str, **bounds: int) -> list[dict[str, Any]]:
    """The `data` of a page's entries."""
    page = await replied(someone, "history", {"type": "history", "roomId": room, **bounds})
    return [it["data"] for it in page["entries"]]


async def test_a_message_edited_fifty_times_shows_its_last_text(ws: str) -> None:
    """In one read; both devices of its sender are told of each edit, and the log holds one text."""
    ada, room = fresh("ada"), fresh("hall")
    async with person(ws, ada, room) as phone, person(ws, ada, room) as laptop:
        said = await replied(phone, "ack", {"message": "helo"})
        about = {"type": "edit_message", "roomId": room, "seq": said["seq"]}
        for number in range(50):
            await replied(phone, "ack", about | {"message": f"text {number}"})
        for device in (phone, laptop):
            await device.until(lambda it=device: len(it.seen("message_edited")) >= 50)  # type: ignore[misc]  # a default's type
            assert device.seen("message_edited")[-1]["message"] == "text 49"
        message, *edits = await shown(laptop, room)
        assert message["message"] == "text 49"
        assert [it.get("message") for it in edits] == [None] * 49 + ["text 49"]


async def test_reactions_and_answers_are_counted(ws: str) -> None:
    """Each user once; who comes later reads them with the message."""
    room = fresh("hall")
    async with person(ws, fresh("ada"), room) as ada, person(ws, fresh("bob"), room) as bob:
        await replied(ada, "ack", {"message": "tea?"})
        about = {"type": "react", "roomId": room, "seq": 1, "emoji": "👍🏽"}
        for who in (ada, bob, bob):
            await replied(who, "ack", about)
        await replied(bob, "ack", about | {"emoji": ":)", "remove": True})
        await replied(bob, "ack", {"message": "yes", "replyTo": 1})
        await replied(ada, "ack", {"message": "beside"})
        await ada.until(lambda: any(it.get("replyTo") == 1 for it in ada.seen("chat")))
        told = [(it["of"], it["userId"], it["count"]) for it in ada.seen("reaction")]
        assert told == [(1, ada.user, 1), (1, bob.user, 2)]
        [message, answer] = await shown(bob, room, thread=1)
        assert message["reactions"] == [{"emoji": "👍🏽", "count": 2, "users": [ada.user, bob.user]}]
        assert message["replies"] == {"count": 1, "lastSeq": answer["seq"]}
        assert (answer["message"], answer["thread"]) == ("yes", 1)
        async with person(ws, fresh("cy"), room) as late:
            joined = await replied(late, "joined", {"type": "join_room", "roomId": room, "since": 0})
            assert joined["events"][0]["data"] == message


async def test_what_is_deleted_is_nowhere(ws: str) -> None:
    """By its sender, who may do so once; by nobody else who is no moderator."""
    room = fresh("hall")
    async with person(ws, fresh("ada"), room) as ada, person(ws, fresh("bob"), room) as bob:
        await replied(ada, "ack", {"message": "secret plan"})
        await replied(ada, "ack", {"type": "edit_message", "roomId": room, "seq": 1, "message": "secret plot"})
        about = {"type": "delete_message", "roomId": room, "seq": 1}
        assert (await replied(bob, "error", about))["code"] == "FORBIDDEN"
        request = about | {"clientId": fresh("key")}
        first = await replied(ada, "ack", request)
        assert first["seq"] == 3
        assert await replied(ada, "ack", request) == first
        assert (await replied(ada, "ack", about))["seq"] == 3
        await bob.until(lambda: bool(bob.seen("message_deleted")))
        assert (bob.seen("message_deleted")[0]["of"], bob.seen("message_deleted")[0]["by"]) == (1, ada.user)
        entries = await shown(bob, room)
        assert (entries[0]["message"], entries[0]["deletedBy"]) == ("", ada.user)
        assert "secret" not in str(entries)


async def test_a_private_message_changes_on_both_sides(ws: str) -> None:
    """The sender's edit reaches all devices of both; each names it by the place in the own inbox."""
    ada = fresh("ada")
    async with (
        person(ws, ada, fresh("hall")) as phone,
        person(ws, ada, fresh("hall")) as laptop,
        person(ws, fresh("bob"), fresh("hall")) as bob,
    ):
        said = await replied(phone, "ack", {"type": "private_message", "targetUserId": bob.user, "message": "psst"})
        await bob.until(lambda: bool(bob.seen("private_message")))
        theirs = bob.seen("private_message")[0]
        about = {"type": "edit_message", "roomId": f"inbox#{ada}", "seq": said["seq"]}
        await replied(phone, "ack", about | {"message": "pssst"})
        refused = {"type": "edit_message", "roomId": f"inbox#{bob.user}", "seq": theirs["seq"], "message": "x"}
        assert (await replied(bob, "error", refused))["code"] == "FORBIDDEN"
        await replied(bob, "ack", {"type": "react", "roomId": f"inbox#{bob.user}", "seq": theirs["seq"], "emoji": "👂"})
        for device, of in ((phone, said["seq"]), (laptop, said["seq"]), (bob, theirs["seq"])):
            await device.until(lambda it=device: bool(it.seen("reaction")))  # type: ignore[misc]  # a default's type
            assert [(it["of"], it["message"]) for it in device.seen("message_edited")] == [(of, "pssst")]
            assert [it["of"] for it in device.seen("reaction")] == [of]
        copy = (await shown(bob, f"inbox#{bob.user}"))[0]
        assert (copy["message"], copy["reactions"][0]["users"]) == ("pssst", [bob.user])
