"""What becomes of rows: nothing of the user is left in any, and nothing of anybody else's changes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.dynamodb import rows
from adapters.dynamodb.forgotten import RECORDS, ForgottenRows, Found
from domain.forgetting import STAND_IN, STAND_IN_NAME, Forgetting, Kind, user_hash
from domain.marks import Mark
from domain.notices import Announcement
from domain.presence import Presence
from domain.rooms import (
    FOREVER,
    Connection,
    Directory,
    Entry,
    Member,
    Once,
    Profile,
    Reaction,
    Ring,
    Room,
    ShardKey,
    Standing,
    inbox_of,
)

BOB = "bob"
NOW = 1_700_000_000_000
JUDGE = ForgottenRows(Forgetting(BOB, NOW))
USERS = st.sampled_from([BOB, "bobby", "bo", "Bob", "ada", "bob.", "service#bob", STAND_IN])
OTHERS = USERS.filter(lambda it: it != BOB)
IDS = st.sampled_from([BOB, "bobby", "tea", "chat", "5"])
"""Rooms may have a user's id."""
ROOMS = st.one_of(IDS, IDS.map(inbox_of), IDS.map(lambda it: f"audit#{it}"))
TEXTS = st.sampled_from(["hello", "bob", "ask bob#5", '{"by":"bob"}', "inbox#bob", "~bob~"])
SEQS = st.integers(1, 9)
EMOJIS = st.sampled_from(["+1", "bob", "~"])


@st.composite
def bodies(draw: st.DrawFn, kind: str, sender: str) -> dict[str, Any]:
    """As `services/` make them."""
    about = {"userId": draw(USERS), "by": sender}
    if kind in {"chat", "private_message"}:
        body: dict[str, Any] = {
            "messageId": "m",
            "senderId": sender,
            "senderName": draw(TEXTS),
            "message": draw(TEXTS),
            "clientId": "bob-request-1",
        }
        more = {
            "mentions": st.lists(USERS, unique=True),
            "reactions": st.lists(
                st.builds(
                    lambda emoji, users, more: {"emoji": emoji, "count": len(users) + more, "users": users},
                    EMOJIS,
                    st.lists(USERS, unique=True, min_size=1),
                    st.integers(0, 2),
                ),
                unique_by=lambda it: str(it["emoji"]),
                min_size=1,
            ),
            "deletedBy": USERS,
            "thread": SEQS,
            "editedAt": SEQS,
            "deletedAt": SEQS,
        }
        if kind == "private_message":
            body["targetUserId"] = draw(USERS)
        return body | {name: draw(it) for name, it in more.items() if draw(st.booleans())}
    others: dict[str, dict[str, Any]] = {
        "message_edited": {"of": 1, "by": sender, "message": draw(TEXTS)},
        "message_deleted": {"of": 1, **about},
        "reaction": {"of": 1, "userId": sender, "emoji": draw(EMOJIS), "count": 3, "users": draw(st.lists(USERS))},
        "room": {"by": sender, "title": draw(TEXTS), "parent": draw(IDS), "owner": draw(USERS)},
        "banned": {**about, "reason": draw(TEXTS), "until": 5},
        "role": {**about, "role": "owner"},
    }
    return others[kind]


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    sender = draw(USERS)
    kinds = ["chat", "private_message", "message_edited", "message_deleted", "reaction", "room", "banned", "role"]
    kind = draw(st.sampled_from(kinds))
    return Entry(
        draw(SEQS),
        kind,
        NOW - 9,
        sender,
        draw(bodies(kind, sender)),
        origin="c=",
        beside={"twin": 3, "edit": 4},
        nth=2,
    )


