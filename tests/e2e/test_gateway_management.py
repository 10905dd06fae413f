"""The gateway's `@connections`, called by real SDKs.

Where a rule is API Gateway's, the test names the document that states it: docs/gateway.md has them all.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import boto3
import pytest
from botocore.exceptions import ClientError

from local.gateway import Gateway
from local.sockets import BUFFER_LIMIT, FRAME_LIMIT
from tests.unit.local.gateway_stage import GatewayStage, closed
from tests.unit.local.processes import until


@pytest.fixture
async def stage() -> AsyncIterator[GatewayStage]:
    async with GatewayStage() as stage:
        yield stage


def code(error: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    """Name and HTTP status of an SDK's error."""
    response = error.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


async def test_a_post_reaches_its_client_as_text(stage: GatewayStage) -> None:
    """The very bytes, in a text frame, to that one connection.

    Developer guide, “Use @connections commands in your backend service”.
    """
    first, first_id = await stage.enter()
    second, second_id = await stage.enter()
    async with stage.api() as api:
        await api.post_to_connection(ConnectionId=first_id, Data='{"to":"žluť"}'.encode())
        await api.post_to_connection(ConnectionId=second_id, Data=b"second")
    assert await first.recv() == '{"to":"žluť"}'
    assert await second.recv() == "second"
    assert stage.gateway.posts.sent == 2
    for it in (first, second):
        await it.close()


async def test_ids_that_need_encoding_work(stage: GatewayStage, monkeypatch: pytest.MonkeyPatch) -> None:
    """`+`, `/` and `=` are in real ids, and come percent-encoded."""
    monkeypatch.setattr("local.gateway.new_id", lambda: "a+b/c+d/e+f/g+h=")
    socket, connection_id = await stage.enter()
    async with stage.api() as api:
        await api.post_to_connection(ConnectionId=connection_id, Data=b"x")
        assert await socket.recv() == "x"
        assert (await api.get_connection(ConnectionId=connection_id))["Identity"]["SourceIp"] == "127.0.0.1"
    await socket.close()


async def test_boto3_works_as_well(stage: GatewayStage) -> None:
    """The SDK without asyncio, with its errors by name."""
    socket, connection_id = await stage.enter()

    def post() -> str:
        session = boto3.Session(region_name="us-east-1", aws_access_key_id="any", aws_secret_access_key="any")
        api = session.client("apigatewaymanagementapi", endpoint_url=stage.gateway.management_endpoint)
        try:
            api.post_to_connection(ConnectionId=connection_id, Data=b"hello")
            api.post_to_connection(ConnectionId="nobody=", Data=b"hello")
        except api.exceptions.GoneException:
            return "gone"
        finally:
            api.close()
        return "delivered"

    assert await asyncio.to_thread(post) == "gone"
    assert await socket.recv() == "hello"
    await socket.close()


async def test_a_pending_connection_is_gone(stage: GatewayStage) -> None:
    """A post, a look and a delete within `$connect` get 410: there is no connection yet.

    Knowledge Center, “How do I troubleshoot 410 GoneException errors with Amazon API Gateway WebSocket APIs?”.
    """
    outcomes: list[tuple[str, int]] = []

    async def post_at_once(event: dict[str, Any]) -> dict[str, Any]:
        connection_id = event["requestContext"]["connectionId"]
        async with stage.api() as api:
            for call in (
                api.post_to_connection(ConnectionId=connection_id, Data=b"welcome"),
                api.get_connection(ConnectionId=connection_id),
                api.delete_connection(ConnectionId=connection_id),
            ):
                with pytest.raises(ClientError) as caught:
                    await call
                outcomes.append(code(caught))
        return {"statusCode": 200}

    stage.connect.answer = post_at_once
    async with await stage.open():
        assert outcomes == [("GoneException", 410)] * 3
        assert stage.gateway.posts.gone == 1


async def test_a_closed_connection_is_gone(stage: GatewayStage) -> None:
    """Once the client has closed, and when it left without a word.

    Management API reference, “PostToConnection”: GoneException.
    """
    polite, polite_id = await stage.enter()
    rude, rude_id = await stage.enter()
    await polite.close()
    rude.transport.abort()
    await until(lambda: stage.gateway.open_connections == 0)
    async with stage.api() as api:
        for connection_id in (polite_id, rude_id):
            with pytest.raises(api.exceptions.GoneException):
                await api.post_to_connection(ConnectionId=connection_id, Data=b"x")


