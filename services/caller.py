"""Who sends a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Caller", "read_caller"]


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request, as the gateway vouches for it."""

    connection: str
    user: str
    name: str
    request_id: str
    """Unique for each request the gateway took; stands in for a `clientId` where the client gave none."""
    groups: frozenset[str] = frozenset()
    """The deployment's groups that the user is in."""
    token_expires_at: int | None = None
    """When the token that it connected with expires, in milliseconds since 1970; None: never."""


def read_caller(event: Mapping[str, Any]) -> Caller:
    """The caller of an API Gateway event, by the authorizer's context."""
    context = event["requestContext"]
    authorizer = context["authorizer"]
    return Caller(
        connection=context["connectionId"],
        user=authorizer["userId"],
        name=authorizer["name"],
        request_id=context["requestId"],
        groups=frozenset(it for it in authorizer.get("groups", "").split(",") if it),
        token_expires_at=int(authorizer["tokenExpiresAt"]) if authorizer.get("tokenExpiresAt") else None,
    )
