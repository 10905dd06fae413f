"""Notices in dicts, and a topic that only remembers what it got."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from domain.errors import Unavailable
from domain.notices import NOTICE_EVERY_MS, OfflineNotice
from domain.ports import Notices, Publisher

__all__ = ["MemoryNotices", "MemoryPublisher"]


async def _give_way() -> None:
    """Let other tasks run, and take no time."""
    await asyncio.sleep(0)


class MemoryNotices(Notices):
    """Who wants no notices, and which was sent last."""

    def __init__(self, answer: Callable[[], Awaitable[None]] = _give_way) -> None:
        """`answer`: awaited in every call before its effect: how long the store takes."""
        self._answer = answer
        self._silent: set[str] = set()
        self._last: dict[tuple[str, str], tuple[OfflineNotice, int, bool]] = {}
        """(user, sender) → the last notice, when it was claimed, and whether it is settled."""

    async def silent(self, users: Sequence[str]) -> frozenset[str]:
        await self._answer()
        return frozenset(self._silent.intersection(users))

    async def set_wanted(self, user: str, wanted: bool) -> None:
        await self._answer()
        (self._silent.discard if wanted else self._silent.add)(user)

    async def claim(self, notice: OfflineNotice, now: int) -> bool:
        await self._answer()
        last = self._last.get((notice.user_id, notice.sender_id))
        if last is not None:
            claimed, at, settled = last
            again = _entry(claimed) == _entry(notice) and not settled
            if at > now - NOTICE_EVERY_MS and not again:
                return False
        self._last[notice.user_id, notice.sender_id] = (notice, now, False)
        return True

    async def release(self, notice: OfflineNotice) -> None:
        await self._answer()
        last = self._last.get((notice.user_id, notice.sender_id))
        if last is not None and _entry(last[0]) == _entry(notice) and not last[2]:
            del self._last[notice.user_id, notice.sender_id]

    async def settle(self, notice: OfflineNotice) -> None:
        await self._answer()
        last = self._last.get((notice.user_id, notice.sender_id))
        if last is not None and _entry(last[0]) == _entry(notice):
            self._last[notice.user_id, notice.sender_id] = (last[0], last[1], True)


def _entry(notice: OfflineNotice) -> tuple[str, int, int]:
    return notice.room_id, notice.epoch, notice.seq


class MemoryPublisher(Publisher):
    """A topic in memory."""

    def __init__(self) -> None:
        self.published: list[OfflineNotice] = []
        """Oldest first."""
        self.on_publish: Callable[[OfflineNotice], Awaitable[None]] | None = None
        """Awaited before each notice is taken; what it raises is the answer, and it may take too long."""

    async def publish(self, notice: OfflineNotice, deadline: float) -> None:
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(deadline):
                if self.on_publish is not None:
                    await self.on_publish(notice)
        except TimeoutError:
            raise Unavailable("no answer in time") from None
        self.published.append(notice)
