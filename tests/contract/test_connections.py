"""Connections: on memory, and on the management API, both ways, against a small server of `@connections`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from urllib.parse import unquote

import aioboto3
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from adapters.management_api import management_api
from adapters.memory import MemoryConnections
from domain.errors import ConnectionGone
from domain.ports import Connections

pytestmark = pytest.mark.asyncio(loop_scope="session")

ODD = "a/b+c="
"""Connection ids are base64."""


class Sockets(ABC):
    """`connections` is under test; the clients' side is here."""

    connections: Connections

    @abstractmethod
    def open(self, connection: str) -> None: ...

    @abstractmethod
    def drop(self, connection: str) -> None: ...

    @abstractmethod
    def received(self, connection: str) -> list[bytes]: ...


class MemorySockets(Sockets):
    def __init__(self) -> None:
        self._memory = MemoryConnections()
        self.connections = self._memory

    def open(self, connection: str) -> None:
        self._memory.open(connection)

    def drop(self, connection: str) -> None:
        self._memory.drop(connection)

    def received(self, connection: str) -> list[bytes]:
        return self._memory.received[connection]


class ServedSockets(Sockets):
    """A stage `/dev` with `@connections`: POST and DELETE, 410 for a connection that is not there."""

    def __init__(self) -> None:
        self._frames: dict[str, list[bytes]] = {}
        self._opened: set[str] = set()
        self.app = web.Application()
        self.app.router.add_route("*", "/{path:.*}", self._answer)

    def open(self, connection: str) -> None:
        self._opened.add(connection)

    def drop(self, connection: str) -> None:
        self._opened.discard(connection)

    def received(self, connection: str) -> list[bytes]:
        return self._frames.get(connection, [])

    async def _answer(self, request: web.Request) -> web.Response:
        prefix, _, rest = request.raw_path.rpartition("/dev/@connections/")
        connection = unquote(rest)
        if prefix or connection not in self._opened:
            return web.Response(status=410, headers={"x-amzn-ErrorType": "GoneException"})
        if request.method == "DELETE":
            self._opened.discard(connection)
            return web.Response(status=204)
        self._frames.setdefault(connection, []).append(await request.read())
        return web.Response()


@pytest_asyncio.fixture(loop_scope="session", params=["memory", "client", "fast"])
async def sockets(request: pytest.FixtureRequest, aws: aioboto3.Session) -> AsyncIterator[Sockets]:
    if request.param == "memory":
        yield MemorySockets()
        return
    served = ServedSockets()
    async with TestServer(served.app, host="127.0.0.1") as server:
        endpoint = str(server.make_url("/dev"))
        fast_posts = request.param == "fast"
        async with management_api(aws, endpoint, 8, fast_posts=fast_posts) as served.connections:
            yield served


async def test_frames_arrive_as_they_are(sockets: Sockets) -> None:
    """Byte for byte, in the order of the posts, at their connection alone."""
    for it in (ODD, "other"):
        sockets.open(it)
    frames = ['{"message":"ü"}'.encode(), b"x" * 32_768, b"{}"]
    for frame in frames:
        await sockets.connections.post(ODD, frame, 3)
    assert sockets.received(ODD) == frames
    assert sockets.received("other") == []


async def test_a_connection_that_is_not_there_is_gone(sockets: Sockets) -> None:
    """Never opened, or dropped without a word."""
    sockets.open("dropped")
    sockets.drop("dropped")
    for connection in ("never", "dropped"):
        with pytest.raises(ConnectionGone):
            await sockets.connections.post(connection, b"{}", 3)
        assert sockets.received(connection) == []


async def test_a_closed_connection_is_gone(sockets: Sockets) -> None:
    """For posts, and for a second close."""
    sockets.open(ODD)
    await sockets.connections.close(ODD)
    with pytest.raises(ConnectionGone):
        await sockets.connections.post(ODD, b"{}", 3)
    with pytest.raises(ConnectionGone):
        await sockets.connections.close(ODD)
