"""A client that was written for the recipe finds all that it knows: queries, events, and words of errors."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.conformance.clients import fresh, named, recipe_client, replied, tell
from tests.e2e.people import Person

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_welcome_comes_before_the_own_user_joined(ws: str) -> None:
    """One event a frame, the welcome first; whoever is there hears of who comes."""
    room, ada_id, bob_id = fresh("hall"), fresh("ada"), fresh("bob")
    async with recipe_client(ws, ada_id, room) as ada:
        await ada.until(named(ada, "user_joined", ada_id))
        assert [it["type"] for it in ada.events] == ["welcome", "user_joined"]
        assert ada.frames == 2
        [welcome] = ada.seen("welcome")
        assert welcome["message"] == f"Welcome to room {room}!"
        assert (welcome["userId"], welcome["roomId"]) == (ada_id, room)
        async with recipe_client(ws, bob_id, room) as bob:
            await ada.until(named(ada, "user_joined", bob_id))
            await bob.until(named(bob, "user_joined", bob_id))
            [came] = [it for it in ada.seen("user_joined") if it["userId"] == bob_id]
            assert (came["roomId"], came["username"]) == (room, bob_id.title())
            assert isinstance(came["timestamp"], int)
            kinds = [it["type"] for it in bob.events]
            assert kinds.index("welcome") < kinds.index("user_joined")
        await ada.until(named(ada, "user_left", bob_id))


async def test_chat_reaches_all_in_the_room(ws: str) -> None:
    """The sender too, and nobody outside; a request without `type` is a chat message."""
    room = fresh("hall")
    async with (
        recipe_client(ws, fresh("ada"), room) as ada,
        recipe_client(ws, fresh("bob"), room) as bob,
        recipe_client(ws, fresh("eve"), fresh("elsewhere")) as eve,
    ):
        await tell(ada, type="chat", message="hello", roomId=room)
        for someone in (ada, bob):
            await someone.hears("hello")
        await tell(bob, message="no type, no room")
        for someone in (ada, bob):
            await someone.hears("no type, no room")
            assert someone.messages == ["hello", "no type, no room"]
        said = bob.seen("chat")[0]
        assert (said["roomId"], said["senderId"], said["senderName"]) == (room, ada.user, ada.user.title())
        assert said["messageId"]
        assert abs(said["timestamp"] - said["sentAt"] / 1000) < 2
        await tell(eve, message="alone")
        await eve.hears("alone")
        assert eve.messages == ["alone"]


async def test_join_room_moves_the_client(ws: str) -> None:
    """The new room hears `user_joined`, the old one `user_left`; what is said goes to the new one."""
    old, new = fresh("old"), fresh("new")
    async with (
        recipe_client(ws, fresh("ada"), old) as ada,
        recipe_client(ws, fresh("bob"), old) as bob,
        recipe_client(ws, fresh("cid"), new) as cid,
    ):
        joined = await replied(ada, "joined", {"type": "join_room", "roomId": new})
        assert joined["roomId"] == new
        await cid.until(named(cid, "user_joined", ada.user))
        await bob.until(named(bob, "user_left", ada.user))
        await tell(ada, message="I have moved")
        for someone in (ada, cid):
            await someone.hears("I have moved")
        await tell(bob, message="she has gone")
        await bob.hears("she has gone")
        await tell(cid, message="welcome here")
        await ada.hears("welcome here")
        assert bob.messages == ["she has gone"]
        assert ada.messages == ["I have moved", "welcome here"]


async def test_a_private_message_reaches_its_target_alone(ws: str) -> None:
    """Every connection of the target, whatever rooms they are in; nobody else, and not the connection that sent it."""
    room, bob_id, ada_id = fresh("hall"), fresh("bob"), fresh("ada")
    async with AsyncExitStack() as stack:
        ada, here, away, eve, desk = [
            await stack.enter_async_context(recipe_client(ws, user, where))
            for user, where in (
                (ada_id, room),
                (bob_id, room),
                (bob_id, fresh("elsewhere")),
                (fresh("eve"), room),
                (ada_id, fresh("desk")),
            )
        ]
        await tell(ada, type="private_message", targetUserId=bob_id, message="psst")
        for someone in (here, away, desk):
            await someone.until(lambda it=someone: bool(it.seen("private_message")))  # type: ignore[misc]  # a default's type
            [got] = someone.seen("private_message")
            assert (got["message"], got["senderId"], got["senderName"]) == ("psst", ada_id, ada_id.title())
            assert got["targetUserId"] == bob_id
        await ada.until(lambda: bool(ada.seen("ack")))
        await tell(ada, message="aloud")
        for someone in (ada, eve):
            await someone.hears("aloud")
            assert someone.seen("private_message") == []


async def test_a_private_message_to_who_was_never_here(ws: str) -> None:
    """The recipe's words."""
    async with recipe_client(ws, fresh("ada"), fresh("hall")) as ada:
        refused = await replied(
            ada, "error", {"type": "private_message", "targetUserId": fresh("nobody"), "message": "hello?"}
        )
        assert (refused["code"], refused["message"]) == ("USER_OFFLINE", "Target user not found or offline")


