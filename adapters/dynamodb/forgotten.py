"""Which rows of the three tables are about a user who is to be forgotten, and what becomes of each: row -> change.

`rows.py` beside it has their form. A row of a kind that is not known here loses the name where it stands as a part of
the row's form: an attribute, a set of texts, or a field of JSON.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import msgspec

from adapters.dynamodb import rows
from adapters.dynamodb.rows import Item, Key
from domain.forgetting import WRITTEN, Forgetting, Kind

__all__ = ["RECORDS", "ForgottenRows", "Found"]

RECORDS = "#forget#"
"""What the keys begin with of the rows that remember what was done: no room can be called so."""

_KEYS = ("pk", "sk")
_ROOM = re.compile(r"(audit#)?(inbox#)?[^#]*")
_BAN = "bannedUntil"


@dataclass(frozen=True, slots=True)
class Found:
    """A row that is about the user, as it was read."""

    kind: Kind
    table: str
    """connections, rooms or messages."""
    key: Key
    read: Item = field(default_factory=dict)
    """The attributes that change: they must be as they were read when they do."""
    becomes: Item | None = None
    """The same attributes as they become; those that are missing go. None: the row goes."""
    also: tuple[Key, ...] = ()
    """Rows of the table that go with it."""


@dataclass(frozen=True, slots=True)
class ForgottenRows:
    """What becomes of rows. `keep_bans`: at which moment (ms since 1970) a ban must be in force to stay; None: none."""

    forgetting: Forgetting
    keep_bans: int | None = None

    def found(self, table: str, item: Mapping[str, Any]) -> Found | None:
        """What is to be done with a row; None: nothing."""
        pk, sk = item["pk"]["S"], item["sk"]["S"]
        if pk.startswith(RECORDS) or not self._might_name(item):
            return None
        if table == "connections":
            return self._of_connections(item)
        return self._of_messages(pk, sk, item) if table == "messages" else self._of_rooms(pk, sk, item)

    def is_kept(self, table: str, item: Mapping[str, Any]) -> bool:
        """Whether it is a ban that stays, and nothing more than that."""
        return table == "rooms" and self._is_ban(item) and set(item) == {*_KEYS, _BAN}

    def is_left(self, table: str, item: Mapping[str, Any]) -> bool:
        """Whether a row names the user still, of which nothing is to be done: such a row was not foreseen."""
        if item["pk"]["S"].startswith(RECORDS) or not self._might_name(item) or self.is_kept(table, item):
            return False
        return self._key_names(item) or any(
            self.forgetting.names(_decoded(it, name), name) for name, it in item.items() if name not in _KEYS
        )

    # ---- tables

    def _of_connections(self, item: Mapping[str, Any]) -> Found | None:
        if item.get("userId", {}).get("S") == self.forgetting.user or self.forgetting.is_inbox(item["sk"]["S"]):
            return _gone(Kind.CONNECTION, "connections", item)
        return self._reworded(Kind.OTHER, "connections", item)

    def _of_rooms(self, pk: str, sk: str, item: Mapping[str, Any]) -> Found | None:
        user = self.forgetting.user
        if self.forgetting.is_inbox(_room_of(pk)):
            return _gone(Kind.INBOX, "rooms", item)
        if item["sk"] == rows.user_key("", user)["sk"]:
            return self._standing(item)
        if item["sk"] == rows.mark_key("", user)["sk"]:
            return _gone(Kind.MARK, "rooms", item)
        if item["sk"] == rows.notice_key("", user)["sk"]:
            return _gone(Kind.NOTICE, "rooms", item)
        if item.get("userId", {}).get("S") == user and "joinId" in item:
            return _gone(Kind.CONNECTION, "rooms", item)
        return self._reworded(Kind.OWNER if sk in {"meta", "directory"} else Kind.OTHER, "rooms", item)

    def _of_messages(self, pk: str, sk: str, item: Mapping[str, Any]) -> Found | None:
        user = self.forgetting.user
        if item["pk"] == rows.once_key(user, "")["pk"]:
            return _gone(Kind.REQUEST, "messages", item)
        if pk.startswith("#once#"):
            return self._request(item)
        if self.forgetting.is_inbox(_room_of(pk)):
            return _gone(Kind.INBOX, "messages", item)
        if sk.isdecimal():
            return self._entry(pk, item)
        if _reactor(sk) == user:
            return _gone(Kind.REACTION, "messages", item)
        return self._reworded(Kind.OTHER, "messages", item)

    # ---- rows

    def _standing(self, item: Mapping[str, Any]) -> Found | None:
        if not self._is_ban(item):
            return _gone(Kind.STANDING, "rooms", item)
        read = {name: it for name, it in item.items() if name not in {*_KEYS, _BAN}}
        return Found(Kind.STANDING, "rooms", _key(item), read, {}) if read else None

    def _is_ban(self, item: Mapping[str, Any]) -> bool:
        """Whether the row holds a ban of the user that is to stay."""
        mine = item["sk"] == rows.user_key("", self.forgetting.user)["sk"]
        return mine and self.keep_bans is not None and int(item.get(_BAN, {"N": "0"})["N"]) > self.keep_bans

    def _entry(self, log: str, item: Mapping[str, Any]) -> Found | None:
        entry = rows.read_entry(item)
        becomes, emojis = self.forgetting.entry(entry)
        room, _, epoch = log.rpartition("#")
        # Attributes that only a later release knows stay as they are.
        row = rows.entry_row(room, int(epoch), becomes)
        texts: Item = {name: row[name] for name in ("sender", "body", "beside", "origin") if name in row}
        if entry.body == becomes.body:
            texts["body"] = item["body"]
        if entry.beside == becomes.beside and "beside" in item:
            texts["beside"] = item["beside"]
        read = {name: item[name] for name in ("sender", "body", "beside", "origin") if name in item}
        if texts == read:
            return None
        own = entry.sender == self.forgetting.user and entry.type in {"chat", "private_message"}
        return Found(
            Kind.MESSAGE if own else Kind.ENTRY,
            "messages",
            _key(item),
            read,
            texts,
            tuple(rows.reaction_key(room, int(epoch), entry.seq, self.forgetting.user, it) for it in emojis),
        )

    def _request(self, item: Mapping[str, Any]) -> Found | None:
        """Another's request: what it rang of the inbox is rung no more, and nobody is told who is not there."""
        row = dict(item)
        inbox = self.forgetting.inbox
        if "rings" in row:
            rings = msgspec.json.decode(row["rings"]["S"])
            if any(it["room"] == inbox for it in rings):
                row["rings"] = _text([it for it in rings if it["room"] != inbox])
        if "announcement" in row and msgspec.json.decode(row["announcement"]["S"])["room"] == inbox:
            del row["announcement"]
        found = self._reworded(Kind.REQUEST, "messages", row)
        changed = {name: it for name, it in item.items() if row.get(name) != it} | (found.read if found else {})
        if not changed:
            return None
        becomes = {name: row[name] for name in changed if name in row} | ((found.becomes or {}) if found else {})
        return Found(Kind.REQUEST, "messages", _key(item), {name: item[name] for name in changed}, becomes)

    def _reworded(self, kind: Kind, table: str, item: Mapping[str, Any]) -> Found | None:
        """A row that stays, without the name."""
        read: Item = {}
        becomes: Item = {}
        for name, it in item.items():
            if name in _KEYS:
                continue
            value = _decoded(it, name)
            if (without := self.forgetting.without(value, name)) == value:
                continue
            read[name] = it
            if "SS" not in it:
                becomes[name] = {"S": without} if isinstance(value, str) else _text(without)
            elif without:
                becomes[name] = {"SS": without}
        if not read:
            return None
        # A set has no empty value, and a row that was made for its set alone goes with it.
        return Found(kind, table, _key(item), read, None if "changed" in read and not becomes else becomes)

    def _might_name(self, item: Mapping[str, Any]) -> bool:
        """Whether the id stands anywhere in the row: of most rows this is all that is asked."""
        return any(self.forgetting.user in str(it) for it in item.values())

    def _key_names(self, item: Mapping[str, Any]) -> bool:
        user = self.forgetting.user
        keys = [item[it]["S"].removeprefix("audit#").split("#") for it in _KEYS]  # a room comes next
        # Epochs, shards and seqs are numbers, and a user may be called like one, or like a service.
        named = any(it == user and before != "service" for key in keys for before, it in pairwise(key))
        return (named and not user.isdecimal()) or _reactor(item["sk"]["S"]) == user


def _gone(kind: Kind, table: str, item: Mapping[str, Any]) -> Found:
    return Found(kind, table, _key(item))


def _key(item: Mapping[str, Any]) -> Key:
    return {name: item[name] for name in _KEYS}


def _room_of(pk: str) -> str:
    """The room of a row's partition, whose key may go on with epoch and shard."""
    found = _ROOM.match(pk)
    return found[0] if found else pk


def _reactor(sk: str) -> str:
    """Whose reaction a row is; empty where it is none."""
    parts = sk.split("~", 3)
    return parts[2] if len(parts) == 4 and not parts[0] else ""


def _decoded(it: Mapping[str, Any], name: str) -> Any:
    """An attribute's value, and of one that holds JSON what that says; people's words may look like it."""
    [(kind, value)] = it.items()
    if kind == "S" and value[:1] in {"{", "["} and name not in WRITTEN:
        try:
            return msgspec.json.decode(value)
        except msgspec.DecodeError:
            return value
    if kind == "M":
        return {field: _decoded(inner, field) for field, inner in value.items()}
    return [_decoded(inner, name) for inner in value] if kind == "L" else value


def _text(value: Any) -> Any:
    return {"S": msgspec.json.encode(value).decode()}
