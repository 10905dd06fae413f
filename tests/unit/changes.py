"""Records of the messages table's stream, as Lambda hands them to a function."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from adapters.dynamodb import rows
from domain.rooms import Entry

__all__ = ["entry_record", "record"]

_revs = itertools.count(1)


def record(item: Mapping[str, Any] | None, keys: Mapping[str, Any], event: str = "INSERT") -> dict[str, Any]:
    """A change of the row with these keys; `item`: how it is now, None where it is deleted."""
    change = {
        "ApproximateCreationDateTime": 1_796_000_000.0,
        "Keys": dict(keys),
        "SequenceNumber": f"{next(_revs):030d}",
        "SizeBytes": 100,
        "StreamViewType": "NEW_IMAGE",
        **({} if item is None else {"NewImage": dict(item)}),
    }
    return {
        "eventID": "1",
        "eventName": event,
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "us-east-1",
        "dynamodb": change,
        "eventSourceARN": "arn:aws:dynamodb:us-east-1:000000000000:table/roomcast-messages/stream/1",
    }


def entry_record(room: str, epoch: int, entry: Entry, event: str = "INSERT", **attributes: Any) -> dict[str, Any]:
    """A change after which the entry's row says this; `attributes` are put beside it as DynamoDB has them."""
    key = rows.entry_key(room, epoch, entry.seq)
    return record({**rows.entry_row(room, epoch, entry), **attributes}, key, event)
