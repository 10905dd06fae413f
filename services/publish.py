"""What servers ask of the service: say something in a room or to a user, list a room's members, close a user's sockets.

Called directly (`lambda invoke`, or any AWS client), or by a function URL that IAM guards; who may call is let do all
three. `{"action": …}` → the result, or `{"error": {"code", "message", "retryAfter"}}`.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from adapters.observability import emit, emit_refusal, logger, metrics, tracer
from adapters.runtime import Runtime, runtime
from services.backend import answer
from services.review import reviewing_services

__all__ = ["handler"]

CLOSES_AT_ONCE = 8


@logger.inject_lambda_context
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics
def handler(event: Any, context: Any) -> dict[str, Any]:
    """Answer the request that the event is, or that the body of a function URL's event is."""
    environment = runtime()
    by_url = isinstance(event, dict) and "requestContext" in event
    request = _read_body(event) if by_url else event
    answered = environment.run(_respond(environment, request, context.aws_request_id))
    emit("Requests", 1)
    error = answered.get("error")
    if error is not None:
        emit_refusal("RequestsRefused", error["code"])
    if not by_url:
        return answered
    status = 200 if error is None else 503 if "retryAfter" in error else 400
    return {"statusCode": status, "headers": {"Content-Type": "application/json"}, "body": json.dumps(answered)}


async def _respond(environment: Runtime, request: Any, request_id: str) -> dict[str, Any]:
    ports = reviewing_services(await environment.ports(), environment.settings)
    return await answer(ports, await environment.connections(CLOSES_AT_ONCE), request, request_id)


def _read_body(event: dict[str, Any]) -> Any:
    """The JSON in a function URL's event (payload format 2.0); None where there is none."""
    body = event.get("body") or ""
    try:
        return json.loads(base64.b64decode(body) if event.get("isBase64Encoded") else body)
    except (ValueError, binascii.Error, RecursionError):
        return None
