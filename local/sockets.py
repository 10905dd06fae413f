"""The sockets of a gateway: what it knows of a connection, and how messages reach the client."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.http11 import Response
from websockets.protocol import State

__all__ = [
    "BUFFER_LIMIT",
    "FRAME_LIMIT",
    "MESSAGE_LIMIT",
    "ConnectionSocket",
    "GatewayConnection",
    "billed_messages",
    "respond",
]

FRAME_LIMIT = 32 * 1024
MESSAGE_LIMIT = 128 * 1024
"""Bytes, either way; from a client, more than either closes the socket with 1009."""
BUFFER_LIMIT = 1024 * 1024
"""Bytes that may wait for a client that does not read. API Gateway does not say how many."""


@dataclass(slots=True, eq=False)
class GatewayConnection:
    """A client at the gateway, from its handshake on. Times are milliseconds since 1970."""

    id: str
    socket: ServerConnection
    context: dict[str, Any]
    """What all its events share."""
    active_at: int
    """When the last message came or went."""
    admitted: bool = False
    """`$connect` has let it in, so `$disconnect` is owed."""
    lost: bool = False
    subprotocol: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether the closing handshake has not begun."""
        return self.socket.state is State.OPEN

    @property
    def is_full(self) -> bool:
        """Whether the client does not read, so that nothing more may wait for it."""
        return self.socket.transport.get_write_buffer_size() > BUFFER_LIMIT

    @property
    def connected_at(self) -> int:
        connected_at: int = self.context["connectedAt"]
        return connected_at

    def write(self, message: bytes) -> None:
        """Send a text message, without waiting; one of more than 32 KB in several frames. The socket must be open."""
        protocol = self.socket.protocol
        if len(message) <= FRAME_LIMIT:
            protocol.send_text(message)
        else:
            protocol.send_text(message[:FRAME_LIMIT], fin=False)
            for start in range(FRAME_LIMIT, len(message), FRAME_LIMIT):
                end = start + FRAME_LIMIT
                protocol.send_continuation(message[start:end], fin=end >= len(message))
        self.socket.send_data()

    def description(self) -> dict[str, Any]:
        """What `@connections` answers to GET."""
        return {
            "connectedAt": _iso(self.connected_at),
            "lastActiveAt": _iso(self.active_at),
            "identity": self.context["identity"],
        }


class ConnectionSocket(ServerConnection):
    """A server's socket that tells when it is lost, at once and whatever its handshake came to."""

    connection: GatewayConnection | None = None
    _on_lost: Callable[[GatewayConnection], None]

    def open_for(
        self, connection: GatewayConnection, on_lost: Callable[[GatewayConnection], None]
    ) -> GatewayConnection:
        self.connection, self._on_lost = connection, on_lost
        return connection

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.connection is not None:
            self._on_lost(self.connection)


def respond(socket: ServerConnection, status: int, body: str) -> Response:
    """The HTTP answer, in JSON, to a handshake that is not let in."""
    response = socket.respond(HTTPStatus(status) if status in set(HTTPStatus) else HTTPStatus.BAD_GATEWAY, body)
    del response.headers["Content-Type"]
    response.headers["Content-Type"] = "application/json"
    return response


def billed_messages(size: int) -> int:
    """For how many messages one of `size` bytes is billed: one for each 32 KB."""
    return max(1, -(-size // FRAME_LIMIT))


def _iso(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