async def test_a_private_message_to_who_has_left_is_kept(ws: str) -> None:
    """The sender is told that nobody is there; it is read when its target is back."""
    room, bob_id = fresh("hall"), fresh("bob")
    async with recipe_client(ws, fresh("ada"), room) as ada:
        async with recipe_client(ws, bob_id, room):
            await ada.until(named(ada, "user_joined", bob_id))
        await ada.until(named(ada, "user_left", bob_id))
        ack = await replied(ada, "ack", {"type": "private_message", "targetUserId": bob_id, "message": "later"})
        assert ack["online"] is False
        async with recipe_client(ws, bob_id, room) as bob:
            assert bob.seen("welcome")[0]["inbox"]["seq"] == 1
            page = await replied(bob, "history", {"type": "history", "roomId": f"inbox#{bob_id}"})
            assert [it["data"]["message"] for it in page["entries"]] == ["later"]


async def test_room_list_counts_who_is_active(ws: str) -> None:
    """Each room with its fields; who leaves counts no longer."""
    room = fresh("hall")
    async with recipe_client(ws, fresh("ada"), room) as ada:

        async def listed() -> dict[str, object]:
            cursor: dict[str, str] = {}
            while True:
                page = await replied(ada, "room_list", {"type": "room_list", **cursor})
                found: list[dict[str, object]] = [it for it in page["rooms"] if it["roomId"] == room]
                if found:
                    return found[0]
                # A new room may be a moment late in the list, so the end is where to begin again.
                cursor = {"cursor": page["cursor"]} if "cursor" in page else {}

        async with recipe_client(ws, fresh("bob"), room) as bob:
            await tell(bob, message="hello")
            await ada.hears("hello")
            assert await listed() == {
                "roomId": room,
                "activeUsers": 2,
                "title": room,
                "visibility": "public",
                "parent": "root",
                "head": 1,
            }
        await ada.until(named(ada, "user_left", bob.user))
        assert (await listed())["activeUsers"] == 1


@pytest.mark.parametrize(
    ("frame", "code", "words"),
    [
        ("no json", "BAD_JSON", "Invalid JSON format"),
        ('{"type":"dance"}', "UNKNOWN_TYPE", "Unknown message type: dance"),
        ('{"type":"chat","message":""}', "EMPTY_MESSAGE", "Message cannot be empty"),
        ('{"type":"chat"}', "EMPTY_MESSAGE", "Message cannot be empty"),
        ('{"message":"  "}', "EMPTY_MESSAGE", "Message cannot be empty"),
        ('{"type":"join_room"}', "BAD_REQUEST", "Room ID required"),
        (
            '{"type":"private_message","message":"x"}',
            "BAD_REQUEST",
            "Target user ID and message required for private messages",
        ),
        (
            '{"type":"private_message","targetUserId":"bob"}',
            "BAD_REQUEST",
            "Target user ID and message required for private messages",
        ),
        (
            '{"type":"private_message","targetUserId":"bob","message":" "}',
            "EMPTY_MESSAGE",
            "Target user ID and message required for private messages",
        ),
    ],
)
async def test_errors_have_the_recipes_words(ws: str, frame: str, code: str, words: str) -> None:
    """A client that shows them shows what it always did."""
    async with recipe_client(ws, fresh("ada"), fresh("hall")) as ada:
        refused = await replied(ada, "error", frame)
        assert (refused["code"], refused["message"]) == (code, words)


@pytest.mark.parametrize("token", ["x", "invalid_x", "Valid_x"])
async def test_a_token_that_is_not_valid_is_refused(ws: str, token: str) -> None:
    """HTTP 401 in place of the handshake."""
    with pytest.raises(InvalidStatus) as caught:
        await connect(f"{ws}?userId={fresh('eve')}&username=Eve&roomId={fresh('hall')}&token={token}")
    assert caught.value.response.status_code == 401


async def test_who_says_nothing_of_itself_is_anonymous(ws: str) -> None:
    """No query at all: a name is found, and the room is `general`."""
    async with connect(ws) as socket:
        someone = Person(socket, "")
        await someone.until(lambda: bool(someone.seen("welcome")))
        [welcome] = someone.seen("welcome")
        assert welcome["roomId"] == "general"
        assert welcome["userId"].startswith("anonymous-")
        await someone.leave()
