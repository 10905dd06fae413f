"""The management API, both ways to post, beside its contract: what answers mean, and what is sent, once."""

from __future__ import annotations

import asyncio
import calendar
import os
import shutil
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import aioboto3
import aiobotocore.session
import aiohttp
import pytest
import pytest_asyncio
from aiobotocore.credentials import AioRefreshableCredentials
from aiobotocore.httpsession import AIOHTTPSession
from botocore.credentials import CredentialProvider
from botocore.exceptions import CredentialRetrievalError

import adapters.management_api
from adapters.management_api import ManagementApi, management_api
from domain.errors import ConnectionGone, PostError, PostFailed, Throttled
from loadtest.bench.certificate import make_certificate
from local.management import PAYLOAD_LIMIT
from tests.contract.answers import Answers
from tests.unit.local.gateway_stage import GatewayStage, closed

pytestmark = pytest.mark.asyncio(loop_scope="session")

Open = Callable[..., AbstractAsyncContextManager[ManagementApi]]
"""(endpoint, concurrency) → the sockets there."""


@pytest.fixture(params=[False, True], ids=["client", "fast"])
def open_sockets(request: pytest.FixtureRequest, aws: aioboto3.Session) -> Open:
    """Each way to post in turn."""
    return partial(management_api, aws, fast_posts=request.param)


@pytest.fixture
def fast(aws: aioboto3.Session) -> Open:
    """The fast way alone, for what only it does."""
    return partial(management_api, aws, fast_posts=True)


@pytest_asyncio.fixture(loop_scope="session")
async def sockets(open_sockets: Open, answers: Answers) -> AsyncIterator[ManagementApi]:
    async with open_sockets(answers.endpoint, 32) as opened:
        yield opened


# ------------------------------------------------------------------------------------------------ answers


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (400, "BadRequestException", PostFailed),
        (403, "ForbiddenException", PostFailed),
        (410, "GoneException", ConnectionGone),
        (413, "PayloadTooLargeException", PostFailed),
        (429, "LimitExceededException", Throttled),
        (429, "TooManyRequestsException", Throttled),
        (500, "InternalServerErrorException", PostFailed),
        (502, "", PostFailed),
        (503, "ServiceUnavailableException", PostFailed),
    ],
)
@pytest.mark.parametrize("named", [True, False])
async def test_what_answers_mean(
    sockets: ManagementApi, answers: Answers, status: int, kind: str, expected: type[PostError], named: bool
) -> None:
    """By the error's name where the answer gives it, by the status where it does not; one request each."""
    answers.answer(status, headers={"x-amzn-ErrorType": kind} if named and kind else None)
    with pytest.raises(PostError) as caught:
        await sockets.post("c", b"{}", 3)
    assert type(caught.value) is expected
    assert str(caught.value) in {kind, str(status)}
    with pytest.raises(PostError) as caught:
        await sockets.close("c")
    assert type(caught.value) is expected
    assert [method for method, _, _ in answers.requests] == ["POST", "DELETE"]


async def test_a_redirect_is_not_followed(fast: Open, answers: Answers) -> None:
    """A signature holds for one host and path."""
    answers.answer(307, headers={"Location": f"{answers.endpoint}/elsewhere"})
    async with fast(answers.endpoint, 1) as sockets:
        with pytest.raises(PostFailed):
            await sockets.post("c", b"{}", 3)
    assert [path for _, path, _ in answers.requests] == ["/@connections/c"]


