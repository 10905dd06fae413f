"""What servers ask: one message for each clientId, nobody taken for a service, one clear error for each bad input."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import time
from dataclasses import replace
from typing import Any

import pytest

from domain.errors import Refused, Unavailable
from domain.protocol import LIST_LIMIT, MESSAGE_LIMIT
from local.environment import Context
from services import publish
from services.backend import answer
from tests.unit.services.conftest import Environment
from tests.unit.world import World

NEWS = {"id": "news", "name": "The News"}


_numbers = itertools.count()


async def ask(world: World, request: Any) -> dict[str, Any]:
    return await answer(world.ports, world.sockets, request, f"invocation-{next(_numbers)}")


async def test_a_service_speaks_in_a_room_that_it_is_not_in() -> None:
    """Members get it under `service#news` and its name; it is the room's next entry, and history has it."""
    world = World()
    await world.connect("ada")
    await world.say("ada", "before")
    said = await ask(world, {"action": "publish", "roomId": "general", "message": "rain", "as": NEWS})
    await world.pump()
    [_, chat] = world.events("ada", "chat")
    assert (chat["data"]["senderId"], chat["data"]["senderName"]) == ("service#news", "The News")
    assert (
        (chat["data"]["seq"], chat["data"]["messageId"]) == (said["seq"], said["messageId"]) == (2, said["messageId"])
    )
    assert world.messages("ada") == ["before", "rain"]
    page = await world.ask("ada", {"type": "history", "roomId": "general"})
    assert [it["data"]["message"] for it in page["data"]["entries"]] == ["before", "rain"]


async def test_a_service_speaks_to_a_user() -> None:
    """On every connection, or stored for the next one; whoever was never here is not found."""
    world = World()
    for name in ("ada-1", "ada-2"):
        await world.connect(name, user="ada")
    request = {"action": "publish", "userId": "ada", "message": "psst", "as": {"id": "news"}}
    assert (await ask(world, request))["online"] is True
    await world.pump()
    for name in ("ada-1", "ada-2"):
        [message] = world.events(name, "private_message")
        assert message["data"]["senderId"] == "service#news"
        assert (message["data"]["senderName"], message["data"]["targetUserId"]) == ("news", "ada")
    for name in ("ada-1", "ada-2"):
        await world.disconnect(name)
    assert (await ask(world, request))["online"] is False
    assert (await ask(world, {**request, "userId": "nobody"}))["error"]["code"] == "USER_OFFLINE"


async def test_ten_equal_client_ids_at_once_are_one_message() -> None:
    """Ten equal answers; another message under the same id is refused; another service's id is another."""
    world = World()
    await world.connect("ada")
    request = {"action": "publish", "roomId": "general", "message": "once", "as": NEWS, "clientId": "the-same-id"}
    answers = await asyncio.gather(*(ask(world, request) for _ in range(10)))
    assert all(it == answers[0] for it in answers)
    assert (await ask(world, {**request, "message": "other"}))["error"]["code"] == "BAD_REQUEST"
    assert (await ask(world, {**request, "as": {"id": "weather"}}))["seq"] == 2
    assert (await world.ask("ada", {"type": "chat", "message": "mine", "clientId": "the-same-id"}))["type"] == "ack"
    await world.pump()
    assert world.messages("ada") == ["once", "once", "mine"]


async def test_no_client_is_a_service() -> None:
    """`#` is in no id: neither can one be called so, nor be written to as one."""
    world = World()
    await world.connect("ada")
    for field, request in {
        "as": {"action": "publish", "roomId": "general", "message": "hi", "as": {"id": "a#b"}},
        "userId": {"action": "publish", "userId": "service#news", "message": "hi", "as": NEWS},
    }.items():
        error = (await ask(world, request))["error"]
        assert error["code"] == "BAD_REQUEST"
        assert field in error["message"]
    reply = await world.ask("ada", {"type": "private_message", "targetUserId": "service#news", "message": "hi"})
    assert reply["data"]["code"] == "BAD_REQUEST"


async def test_members_come_in_pages() -> None:
    """Of all shards, whoever asks."""
    world = World(shard_limit=100)
    names = {f"member-{it:03}" for it in range(LIST_LIMIT + 20)}
    for name in sorted(names):
        await world.connect(name, room="hall")
    found: set[str] = set()
    request: dict[str, Any] = {"action": "members", "roomId": "hall"}
    pages = 0
    while True:
        page = await ask(world, request)
        found |= {it["userId"] for it in page["members"]}
        pages += 1
        if "cursor" not in page:
            break
        request["cursor"] = page["cursor"]
    assert found == names
    assert pages > 1


async def test_a_users_sockets_are_closed() -> None:
    """All of them, in whatever rooms, and their rows; nobody else's; again is nothing."""
    world = World()
    for name in ("ada-1", "ada-2"):
        await world.connect(name, room=name, user="ada")
    await world.connect("bob", room="ada-1")
    world.clock.advance(60)
    assert await ask(world, {"action": "close", "userId": "ada"}) == {"closed": 2}
    assert [it for it in ("ada-1", "ada-2", "bob") if world.sockets.is_open(it)] == ["bob"]
    for name in ("ada-1", "ada-2"):
        session = await world.store.session(name)
        assert (session.connection, session.memberships) == (None, [])
    assert (await world.store.session("bob")).connection is not None
    assert await ask(world, {"action": "close", "userId": "ada"}) == {"closed": 0}
    assert await ask(world, {"action": "close", "userId": "nobody"}) == {"closed": 0}


