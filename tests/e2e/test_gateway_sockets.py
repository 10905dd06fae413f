"""The gateway's sockets, seen by real clients: handshakes, requests, closes.

Where a rule is API Gateway's, the test names the document that states it: docs/gateway.md has them all.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from websockets.exceptions import InvalidStatus
from websockets.protocol import State

from local.functions import FunctionCrashed, FunctionError, FunctionTimeout
from tests.unit.local.fakes import DENY
from tests.unit.local.gateway_stage import GatewayStage, closed, refusal
from tests.unit.local.processes import until


@pytest.fixture
async def stage() -> AsyncIterator[GatewayStage]:
    async with GatewayStage() as stage:
        yield stage


# ---- handshakes


async def test_the_functions_see_the_handshake(stage: GatewayStage) -> None:
    """Query, headers and address reach the authorizer and `$connect`; the authorizer's context reaches `$connect`."""
    async with await stage.open("?roomId=tea&username=Ada%20L", "roomcast.v1", "bearer.T"):
        for event in (stage.authorizer.events[0], stage.connect.events[0]):
            assert event["queryStringParameters"] == {"roomId": "tea", "username": "Ada L"}
            assert event["headers"]["Sec-WebSocket-Protocol"] == "roomcast.v1, bearer.T"
            assert event["requestContext"]["identity"]["sourceIp"] == "127.0.0.1"
        assert stage.connect.events[0]["requestContext"]["authorizer"]["userId"] == "ada"


async def test_only_the_chosen_subprotocol_is_echoed(stage: GatewayStage) -> None:
    """The one that `$connect` names; none where it names none, whatever was offered.

    Developer guide, “Set up a $connect route that requires a WebSocket subprotocol”.
    """
    stage.connect.answer = {"statusCode": 200, "headers": {"Sec-WebSocket-Protocol": "roomcast.v1"}}
    async with await stage.open("", "bearer.T", "roomcast.v1") as socket:
        assert socket.subprotocol == "roomcast.v1"
    stage.connect.answer = {"statusCode": 200}
    async with await stage.open("", "roomcast.v1") as socket:
        assert socket.subprotocol is None


async def test_a_refused_handshake_is_an_http_error(stage: GatewayStage) -> None:
    """401, 403 and `$connect`'s own status, never a socket; nothing is owed to `$disconnect`.

    Developer guide, “Manage connected users and client apps: $connect and $disconnect routes”.
    """
    stage.authorizer.answer = FunctionError("Exception", "Unauthorized")
    assert await refusal(stage) == (401, {"message": "Unauthorized"})
    stage.authorizer.answer = DENY
    status, body = await refusal(stage)
    assert (status, "not authorized" in body["message"]) == (403, True)
    stage.authorizer.answer = FunctionCrashed("dead")
    assert (await refusal(stage))[0] == 500
    assert stage.connect.events == []
    stage.authorizer.answer = {"principalId": "ada", "policyDocument": {"Statement": [{"Effect": "Allow"}]}}
    stage.connect.answer = {"statusCode": 409, "body": '"taken"'}
    assert await refusal(stage) == (409, "taken")
    stage.connect.answer = FunctionError("KeyError", "secret")
    status, body = await refusal(stage)
    assert (status, body["message"]) == (502, "Internal server error")
    await stage.gateway.stop()
    assert stage.disconnect.events == []
    assert (stage.gateway.tally.refused, stage.gateway.tally.connects) == (5, 0)


async def test_another_stage_is_forbidden(stage: GatewayStage) -> None:
    """No function is asked about a path that is not the stage's."""
    with pytest.raises(InvalidStatus) as caught:
        await stage.open("/admin")
    assert caught.value.response.status_code == 403
    assert stage.authorizer.events == []


