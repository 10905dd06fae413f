"""Tokens as bytes: bounds before anything is decoded, and the signature before anything is believed.

A token is three parts in base64url, JWS's compact form (https://www.rfc-editor.org/rfc/rfc7515). Everything that it
says of how to verify it is the forger's to say, so it is told, not asked: the key is the issuer's, found by `kid`, and
the key decides the algorithm.
"""

from __future__ import annotations

import base64
import re
from typing import Annotated, Any

import jwt
import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from domain.errors import Refused
from domain.protocol import TOKEN_LIMIT

__all__ = ["ALGORITHMS", "HEADER_LIMIT", "Header", "read_header", "verified_claims"]

HEADER_LIMIT = 1024
"""Characters of a token's first part."""
ALGORITHMS = ("RS256", "ES256", "EdDSA")
"""None of them takes a secret: with one of those, whoever can verify can forge."""
REFUSED = ("jku", "jwk", "x5u", "x5c", "crit", "b64", "zip", "enc")
"""What a header may not hold: a key, a place to fetch one, or what changes how the rest is to be read."""
TYPES = (UNSET, "jwt", "at+jwt")
"""What may be in `typ`, which is told apart without case."""
_FORM = re.compile(r"([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+(?![\s\S])")


class Header(Struct, frozen=True):
    """What a token says of its own signature."""

    alg: str
    kid: Annotated[str, Meta(max_length=256)]
    typ: str | UnsetType = UNSET


_names = msgspec.json.Decoder(dict[str, Any])
_header = msgspec.json.Decoder(Header)
_claims = msgspec.json.Decoder(dict[str, Any])
_jws = jwt.PyJWS(algorithms=list(ALGORITHMS))


def read_header(token: str) -> Header:
    """The header of a token that has the form of one. `Refused` with UNAUTHENTICATED for anything else."""
    form = _FORM.match(token) if len(token) <= TOKEN_LIMIT else None
    if form is None or len(form[1]) > HEADER_LIMIT:
        raise _no_token()
    try:
        raw = base64.urlsafe_b64decode(form[1] + "=" * (-len(form[1]) % 4))
        names, header = _names.decode(raw), _header.decode(raw)
    except (ValueError, RecursionError):
        raise _no_token() from None
    kind = header.typ if isinstance(header.typ, UnsetType) else header.typ.lower()
    if header.alg not in ALGORITHMS or kind not in TYPES:
        raise _no_token()
    if not names.keys().isdisjoint(REFUSED):
        raise _no_token()
    return header


def verified_claims(token: str, key: Any, algorithm: str) -> dict[str, Any]:
    """The claims of a token that `key` has signed. `Refused` with UNAUTHENTICATED where it has not."""
    try:
        signed = _jws.decode_complete(token, key, algorithms=[algorithm])["payload"]
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        raise Refused("UNAUTHENTICATED", "The token is not accepted: its signature is wrong") from None
    try:
        return _claims.decode(signed)
    except (ValueError, RecursionError):
        raise _no_token() from None


def _no_token() -> Refused:
    return Refused("UNAUTHENTICATED", "The token is not accepted: it has not the form of one")
