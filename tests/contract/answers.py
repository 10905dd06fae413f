"""A server that answers as it is told: for what no emulator can be brought to answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from ssl import SSLContext
from types import TracebackType
from typing import Self

from aiohttp import web
from aiohttp.test_utils import TestServer
from multidict import CIMultiDictProxy

__all__ = ["Answers"]


class Answers:
    """Every request gets the next of `scripted`, the last one again and again; `requests` holds what was asked."""

    def __init__(self, tls: SSLContext | None = None) -> None:
        self.requests: list[tuple[str, str, bytes]] = []
        """(method, raw path, body)."""
        self.headers: list[CIMultiDictProxy[str]] = []
        """Of the same requests."""
        self.peers: set[object] = set()
        """The clients' ends of all connections that carried a request."""
        self.arrivals = asyncio.Semaphore(0)
        """Released once for each request."""
        self.scripted: list[web.Response | None] = [web.Response()]
        """None hangs until the client is gone."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._server = TestServer(app, host="127.0.0.1")
        self._tls = tls

    @property
    def endpoint(self) -> str:
        return str(self._server.make_url("/")).rstrip("/")

    def answer(self, status: int, body: str = "", headers: Mapping[str, str] | None = None) -> None:
        """Answer everything so from now on."""
        self.scripted = [web.Response(status=status, text=body, headers=headers)]

    def script(self, *bodies: str) -> None:
        """Answer the next requests with 200 and these bodies, the last again and again."""
        self.scripted = [web.Response(text=it) for it in bodies]

    def hang(self) -> None:
        """Never answer."""
        self.scripted = [None]

    async def __aenter__(self) -> Self:
        await self._server.start_server(ssl=self._tls)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.close()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.raw_path, await request.read()))
        self.headers.append(request.headers)
        assert request.transport is not None
        self.peers.add(request.transport.get_extra_info("peername"))
        self.arrivals.release()
        response = self.scripted.pop(0) if len(self.scripted) > 1 else self.scripted[0]
        if response is None:
            await asyncio.Event().wait()
        assert response is not None
        return web.Response(status=response.status, body=response.body, headers=response.headers)
