"""What can go wrong between a client and the service.

ClientError
├── Unreachable        nobody answers there, or not in time
├── HandshakeRefused   the service does not let this client in; `status` is its HTTP answer
├── RequestRefused     a request was answered with an error; `code` is one of the wire's
└── ConnectionEnded    the connection was closed for good while a request waited for its answer
"""

from __future__ import annotations

__all__ = ["ClientError", "ConnectionEnded", "HandshakeRefused", "RequestRefused", "Unreachable"]


class ClientError(Exception):
    """The root of the tree above."""


class Unreachable(ClientError):
    """No WebSocket service answers at the address."""


class HandshakeRefused(ClientError):
    """The handshake was answered with another status than 101."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the service refused the connection ({_REASONS.get(status, f'HTTP {status}')})")
        self.status = status


class RequestRefused(ClientError):
    """The service, or the client on its behalf, refused a request."""

    def __init__(self, code: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.retry_after = retry_after
        """Seconds after which the same request may succeed; None where it can't."""


class ConnectionEnded(ClientError):
    """Closed by its owner, or refused when it tried to come back. A message under way may be stored or not."""


_REASONS = {
    400: "HTTP 400: it does not understand the request; check the room, the user and the name",
    401: "HTTP 401: it does not know who you are; check the token",
    403: "HTTP 403: you may not enter",
    429: "HTTP 429: too many connect at once",
}
