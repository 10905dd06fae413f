"""The archive in a dict."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable

from domain.errors import Conflict
from domain.ports import Archive, StoredObject

__all__ = ["MemoryArchive"]


async def _give_way() -> None:
    """Let other tasks run, and take no time."""
    await asyncio.sleep(0)


class MemoryArchive(Archive):
    """Objects in memory."""

    def __init__(self, answer: Callable[[], Awaitable[None]] = _give_way) -> None:
        """`answer`: awaited in every call before its effect: how long the store takes; what it raises is the answer."""
        self.objects: dict[str, bytes] = {}
        """Name → content."""
        self.puts = 0
        self._answer = answer

    async def names(self, prefix: str, after: str = "") -> AsyncIterator[str]:
        await self._answer()
        for name in sorted(self.objects):
            if name.startswith(prefix) and name > after:
                yield name

    async def read(self, name: str) -> StoredObject | None:
        await self._answer()
        content = self.objects.get(name)
        return None if content is None else StoredObject(content, _version(content))

    async def put(self, name: str, content: bytes, *, replaces: StoredObject | None) -> None:
        await self._answer()
        there = self.objects.get(name)
        if (None if there is None else _version(there)) != (None if replaces is None else replaces.version):
            raise Conflict(f"put {name}: it is not what was read")
        self.objects[name] = content
        self.puts += 1

    async def delete(self, name: str) -> None:
        await self._answer()
        self.objects.pop(name, None)


def _version(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
