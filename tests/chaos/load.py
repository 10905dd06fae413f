"""The load: clients of both dialects in several rooms, one of them large, and guests of the SDK."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from domain.rooms import inbox_of
from loadtest.audit import ClientLog
from loadtest.clients import LoadClient
from loadtest.plan import Group, Message, Plan, plan_messages
from loadtest.share import Share, senders_of
from tests.chaos.evidence import Evidence, PrivateWord, StoredRoom, given
from tests.chaos.guests import Guests
from tests.unit.local.processes import until

__all__ = ["Load", "Size"]

HALL_WEIGHT = 3
"""How many messages the large room gets for one of a small room."""
RECIPE_EVERY = 3
"""Every so many-th client speaks the recipe's dialect: in each room some do."""
PATIENT_TRIES = 10_000
"""No message is given up: while a twin is down a client without a socket tries once a second."""
UNDER_WAY = 40
"""Messages without an answer at most."""
JOINS_PER_SECOND = 30.0
WITHIN = 180.0
"""Seconds after which what was awaited is taken to be lost."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much load."""

    hall: int = 60
    """Members of the large room."""
    rooms: int = 4
    """Small ones beside it."""
    members: int = 8
    """Of each."""
    rate: float = 14.0
    """Messages a second in all."""


class Load:
    """Its clients come with `begin`, and stay until `close`; messages flow until `settle`."""

    def __init__(self, url: str, size: Size, seconds: float, draw: Random) -> None:
        """`seconds`: the longest that messages may flow."""
        groups = (Group(1, size.hall, HALL_WEIGHT), Group(size.rooms, size.members))
        clients = sum(it.count * it.members for it in groups)
        self._plan = Plan(
            url,
            clients=clients,
            rooms=1 + size.rooms,
            rate=size.rate,
            seconds=seconds,
            ramp=JOINS_PER_SECOND,
            groups=groups,
        )
        self._share = Share(self._plan, 0, 1)
        self._share.ledger.tries = PATIENT_TRIES
        recipe = replace(self._plan, dialect="recipe")
        for number in range(0, clients, RECIPE_EVERY):
            self._share.clients[number] = LoadClient(number, recipe, self._share.ledger, draw)
        self._share.ledger.open(plan_messages(self._plan, senders_of(self._plan, ()), 0))
        self._talking: asyncio.Task[None] | None = None
        self._overdue: list[str] = []
        self.rooms = [self._plan.room(it) for it in range(self._plan.rooms)]
        self.guests = Guests(url, self.rooms, draw)

    # ---- the course

    async def begin(self) -> None:
        """Let all in; messages flow when it returns."""
        self._share.connect(time.monotonic())
        await until(lambda: not self._share.working and self._share.ready == len(self.clients), WITHIN)
        await self.guests.begin()
        self._talking = asyncio.create_task(self._talk())

    async def settle(self) -> None:
        """No new messages; returns when those before are answered, and every client is there again."""
        await self._stop_talking()
        under_way = self._share.ledger.under_way
        await self._within("guests are answered", self.guests.settle())
        await self._within("messages are acknowledged", until(lambda: not under_way, WITHIN))
        await self._within("clients are back", until(lambda: all(map(_is_there, self.clients)), WITHIN))

    async def say_last(self) -> None:
        """A message in each room, and to each resident; returns when they are acknowledged."""
        ledger, now = self._share.ledger, time.monotonic()
        for room in self.rooms:
            message = next(it for it in ledger.messages if it.room == room and not it.tries)
            message.due = now
            ledger.send(message, self._share.clients, now)
        await self._within("the last private messages are acknowledged", self.guests.say_last())
        await self._within("the last messages are acknowledged", until(lambda: not ledger.under_way, WITHIN))

    def behind(self, rooms: Mapping[str, StoredRoom]) -> Counter[str]:
        """User → how many entries of these rooms it was not given yet; only those who lack any."""
        behind: Counter[str] = Counter()
        for log in self.logs:
            for member in log.memberships:
                if member.until is None and member.room in rooms:
                    owed = rooms[member.room].owed(log.name, member.head)
                    behind[log.name] += len(set(owed).difference(given(log, member)))
        return +behind

    async def ping(self) -> None:
        """Let everybody who can ask for what was missed; returns when that is answered."""
        for it in self.clients:
            if it.session.dialect == "v1":
                it.ping()
        await self._within("guests' pings are answered", self.guests.ping())
        await self._within("pings are answered", until(lambda: not self._share.busy, WITHIN))

    async def close(self) -> None:
        await self._stop_talking()
        await self.guests.close()
        await self._share.disconnect()

    # ---- what there is to audit

    @property
    def clients(self) -> list[LoadClient]:
        return list(self._share.clients.values())

    def evidence(self, rooms: Mapping[str, StoredRoom], opened: Collection[str], dead: Mapping[str, int]) -> Evidence:
        """With what is stored (see `places`), the open connections, and the dead letters by lane."""
        return Evidence(
            messages=self.messages,
            private=self.private,
            logs=self.logs,
            rooms=rooms,
            quiet=[*self.rooms, *map(inbox_of, self.guests.residents)],
            open=opened,
            dead=dead,
            refusals=self.refusals,
        )

    @property
    def messages(self) -> list[Message]:
        """Those that were sent to rooms."""
        guests = [message for it in self.guests.stays for message in it.said]
        return [it for it in self._share.ledger.messages if it.tries] + guests

    @property
    def private(self) -> list[PrivateWord]:
        return [word for it in self.guests.stays for word in it.private]

    @property
    def logs(self) -> Sequence[ClientLog]:
        return [*(it.log for it in self.clients), *(it.log for it in self.guests.stays)]

    @property
    def refusals(self) -> list[str]:
        refused = [it for it in self._share.ledger.messages if it.refusal is not None]
        return [*self._overdue, *self.guests.refusals] + [
            f"{it.refusal}: “{it.text}” in room {it.room}" for it in refused
        ]

    @property
    def places(self) -> list[str]:
        """The rooms, and everybody's inbox."""
        return [*self.rooms, *sorted({inbox_of(it.name) for it in self.logs})]

    @property
    def answered(self) -> int:
        """Messages of the load that were acknowledged; guests' are not counted."""
        return self._share.ledger.tally.acknowledged

    @property
    def acknowledged(self) -> int:
        said = (*self.messages, *(it.message for it in self.private))
        return sum(it.acknowledged_at is not None for it in said)

    async def _talk(self) -> None:
        """A message after the other, at the planned rate. While many have no answer none is added: clients that are
        back after an outage would have hundreds to send at once, and nobody writes so."""
        ledger = self._share.ledger
        for message in ledger.messages:
            await asyncio.sleep(1 / self._plan.rate)
            while len(ledger.under_way) >= UNDER_WAY:  # noqa: ASYNC110  # what is awaited happens in other processes
                await asyncio.sleep(1 / self._plan.rate)
            message.due = time.monotonic()
            ledger.send(message, self._share.clients, message.due)

    async def _stop_talking(self) -> None:
        if self._talking is not None:
            self._talking.cancel()
            await asyncio.wait([self._talking])
            if not self._talking.cancelled():
                self._talking.result()

    async def _within(self, what: str, awaited: Awaitable[object]) -> None:
        """Await it for so long; the run goes on whatever comes of it, and the audit says what is wrong."""
        try:
            async with asyncio.timeout(WITHIN):
                await awaited
        except TimeoutError:
            self._overdue.append(f"not within {WITHIN:g} s: {what}")


def _is_there(client: LoadClient) -> bool:
    """Whether it is connected, and knows where its room is."""
    memberships = client.log.memberships
    return client.open and bool(memberships) and memberships[-1].until is None
