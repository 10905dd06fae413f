"""A client over WebSockets, one after the other: the session, a socket, the clock, and reconnects.

async with connect("ws://127.0.0.1:8081/dev", user="ada") as me:
    room = await me.join("general")
    async for message in room:
        ...
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from msgspec import UNSET
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from client.backoff import Backoff
from client.clock import Alarm, Clock, LoopClock
from client.errors import ClientError, ConnectionEnded, HandshakeRefused, RequestRefused, Unreachable
from client.events import Released, read_event
from client.feeds import Feeds
from client.handshake import shake_hands
from client.messages import Message
from client.pages import Found, Page, found_by
from client.room import Room
from client.session import Dialect, Session
from domain.events import (
    Ack,
    Error,
    Event,
    HistoryPage,
    Joined,
    Left,
    MemberList,
    MemberSummary,
    NoticesSet,
    Pong,
    PresenceChanged,
    PrivateMessage,
    RoomList,
    RoomSummary,
    SearchPage,
    UserStatus,
)
from domain.protocol import HISTORY_LIMIT, ROOT, Status
from domain.requests import Request

__all__ = ["Connection", "Found", "Page", "Room", "Token", "connect"]

OVERLAP = 5.0
"""Seconds for which a socket that will be cut stays beside the next one, which joins the rooms meanwhile."""
UNHEARD_LIMIT = 10_000
"""Events that are kept at most before anybody asks for them; those that came last."""

Token = str | Callable[[], Awaitable[str]]

_Reply = TypeVar("_Reply", bound=Event)
_Done = TypeVar("_Done")
_Opened = tuple[ClientConnection, str]
"""A socket, and the room that it named."""


def connect(
    url: str,
    *,
    room: str = "general",
    user: str | None = None,
    name: str | None = None,
    token: Token | None = None,
    dialect: Dialect = "v1",
    draw: random.Random | None = None,
    clock: Clock | None = None,
) -> Connection:
    """A connection to be entered with `async with`, which raises `Unreachable` or `HandshakeRefused`.

    `url` is the service's WebSocket URL, `user` is taken in demo mode alone, `token` is the credential elsewhere: as it
    is, or what is called for a fresh one before each handshake. What it raises ends the connection.
    `draw` and `clock` are for tests: chance, and the time of pings, retries and reconnects (handshakes take real time).
    """
    who = {"userId": user, "username": name}
    return Connection(url, room, who, dialect, draw or random.Random(), clock or LoopClock(), token)


class Connection:
    """A member of rooms, for as long as the `async with` lasts. It reconnects by itself, and resumes."""

    def __init__(
        self,
        url: str,
        room: str,
        who: dict[str, str | None],
        dialect: Dialect,
        draw: random.Random,
        clock: Clock,
        token: Token | None = None,
    ) -> None:
        self._url = url
        self._who = who
        self._token = token
        self._draw = draw
        self._clock = clock
        self._session = Session(room, new_id=lambda: uuid.uuid4().hex, draw=draw, dialect=dialect)
        self._calls: dict[str, asyncio.Future[Event]] = {}
        self._events: asyncio.Queue[Released | None] = asyncio.Queue()
        self._heard = False
        """Whether anybody has asked for events."""
        self._feeds = Feeds()
        self._kick = asyncio.Event()
        self._current: ClientConnection | None = None
        self._renewal: asyncio.Task[_Opened] | None = None
        """Opens the next socket."""
        self._retiring: set[asyncio.Task[None]] = set()
        """Close the sockets before."""
        self._lingering: asyncio.Task[None] | None = None
        """Ends when the last of them is to be closed."""
        self._task: asyncio.Task[None] | None = None
        self._end: ClientError | None = None

    async def __aenter__(self) -> Self:
        room = self._session.room
        socket = await self._open(room)
        self._task = asyncio.create_task(self._stay(socket, room))
        try:
            # A task that is cancelled before it has begun closes nothing.
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the socket. Requests that wait raise `ConnectionEnded`, and `events` ends."""
        if self._task is not None:
            self._task.cancel()
            await _joined(self._task)

    # ---- requests. Each raises `RequestRefused`; one that is cancelled may be carried out all the same.

    async def send(self, room: str, text: str, *, reply_to: int | None = None, mentions: Sequence[str] = ()) -> Ack:
        """Say something in a room, or answer the message at `reply_to`; returns when it is stored. Who is mentioned (by
        user id, at most 20) is told of it if they are away. Survives reconnects."""
        client_id = self._session.send(room, text, self._now(), reply_to=reply_to, mentions=mentions)
        return await self._reply(client_id, Ack)

    async def send_private(self, user: str, text: str) -> Ack:
        """Say something to one user; returns when it is stored, with `online`: whether they were there. Survives
        reconnects."""
        return await self._reply(self._session.send_private(user, text, self._now()), Ack)

    async def join(self, room: str) -> Room:
        """Follow a room; iterating what it returns gives what is said there from then on."""
        client_id = self._session.join(room, self._now())
        feed = self._feeds.expect(client_id, lambda after: self.history(room, after=after))
        try:
            joined = await self._reply(client_id, Joined)
        finally:
            self._feeds.forget(client_id)
        return Room(self, joined.room_id, joined.epoch, joined.head, feed)

    async def leave(self, room: str) -> Left:
        """Follow a room no longer. Who iterates it gets nothing more."""
        return await self._reply(self._session.leave(room, self._now()), Left)

    async def history(
        self,
        room: str,
        *,
        before: int | None = None,
        after: int | None = None,
        limit: int = HISTORY_LIMIT,
        thread: int | None = None,
    ) -> Page:
        """A page of a room's log: the newest entries, those `before` a seq, or those `after` one; or so of the thread
        alone that the message at `thread` began."""
        client_id = self._session.history(room, self._now(), before=before, after=after, limit=limit, thread=thread)
        page = await self._reply(client_id, HistoryPage)
        following = None if page.next is UNSET else page.next
        return Page([read_event(it) for it in page.entries], page.epoch, page.head, following)

    async def search_page(
        self, room: str, query: str, *, cursor: int | None = None, limit: int = HISTORY_LIMIT
    ) -> Found:
        """The messages of a room, or of the inbox, with all the words of `query`: those in a bounded part of the log,
        from the newest message down, or from below `cursor`."""
        page = await self._reply(self._session.search(room, query, self._now(), cursor=cursor, limit=limit), SearchPage)
        found = [it for it in map(read_event, page.entries) if isinstance(it, Message)]
        return Found(found, page.epoch, None if page.next is UNSET else page.next)

    def search(self, room: str, query: str) -> AsyncIterator[Message]:
        """All of them, the newest first, each once, for as far as it is iterated. What is said meanwhile is not among
        them."""
        return found_by(lambda cursor: self.search_page(room, query, cursor=cursor))

    async def rooms(self, *, parent: str = ROOT) -> list[RoomSummary]:
        """The rooms below `parent`, by id: all pages."""
        found: list[RoomSummary] = []
        cursor: str | None = None
        while True:
            page = await self._reply(self._session.list_rooms(self._now(), parent=parent, cursor=cursor), RoomList)
            found += page.rooms
            if page.cursor is UNSET:
                return found
            cursor = page.cursor

    async def members(self, room: str) -> list[MemberSummary]:
        """Who is in a room that we are in, each user once: all pages."""
        found: dict[str, MemberSummary] = {}
        cursor: str | None = None
        while True:
            page = await self._reply(self._session.list_members(room, self._now(), cursor=cursor), MemberList)
            found.update((it.user_id, it) for it in page.members)
            if page.cursor is UNSET:
                return list(found.values())
            cursor = page.cursor

    async def ask(self, request: Request) -> Event:
        """Make, change or end a room (`CreateRoom` …, which return what is settled), do what its moderators do
        (`Kick`, `Ban`, `SetRole` …), or change messages (`EditMessage`, `DeleteMessage`, `React`), which return the
        `Ack`. Survives reconnects."""
        client_id = self._session.ask(request, self._now())
        return await self._reply(client_id, Event)

    async def presence(self, status: Status) -> UserStatus:
        """Say how the user is on this device; returns how they are over all of theirs. Survives reconnects: the next
        connection is told."""
        reply = await self._reply(self._session.presence(status, self._now()), PresenceChanged)
        return reply.members[0]

    def typing(self, room: str) -> None:
        """Tell the others in a room that the user is writing. Nothing answers but an `Error` among the events."""
        self._session.typing(room)
        self._kick.set()

    def read(self, room: str, seq: int) -> None:
        """Say that the user has read a room that is followed, or the inbox (`inbox#USER`), up to `seq`. Survives
        reconnects; of many the highest is sent. `UserRead` among the events says what stands."""
        self._session.read(room, seq, self._now())
        self._kick.set()

    async def ping(self) -> Pong:
        """Ask where the rooms are; what was lost comes through `events` soon after."""
        return await self._reply(self._session.ping(self._now()), Pong)

    async def events(self) -> AsyncIterator[Released]:
        """What happens in the rooms, each once and in order, until the connection is closed.

        They are kept until they are read; before the first call, the last 10,000 of them. Raises `HandshakeRefused` if
        the service refuses a reconnect.
        """
        self._heard = True
        while (event := await self._events.get()) is not None:
            yield event
        self._events.put_nowait(None)
        if (refusal := self._refusal()) is not None:
            raise refusal

    # ---- the socket

    async def _stay(self, socket: ClientConnection, room: str) -> None:
        self._end = ConnectionEnded("the connection is closed")
        try:
            while True:
                await self._converse(socket, room)
                socket, room = await self._successor()
        except ClientError as error:
            self._end = error
        finally:
            try:
                await self._abandon()
            finally:
                self._events.put_nowait(None)
                self._feeds.end(self._refusal())
                for call in self._calls.values():
                    if not call.done():
                        call.set_exception(self._end)

    async def _converse(self, socket: ClientConnection, room: str) -> None:
        """Until the socket, which was opened naming `room`, is closed, by whomever, or until its successor is open. The
        old one stays for a while then, so that nobody sees the user leave."""
        self._current = socket
        self._session.connected(self._now(), room)
        reader = self._waking(self._read(socket))
        outlived = False
        try:
            outlived = await self._write(socket, reader)
        finally:
            self._current = None
            self._deliver(self._session.disconnected())
            retiring = asyncio.create_task(self._retire(socket, reader, linger=outlived))
            self._retiring.add(retiring)
            retiring.add_done_callback(self._retiring.discard)
            if not outlived:
                await _joined(retiring)

    async def _read(self, socket: ClientConnection) -> None:
        """What comes is the session's; not once there is another socket, which is told all of it anew."""
        with contextlib.suppress(ConnectionClosed):  # anything but a clean close; a session takes both alike
            async for frame in socket:
                if socket is self._current:
                    self._deliver(self._session.receive(frame, self._now()))
                    self._kick.set()

    async def _write(self, socket: ClientConnection, reader: asyncio.Task[None]) -> bool:
        """Sends what the session has to send, and tells it the time, until the socket is closed, or its successor is
        open: whether that is so."""
        alarm = Alarm(self._clock, self._kick.set)
        try:
            while not reader.done():
                if self._renewal is None and self._session.stale(self._now()):
                    self._renewal = self._waking(self._reopen())
                if self._renewal is not None and self._renewal.done():
                    if isinstance(self._renewal.exception(), HandshakeRefused):
                        # The old one may have the last place in the room, or the last that the user may have.
                        self._renewal = None
                        return False
                    return True
                self._kick.clear()
                for frame in self._session.frames():
                    await socket.send(frame, text=True)
                alarm.set(self._session.due())
                await self._kick.wait()
                self._deliver(self._session.tick(self._now()))
        except ConnectionClosed:
            pass  # the reader has seen it, too
        finally:
            alarm.cancel()
        return False

    async def _successor(self) -> _Opened:
        """The socket that is being opened while the last one ends, or one after it."""
        if self._renewal is None:
            self._renewal = self._waking(self._reopen())
        opened = await asyncio.shield(self._renewal)
        self._renewal = None
        return opened

    async def _retire(self, socket: ClientConnection, reader: asyncio.Task[None], *, linger: bool) -> None:
        if linger:
            self._lingering = asyncio.create_task(self._clock.sleep(OVERLAP))
            await asyncio.wait([self._lingering])
        await socket.close()
        await _joined(reader)

    async def _abandon(self) -> None:
        """Close all sockets but the current one."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.wait([self._renewal])
            if not self._renewal.cancelled() and self._renewal.exception() is None:
                await self._renewal.result()[0].close()
        if self._lingering is not None:
            self._lingering.cancel()
        if self._retiring:
            await asyncio.wait(self._retiring)

    def _waking(self, work: Coroutine[Any, Any, _Done]) -> asyncio.Task[_Done]:
        """Work beside the socket's, whose end it is told of."""
        task = asyncio.create_task(work)
        task.add_done_callback(lambda _: self._kick.set())
        return task

    async def _reopen(self) -> _Opened:
        backoff = Backoff(self._session.entrances, self._draw)
        while True:
            await self._clock.sleep(backoff.pause())
            room = backoff.room
            try:
                return await self._open(room), room
            except Unreachable:
                continue
            except HandshakeRefused as error:
                if not backoff.refused(error.status):
                    raise

    async def _open(self, room: str) -> ClientConnection:
        # Whoever came without a name stays who the service made them: a message sent again must have the same sender.
        fields = self._who | {"roomId": room, "userId": self._session.user or self._who["userId"]}
        token = await self._token() if callable(self._token) else self._token
        return await shake_hands(self._url, fields, token, v1=self._session.dialect == "v1")

    # ---- replies and events

    async def _reply(self, client_id: str, kind: type[_Reply]) -> _Reply:
        if self._task is None or self._task.done():
            raise self._end or ConnectionEnded("the connection is not open")
        call: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self._calls[client_id] = call
        self._kick.set()
        try:
            reply = await call
        finally:
            del self._calls[client_id]
        if not isinstance(reply, kind):
            raise RequestRefused("INTERNAL", f"The service answered with `{reply.type}`")
        return reply

    def _deliver(self, released: Sequence[Released]) -> None:
        for event in released:
            self._feeds.give(event)
            # The sender's copy of a private message is no answer, although it carries a clientId.
            answers = None if isinstance(event, PrivateMessage) else getattr(event, "client_id", None)
            call = self._calls.get(answers) if answers else None
            if call is not None and not call.done():
                if isinstance(event, Error):
                    call.set_exception(RequestRefused(event.code, event.message, event.retry_after))
                else:
                    call.set_result(event)  # type: ignore[arg-type]  # only the wire's events have a clientId
            elif not isinstance(event, _ANSWERS):  # second ones
                if not self._heard and self._events.qsize() >= UNHEARD_LIMIT:
                    self._events.get_nowait()
                self._events.put_nowait(event)
        self._feeds.keep(self._session.follows)

    def _refusal(self) -> ClientError | None:
        """What ended the connection, where its owner did not."""
        return None if isinstance(self._end, ConnectionEnded) else self._end

    def _now(self) -> float:
        return self._clock.monotonic()


_ANSWERS = Ack | Left | HistoryPage | Pong | RoomList | MemberList | NoticesSet | SearchPage
"""What nobody waits for is worth nothing."""


async def _joined(task: asyncio.Task[None]) -> None:
    """Until the task is over; an error in it is raised here, its cancellation is not."""
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
