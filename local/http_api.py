"""API Gateway's HTTP API in front of the function that takes deliveries to incoming webhooks: one route, whose events
are of payload format 2.0. docs/gateway.md says where AWS states the rules."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote

from aiohttp import web

from local.api_events import API_ID, new_id
from local.cloud import ACCOUNT
from local.functions import InvocationFailed
from local.handshake import INTEGRATION_SECONDS, Integration, IntegrationTimeout, invoke

__all__ = ["HOOKS", "HttpApi", "Posted", "http_event"]

HOOKS = "/hooks/"
"""What the paths of hooks begin with."""
ROUTE = "POST /hooks/{hook}"
"""The one route; all else is 404."""
STAGE = "$default"
_PATH = re.compile(r"/hooks/([^/]+)")
_TEXTS = frozenset({"application/json", "application/xml", "application/javascript"})
"""Content types of bodies that come as text, beside `text/…`."""


@dataclass(frozen=True, slots=True)
class Posted:
    """A request of the route."""

    path: str
    """As in the URL, percent-encoded."""
    query: str
    headers: Sequence[tuple[str, str]]
    body: bytes
    source_ip: str


class HttpApi:
    """The API and its stage. What it answers by itself has the words of API Gateway's."""

    def __init__(self, function: Integration, timeout: float = INTEGRATION_SECONDS) -> None:
        """`timeout`: seconds that the function has."""
        self._function = function
        self._timeout = timeout

    async def answer(self, request: web.BaseRequest, *, allowed: bool) -> web.Response:
        """Answer a request whose path begins with `HOOKS`. `allowed`: whether the account's rate has one for it."""
        if not allowed:
            return _own(429, "Too Many Requests")
        path, _, query = request.raw_path.partition("?")
        if request.method != "POST" or not _PATH.fullmatch(path):
            return _own(404, "Not Found")
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return _own(413, "Request Entity Too Large")
        except (ConnectionError, web.RequestPayloadError):  # who sends it is gone
            return web.Response(status=400)
        return await self._invoke(Posted(path, query, list(request.headers.items()), body, request.remote or ""))

    async def _invoke(self, posted: Posted) -> web.Response:
        try:
            answer = await invoke(self._function, http_event(posted, time.time_ns() // 1_000_000), self._timeout)
            return _response(answer)
        except IntegrationTimeout:
            return _own(503, "Service Unavailable")
        except (InvocationFailed, KeyError, TypeError, ValueError):
            return _own(500, "Internal Server Error")


def http_event(posted: Posted, now: int) -> dict[str, Any]:
    """The event of a request. `now` in milliseconds since 1970."""
    headers = _joined((name.lower(), value) for name, value in posted.headers)
    path = unquote(posted.path)
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": ROUTE,
        "rawPath": path,
        "rawQueryString": posted.query,
        "headers": headers,
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": API_ID,
            "domainName": headers.get("host", ""),
            "http": {
                "method": "POST",
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": posted.source_ip,
                "userAgent": headers.get("user-agent", ""),
            },
            "requestId": new_id(),
            "routeKey": ROUTE,
            "stage": STAGE,
            "time": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now / 1000)),
            "timeEpoch": now,
        },
        "pathParameters": {"hook": path.removeprefix(HOOKS)},
        "isBase64Encoded": False,
    }
    if posted.query:
        event["queryStringParameters"] = _joined(parse_qsl(posted.query, keep_blank_values=True))
    if posted.body:
        text = _is_text(headers)
        event["isBase64Encoded"] = not text
        event["body"] = posted.body.decode("utf-8", "replace") if text else base64.b64encode(posted.body).decode()
    return event


# ---- private


def _own(status: int, text: str) -> web.Response:
    """What API Gateway says by itself."""
    return web.Response(status=status, text=json.dumps({"message": text}), content_type="application/json")


def _joined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The values of a name that comes more than once, with commas between them."""
    joined: dict[str, str] = {}
    for name, value in pairs:
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined


def _is_text(headers: Mapping[str, str]) -> bool:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return (kind.startswith("text/") or kind in _TEXTS) and "content-encoding" not in headers


def _response(answer: Mapping[str, Any]) -> web.Response:
    """The function's answer in format 2.0, of which no other form is used here."""
    body = str(answer.get("body") or "")
    content = base64.b64decode(body) if answer.get("isBase64Encoded") else body.encode()
    return web.Response(status=int(answer["statusCode"]), body=content, headers=answer.get("headers") or {})
