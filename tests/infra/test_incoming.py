"""Where incoming webhooks are posted to: one route of an HTTP API, its function, its throttle, its log."""

from __future__ import annotations

import json
from typing import Any

from tests.infra.conftest import Synthesis
from tests.infra.templates import Template

FUNCTION = "<roomcast-dev-incoming.Arn>"


def of_api(service: Template, kind: str) -> dict[str, Any]:
    """The properties of the one resource of that type that the HTTP API has."""
    [api] = [name for name, it in service.of("AWS::ApiGatewayV2::Api").items() if it["ProtocolType"] == "HTTP"]
    [found] = [it for it in service.of(kind).values() if it["ApiId"] == f"<{api}>"]
    properties: dict[str, Any] = found
    return properties


def test_one_route_goes_to_its_function(service: Template) -> None:
    """By format 2.0; API Gateway may call the function for this route, and has no authorizer: the body is signed."""
    route = of_api(service, "AWS::ApiGatewayV2::Route")
    assert (route["RouteKey"], route["AuthorizationType"]) == ("POST /hooks/{hook}", "NONE")
    integration = of_api(service, "AWS::ApiGatewayV2::Integration")
    assert (integration["IntegrationType"], integration["PayloadFormatVersion"]) == ("AWS_PROXY", "2.0")
    assert FUNCTION in integration["IntegrationUri"]
    granted = [it for it in service.of("AWS::Lambda::Permission").values() if it["FunctionName"] == FUNCTION]
    assert [it["Principal"] for it in granted] == ["apigateway.amazonaws.com"]
    assert granted[0]["SourceArn"].endswith("/*/*/hooks/{hook}")


def test_it_is_throttled(service: Template) -> None:
    """To a hundredth of the account's quota, whoever floods it; the stage is the one whose URLs have no name of it."""
    stage = of_api(service, "AWS::ApiGatewayV2::Stage")
    assert (stage["StageName"], stage["AutoDeploy"]) == ("$default", True)
    assert stage["DefaultRouteSettings"] == {"ThrottlingRateLimit": 100, "ThrottlingBurstLimit": 200}
    assert "AccessLogSettings" not in stage


def test_its_access_log_tells_no_secret(prod: Synthesis) -> None:
    """On request; neither the path, which names a room, nor headers or body are in a line."""
    service = prod.template("roomcast-prod-service")
    settings = of_api(service, "AWS::ApiGatewayV2::Stage")["AccessLogSettings"]
    assert settings["DestinationArn"] == "</aws/apigateway/roomcast-prod-webhooks.Arn>"
    assert json.loads(settings["Format"]) == {
        it: f"$context.{it}" for it in ("requestId", "routeKey", "status", "integrationLatency", "requestTime")
    }
