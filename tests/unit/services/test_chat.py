"""Sending: gapless seqs, one message for each clientId, and an ack only after the ring."""

import asyncio
import json

import pytest

from domain.errors import Unavailable
from domain.rooms import FOREVER, Standing
from tests.unit.world import World


async def test_a_message_reaches_every_member_the_sender_too() -> None:
    """chat → ack with seq 1; after the broadcast both members have it, with the fields of the wire."""
    world = World()
    await world.connect("ada")
    await world.connect("bob", dialect="recipe")
    ack = await world.say("ada", "hello")
    assert ack["seq"] == 1
    assert world.messages("bob") == []
    await world.pump()
    for name in ("ada", "bob"):
        [event] = world.events(name, "chat")
        assert event["data"] | {"sentAt": 0, "timestamp": 0} == {
            "messageId": ack["messageId"],
            "roomId": "general",
            "senderId": "ada",
            "senderName": "Ada",
            "message": "hello",
            "epoch": ack["epoch"],
            "seq": 1,
            "timestamp": 0,
            "sentAt": 0,
        }


async def test_fifty_writers_at_once_leave_neither_gap_nor_double() -> None:
    """Fifty concurrent sends into one room: acknowledged ones are exactly the log; ROOM_BUSY is retried."""
    world = World()
    for number in range(50):
        await world.connect(f"writer-{number}")

    async def write(number: int) -> int:
        request = {"roomId": "general", "message": f"from {number}", "clientId": f"client-{number}"}
        while True:
            reply = await world.ask(f"writer-{number}", request)
            if reply["type"] == "ack":
                seq: int = reply["data"]["seq"]
                return seq
            assert reply["data"]["code"] == "ROOM_BUSY"
            assert reply["data"]["retryAfter"] > 0

    seqs = await asyncio.gather(*(write(it) for it in range(50)))
    assert sorted(seqs) == list(range(1, 51))
    await world.pump()
    [room] = (await world.store.rooms(["general"])).values()
    assert room.head == 50
    received = [it["data"]["seq"] for it in world.events("writer-7", "chat")]
    assert received == list(range(1, 51))


async def test_ten_repeats_at_once_are_one_message_with_ten_equal_replies() -> None:
    """The same clientId ten times side by side: one entry; each gets the first reply."""
    world = World()
    await world.connect("ada")
    request = {"message": "once", "clientId": "the-same-id"}
    replies = await asyncio.gather(*(world.ask("ada", request) for _ in range(10)))
    assert all(it == replies[0] for it in replies)
    assert replies[0]["type"] == "ack"
    await world.pump()
    assert world.messages("ada") == ["once"]


async def test_a_repeat_rings_again() -> None:
    """A client whose ack was lost after a crash before the ring: its retry rings, and the message goes out."""
    world = World()
    await world.connect("ada")
    ring = world.queue.ring

    async def crash(lane: str, jobs: object) -> None:
        raise Unavailable("the function died before it rang")

    world.queue.ring = crash  # type: ignore[method-assign]  # a crash at exactly this point
    request = {"message": "kept", "clientId": "retried-id"}
    reply = await world.ask("ada", request)
    assert reply["data"]["code"] == "INTERNAL"
    world.queue.ring = ring  # type: ignore[method-assign]  # whole again
    await world.pump()
    assert world.messages("ada") == []
    assert (await world.ask("ada", request))["type"] == "ack"
    await world.pump()
    assert world.messages("ada") == ["kept"]


async def test_a_clientid_used_for_another_message_is_refused() -> None:
    """The same clientId with another content changes nothing."""
    world = World()
    await world.connect("ada")
    await world.ask("ada", {"message": "one", "clientId": "used-twice"})
    reply = await world.ask("ada", {"message": "two", "clientId": "used-twice"})
    assert (reply["data"]["code"], reply["data"]["clientId"]) == ("BAD_REQUEST", "used-twice")
    await world.pump()
    assert world.messages("ada") == ["one"]


