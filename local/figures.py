"""What parts of the twin have done, as `GET /twin` tells it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from local.cloud import Depth
from local.event_source import SourceTally
from local.functions import Function

__all__ = ["function_figures", "sqs_figures"]


def function_figures(function: Function) -> dict[str, Any]:
    """Its environments, and its tally."""
    tally = function.tally
    return {
        "pids": list(function.pids),
        "busy": [pid for pid, busy in function.pids.items() if busy],
        "invocations": tally.invocations,
        "errors": tally.errors,
        "timeouts": tally.timeouts,
        "crashes": tally.crashes,
        "billed_ms": tally.billed_ms,
    }


def sqs_figures(depths: Collection[Depth], tallies: Collection[SourceTally]) -> dict[str, int]:
    """All lanes together."""
    # SQS counts no sends: what was sent was deleted or is still there.
    left = sum(it.visible + it.in_flight + it.delayed + it.dead for it in depths)
    return {
        "sent": left + sum(it.deleted for it in tallies),
        "received": sum(it.messages for it in tallies),
        "deleted": sum(it.deleted for it in tallies),
        "dead": sum(it.dead for it in depths),
        "receives": sum(it.receives for it in tallies),
        "empty_receives": sum(it.empty_receives for it in tallies),
        "deletes": sum(it.deletes for it in tallies),
        "batches": sum(it.batches for it in tallies),
        "failed_batches": sum(it.failed_batches for it in tallies),
    }
