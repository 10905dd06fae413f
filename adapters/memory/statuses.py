"""How users are, in dicts beside those of the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from adapters.memory.store import MemoryStore
from domain.errors import Conflict
from domain.ports import Statuses
from domain.presence import CLAIM_MS, TYPING_EVERY_MS, Presence
from domain.protocol import Status
from domain.rooms import Membership, Once

__all__ = ["MemoryStatuses"]


class MemoryStatuses(Statuses):
    """On a `MemoryStore`, whose member rows and once-rows it writes, and whose time it takes."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._answer = store._answer
        self._presences: dict[str, Presence] = {}
        self._changed: dict[tuple[str, int], tuple[int, set[str]]] = {}
        """(room, epoch) → (when somebody was to see to it, who has changed)."""
        self._typed_at: dict[str, int] = {}

    async def presences(self, users: Sequence[str]) -> dict[str, Presence]:
        await self._answer()
        return {it: self._presences.get(it, Presence(it)) for it in users}

    async def record(self, presence: Presence) -> None:
        await self._answer()
        there = self._presences.get(presence.user, Presence(presence.user))
        if there.version != presence.version - 1:
            raise Conflict("another work-out came first")
        self._presences[presence.user] = presence

    async def set_status(
        self, connection: str, inbox: Membership, status: Status, key: str, once: Once, now: int
    ) -> None:
        store, row = self._store, (inbox.user, key)
        async with store._transaction(("member", inbox.key, connection), ("once", *row)):
            member, earlier = store._members[inbox.key].get(connection), store._once.get(row)
            if member is None or member.join_id != inbox.join_id:
                raise Conflict("the connection has ended")
            if earlier is not None and earlier.expires_at > now:
                raise Conflict("the once-row exists")
            store._members[inbox.key][connection] = replace(member, status=status)
            store._once[row] = once

    async def note(self, room: str, epoch: int, user: str, now: int) -> bool:
        await self._answer()
        claimed_at, users = self._changed.get((room, epoch), (None, set()))
        first = claimed_at is None or claimed_at <= now - CLAIM_MS
        self._changed[room, epoch] = (now if first or claimed_at is None else claimed_at, users | {user})
        return first

    async def take(self, room: str, epoch: int) -> list[str]:
        await self._answer()
        _, users = self._changed.pop((room, epoch), (0, set()))
        return sorted(users)

    async def claim_typing(self, user: str, now: int) -> bool:
        await self._answer()
        if self._typed_at.get(user, now - TYPING_EVERY_MS) > now - TYPING_EVERY_MS:
            return False
        self._typed_at[user] = now
        return True
