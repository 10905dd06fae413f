"""What becomes of a message when it is edited, deleted, reacted to or answered: (body, what happens) -> its new body.

A body is what `domain.rooms.Entry` holds of its type, in the words of the wire. No body is ever changed in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from domain.errors import Refused
from domain.protocol import REACTIONS_LIMIT, REACTORS_LIMIT
from domain.rooms import Entry

__all__ = [
    "answered",
    "check_in_window",
    "check_message",
    "edited",
    "reacted",
    "root_of",
    "silenced",
    "tombstone",
]

_MESSAGES = frozenset({"chat", "private_message"})
_STAYS = ("messageId", "senderId", "senderName", "targetUserId", "clientId", "replyTo", "thread", "replies")
"""What is left of a message that was deleted: whose it was, and where it stood."""

Body = dict[str, Any]


def check_message(entries: Sequence[Entry], *, field: str = "seq", deleted: bool = False) -> Entry:
    """The message among `entries` (the one asked for, if it is there); `deleted`: one that was deleted will do, too."""
    if not entries or entries[0].type not in _MESSAGES:
        raise Refused("BAD_REQUEST", f"`{field}`: there is no message at that seq")
    if "deletedAt" in entries[0].body and not deleted:
        raise Refused("BAD_REQUEST", f"`{field}`: that message was deleted")
    return entries[0]


def check_in_window(message: Entry, seconds: int, now: int, deed: str) -> None:
    """`Refused` where the message is older than its sender may still change it; 0 seconds: at any age."""
    if seconds and message.at + seconds * 1000 < now:
        raise Refused("FORBIDDEN", f"A message can be {deed} for {seconds} seconds after it was sent")


def edited(body: Body, text: str, now: int) -> Body:
    """A message that says something else now."""
    return {**body, "message": text, "editedAt": now}


def silenced(body: Body) -> Body:
    """The entry of an edit that another has followed, or a deletion: it holds no text any more."""
    return {name: it for name, it in body.items() if name != "message"}


def tombstone(body: Body, by: str, now: int) -> Body:
    """A message that was deleted."""
    stays = {name: body[name] for name in _STAYS if name in body}
    return {**stays, "message": "", "deletedAt": now, "deletedBy": by}


def reacted(body: Body, emoji: str, user: str, *, given: bool) -> tuple[Body, int, list[str]]:
    """(the message, how many react to it so, at most ten of them) once the user, who did not before, has given that
    reaction; or who did, has taken it back."""
    reactions: list[dict[str, Any]] = body.get("reactions", [])
    found = next((it for it in reactions if it["emoji"] == emoji), None)
    count, users = (found["count"], [it for it in found["users"] if it != user]) if found else (0, [])
    count += 1 if given else -1
    if given and found is None and len(reactions) >= REACTIONS_LIMIT:
        raise Refused("TOO_LARGE", f"A message has at most {REACTIONS_LIMIT} different reactions")
    if given and len(users) < REACTORS_LIMIT:
        users.append(user)
    reaction = {"emoji": emoji, "count": count, "users": users}
    kept = [reaction if it is found else it for it in reactions if it is not found or count]
    if found is None:
        kept.append(reaction)
    rest = {name: it for name, it in body.items() if name != "reactions"}
    return ({**rest, "reactions": kept} if kept else rest), count, users


def root_of(message: Entry) -> int:
    """The seq of the message that began the thread in which an answer to this one is."""
    root: int = message.body.get("thread", message.seq)
    return root


def answered(body: Body, seq: int) -> Body:
    """The message that began a thread, once the answer at `seq` is in it."""
    count = body["replies"]["count"] if "replies" in body else 0
    return {**body, "replies": {"count": count + 1, "lastSeq": seq}}
