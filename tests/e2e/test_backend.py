"""Servers and the twin: boto3's Lambda client against it, and the commands that use it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import pytest_asyncio
from botocore.exceptions import ClientError

from local.cloud import CREDENTIALS, REGION
from local.twin import Twin
from tests.e2e.people import person
from tests.unit.ops.test_command import roomcast

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def twin(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Twin]:
    state: Path = tmp_path_factory.mktemp("twin")
    async with Twin(state=state) as running:
        yield running


def client(twin: Twin) -> Any:
    """As a server has it, but for the endpoint."""
    return boto3.client(
        "lambda",
        region_name=REGION,
        endpoint_url=twin.endpoints()["page"],
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )


async def invoke(twin: Twin, request: Any) -> dict[str, Any]:
    answer = await asyncio.to_thread(client(twin).invoke, FunctionName="publish", Payload=json.dumps(request).encode())
    assert answer["StatusCode"] == 200
    result: dict[str, Any] = json.loads(answer["Payload"].read())
    return result


async def test_ten_equal_publishes_at_once_are_one_message(twin: Twin) -> None:
    """Through real environments and real tables: ten equal answers, one entry."""
    async with person(twin.ws_url, "ada", "news") as ada:
        request = {
            "action": "publish",
            "roomId": "news",
            "message": "rain",
            "as": {"id": "weather", "name": "Weather"},
            "clientId": "the-same-id",
        }
        answers = await asyncio.gather(*(invoke(twin, request) for _ in range(10)))
        assert all(it == answers[0] for it in answers)
        await ada.hears("rain")
        await ada.say("after", "news")
        await ada.hears("after")
        page = await ada.ask(type="history", roomId="news")
        assert [it["data"]["message"] for it in page["data"]["entries"]] == ["rain", "after"]
        assert ada.seen("chat")[0]["senderId"] == "service#weather"
        assert (await invoke(twin, {"action": "members", "roomId": "news"}))["members"] == [
            {"userId": "ada", "username": "Ada", "status": "online"}
        ]
        assert (await invoke(twin, {"action": "shout"}))["error"]["code"] == "BAD_REQUEST"


@pytest.mark.slow
async def test_the_commands(twin: Twin) -> None:
    """`roomcast publish` says it, `roomcast close` ends the sockets; a refusal is one sentence and status 1."""
    async with person(twin.ws_url, "bob", "lobby") as bob:
        to = ("--as", "weather", "--url", twin.ws_url)
        status, out, err = await roomcast("publish", "sun", "--room", "lobby", "--name", "Weather", *to)
        assert (status, err) == (0, "")
        assert out.startswith("message ")
        assert "number 1 in lobby" in out
        await bob.hears("sun")
        status, out, err = await roomcast("publish", "psst", "--user", "bob", "--json", *to)
        assert (status, json.loads(out)["online"]) == (0, True)
        await bob.until(lambda: [it["message"] for it in bob.seen("private_message")] == ["psst"])
        status, out, err = await roomcast("publish", "hi", "--room", "nowhere", *to)
        assert (status, out) == (1, "")
        assert "ROOM_NOT_FOUND: Room not found" in err
        status, out, err = await roomcast("publish", "hi", *to)
        assert (status, "--room ROOM or --user USER" in err) == (2, True)
        status, out, err = await roomcast("close", "bob", "--url", twin.ws_url)
        assert (status, out, err) == (0, "1 connections of bob closed\n", "")
        async with asyncio.timeout(10):
            await bob.socket.wait_closed()


async def test_the_twin_invokes_as_lambda_does(twin: Twin) -> None:
    """No such function; no asynchronous call; nobody without a signature."""
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        await asyncio.to_thread(client(twin).invoke, FunctionName="message", Payload=b"{}")
    with pytest.raises(ClientError, match="InvalidRequestContentException"):
        await asyncio.to_thread(client(twin).invoke, FunctionName="publish", Payload=b"{")
    with pytest.raises(ClientError, match="InvalidRequestContentException"):
        await asyncio.to_thread(client(twin).invoke, FunctionName="publish", InvocationType="Event", Payload=b"{}")