async def test_a_clientid_is_forgotten_after_a_day() -> None:
    """An expired once-row is checked in code: its deletion by TTL lags."""
    world = World()
    await world.connect("ada")
    first = await world.ask("ada", {"message": "x", "clientId": "daily-id"})
    world.clock.advance(24 * 3600 + 1)
    second = await world.ask("ada", {"message": "x", "clientId": "daily-id"})
    assert (first["data"]["seq"], second["data"]["seq"]) == (1, 2)


async def test_a_commit_with_a_lost_answer_is_one_message() -> None:
    """The transaction takes effect but its answer is lost: the send finds its own once-row, also without clientId."""
    world = World()
    await world.connect("ada")
    append = world.store.append
    failures = iter([True, False])

    async def ambiguous(*arguments: object) -> None:
        await append(*arguments)  # type: ignore[arg-type]
        if next(failures):
            raise Unavailable("the answer was lost")

    world.store.append = ambiguous  # type: ignore[method-assign,assignment]
    reply = await world.ask("ada", {"message": "once"})
    assert reply["data"]["seq"] == 1
    await world.pump()
    assert world.messages("ada") == ["once"]


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        ({"message": " \n\t"}, "EMPTY_MESSAGE", "Message cannot be empty"),
        ({"type": "chat"}, "EMPTY_MESSAGE", "Message cannot be empty"),
        ({"message": "x" * 24_577}, "TOO_LARGE", "A message is at most 24 KB of UTF-8"),
        ({"message": "é" * 12_289}, "TOO_LARGE", "A message is at most 24 KB of UTF-8"),
        ({"message": "\u0001" * 8_000}, "TOO_LARGE", "The message is too long once it is written as JSON"),
        ({"message": "x", "roomId": "elsewhere"}, "ROOM_NOT_FOUND", "Room not found"),
        ({"message": "x", "roomId": "a#b"}, "BAD_REQUEST", None),
        ({"type": "join_room"}, "BAD_REQUEST", "Room ID required"),
        ({"type": "shout"}, "UNKNOWN_TYPE", "Unknown message type: shout"),
        ("no json", "BAD_JSON", "Invalid JSON format"),
        ("[1]", "BAD_REQUEST", "A request is a JSON object"),
    ],
)
async def test_a_bad_request_is_one_clear_error(request_: object, code: str, message: str | None) -> None:
    """The error's code and words; nobody hears of it."""
    world = World()
    await world.connect("ada")
    reply = await world.ask("ada", request_)  # type: ignore[arg-type]
    assert (reply["type"], reply["data"]["code"]) == ("error", code)
    if message is not None:
        assert reply["data"]["message"] == message
    await world.pump()
    assert world.events("ada", "chat") == []


async def test_who_is_no_member_cannot_send() -> None:
    """A room of others refuses; after a leave the same."""
    world = World()
    await world.connect("ada", room="one")
    await world.connect("bob", room="two")
    reply = await world.ask("bob", {"message": "x", "roomId": "one"})
    assert reply["data"]["code"] == "NOT_A_MEMBER"
    await world.ask("ada", {"type": "leave_room"})
    assert (await world.ask("ada", {"message": "x"}))["data"]["code"] == "NOT_A_MEMBER"


@pytest.mark.parametrize(
    ("standing", "code"),
    [(Standing(banned_until=FOREVER), "BANNED"), (Standing(muted_until=9_999_999_999_999), "MUTED")],
)
async def test_banned_and_muted_users_are_refused(standing: Standing, code: str) -> None:
    """A user's standing in the room counts for every send."""
    world = World()
    await world.connect("ada")
    await world.store.set_standing("general", "ada", standing)
    assert (await world.ask("ada", {"message": "x"}))["data"]["code"] == code


async def test_the_doorbell_says_only_where_to_look() -> None:
    """A job holds references, no body: it may lie in a dead-letter queue."""
    world = World()
    await world.connect("ada")
    ack = await world.say("ada", "a secret")
    [record] = await world.queue.receive("interactive", 10)
    assert json.loads(record["body"]) == {
        "kind": "doorbell",
        "v": 1,
        "room": "general",
        "epoch": ack["epoch"],
        "shard": 0,
        "seq": 1,
    }
