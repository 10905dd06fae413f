"""The archive: what was said in rooms as lines of JSON, in compressed objects that outlive the log's rows.

    log/ROOM/2026-11-01/EPOCH-FIRST.jsonl.zst   the room's entries of that day (UTC) with FIRST ≤ seq < FIRST + 1,000
    unreadable/NAME                             what could not be read, as it came

An entry has one place, which follows from what never changes of it: room, epoch, seq, and when it was stored. So who
writes an entry again, however often and in whatever company, meets the line that it wrote before: an object is never
added to, but replaced by the merge of its lines with the new ones, on condition that nobody else has replaced it
meanwhile. Of two lines of an entry the one of the later change stays.

A line, sorted by seq among the others of its object:

    {"v":1,"room":"lobby","epoch":1796000000000,"seq":7,"at":1796000012345,"type":"chat","sender":"ada","nth":6,
     "body":{"messageId":"…","message":"Hello","senderName":"Ada",…},"rev":"000…123"}

`body` is what the entry's event has of its type alone, in the words of the wire; `nth`: how many messages there were up
to here; `endsAt`, where it is there: until when the log keeps the entry, in milliseconds; `rev`: of which change in the
table the line is. `v` stays 1 as long as fields are only added, and who rewrites a line keeps those it does not know.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import msgspec

from domain.errors import NewerVersion, UnreadableObject
from domain.retention import DAY_SECONDS
from domain.rooms import FOREVER, Entry, Room, Rules

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = [
    "BLOCK",
    "LINE_VERSION",
    "LOG",
    "UNREADABLE",
    "Change",
    "Line",
    "Place",
    "day_of",
    "entry_line",
    "is_short_lived",
    "line_of",
    "merged",
    "object_name",
    "pack",
    "place_of",
    "read_name",
    "read_room",
    "room_prefix",
    "unpack",
    "unreadable_name",
]

BLOCK = 1_000
"""Seqs that share an object of a day: so many lines are in memory at once, whoever reads or writes."""
LINE_VERSION = 1
LOG = "log/"
"""What the names of entries' objects begin with."""
UNREADABLE = "unreadable/"
"""And those of what could not be read."""
_LEVEL = 6
"""Of zstandard: a hundredth of a second for an object, and a tenth smaller than level 3."""
_CHECKED: Mapping[int, int] = {
    zstd.CompressionParameter.compression_level: _LEVEL,
    zstd.CompressionParameter.checksum_flag: 1,
}
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
"""What stands for itself in the name of an object; all else is `!` and two hexadecimal digits a byte."""
_NAME = re.compile(r"log/([^/]+)/(\d{4}-\d\d-\d\d)/(\d{16})-(\d{16})\.jsonl\.zst")


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Which object: in the order of the room's log, if all are of one room."""

    room: str
    epoch: int
    first: int
    """The lowest seq that it may hold."""
    day: date


@dataclass(frozen=True, slots=True)
class Line:
    """An entry in the archive."""

    epoch: int
    seq: int
    rev: int
    """Rises with each change of the entry's row."""
    text: bytes
    """The line, without its break."""

    def fields(self) -> dict[str, Any]:
        """What the line says, field by field."""
        fields: dict[str, Any] = msgspec.json.decode(self.text)
        return fields


@dataclass(frozen=True, slots=True)
class Change:
    """An entry as its row says it after a change."""

    room: str
    epoch: int
    entry: Entry
    rev: str
    """A decimal number that rises with each change of the row."""


class _Head(msgspec.Struct, frozen=True):
    """What tells lines apart; the rest is not looked at."""

    v: int
    epoch: int
    seq: int
    rev: str


_heads = msgspec.json.Decoder(_Head)


# ------------------------------------------------------------------------------------------------ lines


def is_short_lived(room: Room, rules: Rules) -> bool:
    """Whether the room itself wants to keep what is said for less time than the stage does."""
    stage = rules.retention_days * DAY_SECONDS
    return room.profile.retention > 0 and (not stage or room.profile.retention < stage)


