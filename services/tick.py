"""Once a minute: end the connections whose lease has ended."""

from __future__ import annotations

from typing import Any

from adapters.observability import emit, logger, metrics, tracer
from adapters.runtime import Runtime, runtime
from services.leases import sweep

__all__ = ["handler"]

CLOSES_AT_ONCE = 8


@logger.inject_lambda_context
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics
def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Sweep the minutes that have passed; the scheduled event says nothing that the clock does not."""
    environment = runtime()
    ended = environment.run(_respond(environment))
    emit("LeasesEnded", ended)
    return {"ended": ended}


async def _respond(environment: Runtime) -> int:
    return await sweep(await environment.ports(), await environment.connections(CLOSES_AT_ONCE))
