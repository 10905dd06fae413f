"""One process's share of a run: its clients, what they send, and what they were given.

Every process makes the whole list of messages by itself, from the plan, the clients that are there and the time of the
first, and so knows each message that its own clients receive. The clock is the machine's: it is the same in each.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from typing import Any

from loadtest.audit import Audit, audit
from loadtest.clients import LoadClient
from loadtest.ledger import Ledger
from loadtest.plan import Behaviour, Message, Plan, plan_messages
from loadtest.token import Token

__all__ = ["Share", "senders_of"]

HANDSHAKES = 64
"""Under way at once at most, in all processes: more would time out waiting for each other where a service is slower
than the ramp."""
TICK_SECONDS = 0.1
CLIENT_TICKS = 10
"""Every so many ticks the clients' own clocks are looked at: there may be thousands."""


def senders_of(plan: Plan, absent: Iterable[int]) -> dict[str, list[int]]:
    """Room → the clients that are there when the sending begins; the same in every process."""
    gone = set(absent)
    senders: dict[str, list[int]] = {}
    for number in range(plan.clients):
        if number not in gone:
            senders.setdefault(plan.room_of(number), []).append(number)
    return senders


class Share:
    """Every `processes`-th client, from number `process` on. Times are in seconds of the machine's monotonic clock."""

    def __init__(self, plan: Plan, process: int, processes: int, token: Token | None = None) -> None:
        draw = random.Random()
        self.ledger = Ledger(draw, trace=plan.trace)
        self.clients = {
            it: LoadClient(it, plan, self.ledger, draw, token) for it in range(process, plan.clients, processes)
        }
        self._plan = plan
        self._handshakes = asyncio.Semaphore(max(1, HANDSHAKES // processes))
        self._until = float("inf")
        self._tasks: list[asyncio.Task[None]] = []
        self._ticking = asyncio.create_task(self._tick())

    # ---- what there is to do

    def connect(self, start: float) -> None:
        """Begin to open the sockets, at the planned pace or at the service's if that is slower."""
        early = [it for it in range(self._plan.clients) if not self._plan.comes_late(it)]
        dues = {client: start + place / self._plan.ramp for place, client in enumerate(early)}
        self._begin(self._let_in(dues))

    def send(self, start: float, absent: Iterable[int]) -> None:
        """Begin to send, and to behave as planned."""
        self.ledger.open(plan_messages(self._plan, senders_of(self._plan, absent), start))
        self._begin(self._send_all())
        for it in self._plan.behaviours:
            self._begin(self._behave(it, start))

    def stop(self, until: float) -> None:
        """Send nothing that is due later, let nobody else in, and read everything."""
        self._until = until
        for it in self._tasks:
            asyncio.get_running_loop().call_later(until + TICK_SECONDS - time.monotonic(), it.cancel)
        for client in self.clients.values():
            client.resume()

    def ping(self) -> None:
        """Let every client ask for what it missed."""
        for client in self.clients.values():
            if client.open:
                client.ping()

    async def disconnect(self) -> None:
        """Close all sockets for good."""
        tasks = [*self._tasks, self._ticking]
        for it in tasks:
            it.cancel()
        await asyncio.wait(tasks)
        await asyncio.gather(*(it.close() for it in self.clients.values()))
        for it in tasks:
            if not it.cancelled():
                it.result()

    # ---- how it goes

    @property
    def working(self) -> bool:
        """Whether anything that was begun goes on."""
        for it in self._tasks:
            if it.done() and not it.cancelled():
                it.result()
        return any(not it.done() for it in self._tasks)

    @property
    def busy(self) -> bool:
        """Whether a client waits for an answer to what it asked by itself."""
        return any(it.session.busy for it in self.clients.values())

    @property
    def opened(self) -> int:
        return sum(it.connected_at is not None for it in self.clients.values())

    @property
    def ready(self) -> int:
        return sum(it.ready for it in self.clients.values())

    def failures(self) -> Counter[str]:
        """Why clients could not take part."""
        found = Counter(it.failure for it in self.clients.values() if it.failure is not None and not it.ready)
        unwelcome = sum(
            it.connected_at is not None and it.failure is None and not it.ready for it in self.clients.values()
        )
        return found + Counter({"no welcome": unwelcome})

    def heads(self) -> dict[str, tuple[int, int]]:
        """Room → the last (epoch, seq) that answered a client of this process."""
        heads: dict[str, tuple[int, int]] = {}
        for it in self.ledger.messages:
            if it.acknowledged_at is not None:
                heads[it.room] = max(heads.get(it.room, (0, 0)), (it.epoch, it.seq))
        return heads

    def missing(self, heads: Mapping[str, tuple[int, int]]) -> int:
        """How many entries up to these heads the clients were not given yet."""
        count = 0
        for client in self.clients.values():
            epoch, head = heads.get(client.room, (0, 0))
            if client.ready and client.log.memberships[-1].until is None:
                place = client.session.cursor(client.room)
                reached = place[1] if place is not None and place[0] >= epoch else 0
                count += max(0, head - reached)
        return count

    def owed(self) -> Iterator[tuple[str, int, int, int]]:
        """(room, epoch, head, clients): so many are owed what is above that head."""
        places: Counter[tuple[str, int, int]] = Counter()
        for client in self.clients.values():
            places.update((it.room, it.epoch, it.head) for it in client.log.memberships if it.until is None)
        for place, count in places.items():
            yield *place, count

    def audit(self, messages: Iterable[Message]) -> Audit:
        return audit(messages, [it.log for it in self.clients.values()])

    # ---- private

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    async def _let_in(self, dues: Mapping[int, float]) -> None:
        """Connect those of these clients that are ours, each when it is due."""
        async with asyncio.TaskGroup() as handshakes:
            for client, due in dues.items():
                if client in self.clients:
                    await _sleep_until(due)
                    handshakes.create_task(self._shake_hands(self.clients[client]))

    async def _shake_hands(self, client: LoadClient) -> None:
        async with self._handshakes:
            await client.connect()

    async def _send_all(self) -> None:
        """Each message of ours when it is due."""
        for message in self.ledger.messages:
            if message.sender in self.clients:
                # Also when it is late already: the sockets must be read between two messages.
                await _sleep_until(message.due)
                if message.due > self._until:
                    return
                self.ledger.send(message, self.clients, time.monotonic())

    async def _behave(self, behaviour: Behaviour, start: float) -> None:
        await _sleep_until(start + behaviour.at)
        chosen = [it for it in range(self._plan.clients) if behaviour.has(it)]
        ours = [self.clients[it] for it in chosen if it in self.clients]
        match behaviour.kind:
            case "storm":
                began = start + behaviour.at
                await self._let_in({it: began + place / behaviour.rate for place, it in enumerate(chosen)})
            case "reconnect":
                for client in ours:
                    client.cut()
            case "slow":
                for client in ours:
                    client.pause()
                await _sleep_until(start + behaviour.at + behaviour.seconds)
                for client in ours:
                    client.resume()

    async def _tick(self) -> None:
        """The clients' clock, and that of messages to be sent again."""
        for turn in itertools.count():
            await asyncio.sleep(TICK_SECONDS)
            now = time.monotonic()
            self.ledger.send_due(self.clients, now)
            if turn % CLIENT_TICKS == 0:
                for client in self.clients.values():
                    client.tick(now)


async def _sleep_until(when: float) -> None:
    await asyncio.sleep(max(0.0, when - time.monotonic()))
