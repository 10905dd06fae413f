"""Rooms' hooks: made, listed, removed, enabled, given new secrets. Servers ask for it: see `services/backend.py`."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from domain.backend import (
    AddWebhook,
    EnableWebhook,
    HookMade,
    HookPage,
    HookSummary,
    ListWebhooks,
    RemoveWebhook,
    RotateWebhook,
    sender_of,
)
from domain.errors import Conflict, Refused
from domain.fanout import HOOKS_LANE, HookBell
from domain.ports import Ports
from domain.rooms import Room, check_room_open
from domain.webhooks import HOOK_PORTS, HOOKS_LIMIT, Hook, check_events, check_url, new_secret, room_of, rotated
from services.patience import Patience

__all__ = ["add_webhook", "enable_webhook", "list_webhooks", "remove_webhook", "rotate_webhook"]

CONTENDS_FOR = 2.0
"""Seconds for which a change is tried again when others change the room's hooks."""
SECRET_BYTES = 32

_T = TypeVar("_T")


async def add_webhook(ports: Ports, action: AddWebhook) -> HookMade:
    """Make a hook, which is told of what comes from now on, or may speak from now on. Its secret is told once."""
    _check_direction(ports, action)
    key, secret = secrets.token_hex(8), new_secret(secrets.token_bytes(SECRET_BYTES))

    async def add() -> HookMade:
        room = check_room_open(await ports.store.room(action.room_id))
        hooks = await ports.webhooks.hooks(room.room)
        for old in hooks:
            if old.epoch != room.epoch:  # of an earlier life of the room: nobody has asked for it since
                await ports.webhooks.remove(None, old)
        if sum(it.epoch == room.epoch and it.key != key for it in hooks) >= HOOKS_LIMIT:
            raise Refused("BAD_REQUEST", f"A room has at most {HOOKS_LIMIT} webhooks; remove one")
        hook = Hook(
            room=room.room,
            key=key,
            epoch=room.epoch,
            direction=action.direction,
            name=action.name,
            secret=secret,
            created_at=ports.clock.now(),
            created_by="" if action.sender is None else sender_of(action.sender),
            url=action.url or "",
            events=tuple(dict.fromkeys(action.events)),
            position=room.head,
        )
        if any(it.key == key for it in hooks):  # a try whose answer was lost
            return HookMade(id=hook.id, secret=secret)
        await ports.webhooks.put(room, None, hook)
        return HookMade(id=hook.id, secret=secret)

    return await _contended(ports, add)


async def list_webhooks(ports: Ports, action: ListWebhooks) -> HookPage:
    """The room's hooks, without their secrets, and how far each is."""
    room = check_room_open(await ports.store.room(action.room_id))
    hooks = [it for it in await ports.webhooks.hooks(room.room) if it.epoch == room.epoch]
    return HookPage([_summary(it, room) for it in hooks])


async def remove_webhook(ports: Ports, action: RemoveWebhook) -> dict[str, str]:
    """Delete the hook, with its secrets."""

    async def remove() -> dict[str, str]:
        room, hook = await _found(ports, action.webhook_id)
        await ports.webhooks.remove(room, hook)
        return {"removed": hook.id}

    return await _contended(ports, remove)


async def enable_webhook(ports: Ports, action: EnableWebhook) -> HookSummary:
    """Let the hook be told again, from where it stands, or from now on if `fromNow` says so; one that is enabled is
    tried at once. What time has taken meanwhile is not told."""

    async def enable() -> HookSummary:
        room, hook = await _found(ports, action.webhook_id)
        enabled = replace(
            hook,
            version=hook.version + 1,
            disabled_at=0,
            cause="",
            failing_since=0,
            failures=0,
            retry_at=0,
            problem="",
            position=room.head if action.from_now else hook.position,
        )
        await ports.webhooks.put(room, hook, enabled)
        if hook.direction == "outgoing":
            again = f"enabled{enabled.version}"
            bell = HookBell(room=hook.room, epoch=hook.epoch, hook=hook.key, seq=room.head, again=again)
            await ports.queue.ring(HOOKS_LANE, [bell])
        return _summary(enabled, room)

    return await _contended(ports, enable)


async def rotate_webhook(ports: Ports, action: RotateWebhook) -> HookMade:
    """Give the hook a new secret, which is told once; the one before counts for a day yet."""
    secret = new_secret(secrets.token_bytes(SECRET_BYTES))

    async def rotate() -> HookMade:
        room, hook = await _found(ports, action.webhook_id)
        if hook.secret != secret:
            await ports.webhooks.put(room, hook, rotated(hook, secret, ports.clock.now()))
        return HookMade(id=hook.id, secret=secret)

    return await _contended(ports, rotate)


# ---- private


def _check_direction(ports: Ports, action: AddWebhook) -> None:
    if action.direction == "incoming":
        if action.url is not None or action.events:
            raise Refused("BAD_REQUEST", "`url`, `events`: an incoming webhook has neither")
        return
    if action.url is None:
        raise Refused("BAD_REQUEST", "`url`: an outgoing webhook needs one")
    check_url(action.url, None if ports.rules.hooks_anywhere else HOOK_PORTS)
    check_events(action.events)


async def _found(ports: Ports, webhook: str) -> tuple[Room, Hook]:
    room = await ports.store.room(room_of(webhook))
    hook = await ports.webhooks.hook(webhook)
    if room is None or hook is None or hook.epoch != room.epoch:
        raise Refused("BAD_REQUEST", "`webhookId`: there is no such webhook")
    return room, hook


async def _contended(ports: Ports, change: Callable[[], Awaitable[_T]]) -> _T:
    patience = Patience(ports, CONTENDS_FOR)
    while True:
        try:
            return await change()
        except Conflict:
            if not await patience.lasts():
                raise Refused("ROOM_BUSY", "Too many change this at once", retry_after=1.0) from None


def _summary(hook: Hook, room: Room) -> HookSummary:
    return HookSummary(
        id=hook.id,
        direction=hook.direction,
        name=hook.name,
        created_at=hook.created_at,
        created_by=hook.created_by,
        enabled=hook.enabled,
        url=hook.url,
        events=list(hook.events),
        cause=hook.cause,
        disabled_at=hook.disabled_at,
        position=hook.position,
        behind=max(0, room.head - hook.position) if hook.direction == "outgoing" else 0,
        failing_since=hook.failing_since,
        failures=hook.failures,
        problem=hook.problem,
        retry_at=hook.retry_at,
    )
