"""The cost of a run, from what a twin counted."""

from __future__ import annotations

from typing import Any

import pytest

from infra.settings import STAGES
from loadtest.cost import API_GB, WORKER_GB, Usage, estimate
from loadtest.status import Status


def status(times: int) -> Status:
    """A twin that has done this so often."""
    raw: dict[str, Any] = {
        "gateway": {"messages_in": 10, "messages_out": 90},
        "sqs": {"receives": 50, "empty_receives": 30, "deletes": 20},
        "calls": {"sqs.SendMessage": 10, "dynamodb.Query": 1_000},
        "units": {"read": 400, "write": 80},
        "queues": {"bulk": {}},
        "functions": {
            "message": {"invocations": 3, "billed_ms": 2_000},
            "bulk": {"invocations": 2, "billed_ms": 1_000},
        },
    }
    for part in raw.values():
        for name, value in part.items():
            if isinstance(value, dict):
                part[name] = {it: number * times for it, number in value.items()}
            else:
                part[name] = value * times
    return Status(raw)


def test_a_run_costs_what_was_counted_between_two_readings() -> None:
    """Messages and connection minutes, invocations and memory, requests that found something, units."""
    cost = estimate(status(1), status(3), connection_minutes=1_000)
    assert cost.api_gateway == pytest.approx(200e-6 + 1_000 * 0.25e-6)
    assert cost.lambda_ == pytest.approx(10 * 0.2e-6 + (4 * API_GB + 2 * WORKER_GB) * 13.3334e-6)
    assert cost.sqs == pytest.approx(2 * (10 + 20 + 20) * 0.5e-6)
    assert cost.dynamodb == pytest.approx(800 * 0.125e-6 + 160 * 0.625e-6)
    assert cost.total == pytest.approx(cost.api_gateway + cost.lambda_ + cost.sqs + cost.dynamodb)


def test_usage_adds_up() -> None:
    """A sum is by kind, and so is a multiple; a standard queue's requests cost less."""
    usage = Usage(posts=1, fifo=2) + 3 * Usage(posts=2, standard=1)
    assert usage == Usage(posts=7, fifo=2, standard=3)
    assert usage.queue_calls == 5
    assert usage.cost().sqs == pytest.approx(2 * 0.5e-6 + 3 * 0.4e-6)


def test_memory_is_what_is_deployed() -> None:
    """The price of a second is of the memory that the stages give by default."""
    stage = STAGES["dev"]
    assert (stage.api_memory, stage.worker_memory) == (API_GB * 1024, WORKER_GB * 1024)
