"""Routes, their responses, who may connect, and the stage."""

from __future__ import annotations

import json
from typing import Any

from domain.requests import REQUESTS
from tests.infra.conftest import Synthesis
from tests.infra.templates import Template

ROUTE, STAGE = "AWS::ApiGatewayV2::Route", "AWS::ApiGatewayV2::Stage"
FUNCTIONS = {"$connect": "connect", "$disconnect": "disconnect"}
"""Route → function; every other route is `message`'s."""


def of_api(service: Template, kind: str) -> dict[str, Any]:
    """Logical id → the properties of each resource of the WebSocket API."""
    [api] = [name for name, it in service.of("AWS::ApiGatewayV2::Api").items() if it["ProtocolType"] == "WEBSOCKET"]
    return {name: it for name, it in service.of(kind).items() if it["ApiId"] == f"<{api}>"}


def test_every_request_type_has_its_route(service: Template) -> None:
    """The routes of the table of requests, API Gateway's own, and no other; chosen by the message's `type`."""
    routes = {it["RouteKey"] for it in of_api(service, ROUTE).values()}
    assert routes == {"$connect", "$disconnect", "$default", *(it.route for it in REQUESTS.values())}
    assert {"chat", "join_room", "private_message"} < routes
    apis = {
        it["ProtocolType"]: it.get("RouteSelectionExpression") for it in service.of("AWS::ApiGatewayV2::Api").values()
    }
    assert apis == {"WEBSOCKET": "$request.body.type", "HTTP": None}


def test_a_route_goes_to_its_function(service: Template) -> None:
    """By a Lambda proxy integration, and API Gateway may call the function for this route."""
    integrations = service.of("AWS::ApiGatewayV2::Integration")
    permissions = service.of("AWS::Lambda::Permission").values()
    granted = {(it["FunctionName"], it["SourceArn"].rsplit("/", 1)[-1]) for it in permissions}
    for route in of_api(service, ROUTE).values():
        function = f"<roomcast-dev-{FUNCTIONS.get(route['RouteKey'], 'message')}.Arn>"
        integration = integrations[route["Target"].removeprefix("integrations/<").removesuffix(">")]
        assert integration["IntegrationType"] == "AWS_PROXY"
        assert f"/functions/{function}/invocations" in integration["IntegrationUri"]
        assert (function, f"*{route['RouteKey']}") in granted


def test_replies_are_return_values(service: Template) -> None:
    """Each route of `message` has a `$default` response; the handshake's routes have none."""
    routes = {name: it["RouteKey"] for name, it in of_api(service, ROUTE).items()}
    responses = service.of("AWS::ApiGatewayV2::RouteResponse").values()
    assert {it["RouteResponseKey"] for it in responses} == {"$default"}
    answered = sorted(routes[it["RouteId"].strip("<>")] for it in responses)
    assert answered == sorted(set(routes.values()) - set(FUNCTIONS))


def test_the_authorizer_is_asked_at_the_handshake_alone(service: Template) -> None:
    """Whatever way the token comes: no identity source, since a missing one would be a 401 of API Gateway's own."""
    [(name, authorizer)] = service.of("AWS::ApiGatewayV2::Authorizer").items()
    assert (authorizer["AuthorizerType"], authorizer["IdentitySource"]) == ("REQUEST", [])
    assert "<roomcast-dev-authorizer.Arn>" in authorizer["AuthorizerUri"]
    asked = {it["RouteKey"]: it.get("AuthorizerId") for it in of_api(service, ROUTE).values()}
    assert {route for route, it in asked.items() if it} == {"$connect"}
    assert asked["$connect"] == f"<{name}>"


def test_the_stage_is_throttled_to_its_share(service: Template) -> None:
    """The account's quota is for posts; clients have a part of it. A change of a route is deployed by itself."""
    [stage] = of_api(service, STAGE).values()
    assert (stage["StageName"], stage["AutoDeploy"]) == ("dev", True)
    assert stage["DefaultRouteSettings"] == {"ThrottlingRateLimit": 1_500, "ThrottlingBurstLimit": 750}
    assert "AccessLogSettings" not in stage


def test_access_logs_tell_no_secret(prod: Synthesis) -> None:
    """On request; neither query nor headers are in a line, since a token may be."""
    service = prod.template("roomcast-prod-service")
    [stage] = of_api(service, STAGE).values()
    line = json.loads(stage["AccessLogSettings"]["Format"])
    assert {"requestId", "connectionId", "status"} < set(line)
    assert not any(word in it for it in line.values() for word in ("query", "header", "path", "authorizer"))
    assert stage["AccessLogSettings"]["DestinationArn"] == "</aws/apigateway/roomcast-prod.Arn>"
