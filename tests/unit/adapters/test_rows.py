"""How a row's form may change: what one release writes, another one reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from adapters.dynamodb import rows
from domain.marks import Mark
from domain.presence import Presence
from domain.rooms import (
    Connection,
    Directory,
    Entry,
    Member,
    Membership,
    Once,
    Profile,
    Ring,
    Room,
    Shard,
    ShardKey,
    Standing,
)
from domain.webhooks import Hook

KEY = ShardKey("tea", 5, 0)
MEMBER = Member("a=", "ada", "Ada", "v1", connected_at=1, expires_at=2, join_id="j", since=3, status="away")
CONNECTION = Connection("a=", "ada", "Ada", "v1", connected_at=1, expires_at=2, last_room="tea", lease_until=3)
ENTRY = Entry(1, "chat", 2, "ada", {"message": "hello"}, origin="a=", beside={"edit": 3})
ONCE = Once("3f", '{"type":"ack"}', [Ring("tea", 5, 1, 1)], expires_at=2)
ROOM = Room("tea", 5, head=1, profile=Profile(title="Tea", visibility="private"), messages=1, hooks=("a1", "b2"))
PRESENCE = Presence("ada", "busy", since=1, until=2, version=3)
HOOK = Hook("tea", "a1", 5, "outgoing", "ci", "whsec_AAAA", 1, "ops", url="https://example.org", events=("chat",))
STANDING = Standing("guest", banned_until=4, muted_until=1, kicked_at=2, spoke_at=3)
SHARD: rows.Item = {
    "pk": {"S": str(KEY)},
    "sk": {"S": "shard"},
    **rows.values({"sent": 1, "members": 2, "version": 3, "census": 4}),
}

READERS: dict[str, tuple[Callable[[Mapping[str, Any]], Any], rows.Item, Any]] = {
    "connection": (rows.read_connection, rows.connection_row(CONNECTION), CONNECTION),
    "membership": (
        rows.read_membership,
        rows.membership_row(MEMBER, KEY),
        Membership("tea", 5, 0, join_id="j", user="ada", name="Ada", since=3),
    ),
    "room": (rows.read_room, rows.room_row(ROOM), ROOM),
    "directory": (
        rows.read_directory,
        rows.directory_row(Directory("tea", "Tea", "ada", "root")),
        Directory("tea", "Tea", "ada", "root"),
    ),
    "standing": (
        rows.read_standing,
        rows.user_key("tea", "ada") | rows.values(rows.standing_row(STANDING)),
        STANDING,
    ),
    "shard": (rows.read_shard, SHARD, Shard(sent=1, members=2, version=3, census=4)),
    "member": (rows.read_member, rows.member_row(MEMBER, KEY), MEMBER),
    "entry": (rows.read_entry, rows.entry_row("tea", 5, ENTRY), ENTRY),
    "mark": (
        rows.read_mark,
        rows.mark_key("tea", "ada") | rows.values({"epoch": 5, "seq": 2, "nth": 1}),
        Mark(5, seq=2, nth=1),
    ),
    "presence": (
        lambda item: rows.read_presence(item, "ada"),
        rows.presence_key("ada") | rows.values(rows.presence_row(PRESENCE)),
        PRESENCE,
    ),
    "hook": (rows.read_hook, rows.hook_key("tea", "a1") | rows.values(rows.hook_row(HOOK)), HOOK),
    "once": (rows.read_once, rows.once_row("ada", "request-1", ONCE), ONCE),
}
"""Row → its reader, the row as it is written, and what it says."""

LATER: dict[str, Any] = {
    "v": {"N": "2"},
    "text": {"S": "é"},
    "whole": {"N": "-7"},
    "fraction": {"N": "0.5"},
    "exponent": {"N": "1E+2"},
    "flag": {"BOOL": False},
    "nothing": {"NULL": True},
    "bytes": {"B": b"\x00"},
    "list": {"L": [{"N": "1"}]},
    "map": {"M": {"a": {"S": "b"}}},
    "numbers": {"NS": ["1", "2"]},
}
"""What a later release may add to a row: any kind of attribute that DynamoDB has."""


def test_every_reader_is_in_the_table() -> None:
    """A new row is tested like the others."""
    assert {f"read_{it}" for it in READERS} == {it for it in rows.__all__ if it.startswith("read_")}


@pytest.mark.parametrize("row", READERS)
def test_a_later_releases_row_is_read(row: str) -> None:
    """Attributes that nobody here knows, and the next version, change nothing of what is known."""
    read, item, said = READERS[row]
    assert read(item) == said
    assert read({**item, **LATER}) == said


@pytest.mark.parametrize(
    ("row", "missing", "default"),
    [
        ("connection", "leaseUntil", Connection("a=", "ada", "Ada", "v1", 1, 2, "tea", lease_until=0)),
        ("room", "profile", replace(ROOM, profile=Profile())),
        ("room", "messages", replace(ROOM, messages=0)),
        ("room", "hooks", replace(ROOM, hooks=())),
        ("standing", "roomRole", replace(STANDING, role=None)),
        ("standing", "bannedUntil", replace(STANDING, banned_until=0)),
        ("standing", "mutedUntil", replace(STANDING, muted_until=0)),
        ("standing", "kickedAt", replace(STANDING, kicked_at=0)),
        ("standing", "spokeAt", replace(STANDING, spoke_at=0)),
        ("member", "since", replace(MEMBER, since=0)),
        ("shard", "sent", Shard(sent=None, members=2, version=3, census=4)),
        ("shard", "members", Shard(sent=1, members=0, version=3, census=4)),
        ("shard", "version", Shard(sent=1, members=2, version=0, census=4)),
        ("shard", "census", Shard(sent=1, members=2, version=3, census=0)),
        ("entry", "origin", replace(ENTRY, origin=None)),
        ("entry", "beside", replace(ENTRY, beside={})),
        ("member", "v", MEMBER),
        ("entry", "v", ENTRY),
        ("once", "v", ONCE),
    ],
)
def test_a_row_without_a_later_attribute_has_its_default(row: str, missing: str, default: object) -> None:
    """An earlier release wrote it, or nothing has set it yet."""
    read, item, said = READERS[row]
    assert missing in item
    assert read({name: it for name, it in item.items() if name != missing}) == default
    assert (default == said) == (missing == "v")
