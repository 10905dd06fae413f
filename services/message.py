"""Every other route: a client's request. The reply is the route's return value, so it costs no post."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from adapters.observability import emit, emit_refusal, logger, metrics, tracer
from adapters.runtime import Runtime, runtime
from domain.events import Ack
from domain.ports import Connections
from services.caller import read_caller
from services.requests import answer
from services.review import plugged_review

__all__ = ["handler"]

CLOSES_AT_ONCE = 4
_ACK = f'{{"type":"{Ack.type}"'.encode()
"""How the frame of an `ack` begins."""


@logger.inject_lambda_context(correlation_id_path="requestContext.requestId")
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics
def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Answer the request in the event's body."""
    environment = runtime()
    reply = environment.run(_respond(environment, event))
    return {"statusCode": 200, "body": reply.decode()}


class _Sockets(Connections):
    """The open sockets, whose client is made when one is closed: most requests close none."""

    def __init__(self, environment: Runtime) -> None:
        self._environment = environment

    async def post(self, connection: str, frame: bytes, deadline: float) -> None:
        await (await self._environment.connections(CLOSES_AT_ONCE)).post(connection, frame, deadline)

    async def close(self, connection: str) -> None:
        await (await self._environment.connections(CLOSES_AT_ONCE)).close(connection)


async def _respond(environment: Runtime, event: dict[str, Any]) -> bytes:
    settings = environment.settings
    review = plugged_review(settings.review, settings.review_words, settings.review_fails)
    ports = replace(await environment.ports(), review=review)
    frame, refused = await answer(ports, _Sockets(environment), read_caller(event), event.get("body") or "")
    emit("Requests", 1)
    if refused is not None:
        emit_refusal("RequestsRefused", refused)
    elif frame.startswith(_ACK):
        # The gateway's clock and this one differ, and one negative value costs CloudWatch the percentiles.
        emit("AckLatency", max(0, ports.clock.now() - event["requestContext"]["requestTimeEpoch"]))
    return frame
