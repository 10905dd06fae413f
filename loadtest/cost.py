"""What AWS bills: counted usage times list prices of us-east-1; free tiers, discounts, logs and metrics aside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from loadtest.status import Status

__all__ = ["API_GB", "MEMBER_BYTES", "PRICES", "WORKER_GB", "Cost", "Usage", "estimate"]

PRICES: Mapping[str, float] = {
    # https://aws.amazon.com/api-gateway/pricing/ (WebSocket APIs)
    "websocket message": 1.00e-6,
    "websocket connection minute": 0.25e-6,
    # https://aws.amazon.com/lambda/pricing/ (arm64)
    "lambda request": 0.20e-6,
    "lambda GB-second": 13.3334e-6,
    # https://aws.amazon.com/sqs/pricing/
    "sqs request": 0.50e-6,
    "sqs standard request": 0.40e-6,
    # https://aws.amazon.com/dynamodb/pricing/on-demand/ (since November 2024)
    "dynamodb write unit": 0.625e-6,
    "dynamodb read unit": 0.125e-6,
}
"""US dollars for one. `sqs request` is a FIFO queue's."""

API_GB = 512 / 1024
WORKER_GB = 1_769 / 1024
"""Memory of the functions as they are deployed by default: of the lanes' workers, and of all others."""
MEMBER_BYTES = 200
"""One member's row, its user a UUID."""


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


@dataclass(frozen=True, slots=True)
class Usage:
    """Things that AWS bills, in its own units."""

    inbound: float = 0
    """Messages from clients; of more than 32 KB, one for each 32 KB begun."""
    replies: float = 0
    """Answers to them."""
    posts: float = 0
    """Frames posted to clients."""
    minutes: float = 0
    """For which connections were open."""
    invocations: float = 0
    gb_seconds: float = 0
    fifo: float = 0
    """Requests to FIFO queues."""
    standard: float = 0
    """Requests to standard queues."""
    reads: float = 0
    """DynamoDB's read units."""
    writes: float = 0
    """DynamoDB's write units."""

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, it.name) + getattr(other, it.name) for it in fields(Usage)))

    def __mul__(self, times: float) -> Usage:
        return Usage(*(getattr(self, it.name) * times for it in fields(Usage)))

    def __rmul__(self, times: float) -> Usage:
        return self * times

    @property
    def queue_calls(self) -> float:
        return self.fifo + self.standard

    def cost(self) -> Cost:
        """At list prices."""
        return Cost(
            api_gateway=(self.inbound + self.replies + self.posts) * PRICES["websocket message"]
            + self.minutes * PRICES["websocket connection minute"],
            lambda_=self.invocations * PRICES["lambda request"] + self.gb_seconds * PRICES["lambda GB-second"],
            sqs=self.fifo * PRICES["sqs request"] + self.standard * PRICES["sqs standard request"],
            dynamodb=self.reads * PRICES["dynamodb read unit"] + self.writes * PRICES["dynamodb write unit"],
        )


def estimate(before: Status, after: Status, connection_minutes: float) -> Cost:
    """The cost of what a twin did between two readings."""

    def grown(part: str, name: str) -> int:
        return after.count(part, name) - before.count(part, name)

    calls = {name: count - before.calls.get(name, 0) for name, count in after.calls.items()}
    # What the functions call, and what Lambda's pollers do for them; polling an empty queue is left out. All at the
    # price of a FIFO queue, the higher one.
    requests = sum(count for name, count in calls.items() if name.startswith("sqs."))
    requests += grown("sqs", "receives") - grown("sqs", "empty_receives") + grown("sqs", "deletes")
    return Usage(
        inbound=grown("gateway", "messages_in"),
        posts=grown("gateway", "messages_out"),  # with the replies
        minutes=connection_minutes,
        invocations=after.invocations - before.invocations,
        gb_seconds=_gb_seconds(after) - _gb_seconds(before),
        fifo=requests,
        reads=grown("units", "read"),
        writes=grown("units", "write"),
    ).cost()


def _gb_seconds(status: Status) -> float:
    """A lane's function is a worker."""
    lanes = status.raw.get("queues", {})
    return sum(
        float(it["billed_ms"]) / 1000 * (WORKER_GB if name in lanes else API_GB)
        for name, it in status.raw.get("functions", {}).items()
    )
