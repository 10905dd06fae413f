"""One handshake: a socket that speaks the wire, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.typing import Subprotocol

from client.errors import HandshakeRefused, Unreachable
from domain.protocol import SUBPROTOCOL

__all__ = ["shake_hands", "with_query"]

OPEN_WITHIN = 10.0
"""Seconds for a handshake."""
CLOSE_WITHIN = 2.0
"""Seconds for the other side to say goodbye, too."""
MESSAGE_BYTES = 256 * 1024
"""The longest message that is read: twice what the service sends."""
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


async def shake_hands(
    url: str, fields: Mapping[str, str | None], token: str | None = None, *, v1: bool = True
) -> ClientConnection:
    """A socket to `url`, with `fields` in its query and `token` in a header; `v1` asks for the wire's subprotocol.

    Raises `HandshakeRefused` if the service says no, `Unreachable` if none answers.
    """
    try:
        socket = await open_socket(
            with_query(url, fields),
            # In a header: URLs end in logs.
            additional_headers={"Authorization": f"Bearer {token}"} if token is not None else None,
            subprotocols=[Subprotocol(SUBPROTOCOL)] if v1 else None,
            compression=None,
            max_size=MESSAGE_BYTES,
            open_timeout=OPEN_WITHIN,
            close_timeout=CLOSE_WITHIN,
            proxy=None if urlsplit(url).hostname in LOOPBACK else True,
        )
    except InvalidStatus as error:
        raise HandshakeRefused(error.response.status_code) from None
    except (OSError, TimeoutError, InvalidHandshake, InvalidURI, ConnectionClosed) as error:
        raise Unreachable(f"no WebSocket service answers at {url} ({_words(error)})") from None
    if v1 and socket.subprotocol != SUBPROTOCOL:
        await socket.close()
        raise Unreachable(f"what answers at {url} does not speak {SUBPROTOCOL}")
    return socket


def with_query(url: str, fields: Mapping[str, str | None]) -> str:
    """The URL with those of `fields` that have a value in its query."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    query.update({field: value for field, value in fields.items() if value is not None})
    return urlunsplit(parts._replace(query=urlencode(query)))


def _words(error: Exception) -> str:
    """The reason in one line, without an address that is said already."""
    if isinstance(error, TimeoutError):
        return f"nothing within {OPEN_WITHIN:.0f} s"
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
