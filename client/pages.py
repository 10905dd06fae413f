"""Pages of what a room has said, and all pages of a search."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from client.errors import RequestRefused
from client.events import Opaque
from client.messages import Message
from domain.events import Event

__all__ = ["Found", "Page", "found_by"]


@dataclass(frozen=True, slots=True)
class Page:
    """Entries of a room, oldest first. `next` is the `before` or `after` of the page that follows, if one does."""

    events: Sequence[Event | Opaque]
    epoch: int
    head: int
    next: int | None


@dataclass(frozen=True, slots=True)
class Found:
    """Messages that were found, the newest first; none is no sign of the end. `next` is the `cursor` of the page that
    follows, if one does."""

    messages: Sequence[Message]
    epoch: int
    next: int | None


async def found_by(ask: Callable[[int | None], Awaitable[Found]]) -> AsyncIterator[Message]:
    """The messages on all pages of a search, which are asked for by their cursors as they are wanted.

    Raises what `ask` does, and `RequestRefused` where the room was made anew meanwhile: a cursor of its log before
    means nothing in this one.
    """
    page = await ask(None)
    epoch = page.epoch
    while True:
        for message in page.messages:
            yield message
        if page.next is None:
            return
        page = await ask(page.next)
        if page.epoch != epoch:
            raise RequestRefused("ROOM_NOT_FOUND", "The room that was searched has ended")
