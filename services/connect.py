"""`$connect`: the connection and its first room."""

from __future__ import annotations

from typing import Any

from adapters.observability import emit, logger, metrics, tracer
from adapters.runtime import Runtime, runtime
from domain.errors import Refused
from domain.protocol import SUBPROTOCOL
from services.caller import read_caller
from services.handshake import asked_room, chosen_dialect, read_handshake
from services.sessions import connect

__all__ = ["handler"]

STATUS = {"BAD_REQUEST": 400, "UNAUTHENTICATED": 401, "TOO_MANY_CONNECTIONS": 429}
"""Error code → HTTP status of a refused handshake; every other code is 403."""


@logger.inject_lambda_context(correlation_id_path="requestContext.requestId")
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics
def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Join the first room; 200 with the subprotocol, or the status that refuses the handshake."""
    environment = runtime()
    return environment.run(_respond(environment, event))


async def _respond(environment: Runtime, event: dict[str, Any]) -> dict[str, Any]:
    handshake = read_handshake(event)
    try:
        dialect = chosen_dialect(handshake.subprotocols)
        room = asked_room(handshake.query)
        ports = await environment.ports()
        await connect(ports, read_caller(event), room, dialect)
    except Refused as error:
        emit("HandshakesRefused", 1)
        logger.info("handshake refused", code=error.code)
        return {"statusCode": STATUS.get(error.code, 403), "body": error.message}
    emit("Connects", 1)
    headers = {"Sec-WebSocket-Protocol": SUBPROTOCOL} if dialect == "v1" else {}
    return {"statusCode": 200, "headers": headers}
