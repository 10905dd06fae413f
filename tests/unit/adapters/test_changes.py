"""Changes of the messages table: which are entries', and what they say."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from adapters.dynamodb import rows
from adapters.dynamodb.changes import ENTRY_CHANGES, is_entry_change, read_change, record_text
from domain.archive import Change
from domain.errors import UnreadableObject
from domain.rooms import Entry, Once, Reaction
from tests.unit.changes import entry_record, record

ENTRY = Entry(
    7, "chat", 1_796_000_000_123, "ada", {"message": "Löwe", "messageId": "m"}, nth=6, ends_at=1_798_592_001_000
)
EPOCH = 5


def passes_filter(change: Any, pattern: Any = None) -> bool:
    """Whether Lambda lets a record through, by the one kind of pattern that there is."""
    pattern = ENTRY_CHANGES if pattern is None else pattern
    if isinstance(pattern, list):
        return isinstance(change, str) and any(change.startswith(it["prefix"]) for it in pattern)
    return all(name in change and passes_filter(change[name], it) for name, it in pattern.items())


@pytest.mark.parametrize("room", ["lobby", "inbox#ada", "audit#lobby"])
@pytest.mark.parametrize("event", ["INSERT", "MODIFY"])
def test_an_entry(room: str, event: str) -> None:
    """Of any kind of room, new or changed."""
    change = entry_record(room, EPOCH, ENTRY, event)
    assert passes_filter(change)
    assert is_entry_change(change)
    assert read_change(change) == Change(room, EPOCH, ENTRY, change["dynamodb"]["SequenceNumber"])


def others() -> list[dict[str, Any]]:
    once = Once("3f", "{}", [], 1_796_000_000_000)
    made = [
        rows.reaction_row("lobby", EPOCH, Reaction(7, 1_796_000_000_000, "ada", "+1")),
        rows.thread_row("lobby", EPOCH, 7, replace(ENTRY, seq=8)),
        rows.once_row("ada", "client-0001", once),
    ]
    deleted = rows.entry_key("lobby", EPOCH, 7)
    return [*(record(it, {name: it[name] for name in ("pk", "sk")}) for it in made), record(None, deleted, "REMOVE")]


@pytest.mark.parametrize("change", others(), ids=["reaction", "thread", "once", "deleted"])
def test_what_is_no_entry(change: dict[str, Any]) -> None:
    """Never reaches the function, and would be left alone by it."""
    assert not passes_filter(change)
    assert not is_entry_change(change)


def test_a_once_row_that_looks_like_an_entry() -> None:
    """Its client chose an id that begins like a seq: it passes the filter, and is told by its other key."""
    row = rows.once_row("ada", "0000000000000007", Once("3f", "{}", [], 1_796_000_000_000))
    change = record(row, {name: row[name] for name in ("pk", "sk")})
    assert passes_filter(change)
    assert not is_entry_change(change)


def _without(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda change: change["dynamodb"]["NewImage"].pop(name)


@pytest.mark.parametrize(
    "spoil",
    [
        _without("type"),
        _without("body"),
        lambda change: change["dynamodb"]["NewImage"].update(body={"S": "{"}),
        lambda change: change["dynamodb"]["NewImage"].update(at={"S": "noon"}),
        lambda change: change["dynamodb"]["NewImage"].update(at={"N": "1e300"}),
        lambda change: change["dynamodb"]["NewImage"].update(at={"N": str(2**60)}),
        lambda change: change["dynamodb"]["Keys"].update(pk={"S": "lobby"}),
        lambda change: change["dynamodb"]["NewImage"].update(sk={"S": "0x"}),
        lambda change: change["dynamodb"].update(SequenceNumber="later"),
        lambda change: change["dynamodb"]["NewImage"].update(v={"N": "2"}),
    ],
)
def test_what_can_not_be_read(spoil: Callable[[dict[str, Any]], object]) -> None:
    """Is said to be so, whole in its text, and none of its words in the reason."""
    change = entry_record("lobby", EPOCH, ENTRY)
    spoil(change)
    with pytest.raises(UnreadableObject) as raised:
        read_change(change)
    assert json.loads(record_text(change)) == change
    assert "Löwe" not in str(raised.value)
    assert "noon" not in str(raised.value)


def test_what_a_later_release_adds() -> None:
    """An attribute is not looked at."""
    assert read_change(entry_record("lobby", EPOCH, ENTRY, mood={"S": "blue"})).entry == ENTRY
