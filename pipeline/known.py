"""Whom a worker environment knows to be in the shards it has served: reading them again is most of what a broadcast
to a quiet room reads.

Members are known by the version of their shard's row, which every join and leave raises after its own rows are written.
A worker that reads the version after the entries it is to post may post to the members it knows by it: whoever joined
meanwhile raises it later, and begins at a head that holds those entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from domain.rooms import Member, ShardKey

__all__ = ["KNOWN_MS", "MEMBERS_LIMIT", "KnownMembers", "KnownShard"]

KNOWN_MS = 60_000
"""Milliseconds after which members are read again, whatever the version says: a leave that died before it raised it and
whose connection never tried again is found then, and so is what it left uncounted."""
MEMBERS_LIMIT = 30_000
"""Members known at most, some 20 MB; the shards served least recently are forgotten first."""


@dataclass(frozen=True, slots=True)
class KnownShard:
    """A shard as this environment left it."""

    sent: int
    """At least so far has it been served."""
    version: int
    members: Sequence[Member]
    read_at: int
    """When the members were read, in milliseconds since 1970."""


class KnownMembers:
    """The shards that are known. Times are those of the caller's clock."""

    def __init__(self) -> None:
        self._shards: dict[ShardKey, KnownShard] = {}
        self._members = 0

    def recall(self, key: ShardKey, now: int) -> KnownShard | None:
        """What is known of a shard; None where that is nothing, or too old."""
        known = self._shards.get(key)
        if known is not None and now - known.read_at >= KNOWN_MS:
            self.forget(key)
            return None
        return known

    def remember(self, key: ShardKey, known: KnownShard) -> None:
        self.forget(key)
        self._shards[key] = known
        self._members += len(known.members)
        while self._members > MEMBERS_LIMIT:
            self.forget(next(iter(self._shards)))

    def forget(self, key: ShardKey) -> None:
        known = self._shards.pop(key, None)
        if known is not None:
            self._members -= len(known.members)
