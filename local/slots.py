"""A semaphore whose size may change while it is held."""

from __future__ import annotations

import asyncio

__all__ = ["Slots"]


class Slots:
    """So many at a time; how many may be changed."""

    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)
        self._owed = 0
        """Slots that are to go once they are released."""

    async def acquire(self) -> None:
        await self._free.acquire()

    def release(self) -> None:
        if self._owed:
            self._owed -= 1
        else:
            self._free.release()

    async def change(self, more: int) -> None:
        """Have so many more, or fewer where it is negative: those first that nobody waits for."""
        for _ in range(more):
            self.release()
        for _ in range(-more):
            if self._free.locked():
                self._owed += 1
            else:
                await self._free.acquire()  # which waits for nothing

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, *_: object) -> None:
        self.release()
