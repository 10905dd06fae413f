"""`$disconnect`: best effort, may never come; what it leaves behind, the broadcast purges."""

from __future__ import annotations

from typing import Any

from adapters.observability import emit, logger, metrics, tracer
from adapters.runtime import Runtime, runtime
from services.sessions import disconnect

__all__ = ["handler"]


@logger.inject_lambda_context(correlation_id_path="requestContext.requestId")
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics
def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Delete the connection and its memberships."""
    environment = runtime()
    environment.run(_respond(environment, event["requestContext"]["connectionId"]))
    emit("Disconnects", 1)
    return {"statusCode": 200}


async def _respond(environment: Runtime, connection: str) -> None:
    await disconnect(await environment.ports(), connection)
