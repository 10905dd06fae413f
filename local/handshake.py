"""What API Gateway does before a socket opens: it asks the authorizer, then runs `$connect`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol

from local.api_events import Upgrade, authorizer_context, authorizer_event, connect_event, is_allowed
from local.functions import FunctionError, InvocationFailed

__all__ = [
    "INTEGRATION_SECONDS",
    "Admission",
    "Integration",
    "IntegrationTimeout",
    "Refusal",
    "admit",
    "failure",
    "invoke",
]

INTEGRATION_SECONDS = 29.0
"""The longest that a function may take to answer, its queue before it included."""


class Integration(Protocol):
    """A function behind a route."""

    async def invoke(self, event: Any) -> Any:
        """The function's result; raises `InvocationFailed`."""
        ...


class IntegrationTimeout(InvocationFailed):
    """The integration's time was over, waiting for a free environment included."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The HTTP answer to a handshake that is not let in."""

    status: int
    body: str

    @classmethod
    def of(cls, status: int, text: str) -> Refusal:
        return cls(status, json.dumps({"message": text}))


@dataclass(frozen=True, slots=True)
class Admission:
    """A handshake that is let in."""

    authorizer: dict[str, str]
    """What every later event carries as `requestContext.authorizer`."""
    subprotocol: str | None


async def admit(
    authorizer: Integration,
    connect: Integration,
    context: Mapping[str, Any],
    upgrade: Upgrade,
    now: int,
    *,
    timeout: float = INTEGRATION_SECONDS,
) -> Admission | Refusal:
    """Let a client in, or not. `now` is in milliseconds since 1970; `timeout` is for each function, in seconds."""
    allowed = await _authorize(authorizer, authorizer_event(context, upgrade, now), timeout)
    if isinstance(allowed, Refusal):
        return allowed
    event = connect_event({**context, "authorizer": allowed}, upgrade, now)
    try:
        answer = await invoke(connect, event, timeout)
        status = int(answer["statusCode"])
    except IntegrationTimeout:
        return Refusal(504, failure("Endpoint request timed out", event))
    except (InvocationFailed, KeyError, TypeError, ValueError):
        return Refusal(502, failure("Internal server error", event))
    if not 200 <= status < 300:
        body = answer.get("body")
        return Refusal(status, str(body)) if body else Refusal.of(status, _phrase(status))
    headers: Mapping[str, str] = answer.get("headers") or {}
    chosen = (value for name, value in headers.items() if name.lower() == "sec-websocket-protocol")
    return Admission(allowed, next(chosen, None))


async def _authorize(authorizer: Integration, event: dict[str, Any], timeout: float) -> dict[str, str] | Refusal:
    try:
        answer = await invoke(authorizer, event, timeout)
        if not is_allowed(answer):
            return Refusal.of(403, "User is not authorized to access this resource")
        return authorizer_context(answer)
    except FunctionError as error:
        if error.message == "Unauthorized":  # the one text that API Gateway reads
            return Refusal.of(401, "Unauthorized")
        return Refusal(500, failure("Internal server error", event))
    except (InvocationFailed, KeyError, TypeError, AttributeError):
        return Refusal(500, failure("Internal server error", event))


async def invoke(function: Integration, event: Any, timeout: float) -> Any:
    """The function's result; raises `InvocationFailed`, after `timeout` seconds as `IntegrationTimeout`."""
    try:
        async with asyncio.timeout(timeout):
            return await function.invoke(event)
    except TimeoutError:
        raise IntegrationTimeout(f"no answer within {timeout:g} s") from None


def failure(text: str, event: Mapping[str, Any]) -> str:
    """What a client gets in place of a function's answer."""
    context = event["requestContext"]
    return json.dumps({"message": text, "connectionId": context["connectionId"], "requestId": context["requestId"]})


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase if status in set(HTTPStatus) else "Refused"
