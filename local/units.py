"""DynamoDB's read and write units, as AWS bills them, counted from requests and answers.

The emulator's own count knows no sizes where rows are read, and none of what fails. What can't be seen is taken as the
smallest: a row that a write replaces, deletes, checks, or updates within a transaction, as ≤ 1 KB; of ours, all are.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html. A ConditionCheck is billed
as a write, which only measurements say: https://martinhicks.dev/articles/what-a-conditional-dynamodb-transaction-costs
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

__all__ = ["UNPROJECTED", "item_size", "sum_units", "take_units", "units_of", "watch"]

READS = frozenset({"GetItem", "BatchGetItem", "Query"})
"""The operations that are billed in read units; all others that we call are in write units."""
READ_BYTES = 4096
WRITE_BYTES = 1024
"""Bytes of one unit."""
UNPROJECTED = 18
"""Bytes of a row that a projection leaves out, beside the partition key: `v` and `expiresAt`. They are billed, too."""
INDEX_KEY = "parent"
"""A row that has it stands in the index `directory` as well: a write more, at the plain price."""

_BILLED_FAILURES = {"ConditionalCheckFailedException", "TransactionCanceledException"}
_REQUEST = "roomcast-request"
_taken: defaultdict[str, float] = defaultdict(float)


def watch(client: Any) -> None:
    """Count what a client of DynamoDB is billed for from now on; any other client is left alone."""
    events = client.meta.events
    if client.meta.service_model.service_name == "dynamodb":
        events.register("before-parameter-build.dynamodb", _remember, unique_id="roomcast-units-request")
        events.register("after-call.dynamodb", _count, unique_id="roomcast-units-answer")


def take_units() -> dict[str, float]:
    """What this process was billed since the last call: operation → units."""
    taken = dict(_taken)
    _taken.clear()
    return taken


def sum_units(taken: Iterable[Mapping[str, float]]) -> dict[str, Any]:
    """What several processes were billed: {"read", "write"}, and the same by operation."""
    by_operation: defaultdict[str, float] = defaultdict(float)
    for it in taken:
        for operation, units in it.items():
            by_operation[operation] += units
    read = sum(units for operation, units in by_operation.items() if operation in READS)
    return {"read": read, "write": sum(by_operation.values()) - read, "by_operation": dict(by_operation)}


def _remember(params: dict[str, Any], context: dict[str, Any], **_: object) -> None:
    context[_REQUEST] = params


def _count(model: Any, parsed: dict[str, Any], context: dict[str, Any], **_: object) -> None:
    _taken[model.name] += units_of(model.name, context.get(_REQUEST, {}), parsed)


# ------------------------------------------------------------------------------------------------ the bill


def units_of(operation: str, request: Mapping[str, Any], answer: Mapping[str, Any]) -> float:
    """What one call is billed. An answer with an `Error` is a failure: billed where it is a condition's."""
    if "Error" in answer and (operation in READS or answer["Error"].get("Code") not in _BILLED_FAILURES):
        return 0
    return _BILLS[operation](request, answer) if operation in _BILLS else 0


def item_size(item: Mapping[str, Any]) -> int:
    """Bytes of a row: names and values; a number is a byte for two digits, and one more."""
    size = 0
    for name, value in item.items():
        size += len(name)
        for kind, it in value.items():
            if kind == "S":
                size += len(it) if it.isascii() else len(it.encode())
            elif kind == "N":
                size += (len(it) + 1) // 2 + 1
            else:
                size += 1
    return size


def _read(sizes: Iterable[int], request: Mapping[str, Any]) -> float:
    units = sum(max(1, -(-it // READ_BYTES)) for it in sizes)
    return units if request.get("ConsistentRead") else units / 2


def _write(item: Mapping[str, Any], times: int = 1) -> int:
    units = max(1, -(-item_size(item) // WRITE_BYTES))
    return units * times + (units if INDEX_KEY in item else 0)


def _batch(request: Mapping[str, Any], answer: Mapping[str, Any]) -> float:
    units = 0.0
    for table, keys in request["RequestItems"].items():
        sizes = [item_size(it) for it in answer["Responses"].get(table, ())]
        sizes += [0] * (len(keys["Keys"]) - len(sizes))  # a missing row is billed as the smallest
        units += _read(sizes, keys)
    return units


def _query(request: Mapping[str, Any], answer: Mapping[str, Any]) -> float:
    """A page is billed by the sum of its rows, whole as they are stored."""
    left_out = 0
    if "ProjectionExpression" in request:
        partition = request["ExpressionAttributeValues"][request["KeyConditionExpression"].split()[2]]
        left_out = item_size({"pk": partition}) + UNPROJECTED
    return _read([sum(item_size(it) + left_out for it in answer["Items"])], request)


_BILLS: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Any]], float]] = {
    "GetItem": lambda request, answer: _read([item_size(answer.get("Item", {}))], request),
    "BatchGetItem": _batch,
    "Query": _query,
    "PutItem": lambda request, answer: _write(request["Item"]),
    "UpdateItem": lambda request, answer: _write(answer.get("Attributes", {})),
    "DeleteItem": lambda request, answer: 1,
    "TransactWriteItems": lambda request, answer: sum(
        _write(it.get("Put", {}).get("Item", {}), times=2) for it in request["TransactItems"]
    ),
}
"""Operation → (request, answer) → units."""
