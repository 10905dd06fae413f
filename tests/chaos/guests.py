"""Users of the SDK beside the load: some stay and write to each other in private, others come, talk, and go."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Coroutine, Sequence
from random import Random
from typing import Any, TypeVar

from client.connection import Connection, connect
from client.errors import HandshakeRefused, RequestRefused, Unreachable
from client.events import Missed
from domain.events import Ack, Chat, Joined, PrivateMessage, Welcome
from domain.rooms import inbox_of
from loadtest.audit import ClientLog, Membership, Receipt
from loadtest.plan import Message
from tests.chaos.evidence import PrivateWord

__all__ = ["Guests"]

RESIDENTS = 4
PASSERS_BY = 4
WORD_SECONDS = (0.5, 2.0)
"""Between two private messages of a resident."""
STAY_SECONDS = (2.0, 8.0)
AWAY_SECONDS = (0.5, 3.0)
AGAIN_SECONDS = 0.5
"""After a handshake that failed."""
TRANSIENT = frozenset({"ROOM_BUSY", "INTERNAL"})
"""Refusals that may be the answer when the SDK has tried often enough; any other is wrong here."""

_T = TypeVar("_T")


class Stay:
    """One stay of a user: what was said and heard in it."""

    def __init__(self, url: str, user: str, room: str, draw: Random, refusals: list[str]) -> None:
        self.log = ClientLog(user)
        self.said: list[Message] = []
        self.private: list[PrivateWord] = []
        self._connection = connect(url, room=room, user=user, draw=Random(draw.random()))
        self._refusals = refusals
        self._numbers = itertools.count(1)
        self._key = f"{user}-{draw.getrandbits(48):012x}"
        self._came_at = 0.0
        self._reading: asyncio.Task[None] | None = None

    async def come(self) -> None:
        """Be let in, after however many tries."""
        self._came_at = time.monotonic()
        while True:
            try:
                await self._connection.__aenter__()
            except Unreachable:
                pass
            except HandshakeRefused as error:
                if error.status < 500:
                    raise
            else:
                break
            await asyncio.sleep(AGAIN_SECONDS)
        self._reading = asyncio.create_task(self._read(self._connection))

    async def go(self) -> None:
        """Close the socket; nothing more is owed from here on."""
        self.end_memberships()
        await self._connection.close()
        if self._reading is not None:
            await self._reading

    async def say(self, room: str) -> None:
        text = f"{self._key} says {next(self._numbers)}"
        message = Message("the SDK's own", room, text, sender=-1, due=time.monotonic())
        self.said.append(message)
        await self._send(message, self._connection.send(room, text))

    async def whisper(self, target: str) -> None:
        text = f"{self._key} whispers {next(self._numbers)}"
        room = inbox_of(self.log.name)
        message = Message("the SDK's own", room, text, sender=-1, due=time.monotonic())
        self.private.append(PrivateWord(message, target))
        await self._send(message, self._connection.send_private(target, text))

    async def join(self, room: str) -> bool:
        """Whether it is a member now."""
        joined = await self._asked(self._connection.join(room))
        if joined is not None:
            self._begin(joined.room_id, joined.epoch, joined.head)
        return joined is not None

    async def leave(self, room: str) -> None:
        if await self._asked(self._connection.leave(room)) is not None:
            self.end_memberships(room)

    async def ping(self) -> None:
        await self._asked(self._connection.ping())

    def end_memberships(self, room: str | None = None) -> None:
        """In that room, or in all."""
        for it in self.log.memberships:
            if it.until is None and room in {None, it.room}:
                it.until = time.monotonic()

    # ---- private

    async def _send(self, message: Message, sending: Coroutine[Any, Any, Ack]) -> None:
        message.sent_at, message.tries = time.monotonic(), 1
        try:
            ack = await sending
        except RequestRefused as error:
            self._note(error)
        else:
            message.acknowledged_at, message.epoch, message.seq = time.monotonic(), ack.epoch, ack.seq

    async def _asked(self, asking: Coroutine[Any, Any, _T]) -> _T | None:
        """The answer; None where there is none."""
        try:
            return await asking
        except RequestRefused as error:
            self._note(error)
            return None

    def _note(self, error: RequestRefused) -> None:
        if error.code not in TRANSIENT:
            self._refusals.append(f"{self.log.name}: {error.code}: {error}")

    async def _read(self, connection: Connection) -> None:
        async for event in connection.events():
            match event:
                case Chat() | PrivateMessage():
                    self.log.released.append(Receipt(event.room_id, event.epoch, event.seq, event.message))
                case Welcome():
                    self._begin(event.room_id, event.epoch, event.head)
                    self._begin(inbox_of(event.user_id), event.inbox.epoch, event.inbox.seq)
                case Joined():
                    self._begin(event.room_id, event.epoch, event.head)
                case Missed():
                    self._refusals.append(f"{self.log.name}: told that it missed {event}")

    def _begin(self, room: str, epoch: int, head: int) -> None:
        if not any(it.room == room and it.epoch == epoch and it.until is None for it in self.log.memberships):
            self.log.memberships.append(Membership(room, epoch, head, self._came_at))


class Guests:
    """All of them. `begin` lets the residents in, and the others come and go until `settle`."""

    def __init__(self, url: str, rooms: Sequence[str], draw: Random) -> None:
        self.stays: list[Stay] = []
        """Those that are over, too."""
        self.present: list[Stay] = []
        self.refusals: list[str] = []
        """What must not be: refusals of what everybody may do, and entries that were missed."""
        self._url = url
        self._rooms = rooms
        self._draw = draw
        self._name = f"{draw.getrandbits(32):08x}"
        self._settling = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def residents(self) -> list[str]:
        return [f"resident-{self._name}-{it}" for it in range(RESIDENTS)]

    async def begin(self) -> None:
        """Returns when the residents are there."""
        residents = [self._stay(it) for it in self.residents]
        await asyncio.gather(*(it.come() for it in residents))
        self.present += residents
        work = [self._write(it) for it in residents]
        work += [self._come_and_go(f"passer-by-{self._name}-{it}") for it in range(PASSERS_BY)]
        self._tasks = [asyncio.create_task(it) for it in work]

    async def settle(self) -> None:
        """Nobody comes or goes or says anything from now on; returns when all is answered."""
        self._settling.set()
        await asyncio.gather(*self._tasks)

    async def say_last(self) -> None:
        """A private message to each resident."""
        residents = self.present[:RESIDENTS]
        others = [*residents[1:], residents[0]]
        await asyncio.gather(
            *(sender.whisper(target.log.name) for sender, target in zip(residents, others, strict=True))
        )

    async def ping(self) -> None:
        await asyncio.gather(*(it.ping() for it in self.present))

    async def close(self) -> None:
        for it in self._tasks:
            it.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(it.go() for it in self.present))

    # ---- private

    def _stay(self, user: str) -> Stay:
        stay = Stay(self._url, user, self._draw.choice(self._rooms), self._draw, self.refusals)
        self.stays.append(stay)
        return stay

    async def _write(self, stay: Stay) -> None:
        others = [it for it in self.residents if it != stay.log.name]
        while not await self._settles(WORD_SECONDS):
            await stay.whisper(self._draw.choice(others))

    async def _come_and_go(self, user: str) -> None:
        while not await self._settles(AWAY_SECONDS):
            stay = self._stay(user)
            await stay.come()
            self.present.append(stay)
            first, second = self._draw.sample(self._rooms, 2)
            joined = [it for it in (first, second) if await stay.join(it)]
            for it in joined:
                await stay.say(it)
            if await self._settles(STAY_SECONDS):
                return
            if joined:
                await stay.leave(joined[0])
            if await self._settles(AWAY_SECONDS):
                return
            self.present.remove(stay)
            await stay.go()

    async def _settles(self, seconds: tuple[float, float]) -> bool:
        """Let some time pass; whether everybody is to settle meanwhile."""
        try:
            async with asyncio.timeout(self._draw.uniform(*seconds)):
                await self._settling.wait()
        except TimeoutError:
            return False
        return True
