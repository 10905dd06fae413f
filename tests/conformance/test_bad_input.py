"""Every way of being wrong: its error code, the socket stays open, and nobody else hears of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from domain.protocol import ERROR_CODES, MESSAGE_LIMIT
from tests.conformance.clients import fresh, named, replied
from tests.e2e.people import Person, person

pytestmark = pytest.mark.asyncio(loop_scope="package")

# ROOM stands for the room that the sender is in.
BAD = {
    "empty": ("", "BAD_JSON"),
    "broken": ('{"message":', "BAD_JSON"),
    "two values": ("{} {}", "BAD_JSON"),
    "no quotes": ("{message:hello}", "BAD_JSON"),
    "not a number": ('{"type":"ping","cursors":NaN}', "BAD_JSON"),
    "a lone surrogate": (r'{"message":"\ud800"}', "BAD_JSON"),
    "a lone surrogate in an id": (r'{"message":"x","roomId":"\udc00"}', "BAD_JSON"),
    "null": ("null", "BAD_REQUEST"),
    "a list": ('["chat"]', "BAD_REQUEST"),
    "a text": ('"chat"', "BAD_REQUEST"),
    "a type that is no text": ('{"type":["chat"]}', "BAD_REQUEST"),
    "an unknown type": ('{"type":"dance"}', "UNKNOWN_TYPE"),
    "a type in capitals": ('{"type":"CHAT","message":"x"}', "UNKNOWN_TYPE"),
    "a route of the gateway": ('{"type":"$connect"}', "UNKNOWN_TYPE"),
    "a missing field": ('{"type":"history"}', "BAD_REQUEST"),
    "an extra field": ('{"message":"x","colour":"red"}', "BAD_REQUEST"),
    "a message that is no text": ('{"message":7}', "BAD_REQUEST"),
    "a room that is no text": ('{"message":"x","roomId":{}}', "BAD_REQUEST"),
    "a seq that is none": ('{"type":"join_room","roomId":"x","since":-1}', "BAD_REQUEST"),
    "a seq with a fraction": ('{"type":"join_room","roomId":"x","since":1.5}', "BAD_REQUEST"),
    "no status": ('{"type":"presence"}', "BAD_REQUEST"),
    "a status that there is not": ('{"type":"presence","status":"offline"}', "BAD_REQUEST"),
    "a limit of too many": ('{"type":"history","roomId":"x","limit":101}', "BAD_REQUEST"),
    "no message": ('{"type":"chat"}', "EMPTY_MESSAGE"),
    "an empty message": ('{"message":""}', "EMPTY_MESSAGE"),
    "a blank message": (r'{"message":" \t\n　"}', "EMPTY_MESSAGE"),
    "a message of 25 KB": (json.dumps({"message": "x" * 25 * 1024}), "TOO_LARGE"),
    "a message just too long": (
        json.dumps({"message": "ž" * (MESSAGE_LIMIT // 2) + "x"}, ensure_ascii=False),
        "TOO_LARGE",
    ),
    "an empty id": ('{"message":"x","roomId":""}', "BAD_REQUEST"),
    "an id with #": ('{"message":"x","roomId":"a#b"}', "BAD_REQUEST"),
    "another's inbox": ('{"message":"x","roomId":"inbox#bob"}', "BAD_REQUEST"),
    "an id with a control character": (r'{"message":"x","roomId":"a\u0000"}', "BAD_REQUEST"),
    "an id with a newline": (r'{"type":"join_room","roomId":"a\n"}', "BAD_REQUEST"),
    "an id with U+FFFE": (r'{"message":"x","roomId":"a\ufffe"}', "BAD_REQUEST"),
    "an id of 65 characters": (json.dumps({"message": "x", "roomId": "a" * 65}), "BAD_REQUEST"),
    "a short clientId": ('{"message":"x","clientId":"short"}', "BAD_REQUEST"),
    "deep nesting": ('{"message":' + "[" * 5000 + "]" * 5000 + "}", "BAD_JSON"),
    "deep nesting beside": ('{"type":"ping","x":' + '{"y":' * 3000 + "1" + "}" * 3001, "BAD_JSON"),
    "nothing but brackets": ("[" * 30_000, "BAD_REQUEST"),
    "a number of 10,000 digits": ('{"type":"history","roomId":"x","before":' + "9" * 10_000 + "}", "BAD_REQUEST"),
    "a type of 10,000 digits": ('{"type":' + "9" * 10_000 + "}", "BAD_REQUEST"),
    "a room that is not there": (json.dumps({"message": "x", "roomId": fresh("nowhere")}), "ROOM_NOT_FOUND"),
    "history of no room": (json.dumps({"type": "history", "roomId": fresh("nowhere")}), "ROOM_NOT_FOUND"),
    "a mark of no room": ('{"type":"read","seq":1}', "BAD_REQUEST"),
    "a mark of nothing": ('{"type":"read","roomId":"x"}', "BAD_REQUEST"),
    "a mark before the beginning": ('{"type":"read","roomId":"x","seq":-1}', "BAD_REQUEST"),
    "a mark in a room that is not there": (
        json.dumps({"type": "read", "roomId": fresh("nowhere"), "seq": 0}),
        "ROOM_NOT_FOUND",
    ),
    "a mark in an inbox that is not there": (
        json.dumps({"type": "read", "roomId": f"inbox#{fresh('nobody')}", "seq": 0}),
        "ROOM_NOT_FOUND",
    ),
    "an answer to nothing": ('{"message":"x","roomId":"ROOM","replyTo":1}', "BAD_REQUEST"),
    "an edit of nothing": ('{"type":"edit_message","roomId":"ROOM","seq":99,"message":"x"}', "BAD_REQUEST"),
    "an edit without a text": ('{"type":"edit_message","roomId":"ROOM","seq":1}', "BAD_REQUEST"),
    "a blank edit": ('{"type":"edit_message","roomId":"ROOM","seq":1,"message":" "}', "EMPTY_MESSAGE"),
    "an edit of 25 KB": (
        json.dumps({"type": "edit_message", "roomId": "ROOM", "seq": 1, "message": "x" * 25 * 1024}),
        "TOO_LARGE",
    ),
    "an edit in what moderators did": (
        '{"type":"edit_message","roomId":"audit#ROOM","seq":1,"message":"x"}',
        "BAD_REQUEST",
    ),
    "a deletion of nothing": ('{"type":"delete_message","roomId":"ROOM","seq":0}', "BAD_REQUEST"),
    "a deletion without a seq": ('{"type":"delete_message","roomId":"ROOM"}', "BAD_REQUEST"),
    "a deletion in another's inbox": ('{"type":"delete_message","roomId":"inbox#bob","seq":1}', "NOT_A_MEMBER"),
    "a reaction to nothing": ('{"type":"react","roomId":"ROOM","seq":99,"emoji":"x"}', "BAD_REQUEST"),
    "a reaction with a blank": ('{"type":"react","roomId":"ROOM","seq":1,"emoji":"a b"}', "BAD_REQUEST"),
    "a reaction of 33 characters": (
        json.dumps({"type": "react", "roomId": "ROOM", "seq": 1, "emoji": "x" * 33}),
        "BAD_REQUEST",
    ),
    "an empty reaction": ('{"type":"react","roomId":"ROOM","seq":1,"emoji":""}', "BAD_REQUEST"),
    "notices neither on nor off": ('{"type":"notices","enabled":"perhaps"}', "BAD_REQUEST"),
    "another's notices": ('{"type":"notices","enabled":false,"userId":"bob"}', "BAD_REQUEST"),
    "a search for nothing": ('{"type":"search","roomId":"ROOM"}', "BAD_REQUEST"),
    "a search for an empty text": ('{"type":"search","roomId":"ROOM","query":""}', "BAD_REQUEST"),
    "a search without a word": ('{"type":"search","roomId":"ROOM","query":"?!"}', "BAD_REQUEST"),
    "a search for 201 characters": (
        json.dumps({"type": "search", "roomId": "ROOM", "query": "x" * 201}),
        "BAD_REQUEST",
    ),
    "a search from before the beginning": ('{"type":"search","roomId":"ROOM","query":"x","cursor":-1}', "BAD_REQUEST"),
    "a search for too many": ('{"type":"search","roomId":"ROOM","query":"x","limit":101}', "BAD_REQUEST"),
    "a search of no room": (json.dumps({"type": "search", "roomId": fresh("nowhere"), "query": "x"}), "ROOM_NOT_FOUND"),
    "both bounds": ('{"type":"history","roomId":"ROOM","before":1,"after":1}', "BAD_REQUEST"),
}


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def pair(ws: str) -> AsyncIterator[tuple[Person, Person]]:
    """Who sends what is wrong, and who shares the room and must hear nothing of it."""
    room = fresh("hall")
    async with person(ws, fresh("mallory"), room) as sender, person(ws, fresh("bob"), room) as witness:
        await sender.until(named(sender, "user_joined", witness.user))
        await witness.until(named(witness, "user_joined", witness.user))
        yield sender, witness


def heard(witness: Person) -> list[dict[str, Any]]:
    """What has come, but that the two are online: that is told seconds after they came, whatever is sent meanwhile."""
    return [
        it
        for it in witness.events
        if it["type"] != "presence" or {status["status"] for status in it["data"]["members"]} != {"online"}
    ]


@pytest.mark.parametrize("case", BAD)
async def test_bad_input_has_its_code(pair: tuple[Person, Person], case: str) -> None:
    """One error, and the next request is answered on the same socket."""
    sender, witness = pair
    frame, code = BAD[case]
    before = heard(witness)
    refused = await replied(sender, "error", frame.replace("ROOM", sender.seen("welcome")[0]["roomId"]))
    assert refused["code"] == code
    assert refused["message"].isprintable()
    assert (await sender.ask(type="ping"))["type"] == "pong"
    assert heard(witness) == before


async def test_nobody_else_has_heard_of_any(pair: tuple[Person, Person]) -> None:
    """When a good message comes through, nothing has come before it."""
    sender, witness = pair
    await sender.say("good", sender.seen("welcome")[0]["roomId"])
    await witness.hears("good")
    assert witness.messages == ["good"]
    assert {it["type"] for it in heard(witness)} <= {"welcome", "user_joined", "chat"}


async def test_errors_name_the_request(pair: tuple[Person, Person]) -> None:
    """By its type and `clientId`, as far as they can be read."""
    sender, _ = pair
    reply = await sender.ask(type="join_room", roomId="a#b", clientId=fresh("key"))
    assert (reply["type"], reply["data"]["request"]) == ("error", "join_room")
    assert reply["data"]["code"] in ERROR_CODES
