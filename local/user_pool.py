"""The user pool of a twin with `--auth cognito`: the emulator's, which signs real tokens."""

from __future__ import annotations

from dataclasses import dataclass

import aioboto3

from adapters.user_pool import GROUPS, PASSWORD, app_client_definition, issuer_of, jwks_url_of
from local.cloud import CREDENTIALS, REGION

__all__ = ["UserPool", "open_user_pool"]


@dataclass(frozen=True, slots=True)
class UserPool:
    """A pool and its app client."""

    pool: str
    client: str
    issuer: str
    """As the pool's tokens have it: Cognito's own, although nothing of AWS is asked."""
    jwks_url: str
    """Where the emulator shows the pool's keys."""


async def open_user_pool(endpoint: str, prefix: str) -> UserPool:
    """The pool named `prefix` in the emulator at `endpoint`, made with its client and groups where it is missing."""
    session = aioboto3.Session(
        region_name=REGION,
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )
    async with session.client("cognito-idp", endpoint_url=endpoint) as cognito:
        listed = (await cognito.list_user_pools(MaxResults=60))["UserPools"]
        pool = next((it["Id"] for it in listed if it["Name"] == prefix), None)
        if pool is None:
            policies = {"PasswordPolicy": dict(PASSWORD)}
            made = await cognito.create_user_pool(PoolName=prefix, Policies=policies)
            pool = made["UserPool"]["Id"]
            for group, description in GROUPS.items():
                await cognito.create_group(UserPoolId=pool, GroupName=group, Description=description)
        clients = (await cognito.list_user_pool_clients(UserPoolId=pool, MaxResults=60))["UserPoolClients"]
        client = next((it["ClientId"] for it in clients if it["ClientName"] == prefix), None)
        if client is None:
            made = await cognito.create_user_pool_client(UserPoolId=pool, **app_client_definition(prefix))
            client = made["UserPoolClient"]["ClientId"]
    return UserPool(pool, client, issuer_of(pool, REGION), jwks_url_of(f"{endpoint}/{pool}"))
