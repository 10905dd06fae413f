"""`$connect`'s authorizer: token to user. Its context comes with every later event of the connection."""

from __future__ import annotations

from typing import Any

from adapters.observability import emit, logger, metrics
from adapters.runtime import runtime
from domain.errors import Refused, Unavailable
from domain.ports import Principal
from services.handshake import check_origin, read_handshake

__all__ = ["context_of", "handler"]


@logger.inject_lambda_context(correlation_id_path="requestContext.requestId")
def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """A policy for this one call. API Gateway makes 401 of the text `Unauthorized`, 403 of a deny, and 500 of any other
    failure: the client shall come again, with the same token.
    """
    environment = runtime()
    handshake = read_handshake(event)
    try:
        check_origin(handshake.origins, environment.settings.origins)
        principal = environment.run(environment.identity().admit(handshake))
    except Refused as error:
        logger.info("handshake refused", code=error.code, reason=error.message)
        emit("HandshakesRefused", 1)
        metrics.flush_metrics()
        if error.code != "FORBIDDEN":
            raise Exception("Unauthorized") from None  # API Gateway reads exactly this text
        return _policy("anonymous", "Deny", event["methodArn"], {})
    except Unavailable as error:
        raise Exception(f"Unavailable: {error}") from None
    return _policy(principal.user, "Allow", event["methodArn"], context_of(principal))


def context_of(principal: Principal) -> dict[str, str]:
    """What later events carry of the user: API Gateway takes no lists, and gives numbers back as texts."""
    context = {"userId": principal.user, "name": principal.name, "groups": ",".join(sorted(principal.groups))}
    return context if principal.expires_at is None else {**context, "tokenExpiresAt": str(principal.expires_at)}


def _policy(principal: str, effect: str, resource: str, context: dict[str, str]) -> dict[str, Any]:
    statement = {"Action": "execute-api:Invoke", "Effect": effect, "Resource": resource}
    return {
        "principalId": principal,
        "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
        "context": context,
    }
