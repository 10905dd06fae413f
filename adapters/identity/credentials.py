"""Where in a handshake the credential stands."""

from __future__ import annotations

from domain.ports import Handshake

__all__ = ["BEARER", "credential"]

BEARER = "bearer."
"""A subprotocol that starts so carries the credential, for browsers, which can set no header."""


def credential(handshake: Handshake) -> str | None:
    """The token a client brought: in a subprotocol, else in the Authorization header, else in the query."""
    for it in handshake.subprotocols:
        if it.startswith(BEARER):
            return it.removeprefix(BEARER)
    scheme, _, token = handshake.authorization.partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    return handshake.query.get("token")
