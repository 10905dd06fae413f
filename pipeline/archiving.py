"""Writing changes of entries to the archive: objects side by side, each replaced by the merge of what it holds.

Whatever of a batch fails, dies with its environment or comes twice: what was written is met again by its next try, and
stays as it is.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from domain.archive import (
    Change,
    Line,
    Place,
    entry_line,
    is_short_lived,
    merged,
    object_name,
    pack,
    place_of,
    unpack,
    unreadable_name,
)
from domain.errors import Conflict, Unavailable, UnreadableObject
from domain.ports import Archive, Ports, StoredObject
from domain.rooms import Room
from pipeline.posting import TimeLeft

__all__ = ["AT_ONCE", "RESERVE", "TRIES", "Archived", "Archiver", "Unreadable"]

AT_ONCE = 16
"""Objects that are written side by side."""
RESERVE = 25.0
"""Seconds that must be left when an object is begun: of two calls, each tried thrice with five seconds for an answer,
hardly one takes longer."""
TRIES = 5
"""How often an object is read again that another has replaced meanwhile."""
ROOMS_READ = 100
"""Rooms in one read."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A change that is none."""

    rev: str
    content: bytes
    """The record whole."""
    reason: UnreadableObject


@dataclass(frozen=True, slots=True)
class Archived:
    """What became of a batch."""

    failed: set[str] = field(default_factory=set)
    """The revs of changes that must come again."""
    causes: list[Exception] = field(default_factory=list)
    """Why."""
    kept_aside: list[UnreadableObject] = field(default_factory=list)
    """Why something lies in `unreadable/` now."""


class Archiver:
    """Works batches of changes."""

    def __init__(self, ports: Ports, archive: Archive, *, everything: bool = False) -> None:
        """`everything`: rooms that keep what is said for less time than the stage, too."""
        self.counts: Counter[str] = Counter()
        """EntriesArchived, ArchivePuts, ArchiveUnreadable."""
        self._ports = ports
        self._archive = archive
        self._everything = everything

    async def work(self, batch: Sequence[Change | Unreadable], time_left: TimeLeft) -> Archived:
        """Work a batch. A change that is left out for its room's own retention is done, too."""
        archived, slots = Archived(), asyncio.Semaphore(AT_ONCE)

        async def attempt(revs: Sequence[str], write: Callable[[], Awaitable[None]]) -> None:
            async with slots:
                try:
                    if time_left() < RESERVE:
                        raise Unavailable("there was no time left")
                    await write()
                except Exception as error:  # whatever it was: these are not written, and the others go on
                    archived.failed.update(revs)
                    archived.causes.append(error)

        places: dict[Place, list[Change]] = {}
        for it in batch:
            if isinstance(it, Change):
                places.setdefault(place_of(it), []).append(it)
        short_lived: frozenset[str] = frozenset()

        async def look() -> None:
            nonlocal short_lived
            short_lived = await self._short_lived({it.room for it in places})

        await attempt([it.rev for it in batch], look)
        if archived.failed:
            return archived
        await asyncio.gather(
            *(
                attempt([it.rev], partial(self._keep_aside, archived, f"{it.rev}.json", it.content, it.reason))
                for it in batch
                if isinstance(it, Unreadable)
            ),
            *(
                attempt(
                    [it.rev for it in changes],
                    partial(self._merge, archived, place, changes, known_alone=place.room in short_lived),
                )
                for place, changes in places.items()
            ),
        )
        return archived

    # ---- private

    async def _short_lived(self, rooms: Collection[str]) -> frozenset[str]:
        """Those of the rooms of which nothing new is archived."""
        if self._everything:
            return frozenset()
        named, found = sorted(rooms), list[Room]()
        for start in range(0, len(named), ROOMS_READ):
            found += (await self._ports.store.rooms(named[start : start + ROOMS_READ])).values()
        return frozenset(it.room for it in found if is_short_lived(it, self._ports.rules))

    async def _merge(self, archived: Archived, place: Place, changes: Sequence[Change], *, known_alone: bool) -> None:
        """Have a place's object say these changes, too. `known_alone`: of entries that it holds already."""
        name, lines = object_name(place), [entry_line(it) for it in changes]
        for _ in range(TRIES):
            stored = await self._archive.read(name)
            before = [] if stored is None else await self._lines(archived, name, stored)
            after = merged(before, lines, known_alone=known_alone)
            if after == before:
                return
            try:
                await self._archive.put(name, pack(after), replaces=stored)
            except Conflict:
                continue
            self.counts["ArchivePuts"] += 1
            self.counts["EntriesArchived"] += len(set(after) - set(before))
            return
        raise Unavailable(f"others have replaced an object {TRIES} times meanwhile")

    async def _lines(self, archived: Archived, name: str, stored: StoredObject) -> list[Line]:
        """What an object holds; nothing, once one that can't be read is kept aside. Raises `NewerVersion`."""
        try:
            return unpack(stored.content)
        except UnreadableObject as error:
            await self._keep_aside(archived, f"{name}.{zlib.crc32(stored.content):08x}", stored.content, error)
            return []

    async def _keep_aside(self, archived: Archived, name: str, content: bytes, reason: UnreadableObject) -> None:
        with suppress(Conflict):  # an earlier try has put it
            await self._archive.put(unreadable_name(name), content, replaces=None)
        self.counts["ArchiveUnreadable"] += 1
        archived.kept_aside.append(reason)
