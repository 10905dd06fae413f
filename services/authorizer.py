"""`$connect`'s authorizer: token to user. Its context comes with every later event of the connection."""

from __future__ import annotations

from typing import Any

from adapters.identity import identity
from adapters.observability import emit, logger, metrics
from adapters.runtime import runtime
from domain.errors import Refused
from services.handshake import read_handshake

__all__ = ["handler"]


@logger.inject_lambda_context(correlation_id_path="requestContext.requestId")
def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """A policy for this one call. API Gateway makes 401 of the text `Unauthorized`, and 403 of a deny."""
    environment = runtime()
    try:
        principal = environment.run(identity(environment.settings.auth).admit(read_handshake(event)))
    except Refused as error:
        logger.info("handshake refused", code=error.code)
        emit("HandshakesRefused", 1)
        metrics.flush_metrics()
        if error.code == "UNAUTHENTICATED":
            raise Exception("Unauthorized") from None  # API Gateway reads exactly this text
        return _policy("anonymous", "Deny", event["methodArn"], {})
    return _policy(principal.user, "Allow", event["methodArn"], {"userId": principal.user, "name": principal.name})


def _policy(principal: str, effect: str, resource: str, context: dict[str, str]) -> dict[str, Any]:
    statement = {"Action": "execute-api:Invoke", "Effect": effect, "Resource": resource}
    return {
        "principalId": principal,
        "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
        "context": context,
    }
