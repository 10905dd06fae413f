"""Outgoing hooks as the simulation has them: receivers that fail, and what must be so of what they were told."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING

from domain.errors import Conflict, PostFailed
from domain.ports import Answered, Receivers
from domain.rooms import Entry, Room
from domain.webhooks import Hook, new_secret

if TYPE_CHECKING:
    from tests.simulation.service import Service

__all__ = ["SimulatedReceivers", "add_hook", "untold"]


class SimulatedReceivers(Receivers):
    """Each remembers what it has taken: URL → (webhook-id, epoch, seq), oldest first."""

    def __init__(self, service: Service) -> None:
        self.taken: dict[str, list[tuple[str, int, int]]] = defaultdict(list)
        self._service = service

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, deadline: float) -> Answered:
        chaos = self._service.chaos
        await chaos.answer()
        told = json.loads(body)["data"]
        delivery = headers["webhook-id"], told["epoch"], told["seq"]
        if chaos.active and chaos.draw.random() < 4 * chaos.rates.post_refused:
            return Answered(500)
        if chaos.active and chaos.draw.random() < chaos.rates.post_hangs:
            await asyncio.sleep(deadline)
            if chaos.draw.random() < 0.5:  # it took it, and its answer came too late
                self.taken[url].append(delivery)
            raise PostFailed("no answer in time")
        self.taken[url].append(delivery)
        self._service.note("hook told", url, told["seq"])
        return Answered(204)


async def add_hook(service: Service, name: str) -> None:
    """A room gets a hook, while others write; nothing where there is no such room yet."""
    number = len(service.hooks)
    while (room := await service.store.room(name)) is not None and room.status == "open":
        url, key = f"https://{number}.example", f"{number:016x}"
        secret = new_secret(bytes(32))
        hook = Hook(name, key, room.epoch, "outgoing", "ci", secret, 0, "ops", url=url, position=room.head)
        with suppress(Conflict):
            await service.webhooks.put(room, None, hook)
            service.hooks.append(hook)
            return


def untold(
    service: Service,
    logs: Mapping[str, tuple[Room, Mapping[int, Mapping[int, Entry]]]],
    promised: Callable[[str], int],
) -> Iterator[str]:
    """In words: entries that a receiver was not told of, or told out of order, or under another id. `logs`: room → the
    room, and epoch → its log; `promised`: room → the last seq that must have rung."""
    for hook in service.hooks:
        if hook.room not in logs:
            continue
        room, by_epoch = logs[hook.room]
        ids: dict[int, str] = {}
        for webhook, epoch, seq in service.receivers.taken[hook.url]:
            if epoch != hook.epoch or seq <= hook.position or seq not in by_epoch.get(epoch, {}):
                yield f"{hook.id} was told of {epoch} {seq}, which is not its business"
            if ids.setdefault(seq, webhook) != webhook:
                yield f"{hook.id} was told of {seq} under two ids"
        for before, after in pairwise(ids):
            if after <= before:
                yield f"{hook.id} was told of {after} after {before}"
        if room.epoch == hook.epoch:
            owed = {it for it in by_epoch[hook.epoch] if hook.position < it <= promised(hook.room)}
            if owed - ids.keys():
                yield f"{hook.id} was never told of {sorted(owed - ids.keys())}"
