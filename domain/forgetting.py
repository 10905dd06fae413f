"""What becomes of what is kept of a user who is to be forgotten: (value, user) -> a value that doesn't name them.

What they said becomes a tombstone, as if it had been deleted. Where others' entries name them as a part of their form
(who did it, who is meant, who was mentioned) stands a fixed name that no user can have. What people wrote is never
searched for the name: a text of another's that has it in it stays as it is, and so does a room that is called alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from domain.amends import reacted, silenced, tombstone
from domain.archive import Line, line_of
from domain.rooms import Entry, inbox_of

__all__ = ["STAND_IN", "STAND_IN_NAME", "WRITTEN", "Forgetting", "Kind", "user_hash"]

STAND_IN = "forgotten#user"
"""Who has said it. `#` is in no id, so no user can have this one, nor will anybody ever."""
STAND_IN_NAME = "forgotten user"

WRITTEN = frozenset({"emoji", "message", "name", "reason", "senderName", "title", "username"})
"""Fields that hold people's words. They are kept or lost as a whole."""

_MESSAGES = frozenset({"chat", "private_message"})
_PEOPLE = frozenset(
    {
        "by",
        "changed",
        "createdBy",
        "deletedBy",
        "mentions",
        "owner",
        "sender",
        "senderId",
        "targetUserId",
        "user",
        "userId",
        "users",
    }
)
"""Fields that say who it was, or who all were."""
_ROOMS = frozenset({"lastRoom", "parent", "room", "roomId"})
"""Fields that hold a room, which may have the same id as a user."""
_WORDS = frozenset(
    {
        "claim",
        "clientId",
        "code",
        "defaultRole",
        "default_role",
        "dialect",
        "digest",
        "direction",
        "joinId",
        "kind",
        "messageId",
        "rev",
        "role",
        "roomRole",
        "status",
        "type",
        "visibility",
    }
)
"""Fields that hold none of these: a user may be called `chat`."""


class Kind(StrEnum):
    """What was changed or deleted, as it is counted."""

    MESSAGE = "messages"
    """Became tombstones."""
    ENTRY = "entries"
    """Other entries that they made, or others' that name them: now with the stand-in."""
    REACTION = "reactions"
    """Taken back."""
    INBOX = "inbox"
    """Rows of their inbox and its log, deleted."""
    REQUEST = "requests"
    """Memories of requests: theirs are deleted, others' lose the name."""
    STANDING = "standings"
    """Roles, bans, mutes: deleted."""
    MARK = "marks"
    """Read marks, deleted."""
    NOTICE = "notices"
    """Of which notice others were sent about them last: deleted."""
    OWNER = "ownership"
    """Rows of rooms (how each is settled, how it is listed) that have no owner now."""
    CONNECTION = "connections"
    """Rows of connections and memberships, deleted."""
    OTHER = "others"
    """Rows of any other kind, which name the stand-in now."""
    LINE = "archive_lines"
    """Of the archive, now tombstones or with the stand-in."""
    OBJECT = "archive_objects"
    """Of their inbox in the archive, deleted."""


def user_hash(user: str) -> str:
    """What stands for the user in the record of their being forgotten: who knows the id can find it, and nobody can
    read the id off it, unless by trying ids."""
    return hashlib.sha256(f"roomcast forgets {user}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Forgetting:
    """Forgetting one user."""

    user: str
    at: int
    """When their messages count as deleted, in milliseconds since 1970."""

    @property
    def inbox(self) -> str:
        return inbox_of(self.user)

    def is_inbox(self, room: str) -> bool:
        """Whether it is their inbox, or what moderators did there."""
        return room.removeprefix("audit#") == self.inbox

    # ---- entries

    def entry(self, entry: Entry) -> tuple[Entry, list[str]]:
        """(the entry as it becomes, the emojis with which the user is taken off it). The same entry where it is not
        about the user at all."""
        own = entry.sender == self.user
        becomes = replace(entry, body=self.body(entry.type, entry.sender, entry.body))
        if own:
            becomes = replace(becomes, sender=STAND_IN, origin=None, beside={})
        elif entry.body.get("targetUserId") == self.user:
            # The other copy goes with their inbox: whoever deletes this one must not look for it.
            becomes = replace(becomes, beside={name: it for name, it in entry.beside.items() if name != "twin"})
        return becomes, [it["emoji"] for it in entry.body.get("reactions", ()) if self.user in it["users"]]

    def body(self, kind: str, sender: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The body of an entry of that type as it becomes."""
        becomes = dict(body)
        if sender == self.user and kind in _MESSAGES:
            if "deletedAt" not in becomes:
                becomes = tombstone(becomes, STAND_IN, self.at)
            becomes.pop("clientId", None)  # their own words
            becomes["senderName"] = STAND_IN_NAME
        elif sender == self.user:
            becomes = silenced(becomes)
        if self.user in {becomes.get("by"), becomes.get("userId")}:
            becomes.pop("reason", None)
        without: dict[str, Any] = self.without(becomes)
        if "reactions" in without:
            without["reactions"] = [it for it in without["reactions"] if it["count"] > 0]
            if not without["reactions"]:
                del without["reactions"]
        return without

    def takes_back(self, body: Mapping[str, Any], emoji: str) -> dict[str, Any]:
        """A message's body without the user's reaction, whether they are among the few that it names or not."""
        if all(it["emoji"] != emoji for it in body.get("reactions", ())):
            return dict(body)
        return reacted(dict(body), emoji, self.user, given=False)[0]

    def line(self, line: Line) -> Line | None:
        """A line of the archive as it becomes; None where it stays as it is."""
        if self.user.encode() not in line.text:  # an id is written in JSON as it is
            return None
        fields = line.fields()
        body = self.body(fields["type"], fields["sender"], fields["body"])
        becomes = self.without({name: it for name, it in fields.items() if name != "body"})
        becomes = {name: body if name == "body" else becomes[name] for name in fields}
        return None if becomes == fields else line_of(becomes)

    # ---- anything else

    def without(self, value: Any, field: str = "") -> Any:
        """The value, as JSON has it, without the user. `field`: whose value it is."""
        if isinstance(value, str):
            return self._text(value, field)
        if isinstance(value, list):
            return [self.without(it, field) for it in value if it != self.user or field not in _PEOPLE]
        if isinstance(value, dict):
            becomes = {name: self.without(it, name) for name, it in value.items()}
            users = value.get("users")
            if isinstance(users, list) and self.user in users and isinstance(value.get("count"), int):
                becomes["count"] = value["count"] - 1
            return becomes
        return value

    def names(self, value: Any, field: str = "") -> bool:
        """Whether the value names the user as a part of its form, in a field that is known or in any other."""
        if isinstance(value, str):
            if field in WRITTEN:
                return False
            return value == self.inbox or (value == self.user and field not in _ROOMS | _WORDS)
        if isinstance(value, list):
            return any(self.names(it, field) for it in value)
        return isinstance(value, dict) and any(self.names(it, name) for name, it in value.items())

    def _text(self, text: str, field: str) -> str:
        if text == self.inbox and field not in WRITTEN:
            return inbox_of(STAND_IN)
        if text == self.user and field in _PEOPLE:
            return "" if field == "owner" else STAND_IN
        return text
