"""The end of a run: has everything arrived that will?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from loadtest.plan import Plan
from loadtest.status import read_status

__all__ = ["Drain"]

POLL_SECONDS = 0.1
TWIN_PATIENCE = 2.0
"""Seconds without any arrival before a twin is asked whether anything is still on its way."""

Heads = dict[str, tuple[int, int]]
"""Room → (epoch, seq)."""


class Asked(Protocol):
    """The client processes."""

    async def ask(self, what: str, **request: object) -> list[dict[str, Any]]: ...


class Drain:
    """Messages were answered in one process and are awaited in all. So each tells which place in a room's log its own
    answers name, and is asked how far its clients are from the highest that any has told."""

    def __init__(
        self,
        crew: Asked,
        plan: Plan,
        look: Callable[[], Awaitable[None]],
        watch: Callable[[str, int, int], None],
        *,
        twin: bool,
    ) -> None:
        """`look` is awaited in every round."""
        self._crew = crew
        self._plan = plan
        self._look = look
        self._watch = watch
        self._twin = twin

    async def all_arrives(self, limit: float) -> bool:
        """True when nothing is missing; False when nothing has come for a while and nothing is on its way, or after
        `limit` seconds."""
        deadline = time.monotonic() + limit
        heads: Heads = {}
        owed = 1
        while time.monotonic() < deadline:
            answers = await self._crew.ask("drain", heads=heads)
            known = _highest(it["heads"] for it in answers)
            under_way = any(it["under_way"] for it in answers)
            missing = sum(it["missing"] for it in answers)
            if known == heads and not missing and not under_way:
                return True
            owed = max(owed, missing)
            self._watch("drain", owed - missing, owed)
            await self._look()
            last_arrival = max(it["last_arrival"] for it in answers)
            if known == heads and not under_way and await self._stands_still(last_arrival):
                return False
            # Heads that nobody was asked about yet are asked about at once.
            await asyncio.sleep(POLL_SECONDS if known == heads else 0.0)
            heads = known
        return False

    async def _stands_still(self, last_arrival: float) -> bool:
        if time.monotonic() - last_arrival <= (TWIN_PATIENCE if self._twin else self._plan.patience):
            return False
        status = await read_status(self._plan.url) if self._twin else None
        return status is None or not status.working


def _highest(heads: Iterable[Mapping[str, Sequence[int]]]) -> Heads:
    """Of all of them."""
    found: Heads = {}
    for each in heads:
        for room, (epoch, seq) in each.items():
            found[room] = max(found.get(room, (0, 0)), (epoch, seq))
    return found
