"""What a verified token says: who its holder is, and until when. Whose signature it bears, an adapter has checked.

Claims are those of a JSON Web Token (https://www.rfc-editor.org/rfc/rfc7519), times in them are seconds since 1970. A
connection outlives its token by the leeway, and no longer.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from domain.errors import Refused
from domain.ports import Principal
from domain.protocol import valid_id, valid_name
from domain.rooms import LIFETIME_MS, RECONNECT_BEFORE_MS, ROW_LIFETIME_MS

__all__ = [
    "GROUPS_LIMIT",
    "TOKEN_LEEWAY_MS",
    "Expected",
    "check_is",
    "is_over",
    "read_claims",
    "reconnect_at",
    "rows_end",
]

TOKEN_LEEWAY_MS = 60_000
"""How far the issuer's clock and ours may be apart; so long is a token good after its expiry."""
GROUPS_LIMIT = 100
"""Of a user; an issuer that names more is misunderstood."""
NAMES = ("name", "preferred_username", "cognito:username", "username")
"""The claims that may hold the name to show: the first that does, does."""
GROUPS = ("cognito:groups", "groups")
"""The claims that may hold the groups: the first that is there."""
RECONNECT_SHARE = (0.05, 0.15)
"""What is left of a token's time when its client is asked to open its next socket, drawn evenly."""
RECONNECT_AFTER_MS = 30_000
"""A client is not asked back sooner, or one with a token that is all but over would do nothing but connect."""
_LATEST = 253_402_300_800
"""The year 10000, in seconds: no time of a token is later."""


@dataclass(frozen=True, slots=True)
class Expected:
    """Whose tokens count, and for whom they have to be made out."""

    issuer: str
    audience: str
    """Of Cognito's tokens, the app client's id."""
    user_claim: str = "sub"
    cognito: bool = False
    """Its access tokens name no audience but a `client_id`, and say in `token_use` what they are."""


def read_claims(claims: Mapping[str, Any], expected: Expected, now: int, asked_name: str | None = None) -> Principal:
    """The user that the claims tell of. `now` is in milliseconds; `asked_name` counts where the token has no name.

    Raises `Refused`: TOKEN_EXPIRED for a token that was good once, UNAUTHENTICATED for any other that is not now.
    """
    if claims.get("iss") != expected.issuer:
        raise _not_accepted("another issuer's")
    if not (_is_of_client if expected.cognito else _is_for)(claims, expected.audience):
        raise _not_accepted("made out for another audience")
    expires_at = _time(claims, "exp")
    if expires_at is None:
        raise _not_accepted("without an expiry")
    for it in ("nbf", "iat"):
        begins = _time(claims, it)
        if begins is not None and begins > now + TOKEN_LEEWAY_MS:
            raise _not_accepted("not valid yet")
    if is_over(expires_at, now):
        raise Refused("TOKEN_EXPIRED", "The token has expired")
    user = claims.get(expected.user_claim)
    if not isinstance(user, str) or not valid_id(user):
        raise _not_accepted(f"without a user id in `{expected.user_claim}`")
    names = (claims.get(it) for it in NAMES)
    name = next((it for it in names if isinstance(it, str) and valid_name(it)), asked_name or user)
    return Principal(user=user, name=name, groups=_groups(claims), expires_at=expires_at)


def check_is(principal: Principal, user: str | None) -> None:
    """`Refused` where the token's holder claims to be another user."""
    if user is not None and user != principal.user:
        raise Refused("FORBIDDEN", "The token is another user's")


def is_over(expires_at: int | None, now: int) -> bool:
    """Whether a token that expires then, in milliseconds, is good no more. None: it never expires."""
    return expires_at is not None and expires_at + TOKEN_LEEWAY_MS <= now


def rows_end(connected_at: int, token_expires_at: int | None) -> int:
    """When the rows of a connection belong to nobody: at its cut, or when its token is over. In milliseconds."""
    cut = connected_at + ROW_LIFETIME_MS
    return cut if token_expires_at is None else min(cut, token_expires_at + TOKEN_LEEWAY_MS)


def reconnect_at(connected_at: int, token_expires_at: int | None, now: int, draw: random.Random) -> int:
    """When a client is to open its next socket, in milliseconds: before the cut, and before its token expires."""
    before_cut = connected_at + LIFETIME_MS - round(draw.uniform(*RECONNECT_BEFORE_MS))
    if token_expires_at is None:
        return before_cut
    before_expiry = token_expires_at - round((token_expires_at - now) * draw.uniform(*RECONNECT_SHARE))
    return min(before_cut, max(before_expiry, now + RECONNECT_AFTER_MS))


def _is_for(claims: Mapping[str, Any], audience: str) -> bool:
    named = claims.get("aud")
    return audience in named if isinstance(named, list) else named == audience


def _is_of_client(claims: Mapping[str, Any], client: str) -> bool:
    # https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-tokens-verifying-a-jwt.html
    named = {"access": "client_id", "id": "aud"}.get(str(claims.get("token_use")))
    return named is not None and claims.get(named) == client


def _time(claims: Mapping[str, Any], claim: str) -> int | None:
    """A time of the token in milliseconds; None where it has none."""
    if claim not in claims:
        return None
    it = claims[claim]
    if isinstance(it, bool) or not isinstance(it, int | float) or not math.isfinite(it) or not 0 <= it < _LATEST:
        raise _not_accepted(f"with an `{claim}` that is no time")
    return int(it * 1000)


def _groups(claims: Mapping[str, Any]) -> frozenset[str]:
    named = next((claims[it] for it in GROUPS if it in claims), None)
    if not isinstance(named, list) or len(named) > GROUPS_LIMIT:
        return frozenset()
    return frozenset(it for it in named if isinstance(it, str) and valid_id(it))


def _not_accepted(why: str) -> Refused:
    return Refused("UNAUTHENTICATED", f"The token is not accepted: it is {why}")
