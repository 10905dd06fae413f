"""What a client asks for in its handshake, read from API Gateway's `$connect` event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from domain.errors import Refused
from domain.ports import Handshake
from domain.protocol import SUBPROTOCOL, valid_id, valid_name
from domain.rooms import Dialect

__all__ = ["DEFAULT_ROOM", "asked_room", "check_origin", "chosen_dialect", "read_handshake"]

DEFAULT_ROOM = "general"


def read_handshake(event: Mapping[str, Any]) -> Handshake:
    """What the client brings. Header names come in any case."""
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    repeated = {name.lower(): values for name, values in (event.get("multiValueHeaders") or {}).items()}
    origin = headers.get("origin")
    offered = [it.strip() for it in headers.get("sec-websocket-protocol", "").split(",")]
    return Handshake(
        connection=event["requestContext"]["connectionId"],
        query=event.get("queryStringParameters") or {},
        subprotocols=[it for it in offered if it],
        authorization=headers.get("authorization", ""),
        origins=repeated.get("origin") or ([] if origin is None else [origin]),
    )


def check_origin(origins: Sequence[str], allowed: Sequence[str]) -> None:
    """`Refused` where a browser comes from a page of another origin than those allowed; none allowed: from any.

    A browser sends scheme, host and port in lower case, without a port where it is the scheme's own, and `null` where
    it won't say. So these are compared as they are. Who sends no origin is no browser, and no page's doing.
    """
    if allowed and origins and not (len(origins) == 1 and origins[0].lower() in allowed):
        raise Refused("FORBIDDEN", "Pages of this origin may not connect")


def chosen_dialect(subprotocols: Sequence[str]) -> Dialect:
    """`v1` for who offers roomcast.v1, the recipe's for who offers none. Any other alone is refused."""
    if SUBPROTOCOL in subprotocols:
        return "v1"
    if not subprotocols:
        return "recipe"
    raise Refused("BAD_REQUEST", f"Unknown subprotocol; offer {SUBPROTOCOL} or none")


def asked_room(query: Mapping[str, str]) -> str:
    """The room to join first, after a look at every field of the query."""
    room = query.get("roomId") or DEFAULT_ROOM
    for field, value in (("roomId", room), ("userId", query.get("userId") or "-")):
        if not valid_id(value):
            raise Refused("BAD_REQUEST", f"`{field}` must be 1 to 64 letters, digits, or any of _ . : -")
    if not valid_name(query.get("username") or "-"):
        raise Refused("BAD_REQUEST", "`username` must be 1 to 64 characters, none of them a control character")
    return room
