"""The events that API Gateway sends to the functions of a WebSocket API: values in, values out. Times are in ms."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from local.cloud import ACCOUNT, REGION

__all__ = [
    "ROUTES",
    "Upgrade",
    "authorizer_context",
    "authorizer_event",
    "connect_event",
    "connection_context",
    "disconnect_event",
    "is_allowed",
    "message_event",
    "new_id",
    "select_route",
]

API_ID = "twin"
ROUTES = frozenset({"chat", "join_room", "private_message"})
"""The values of `$request.body.type` that have a route of their own; all others take `$default`."""


@dataclass(frozen=True, slots=True)
class Upgrade:
    """What a client's handshake says."""

    query: str
    """As in the URL, percent-encoded."""
    headers: Sequence[tuple[str, str]]
    source_ip: str

    def header(self, name: str) -> str:
        """The last value of a header; empty where there is none."""
        return next((value for it, value in reversed(self.headers) if it.lower() == name), "")


def new_id() -> str:
    """An id as API Gateway makes them: 15 characters of Base64 and `=`; there may be `+` and `/` in it."""
    return base64.b64encode(os.urandom(11)).decode()


def connection_context(connection_id: str, upgrade: Upgrade, stage: str, connected_at: int) -> dict[str, Any]:
    """The part of `requestContext` that all events of a connection share; `authorizer` is added once it is known."""
    return {
        "connectionId": connection_id,
        "connectedAt": connected_at,
        "identity": {"sourceIp": upgrade.source_ip, "userAgent": upgrade.header("user-agent")},
        "domainName": upgrade.header("host"),
        "stage": stage,
        "apiId": API_ID,
    }


def authorizer_event(context: Mapping[str, Any], upgrade: Upgrade, now: int) -> dict[str, Any]:
    """The event of a REQUEST authorizer at `$connect`."""
    resource = f"{API_ID}/{context['stage']}/$connect"
    return {
        "type": "REQUEST",
        "methodArn": f"arn:aws:execute-api:{REGION}:{ACCOUNT}:{resource}",
        **_handshake(upgrade),
        "stageVariables": {},
        "requestContext": _request(context, "$connect", "CONNECT", now),
    }


def connect_event(context: Mapping[str, Any], upgrade: Upgrade, now: int) -> dict[str, Any]:
    """The event of the `$connect` route. Without a query there are no query fields, as on AWS."""
    handshake = {name: value for name, value in _handshake(upgrade).items() if value}
    return {**handshake, "requestContext": _request(context, "$connect", "CONNECT", now), "isBase64Encoded": False}


def message_event(context: Mapping[str, Any], text: str, now: int) -> dict[str, Any]:
    """The event of a text frame."""
    request = _request(context, select_route(text), "MESSAGE", now)
    return {"requestContext": {**request, "messageId": new_id()}, "body": text, "isBase64Encoded": False}


def disconnect_event(context: Mapping[str, Any], code: int, reason: str, now: int) -> dict[str, Any]:
    """The event of the `$disconnect` route."""
    request = _request(context, "$disconnect", "DISCONNECT", now)
    return {
        "headers": {"Host": context["domainName"], "x-api-key": "", "x-restapi": ""},
        "requestContext": {**request, "disconnectStatusCode": code, "disconnectReason": reason},
        "isBase64Encoded": False,
    }


def select_route(text: str) -> str:
    """The route that `$request.body.type` selects for a frame."""
    try:
        kind = _decoder.decode(text).type
    except (msgspec.MsgspecError, RecursionError):
        return "$default"
    return kind if isinstance(kind, str) and kind in ROUTES else "$default"


def is_allowed(answer: Any) -> bool:
    """Whether an authorizer's policy lets the client in. Raises `TypeError` or `KeyError` where it is no policy."""
    statements = answer["policyDocument"]["Statement"]
    return bool(statements) and all(it["Effect"] == "Allow" for it in statements)


def authorizer_context(answer: Mapping[str, Any]) -> dict[str, str]:
    """What later events carry of an authorizer's answer: its context as strings, and the principal."""
    context = {name: _text(value) for name, value in (answer.get("context") or {}).items()}
    return {**context, "principalId": str(answer["principalId"])}


# ---- private


class _Typed(msgspec.Struct):
    type: Any = None


_decoder = msgspec.json.Decoder(_Typed)


def _request(context: Mapping[str, Any], route: str, kind: str, now: int) -> dict[str, Any]:
    request_id = new_id()
    return {
        **context,
        "routeKey": route,
        "eventType": kind,
        "messageDirection": "IN",
        "requestId": request_id,
        "extendedRequestId": request_id,
        "requestTime": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now / 1000)),
        "requestTimeEpoch": now,
    }


def _handshake(upgrade: Upgrade) -> dict[str, Any]:
    query = parse_qsl(upgrade.query, keep_blank_values=True)
    return {
        "headers": dict(upgrade.headers),
        "multiValueHeaders": _grouped(upgrade.headers),
        "queryStringParameters": dict(query),
        "multiValueQueryStringParameters": _grouped(query),
    }


def _grouped(pairs: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for name, value in pairs:
        grouped.setdefault(name, []).append(value)
    return grouped


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
