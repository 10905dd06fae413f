"""Members of one room at raw sockets, which look at a frame for one thing only: is this what we wait for?

The first joins as anybody does and speaks; the others have seats, see `seats.py`.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Iterable
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_socket
from websockets.frames import TEXT, Frame
from websockets.protocol import Event as SocketEvent
from websockets.typing import Subprotocol

from client.handshake import with_query
from domain.protocol import SUBPROTOCOL
from loadtest.bench.errors import BenchError
from loadtest.bench.seats import SEAT

__all__ = ["Audience"]

HANDSHAKES = 32
"""Under way at once: more would wait in the gateway."""
HANDSHAKE_WITHIN = 60.0
"""Seconds."""


class Audience:
    """The members. What arrives is told by `hear`."""

    def __init__(self, url: str, room: str) -> None:
        self.room = room
        self.awaited = b""
        """A frame with these bytes in it is the one."""
        self.heard = 0
        """Frames, of all members."""
        self._url = url
        self._members: list[_Member] = []
        self._missing = 0
        self._last: asyncio.Future[float] | None = None

    @property
    def missing(self) -> int:
        """How many have not got what is awaited."""
        return self._missing

    async def grow(self, members: int) -> None:
        """Have so many sockets: the first a member, the others with a seat. Raises `BenchError` where one is not let
        in."""
        if not self._members:
            await self._admit(range(1))  # it speaks for all, so nobody may be before it
        await self._admit(range(len(self._members), members))

    def hear(self, text: str) -> asyncio.Future[float]:
        """When the last member got a frame with `text` in it, on `time.perf_counter`."""
        self.awaited = json.dumps(text).encode()
        self._missing = len(self._members)
        self._last = asyncio.get_running_loop().create_future()
        return self._last

    def say(self, text: str) -> None:
        """Let the first member send a message."""
        request = {"type": "chat", "clientId": secrets.token_hex(8), "roomId": self.room, "message": text}
        self._members[0].write(json.dumps(request).encode())

    def got(self) -> None:
        """A member got what is awaited."""
        self._missing -= 1
        if not self._missing and self._last is not None and not self._last.done():
            self._last.set_result(time.perf_counter())

    async def leave(self) -> None:
        """Close all sockets, without ceremony."""
        for it in self._members:
            it.transport.abort()
        await asyncio.gather(*(it.wait_closed() for it in self._members))

    async def _admit(self, numbers: Iterable[int]) -> None:
        waiting = iter(numbers)

        async def arrive_one_by_one() -> None:
            for number in waiting:
                self._members.append(await self._connect(number))

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(HANDSHAKES):
                    group.create_task(arrive_one_by_one())
        except ExceptionGroup as failed:
            raise BenchError(f"a member could not connect: {failed.exceptions[0]}") from failed

    async def _connect(self, number: int) -> _Member:
        query = {"roomId": self.room, "userId": f"bench-{number}", SEAT: "yes" if number else None}
        socket = await open_socket(
            with_query(self._url, query),
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            ping_interval=None,
            open_timeout=HANDSHAKE_WITHIN,
            proxy=None,
            create_connection=self._make_member,  # type: ignore[arg-type]  # it is only ever called
        )
        assert isinstance(socket, _Member)  # noqa: S101  # made below
        return socket

    def _make_member(self, *args: Any, **options: Any) -> _Member:
        return _Member(self, *args, **options)


class _Member(ClientConnection):
    """A socket that looks at text frames as they are parsed: no queue, no task, no JSON."""

    def __init__(self, audience: Audience, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._audience = audience
        self._got = audience.awaited

    def process_event(self, event: SocketEvent) -> None:
        if not isinstance(event, Frame) or event.opcode is not TEXT:
            super().process_event(event)
            return
        self._audience.heard += 1
        awaited = self._audience.awaited
        if awaited is not self._got and awaited in bytes(event.data):
            self._got = awaited
            self._audience.got()

    def write(self, frame: bytes) -> None:
        self.protocol.send_text(frame)
        self.send_data()