MEMBERS = st.builds(
    lambda user: Member("c=", user, "The bob", "v1", connected_at=1, expires_at=2, join_id="j", status="busy"), USERS
)
KEYS = st.builds(ShardKey, ROOMS, st.integers(1, 5), st.integers(0, 5))
ONCES = st.builds(
    lambda user, owner, rings, announcement: rows.once_row(
        user,
        "client-id-1",
        Once(
            "3f",
            json.dumps({"type": "room", "data": {"by": user, "owner": owner, "title": "bob", "roomId": "bob"}}),
            rings,
            NOW,
            announcement,
        ),
    ),
    USERS,
    USERS,
    st.lists(st.builds(Ring, ROOMS, SEQS, st.just(1), SEQS)),
    st.one_of(
        st.none(),
        st.builds(
            Announcement,
            st.just("mention"),
            ROOMS,
            SEQS,
            SEQS,
            SEQS,
            OTHERS,
            TEXTS,
            st.lists(USERS),
        ),
    ),
)
ROWS = {
    "messages": st.one_of(
        st.builds(rows.entry_row, ROOMS, SEQS, entries()),
        st.builds(rows.reaction_row, ROOMS, SEQS, st.builds(Reaction, SEQS, st.just(FOREVER), USERS, EMOJIS)),
        st.builds(rows.thread_row, ROOMS, SEQS, SEQS, entries()),
        ONCES,
    ),
    "rooms": st.one_of(
        st.builds(
            lambda room, owner: rows.room_row(Room(room, 5, profile=Profile(title="bob", parent="bob", owner=owner))),
            ROOMS,
            USERS,
        ),
        st.builds(rows.directory_row, st.builds(Directory, IDS, TEXTS, USERS, IDS)),
        st.builds(
            lambda room, user: rows.user_key(room, user) | rows.values(rows.standing_row(Standing("owner"))),
            ROOMS,
            USERS,
        ),
        st.builds(lambda room, user: rows.mark_key(room, user) | rows.values({"epoch": 5, "seq": 1}), ROOMS, USERS),
        st.builds(lambda user, sender: rows.notice_key(user, sender) | rows.values({"roomId": "bob"}), USERS, USERS),
        st.builds(lambda user: rows.presence_key(user) | rows.values(rows.presence_row(Presence(user, "busy"))), USERS),
        st.builds(lambda user: rows.typing_key(user) | rows.values({"typedAt": 1}), USERS),
        st.builds(
            lambda room, users: (
                rows.changed_key(room, 5) | rows.values({"claim": "bob"}) | {"changed": {"SS": sorted(users)}}
            ),
            ROOMS,
            st.sets(USERS, min_size=1),
        ),
        st.builds(rows.member_row, MEMBERS, KEYS),
        st.builds(lambda key: rows.shard_key(key) | rows.values({"sent": 1, "members": 2}), KEYS),
    ),
    "connections": st.one_of(
        st.builds(
            lambda user, room: rows.connection_row(Connection("c=", user, "The bob", "v1", 1, 2, room)), USERS, IDS
        ),
        st.builds(rows.membership_row, MEMBERS, KEYS),
        st.just(rows.due_row("bob", 5)),
    ),
}
"""Table → rows of every kind that it holds."""
TABLES_AND_ROWS = st.one_of(*(st.tuples(st.just(table), it) for table, it in ROWS.items()))


def apply(found: Found, item: rows.Item) -> rows.Item | None:
    """The row afterwards; None: it is gone."""
    if found.becomes is None:
        return None
    assert set(found.becomes) <= set(found.read)
    assert all(item[name] == it for name, it in found.read.items())
    return {name: it for name, it in item.items() if name not in found.read} | found.becomes


def structure(value: Any, field: str = "") -> list[str]:
    """All texts of a row but those that people wrote and those that name rooms, written anew beside the code."""
    if isinstance(value, dict):
        return [text for name, it in value.items() for text in [*structure(it, name)]]
    if isinstance(value, list):
        return [text for it in value for text in structure(it, field)]
    if isinstance(value, str) and field in {"announcement", "beside", "body", "profile", "reply", "rings"}:
        return structure(json.loads(value))
    written = {"message", "senderName", "name", "title", "emoji", "reason", "parent", "claim"}
    if field in written or not isinstance(value, str):
        return []
    if field in {"roomId", "room", "lastRoom"} and "#" not in value:
        return []
    return [value]


