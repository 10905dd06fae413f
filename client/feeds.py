"""What is said in a room, for those who iterate it: copies of what a connection's events bring.

A reader may be slow. The socket is read all the same, since answers come the same way; so a feed keeps a bounded number
of messages, and takes those beyond from the room's log, page by page, when its reader gets there.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from weakref import WeakSet

from msgspec import UNSET

from client.errors import ClientError, RequestRefused
from client.events import Released
from client.following import UNPLACED
from client.pages import Page
from domain.events import Chat, Joined, Left, RoomDeleted

__all__ = ["KEPT_LIMIT", "Feed", "Feeds"]

KEPT_LIMIT = 1_000
"""Messages that wait for a reader at most; those beyond wait in the log."""

Ask = Callable[[int], Awaitable[Page]]
"""The page of a room's log that follows a seq."""


class Feed:
    """The messages of one life of a room, each once and in order, from a join on."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._epoch = UNPLACED
        self._upto = UNPLACED
        """The seq up to which all that is not read yet is in `_kept`."""
        self._kept: deque[Chat] = deque()
        self._behind = False
        """Whether messages beyond `_upto` were left in the log. None is kept until they have been read there."""
        self._over = self._left = False
        self._error: ClientError | None = None
        self._news = asyncio.Event()
        self._turn = asyncio.Lock()

    def begin(self, epoch: int, head: int) -> None:
        """The room was joined at `head`."""
        self._epoch, self._upto = epoch, head

    def give(self, message: Chat) -> None:
        """The room's next message came."""
        if self._over:
            return
        if message.epoch != self._epoch:
            self.end()
        elif self._behind or len(self._kept) >= KEPT_LIMIT:
            self._behind = True
        else:
            self._kept.append(message)
            self._upto = message.seq
        self._news.set()

    def end(self, error: ClientError | None = None) -> None:
        """Nothing more will come. Readers get what is left first, and `error` after it, if there is one."""
        self._over, self._error = True, error
        self._news.set()

    def drop(self) -> None:
        """The room was left: what was not read is not wanted either."""
        self._left = True
        self.end()

    async def next(self) -> Chat:
        """The next message, when there is one. Cancelled, it takes none. Of several readers each gets some.

        Raises `StopAsyncIteration` at the end, and what `ask` raises if messages can't be read in the log any more.
        """
        async with self._turn:
            while not self._left:
                if self._kept:
                    return self._kept.popleft()
                if self._behind:
                    await self._read_on()
                elif not self._over:
                    self._news.clear()
                    await self._news.wait()
                elif self._error is not None:
                    raise self._error
                else:
                    break
            raise StopAsyncIteration

    async def _read_on(self) -> None:
        """Keep what the log's next page has, and after its last one what has come since it was asked for."""
        after, self._behind = self._upto, False
        try:
            page = await self._ask(after)
            if page.epoch != self._epoch:
                raise RequestRefused("ROOM_NOT_FOUND", "The room has ended before all of it was read")
        except BaseException as error:
            self._kept.clear()
            self._behind, self._upto = True, after
            if self._left and isinstance(error, ClientError):
                return
            raise
        come, self._kept = self._kept, deque(it for it in page.events if isinstance(it, Chat))
        if page.next is not None:
            self._behind, self._upto = True, page.next
            return
        last = self._kept[-1].seq if self._kept else after
        self._kept += [it for it in come if it.seq > last]
        self._upto = self._kept[-1].seq if self._kept else after


class Feeds:
    """The feeds of one connection. One that nobody holds any more is fed no longer."""

    def __init__(self) -> None:
        self._expected: dict[str, Feed] = {}
        """The clientId of a join → the feed that begins with its answer."""
        self._fed: dict[str, WeakSet[Feed]] = {}

    def expect(self, client_id: str, ask: Ask) -> Feed:
        """A feed that begins when that request is answered, and is to be forgotten after it."""
        feed = self._expected[client_id] = Feed(ask)
        return feed

    def forget(self, client_id: str) -> None:
        del self._expected[client_id]

    def give(self, event: Released) -> None:
        """An event that a session released, in its turn."""
        match event:
            case Chat():
                for feed in self._fed.get(event.room_id, ()):
                    feed.give(event)
            case Joined() if event.client_id in self._expected:
                feed = self._expected[event.client_id]
                feed.begin(event.epoch, event.head)
                self._fed.setdefault(event.room_id, WeakSet()).add(feed)
            case Left():
                for feed in self._fed.pop(event.room_id, ()):
                    feed.drop()
            case RoomDeleted() if event.client_id is UNSET:  # the entry: what was said before it has come
                for feed in self._fed.pop(event.room_id, ()):
                    feed.end()
            case _:
                pass

    def keep(self, follows: Callable[[str], bool]) -> None:
        """End those of rooms that are not followed any more."""
        for room in [it for it in self._fed if not follows(it)]:
            for feed in self._fed.pop(room):
                feed.end()

    def end(self, error: ClientError | None) -> None:
        """End all: the connection is closed, or `error` has ended it."""
        for feeds in self._fed.values():
            for feed in feeds:
                feed.end(error)
        self._fed.clear()
