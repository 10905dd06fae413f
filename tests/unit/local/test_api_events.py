"""The events of a WebSocket API."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from domain.requests import REQUESTS
from local.api_events import (
    ROUTES,
    Upgrade,
    authorizer_context,
    authorizer_event,
    connect_event,
    connection_context,
    disconnect_event,
    is_allowed,
    message_event,
    new_id,
    select_route,
)
from tests.unit.local.fakes import ALLOW, DENY

NOW = 1_700_000_000_123
UPGRADE = Upgrade(
    "roomId=caf%C3%A9&tag=a&tag=b&empty=",
    [("Host", "h:1"), ("User-Agent", "test"), ("Sec-WebSocket-Protocol", "x"), ("Sec-WebSocket-Protocol", "y")],
    "10.0.0.1",
)
CONTEXT = connection_context("conn=", UPGRADE, "dev", NOW)


def test_a_connection_id_looks_like_api_gateways() -> None:
    """15 characters of Base64 and one `=`, never the same twice."""
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(it) == 16 and it.endswith("=") and it[14] != "=" for it in ids)
    assert all(len(base64.b64decode(it, validate=True)) == 11 for it in ids)


@pytest.mark.parametrize(
    ("frame", "route"),
    [
        ('{"type":"chat"}', "chat"),
        ('{"type":"join_room","roomId":"x"}', "join_room"),
        ('{"type":"private_message"}', "private_message"),
        ('{"type":"history"}', "$default"),
        ('{"type":"$connect"}', "$default"),
        ('{"type":["chat"]}', "$default"),
        ('{"message":"chat"}', "$default"),
        ('["chat"]', "$default"),
        ("chat", "$default"),
        ("", "$default"),
        ("[" * 20_000, "$default"),
    ],
)
def test_the_type_of_a_frame_selects_its_route(frame: str, route: str) -> None:
    """`$request.body.type` where it names a route; `$default` for all else, whatever it is."""
    assert select_route(frame) == route


def test_every_route_of_the_request_table_is_there() -> None:
    """A request type that names a route of its own finds it."""
    assert {it.route for it in REQUESTS.values()} <= ROUTES | {"$default"}


def test_the_handshakes_query_and_headers_reach_authorizer_and_connect() -> None:
    """Decoded; the last value of a name, and all of them."""
    for event in (authorizer_event(CONTEXT, UPGRADE, NOW), connect_event(CONTEXT, UPGRADE, NOW)):
        assert event["queryStringParameters"] == {"roomId": "café", "tag": "b", "empty": ""}
        assert event["multiValueQueryStringParameters"]["tag"] == ["a", "b"]
        assert event["headers"]["Sec-WebSocket-Protocol"] == "y"
        assert event["multiValueHeaders"]["Sec-WebSocket-Protocol"] == ["x", "y"]
        assert event["requestContext"]["eventType"] == "CONNECT"
        assert event["requestContext"]["routeKey"] == "$connect"


def test_connect_without_a_query_has_no_query_fields() -> None:
    """API Gateway leaves them out."""
    event = connect_event(CONTEXT, Upgrade("", UPGRADE.headers, "10.0.0.1"), NOW)
    assert "queryStringParameters" not in event


def test_the_authorizer_is_asked_about_one_resource() -> None:
    """A REQUEST authorizer's event names the method."""
    event = authorizer_event(CONTEXT, UPGRADE, NOW)
    assert event["type"] == "REQUEST"
    assert event["methodArn"] == "arn:aws:execute-api:us-east-1:000000000000:twin/dev/$connect"


def test_a_message_carries_its_connection_and_a_request_of_its_own() -> None:
    """Who, when, by which route, and the frame as text; ids differ from message to message."""
    first, second = (message_event(CONTEXT, '{"type":"chat"}', NOW) for _ in range(2))
    context = first["requestContext"]
    assert (context["connectionId"], context["connectedAt"], context["stage"]) == ("conn=", NOW, "dev")
    assert context["identity"] == {"sourceIp": "10.0.0.1", "userAgent": "test"}
    assert (context["routeKey"], context["eventType"], context["messageDirection"]) == ("chat", "MESSAGE", "IN")
    assert (context["requestTime"], context["requestTimeEpoch"]) == ("14/Nov/2023:22:13:20 +0000", NOW)
    assert (first["body"], first["isBase64Encoded"]) == ('{"type":"chat"}', False)
    assert context["requestId"] != second["requestContext"]["requestId"]
    assert context["messageId"] != second["requestContext"]["messageId"]
    json.dumps(first)


def test_a_disconnect_says_why() -> None:
    """Code and reason of the close."""
    context = disconnect_event(CONTEXT, 1001, "Going away", NOW)["requestContext"]
    assert (context["routeKey"], context["eventType"]) == ("$disconnect", "DISCONNECT")
    assert (context["disconnectStatusCode"], context["disconnectReason"]) == (1001, "Going away")


def test_an_authorizers_context_becomes_strings() -> None:
    """As API Gateway hands it on, with the principal beside it."""
    assert authorizer_context(ALLOW) == {"userId": "ada", "admin": "true", "level": "3", "principalId": "ada"}


@pytest.mark.parametrize(
    ("answer", "allowed"), [(ALLOW, True), (DENY, False), ({"policyDocument": {"Statement": []}}, False)]
)
def test_only_a_policy_that_allows_lets_in(answer: dict[str, Any], allowed: bool) -> None:
    """Deny, or nothing said, keeps the client out."""
    assert is_allowed(answer) is allowed