async def test_a_plain_get_on_the_sockets_port_tells_the_status() -> None:
    """A load test that has only the sockets' URL finds the twin's counters; any other plain request must upgrade."""

    async def status() -> dict[str, Any]:
        return {"posts": 7}

    async with GatewayStage(status=status) as stage, aiohttp.ClientSession() as http:
        base = stage.gateway.ws_url.replace("ws://", "http://")
        async with http.get(base.replace("/dev", "/twin")) as answer:
            assert (answer.status, await answer.json()) == (200, {"posts": 7})
        async with http.get(base) as answer:
            assert answer.status == 426


async def test_a_client_that_leaves_while_connect_runs_is_disconnected(stage: GatewayStage) -> None:
    """`$connect` has written its rows, so `$disconnect` is owed although no socket ever opened."""
    running, release = asyncio.Event(), asyncio.Event()

    async def slow(event: dict[str, Any]) -> dict[str, Any]:
        running.set()
        await release.wait()
        return {"statusCode": 200}

    stage.connect.answer = slow
    opening = asyncio.create_task(stage.open())
    await running.wait()
    [pending] = stage.gateway._pending
    opening.cancel()
    await until(lambda: pending.state is State.CLOSED)
    release.set()
    await until(lambda: stage.disconnect.events)
    [left], [came] = stage.disconnect.events, stage.connect.events
    assert left["requestContext"]["connectionId"] == came["requestContext"]["connectionId"]
    assert stage.gateway.open_connections == 0


# ---- requests


async def test_a_frame_takes_its_route_and_its_answer_comes_back(stage: GatewayStage) -> None:
    """The function gets the text, the route, and who speaks; its `body` is the reply.

    Developer guide, “Set up route responses for WebSocket APIs in API Gateway”.
    """
    stage.message.answer = {"statusCode": 200, "body": '{"type":"ack"}'}
    async with await stage.open() as socket:
        await socket.send('{"type":"chat","message":"žluť 😀"}')
        assert await socket.recv() == '{"type":"ack"}'
    [event] = stage.message.events
    assert event["body"] == '{"type":"chat","message":"žluť 😀"}'
    context = event["requestContext"]
    assert (context["routeKey"], context["authorizer"]["principalId"]) == ("chat", "ada")
    assert context["connectionId"] == stage.connect.events[0]["requestContext"]["connectionId"]


async def test_what_is_no_json_takes_the_default_route(stage: GatewayStage) -> None:
    """So does a type that has no route.

    Developer guide, “Overview of WebSocket APIs in API Gateway”.
    """
    stage.message.answer = {"body": "taken"}
    async with await stage.open() as socket:
        for frame in ("no JSON", '{"type":"unheard of"}', '{"type":"join_room"}'):
            await socket.send(frame)
            await socket.recv()
    routes = [it["requestContext"]["routeKey"] for it in stage.message.events]
    assert routes == ["$default", "$default", "join_room"]


async def test_no_body_means_no_answer(stage: GatewayStage) -> None:
    """An empty or missing body sends nothing; the next reply is the next request's."""
    answers = iter([{"statusCode": 200}, {"statusCode": 200, "body": ""}, None, {"statusCode": 200, "body": "last"}])

    async def each(event: dict[str, Any]) -> Any:
        return next(answers)

    stage.message.answer = each
    async with await stage.open() as socket:
        for number in range(4):
            await socket.send(str(number))
        assert await socket.recv() == "last"


async def test_nothing_small_waits_for_more(stage: GatewayStage) -> None:
    """The sockets that are accepted have TCP_NODELAY: with Nagle's algorithm a second frame can wait for 40 ms."""
    async with await stage.open():
        await until(lambda: stage.gateway.open_connections == 1)
        [connection] = stage.gateway._connections.values()
        tcp = connection.socket.transport.get_extra_info("socket")
        assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


