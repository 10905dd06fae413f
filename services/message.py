"""Every other route: a client's request. The reply is the route's return value, so it costs no post."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.metrics import MetricUnit

from adapters.observability import logger, metrics, tracer
from adapters.runtime import Runtime, runtime
from services.caller import read_caller
from services.requests import answer

__all__ = ["handler"]


@logger.inject_lambda_context(correlation_id_path="requestContext.requestId")
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics
def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Answer the request in the event's body."""
    environment = runtime()
    reply = environment.run(_respond(environment, event))
    metrics.add_metric("Requests", MetricUnit.Count, 1)
    return {"statusCode": 200, "body": reply.decode()}


async def _respond(environment: Runtime, event: dict[str, Any]) -> bytes:
    ports = await environment.ports()
    return await answer(ports, read_caller(event), event.get("body") or "")
