"""What incoming hooks are posted: `POST /hooks/{hook}` of an HTTP API, by its events (payload format 2.0)."""

from __future__ import annotations

import base64
import json
from typing import Any

from adapters.observability import emit, emit_refusal, logger, metrics, tracer
from adapters.runtime import Runtime, runtime
from domain.ports import Ports
from services.deliveries import Answer, answer
from services.review import reviewing_services

__all__ = ["handler", "take"]


@logger.inject_lambda_context(correlation_id_path="requestContext.requestId")
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Take the delivery that the event is."""
    environment = runtime()
    answered = environment.run(_respond(environment, event, context.aws_request_id))
    emit("Requests", 1)
    if answered.refused is not None:
        emit_refusal("RequestsRefused", answered.refused)
    headers = {"Content-Type": "application/json"}
    if answered.retry_after is not None:
        headers["Retry-After"] = str(answered.retry_after)
    return {"statusCode": answered.status, "headers": headers, "body": json.dumps(answered.body)}


async def _respond(environment: Runtime, event: dict[str, Any], request_id: str) -> Answer:
    ports = reviewing_services(await environment.ports(), environment.settings)
    return await take(ports, event, request_id)


async def take(ports: Ports, event: dict[str, Any], request_id: str) -> Answer:
    """Answer the delivery that an event of the HTTP API is. `request_id` is unique for each call."""
    headers = {name.lower(): value for name, value in event["headers"].items()}
    return await answer(ports, event["pathParameters"]["hook"], headers, _body(event), request_id)


def _body(event: dict[str, Any]) -> bytes:
    """The bytes that were sent: they are what is signed."""
    body = event.get("body") or ""
    return base64.b64decode(body) if event.get("isBase64Encoded") else body.encode("utf-8", "surrogatepass")
