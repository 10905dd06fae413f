"""Changes of the messages table, as its stream tells them to Lambda."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from adapters.dynamodb.rows import ROW_VERSION, read_entry
from domain.archive import Change, entry_line, object_name, place_of
from domain.errors import UnreadableObject

__all__ = ["ENTRY_CHANGES", "is_entry_change", "read_change", "record_text"]

ENTRY_CHANGES: Mapping[str, Any] = {"dynamodb": {"NewImage": {"sk": {"S": [{"prefix": "0"}]}}}}
"""The filter that an event source mapping is given: an entry was put, or has changed. Its seq has 16 digits, so that it
begins with 0 for the first 10^15 of a room. So reactions, threads, what is deleted, and once-rows but for the few whose
id begins likewise never invoke the function."""


def is_entry_change(record: Mapping[str, Any]) -> bool:
    """Whether a record that may have passed the filter is an entry's."""
    try:
        row = record["dynamodb"]["NewImage"]
        return bool(row["sk"]["S"].startswith("0") and not row["pk"]["S"].startswith("#"))
    except KeyError:
        return False


def read_change(record: Mapping[str, Any]) -> Change:
    """What a record of an entry's row says. Raises `UnreadableObject`, also for a row that a later release reads."""
    try:
        change = record["dynamodb"]
        room, _, epoch = change["Keys"]["pk"]["S"].rpartition("#")
        row, rev = change["NewImage"], change["SequenceNumber"]
        if (version := int(row.get("v", {"N": "1"})["N"])) > ROW_VERSION:
            raise UnreadableObject(f"the row is of version {version}: a later release reads it")
        found = Change(room, int(epoch), read_entry(row), rev)
        # What would only be found out in the midst of a batch.
        object_name(place_of(found))
        entry_line(found)
        return found
    except (ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError) as error:
        # Its words could be somebody's.
        raise UnreadableObject(f"no change of an entry: {type(error).__name__}") from error


def record_text(record: Mapping[str, Any]) -> bytes:
    """A record whole, for whoever mends it."""
    return json.dumps(record, ensure_ascii=False, default=str).encode()