def entry_line(change: Change) -> Line:
    """An entry after a change."""
    entry = change.entry
    fields: dict[str, Any] = {
        "v": LINE_VERSION,
        "room": change.room,
        "epoch": change.epoch,
        "seq": entry.seq,
        "at": entry.at,
        "type": entry.type,
        "sender": entry.sender,
        "nth": entry.nth,
        "body": entry.body,
        "rev": change.rev,
    }
    if entry.ends_at != FOREVER:
        fields["endsAt"] = entry.ends_at
    return line_of(fields)


def line_of(fields: Mapping[str, Any]) -> Line:
    """The line that says this."""
    return Line(fields["epoch"], fields["seq"], int(fields["rev"]), msgspec.json.encode(fields))


def merged(stored: Iterable[Line], lines: Iterable[Line], *, known_alone: bool = False) -> list[Line]:
    """One line for each entry of both, the later change's, by epoch and seq; of one change what is stored stays.

    `known_alone`: of entries that are stored already.
    """
    result = {(it.epoch, it.seq): it for it in stored}
    for line in lines:
        key = (line.epoch, line.seq)
        if key in result:
            if line.rev > result[key].rev:
                result[key] = line
        elif not known_alone:
            result[key] = line
    return [result[it] for it in sorted(result)]


def pack(lines: Iterable[Line]) -> bytes:
    """An object's content; the same for the same lines."""
    return zstd.compress(b"".join(it.text + b"\n" for it in lines), options=_CHECKED)


def unpack(content: bytes) -> list[Line]:
    """The lines of an object. Raises `UnreadableObject`, or `NewerVersion` where a later release has written it."""
    try:
        texts = zstd.decompress(content).splitlines()
        heads = [_heads.decode(it) for it in texts]
        lines = [Line(it.epoch, it.seq, int(it.rev), text) for it, text in zip(heads, texts, strict=True)]
    except (zstd.ZstdError, EOFError, ValueError) as error:  # msgspec's errors are ValueErrors
        raise UnreadableObject(f"no object of the archive: {type(error).__name__}") from error
    if newer := next((it.v for it in heads if it.v > LINE_VERSION), None):
        raise NewerVersion(f"its lines are of version {newer}: a later release reads them")
    return lines


# ------------------------------------------------------------------------------------------------ objects


def day_of(at: int) -> date:
    """The day of a time in milliseconds since 1970, in UTC."""
    return datetime.fromtimestamp(at / 1000, UTC).date()


def place_of(change: Change) -> Place:
    """Where an entry stands in the archive, whatever becomes of it."""
    seq = change.entry.seq
    return Place(change.room, change.epoch, seq - seq % BLOCK, day_of(change.entry.at))


def room_prefix(room: str) -> str:
    """What the names of a room's objects begin with, and those of no other room."""
    plain = "".join(chr(it) if it in _PLAIN else f"!{it:02x}" for it in room.encode())
    # A folder called `.` or `..` is none for many programs.
    return f"{LOG}{'!2e' + plain[1:] if plain.startswith('.') else plain}/"


def read_room(name: str) -> str:
    """The room of a part of a name that `room_prefix` has made."""
    return re.sub(rb"!([0-9a-f]{2})", lambda it: bytes([int(it[1], 16)]), name.encode()).decode(errors="replace")


def object_name(place: Place) -> str:
    """The name of the object; those of a room in the order of days, then of the log."""
    return f"{room_prefix(place.room)}{place.day.isoformat()}/{place.epoch:016d}-{place.first:016d}.jsonl.zst"


def read_name(name: str) -> Place | None:
    """Which object has this name; None: none that holds entries."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    try:
        return Place(read_room(found[1]), int(found[3]), int(found[4]), date.fromisoformat(found[2]))
    except ValueError:  # a day that no calendar has
        return None


def unreadable_name(what: str) -> str:
    """Under which name something is kept that could not be read."""
    return UNREADABLE + what
