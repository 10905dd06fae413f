"""Receivers of hooks that only remember what they got."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from domain.errors import PostFailed
from domain.ports import Answered, Receivers

__all__ = ["Delivery", "MemoryReceivers"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One post."""

    url: str
    headers: Mapping[str, str]
    body: bytes


class MemoryReceivers(Receivers):
    """Receivers in memory: one answers every URL."""

    def __init__(self) -> None:
        self.posted: list[Delivery] = []
        """Every post, the failed ones too, oldest first."""
        self.taken: list[Delivery] = []
        """Those that were answered with 2xx."""
        self.answer: Callable[[Delivery], Awaitable[Answered]] | None = None
        """What answers a post, or raises `PostFailed`; None: 204. It may take too long."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, deadline: float) -> Answered:
        await asyncio.sleep(0)
        delivery = Delivery(url, dict(headers), body)
        self.posted.append(delivery)
        try:
            async with asyncio.timeout(deadline):
                answered = Answered(204) if self.answer is None else await self.answer(delivery)
        except TimeoutError:
            raise PostFailed("no answer in time") from None
        if 200 <= answered.status < 300:
            self.taken.append(delivery)
        return answered
