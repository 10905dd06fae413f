"""Forgetting a user in the archive: every object is read, and replaced where lines of it are about the user.

A replacement has the condition that the object is as it was read; the archiver may write meanwhile.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from adapters.dynamodb.forgetting import DynamoRecords, Progress
from domain.archive import LOG, UNREADABLE, merged, pack, read_name, unpack
from domain.errors import Conflict, NewerVersion, Unavailable, UnreadableObject
from domain.forgetting import Forgetting, Kind
from domain.ports import Archive, StoredObject

__all__ = ["OBJECTS", "PART", "ArchiveObjects"]

OBJECTS = 16
"""Objects that are read at a time."""
PART = "archive"
"""Under which name its progress is remembered."""
TRIES = 8
"""How often an object is read again that somebody else has replaced meanwhile."""


@dataclass(frozen=True, slots=True)
class _Fate:
    """What becomes of an object."""

    kind: Kind
    changes: int
    """Of its lines, or 1 if it goes."""
    content: bytes | None
    """None: it goes."""
    left: bool = False
    """Whether it may name the user, and nothing can be done."""


class ArchiveObjects:
    """The archive's objects, as a user is to be forgotten in them."""

    def __init__(
        self, archive: Archive, forgetting: Forgetting, *, tell: Callable[[int], None], leave: Callable[[str], None]
    ) -> None:
        """`tell` is called with the number of objects read, `leave` with what can't be done."""
        self._archive = archive
        self._forgetting = forgetting
        self._tell = tell
        self._leave = leave
        user = re.escape(forgetting.user.encode())
        self._id = re.compile(rb"(?<![\w.:-])" + user + rb"(?![\w.:-])")

    async def look(self) -> Counter[str]:
        """Kind → how much there is; nothing is changed."""
        counts: Counter[str] = Counter()
        async for names in self._names(""):
            for name, stored in await self._read(names):
                if stored is not None and (fate := self._fate(name, stored)).changes:
                    counts[str(fate.kind)] += fate.changes
        return counts

    async def change(self, records: DynamoRecords, number: int, progress: Progress) -> None:
        """Go on with a pass. Raises `Unavailable`."""
        if progress.done:
            return
        counted = progress.counted
        async for names in self._names(progress.position):
            left = 0
            for name, read in await self._read(names):
                stored: StoredObject | None = read
                for _ in range(TRIES):
                    if stored is None:
                        break
                    fate = self._fate(name, stored)
                    left += fate.left
                    if not fate.changes:
                        break
                    if name != counted:  # of one that was counted before a death nobody knows whether it was put
                        await records.count(number, PART, fate.kind, fate.changes, name)
                        counted = name
                    if await self._replace(name, fate.content, stored):
                        break
                    stored = await self._archive.read(name)
                else:
                    raise Unavailable(f"others have replaced an object of the archive {TRIES} times meanwhile")
            await records.settle(number, PART, names[-1], left=left)
        await records.settle(number, PART, "", done=True)

    # ---- private

    async def _names(self, after: str) -> AsyncIterator[list[str]]:
        """The names of the objects behind a name, some at a time."""
        names: list[str] = []
        for prefix in (LOG, UNREADABLE):
            async for it in self._archive.names(prefix, after):
                names.append(it)
                if len(names) == OBJECTS:
                    yield names
                    names = []
        if names:
            yield names

    async def _read(self, names: Sequence[str]) -> list[tuple[str, StoredObject | None]]:
        found = await asyncio.gather(*map(self._archive.read, names))
        self._tell(len(names))
        return list(zip(names, found, strict=True))

    def _fate(self, name: str, stored: StoredObject) -> _Fate:
        place = read_name(name)
        if place is not None and self._forgetting.is_inbox(place.room):
            return _Fate(Kind.OBJECT, 1, None)
        if place is None:
            # Nobody can tell what it says, but whether the id is in it.
            return self._unknown(name, stored, bool(self._id.search(stored.content)))
        try:
            lines = unpack(stored.content)
        except (UnreadableObject, NewerVersion):
            return self._unknown(name, stored, left=True)
        becomes = [self._forgetting.line(it) for it in lines]
        changes = sum(it is not None for it in becomes)
        if not changes:
            return _Fate(Kind.LINE, 0, stored.content)
        after = [line if new is None else new for line, new in zip(lines, becomes, strict=True)]
        return _Fate(Kind.LINE, changes, pack(merged(after, ())))

    def _unknown(self, name: str, stored: StoredObject, left: bool) -> _Fate:
        if left:
            self._leave(f"archive: {name}")
        return _Fate(Kind.LINE, 0, stored.content, left=left)

    async def _replace(self, name: str, content: bytes | None, stored: StoredObject) -> bool:
        """Put the content in place of what was read, or delete the object; whether it was still that."""
        try:
            if content is None:
                await self._archive.delete(name)
            else:
                await self._archive.put(name, content, replaces=stored)
        except Conflict:
            return False
        return True
