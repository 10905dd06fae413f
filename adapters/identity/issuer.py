"""Users by the tokens of one issuer: Cognito's, or any that speaks OpenID Connect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapters.identity.credentials import credential
from domain.errors import Refused
from domain.ports import Clock, Handshake, Identity, Principal
from domain.tokens import Expected, check_is, read_claims

if TYPE_CHECKING:
    from adapters.identity.keys import IssuerKeys

__all__ = ["TokenIdentity"]


class TokenIdentity(Identity):
    """Lets in who shows a token that the issuer has signed. One for each environment: it keeps the issuer's keys."""

    def __init__(self, expected: Expected, jwks_url: str, clock: Clock) -> None:
        """`jwks_url`: where the keys are; empty: where the issuer's discovery document says."""
        self._expected = expected
        self._jwks_url = jwks_url
        self._clock = clock
        self._keys: IssuerKeys | None = None

    async def admit(self, handshake: Handshake) -> Principal:
        token = credential(handshake)
        if token is None:
            raise Refused("UNAUTHENTICATED", "A token is needed")
        principal = await self._holder(token, handshake.query.get("username"))
        check_is(principal, handshake.query.get("userId"))
        return principal

    async def renew(self, user: str, token: str) -> Principal:
        principal = await self._holder(token)
        check_is(principal, user)
        return principal

    async def _holder(self, token: str, asked_name: str | None = None) -> Principal:
        # Half of a cold start is imports, and most functions never see a token.
        from adapters.identity.keys import IssuerKeys  # noqa: PLC0415
        from adapters.identity.tokens import read_header, verified_claims  # noqa: PLC0415

        if self._keys is None:
            self._keys = IssuerKeys(self._expected.issuer, self._jwks_url, self._clock)
        header = read_header(token)
        key = await self._keys.key(header.kid, header.alg)
        if key is None:
            raise Refused("UNAUTHENTICATED", "The token is not accepted: the issuer has no such key")
        return read_claims(verified_claims(token, key, header.alg), self._expected, self._clock.now(), asked_name)
