"""The gateway's limits, met by real clients: sizes, rates, times, buffers, and what gets lost.

Each is API Gateway's, and each test names the document that states it: docs/gateway.md has them all.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection

from local.gateway import BURST, IDLE_MS, LIFETIME_MS, RATE
from local.handshake import INTEGRATION_SECONDS
from local.sockets import FRAME_LIMIT, MESSAGE_LIMIT
from tests.unit.local.gateway_stage import GatewayStage, closed, refusal
from tests.unit.local.processes import until

MINUTE = 60.0


@pytest.fixture
async def stage() -> AsyncIterator[GatewayStage]:
    async with GatewayStage() as stage:
        yield stage


async def frame(socket: ClientConnection) -> Any:
    """The next message, which is JSON."""
    return json.loads(await socket.recv())


# ---- sizes


async def test_a_frame_beyond_32_kb_closes_with_1009(stage: GatewayStage) -> None:
    """One of exactly 32 KB is taken.

    Developer guide, “Quotas for configuring and running a WebSocket API”: WebSocket frame size.
    """
    stage.message.answer = {"body": "taken"}
    async with await stage.open() as socket:
        await socket.send("x" * 32 * 1024)
        assert await socket.recv() == "taken"
        await socket.send("x" * (32 * 1024 + 1))
        assert (await closed(socket))[0] == 1009
    assert len(stage.message.events) == 1


async def test_a_message_beyond_128_kb_closes_with_1009(stage: GatewayStage) -> None:
    """In frames of 32 KB, four are taken as one message, and five are not.

    Developer guide, “Quotas for configuring and running a WebSocket API”: message payload size.
    """
    part = "x" * 32 * 1024
    async with await stage.open() as socket:
        stage.message.answer = {"body": "taken"}
        await socket.send([part] * 4)
        assert await socket.recv() == "taken"
        assert len(stage.message.events[0]["body"]) == 128 * 1024
        await socket.send([part] * 5)
        assert (await closed(socket))[0] == 1009
    assert len(stage.message.events) == 1


async def test_a_large_answer_comes_in_frames_of_32_kb(stage: GatewayStage) -> None:
    """Up to 128 KB of it; beyond, the client gets the gateway's error, and no answer.

    Developer guide, “Quotas for configuring and running a WebSocket API”: both sizes.
    """
    async with await stage.open() as socket:
        stage.message.answer = {"body": "x" * MESSAGE_LIMIT}
        await socket.send("large")
        assert [len(it) async for it in socket.recv_streaming()] == [FRAME_LIMIT] * 4
        stage.message.answer = {"body": "ž" * (MESSAGE_LIMIT // 2) + "x"}
        await socket.send("too large")
        assert (await frame(socket))["message"] == "Internal server error"


# ---- times


async def test_an_idle_connection_is_closed(stage: GatewayStage) -> None:
    """After ten minutes without a message; a message either way begins them anew, a control frame does not.

    Developer guide, “Quotas for configuring and running a WebSocket API”: idle connection timeout.
    """
    assert IDLE_MS == 10 * MINUTE * 1000
    stage.message.answer = {"body": "pong"}
    (idle, _), (asking, _), (hearing, hearing_id), (pinging, _) = [await stage.enter() for _ in range(4)]
    stage.clock.advance(9 * MINUTE)
    await asking.send("ping")
    await asking.recv()
    assert stage.gateway.post(hearing_id, b"news") == 200
    await (await pinging.ping())
    stage.clock.advance(1 * MINUTE)
    for it in (idle, pinging):
        assert await closed(it) == (1001, "Going away")
    assert stage.gateway.open_connections == 2
    stage.clock.advance(9 * MINUTE)
    for it in (asking, hearing):
        assert await closed(it) == (1001, "Going away")
    await until(lambda: len(stage.disconnect.events) == 4)


async def test_a_slow_answer_keeps_a_connection_from_being_idle(stage: GatewayStage) -> None:
    """The answer is a message, too.

    Developer guide, “Quotas for configuring and running a WebSocket API”: idle connection timeout.
    """
    answered = asyncio.Event()

    async def slow(event: dict[str, Any]) -> dict[str, Any]:
        await answered.wait()
        return {"body": "at last"}

    stage.message.answer = slow
    socket, connection_id = await stage.enter()
    await socket.send("ask")
    await until(lambda: stage.message.events)
    stage.clock.advance(9 * MINUTE)
    answered.set()
    assert await socket.recv() == "at last"
    found = stage.gateway.describe(connection_id)
    assert found is not None
    assert found["lastActiveAt"] > found["connectedAt"]
    stage.clock.advance(9 * MINUTE)
    assert stage.gateway.post(connection_id, b"x") == 200
    assert await socket.recv() == "x"
    await socket.close()


async def test_no_connection_lives_longer_than_two_hours(stage: GatewayStage) -> None:
    """However busy it is.

    Developer guide, “Quotas for configuring and running a WebSocket API”: connection duration.
    """
    assert LIFETIME_MS == 120 * MINUTE * 1000
    socket, connection_id = await stage.enter()
    for _ in range(24):
        assert stage.gateway.post(connection_id, b"still there?") == 200
        assert await socket.recv() == "still there?"
        stage.clock.advance(5 * MINUTE)
    assert await closed(socket) == (1001, "Going away")
    await until(lambda: stage.disconnect.events)
    assert stage.disconnect.events[0]["requestContext"]["disconnectStatusCode"] == 1001


async def test_a_function_that_takes_too_long_is_not_waited_for() -> None:
    """A request gets the gateway's error, a handshake 504, and what the function answers later goes nowhere.

    Developer guide, “Quotas for configuring and running a WebSocket API”: integration timeout, 50 ms to 29 s; the frame
    as in issue 1406 of aws/chalice.
    """
    assert INTEGRATION_SECONDS == 29
    forever = asyncio.Event()

    async def hang(event: dict[str, Any]) -> None:
        await forever.wait()

    async with GatewayStage(integration_timeout=0.05) as stage, await stage.open() as socket:
        stage.message.answer = hang
        await socket.send("x")
        context = stage.connect.events[0]["requestContext"]
        answer = await frame(socket)
        assert answer["message"] == "Endpoint request timed out"
        assert answer["connectionId"] == context["connectionId"]
        stage.connect.answer = hang
        status, body = await refusal(stage)
        assert (status, body["message"]) == (504, "Endpoint request timed out")
        stage.authorizer.answer = hang
        assert (await refusal(stage))[0] == 500


async def test_a_disconnect_without_a_free_environment_counts_as_lost() -> None:
    """Nobody waits for it for ever: a load test asks whether any is still owed."""
    forever = asyncio.Event()

    async def hang(event: dict[str, Any]) -> None:
        await forever.wait()

    async with GatewayStage(integration_timeout=0.05) as stage:
        stage.disconnect.answer = hang
        await (await stage.open()).close()
        await until(lambda: stage.gateway.tally.lost_disconnects == 1)
        assert stage.gateway.tally.disconnects == 0


# ---- rates


async def test_the_account_has_one_rate() -> None:
    """10,000 a second and a bucket of 5,000, for handshakes, clients' messages and `@connections` together.

    Developer guide, “Amazon API Gateway quotas”: throttle quota per account, per Region across … WebSocket APIs, and
    WebSocket callback APIs; “Protect your WebSocket APIs in API Gateway”: a token bucket.
    """
    assert (RATE, BURST) == (10_000, 5_000)
    async with GatewayStage(rate=1, burst=4) as stage:
        stage.message.answer = {"body": "fine"}
        socket, connection_id = await stage.enter()
        await socket.send("second")
        assert await socket.recv() == "fine"
        async with stage.api() as api:
            await api.post_to_connection(ConnectionId=connection_id, Data=b"third")
            assert await socket.recv() == "third"
            await api.get_connection(ConnectionId=connection_id)
            with pytest.raises(api.exceptions.LimitExceededException):
                await api.get_connection(ConnectionId=connection_id)
        assert (await refusal(stage))[0] == 429
        await socket.close()


async def test_handshakes_beyond_the_rate_are_throttled() -> None:
    """429 until the bucket has refilled; no function is asked.

    Developer guide, “Protect your WebSocket APIs in API Gateway”: 429 Too Many Requests.
    """
    async with GatewayStage(rate=1, burst=1) as stage, await stage.open():
        assert await refusal(stage) == (429, {"message": "Too Many Requests"})
        assert len(stage.authorizer.events) == 1
        stage.clock.advance(1)
        async with await stage.open():
            assert stage.gateway.tally.connects == 2
        assert stage.gateway.tally.throttled == 1


async def test_messages_beyond_the_rate_are_throttled() -> None:
    """They get an error frame and reach no function; the socket stays open.

    Developer guide, “Protect your WebSocket APIs in API Gateway”: 429 Too Many Requests.
    """
    async with GatewayStage(rate=1, burst=2) as stage, await stage.open() as socket:
        stage.message.answer = {"body": "fine"}
        await socket.send("1")
        assert await socket.recv() == "fine"
        await socket.send("2")
        context = stage.connect.events[0]["requestContext"]
        answer = await frame(socket)
        assert (answer["message"], answer["connectionId"]) == ("Too Many Requests", context["connectionId"])
        assert set(answer) == {"message", "connectionId", "requestId"}
        assert len(stage.message.events) == 1
        stage.clock.advance(1)
        await socket.send("3")
        assert await socket.recv() == "fine"


# ---- what gets lost


async def test_answers_to_a_client_that_does_not_read_are_lost(stage: GatewayStage) -> None:
    """Once its buffer is full, as posts to it are refused.

    Management API reference, “PostToConnection”: LimitExceededException, “the WebSocket client side buffer is full”.
    """
    stage.message.answer = {"body": "x" * MESSAGE_LIMIT}
    socket, _ = await stage.enter()
    socket.transport.pause_reading()
    while not stage.gateway.tally.dropped:
        asked = len(stage.message.events)
        await socket.send("more")
        await until(lambda before=asked: len(stage.message.events) > before)  # type: ignore[misc]  # a default's type
    socket.transport.abort()


async def test_disconnects_can_be_lost() -> None:
    """A gateway that loses them says so in its tally; from the moment it no longer does, they come.

    Developer guide, “Manage connected users and client apps: $connect and $disconnect routes”: “$disconnect is a
    best-effort event”.
    """
    async with GatewayStage(lose_disconnects=True) as stage:
        for _ in range(2):
            await (await stage.open()).close()
        await until(lambda: stage.gateway.tally.lost_disconnects == 2)
        stage.gateway.lose_disconnects = False
        await (await stage.open()).close()
        await until(lambda: stage.disconnect.events)
        [event] = stage.disconnect.events
        last = stage.connect.events[-1]["requestContext"]
        assert event["requestContext"]["connectionId"] == last["connectionId"]
        assert (stage.gateway.tally.disconnects, stage.gateway.tally.lost_disconnects) == (1, 2)
