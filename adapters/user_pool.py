"""The user pool of a deployment with `cognito` auth: what the stack on AWS and the twin's emulator make alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from domain.policy import ADMINS, MODERATORS

__all__ = [
    "AUTH_FLOWS",
    "GROUPS",
    "PASSWORD",
    "REFRESH_DAYS",
    "TOKEN_MINUTES",
    "app_client_definition",
    "issuer_of",
    "jwks_url_of",
]

GROUPS = {ADMINS: "may do everything everywhere", MODERATORS: "are moderators of every room"}
"""Group → what its users are."""
TOKEN_MINUTES = 60
"""How long an access or ID token is good. A connection ends with it, unless it shows a fresh one."""
REFRESH_DAYS = 30
AUTH_FLOWS = ("ALLOW_REFRESH_TOKEN_AUTH", "ALLOW_USER_PASSWORD_AUTH", "ALLOW_USER_SRP_AUTH")
"""How a user may sign in: by SRP, which shows the password to nobody, or, for `roomcast user`, by the password."""
PASSWORD: Mapping[str, Any] = {
    "MinimumLength": 12,
    "RequireLowercase": True,
    "RequireNumbers": True,
    "RequireSymbols": True,
    "RequireUppercase": True,
}


def app_client_definition(name: str) -> dict[str, Any]:
    """The arguments of `CreateUserPoolClient`, but for the pool. It has no secret: browsers could not keep one."""
    units = {"AccessToken": "minutes", "IdToken": "minutes", "RefreshToken": "days"}
    return {
        "ClientName": name,
        "GenerateSecret": False,
        "ExplicitAuthFlows": list(AUTH_FLOWS),
        "AccessTokenValidity": TOKEN_MINUTES,
        "IdTokenValidity": TOKEN_MINUTES,
        "RefreshTokenValidity": REFRESH_DAYS,
        "TokenValidityUnits": units,
        "EnableTokenRevocation": True,
        "PreventUserExistenceErrors": "ENABLED",
    }


def issuer_of(pool: str, region: str, domain: str = "amazonaws.com") -> str:
    """The `iss` of a pool's tokens."""
    return f"https://cognito-idp.{region}.{domain}/{pool}"


def jwks_url_of(issuer: str) -> str:
    """Where the pool's keys are."""
    return f"{issuer}/.well-known/jwks.json"
