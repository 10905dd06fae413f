"""What API Gateway itself answers: frames that it takes not, and `@connections`, driven by boto3."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from websockets.asyncio.client import connect

from domain.protocol import FRAME_LIMIT
from tests.conformance.clients import fresh
from tests.conformance.conftest import Target
from tests.e2e.people import PATIENCE, Person, person

pytestmark = pytest.mark.asyncio(loop_scope="package")

PAYLOAD_LIMIT = 128 * 1024


class Api:
    """boto3's `apigatewaymanagementapi`, called in a thread. It does not try again."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def post(self, connection: str, data: bytes) -> int:
        answer = await asyncio.to_thread(self._client.post_to_connection, ConnectionId=connection, Data=data)
        status: int = answer["ResponseMetadata"]["HTTPStatusCode"]
        return status

    async def get(self, connection: str) -> dict[str, Any]:
        answer: dict[str, Any] = await asyncio.to_thread(self._client.get_connection, ConnectionId=connection)
        return answer

    async def delete(self, connection: str) -> int:
        answer = await asyncio.to_thread(self._client.delete_connection, ConnectionId=connection)
        status: int = answer["ResponseMetadata"]["HTTPStatusCode"]
        return status


@pytest.fixture(scope="module")
def api(target: Target) -> Iterator[Api]:
    """With the environment's credentials; a twin takes any."""
    credentials = {} if target.deployed else {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
    session = boto3.Session(region_name=os.environ.get("AWS_REGION", "us-east-1"), **credentials)
    client = session.client(
        "apigatewaymanagementapi",
        endpoint_url=target.management,
        config=Config(retries={"total_max_attempts": 1}),
    )
    yield Api(client)
    client.close()


def connection_of(someone: Person) -> str:
    connection: str = someone.seen("welcome")[0]["connectionId"]
    return connection


def refusal(caught: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    """Name and HTTP status of an SDK's error."""
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


async def gone(api: Api, connection: str) -> None:
    """Wait until a post to the connection is answered with 410."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await api.post(connection, b"{}")
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] == 410:
                    return
                raise


# ---- frames


@pytest.mark.parametrize(
    ("frame", "code"), [(b"\x00", 1003), (b'{"message":"x"}', 1003), ("x" * (33 * 1024), 1009), ("x" * 32_769, 1009)]
)
async def test_a_frame_that_the_gateway_takes_not_closes_the_socket(ws: str, frame: str | bytes, code: int) -> None:
    """1003 for a binary one, 1009 for more than 32 KB."""
    async with connect(f"{ws}?{urlencode({'roomId': fresh('hall')})}", compression=None) as socket:
        await socket.send(frame)
        async with asyncio.timeout(PATIENCE):
            await socket.wait_closed()
        assert socket.close_code == code


async def test_a_frame_of_32_kb_is_taken(ws: str) -> None:
    """It is too long for a message, and says so."""
    frame = '{"message":"' + "x" * (FRAME_LIMIT - 14) + '"}'
    assert len(frame) == FRAME_LIMIT
    async with person(ws, fresh("ada"), fresh("hall")) as ada:
        await ada.socket.send(frame)
        await ada.until(lambda: bool(ada.seen("error")))
        assert ada.seen("error")[0]["code"] == "TOO_LARGE"


# ---- @connections


async def test_a_post_reaches_the_client(ws: str, api: Api) -> None:
    """As it is, to that one connection."""
    async with person(ws, fresh("ada"), fresh("hall")) as ada, person(ws, fresh("bob"), fresh("hall")) as bob:
        assert await api.post(connection_of(ada), '{"type":"news","data":{"it":"žluť"}}'.encode()) == 200
        await ada.until(lambda: bool(ada.seen("news")))
        assert ada.seen("news") == [{"it": "žluť"}]
        assert bob.seen("news") == []


async def test_get_tells_about_the_connection(ws: str, api: Api) -> None:
    """When it came, when it was last active, and who it is."""
    async with person(ws, fresh("ada"), fresh("hall")) as ada:
        await ada.ask(type="ping")
        found = await api.get(connection_of(ada))
        assert found["ConnectedAt"] <= found["LastActiveAt"]
        assert abs(found["LastActiveAt"] - datetime.now(UTC)) < timedelta(minutes=5)
        assert set(found["Identity"]) == {"SourceIp", "UserAgent"}
        assert "websockets" in found["Identity"]["UserAgent"]


async def test_a_post_of_more_than_128_kb_is_refused(ws: str, api: Api) -> None:
    """413; the connection stays, and one of exactly 128 KB arrives whole."""
    async with person(ws, fresh("ada"), fresh("hall")) as ada:
        connection = connection_of(ada)
        with pytest.raises(ClientError) as caught:
            await api.post(connection, b"x" * (PAYLOAD_LIMIT + 1))
        assert refusal(caught) == ("PayloadTooLargeException", 413)
        filler = "x" * (PAYLOAD_LIMIT - len('{"type":"large","data":{"it":""}}'))
        assert await api.post(connection, f'{{"type":"large","data":{{"it":"{filler}"}}}}'.encode()) == 200
        await ada.until(lambda: bool(ada.seen("large")))
        assert ada.seen("large") == [{"it": filler}]


async def test_delete_closes_the_socket(ws: str, api: Api) -> None:
    """204; then the connection is gone, and its room hears that its user has left."""
    room = fresh("hall")
    async with person(ws, fresh("ada"), room) as ada, person(ws, fresh("bob"), room) as bob:
        assert await api.delete(connection_of(ada)) == 204
        async with asyncio.timeout(PATIENCE):
            await ada.socket.wait_closed()
        await gone(api, connection_of(ada))
        await bob.until(lambda: any(it["userId"] == ada.user for it in bob.seen("user_left")))


@pytest.mark.parametrize("leave", [Person.leave, Person.vanish])
async def test_who_has_left_is_gone(ws: str, api: Api, leave: Any) -> None:
    """410 to all three, by the SDK's name for it, whether it said goodbye or not."""
    async with person(ws, fresh("ada"), fresh("hall")) as ada:
        connection = connection_of(ada)
        await leave(ada)
        await gone(api, connection)
        for call in (api.get(connection), api.delete(connection)):
            with pytest.raises(ClientError) as caught:
                await call
            assert refusal(caught) == ("GoneException", 410)


async def test_who_was_never_there_is_gone(api: Api) -> None:
    """410, as for one that has left."""
    with pytest.raises(ClientError) as caught:
        await api.post("AAAAAAAAAAAAAAA=", b"{}")
    assert refusal(caught) == ("GoneException", 410)
