"""The gateway's sockets: pending, open, closed; what is posted to them arrives, is refused, or hangs."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from domain.errors import ConnectionGone, PostFailed, Throttled
from domain.fanout import YOUNG_MS
from domain.lanes import Lane
from domain.ports import Clock
from domain.tokens import TOKEN_LEEWAY_MS
from tests.simulation.chaos import Chaos

__all__ = ["Metered", "Socket", "Sockets"]

TRANSIT = 0.002
"""Seconds from the gateway to a client: what is on its way when a socket is lost, is lost."""


@dataclass(slots=True, eq=False)
class Socket:
    """A connection at the gateway."""

    id: str
    receive: Callable[[bytes], None]
    """What its client does with a frame."""
    closed: Callable[[], None]
    """What its client does when the socket is closed under it."""
    token_expires_at: int | None = None
    """As the authorizer tells the service, in milliseconds since 1970."""
    state: Literal["pending", "open", "closed"] = "pending"
    opened: bool = False
    """Whether it ever was open."""
    silent: bool = False
    """The client is gone, and the gateway does not know yet."""
    reads: bool = True
    broken: bool = False
    """No post reaches it."""
    closed_in_vain: bool = False
    """The service closed it, although it took every post."""
    began_at: float = 0
    """When its handshake began."""
    failures: int = 0
    """Posts that were not delivered, for whatever reason."""
    beacons: int = 0
    """Times that somebody gave up and said where the room is."""
    found_dead_at: float = math.inf
    """When a post was first answered that it is gone, and it was no longer young."""
    dead_posts: int = 0
    """Posts that began after that; without those of batches in which their worker died, which could do nothing."""

    def outlived_by(self, now: int) -> float:
        """Milliseconds since its token was good no more, by when nothing is owed to it; below 0 while it is."""
        return -math.inf if self.token_expires_at is None else now - self.token_expires_at - TOKEN_LEEWAY_MS


class Sockets:
    """All sockets there ever were."""

    def __init__(self, chaos: Chaos, clock: Clock) -> None:
        self.all: dict[str, Socket] = {}
        self._chaos = chaos
        self._clock = clock
        self._loop = asyncio.get_running_loop()

    def offer(self, connection: str, receive: Callable[[bytes], None], closed: Callable[[], None]) -> Socket:
        """A handshake has begun."""
        socket = Socket(connection, receive, closed, began_at=self._loop.time())
        self.all[connection] = socket
        return socket

    def open(self, socket: Socket) -> None:
        socket.state, socket.opened = "open", True

    def lose(self, socket: Socket) -> None:
        """The socket is no more, and the gateway knows."""
        socket.state = "closed"

    def send(self, socket: Socket, frame: bytes) -> None:
        """A frame to the client, which gets it if the socket still stands then."""
        self._loop.call_later(TRANSIT, self._arrive, socket, frame)

    async def post(self, connection: str, frame: bytes, deadline: float, dead: Counter[str] | None = None) -> None:
        """As API Gateway's `@connections`. `dead` counts what `Socket.dead_posts` does."""
        chaos = self._chaos
        rates, began = chaos.rates, self._loop.time()
        await chaos.answer()
        socket = self.all.get(connection)
        if socket is None:
            raise ConnectionGone(connection)
        if chaos.active:
            drawn = chaos.draw.random()
            if drawn < rates.post_hangs:
                chaos.note("post hangs", connection)
                if chaos.draw.random() < 0.5 and socket.state == "open":
                    self._loop.call_later(chaos.draw.uniform(0, 2 * deadline), self._late, socket, frame)
                socket.failures += 1
                await asyncio.sleep(deadline)
                raise PostFailed("no answer in time")
            drawn -= rates.post_hangs
            if drawn < rates.post_refused + rates.post_throttled:
                socket.failures += 1
                chaos.note("post refused", connection)
                raise PostFailed("503") if drawn < rates.post_refused else Throttled("429")
        if socket.state != "open":
            socket.failures += 1
            # Its row was made after the handshake began.
            old = self._loop.time() - socket.began_at > YOUNG_MS / 1000 + 1
            if old and socket.state == "closed":
                if began > socket.found_dead_at:
                    socket.dead_posts += 1
                    if dead is not None:
                        dead[connection] += 1
                socket.found_dead_at = min(socket.found_dead_at, self._loop.time())
            raise ConnectionGone(connection)
        if socket.broken:
            socket.failures += 1
            raise PostFailed("502")
        if not socket.reads:
            socket.failures += 1
            raise Throttled("429")
        if frame.startswith(b'{"type":"head"'):
            socket.beacons += 1
        self.send(socket, frame)

    async def close(self, connection: str) -> None:
        """As DELETE on `@connections`."""
        await self._chaos.answer()
        socket = self.all.get(connection)
        if socket is None or socket.state != "open":
            raise ConnectionGone(connection)
        self._chaos.note("closed by the service", connection)
        over = socket.outlived_by(self._clock.now()) >= 0
        socket.closed_in_vain = not socket.silent and not socket.failures and not over
        self._end(socket)

    async def remove(self, connection: str) -> None:
        """The same, for a user who has to go."""
        await self._chaos.answer()
        socket = self.all.get(connection)
        if socket is None or socket.state != "open":
            raise ConnectionGone(connection)
        self._chaos.note("removed", connection)
        self._end(socket)

    def _end(self, socket: Socket) -> None:
        self.lose(socket)
        if not socket.silent:
            self._loop.call_later(TRANSIT, socket.closed)

    def _late(self, socket: Socket, frame: bytes) -> None:
        if socket.state == "open":
            self._arrive(socket, frame)

    def _arrive(self, socket: Socket, frame: bytes) -> None:
        if socket.state == "open" and not socket.silent:
            socket.receive(frame)


class Metered:
    """The sockets as one environment of a lane posts to them."""

    def __init__(self, lane: Lane, sockets: Sockets) -> None:
        self.lane = lane
        self.posts: list[float] = []
        """When each was made."""
        self._dead: Counter[str] = Counter()
        """Those of its batch to whom others had found gone."""
        self._loop = asyncio.get_running_loop()
        self._sockets = sockets

    def begins(self) -> None:
        """Another batch."""
        self._dead.clear()

    def died(self) -> None:
        """The environment, within its batch: whom it found gone it had no time to end."""
        for connection, count in self._dead.items():
            self._sockets.all[connection].dead_posts -= count

    async def post(self, connection: str, frame: bytes, deadline: float) -> None:
        self.posts.append(self._loop.time())
        await self._sockets.post(connection, frame, deadline, self._dead)

    async def close(self, connection: str) -> None:
        await self._sockets.close(connection)