PUBLISH = {"action": "publish", "roomId": "general", "message": "hi", "as": {"id": "news"}}


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        (None, "BAD_REQUEST", "`action`"),
        ([], "BAD_REQUEST", "`action`"),
        ({}, "BAD_REQUEST", "action"),
        ({"action": "shout"}, "BAD_REQUEST", "'shout'"),
        ({"action": 1}, "BAD_REQUEST", "action"),
        ({**PUBLISH, "action": "close"}, "BAD_REQUEST", "roomId"),
        ({**PUBLISH, "roomId": None}, "BAD_REQUEST", "`roomId` or a `userId`"),
        ({**PUBLISH, "userId": "ada"}, "BAD_REQUEST", "`roomId` or a `userId`"),
        ({**PUBLISH, "roomId": "a b"}, "BAD_REQUEST", "`roomId`: Expected 1 to 64"),
        ({**PUBLISH, "roomId": "inbox#ada"}, "BAD_REQUEST", "`roomId`"),
        ({**PUBLISH, "message": 7}, "BAD_REQUEST", "`message`"),
        ({**PUBLISH, "message": "half of \ud83d"}, "BAD_REQUEST", "`message`"),
        ({**PUBLISH, "message": " \n"}, "EMPTY_MESSAGE", ""),
        ({**PUBLISH, "message": "x" * (MESSAGE_LIMIT + 1)}, "TOO_LARGE", "24 KB"),
        ({**PUBLISH, "message": "\x01" * MESSAGE_LIMIT}, "TOO_LARGE", "JSON"),
        ({**PUBLISH, "as": "news"}, "BAD_REQUEST", "`as`"),
        ({**PUBLISH, "as": {}}, "BAD_REQUEST", "`as`"),
        ({**PUBLISH, "as": {"id": "news", "name": "\n"}}, "BAD_REQUEST", "`as.name`"),
        ({**PUBLISH, "clientId": "short"}, "BAD_REQUEST", "`clientId`"),
        ({**PUBLISH, "rooms": []}, "BAD_REQUEST", "rooms"),
        ({**PUBLISH, "roomId": "nowhere"}, "ROOM_NOT_FOUND", ""),
        ({"action": "members"}, "BAD_REQUEST", "roomId"),
        ({"action": "members", "roomId": "nowhere"}, "ROOM_NOT_FOUND", ""),
        ({"action": "members", "roomId": "general", "cursor": "9:"}, "BAD_REQUEST", "`cursor`"),
        ({"action": "close"}, "BAD_REQUEST", "userId"),
        ({"action": "close", "userId": "a#b"}, "BAD_REQUEST", "`userId`"),
    ],
)
async def test_bad_input_is_one_clear_error(request_: Any, code: str, words: str) -> None:
    """With a code of the wire's and a sentence that names what is wrong; nothing is stored."""
    world = World()
    await world.connect("ada")
    answered = await ask(world, request_)
    assert set(answered) == {"error"}
    error = answered["error"]
    assert error["code"] == code
    assert words in error["message"]
    assert "\n" not in error["message"]
    await world.pump()
    assert world.messages("ada") == []


async def test_a_store_that_fails_says_when_to_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """INTERNAL, as a client gets it."""
    world = World()

    async def fail(*arguments: Any) -> Any:
        raise Unavailable("throttled")

    monkeypatch.setattr(world.store, "room", fail)
    error = (await ask(world, {"action": "members", "roomId": "general"}))["error"]
    assert (error["code"], error["retryAfter"]) == ("INTERNAL", 1)


# ------------------------------------------------------------------------------------------------ the function


def invoke(event: Any) -> dict[str, Any]:
    request_id = f"invocation-{next(_numbers)}"
    context = Context(request_id, time.monotonic() + 10, "publish", "arn:aws:lambda:…", "log", "stream", 512)
    answered: dict[str, Any] = publish.handler(event, context)
    return answered


def of_url(body: str | bytes) -> dict[str, Any]:
    """The event of a function URL (payload format 2.0), as far as it matters."""
    encoded = isinstance(body, bytes)
    text = base64.b64encode(body).decode() if isinstance(body, bytes) else body
    return {"version": "2.0", "requestContext": {"http": {"method": "POST"}}, "body": text, "isBase64Encoded": encoded}


def test_an_invocation_and_a_url_answer_alike(environment: Environment) -> None:
    """The result itself, or as the body of a 200."""
    request = {**PUBLISH, "clientId": "the-same-id"}
    result = invoke(request)
    assert result["seq"] == 1
    for body in (json.dumps(request), json.dumps(request).encode()):
        response = invoke(of_url(body))
        assert (response["statusCode"], json.loads(response["body"])) == (200, result)


@pytest.mark.parametrize("body", ["", "{", "[" * 100_000, "null", b"\xff", b"{}"])
def test_a_url_with_what_is_no_request(environment: Environment, body: str | bytes) -> None:
    """400, and the same words as ever."""
    response = invoke(of_url(body))
    assert response["statusCode"] == 400
    assert json.loads(response["body"])["error"]["code"] == "BAD_REQUEST"


def test_a_url_says_503_where_another_try_may_help(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not 400, which clients don't try again."""

    async def busy(*arguments: Any, **options: Any) -> Any:
        raise Refused("ROOM_BUSY", "busy", retry_after=1.0)

    monkeypatch.setattr("services.publishing.commit", busy)
    assert invoke(of_url(json.dumps(PUBLISH)))["statusCode"] == 503


def test_services_are_reviewed_where_the_deployment_says_so(environment: Environment) -> None:
    """By itself it trusts its own servers."""
    rain = {**PUBLISH, "message": "rain"}
    assert "error" not in invoke(rain)
    environment.settings = replace(environment.settings, review_services=True)
    assert invoke(rain)["error"]["code"] == "REJECTED"