async def test_requests_of_a_connection_run_side_by_side(stage: GatewayStage) -> None:
    """A slow request does not hold up the one after it, so replies come in any order.

    AWS re:Post QUa2N5ZwL4QjSFuJkuI4nGcg, “are the responses … guaranteed to be in same order than the sent messages”.
    """
    release = asyncio.Event()

    async def slow_first(event: dict[str, Any]) -> dict[str, Any]:
        if event["body"] == "slow":
            await release.wait()
        return {"body": event["body"]}

    stage.message.answer = slow_first
    async with await stage.open() as socket:
        await socket.send("slow")
        await socket.send("fast")
        assert await socket.recv() == "fast"
        release.set()
        assert await socket.recv() == "slow"


@pytest.mark.parametrize(
    "error", [FunctionError("KeyError", "table rooms"), FunctionCrashed("arn:aws:secret"), FunctionTimeout("rooms")]
)
async def test_a_function_that_fails_answers_with_the_gateways_error(stage: GatewayStage, error: Exception) -> None:
    """The client learns that it failed, and nothing of why; its socket stays open.

    AWS re:Post QU6ki7PoXDTzuHi9LO9nfqWQ, “customize gateway websocket error event”.
    """
    stage.message.answer = error
    async with await stage.open() as socket:
        await socket.send("x")
        frame = json.loads(await socket.recv())
        context = stage.message.events[0]["requestContext"]
        assert frame == {
            "message": "Internal server error",
            "connectionId": context["connectionId"],
            "requestId": context["requestId"],
        }
        stage.message.answer = {"body": "fine"}
        await socket.send("y")
        assert await socket.recv() == "fine"


# ---- closes


async def test_a_binary_frame_closes_with_1003(stage: GatewayStage) -> None:
    """It reaches no function, and nothing can be posted any more.

    Developer guide, “Binary media types for WebSocket APIs in API Gateway”.
    """
    async with await stage.open() as socket:
        await socket.send(b"\x00")
        assert (await closed(socket))[0] == 1003
    assert stage.message.events == []


@pytest.mark.parametrize(("code", "reason"), [(1000, "bye"), (4001, "")])
async def test_a_clients_close_runs_disconnect(stage: GatewayStage, code: int, reason: str) -> None:
    """With the client's own code and reason."""
    socket = await stage.open()
    await socket.close(code, reason)
    await until(lambda: stage.disconnect.events)
    context = stage.disconnect.events[0]["requestContext"]
    assert (context["disconnectStatusCode"], context["disconnectReason"]) == (code, reason)
    assert context["authorizer"]["userId"] == "ada"


async def test_a_client_that_is_gone_runs_disconnect(stage: GatewayStage) -> None:
    """Without a close frame the code is 1006."""
    socket = await stage.open()
    socket.transport.abort()
    await until(lambda: stage.disconnect.events)
    assert stage.disconnect.events[0]["requestContext"]["disconnectStatusCode"] == 1006


async def test_a_disconnect_that_fails_harms_nobody(stage: GatewayStage) -> None:
    """The gateway serves on."""
    stage.disconnect.answer = FunctionError("KeyError", "x")
    await (await stage.open()).close()
    await until(lambda: stage.disconnect.events)
    async with await stage.open():
        assert stage.gateway.tally.disconnects == 1


async def test_stop_closes_sockets_and_waits_for_disconnects() -> None:
    """Clients see 1001, every `$disconnect` runs, and a handshake under way ends."""
    forever = asyncio.Event()

    async def hang(event: dict[str, Any]) -> None:
        await forever.wait()

    async with GatewayStage() as stage:
        sockets = [await stage.open() for _ in range(3)]
        stage.connect.answer = hang
        opening = asyncio.create_task(stage.open())
        await until(lambda: len(stage.connect.events) == 4)
        watching = [asyncio.create_task(closed(it)) for it in sockets]
        await stage.gateway.stop()
        assert {code for code, _ in await asyncio.gather(*watching)} == {1001}
        assert len(stage.disconnect.events) == 3
        with pytest.raises(Exception):  # noqa: B017, PT011  # the library names a dropped handshake in several ways
            await opening
