"""Queries of large partitions on the emulator, in the time of their answer instead of that of the partition.

The emulator looks at every row of a partition for each query: ten microseconds each, so that a room's thousandth
message costs ten milliseconds to read, and its hundred thousandth a second. Here the sort keys of a partition are kept
in order beside it, and the emulator's own code is handed the rows of the range alone.

Imported by `cloud_launcher.py` with the emulator's own interpreter, so it imports nothing of roomcast.
"""

from __future__ import annotations

import re
import types
from bisect import bisect_left, bisect_right
from typing import Any

__all__ = ["Ranges", "speed_up"]

SMALL = 100
"""Rows up to which the emulator may look at each."""
_CONDITION = re.compile(r"pk = (:\w+)(?: AND sk (?:BETWEEN (:\w+) AND (:\w+)|(>) (:\w+)))?")
"""The conditions that roomcast asks by; all others are left to the emulator."""
_LAST = chr(0x10FFFF)


class Ranges:
    """The sort keys of large partitions, in order: kept up with what is appended, built anew after other changes."""

    def __init__(self) -> None:
        self._keys: dict[tuple[str, str], tuple[list[str], str]] = {}
        """(table, partition) → its sort keys, and the one that had been put last."""

    def narrow(self, table: str, items: dict[str, dict[str, Any]], query: dict[str, Any]) -> dict[str, Any] | None:
        """What of the table a query can be answered from: {partition: {sort key: row}}; None: from all of it."""
        found = _CONDITION.fullmatch(query.get("KeyConditionExpression", ""))
        if found is None or "IndexName" in query:
            return None
        values = {name: next(iter(it.values())) for name, it in query.get("ExpressionAttributeValues", {}).items()}
        try:
            pk = values[found[1]]
            low, high = values.get(found[2], ""), values.get(found[3], _LAST)
            above = values.get(found[5])
        except KeyError:
            return None
        bucket = items.get(pk)
        if bucket is None or len(bucket) <= SMALL:
            return None
        forward, limit = query.get("ScanIndexForward", True), query.get("Limit")
        after = query["ExclusiveStartKey"]["sk"]["S"] if "ExclusiveStartKey" in query else None
        for fresh in (False, True):
            keys = self._sorted(table, pk, bucket, fresh=fresh)
            first = bisect_left(keys, low) if above is None else bisect_right(keys, above)
            last = bisect_right(keys, high)
            if after is not None and forward:
                first = max(first, bisect_left(keys, after))
            elif after is not None:
                last = min(last, bisect_right(keys, after))
            if limit is not None:
                # The row that the page begins behind, those of the page, and one more, as the emulator may look for.
                wanted = int(limit) + 2
                first, last = (first, min(last, first + wanted)) if forward else (max(first, last - wanted), last)
            part = keys[first:last]
            if all(it in bucket for it in part):
                return {pk: {it: bucket[it] for it in part}}
        return None

    def _sorted(self, table: str, pk: str, bucket: dict[str, Any], *, fresh: bool) -> list[str]:
        keys, newest = self._keys.get((table, pk), ([], ""))
        added: list[str] = []
        if not fresh and keys:
            for it in reversed(bucket):
                if it == newest:
                    break
                added.append(it)
            added.reverse()
        ordered = all(one < two for one, two in zip([*keys[-1:], *added], added, strict=False))
        if fresh or not keys or not ordered or len(keys) + len(added) != len(bucket):
            keys = sorted(bucket)
        else:
            keys += added
        self._keys[table, pk] = keys, next(reversed(bucket))
        return keys


def speed_up(dynamodb: Any) -> None:
    """Have the emulator's module `dynamodb` answer queries so."""
    ranges, original = Ranges(), dynamodb._query  # pinned by hash, and compared with the plain answer in a test
    scope = dict(vars(dynamodb))
    narrowed = types.FunctionType(original.__code__, scope, original.__name__, original.__defaults__)

    def query(data: dict[str, Any]) -> Any:
        name = data.get("TableName", "")
        table = dynamodb._tables.get(name)
        part = ranges.narrow(name, table["items"], data) if table else None
        if part is None:
            return original(data)
        scope["_tables"] = {name: {**table, "items": part}}
        return narrowed(data)

    dynamodb._query = query
