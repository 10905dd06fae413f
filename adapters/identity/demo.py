"""The identity of a demo: everybody is who they say they are."""

from __future__ import annotations

import re

from adapters.identity.credentials import credential
from domain.errors import Refused
from domain.ports import Handshake, Identity, Principal

__all__ = ["DemoIdentity"]

_no_id = re.compile(r"[^A-Za-z0-9_.:-]")


class DemoIdentity(Identity):
    """Lets everybody in under the name they give, as the recipe does: to try it out, never for the open internet."""

    async def admit(self, handshake: Handshake) -> Principal:
        token = credential(handshake)
        if token is not None:
            _check(token)
        user = handshake.query.get("userId") or "anonymous-" + _no_id.sub("-", handshake.connection[:8])
        return Principal(user=user, name=handshake.query.get("username") or user)

    async def renew(self, user: str, token: str) -> Principal:
        _check(token)
        return Principal(user=user, name=user)


def _check(token: str) -> None:
    if not token.startswith("valid_"):
        raise Refused("UNAUTHENTICATED", "The token is not accepted")
