"""A simulated client: the SDK's session on a socket that calls back as it parses, without a task of its own."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.protocol import State
from websockets.typing import Subprotocol

from client.events import LogEvent, is_gateway_error
from client.handshake import with_query
from client.session import Session
from domain.events import Ack, Chat, Error, Joined, RoomStats, UserJoined, UserLeft, UserTyping, Welcome
from domain.protocol import SUBPROTOCOL
from loadtest.audit import ClientLog, Membership, Receipt
from loadtest.plan import Plan
from loadtest.sockets import Socket
from loadtest.token import Token

__all__ = ["Desk", "LoadClient"]

OPEN_WITHIN = 30.0
"""Seconds for a handshake: a storm of them takes its time."""
CLOSE_WITHIN = 5.0
UNKNOWN = "HTTP 401"
"""Why it failed where a token is too old."""
RECONNECT_WITHIN = 1.0
"""Seconds before a reconnect: full jitter."""
SKIPPED = frozenset(it.type for it in (UserJoined, UserLeft, RoomStats, UserTyping))
"""Events that are counted and not read: a room that fills up sends many, and no promise is made of any."""


class Desk(Protocol):
    """Where clients report to."""

    def connected(self, client: int, now: float) -> None:
        """A client has a new socket: answers that it waited for on another will not come."""
        ...

    def disconnected(self, broken: bool, now: float) -> None:
        """A client's socket is closed; `broken`: it did not want that."""
        ...

    def framed(self, kind: str, entries: int, now: float) -> None:
        """A frame came: the type of its event, "" for none, and how many entries it pushed."""
        ...

    def receipt(self, chat: Chat) -> Receipt:
        """The one object for all equal receipts."""
        ...

    def delivered(self, chat: Chat, now: float) -> None:
        """A client's user was given a message that it is owed."""
        ...

    def acknowledged(self, ack: Ack, now: float) -> None: ...

    def refused(self, error: Error, now: float) -> None: ...

    def stumbled(self, client: int, now: float) -> None:
        """The gateway could not carry out one of a client's requests, and does not say which."""
        ...


