"""What is announced to who is away: the values, and the notice as subscribers get it.

A notice says that something was said to a user, and by whom, and never what. Times are milliseconds since 1970.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from msgspec import Struct, to_builtins

__all__ = [
    "ANNOUNCED_FOR_MS",
    "NOTICE_EVERY_MS",
    "NOTICE_VERSION",
    "Announcement",
    "NoticeKind",
    "OfflineNotice",
    "notice_attributes",
    "notice_text",
]

NOTICE_VERSION = 1
"""Of the notice's form: fields are only added to it."""
NOTICE_EVERY_MS = 60_000
"""A user is sent one notice about a sender within so long, at most."""
ANNOUNCED_FOR_MS = 600_000
"""How long a notice is worth sending."""

NoticeKind = Literal["private_message", "mention"]


@dataclass(frozen=True, slots=True)
class Announcement:
    """Whom an entry of a log is announced to, if they are away. It is kept with the request that stored the entry, so
    that a repeat of it announces the entry again."""

    kind: NoticeKind
    room: str
    """A private message's is its target's inbox."""
    epoch: int
    seq: int
    at: int
    """When the entry was stored."""
    sender: str
    name: str
    """The sender's."""
    users: Sequence[str]


class OfflineNotice(Struct, frozen=True, kw_only=True, rename="camel"):
    """One user's notice of one entry: (userId, roomId, epoch, seq) tells it from all others, and may come twice."""

    v: int = NOTICE_VERSION
    kind: NoticeKind
    user_id: str
    room_id: str
    epoch: int
    seq: int
    sender_id: str
    sender_name: str
    at: int


def notice_text(notice: OfflineNotice) -> str:
    """The notice as it is published: JSON in ASCII, since not every character is let through everywhere."""
    return json.dumps(to_builtins(notice), separators=(",", ":"))


def notice_attributes(notice: OfflineNotice) -> Mapping[str, str]:
    """What subscribers can filter by. Ids and inboxes have no character that a filter policy would have to escape."""
    return {
        "userId": notice.user_id,
        "kind": notice.kind,
        "roomId": notice.room_id,
        "senderId": notice.sender_id,
    }
