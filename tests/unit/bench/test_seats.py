"""Seats: sockets that are let in without the functions, and their rows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import connect

from client.handshake import with_query
from loadtest.bench.seats import SEAT, SeatingGateway
from local.gateway import listen


class Function:
    """Answers as the function of its name would, and keeps the events."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.events: list[Any] = []

    async def invoke(self, event: Any) -> Any:
        self.events.append(event)
        return self.answer


AUTHORIZER = {"principalId": "u", "policyDocument": {"Statement": [{"Effect": "Allow"}]}, "context": {}}


@pytest.fixture
def disconnect_function() -> Function:
    return Function({})


@pytest.fixture
def connect_function() -> Function:
    return Function({"statusCode": 200})


@pytest.fixture
async def gateway(connect_function: Function, disconnect_function: Function) -> AsyncIterator[SeatingGateway]:
    made = SeatingGateway(
        authorizer=Function(AUTHORIZER),
        connect=connect_function,
        disconnect=disconnect_function,
        message=Function({}),
        ws=listen(0),
        http=listen(0),
    )
    await made.start()
    yield made
    await made.stop()


async def test_a_seat_asks_no_function(
    gateway: SeatingGateway, connect_function: Function, disconnect_function: Function
) -> None:
    """It is let in, named, and posted to; neither `$connect` nor `$disconnect` hears of it, but of others."""
    seated = await connect(with_query(gateway.ws_url, {SEAT: "yes"}), proxy=None)
    [connection] = gateway.newcomers
    assert connect_function.events == []
    assert gateway.post(connection, b"hello") == 200
    assert await seated.recv() == "hello"
    other = await connect(gateway.ws_url, proxy=None)
    assert gateway.newcomers == [connection]
    assert len(connect_function.events) == 1
    await seated.close()
    await other.close()
    await gateway.stop()
    [event] = disconnect_function.events
    assert event["requestContext"]["connectionId"] == connect_function.events[0]["requestContext"]["connectionId"]
