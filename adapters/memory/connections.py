"""Sockets that only remember what they got."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable

from domain.errors import ConnectionGone, PostError
from domain.ports import Connections

__all__ = ["MemoryConnections"]


class MemoryConnections(Connections):
    """Sockets in memory, each with a log of the frames that it received."""

    def __init__(self) -> None:
        self.received: dict[str, list[bytes]] = defaultdict(list)
        """Connection → frames, oldest first; kept when the connection ends."""
        self.on_post: Callable[[str, bytes], Awaitable[None]] | None = None
        """Awaited before each frame is delivered; what it raises is the answer to the post."""
        self._open: set[str] = set()
        self._failures: dict[str, deque[PostError]] = defaultdict(deque)

    def open(self, connection: str) -> None:
        """A client connects."""
        self._open.add(connection)

    def drop(self, connection: str) -> None:
        """A client vanishes."""
        self._open.discard(connection)

    def is_open(self, connection: str) -> bool:
        return connection in self._open

    def fail_next(self, connection: str, *errors: PostError) -> None:
        """Answer the next posts to the connection with these errors, one each."""
        self._failures[connection].extend(errors)

    async def post(self, connection: str, frame: bytes, deadline: float) -> None:
        await asyncio.sleep(0)
        if self.on_post is not None:
            await self.on_post(connection, frame)
        if self._failures[connection]:
            raise self._failures[connection].popleft()
        if connection not in self._open:
            raise ConnectionGone(connection)
        self.received[connection].append(frame)

    async def close(self, connection: str) -> None:
        await asyncio.sleep(0)
        if connection not in self._open:
            raise ConnectionGone(connection)
        self._open.discard(connection)
