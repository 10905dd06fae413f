"""An issuer's keys: fetched, kept, and fetched again.

They change rarely, and a handshake must not wait for the issuer. So they are kept for ten minutes; fetched sooner, at
most once a minute, where a token names a key that is not among them; and used a day longer where the issuer can't be
reached. Whoever asks while they are being fetched waits for the same answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from adapters.identity.fetching import fetch
from adapters.observability import logger
from domain.errors import Unavailable
from domain.ports import Clock

__all__ = ["FRESH_MS", "RETRY_MS", "STALE_MS", "UNKNOWN_MS", "IssuerKeys", "read_keys"]

FRESH_MS = 10 * 60_000
"""How long keys are used without asking again: for so long, at most, one that the issuer has withdrawn is accepted."""
UNKNOWN_MS = 60_000
"""Between two fetches for the sake of a key that is not among them: anybody can name one."""
RETRY_MS = 5_000
"""After a fetch that failed: a handshake waits for it up to two seconds."""
STALE_MS = 24 * 3600_000
"""How long keys are used at most, where no newer ones can be had."""
KEYS_LIMIT = 100
RSA_BITS = (2048, 8192)
"""Of a key that is taken; a larger one takes too long to verify with."""
DISCOVERY = "/.well-known/openid-configuration"

_ALGORITHMS: Mapping[tuple[str, str | None], tuple[str, tuple[str, ...]]] = {
    ("RSA", None): ("RS256", ("n", "e")),
    ("EC", "P-256"): ("ES256", ("crv", "x", "y")),
    ("OKP", "Ed25519"): ("EdDSA", ("crv", "x")),
}
"""Kind and curve of a key → its algorithm, and what it consists of."""

Keys = Mapping[tuple[str, str], Any]
"""`kid` and algorithm → public key."""


class IssuerKeys:
    """The keys of one issuer, for one environment."""

    def __init__(
        self, issuer: str, jwks_url: str, clock: Clock, get: Callable[[str], Awaitable[bytes]] = fetch
    ) -> None:
        """`jwks_url`: where they are; empty: where the issuer's discovery document says."""
        self._issuer = issuer
        self._jwks_url = jwks_url
        self._clock = clock
        self._get = get
        self._fetching = asyncio.Lock()
        self._keys: Keys = {}
        self._fetched_at: int | None = None
        self._tried_at: int | None = None

    async def key(self, kid: str, algorithm: str) -> Any | None:
        """The public key of that name, if there is one and it is for that algorithm.

        Raises `Unavailable` where the issuer can't be reached and no keys are known, or only those of another day.
        """
        if self._is_due(kid):
            async with self._fetching:
                if self._is_due(kid):  # unless who was here before us has done it
                    await self._renew()
        if self._fetched_at is None or self._clock.now() - self._fetched_at >= STALE_MS:
            raise Unavailable("the issuer's keys can't be had")
        return self._keys.get((kid, algorithm))

    def _is_due(self, kid: str) -> bool:
        now = self._clock.now()
        since_try = STALE_MS if self._tried_at is None else now - self._tried_at
        if self._fetched_at is None or now - self._fetched_at >= FRESH_MS:
            return since_try >= RETRY_MS
        return since_try >= UNKNOWN_MS and all(kid != known for known, _ in self._keys)

    async def _renew(self) -> None:
        asked_at = self._clock.now()
        try:
            self._keys = read_keys(await self._get(self._jwks_url or await self._discovered()))
            self._fetched_at = asked_at
        except Unavailable as error:
            logger.warning("the issuer's keys can't be fetched", reason=str(error))
        # Not before: until then the next to ask shall wait, too.
        self._tried_at = asked_at

    async def _discovered(self) -> str:
        """Where the issuer says that its keys are (https://openid.net/specs/openid-connect-discovery-1_0.html)."""
        try:
            document = msgspec.json.decode(await self._get(self._issuer.rstrip("/") + DISCOVERY), type=_Discovery)
        except (ValueError, RecursionError):
            raise Unavailable("the issuer's discovery document is unreadable") from None
        if document.issuer != self._issuer:
            raise Unavailable("the issuer's discovery document is another's")
        if urlsplit(document.jwks_uri).scheme != urlsplit(self._issuer).scheme:
            raise Unavailable("the issuer's discovery document names no place for keys that can be trusted")
        return document.jwks_uri


class _Discovery(msgspec.Struct, frozen=True):
    issuer: str
    jwks_uri: str


class _KeySet(msgspec.Struct, frozen=True):
    keys: list[dict[str, Any]]


def read_keys(document: bytes) -> Keys:
    """Those of a JWK set's keys that verify signatures of ours (https://www.rfc-editor.org/rfc/rfc7517#section-5).

    Others are passed over, as the standard wants it. Raises `Unavailable` where there is none: then it is no key set.
    """
    try:
        listed = msgspec.json.decode(document, type=_KeySet).keys
    except (ValueError, RecursionError):
        raise Unavailable("the issuer's keys are unreadable") from None
    keys: dict[tuple[str, str], Any] = {}
    for it in listed[:KEYS_LIMIT]:
        found = _read_key(it)
        if found is not None:
            kid, algorithm, key = found
            keys[kid, algorithm] = key
    if not keys:
        raise Unavailable("the issuer has no key that is of use here")
    return keys


def _read_key(listed: Mapping[str, Any]) -> tuple[str, str, Any] | None:
    kid, kind, curve = (listed.get(it) for it in ("kid", "kty", "crv"))
    if not isinstance(kid, str) or not isinstance(kind, str) or not isinstance(curve, str | None):
        return None
    algorithm, parts = _ALGORITHMS.get((kind, curve), ("", ()))
    if not algorithm or listed.get("alg", algorithm) != algorithm or not _is_to_verify(listed):
        return None
    # Of its parts those of a public key alone, whatever else an issuer may have published by mistake.
    public = {it: listed.get(it) for it in parts}
    if not all(isinstance(it, str) for it in public.values()):
        return None
    try:
        key = jwt.PyJWK({"kty": kind, **public}, algorithm=algorithm).key
    except (jwt.PyJWTError, UnsupportedAlgorithm, ValueError):
        return None
    if isinstance(key, RSAPublicKey) and not RSA_BITS[0] <= key.key_size <= RSA_BITS[1]:
        return None
    return kid, algorithm, key


def _is_to_verify(listed: Mapping[str, Any]) -> bool:
    operations = listed.get("key_ops", ["verify"])
    return listed.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations
