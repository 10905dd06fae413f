"""What comes of a handshake, by what the authorizer and `$connect` answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from local.api_events import Upgrade, connection_context
from local.functions import FunctionCrashed, FunctionError, FunctionTimeout
from local.handshake import Admission, Refusal, admit
from tests.unit.local.fakes import ALLOW, DENY, FakeFunction

NOW = 1_700_000_000_000
UPGRADE = Upgrade("", [("Host", "h")], "10.0.0.1")
CONTEXT = connection_context("conn=", UPGRADE, "dev", NOW)


async def outcome(authorizer: Any = ALLOW, connect: Any = None) -> Admission | Refusal:
    """What a handshake comes to."""
    answer = {"statusCode": 200} if connect is None else connect
    return await admit(FakeFunction(authorizer), FakeFunction(answer), CONTEXT, UPGRADE, NOW)


async def test_who_is_allowed_and_connected_is_let_in() -> None:
    """With the authorizer's context, and no subprotocol unless `$connect` names one."""
    admission = await outcome()
    assert isinstance(admission, Admission)
    assert (admission.authorizer["userId"], admission.subprotocol) == ("ada", None)


async def test_connect_knows_what_the_authorizer_said() -> None:
    """Its event carries the context."""
    connect = FakeFunction({"statusCode": 200})
    await admit(FakeFunction(ALLOW), connect, CONTEXT, UPGRADE, NOW)
    assert connect.events[0]["requestContext"]["authorizer"]["principalId"] == "ada"


@pytest.mark.parametrize("name", ["Sec-WebSocket-Protocol", "sec-websocket-protocol"])
async def test_connect_chooses_the_subprotocol(name: str) -> None:
    """By a header of its answer, in any case."""
    admission = await outcome(connect={"statusCode": 200, "headers": {name: "roomcast.v1"}})
    assert isinstance(admission, Admission)
    assert admission.subprotocol == "roomcast.v1"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (FunctionError("Exception", "Unauthorized"), 401),
        (DENY, 403),
        (FunctionError("Exception", "Unauthorized: expired"), 500),
        (FunctionTimeout("slow"), 500),
        (FunctionCrashed("dead"), 500),
        ({}, 500),
        ("yes", 500),
        ({"principalId": "ada", "policyDocument": "Allow"}, 500),
    ],
)
async def test_an_authorizer_that_does_not_allow_refuses(answer: Any, status: int) -> None:
    """401 for the one text, 403 for a deny, 500 for all that is no policy; `$connect` is not asked."""
    connect = FakeFunction({"statusCode": 200})
    refusal = await admit(FakeFunction(answer), connect, CONTEXT, UPGRADE, NOW)
    assert isinstance(refusal, Refusal)
    assert refusal.status == status
    assert connect.events == []


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        ({"statusCode": 403, "body": "You are banned"}, 403, "You are banned"),
        ({"statusCode": 400}, 400, '{"message": "Bad Request"}'),
        ({"statusCode": 302}, 302, '{"message": "Found"}'),
    ],
)
async def test_connects_status_refuses(answer: Any, status: int, body: str) -> None:
    """All but 2xx keeps the client out, with `$connect`'s own words where it has some."""
    assert await outcome(connect=answer) == Refusal(status, body)


@pytest.mark.parametrize("answer", [FunctionError("KeyError", "x"), FunctionTimeout("slow"), "ok", {"status": 200}, {}])
async def test_a_connect_that_fails_refuses_with_502(answer: Any) -> None:
    """And the client learns nothing of the reason."""
    refusal = await outcome(connect=answer)
    assert isinstance(refusal, Refusal)
    assert refusal.status == 502
    assert json.loads(refusal.body)["message"] == "Internal server error"