async def test_a_post_ends_at_its_deadline(
    open_sockets: Open, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if the client itself would wait for a minute; and the next post finds the client well."""
    monkeypatch.setattr(adapters.management_api, "READ_TIMEOUT", 60)
    async with open_sockets(answers.endpoint, 1) as sockets:
        answers.hang()
        with pytest.raises(PostFailed):
            await asyncio.wait_for(sockets.post("c", b"{}", 0.05), 30)
        answers.answer(200)
        await sockets.post("c", b"{}", 3)


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"]
)
async def test_a_service_that_hangs_up(open_sockets: Open, answer: bytes) -> None:
    """Before, or in the middle of its answer."""

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with open_sockets(endpoint, 1) as sockets:
            with pytest.raises(PostFailed):
                await sockets.post("c", b"{}", 3)


@pytest.mark.parametrize("length", [b"Content-Length: 9", b"Transfer-Encoding: chunked"])
async def test_an_answer_that_never_ends(open_sockets: Open, length: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is cut at the deadline, and its connection carries no other post."""
    monkeypatch.setattr(adapters.management_api, "READ_TIMEOUT", 60)
    opened: list[asyncio.StreamWriter] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(writer)
        await reader.readuntil(b"\r\n\r\n{}")
        writer.write(b"HTTP/1.1 200 OK\r\n" + (length if len(opened) == 1 else b"Content-Length: 0") + b"\r\n\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with open_sockets(endpoint, 1) as sockets:
            with pytest.raises(PostFailed):
                await asyncio.wait_for(sockets.post("c", b"{}", 0.05), 30)
            await sockets.post("c", b"{}", 3)
    assert len(opened) == 2


async def test_nobody_there(open_sockets: Open, deserted: str) -> None:
    """The connection is refused."""
    async with open_sockets(deserted, 1) as sockets:
        with pytest.raises(PostFailed):
            await sockets.post("c", b"{}", 3)


# ------------------------------------------------------------------------------------------------ connections


async def test_as_many_posts_at_once_as_it_was_made_for(sockets: ManagementApi, answers: Answers) -> None:
    """The pool holds a connection for each: all requests are there before the first is answered."""
    answers.hang()
    posts = [asyncio.create_task(sockets.post("c", b"{}", 3)) for _ in range(32)]
    for _ in posts:
        await asyncio.wait_for(answers.arrivals.acquire(), 10)
    assert not any(it.done() for it in posts)
    for it in posts:
        it.cancel()
    await asyncio.gather(*posts, return_exceptions=True)


async def test_no_more_connections_than_it_was_made_for(open_sockets: Open, answers: Answers) -> None:
    """However many posts there are, and whatever they are answered: an answer is read to its end."""
    answers.answer(429, body="Slow down! " * 10_000)
    async with open_sockets(answers.endpoint, 2) as sockets:
        posts = [sockets.post(f"c{number}", b"{}", 10) for number in range(40)]
        outcomes = await asyncio.gather(*posts, return_exceptions=True)
    assert {type(it) for it in outcomes} == {Throttled}
    assert len(answers.requests) == 40
    assert len(answers.peers) == 2


async def test_a_proxy_of_the_environment(
    open_sockets: Open, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It carries the posts, as it carries the client's other calls."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", answers.endpoint)
    async with open_sockets("http://gateway.invalid/dev", 1) as sockets:
        await sockets.post("c=", b"{}", 3)
    assert answers.requests == [("POST", "http://gateway.invalid/dev/@connections/c%3D", b"{}")]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and its certificate for 127.0.0.1."""
    if shutil.which("openssl") is None:
        pytest.skip("this machine has no openssl command")
    return await make_certificate(tmp_path_factory.mktemp("tls"))


@pytest_asyncio.fixture(loop_scope="session")
async def secure_answers(pem: Path) -> AsyncIterator[Answers]:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pem)
    async with Answers(tls) as server:
        yield server


async def test_a_certificate_that_is_trusted(
    open_sockets: Open, secure_answers: Answers, pem: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the environment names its authority."""
    monkeypatch.setenv("AWS_CA_BUNDLE", str(pem))
    async with open_sockets(secure_answers.endpoint, 1) as sockets:
        for _ in range(3):
            await sockets.post("c", b"{}", 3)
    assert secure_answers.endpoint.startswith("https://")
    assert len(secure_answers.requests) == 3
    assert len(secure_answers.peers) == 1


async def test_a_certificate_that_nobody_knows(
    open_sockets: Open, secure_answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent to a server that can't prove who it is."""
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    async with open_sockets(secure_answers.endpoint, 1) as sockets:
        with pytest.raises(PostFailed):
            await sockets.post("c", b"{}", 3)
    assert secure_answers.requests == []


async def test_what_is_used_of_aiobotocore_s_private_names() -> None:
    """`_get_session` gives the one aiohttp session for a proxy, or for none, as the client was told to make it."""
    arguments: dict[str, Any] = {"proxies": None, "proxies_config": None, "max_pool_connections": 7}
    async with AIOHTTPSession(**arguments) as http:
        session = await http._get_session(None)  # type: ignore[attr-defined]  # this is the watch over it
        assert isinstance(session, aiohttp.ClientSession)
        assert session.connector is not None
        assert session.connector.limit == 7
        assert await http._get_session(None) is session  # type: ignore[attr-defined]  # as above


# ------------------------------------------------------------------------------------------------ requests


@pytest.mark.parametrize("connection", ["Bench0A=", "a/b+c==", "ü%2F~"])
@pytest.mark.parametrize("frame", [b"", b"x" * 32_768], ids=["empty", "32 KB"])
async def test_both_ways_send_the_same(aws: aioboto3.Session, answers: Answers, connection: str, frame: bytes) -> None:
    """Path and body byte for byte, and every header that means something, the signature among them."""
    endpoint = f"{answers.endpoint}/dev"
    async with management_api(aws, endpoint, 1, fast_posts=False) as sockets:
        await sockets.post(connection, frame, 3)
    signed_at = calendar.timegm(time.strptime(answers.headers[0]["X-Amz-Date"], "%Y%m%dT%H%M%SZ"))
    async with management_api(aws, endpoint, 1, fast_posts=True, now=lambda: signed_at + 0.9) as sockets:
        await sockets.post(connection, frame, 3)
    assert answers.requests[0] == answers.requests[1]
    # Each try of a client's call has a number, which nobody reads, and the client writes its version behind our name.
    client, fast = ({name.lower(): value for name, value in it.items()} for it in answers.headers)
    assert {name: value for name, value in client.items() if not name.startswith("amz-sdk-")} == {
        **fast,
        "user-agent": client["user-agent"],
    }
    assert client["user-agent"].startswith(fast["user-agent"])


# ------------------------------------------------------------------------------------------------ credentials


class Rotating(CredentialProvider):
    """Credentials that are good for an hour of a test's own time; each refresh gives others."""

    METHOD = "rotating"

    def __init__(self) -> None:
        super().__init__()
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.refreshed = 0
        self.available = True

    def owner(self) -> aioboto3.Session:
        """A session that has them."""
        session = aiobotocore.session.get_session()
        session.get_component("credential_provider").insert_before("env", self)
        return aioboto3.Session(botocore_session=session, region_name="us-east-1")

    async def load(self) -> AioRefreshableCredentials:
        first = await self._refresh()
        expiry = datetime.fromisoformat(first.pop("expiry_time"))
        return AioRefreshableCredentials(
            **first, expiry_time=expiry, refresh_using=self._refresh, method=self.METHOD, time_fetcher=lambda: self.now
        )

    async def _refresh(self) -> dict[str, Any]:
        if not self.available:
            raise CredentialRetrievalError(provider=self.METHOD, error_msg="away")
        self.refreshed += 1
        expiry = (self.now + timedelta(hours=1)).isoformat()
        return {"access_key": f"AK{self.refreshed}", "secret_key": "s", "token": "t", "expiry_time": expiry}


@pytest.mark.parametrize("fast_posts", [False, True], ids=["client", "fast"])
async def test_credentials_are_refreshed_before_they_expire(answers: Answers, fast_posts: bool) -> None:
    """The next second's posts have the new ones; expired ones are never sent, whatever becomes of the refresh."""
    rotating = Rotating()

    def now() -> float:
        return rotating.now.timestamp()

    async with management_api(rotating.owner(), answers.endpoint, 1, fast_posts=fast_posts, now=now) as sockets:
        await sockets.post("c", b"{}", 3)
        rotating.now += timedelta(minutes=40)
        await sockets.post("c", b"{}", 3)
        rotating.now += timedelta(minutes=10)
        await sockets.post("c", b"{}", 3)
        rotating.now += timedelta(hours=2)
        rotating.available = False
        with pytest.raises(PostFailed):
            await sockets.post("c", b"{}", 3)
        rotating.available = True
        await sockets.post("c", b"{}", 3)
    used = [it["Authorization"].partition("Credential=")[2].partition("/")[0] for it in answers.headers]
    assert used == ["AK1", "AK1", "AK2", "AK3"]


@pytest.mark.parametrize("fast_posts", [False, True], ids=["client", "fast"])
async def test_without_credentials(answers: Answers, fast_posts: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent unsigned."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    session = aioboto3.Session(region_name="us-east-1")
    async with management_api(session, answers.endpoint, 1, fast_posts=fast_posts) as sockets:
        with pytest.raises(PostFailed, match="NoCredentialsError"):
            await sockets.post("c", b"{}", 3)
    assert answers.requests == []


# ------------------------------------------------------------------------------------------------ the twin's gateway


async def test_on_the_twin_s_gateway(open_sockets: Open) -> None:
    """Frames arrive, a closed connection is gone, too large a frame fails, and beyond the rate posts are throttled."""
    async with GatewayStage(rate=1, burst=5) as stage, open_sockets(stage.gateway.management_endpoint, 4) as sockets:
        socket, connection = await stage.enter()  # the first of five requests
        await sockets.post(connection, '{"message":"ü"}'.encode(), 3)
        assert await socket.recv() == '{"message":"ü"}'
        with pytest.raises(PostFailed):
            await sockets.post(connection, b"x" * (PAYLOAD_LIMIT + 1), 3)
        await sockets.close(connection)
        assert (await closed(socket))[0] == 1000
        with pytest.raises(ConnectionGone):
            await sockets.post(connection, b"{}", 3)
        with pytest.raises(ConnectionGone):
            await sockets.post("never", b"{}", 3)
        with pytest.raises(Throttled):
            await sockets.post("never", b"{}", 3)
