"""Hooks in a dict, beside the memory's rooms."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

from adapters.memory.store import MemoryStore, give_way
from domain.errors import Conflict
from domain.ports import Webhooks
from domain.rooms import Room
from domain.webhooks import Hook, hook_id, is_told, named_hooks

__all__ = ["MemoryWebhooks"]


class MemoryWebhooks(Webhooks):
    """Hooks by id. `store`: where their rooms are."""

    def __init__(self, store: MemoryStore, answer: Callable[[], Awaitable[None]] = give_way) -> None:
        """`answer`: awaited in every call before its effect: how long the store takes."""
        self._store = store
        self._answer = answer
        self._hooks: dict[str, Hook] = {}

    async def hooks(self, room: str) -> list[Hook]:
        await self._answer()
        return sorted((it for it in self._hooks.values() if it.room == room), key=lambda it: it.key)

    async def hook(self, hook: str) -> Hook | None:
        await self._answer()
        return self._hooks.get(hook)

    async def put(self, room: Room | None, read: Hook | None, hook: Hook) -> None:
        async with self._naming(room, hook, named_hooks(room, hook.key, hook)):
            self._require(hook, read)
            if read is not None and read.position == hook.position:
                hook = replace(hook, position=self._hooks[hook.id].position)
            self._hooks[hook.id] = hook

    async def remove(self, room: Room | None, hook: Hook) -> None:
        async with self._naming(room, hook, named_hooks(room, hook.key, None)):
            self._require(hook, hook)
            del self._hooks[hook.id]

    def _naming(self, room: Room | None, hook: Hook, hooks: tuple[str, ...]) -> AbstractAsyncContextManager[None]:
        """A transaction that also lets the room name `hooks`, if it has to do with the hook."""
        return self._store.naming_hooks(None if room is None or not is_told(room, hook) else room, hooks)

    def _require(self, hook: Hook, read: Hook | None) -> None:
        there = self._hooks.get(hook.id)
        if (there and there.version) != (read and read.version):
            raise Conflict("the hook has changed")

    async def follow(self, hook: Hook) -> None:
        await self._answer()
        there = self._hooks.get(hook_id(hook.room, hook.key))
        if there is None or there.version != hook.version or there.position > hook.position:
            raise Conflict("the hook has changed")
        self._hooks[hook.id] = replace(
            there,
            position=hook.position,
            failing_since=hook.failing_since,
            failures=hook.failures,
            retry_at=hook.retry_at,
            problem=hook.problem,
        )
