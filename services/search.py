"""Looking for messages in a room's log, a bounded part of it at each request.

There is no index: the log itself is read, from its newest entry down, and the client goes on where a page has ended.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET, Raw, UnsetType

from domain.errors import Refused
from domain.events import SearchPage, encode_event
from domain.ports import Ports
from domain.requests import Search
from domain.rooms import Entry, is_audit
from domain.search import Query, read_query
from services.caller import Caller
from services.history import fitting, kept, room_to_read

__all__ = ["READ_BYTES", "READ_ENTRIES", "search_messages"]

READ_ENTRIES = 1_500
"""Entries of the log that one request reads at most."""
READ_BYTES = 512 * 1024
"""Bytes of their bodies at most. DynamoDB reads 1 MiB at a time. Of 1,500 rows what is no body, at most some 300 bytes
of each, takes less than half of that: a request never asks for a second such page, and 256 read units are its most."""
_MESSAGES = frozenset({"chat", "private_message"})


async def search_messages(ports: Ports, caller: Caller, request: Search) -> bytes:
    """The messages that are found in the next part of the log, which may be none, and where the part after it begins.

    Whoever may read the room's history may search it, and finds in it what history shows.
    """
    query = read_query(request.query)
    room = await room_to_read(ports, caller, request.room_id)
    if is_audit(room.room):
        raise Refused("BAD_REQUEST", "`roomId`: there are no messages in what moderators did; `history` reads it")
    before = room.head + 1 if request.cursor is None else min(request.cursor, room.head + 1)
    entries = await ports.store.entries_before(room.room, room.epoch, before, limit=READ_ENTRIES, max_bytes=READ_BYTES)
    hits = [it for it in reversed(kept(ports, room, entries)) if _is_hit(it, query)]
    events = fitting(room, hits[: request.limit])
    page = SearchPage(
        client_id=request.client_id,
        room_id=room.room,
        epoch=room.epoch,
        entries=[Raw(it) for it in events],
        next=_next(entries, hits, len(events)),
    )
    return encode_event(page)


def _is_hit(entry: Entry, query: Query) -> bool:
    """Whether it is a message that has the words by now. One that was deleted has none."""
    return entry.type in _MESSAGES and query.matches(entry.body["message"])


def _next(entries: Sequence[Entry], hits: Sequence[Entry], given: int) -> int | UnsetType:
    """Below which seq the next page begins: what was read and found no place is read again."""
    if given < len(hits):
        return hits[given - 1].seq
    return entries[0].seq if entries and entries[0].seq > 1 else UNSET
