"""How far a user has read a room, and what is left to read."""

from __future__ import annotations

from dataclasses import dataclass

from domain.rooms import Entry, Room, is_message

__all__ = ["Mark", "mark_at", "unread"]


@dataclass(frozen=True, slots=True)
class Mark:
    """A user has read a room up to `seq`, in one life (epoch) of it."""

    epoch: int
    seq: int
    nth: int = 0
    """How many of the entries up to there are messages."""


def mark_at(room: Room, seq: int, following: Entry | None) -> Mark:
    """The mark of who has read the room, as it was read, up to `seq`, which is no further than its head.

    `following`: the first entry from `seq` on that the log still has; not asked for at the head. Where retention has
    taken the one at `seq`, all that is gone counts as read.
    """
    if seq == room.head or following is None:
        nth = room.messages
    elif following.seq == seq:
        nth = following.nth
    else:
        nth = max(0, following.nth - is_message(room.room, following))
    return Mark(room.epoch, seq, nth)


def unread(messages: int, mark: Mark | None) -> int:
    """How many of a room's `messages` are behind the mark, which may have been set when there were more."""
    return messages if mark is None else max(0, messages - mark.nth)
