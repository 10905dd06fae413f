"""The gateway's HTTP API, called by a plain HTTP client.

Where a rule is API Gateway's, the test names the document that states it: docs/gateway.md has them all.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from local.functions import FunctionError
from local.http_api import HttpApi
from tests.unit.local.fakes import FakeFunction
from tests.unit.local.gateway_stage import GatewayStage

TAKEN = {
    "statusCode": 202,
    "headers": {"Content-Type": "application/json", "Retry-After": "7"},
    "body": '{"seq":1}',
}


@pytest.fixture
def function() -> FakeFunction:
    return FakeFunction(TAKEN)


@pytest.fixture
async def stage(function: FakeFunction) -> AsyncIterator[GatewayStage]:
    async with GatewayStage(http_api=HttpApi(function, timeout=0.05)) as stage:
        yield stage


async def ask(stage: GatewayStage, method: str, path: str, **options: Any) -> tuple[int, Any]:
    """Status and decoded body."""
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"{stage.gateway.page_url}{path}", **options) as response,
    ):
        return response.status, await response.json()


async def test_a_hooks_post_is_an_event_of_format_2(stage: GatewayStage, function: FakeFunction) -> None:
    """With the path's parameter, headers in small letters, and a body that is text where its type says so; what the
    function answers is the answer.

    Developer guide, “Create AWS Lambda proxy integrations for HTTP APIs in API Gateway”.
    """
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{stage.gateway.page_url}hooks/general~1", json={"message": "hi"}) as response,
    ):
        assert (response.status, response.headers["Retry-After"], await response.json()) == (202, "7", {"seq": 1})
    await ask(stage, "POST", "hooks/general~1", data=b"{}", headers={"Webhook-Id": "msg"})
    text, encoded = function.events
    assert (text["version"], text["pathParameters"]) == ("2.0", {"hook": "general~1"})
    assert (text["body"], text["isBase64Encoded"]) == ('{"message": "hi"}', False)
    assert (encoded["body"], encoded["isBase64Encoded"], encoded["headers"]["webhook-id"]) == ("e30=", True, "msg")


async def test_other_methods_and_paths_are_not_found(stage: GatewayStage, function: FakeFunction) -> None:
    """No function is asked.

    Developer guide, “Create routes for HTTP APIs in API Gateway”.
    """
    for method, path in (
        ("GET", "hooks/general~1"),
        ("PUT", "hooks/general~1"),
        ("OPTIONS", "hooks/general~1"),
        ("POST", "hooks/"),
        ("POST", "hooks/general~1/more"),
    ):
        assert await ask(stage, method, path) == (404, {"message": "Not Found"})
    assert function.events == []


async def test_hooks_share_the_accounts_rate(stage: GatewayStage, function: FakeFunction) -> None:
    """Beyond it 429.

    Developer guide, “Throttle requests to your HTTP APIs for better throughput in API Gateway”.
    """
    stage.gateway.throttle(1, 1)
    assert (await ask(stage, "POST", "hooks/general~1"))[0] == 202
    assert await ask(stage, "POST", "hooks/general~1") == (429, {"message": "Too Many Requests"})
    assert len(function.events) == 1


async def test_a_hooks_function_that_fails_or_hangs(stage: GatewayStage, function: FakeFunction) -> None:
    """500 and 503, by the gateway's own words; so is an answer that is none, and a body that is too large is 413."""
    for answer in (FunctionError("ValueError", "no"), {}, {"statusCode": "many"}):
        function.answer = answer
        assert await ask(stage, "POST", "hooks/general~1") == (500, {"message": "Internal Server Error"})

    async def hang(event: Any) -> Any:
        await asyncio.Event().wait()

    function.answer = hang
    assert await ask(stage, "POST", "hooks/general~1") == (503, {"message": "Service Unavailable"})
    too_large = await ask(stage, "POST", "hooks/general~1", data=io.BytesIO(b" " * (1024**2 + 1)))
    assert too_large == (413, {"message": "Request Entity Too Large"})
