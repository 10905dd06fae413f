"""The events of an HTTP API, in payload format 2.0."""

from __future__ import annotations

import base64

import pytest

from local.http_api import Posted, http_event

NOW = 1_700_000_000_123
HEADERS = [("Host", "h:1"), ("User-Agent", "test"), ("Webhook-Id", "a"), ("webhook-id", "b")]


def test_what_an_event_says() -> None:
    """The route and its parameter, decoded; names of headers in small letters, and the values of one name in one."""
    event = http_event(Posted("/hooks/caf%C3%A9~1", "x=1&x=2&y=", HEADERS, b"", "192.0.2.1"), NOW)
    assert (event["version"], event["routeKey"]) == ("2.0", "POST /hooks/{hook}")
    assert (event["rawPath"], event["pathParameters"]) == ("/hooks/café~1", {"hook": "café~1"})
    assert event["headers"] == {"host": "h:1", "user-agent": "test", "webhook-id": "a,b"}
    assert (event["rawQueryString"], event["queryStringParameters"]) == ("x=1&x=2&y=", {"x": "1,2", "y": ""})
    context = event["requestContext"]
    assert (context["stage"], context["timeEpoch"]) == ("$default", NOW)
    assert context["http"] == {
        "method": "POST", "path": "/hooks/café~1", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "test",
    }  # fmt: skip
    assert ("body" in event, event["isBase64Encoded"]) == (False, False)


@pytest.mark.parametrize(
    ("kind", "encoding", "text"),
    [
        ("application/json", None, True),
        ("Application/JSON; charset=utf-8", None, True),
        ("text/plain", None, True),
        ("application/x-www-form-urlencoded", None, False),
        ("application/octet-stream", None, False),
        (None, None, False),
        ("application/json", "gzip", False),
    ],
)
def test_bodies_are_text_or_base64(kind: str | None, encoding: str | None, text: bool) -> None:
    """By what the sender says of them, not by what they are."""
    said = {"Content-Type": kind, "Content-Encoding": encoding}
    headers = [(name, value) for name, value in said.items() if value is not None]
    event = http_event(Posted("/hooks/x", "", headers, b"{}", "192.0.2.1"), NOW)
    assert event["isBase64Encoded"] is not text
    assert event["body"] == ("{}" if text else base64.b64encode(b"{}").decode())
