"""ManagementApi, beside its contract: what answers mean, and that it tries nothing twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aioboto3
import pytest
import pytest_asyncio
from aiobotocore.config import AioConfig

from adapters.management_api import ManagementApi, management_client_config
from domain.errors import ConnectionGone, PostError, PostFailed, Throttled
from tests.contract.answers import Answers

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def sockets(aws: aioboto3.Session, answers: Answers) -> AsyncIterator[ManagementApi]:
    config = management_client_config(32)
    async with aws.client("apigatewaymanagementapi", endpoint_url=answers.endpoint, config=config) as client:
        yield ManagementApi(client)


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
    with pytest.raises(PostError) as caught:
        await sockets.close("c")
    assert type(caught.value) is expected
    assert [method for method, _, _ in answers.requests] == ["POST", "DELETE"]


async def test_a_post_ends_at_its_deadline(aws: aioboto3.Session, answers: Answers) -> None:
    """Even if the client itself would wait for a minute; and the next post finds the client well."""
    patient = management_client_config(1).merge(AioConfig(read_timeout=60))
    async with aws.client("apigatewaymanagementapi", endpoint_url=answers.endpoint, config=patient) as client:
        sockets = ManagementApi(client)
        answers.hang()
        with pytest.raises(PostFailed):
            await asyncio.wait_for(sockets.post("c", b"{}", 0.05), 30)
        answers.answer(200)
        await sockets.post("c", b"{}", 3)


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


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200", b"nonsense\r\n\r\n"])
async def test_a_service_that_hangs_up(aws: aioboto3.Session, answer: bytes) -> None:
    """Before, or in the middle of its answer."""

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        config = management_client_config(1)
        async with aws.client("apigatewaymanagementapi", endpoint_url=endpoint, config=config) as client:
            with pytest.raises(PostFailed):
                await ManagementApi(client).post("c", b"{}", 3)


async def test_nobody_there(aws: aioboto3.Session, deserted: str) -> None:
    """The connection is refused."""
    config = management_client_config(1)
    async with aws.client("apigatewaymanagementapi", endpoint_url=deserted, config=config) as client:
        with pytest.raises(PostFailed):
            await ManagementApi(client).post("c", b"{}", 3)
