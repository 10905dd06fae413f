"""A gateway on loopback with functions in this process, and what a test says to it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, cast

import aioboto3
import pytest
from aiobotocore.config import AioConfig
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from local.gateway import Gateway, listen
from tests.clocks import SteppedClock
from tests.unit.local.fakes import ALLOW, FakeFunction
from tests.unit.local.processes import until

if TYPE_CHECKING:
    from types_aiobotocore_apigatewaymanagementapi import ApiGatewayManagementApiClient

__all__ = ["GatewayStage", "closed", "refusal"]


class GatewayStage:
    """`async with`: the gateway serves until the end of the block."""

    def __init__(self, *, gateway_class: type[Gateway] = Gateway, **settings: Any) -> None:
        self.clock = SteppedClock()
        self.authorizer = FakeFunction(ALLOW)
        self.connect = FakeFunction({"statusCode": 200})
        self.disconnect = FakeFunction()
        self.message = FakeFunction({"statusCode": 200})
        self.gateway = gateway_class(
            authorizer=self.authorizer,
            connect=self.connect,
            disconnect=self.disconnect,
            message=self.message,
            ws=listen(0),
            http=listen(0),
            clock=self.clock,
            **settings,
        )

    async def __aenter__(self) -> GatewayStage:
        await self.gateway.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.gateway.stop()

    async def open(self, query: str = "", *subprotocols: str) -> ClientConnection:
        """A client's socket. A refused handshake raises `InvalidStatus`."""
        offered = [Subprotocol(it) for it in subprotocols] or None
        return await connect(self.gateway.ws_url + query, subprotocols=offered, compression=None, max_size=None)

    async def enter(self) -> tuple[ClientConnection, str]:
        """A client's socket, and the id of its connection once posts can reach it."""
        socket = await self.open()
        connection_id: str = self.connect.events[-1]["requestContext"]["connectionId"]
        await until(lambda: self.gateway.describe(connection_id) is not None)
        return socket, connection_id

    def api(self) -> ApiGatewayManagementApiClient:
        """An SDK's client for `@connections`, to be entered; it does not try again."""
        session = aioboto3.Session(region_name="us-east-1", aws_access_key_id="any", aws_secret_access_key="any")
        client = session.client(
            "apigatewaymanagementapi",
            endpoint_url=self.gateway.management_endpoint,
            config=AioConfig(retries={"total_max_attempts": 1}),
        )
        return cast("ApiGatewayManagementApiClient", client)


async def closed(socket: ClientConnection) -> tuple[int, str]:
    """Code and reason with which a socket is closed by the other side."""
    async with asyncio.timeout(10):
        try:
            while True:
                await socket.recv()
        except ConnectionClosed as error:
            return (error.rcvd.code, error.rcvd.reason) if error.rcvd else (1006, "")


async def refusal(stage: GatewayStage) -> tuple[int, Any]:
    """Status and body with which a handshake is refused."""
    with pytest.raises(InvalidStatus) as caught:
        await stage.open()
    response = caught.value.response
    return response.status_code, json.loads(response.body or b"null")
