"""API Gateway's WebSocket side in one process: sockets, routes, and `@connections` beside them.

The rules are the real ones: the authorizer and `$connect` run before the 101, and until then, and after the close, a
post gets 410; requests of one connection run side by side; what a function returns as `body` is the client's answer.
Each rule stands in docs/gateway.md with the document of AWS that states it. Every time is the clock's.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import resource
import socket
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from aiohttp import web
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from adapters.runtime import SystemClock
from domain.errors import BadSetting
from domain.ports import Clock
from local.api_events import Upgrade, connection_context, disconnect_event, message_event, new_id
from local.functions import InvocationFailed, Invoke
from local.handshake import INTEGRATION_SECONDS, Integration, IntegrationTimeout, Refusal, admit, failure, invoke
from local.http_api import HttpApi
from local.management import Answer, Management, PostTally
from local.sockets import (
    FRAME_LIMIT,
    MESSAGE_LIMIT,
    ConnectionSocket,
    GatewayConnection,
    billed_messages,
    respond,
)
from local.throttle import TokenBucket

__all__ = ["Gateway", "GatewayTally", "listen"]

BURST = 5_000
RATE = 10_000.0
"""Requests a second, and the bucket, of one account and Region: clients' messages, handshakes and `@connections`."""
IDLE_MS = 10 * 60 * 1000
LIFETIME_MS = 2 * 3600 * 1000
SWEEP_SECONDS = 5.0
"""How often connections are looked at for the two limits above."""
CLOSE_SECONDS = 1.0
"""How long a client may take to answer a close frame."""
STOP_SECONDS = 2.0
"""How long requests under way, and the `$disconnect`s of a stop, may take."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class GatewayTally:
    """What a gateway has done since it was made."""

    connects: int = 0
    refused: int = 0
    """Handshakes that were answered with an HTTP error."""
    disconnects: int = 0
    """`$disconnect` events, those under way too."""
    lost_disconnects: int = 0
    """Those that never came: ordered by `lose_disconnects`, or no environment was free in time."""
    messages_in: int = 0
    """Frames of clients, in steps of 32 KB."""
    messages_out: int = 0
    """Route responses and posts, in steps of 32 KB."""
    route_responses: int = 0
    dropped: int = 0
    """Route responses to a client that does not read."""
    throttled: int = 0
    """Clients' messages and handshakes beyond the rate."""


def listen(port: int) -> socket.socket:
    """A listening socket on 127.0.0.1; port 0 is any free one. Raises `BadSetting` where the port is taken."""
    try:
        listener = socket.create_server(("127.0.0.1", port), backlog=1024)
    except OSError as error:
        raise BadSetting(f"port {port} on 127.0.0.1 can't be used ({error.strerror}); name another, or 0") from None
    # Whom it accepts inherits it. asyncio would set it, but does not see that a socket made like this is TCP's.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