async def test_get_tells_about_the_connection(stage: GatewayStage) -> None:
    """When it came, when it was last active, and who it is.

    Management API reference, “GetConnection”.
    """
    socket, connection_id = await stage.enter()
    stage.clock.advance(60)
    async with stage.api() as api:
        await api.post_to_connection(ConnectionId=connection_id, Data=b"x")
        found = await api.get_connection(ConnectionId=connection_id)
    assert (found["LastActiveAt"] - found["ConnectedAt"]).total_seconds() == 60
    assert int(found["ConnectedAt"].timestamp() * 1000) == stage.clock.now() - 60_000
    assert "websockets" in found["Identity"]["UserAgent"]
    await socket.close()


async def test_delete_closes_the_socket(stage: GatewayStage) -> None:
    """At once nothing can be posted, and `$disconnect` runs.

    Management API reference, “DeleteConnection”; the code 1000 is not documented.
    """
    socket, connection_id = await stage.enter()
    async with stage.api() as api:
        answer = await api.delete_connection(ConnectionId=connection_id)
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
        with pytest.raises(api.exceptions.GoneException):
            await api.post_to_connection(ConnectionId=connection_id, Data=b"x")
    assert await closed(socket) == (1000, "Connection Closed Normally")
    await until(lambda: stage.disconnect.events)
    assert stage.disconnect.events[0]["requestContext"]["disconnectStatusCode"] == 1000


async def test_a_payload_beyond_128_kb_is_refused(stage: GatewayStage) -> None:
    """One of exactly 128 KB is delivered, as one message.

    Management API reference, “PostToConnection”: PayloadTooLargeException; developer guide, “Quotas for configuring and
    running a WebSocket API”: 128 KB.
    """
    socket, connection_id = await stage.enter()
    async with stage.api() as api:
        await api.post_to_connection(ConnectionId=connection_id, Data=b"x" * 128 * 1024)
        assert len(await socket.recv()) == 128 * 1024
        with pytest.raises(ClientError) as caught:
            await api.post_to_connection(ConnectionId=connection_id, Data=b"x" * (128 * 1024 + 1))
    assert code(caught) == ("PayloadTooLargeException", 413)
    assert (stage.gateway.posts.sent, stage.gateway.posts.failed) == (1, 1)
    assert stage.gateway.tally.messages_out == 4
    await socket.close()


async def test_a_post_without_a_length_is_measured(stage: GatewayStage) -> None:
    """Sent in chunks, more than 128 KB is 413 as well."""
    socket, connection_id = await stage.enter()

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"x" * FRAME_LIMIT

    url = f"{stage.gateway.management_endpoint}/@connections/{connection_id}"
    async with (
        aiohttp.ClientSession() as http,
        http.post(url, data=chunks(), headers={"Authorization": "AWS4-HMAC-SHA256 …"}) as answer,
    ):
        assert answer.status == 413
    await socket.close()


async def test_a_post_is_handed_on_as_it_came(stage: GatewayStage) -> None:
    """Whatever encoding a header claims for it, nothing is unpacked, and nothing fails."""
    socket, connection_id = await stage.enter()
    url = f"{stage.gateway.management_endpoint}/@connections/{connection_id}"
    headers = {"Authorization": "AWS4-HMAC-SHA256 …", "Content-Encoding": "gzip"}
    async with aiohttp.ClientSession() as http, http.post(url, data=b"hello", headers=headers) as answer:
        assert answer.status == 200
    assert await socket.recv() == "hello"
    await socket.close()


async def test_a_caller_that_goes_away_within_its_post_leaves_no_error(
    stage: GatewayStage, caplog: pytest.LogCaptureFixture
) -> None:
    """It counts as a post that failed; nothing is raised, and the next is served."""
    port = int(stage.gateway.page_url.rsplit(":", 1)[1].strip("/"))
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    # At its end a reset, as where a process is killed.
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    head = b"POST /dev/@connections/nobody HTTP/1.1\r\nHost: twin\r\nAuthorization: AWS4-HMAC-SHA256 x\r\n"
    writer.write(head + b"Content-Length: 5\r\n\r\nhel")
    # It has come once another, which came later, is answered.
    async with aiohttp.ClientSession() as http, http.get(stage.gateway.page_url) as answer:
        assert answer.status == 200
    writer.transport.abort()
    await until(lambda: stage.gateway.posts.failed == 1)
    assert caplog.records == []


async def test_a_large_post_comes_in_frames_of_32_kb(stage: GatewayStage) -> None:
    """One message, in as many frames as it takes, so that a client that counts frames takes it.

    Developer guide, “Quotas for configuring and running a WebSocket API”: “This applies to @connections commands”.
    """
    socket, connection_id = await stage.enter()
    data = "ž" * FRAME_LIMIT + "end"
    async with stage.api() as api:
        await api.post_to_connection(ConnectionId=connection_id, Data=data.encode())
    frames = [it async for it in socket.recv_streaming(decode=False)]
    assert b"".join(frames).decode() == data
    assert [len(it) for it in frames] == [FRAME_LIMIT, FRAME_LIMIT, 3]
    await socket.close()


