"""Who is it? Credentials to users.

Nothing here imports what verifies signatures (`jwt`, `cryptography`) before there is a token to verify.
"""

from __future__ import annotations

from adapters.identity.credentials import credential
from adapters.identity.demo import DemoIdentity
from adapters.identity.issuer import TokenIdentity
from adapters.settings import Settings
from domain.errors import BadSetting
from domain.ports import Clock, Identity
from domain.tokens import Expected

__all__ = ["AUTH_MODES", "DemoIdentity", "TokenIdentity", "credential", "identity"]

AUTH_MODES = ("demo", "cognito", "oidc")


def identity(settings: Settings, clock: Clock) -> Identity:
    """The identity of a deployment. Raises `BadSetting`."""
    if settings.auth == "demo":
        return DemoIdentity()
    if settings.auth not in AUTH_MODES:
        raise BadSetting(f"auth mode '{settings.auth}': choose one of {', '.join(AUTH_MODES)}")
    if not settings.issuer or not settings.audience:
        raise BadSetting(f"auth mode '{settings.auth}': it needs an issuer and an audience")
    expected = Expected(settings.issuer, settings.audience, settings.user_claim, cognito=settings.auth == "cognito")
    return TokenIdentity(expected, settings.jwks_url, clock)
