"""Who is it? Credentials to users."""

from __future__ import annotations

import re

from domain.errors import BadSetting, Refused
from domain.ports import Handshake, Identity, Principal

__all__ = ["DemoIdentity", "credential", "identity"]

BEARER = "bearer."
"""A subprotocol that starts so carries the credential, for browsers, which can set no header."""
_no_id = re.compile(r"[^A-Za-z0-9_.:-]")


class DemoIdentity(Identity):
    """Lets everybody in under the name they give, as the recipe does: to try it out, never for the open internet."""

    async def admit(self, handshake: Handshake) -> Principal:
        token = credential(handshake)
        if token is not None and not token.startswith("valid_"):
            raise Refused("UNAUTHENTICATED", "The token is not accepted")
        user = handshake.query.get("userId") or "anonymous-" + _no_id.sub("-", handshake.connection[:8])
        return Principal(user=user, name=handshake.query.get("username") or user)


def credential(handshake: Handshake) -> str | None:
    """The token a client brought: in a subprotocol, or else in the query."""
    for it in handshake.subprotocols:
        if it.startswith(BEARER):
            return it.removeprefix(BEARER)
    return handshake.query.get("token")


def identity(mode: str) -> Identity:
    """The identity of an auth mode."""
    if mode == "demo":
        return DemoIdentity()
    raise BadSetting(f"auth mode '{mode}': there is only 'demo'")
