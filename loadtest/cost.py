"""What a run would have cost on AWS: counted calls times list prices of us-east-1, free tiers and discounts aside.

What the twin does not measure is assumed, and the assumption stands beside the figure it makes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from loadtest.status import Status

__all__ = ["PRICES", "Cost", "Units", "estimate"]

PRICES: Mapping[str, float] = {
    # https://aws.amazon.com/api-gateway/pricing/ (WebSocket APIs)
    "websocket message": 1.00e-6,
    "websocket connection minute": 0.25e-6,
    # https://aws.amazon.com/lambda/pricing/ (arm64)
    "lambda request": 0.20e-6,
    "lambda GB-second": 13.3334e-6,
    # https://aws.amazon.com/sqs/pricing/ (FIFO; a standard queue's is 0.40e-6)
    "sqs request": 0.50e-6,
    # https://aws.amazon.com/dynamodb/pricing/on-demand/ (since November 2024)
    "dynamodb write unit": 0.625e-6,
    "dynamodb read unit": 0.125e-6,
}
"""US dollars for one."""

LAMBDA_GB = 0.5
"""Memory of every function."""
MEMBER_BYTES = 200
"""One member's row, as a worker's query reads it."""


@dataclass(frozen=True, slots=True)
class Units:
    """What one call is billed as."""

    reads: float = 0
    writes: float = 0
    why: str = ""


_PLAIN_READ = Units(reads=1, why="a row of ≤ 4 KB, read strongly")
UNITS: Mapping[str, Units] = {
    "TransactWriteItems": Units(
        writes=10, why="five rows of ≤ 1 KB (a send, a join), twice the units of a plain write"
    ),
    "TransactGetItems": Units(reads=8, why="four rows of ≤ 4 KB, twice the units of a plain read"),
    "BatchGetItem": Units(reads=4, why="four rows of ≤ 4 KB, read strongly"),
    "GetItem": _PLAIN_READ,
    "PutItem": Units(writes=1, why="a row of ≤ 1 KB"),
    "UpdateItem": Units(writes=1, why="a row of ≤ 1 KB"),
    "DeleteItem": Units(writes=1, why="a row of ≤ 1 KB"),
    "BatchWriteItem": Units(writes=10, why="ten rows of ≤ 1 KB"),
}
"""By DynamoDB's operations. A query is `_query_units`."""


@dataclass(frozen=True, slots=True)
class Cost:
    """US dollars."""

    api_gateway: float
    lambda_: float
    sqs: float
    dynamodb: float

    @property
    def total(self) -> float:
        return self.api_gateway + self.lambda_ + self.sqs + self.dynamodb


def estimate(before: Status, after: Status, connection_minutes: float, members: float) -> Cost:
    """The cost of what happened between two readings, in rooms of so many members."""

    def grown(part: str, name: str) -> int:
        return after.count(part, name) - before.count(part, name)

    calls = {name: count - before.calls.get(name, 0) for name, count in after.calls.items()}
    # A message is billed in steps of 32 KB, and so counted, both ways.
    messages = grown("gateway", "messages_in") + grown("gateway", "messages_out")
    # What the functions call, and what Lambda's pollers do for them; polling an empty queue is left out.
    requests = sum(count for name, count in calls.items() if name.startswith("sqs."))
    requests += grown("sqs", "receives") - grown("sqs", "empty_receives") + grown("sqs", "deletes")
    seconds = (after.billed_ms - before.billed_ms) / 1000
    reads = writes = 0.0
    for name, count in calls.items():
        service, _, operation = name.partition(".")
        if service == "dynamodb":
            units = _query_units(members) if operation == "Query" else UNITS.get(operation, _PLAIN_READ)
            reads += count * units.reads
            writes += count * units.writes
    return Cost(
        api_gateway=messages * PRICES["websocket message"] + connection_minutes * PRICES["websocket connection minute"],
        lambda_=(after.invocations - before.invocations) * PRICES["lambda request"]
        + seconds * LAMBDA_GB * PRICES["lambda GB-second"],
        sqs=requests * PRICES["sqs request"],
        dynamodb=reads * PRICES["dynamodb read unit"] + writes * PRICES["dynamodb write unit"],
    )


def _query_units(members: float) -> Units:
    """A broadcast makes two: one page of the log (1 unit), and the room's members."""
    pages = max(1.0, members * MEMBER_BYTES / 4096)
    return Units(reads=(1 + pages) / 2, why="half read a page of the log, half the members of a room")