class LoadClient:
    """One client in one room. Times are in seconds of the machine's monotonic clock."""

    __slots__ = (
        *("connected_at", "connected_seconds", "failure", "log", "number", "reconnects", "room", "session"),
        *("_began_at", "_desk", "_draw", "_ending", "_ids", "_plan", "_reconnecting", "_renewing", "_socket", "_token"),
    )

    def __init__(self, number: int, plan: Plan, desk: Desk, draw: random.Random, token: Token | None = None) -> None:
        self.number = number
        self.room = plan.room_of(number)
        self.log = ClientLog(f"load-{plan.name}-{number}")
        self.reconnects = 0
        self.failure: str | None = None
        """Why it could not connect."""
        self.connected_at: float | None = None
        self.connected_seconds = 0.0
        """In sockets that have closed."""
        self.session = Session(self.room, new_id=self._new_id, draw=draw, dialect=plan.dialect, observe=self._observe)
        self._plan = plan
        self._desk = desk
        self._draw = draw
        self._token = token
        self._ids = 0
        self._socket: Socket | None = None
        self._began_at = 0.0
        self._ending = False
        self._reconnecting: asyncio.Task[None] | None = None
        self._renewing: asyncio.Task[None] | None = None

    @property
    def open(self) -> bool:
        return self._socket is not None

    @property
    def ready(self) -> bool:
        """It knows where its room stands, so that what it is owed from now on is certain."""
        return bool(self.log.memberships)

    async def connect(self) -> bool:
        """Open the socket; where that fails, `failure` says why."""
        credential = await self._token.current() if self._token is not None else None
        self.failure = await self._open(credential)
        if self.failure == UNKNOWN and self._token is not None and await self._token.renew(credential):
            self.failure = await self._open(await self._token.current())
        return self.failure is None

    async def _open(self, credential: str | None) -> str | None:
        """Why it failed."""
        self._began_at = _now()
        # The token says who it is; where the service takes one's word for it, the name does.
        named = None if credential is not None else self.log.name
        query = {"roomId": self.session.room, "userId": named, "token": credential}
        try:
            await open_socket(
                with_query(self._plan.url, query),
                subprotocols=[Subprotocol(SUBPROTOCOL)] if self._plan.dialect == "v1" else None,
                compression=None,
                ping_interval=None,
                open_timeout=OPEN_WITHIN,
                close_timeout=CLOSE_WITHIN,
                proxy=None,
                create_connection=self._make_socket,  # type: ignore[arg-type]  # it is only ever called
            )
        except InvalidStatus as error:
            return f"HTTP {error.response.status_code}"
        except TimeoutError:
            return f"no handshake within {OPEN_WITHIN:.0f} s"
        except (OSError, InvalidHandshake) as error:
            return getattr(error, "strerror", None) or str(error) or type(error).__name__
        return None

    def write(self, frame: bytes) -> bool:
        """Hand a frame to the socket, if there is one."""
        if self._socket is None:
            return False
        self._socket.write(frame)
        return True

    def ping(self) -> None:
        """Ask for whatever was missed."""
        self.session.ping(_now())
        self._flush()

    def tick(self, now: float) -> None:
        """Do what the session has due, also when that is another socket."""
        due = self.session.due()
        if due is not None and due <= now:
            self._take(self.session.tick(now), now)
        if self._socket is not None and self._socket.state is State.OPEN and self.session.stale(now):
            self._renewing = asyncio.create_task(self._socket.close())  # and `lost` opens the next

    async def close(self) -> None:
        """For good."""
        self._end()
        if self._socket is not None:
            await self._socket.close()

    def cut(self) -> None:
        """Break the socket without a close frame, as a network does; the client comes back."""
        if self._socket is not None:
            self._socket.transport.abort()

    def pause(self) -> None:
        """Read nothing until `resume`, or until there is another socket."""
        if self._socket is not None:
            self._socket.transport.pause_reading()

    def resume(self) -> None:
        if self._socket is not None and not self._socket.transport.is_reading():
            self._socket.transport.resume_reading()

    def vanish(self) -> None:
        """Be gone for good without a close frame, as who loses the network. From now on nothing is owed to it."""
        self._end()
        self._end_memberships(_now())
        if self._socket is not None:
            self._socket.transport.abort()

    # ---- the socket's callbacks

    def opened(self, socket: Socket) -> None:
        """The handshake is done."""
        self._socket = socket
        self.connected_at = now = _now()
        self.session.connected(now)
        self._flush()
        self._desk.connected(self.number, now)

    def received(self, frame: bytes | bytearray | memoryview) -> None:
        """A message came."""
        kind, now = _type_of(frame), _now()
        before = len(self.log.pushed)
        released = () if kind in SKIPPED else self.session.receive(bytes(frame), now)
        self._desk.framed(kind, len(self.log.pushed) - before, now)
        if not kind and is_gateway_error(bytes(frame)):
            self._desk.stumbled(self.number, now)
        self._take(released, now)

    def lost(self) -> None:
        """The socket is closed, by whomever."""
        self._socket = None
        now = _now()
        if self.connected_at is not None:
            self.connected_seconds += now - self.connected_at
        self._desk.disconnected(not self._ending, now)
        self._take(self.session.disconnected(), now)
        if all(it.until is not None for it in self.log.memberships):
            self.log.unwelcomed.append(Membership(self.room, 0, 0, self._began_at, now))
        if self._ending:
            return
        if self._plan.dialect == "recipe":
            self._end_memberships(now)
        # A handshake that runs out of time just when it is done is one that failed: its task goes on by itself.
        if self._reconnecting is None or self._reconnecting.done():
            self._reconnecting = asyncio.create_task(self._reconnect())

    # ---- private

    def _make_socket(self, *args: Any, **options: Any) -> Socket:
        return Socket(self, *args, **options)

    def _end(self) -> None:
        self._ending = True
        if self._reconnecting is not None:
            self._reconnecting.cancel()

    async def _reconnect(self) -> None:
        while not self._ending:
            await asyncio.sleep(self._draw.uniform(0, RECONNECT_WITHIN))
            self.reconnects += 1
            if await self.connect() and self.open:
                return

    def _take(self, released: Any, now: float) -> None:
        for event in released:
            kind = type(event)
            if kind is Chat:
                self.log.released.append(self._desk.receipt(event))
                if self._is_owed(event):
                    self._desk.delivered(event, now)
            elif (report := _REPORTS.get(kind)) is not None:
                report(self, event, now)
        self._flush()

    def _is_owed(self, chat: Chat) -> bool:
        """Whether it is not older than the membership: who joins may be pushed such, too."""
        return not self.log.memberships or chat.seq > self.log.memberships[-1].head

    def _begin(self, event: Welcome | Joined, now: float) -> None:
        current = self.log.memberships[-1] if self.log.memberships else None
        if event.room_id != self.room or (current and current.until is None and current.epoch == event.epoch):
            return
        self._end_memberships(now)
        self.log.memberships.append(Membership(event.room_id, event.epoch, event.head, self._began_at))

    def _acknowledged(self, ack: Ack, now: float) -> None:
        self._desk.acknowledged(ack, now)

    def _refused(self, error: Error, now: float) -> None:
        self._desk.refused(error, now)

    def _end_memberships(self, now: float) -> None:
        for it in self.log.memberships:
            it.until = now if it.until is None else it.until

    def _observe(self, event: LogEvent, asked_for: bool) -> None:
        if isinstance(event, Chat):
            (self.log.filled if asked_for else self.log.pushed).append(self._desk.receipt(event))

    def _flush(self) -> None:
        if self._socket is not None:
            for frame in self.session.frames():
                self._socket.write(frame)

    def _new_id(self) -> str:
        self._ids += 1
        return f"{self.log.name}-{self._ids}"


class _Typed(msgspec.Struct, frozen=True):
    type: str = ""


_typed = msgspec.json.Decoder(_Typed)


def _type_of(frame: bytes | bytearray | memoryview) -> str:
    try:
        return _typed.decode(frame).type
    except ValueError:
        return ""


def _now() -> float:
    return time.monotonic()  # an event loop's own may stand still for a turn, and tell but milliseconds


_REPORTS: dict[type, Callable[[LoadClient, Any, float], None]] = {
    Welcome: LoadClient._begin,
    Joined: LoadClient._begin,
    Ack: LoadClient._acknowledged,
    Error: LoadClient._refused,
}
