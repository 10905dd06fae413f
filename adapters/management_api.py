"""Posts to open sockets by API Gateway's management API (`@connections`)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, cast

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.httpsession import AIOHTTPSession
from aiohttp.http import HttpProcessingError, RawResponseMessage
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from botocore.httpsession import ProxyConfiguration
from botocore.parsers import ResponseParserError

from adapters.aws import error_code
from adapters.signing import PostSigner, Stage
from domain.errors import ConnectionGone, PostError, PostFailed, Throttled
from domain.ports import Connections

if TYPE_CHECKING:
    import aioboto3
    from aiobotocore.credentials import AioCredentials
    from types_aiobotocore_apigatewaymanagementapi import ApiGatewayManagementApiClient

__all__ = ["USER_AGENT", "FastPosts", "ManagementApi", "management_api", "management_client_config"]

CONNECT_TIMEOUT = 1
READ_TIMEOUT = 3
"""Seconds."""
USER_AGENT = "roomcast"
HEADERS = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity"}
"""What the client sends as well, and does not sign."""
CONNECTING = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT)


def management_client_config(concurrency: int, http_session: type[AIOHTTPSession] = AIOHTTPSession) -> AioConfig:
    """The client's configuration for up to `concurrency` posts at once.

    No retries: botocore would spend seconds on a 429, which is the pacing's to answer. A fixed user agent, since
    botocore builds it anew for every call, a sixth of a post's CPU.
    """
    return AioConfig(
        http_session_cls=http_session,
        max_pool_connections=concurrency,
        retries={"total_max_attempts": 1},
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        user_agent=USER_AGENT,
    )


@asynccontextmanager
async def management_api(
    session: aioboto3.Session,
    endpoint: str,
    concurrency: int,
    *,
    fast_posts: bool,
    now: Callable[[], float] = time.time,
) -> AsyncIterator[ManagementApi]:
    """The open sockets of the stage at `endpoint`, for up to `concurrency` posts at once. `now`: seconds since 1970."""
    opened: list[_HttpSession] = []

    class HttpSession(_HttpSession):
        def __init__(self, **arguments: Any) -> None:
            super().__init__(**arguments)
            opened.append(self)

    # Straight to the client: AioConfig.merge() forgets the session's class.
    config = management_client_config(concurrency, HttpSession)
    async with session.client("apigatewaymanagementapi", endpoint_url=endpoint, config=config) as client:
        (http,) = opened
        if fast_posts and not http.proxied(endpoint):
            # The stubs have boto3's method here, which is no coroutine.
            credentials = await cast("Awaitable[AioCredentials | None]", session.get_credentials())
            yield FastPosts(client, credentials, await http.connector(), now)
        else:
            yield ManagementApi(client)


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


class FastPosts(ManagementApi):
    """The same for a quarter of the CPU: posts are signed and written here, on connections of the client's own pool.

    Credentials, endpoint, Region, TLS, proxy and pool are the client's. Left out is what it makes anew for every post:
    parameters, endpoint rules, events, signing key, parsers. Redirects are not followed.
    """

    def __init__(
        self,
        client: ApiGatewayManagementApiClient,
        credentials: AioCredentials | None,
        connector: aiohttp.BaseConnector,
        now: Callable[[], float],
    ) -> None:
        """`credentials`: the client's, None where it has none; `connector`: the client's pool."""
        super().__init__(client)
        meta = client.meta
        self._stage = Stage(meta.endpoint_url, meta.region_name, meta.service_model.signing_name)
        self._credentials = credentials
        self._connector = connector
        # By this the pool finds a connection, or makes one.
        self._target = aiohttp.ClientRequest("POST", self._stage.url, loop=asyncio.get_running_loop())
        self._now = now
        self._signer: PostSigner | None = None

    async def post(self, connection: str, frame: bytes, deadline: float) -> None:
        second = int(self._now())
        signer = self._signer
        if signer is None or signer.second != second:
            signer = self._signer = await self._next_signer(second, deadline)
        target, signed = signer.sign(connection, frame)
        host = f"Host: {self._stage.host}\r\nContent-Length: {len(frame)}\r\n"
        request = f"POST {target} HTTP/1.1\r\n{host}{signed}\r\n".encode() + frame
        try:
            async with asyncio.timeout(deadline):
                answer = await self._exchange(request)
        except (TimeoutError, OSError, aiohttp.ClientError, HttpProcessingError) as error:
            raise PostFailed(type(error).__name__) from error
        if answer.code >= 300:
            code = str(answer.code)
            raise _ERRORS.get(code, PostFailed)(answer.headers.get("x-amzn-ErrorType", code))

    async def _exchange(self, request: bytes) -> RawResponseMessage:
        opened = await self._connector.connect(self._target, [], CONNECTING)
        try:
            assert opened.protocol is not None  # noqa: S101  # it has one until it is released
            assert opened.transport is not None  # noqa: S101  # as long as it has its protocol
            opened.protocol.set_response_params(read_until_eof=True, auto_decompress=False)
            opened.transport.write(request)
            answer, body = await opened.protocol.read()
            # Read to the end, or the connection could not carry another post.
            while not body.at_eof():
                await body.readany()
        except BaseException:
            opened.close()
            raise
        opened.release()
        return answer

    async def _next_signer(self, second: int, deadline: float) -> PostSigner:
        """What signs this second's posts. The credentials are refreshed here when they are due, as by any call."""
        with _translated():
            if self._credentials is None:
                raise NoCredentialsError
            async with asyncio.timeout(deadline):
                credentials = await self._credentials.get_frozen_credentials()
        return PostSigner(self._stage, credentials, second, HEADERS)


class _HttpSession(AIOHTTPSession):
    """aiobotocore's HTTP session, with the aiohttp session in it laid open."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._proxies = ProxyConfiguration(arguments["proxies"], arguments["proxies_config"])

    def proxied(self, endpoint: str) -> bool:
        return self._proxies.proxy_url_for(endpoint) is not None

    async def connector(self) -> aiohttp.BaseConnector:
        """The pool from which the client's own calls have their connections, where there is no proxy."""
        session = await self._get_session(None)  # type: ignore[attr-defined]  # private: a test watches over it
        return cast("aiohttp.BaseConnector", session.connector)


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
