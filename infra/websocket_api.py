"""The WebSocket API: who may connect, which function answers which route, and the stage."""

from __future__ import annotations

from aws_cdk import Acknowledgment, Validations
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk.aws_apigatewayv2_authorizers import WebSocketLambdaAuthorizer
from aws_cdk.aws_apigatewayv2_integrations import WebSocketLambdaIntegration
from constructs import Construct

from domain.requests import REQUESTS
from infra.access_log import write_access_log
from infra.functions import Functions

__all__ = ["ROUTE_SELECTION", "WebSocketRoutes"]

ROUTE_SELECTION = "$request.body.type"
ACCESS_LOG = ("requestId", "connectionId", "eventType", "routeKey", "status", "integrationLatency", "requestTime")
"""What an access log says: neither query nor headers, which may carry a token."""


class WebSocketRoutes(Construct):
    """The API's functions, its routes to them, and its `stage`."""

    def __init__(
        self, scope: Construct, construct_id: str, *, api: apigateway.WebSocketApi, functions: Functions, prefix: str
    ) -> None:
        super().__init__(scope, construct_id)
        stage = functions.stage
        for name in ("authorizer", "connect", "disconnect", "message"):
            functions.add(self, name, f"services.{name}.handler", memory=stage.api_memory, timeout=stage.api_timeout)
        # No identity source: a token may come in three ways, and where a named source is missing nobody is asked.
        authorizer = WebSocketLambdaAuthorizer("Authorizer", functions.made["authorizer"], identity_source=[])
        connect, disconnect, message = (
            WebSocketLambdaIntegration(it.title(), functions.made[it]) for it in ("connect", "disconnect", "message")
        )
        api.add_route("$connect", integration=connect, authorizer=authorizer)
        # With a route response what the function returns is the client's answer: a reply costs no post.
        answered = sorted({"$default", *(it.route for it in REQUESTS.values())})
        routes = [
            api.add_route("$disconnect", integration=disconnect),
            *(api.add_route(it, integration=message, return_response=True) for it in answered),
        ]
        for it in routes:
            Validations.of(it).acknowledge(
                Acknowledgment(
                    id="AwsSolutions-APIG4",
                    reason="API Gateway authorizes a WebSocket once, at $connect; its answer comes with every message.",
                )
            )
        self.stage = apigateway.WebSocketStage(
            self,
            "Stage",
            web_socket_api=api,
            stage_name=stage.name,
            auto_deploy=True,
            throttle=apigateway.ThrottleSettings(rate_limit=stage.inbound_rate, burst_limit=stage.inbound_burst),
        )
        write_access_log(self, stage, self.stage, prefix, ACCESS_LOG)
