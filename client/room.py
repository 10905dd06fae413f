"""A room as a program has it after `join`: what is said there, and what one does there.

room = await me.join("general")
await room.send("Hello")
async for message in room:
    ...
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from client.feeds import Feed
from client.pages import Page
from domain.events import Ack, Chat, Left, MemberSummary
from domain.protocol import HISTORY_LIMIT

if TYPE_CHECKING:
    from client.connection import Connection

__all__ = ["Room"]


class Room:
    """One that was joined. Iterating it gives its chat messages from the join on, each once and in order."""

    def __init__(self, connection: Connection, room_id: str, epoch: int, head: int, feed: Feed) -> None:
        self.room_id = room_id
        self.epoch = epoch
        """Which life of the room it is."""
        self.head = head
        """The seq of the last entry before the join."""
        self._connection = connection
        self._feed = feed

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chat:
        """The next message, also across reconnects. Ends when the room is left or deleted, or the connection is closed.

        Raises `HandshakeRefused` where that ended the connection, and what `history` raises if this reader is more than
        1,000 messages behind and the room's log can't be read any more.
        """
        return await self._feed.next()

    async def send(self, text: str, *, reply_to: int | None = None, mentions: Sequence[str] = ()) -> Ack:
        """Say something here, as `Connection.send` does."""
        return await self._connection.send(self.room_id, text, reply_to=reply_to, mentions=mentions)

    async def history(
        self,
        *,
        before: int | None = None,
        after: int | None = None,
        limit: int = HISTORY_LIMIT,
        thread: int | None = None,
    ) -> Page:
        """A page of the room's log, as `Connection.history` gives it."""
        return await self._connection.history(self.room_id, before=before, after=after, limit=limit, thread=thread)

    async def members(self) -> list[MemberSummary]:
        """Who is here, each user once."""
        return await self._connection.members(self.room_id)

    async def leave(self) -> Left:
        """Follow the room no longer. Who iterates it gets nothing more."""
        return await self._connection.leave(self.room_id)
