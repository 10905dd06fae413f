"""Posts to open sockets by API Gateway's management API (`@connections`)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aiobotocore.config import AioConfig
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from adapters.aws import error_code
from domain.errors import ConnectionGone, PostError, PostFailed, Throttled
from domain.ports import Connections

if TYPE_CHECKING:
    from types_aiobotocore_apigatewaymanagementapi import ApiGatewayManagementApiClient

__all__ = ["USER_AGENT", "ManagementApi", "management_client_config"]

CONNECT_TIMEOUT = 1
READ_TIMEOUT = 3
"""Seconds."""
USER_AGENT = "roomcast"


def management_client_config(concurrency: int) -> AioConfig:
    """The client's configuration for up to `concurrency` posts at once.

    No retries: botocore would spend seconds on a 429, which is the pacing's to answer. A fixed user agent, since
    botocore builds it anew for every call, a sixth of a post's CPU.
    """
    return AioConfig(
        max_pool_connections=concurrency,
        retries={"total_max_attempts": 1},
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        user_agent=USER_AGENT,
    )


class ManagementApi(Connections):
    """The open sockets behind a management API client, which has `management_client_config`."""

    def __init__(self, client: ApiGatewayManagementApiClient) -> None:
        self._client = client

    async def post(self, connection: str, frame: bytes, deadline: float) -> None:
        with _translated():
            async with asyncio.timeout(deadline):
                await self._client.post_to_connection(ConnectionId=connection, Data=frame)

    async def close(self, connection: str) -> None:
        with _translated():
            await self._client.delete_connection(ConnectionId=connection)


_ERRORS: Mapping[str, type[PostError]] = {
    # By name where the answer has an `x-amzn-ErrorType` header, by status where it has none.
    "GoneException": ConnectionGone,
    "410": ConnectionGone,
    "LimitExceededException": Throttled,
    "TooManyRequestsException": Throttled,
    "429": Throttled,
}
"""What an answer means; any other is `PostFailed`."""


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        code = error_code(error)
        raise _ERRORS.get(code, PostFailed)(code) from error
    except (TimeoutError, BotoCoreError, ResponseParserError) as error:
        raise PostFailed(type(error).__name__) from error
