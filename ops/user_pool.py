"""Users in a deployment's Cognito pool: made by an operator, signed in by their password."""

from __future__ import annotations

import base64
import json
import secrets
import string
import sys
import time
from collections.abc import Mapping, Sequence
from getpass import getpass
from typing import Any

from botocore.exceptions import ClientError
from rich.console import Console

from adapters.aws import error_code
from adapters.user_pool import GROUPS
from domain.errors import BadSetting
from ops.stage import Client, Deployment, StageError, answered

__all__ = ["asked_password", "create_user", "describe", "show", "sign_in"]

PASSWORD_LENGTH = 20
"""Of one that is drawn."""


def create_user(where: Deployment, name: str, password: str | None, groups: Sequence[str]) -> dict[str, Any]:
    """Have a user with that password (or one that is drawn) in those groups; what to tell. Raises `BadSetting`."""
    for it in groups:
        if it not in GROUPS:
            raise BadSetting(f"--group {it}: choose one of {', '.join(GROUPS)}")
    chosen = password or _drawn_password()
    cognito, pool = _pool(where)
    with answered(f"the user pool of {where}"):
        try:
            cognito.admin_create_user(UserPoolId=pool, Username=name, MessageAction="SUPPRESS")
        except ClientError as error:
            if error_code(error) != "UsernameExistsException":
                raise
        cognito.admin_set_user_password(UserPoolId=pool, Username=name, Password=chosen, Permanent=True)
        for it in groups:
            cognito.admin_add_user_to_group(UserPoolId=pool, Username=name, GroupName=it)
        found = cognito.admin_get_user(UserPoolId=pool, Username=name)
        listed = cognito.admin_list_groups_for_user(UserPoolId=pool, Username=name)["Groups"]
    attributes = {it["Name"]: it["Value"] for it in found["UserAttributes"]}
    told = {"name": name, "user": attributes["sub"], "groups": sorted(it["GroupName"] for it in listed)}
    return told if password else {**told, "password": chosen}


def sign_in(where: Deployment, name: str, password: str) -> Mapping[str, Any]:
    """AccessToken, IdToken, RefreshToken, ExpiresIn. Raises `StageError` where Cognito does not accept them."""
    cognito, _ = _pool(where)
    with answered(f"the user pool of {where}"):
        try:
            done = cognito.initiate_auth(
                ClientId=where.user_pool_client,
                AuthFlow="USER_PASSWORD_AUTH",
                AuthParameters={"USERNAME": name, "PASSWORD": password},
            )
        except ClientError as error:
            if error_code(error) in {"NotAuthorizedException", "UserNotFoundException"}:
                raise StageError(f"the user pool of {where} knows no {name} with that password") from None
            raise
    if "AuthenticationResult" not in done:
        raise StageError(f"{name} has to answer {done.get('ChallengeName')} first, which this command can't")
    tokens: Mapping[str, Any] = done["AuthenticationResult"]
    return tokens


def describe(name: str, tokens: Mapping[str, Any], *, with_tokens: bool) -> dict[str, Any]:
    """What the access token says, ready to be shown: it comes from the issuer itself, so nobody has to verify it."""
    claims = json.loads(base64.urlsafe_b64decode(tokens["AccessToken"].split(".")[1] + "=="))
    told = {
        "name": name,
        "user": claims["sub"],
        "groups": sorted(claims.get("cognito:groups", ())),
        "expires": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(claims["exp"])),
    }
    if not with_tokens:
        return told
    return {**told, "access_token": tokens["AccessToken"], "id_token": tokens["IdToken"]}


def asked_password(given: str | None) -> str:
    """The password: as given, typed, or piped in. Raises `BadSetting` where there is none."""
    if given:
        return given
    typed = getpass("Password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    if not typed:
        raise BadSetting("--password: there is none; pipe one in, or set ROOMCAST_PASSWORD")
    return typed


def show(told: Mapping[str, Any], *, as_json: bool) -> None:
    """Print it, one line for each part."""
    if as_json:
        print(json.dumps(told))
        return
    out = Console(highlight=False, soft_wrap=True)
    for name, it in told.items():
        out.print(f"{name:9} {', '.join(it) or 'none' if isinstance(it, list) else it}", markup=False)


def _pool(where: Deployment) -> tuple[Client, str]:
    """The client of Cognito, and the pool's id. Raises `StageError` where the deployment has none."""
    if not where.user_pool:
        how = "start it with --auth cognito" if where.twin else "deploy it with -c auth=cognito"
        raise StageError(f"{where} has no user pool; {how}")
    return where.client("cognito-idp"), where.user_pool


def _drawn_password() -> str:
    """One that keeps the pool's rules."""
    kinds = (string.ascii_lowercase, string.ascii_uppercase, string.digits, "-_.")
    drawn = [secrets.choice(it) for it in kinds]
    drawn += [secrets.choice("".join(kinds)) for _ in range(PASSWORD_LENGTH - len(drawn))]
    secrets.SystemRandom().shuffle(drawn)
    return "".join(drawn)