class Gateway:
    """A WebSocket API with one stage. It implements `Sockets` for its `@connections`."""

    def __init__(
        self,
        *,
        authorizer: Integration,
        connect: Integration,
        disconnect: Integration,
        message: Integration,
        ws: socket.socket,
        http: socket.socket,
        stage: str = "dev",
        rate: float = RATE,
        burst: float = BURST,
        integration_timeout: float = INTEGRATION_SECONDS,
        post_latency: Callable[[], float] | None = None,
        lose_disconnects: bool = False,
        clock: Clock | None = None,
        status: Callable[[], Awaitable[dict[str, Any]]] | None = None,
        functions: Mapping[str, Invoke] | None = None,
        http_api: HttpApi | None = None,
        dashboard: Answer | None = None,
        auth: str = "demo",
    ) -> None:
        """`ws` and `http` come from `listen`, and are closed by `stop`.

        `integration_timeout`: seconds for a function to answer, a stage's setting between 0.05 and 29.
        `post_latency` gives the seconds that the next post takes; `status` what `GET /twin` answers; `functions` those
        that may be invoked over HTTP, by name; `http_api` and `dashboard` what is beside it on its port; `auth` how the
        authorizer knows users, which the page is told.
        """
        self.lose_disconnects = lose_disconnects
        """Whether `$disconnect` never comes; may be changed at any time."""
        self.on_post: Callable[[bytes], None] | None = None
        """Is told each post that was handed to a socket; may be changed at any time."""
        self.tally = GatewayTally()
        self._authorizer = authorizer
        self._connect = connect
        self._disconnect = disconnect
        self._message = message
        self._listeners = ws, http
        self._stage = stage
        self._integration_timeout = integration_timeout
        self._clock = clock or SystemClock()
        self._bucket = TokenBucket(rate, burst, self._clock)
        self._status = status or self._own_status
        self._management = Management(
            stage,
            self,
            ws_url=lambda: self.ws_url,
            status=self._status,
            post_latency=post_latency,
            functions=functions,
            http_api=http_api,
            dashboard=dashboard,
            auth=auth,
        )
        self._connections: dict[str, GatewayConnection] = {}
        self._pending: dict[ServerConnection, asyncio.Task[Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.Task[None] | None = None
        self._server: Server | None = None
        self._runner: web.ServerRunner | None = None
        self.ws_url = f"ws://127.0.0.1:{ws.getsockname()[1]}/{stage}"
        self.page_url = f"http://127.0.0.1:{http.getsockname()[1]}/"
        self.management_endpoint = f"{self.page_url}{stage}"

    @property
    def posts(self) -> PostTally:
        return self._management.posts

    @property
    def open_connections(self) -> int:
        return len(self._connections)

    def throttle(self, rate: float, burst: float) -> None:
        """From now on the account has this rate, and a full bucket."""
        self._bucket = TokenBucket(rate, burst, self._clock)

    @property
    def account(self) -> tuple[float, float]:
        """Its rate, and its bucket."""
        return self._bucket.rate, self._bucket.burst

    def drop(self, count: int) -> int:
        """Cut so many connections, any, without a close frame, as a network that is lost does; how many there were."""
        chosen = random.sample(list(self._connections.values()), min(count, len(self._connections)))
        for it in chosen:
            it.socket.transport.abort()
        return len(chosen)

    async def start(self) -> None:
        """Serve both ports."""
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with suppress(ValueError):  # some systems name a limit that they do not grant
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # each socket is a file
        ws, http = self._listeners
        # A post is handed on as it comes: nothing in it is for the gateway to unpack.
        management = web.Server(self._management.handle, access_log=None, auto_decompress=False)
        self._runner = web.ServerRunner(management, shutdown_timeout=CLOSE_SECONDS)
        await self._runner.setup()
        await web.SockSite(self._runner, http).start()
        self._server = await serve(
            self._serve,
            sock=ws,
            process_request=self._handshake,
            process_response=self._choose_subprotocol,
            create_connection=ConnectionSocket,
            compression=None,
            server_header=None,
            max_size=(MESSAGE_LIMIT, FRAME_LIMIT),
            open_timeout=2 * INTEGRATION_SECONDS,
            ping_interval=None,  # API Gateway sends none
            close_timeout=CLOSE_SECONDS,
        )
        self._sweeper = asyncio.create_task(self._sweep())

    async def stop(self) -> None:
        """Close all sockets with 1001, let requests and `$disconnect`s end, and close both ports."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._server is not None:
            self._server.close()
            for pending, task in list(self._pending.items()):
                task.cancel()
                pending.transport.abort()
            await self._server.wait_closed()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_SECONDS)
        for unfinished in self._tasks:
            unfinished.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()
        for listener in self._listeners:
            listener.close()

    def close_expired(self) -> None:
        """Close with 1001 the connections that were idle for 10 minutes or open for 2 hours."""
        now = self._clock.now()
        for it in list(self._connections.values()):
            if now - it.active_at >= IDLE_MS or now - it.connected_at >= LIFETIME_MS:
                self._close(it, 1001, "Going away")

    # ---- @connections

    def allow(self) -> bool:
        return self._bucket.take()

    def post(self, connection_id: str, message: bytes) -> int:
        connection = self._connections.get(connection_id)
        if connection is None or not connection.is_open:
            return 410
        if connection.is_full:
            return 429
        self._send(connection, message)
        if self.on_post is not None:
            self.on_post(message)
        return 200

    def describe(self, connection_id: str) -> dict[str, Any] | None:
        connection = self._connections.get(connection_id)
        return None if connection is None else connection.description()

    def close(self, connection_id: str) -> int:
        connection = self._connections.get(connection_id)
        if connection is None:
            return 410
        self._close(connection, 1000, "Connection Closed Normally")
        return 204

    def _send(self, connection: GatewayConnection, message: bytes) -> None:
        connection.active_at = self._clock.now()
        self.tally.messages_out += billed_messages(len(message))
        self._deliver(connection.id, message)

    def _deliver(self, connection_id: str, frame: bytes) -> None:
        """Hand a message to an open socket. A test's gateway overrides this to lose one."""
        self._connections[connection_id].write(frame)

    # ---- the handshake

    async def _handshake(self, socket: ServerConnection, request: Request) -> Response | None:
        """The HTTP answer to a request on the sockets' port; None lets it go on to the 101."""
        path, _, query = request.path.partition("?")
        if not any("websocket" in it.lower() for it in request.headers.get_all("Upgrade")):
            if path == "/twin":
                return respond(socket, 200, json.dumps(await self._status()))
            return None  # which the library answers with 426
        if path.rstrip("/") != f"/{self._stage}":
            return self._refuse(socket, Refusal.of(403, "Forbidden"))
        if not self._bucket.take():
            self.tally.throttled += 1
            return self._refuse(socket, Refusal.of(429, "Too Many Requests"))
        upgrade = Upgrade(query, list(request.headers.raw_items()), socket.remote_address[0])
        now = self._clock.now()
        connection_id = new_id()
        context = connection_context(connection_id, upgrade, self._stage, now)
        connection = cast("ConnectionSocket", socket).open_for(
            GatewayConnection(connection_id, socket, context, now), self._lost
        )
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # a coroutine runs in a task
        self._pending[socket] = task
        try:
            outcome = await admit(
                self._authorizer, self._connect, context, upgrade, now, timeout=self._integration_timeout
            )
        finally:
            del self._pending[socket]
        if isinstance(outcome, Refusal):
            return self._refuse(socket, outcome)
        context["authorizer"] = outcome.authorizer
        connection.subprotocol = outcome.subprotocol
        connection.admitted = True
        if connection.lost:  # the client left while `$connect` ran
            self._owe_disconnect(connection)
        return None

    def _choose_subprotocol(self, socket: ServerConnection, request: Request, response: Response) -> None:
        """Name the subprotocol that `$connect` chose, and none if it chose none."""
        connection = cast("ConnectionSocket", socket).connection
        if response.status_code == 101 and connection is not None and connection.subprotocol is not None:
            response.headers["Sec-WebSocket-Protocol"] = connection.subprotocol
            socket.protocol.subprotocol = Subprotocol(connection.subprotocol)

    def _refuse(self, socket: ServerConnection, refusal: Refusal) -> Response:
        self.tally.refused += 1
        return respond(socket, refusal.status, refusal.body)

    # ---- an open socket

    async def _serve(self, socket: ServerConnection) -> None:
        connection = cast("ConnectionSocket", socket).connection
        assert connection is not None  # noqa: S101  # no 101 without a handshake
        self.tally.connects += 1
        self._connections[connection.id] = connection
        try:
            while True:
                frame = await socket.recv()
                if isinstance(frame, bytes):
                    del self._connections[connection.id]
                    await socket.close(1003, "Binary frames are not supported")
                    return
                self._receive(connection, frame)
        except ConnectionClosed:
            pass  # `_lost` has been told

    def _receive(self, connection: GatewayConnection, text: str) -> None:
        connection.active_at = self._clock.now()
        self.tally.messages_in += billed_messages(len(text.encode()))
        event = message_event(connection.context, text, connection.active_at)
        if self._bucket.take():
            self._spawn(self._answer(connection, event))
        else:
            self.tally.throttled += 1
            self._fail(connection, "Too Many Requests", event)

    async def _answer(self, connection: GatewayConnection, event: dict[str, Any]) -> None:
        try:
            result = await invoke(self._message, event, self._integration_timeout)
        except IntegrationTimeout:
            self._fail(connection, "Endpoint request timed out", event)
            return
        except InvocationFailed:
            self._fail(connection, "Internal server error", event)
            return
        body = result.get("body") if isinstance(result, dict) else None
        if isinstance(body, str) and body:
            message = body.encode("utf-8", "replace")
            if len(message) <= MESSAGE_LIMIT:
                self._reply(connection, message)
            else:
                self._fail(connection, "Internal server error", event)

    def _fail(self, connection: GatewayConnection, text: str, event: dict[str, Any]) -> None:
        self._reply(connection, failure(text, event).encode())

    def _reply(self, connection: GatewayConnection, message: bytes) -> None:
        """Send a route response, unless the client has gone or does not read."""
        if connection.id not in self._connections or not connection.is_open:
            return
        if connection.is_full:
            self.tally.dropped += 1
            return
        self.tally.route_responses += 1
        self._send(connection, message)

    def _close(self, connection: GatewayConnection, code: int, reason: str) -> None:
        # At once for posts; the closing handshake takes its time.
        self._connections.pop(connection.id, None)
        self._spawn(connection.socket.close(code, reason))

    def _lost(self, connection: GatewayConnection) -> None:
        connection.lost = True
        self._connections.pop(connection.id, None)
        if connection.admitted:
            self._owe_disconnect(connection)

    def _owe_disconnect(self, connection: GatewayConnection) -> None:
        if self.lose_disconnects:
            self.tally.lost_disconnects += 1
            return
        self.tally.disconnects += 1
        close = connection.socket.protocol.close_sent or connection.socket.protocol.close_rcvd
        code, reason = (close.code, close.reason) if close else (1006, "Connection closed abnormally")
        if code == 1005:
            reason = "Client-side close frame status not set"
        self._spawn(self._disconnected(disconnect_event(connection.context, code, reason, self._clock.now())))

    async def _disconnected(self, event: dict[str, Any]) -> None:
        try:
            await invoke(self._disconnect, event, self._integration_timeout)
        except IntegrationTimeout as error:
            # Too many at once for the function's environments: it will not come.
            self.tally.disconnects -= 1
            self.tally.lost_disconnects += 1
            if self.tally.lost_disconnects == 1:  # thousands may follow: GET /twin counts them
                _log.warning("$disconnect: %s", error)
        except InvocationFailed as error:
            _log.warning("$disconnect: %s", error)  # nobody is there to be told

    # ---- private

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _sweep(self) -> None:
        while True:
            await self._clock.sleep(SWEEP_SECONDS)
            self.close_expired()

    async def _own_status(self) -> dict[str, Any]:
        return {"ws": self.ws_url, "management": self.management_endpoint, "page": self.page_url}
