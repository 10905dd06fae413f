"""Printing a room's part of the archive: its objects in the order of the log, each read when its turn comes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from typing import Any, Self

import msgspec

from domain.archive import Line, Place, merged, object_name, read_name, room_prefix, unpack
from domain.errors import BadSetting, NewerVersion, UnreadableObject
from domain.protocol import RoomRef
from ops.stage import Client, Deployment, StageError, answered

__all__ = ["Choice", "print_archive"]

_MESSAGES = frozenset({"chat", "private_message"})


@dataclass(frozen=True, slots=True)
class Choice:
    """What is to be printed. Times are in milliseconds since 1970."""

    room: str
    since: int | None = None
    before: int | None = None

    @classmethod
    def of(cls, room: str, since: str | None, until: str | None) -> Self:
        """As the options have it. Raises `BadSetting`."""
        try:
            msgspec.convert(room, RoomRef)
        except msgspec.ValidationError:
            raise BadSetting(
                f"--room {room}: no room can be called so; write lobby, inbox#ada or audit#lobby"
            ) from None
        first = None if since is None else _moment("--from", since)
        last = None if until is None else _moment("--to", until, whole_day=True)
        if first is not None and last is not None and first >= last:
            raise BadSetting(f"--from {since}: it must be before --to {until}")
        return cls(room, first, last)

    def has(self, at: int) -> bool:
        return (self.since is None or at >= self.since) and (self.before is None or at < self.before)


def print_archive(where: Deployment, choice: Choice, *, for_people: bool = False) -> int:
    """Print it; the exit status: 1 if there is nothing, or an object can't be read. Raises `StageError`."""
    if not where.bucket:
        remedy = "start it with --archive" if where.twin else "deploy it with -c archive=true"
        raise StageError(f"{where} has no archive; {remedy}")
    printed, broken = 0, list[str]()
    try:
        for line in _lines(where, choice, broken):
            sys.stdout.buffer.write(_for_people(line) if for_people else line.text + b"\n")
            printed += 1
        sys.stdout.buffer.flush()
    except BrokenPipeError:  # whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it ends
        return 0
    for it in broken:
        print(f"roomcast: {it}", file=sys.stderr)
    if not printed and not broken:
        print(f"roomcast: nothing that was said in {choice.room} then is in the archive of {where}", file=sys.stderr)
    return 0 if printed and not broken else 1


# ---- private


def _moment(option: str, text: str, *, whole_day: bool = False) -> int:
    """Milliseconds since 1970; of a day its beginning, or (`whole_day`) its end."""
    try:
        if len(text) == len("2026-11-01"):
            day = date.fromisoformat(text) + timedelta(days=whole_day)
            moment = datetime.combine(day, time(), UTC)
        else:
            moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise BadSetting(f"{option} {text}: write a day, 2026-11-01, or a time, 2026-11-01T12:00") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _lines(where: Deployment, choice: Choice, broken: list[str]) -> Iterator[Line]:
    """The lines, in the order of the log. `broken` gets a sentence for each object that can't be read."""
    s3 = where.client("s3")
    with answered(f"the archive of {where}"):
        places = sorted(_places(s3, where.bucket, choice))
    # A thousand seqs are in the objects of as many days as they took: so many lines are in memory, and no more.
    for _, objects in groupby(places, key=lambda it: (it.epoch, it.first)):
        lines: list[Line] = []
        for place in objects:
            name = object_name(place)
            with answered(f"the archive of {where}"):
                content = s3.get_object(Bucket=where.bucket, Key=name)["Body"].read()
            try:
                lines = merged(lines, unpack(content))
            except UnreadableObject as error:
                broken.append(f"{name}: {error}")
            except NewerVersion as error:
                raise StageError(f"{name}: {error}; use the command of that release") from None
        yield from (it for it in lines if choice.has(it.fields()["at"]))


def _places(s3: Client, bucket: str, choice: Choice) -> Iterator[Place]:
    """Where lines of the choice may be."""
    prefix = room_prefix(choice.room)
    first = "" if choice.since is None else _day(choice.since).isoformat()
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, StartAfter=prefix + first)
    for page in pages:
        for it in page.get("Contents", ()):
            place = read_name(it["Key"])
            if place is None:
                continue
            if choice.before is not None and place.day > _day(choice.before - 1):
                return  # the days come in their order
            yield place


def _day(at: int) -> date:
    return datetime.fromtimestamp(at / 1000, UTC).date()


def _for_people(line: Line) -> bytes:
    fields = line.fields()
    at = datetime.fromtimestamp(fields["at"] / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    words = f"{at}  #{fields['seq']}  {fields['sender']}: {_said(fields['type'], fields['body'])}"
    # What others wrote must not steer this terminal.
    shown = "".join(it if it.isprintable() else "\N{REPLACEMENT CHARACTER}" for it in words)
    return shown.encode(errors="replace") + b"\n"


def _said(kind: str, body: dict[str, Any]) -> str:
    if kind not in _MESSAGES:
        return f"{kind} {json.dumps(body, ensure_ascii=False)}"
    return "(deleted)" if "deletedAt" in body else str(body.get("message", ""))