def texts_of(item: rows.Item) -> list[str]:
    """The texts of a row that would name a user as a part of its form; of its keys, where a user can stand in them."""
    pk, sk = str(item["pk"]["S"]), str(item["sk"]["S"])
    rest = {name: next(iter(it.values())) for name, it in item.items() if name not in {"pk", "sk"}}
    keys = [it[len(start) :] for start in ("inbox#", "#once#") for it in [pk] if it.startswith(start)]
    keys += [it[len("audit#inbox#") :] for it in [pk] if it.startswith("audit#inbox#")]
    keys = [it.split("#")[0] for it in keys]
    keys += [it.split("#", 1)[1] for it in [sk] if it.startswith(("user#", "read#", "notice#", "inbox#"))]
    keys += sk.split("~", 3)[2:3] if sk.startswith("~") and "#" not in sk.split("~")[1] else []
    return [*keys, *structure(rest)]


@given(TABLES_AND_ROWS)
def test_nothing_of_the_user_is_left(table_and_row: tuple[str, rows.Item]) -> None:
    """In no key and no field of any kind of row; and what is changed once is not changed again."""
    table, item = table_and_row
    found = JUDGE.found(table, item)
    after = item if found is None else apply(found, item)
    if after is None:
        return
    assert BOB not in texts_of(after)
    assert inbox_of(BOB) not in texts_of(after)
    assert not JUDGE.is_left(table, after)
    assert JUDGE.found(table, after) is None


@given(TABLES_AND_ROWS)
def test_what_does_not_name_the_user_stays(table_and_row: tuple[str, rows.Item]) -> None:
    """Whatever texts, rooms, emojis and longer ids have the id in them."""
    table, item = table_and_row
    if {BOB, inbox_of(BOB)}.isdisjoint(texts_of(item)):
        assert JUDGE.found(table, item) is None
        assert not JUDGE.is_left(table, item)


@given(TABLES_AND_ROWS)
def test_rows_are_as_their_readers_want_them(table_and_row: tuple[str, rows.Item]) -> None:
    """Whatever becomes of a row that stays, it is one of its kind still."""
    table, item = table_and_row
    found = JUDGE.found(table, item)
    after = item if found is None else apply(found, item)
    if after is None:
        return
    sk = str(after["sk"]["S"])
    if "body" in after:
        entry = rows.read_entry(after)
        assert all(it["count"] >= len(it["users"]) for it in entry.body.get("reactions", ()))
        assert (entry.seq, entry.at, entry.nth, entry.type) == (int(sk), NOW - 9, 2, rows.read_entry(item).type)
    if "rings" in after:
        once = rows.read_once(after)
        assert (once.digest, once.expires_at) == ("3f", NOW)
    if sk == "meta":
        assert rows.read_room(after) is not None
    if "changed" in after:
        assert after["changed"]["SS"]


def message(sender: str = BOB, **body: Any) -> Entry:
    start = {"messageId": "m", "senderId": sender, "senderName": "Bob", "message": "my secret", "clientId": "own-words"}
    return Entry(7, "chat", NOW - 9, sender, start | body, origin="c=", beside={"edit": 9}, nth=3, ends_at=FOREVER)


def after(entry: Entry) -> Entry:
    item = rows.entry_row("tea", 5, entry)
    found = JUDGE.found("messages", item)
    assert found is not None
    left = apply(found, item)
    assert left is not None
    return rows.read_entry(left)


def test_a_message_becomes_a_tombstone() -> None:
    """Of the same place and thread, without a word of it."""
    found = after(message(thread=2, replies={"count": 1, "lastSeq": 8}, mentions=["ada"], editedAt=3))
    assert found == Entry(
        7,
        "chat",
        NOW - 9,
        STAND_IN,
        {
            "messageId": "m",
            "senderId": STAND_IN,
            "senderName": STAND_IN_NAME,
            "thread": 2,
            "replies": {"count": 1, "lastSeq": 8},
            "message": "",
            "deletedAt": NOW,
            "deletedBy": STAND_IN,
        },
        nth=3,
    )


def test_a_message_that_was_deleted_keeps_its_time() -> None:
    """Only who it was, is forgotten."""
    found = after(message(message="", deletedAt=4, deletedBy="eve"))
    assert (found.body["deletedAt"], found.body["deletedBy"]) == (4, "eve")
    assert found.body["senderName"] == STAND_IN_NAME


