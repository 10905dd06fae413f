"""A crowd in rooms of a twin: the load test's clients, what they say, and the audit of every word."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from array import array
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from domain.events import Chat
from loadtest.audit import Audit, audit
from loadtest.clients import LoadClient
from loadtest.ledger import Ledger
from loadtest.plan import Message, Plan, plan_messages, reserve_sockets
from tests.unit.local.processes import until

__all__ = ["Crowd", "percentile"]

PATIENCE = 90.0
"""Seconds after which what was awaited is taken to be lost."""
HANDSHAKES = 16
"""Under way at once."""
SPEAKERS = 5
"""Clients of each room that say something, in turn."""
AGAIN_SECONDS = 2.0
"""After which a message without an answer is sent again: the gateway's answer to one beyond the rate names none."""
TICK_SECONDS = 0.1
CLIENT_TICKS = 10
"""Every so many ticks the clients' own clocks are looked at."""


class CrowdLedger(Ledger):
    """Keeps each latency as it came, so that those of a stretch of time can be looked at."""

    def __init__(self) -> None:
        super().__init__(random.Random(0))
        self.latencies = array("d")
        """In seconds, from when a message was due to each client's having it."""

    def delivered(self, chat: Chat, now: float) -> None:
        message = self.message(chat)
        if message is not None:
            self.latencies.append(now - message.due)
        super().delivered(chat, now)


class Crowd:
    """So many clients, spread over so many rooms; they come when `join` lets them in, and are there until the end."""

    def __init__(self, url: str, clients: int, rooms: int = 1) -> None:
        self._plan = Plan(url, clients=clients, rooms=rooms, rate=1, seconds=10_000)
        self.ledger = CrowdLedger()
        self.sent: list[Message] = []
        self.clients: dict[int, LoadClient] = {}
        self._coming: Iterator[Message] = iter(())
        self._loop = asyncio.get_running_loop()
        self._ticking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        reserve_sockets(2 * self._plan.clients)  # both ends are in this process
        senders = {self._plan.room_of(it): range(it, SPEAKERS * self.rooms, self.rooms) for it in range(self.rooms)}
        self.ledger.open(plan_messages(self._plan, senders, self._loop.time()))
        self._coming = iter(self.ledger.messages)
        self._ticking = asyncio.create_task(self._tick())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.wait([self._ticking])
        await asyncio.gather(*(it.close() for it in self.clients.values()))

    @property
    def rooms(self) -> int:
        return self._plan.rooms

    @property
    def room(self) -> str:
        """The only room, or the first."""
        return self._plan.room_of(0)

    async def join(self, upto: int | None = None, rate: float = math.inf) -> None:
        """Let the clients below `upto` in, all if there is none, at most so many a second, and wait until each knows
        where its room is."""
        first, start = len(self.clients), self._loop.time()
        coming = iter(range(first, self._plan.clients if upto is None else upto))

        async def let_in() -> None:
            for number in coming:
                client = LoadClient(number, self._plan, self.ledger, random.Random(number))
                await asyncio.sleep(start + (number - first) / rate - self._loop.time())
                self.clients[number] = client
                assert await client.connect(), client.failure

        await asyncio.gather(*(let_in() for _ in range(HANDSHAKES)))
        await until(lambda: all(it.ready for it in self.clients.values()), PATIENCE)

    async def say(self, count: int, rate: float = math.inf) -> None:
        """Send so many messages, so many a second whether or not those before have arrived."""
        start = self._loop.time()
        for number, message in enumerate(itertools.islice(self._coming, count)):
            message.due = start + number / rate
            await asyncio.sleep(message.due - self._loop.time())
            self._send(message)
            self.sent.append(message)

    @asynccontextmanager
    async def talking(self, rate: float) -> AsyncIterator[None]:
        """Messages are sent while the block lasts."""
        task = asyncio.create_task(self.say(len(self.ledger.messages), rate))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
        assert task.cancelled()

    @property
    def members(self) -> int:
        """Clients that have come."""
        return len(self.clients)

    @property
    def filled(self) -> int:
        """Entries that clients had to ask for."""
        return sum(len(it.log.filled) for it in self.clients.values())

    async def arrived(self) -> None:
        """Until every message is acknowledged, and everybody was given the last of its room."""
        await until(lambda: not self.ledger.under_way and not self._behind(), PATIENCE)

    def audit(self) -> Audit:
        """Of all that was said: call it when it has arrived."""
        assert all(it.acknowledged_at is not None for it in self.sent)
        return audit(self.sent, [it.log for it in self.clients.values()])

    # ---- private

    def _send(self, message: Message) -> None:
        now = self._loop.time()
        self.ledger.send(message, self.clients, now)
        message.again_at = now + AGAIN_SECONDS

    def _behind(self) -> bool:
        last: dict[str, int] = {}
        for it in self.sent:
            last[it.room] = max(it.seq, last.get(it.room, 0))
        return any(_place(it) < last.get(it.room, 0) for it in self.clients.values())

    async def _tick(self) -> None:
        for turn in itertools.count():
            await asyncio.sleep(TICK_SECONDS)
            now = self._loop.time()
            for message in [it for it in self.ledger.under_way.values() if it.again_at <= now]:
                self._send(message)
            if turn % CLIENT_TICKS == 0:
                for it in self.clients.values():
                    it.tick(now)


def _place(client: LoadClient) -> int:
    """The last seq that a client's user has been given, or need not be."""
    log = client.log
    return log.released[-1].seq if log.released else log.memberships[-1].head


def percentile(values: Sequence[float], share: float) -> int:
    """Of seconds, in milliseconds."""
    return round(1000 * sorted(values)[math.ceil(share * len(values)) - 1])
