"""Simulated clients of a twin: a process beside it, in which clients of the load test chat until they are sent away."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec

from local.processes import Child

__all__ = ["VISITORS_LIMIT", "Visitors"]

VISITORS_LIMIT = 5_000
"""What one process beside a twin, on the same machine, has time for."""
MODULE = "loadtest.visitors"
"""By name alone: the load test stands above the twin and imports it, not the other way."""
STOP_SECONDS = 3.0
"""How long they may take to close their sockets."""


class Visitors:
    """The process, once there is somebody in it. It ends with this one, however that ends."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._child: Child | None = None
        self._count = 0
        self._turn = asyncio.Lock()

    @property
    def count(self) -> int:
        """How many were asked for and not sent away."""
        return self._count if self._child is not None and self._child.alive else 0

    async def add(self, url: str, count: int, *, rooms: int, rate: float) -> int:
        """Have so many more come to rooms of their own, and say so much a second in all; how many there are then."""
        async with self._turn:
            child = self._child
            if child is None or not child.alive:
                await self._end()
                child = await Child.start(sys.executable, "-P", "-m", MODULE, url, environ={}, log=self._log)
                self._child = child
            child.writer.write(msgspec.json.encode({"clients": count, "rooms": rooms, "rate": rate}) + b"\n")
            self._count += count
            return self._count

    async def send_away(self) -> None:
        """Have them close their sockets, and the process end."""
        async with self._turn:
            await self._end()

    # ---- private

    async def _end(self) -> None:
        child, self._child, self._count = self._child, None, 0
        if child is not None:
            await child.end(STOP_SECONDS)
