"""Who may connect to a twin: how its clients are known, and from which pages they may come."""

from __future__ import annotations

from dataclasses import dataclass

from adapters.identity import AUTH_MODES
from adapters.settings import check_origin_setting
from domain.errors import BadSetting

__all__ = ["Access"]


@dataclass(frozen=True, slots=True)
class Access:
    """May raise `BadSetting`."""

    auth: str = "demo"
    """demo, cognito (the emulator's user pool), or oidc."""
    issuer: str = ""
    """In `oidc` auth: whose tokens count."""
    audience: str = ""
    """In `oidc` auth: for whom they have to be made out."""
    origins: tuple[str, ...] = ()
    """The pages that may connect; none: any."""

    def __post_init__(self) -> None:
        if self.auth not in AUTH_MODES:
            raise BadSetting(f"auth {self.auth}: choose one of {', '.join(AUTH_MODES)}")
        if (self.auth == "oidc") != bool(self.issuer) or (self.auth == "oidc") != bool(self.audience):
            raise BadSetting("auth oidc needs an issuer and an audience, and no other mode takes them")
        for it in self.origins:
            check_origin_setting(it)
