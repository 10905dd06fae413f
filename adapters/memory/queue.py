"""The lanes in lists, with the groups, delays, visibility and dead letters of SQS."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from domain.fanout import (
    Ephemeral,
    Remainder,
    Rung,
    deduplication_of,
    encode_job,
    group_of,
    remainder_delay,
)
from domain.lanes import LANES, Lane
from domain.ports import BroadcastQueue, Clock

__all__ = ["MemoryQueue"]

DEDUPLICATION_MS = 300_000
"""For how long a FIFO queue swallows a second message with the same deduplication id."""

FIFO_BATCH = 10
"""Messages that a FIFO queue gives at once, at most."""


@dataclass(slots=True)
class _Message:
    """A message in a queue. Times are milliseconds since 1970."""

    id: int
    body: str
    group: str
    sent_at: int
    visible_at: int
    deduplication: str | None = None
    receives: int = 0
    receipt: str | None = None
    """Of the receive that holds it now."""


class MemoryQueue(BroadcastQueue):
    """The lanes in memory, with SQS's groups, deduplication, delays, visibility and dead letters.

    `receive` and `delete` are the worker's side; retention is not modelled.
    """

    def __init__(self, clock: Clock, lanes: Mapping[str, Lane] = LANES, draw: random.Random | None = None) -> None:
        self._clock = clock
        self._lanes = lanes
        self._draw = draw or random.Random()
        # Lane → id → message, oldest first; and the same by group, where groups have an order.
        self._messages: dict[str, dict[int, _Message]] = {it: {} for it in lanes}
        self._groups: dict[str, dict[str, dict[int, _Message]]] = {it: {} for it in lanes}
        self._dead: dict[str, list[_Message]] = {it: [] for it in lanes}
        self._deduplicated: dict[tuple[str, str], int] = {}
        self._numbers = itertools.count(1)

    async def ring(self, lane: str, jobs: Sequence[Rung]) -> None:
        await asyncio.sleep(0)
        for it in jobs:
            self.put(lane, encode_job(it), group_of(it), deduplication=deduplication_of(it))

    async def defer(self, remainders: Sequence[Remainder]) -> None:
        await asyncio.sleep(0)
        for it in remainders:
            self.put("retry", encode_job(it), it.room, delay=remainder_delay(it.attempt, self._draw))

    async def announce(self, job: Ephemeral, delay: int = 0) -> None:
        await asyncio.sleep(0)
        self.put("ephemeral", encode_job(job), job.room, delay=delay)

    async def bury(self, lane: str, body: str, group: str | None) -> None:
        await asyncio.sleep(0)
        now = self._clock.now()
        self._dead[lane].append(_Message(next(self._numbers), body, group or "poison", now, now))

    async def hide(self, lane: str, receipt: str, seconds: int) -> None:
        await asyncio.sleep(0)
        message = self._in_flight(lane, receipt)
        if message is not None:
            message.visible_at = self._clock.now() + seconds * 1000

    def put(self, lane: str, body: str, group: str, *, deduplication: str | None = None, delay: int = 0) -> None:
        """Enqueue a body as it is; visible after `delay` seconds."""
        now = self._clock.now()
        if deduplication is not None:
            if self._deduplicated.get((lane, deduplication), 0) > now:
                return
            self._deduplicated[lane, deduplication] = now + DEDUPLICATION_MS
        message = _Message(next(self._numbers), body, group, now, now + delay * 1000, deduplication)
        self._messages[lane][message.id] = message
        if self._lanes[lane].fifo:
            self._groups[lane].setdefault(group, {})[message.id] = message

    async def receive(self, lane: str, batch_size: int) -> list[dict[str, Any]]:
        """Up to `batch_size` visible messages as records of a Lambda event.

        On a FIFO lane: of a group with a message in flight none; of the group of the oldest message as many as
        there are, then those of the next group.
        """
        await asyncio.sleep(0)
        now = self._clock.now()
        ready: list[_Message] = []
        spent: list[_Message] = []
        for it in self._visible(lane, now):
            (spent if it.receives >= self._lanes[lane].max_receives else ready).append(it)
            if len(ready) == batch_size:
                break
        for it in spent:
            self._remove(lane, it)
            self._dead[lane].append(it)
        return [self._take(lane, it, now) for it in ready]

    async def delete(self, lane: str, receipt: str) -> None:
        """Delete a received message; without effect once it is visible again."""
        await asyncio.sleep(0)
        message = self._in_flight(lane, receipt)
        if message is not None:
            self._remove(lane, message)

    def depth(self, lane: str) -> int:
        """How many messages the lane holds: waiting, delayed and in flight."""
        return len(self._messages[lane])

    def dead(self, lane: str) -> list[str]:
        """The bodies in the lane's dead-letter queue, oldest first."""
        return [it.body for it in self._dead[lane]]

    def _visible(self, lane: str, now: int) -> Iterator[_Message]:
        if not self._lanes[lane].fifo:
            return (it for it in self._messages[lane].values() if it.visible_at <= now)
        groups = [it for it in self._groups[lane].values() if not _is_held(it, now)]
        groups.sort(key=lambda it: next(iter(it)))
        return itertools.chain.from_iterable(it.values() for it in groups)

    def _remove(self, lane: str, message: _Message) -> None:
        del self._messages[lane][message.id]
        if self._lanes[lane].fifo:
            group = self._groups[lane][message.group]
            del group[message.id]
            if not group:
                del self._groups[lane][message.group]

    def _take(self, lane: str, message: _Message, now: int) -> dict[str, Any]:
        message.receives += 1
        message.receipt = f"{message.id}.{message.receives}"
        message.visible_at = now + round(self._lanes[lane].visibility * 1000)
        attributes = {
            "ApproximateReceiveCount": str(message.receives),
            "SentTimestamp": str(message.sent_at),
            "MessageGroupId": message.group,
        }
        if message.deduplication is not None:
            attributes["MessageDeduplicationId"] = message.deduplication
            attributes["SequenceNumber"] = f"{message.id:020}"
        return {
            "messageId": f"{message.id}",
            "receiptHandle": message.receipt,
            "body": message.body,
            "attributes": attributes,
            "messageAttributes": {},
            "md5OfBody": hashlib.md5(message.body.encode(), usedforsecurity=False).hexdigest(),
            "eventSource": "aws:sqs",
            "eventSourceARN": f"arn:aws:sqs:memory:000000000000:{lane}",
            "awsRegion": "memory",
        }

    def _in_flight(self, lane: str, receipt: str) -> _Message | None:
        message = self._messages[lane].get(int(receipt.partition(".")[0]))
        held = message is not None and message.receipt == receipt and message.visible_at > self._clock.now()
        return message if held else None


def _is_held(group: Mapping[int, _Message], now: int) -> bool:
    """Whether a worker has messages of the group. They were received together, from its front."""
    return any(it.visible_at > now for it in itertools.islice(group.values(), FIFO_BATCH))