async def test_calls_beyond_the_rate_are_throttled() -> None:
    """429 by name, until the bucket has refilled; the rate is shared with the sockets.

    Developer guide, “Amazon API Gateway quotas”: one throttle for WebSocket APIs and WebSocket callback APIs.
    """
    async with GatewayStage(rate=1, burst=2) as stage, stage.api() as api:
        socket, connection_id = await stage.enter()
        await api.post_to_connection(ConnectionId=connection_id, Data=b"x")
        for call in (
            api.post_to_connection(ConnectionId=connection_id, Data=b"x"),
            api.get_connection(ConnectionId=connection_id),
            api.delete_connection(ConnectionId=connection_id),
        ):
            with pytest.raises(ClientError) as caught:
                await call
            assert code(caught) == ("LimitExceededException", 429)
        stage.clock.advance(1)
        await api.post_to_connection(ConnectionId=connection_id, Data=b"x")
        assert (stage.gateway.posts.sent, stage.gateway.posts.throttled) == (2, 1)
        await socket.close()


async def test_a_client_that_does_not_read_is_throttled_alone(stage: GatewayStage) -> None:
    """When its buffer is full its posts get 429 at once; other clients get theirs.

    Management API reference, “PostToConnection”: LimitExceededException, “the WebSocket client side buffer is full”.
    """
    slow, slow_id = await stage.enter()
    quick, quick_id = await stage.enter()
    slow.transport.pause_reading()
    frame = b"x" * 128 * 1024
    async with stage.api() as api:
        with pytest.raises(ClientError) as caught:  # noqa: PT012  # how many fit is the system's choice
            for _ in itertools.count():
                await api.post_to_connection(ConnectionId=slow_id, Data=frame)
        assert code(caught) == ("LimitExceededException", 429)
        await api.post_to_connection(ConnectionId=quick_id, Data=b"x")
        assert await quick.recv() == "x"
    assert stage.gateway.posts.sent * len(frame) > BUFFER_LIMIT
    slow.transport.abort()
    await quick.close()


async def test_unsigned_calls_and_other_stages_are_forbidden(stage: GatewayStage) -> None:
    """403 with the header by which SDKs know the error; nothing is delivered.

    Developer guide, “Use @connections commands in your backend service”: requests are signed.
    """
    socket, connection_id = await stage.enter()
    base = stage.gateway.page_url
    signed = {"Authorization": "AWS4-HMAC-SHA256 …"}
    async with aiohttp.ClientSession() as http:
        for url, headers in ((f"{base}dev", {}), (f"{base}prod", signed)):
            async with http.post(f"{url}/@connections/{connection_id}", data=b"x", headers=headers) as answer:
                assert (answer.status, answer.headers["x-amzn-ErrorType"]) == (403, "ForbiddenException")
        async with http.put(f"{base}dev/@connections/{connection_id}", headers=signed) as answer:
            assert answer.status == 403
    assert stage.gateway.posts.sent == 0
    await socket.close()


async def test_the_page_and_the_status(stage: GatewayStage) -> None:
    """A person finds the WebSocket URL, a program the counters."""
    async with aiohttp.ClientSession() as http:
        async with http.get(stage.gateway.page_url) as answer:
            assert answer.content_type == "text/html"
        async with http.get(f"{stage.gateway.page_url}config.json") as answer:
            assert (await answer.json())["ws"] == stage.gateway.ws_url
        async with http.get(f"{stage.gateway.page_url}twin") as answer:
            assert (await answer.json())["ws"] == stage.gateway.ws_url


async def test_posts_take_the_latency_they_are_told() -> None:
    """Each post asks for its own."""
    latencies = iter([0.0, 0.001])
    async with GatewayStage(post_latency=lambda: next(latencies)) as stage, stage.api() as api:
        socket, connection_id = await stage.enter()
        for text in ("first", "second"):
            await api.post_to_connection(ConnectionId=connection_id, Data=text.encode())
            assert await socket.recv() == text
        assert list(latencies) == []
        await socket.close()


class LossyGateway(Gateway):
    """Loses what says so."""

    def _deliver(self, connection_id: str, frame: bytes) -> None:
        if frame != b"lost":
            super()._deliver(connection_id, frame)


async def test_a_test_can_lose_a_delivery() -> None:
    """The seam by which an audit is shown to fail: the post is answered with 200, the client gets nothing."""
    async with GatewayStage(gateway_class=LossyGateway) as stage, stage.api() as api:
        socket, connection_id = await stage.enter()
        await api.post_to_connection(ConnectionId=connection_id, Data=b"lost")
        await api.post_to_connection(ConnectionId=connection_id, Data=b"found")
        assert await socket.recv() == "found"
        assert stage.gateway.posts.sent == 2
        await socket.close()
