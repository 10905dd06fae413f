"""Targets that are reached by bytes on a socket: the real gateway and services, in this process, over memory."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import socket
import struct
import traceback
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from aiohttp.http_exceptions import HttpProcessingError
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidMessage
from websockets.typing import Subprotocol

from domain.errors import RoomcastError
from domain.protocol import SUBPROTOCOL
from domain.rooms import ShardKey
from tests.fuzz.target import Target
from tests.fuzz.targets.requests import check_frame
from tests.inline import InlineService

__all__ = ["Served", "Wire", "upgrade"]

INPUTS = 200
"""Inputs for one service: rooms must not grow without end."""
QUIET_TURNS = 60
"""Rounds of the event loop without a byte, after which the other side has said all that it had to say."""
PATIENCE = 20.0
"""Seconds in which anything must have come to its end: the gateway waits one for a client that does not close."""
QUICK_TURNS = 1_000
"""Rounds of the event loop in which hardly anything has not."""
BYSTANDER = "bob"


class Served(Target):
    """A service with one client that does nothing wrong, and must notice nothing."""

    def __enter__(self) -> Self:
        super().__enter__()
        self.run(self.open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.run(self.close())
        super().__exit__(kind, error, trace)

    async def open(self) -> None:
        self._errors = _Errors()
        logging.getLogger().addHandler(self._errors)
        self._inputs = 0
        self.service = InlineService()
        await self.service.__aenter__()
        self.bystander: ClientConnection = await connect(
            f"{self.service.url}?userId={BYSTANDER}", subprotocols=[Subprotocol(SUBPROTOCOL)], compression=None
        )
        await self.check_bystander()

    async def close(self) -> None:
        await self.bystander.close()
        await self.service.__aexit__()
        logging.getLogger().removeHandler(self._errors)

    async def begin(self) -> None:
        """To be called before each input."""
        self._inputs += 1
        if self._inputs > INPUTS:
            await self.close()
            await self.open()

    async def check(self, others: int = 0) -> None:
        """Whatever the input was: nothing is left of its connection, `others` are still connected, the bystander is
        served, and nothing was raised that was not foreseen."""

        async def rests() -> bool:
            return self.service.gateway.open_connections == 1 + others and await self._in_general() == [BYSTANDER]

        await self.settle(rests)
        await self.check_bystander()
        assert not self._errors.raised, "\n".join(self._errors.raised)
        # A job may come again: whom it is for has hardly been let in when it is gone.
        unforeseen = [it for it in self.service.failures if not isinstance(it, RoomcastError)]
        assert not unforeseen, unforeseen

    async def check_bystander(self) -> None:
        """The client gets an answer, and before it nothing but events."""
        self._inputs += 1
        await self.bystander.send(json.dumps({"type": "ping", "clientId": f"bystander-{self._inputs}"}))
        while True:
            frame = await self.bystander.recv()
            events = check_frame(frame.encode() if isinstance(frame, str) else frame)
            if any(getattr(it, "client_id", None) == f"bystander-{self._inputs}" for it in events):
                return

    async def settle(self, reached: Callable[[], Awaitable[bool]]) -> None:
        """Wait until it is so."""
        async with asyncio.timeout(PATIENCE):
            for turn in itertools.count():
                if await reached():
                    return
                await asyncio.sleep(0 if turn < QUICK_TURNS else 0.01)

    async def _in_general(self) -> list[str]:
        room = await self.service.store.room("general")
        assert room is not None
        return [it.user for it in await self.service.store.members(ShardKey(room.room, room.epoch, 0))]


def upgrade(query: str) -> bytes:
    """A handshake that is let in."""
    return (
        f"GET /dev?{query} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
    ).encode()


class Wire(asyncio.Protocol):
    """A client's end of a TCP connection to a port of this machine."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.lost = False

    @classmethod
    async def to(cls, url: str) -> Wire:
        """Connected to the port of a URL."""
        address = urlsplit(url)
        _, wire = await asyncio.get_running_loop().create_connection(cls, address.hostname or "", address.port or 0)
        return wire

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        # A reset at the end: no port of this machine is kept waiting for what may still come.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def data_received(self, data: bytes) -> None:
        self.received += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True

    async def say(self, data: bytes) -> bytes:
        """Send, and take what comes until all is quiet."""
        self._transport.write(data)
        state, quiet = None, 0
        while quiet < QUIET_TURNS and not self.lost:
            await asyncio.sleep(0)
            before, state = state, (len(self.received), self._transport.get_write_buffer_size())
            quiet = quiet + 1 if state == before else 0
        return bytes(self.received)

    def end(self) -> None:
        self._transport.abort()


class _Errors(logging.Handler):
    """What was logged as an error, but for what the servers' libraries say of bytes that are not theirs to read."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.raised: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, _OF_CLIENTS) and not _is_early_close(error):
            kind = f"{record.name}: {record.getMessage()} ({type(error).__name__} {error})"
            self.raised.append(f"{kind}\n{logging.Formatter().format(record)}")


_OF_CLIENTS = HttpProcessingError, InvalidHandshake, InvalidMessage


def _is_early_close(error: BaseException | None) -> bool:
    """Whether this is what `websockets` trips over when a client that it refuses has sent a close frame already, before
    it was answered: it ends the connection twice."""
    frames = traceback.extract_tb(error.__traceback__) if isinstance(error, AssertionError) else []
    return bool(frames) and frames[-1].name == "send_eof" and "/websockets/" in frames[-1].filename
