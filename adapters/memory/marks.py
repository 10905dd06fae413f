"""Read marks in a dict."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from adapters.memory.store import give_way
from domain.marks import Mark
from domain.ports import Marks

__all__ = ["MemoryMarks"]


class MemoryMarks(Marks):
    """Marks by room and user."""

    def __init__(self, answer: Callable[[], Awaitable[None]] = give_way) -> None:
        """`answer`: awaited in every call before its effect: how long the store takes."""
        self._answer = answer
        self._marks: dict[tuple[str, str], Mark] = {}

    async def mark(self, room: str, user: str, mark: Mark) -> Mark:
        await self._answer()
        there = self._marks.get((room, user))
        if there is None or (there.epoch, there.seq) < (mark.epoch, mark.seq):
            self._marks[room, user] = mark
        return self._marks[room, user]

    async def marks(self, rooms: Sequence[str], user: str) -> dict[str, Mark]:
        await self._answer()
        return {it: self._marks[it, user] for it in rooms if (it, user) in self._marks}
