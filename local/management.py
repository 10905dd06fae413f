"""What the twin has on its HTTP port: API Gateway's `@connections` and HTTP API, Lambda's Invoke, the page and the
dashboard. AWS's signatures are asked for but not verified."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import unquote

from aiohttp import web

from local.functions import FunctionError, InvocationFailed, Invoke
from local.http_api import HOOKS, HttpApi
from local.page import answer

__all__ = ["PAYLOAD_LIMIT", "Answer", "Management", "PostTally", "Sockets"]

PAYLOAD_LIMIT = 128 * 1024
"""Bytes in one post."""
DASHBOARD = "/dashboard"
"""What begins so is the dashboard's."""

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Sockets(Protocol):
    """The open connections. The methods answer with the HTTP status that API Gateway gives."""

    def allow(self) -> bool:
        """Take a token of the account's request rate; False if there is none."""
        ...

    def post(self, connection_id: str, message: bytes) -> int:
        """200; 410 where there is no open connection; 429 where its client's buffer is full; 500 if so ordered."""
        ...

    def describe(self, connection_id: str) -> dict[str, Any] | None:
        """The answer to GET; None where there is no open connection."""
        ...

    def close(self, connection_id: str) -> int:
        """204, or 410."""
        ...


@dataclass(slots=True)
class PostTally:
    """Posts by their answers: 200, 410, 429, and all others."""

    sent: int = 0
    gone: int = 0
    throttled: int = 0
    failed: int = 0


class Management:
    """The HTTP side of a gateway."""

    def __init__(
        self,
        stage: str,
        sockets: Sockets,
        *,
        ws_url: Callable[[], str],
        status: Callable[[], Awaitable[dict[str, Any]]],
        post_latency: Callable[[], float] | None = None,
        functions: Mapping[str, Invoke] | None = None,
        http_api: HttpApi | None = None,
        dashboard: Answer | None = None,
        auth: str = "demo",
    ) -> None:
        """`post_latency`: seconds that the next post takes before it is answered. `functions`: name → what may be
        invoked. `http_api`: what answers where hooks are. `dashboard`: likewise. `auth`: how users are known, which the
        page is told."""
        self.posts = PostTally()
        self._prefix = f"/{stage}/@connections/"
        self._sockets = sockets
        self._ws_url = ws_url
        self._status = status
        self._post_latency = post_latency
        self._functions = functions or {}
        self._http_api = http_api
        self._dashboard = dashboard
        self._auth = auth

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        path = unquote(request.raw_path.partition("?")[0])
        if path.startswith(self._prefix) and "Authorization" in request.headers:
            connection_id = path[len(self._prefix) :]
            if request.method == "POST":
                return await self._post(connection_id, request)
            return self._other(connection_id, request.method)
        invocation = _INVOCATION.fullmatch(path)
        if invocation and request.method == "POST" and "Authorization" in request.headers:
            return await self._invoke(invocation[1], request)
        if self._http_api is not None and path.startswith(HOOKS):
            return await self._http_api.answer(request, allowed=self._sockets.allow())
        if self._dashboard is not None and path.startswith(DASHBOARD):
            return await self._dashboard(request)
        return await self._show(path) if request.method == "GET" else _error(403)

    async def _show(self, path: str) -> web.Response:
        if path == "/twin":
            return web.json_response(await self._status())
        page = answer(path, self._ws_url(), auth=self._auth)
        return page if page is not None else _error(403)

    async def _post(self, connection_id: str, request: web.BaseRequest) -> web.Response:
        posts = self.posts
        if (request.content_length or 0) > PAYLOAD_LIMIT:
            posts.failed += 1
            return _error(413)
        try:
            message = await request.read()
        except (ConnectionError, web.RequestPayloadError):
            # The caller went away within its post, or lost its thread: nobody is there who reads the answer.
            posts.failed += 1
            return web.Response(status=400)
        if len(message) > PAYLOAD_LIMIT:  # sent in chunks, without a length
            posts.failed += 1
            return _error(413)
        if self._post_latency is not None:
            await asyncio.sleep(self._post_latency())
        status = self._sockets.post(connection_id, message) if self._sockets.allow() else 429
        if status == 200:
            posts.sent += 1
            return web.Response()
        if status == 410:
            posts.gone += 1
        elif status == 429:
            posts.throttled += 1
        else:
            posts.failed += 1
        return _error(status)

    async def _invoke(self, name: str, request: web.BaseRequest) -> web.Response:
        """As Lambda answers: a function that fails is a success of the call, told by a header."""
        if name not in self._functions:
            return _error(404)
        if request.headers.get("X-Amz-Invocation-Type", "RequestResponse") != "RequestResponse":
            return _error(400)
        try:
            event = json.loads(await request.read())
        except (ValueError, RecursionError, ConnectionError, web.RequestPayloadError):
            return _error(400)
        try:
            return web.json_response(await self._functions[name](event))
        except InvocationFailed as error:
            kind, text = (error.type, error.message) if isinstance(error, FunctionError) else ("", str(error))
            failed = {"errorMessage": text} | ({"errorType": kind} if kind else {})
            return web.json_response(failed, headers={"X-Amz-Function-Error": "Unhandled"})

    def _other(self, connection_id: str, method: str) -> web.Response:
        if method not in {"GET", "DELETE"}:
            return _error(403)
        if not self._sockets.allow():
            return _error(429)
        if method == "DELETE":
            status = self._sockets.close(connection_id)
            return web.Response(status=204) if status == 204 else _error(status)
        description = self._sockets.describe(connection_id)
        return _error(410) if description is None else web.json_response(description)


_INVOCATION = re.compile(r"/2015-03-31/functions/([\w-]+)/invocations")
"""https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html"""
_ERRORS = {
    400: ("InvalidRequestContentException", "Invoke with JSON, and wait for the answer (RequestResponse)"),
    403: ("ForbiddenException", "Forbidden"),
    404: ("ResourceNotFoundException", "Function not found"),
    410: ("GoneException", "Gone"),
    413: ("PayloadTooLargeException", "Payload too large"),
    429: ("LimitExceededException", "Limit exceeded"),
    500: ("InternalServerErrorException", "Internal server error"),
}


def _error(status: int) -> web.Response:
    # The SDKs read the kind of error from the header: https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html
    kind, text = _ERRORS[status]
    body = json.dumps({"message": text})
    return web.Response(status=status, text=body, content_type="application/json", headers={"x-amzn-ErrorType": kind})