def test_a_reaction_is_taken_off_anothers_message() -> None:
    """With its row; nobody else's."""
    reactions = [
        {"emoji": "+1", "count": 3, "users": ["ada", BOB]},
        {"emoji": "tea", "count": 1, "users": [BOB]},
        {"emoji": "ok", "count": 1, "users": ["bobby"]},
    ]
    entry = message("ada", reactions=reactions)
    found = JUDGE.found("messages", rows.entry_row("tea", 5, entry))
    assert found is not None
    assert found.kind is Kind.ENTRY
    assert found.also == (rows.reaction_key("tea", 5, 7, BOB, "+1"), rows.reaction_key("tea", 5, 7, BOB, "tea"))
    assert after(entry) == replace(
        entry,
        body=entry.body
        | {
            "reactions": [
                {"emoji": "+1", "count": 2, "users": ["ada"]},
                {"emoji": "ok", "count": 1, "users": ["bobby"]},
            ]
        },
    )


def test_who_is_not_named_is_counted_down() -> None:
    """The eleventh to react has a row alone."""
    body = {"reactions": [{"emoji": "+1", "count": 11, "users": ["ada"]}]}
    taken = JUDGE.forgetting.takes_back(body, "+1")
    assert taken == {"reactions": [{"emoji": "+1", "count": 10, "users": ["ada"]}]}
    assert JUDGE.forgetting.takes_back(body, "tea") == body
    assert JUDGE.forgetting.takes_back({}, "+1") == {}


def test_a_private_message_to_the_user_stays_its_senders() -> None:
    """Without a way to the copy that is gone: whoever deletes it must not look for that."""
    entry = replace(message("ada", targetUserId=BOB), type="private_message", beside={"edit": 9, "twin": 4})
    found = after(entry)
    assert (found.body["message"], found.body["targetUserId"]) == ("my secret", STAND_IN)
    assert found.beside == {"edit": 9}


@pytest.mark.parametrize(("until", "keep", "left"), [(NOW + 1, NOW, True), (NOW, NOW, False), (NOW + 1, None, False)])
def test_a_ban_may_stay(until: int, keep: int | None, left: bool) -> None:
    """One in force, if the operator wants it; and nothing else of the standing."""
    judge = ForgottenRows(Forgetting(BOB, NOW), keep_bans=keep)
    item = rows.user_key("tea", BOB) | rows.values(rows.standing_row(Standing("guest", banned_until=until)))
    found = judge.found("rooms", item)
    assert found is not None
    kept = apply(found, item)
    assert (kept is not None) == left
    if kept is not None:
        assert rows.read_standing(kept) == Standing(banned_until=until)
        assert judge.found("rooms", kept) is None
        assert judge.is_kept("rooms", kept)
        assert not judge.is_left("rooms", kept)


def test_what_was_not_foreseen_is_told() -> None:
    """A row of another kind: known fields lose the name, the others are reported, not guessed."""
    url = "https://example.org/bob"
    hook = rows.values({"pk": "tea", "sk": "hook#1", "createdBy": BOB, "direction": BOB, "url": url, "name": BOB})
    found = JUDGE.found("rooms", hook)
    assert found is not None
    assert found.kind is Kind.OTHER
    assert (found.read, found.becomes) == ({"createdBy": {"S": BOB}}, {"createdBy": {"S": STAND_IN}})
    assert JUDGE.is_left("rooms", rows.values({"pk": "tea", "sk": "hook#1", "invented": BOB}))
    assert JUDGE.is_left("rooms", rows.values({"pk": "tea", "sk": f"badge#{BOB}"}))
    assert JUDGE.is_left("rooms", {**rows.values({"pk": "tea", "sk": "x"}), "m": {"M": {"l": {"L": [{"S": BOB}]}}}})


def test_its_own_records_are_no_finding() -> None:
    """They name a position while a run goes on."""
    item = rows.values({"pk": RECORDS + user_hash(BOB), "sk": "pass#1#rooms-0", "position": f'["tea","user#{BOB}"]'})
    assert JUDGE.found("rooms", item) is None
    assert not JUDGE.is_left("rooms", item)


def test_the_mark_is_read() -> None:
    """A mark's row goes whole."""
    item = rows.mark_key("tea", BOB) | rows.values({"epoch": 5, "seq": 1, "nth": 1})
    assert rows.read_mark(item) == Mark(5, 1, 1)
    found = JUDGE.found("rooms", item)
    assert found is not None
    assert (found.kind, found.becomes) == (Kind.MARK, None)
