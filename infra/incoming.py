"""Where incoming webhooks are posted to: an HTTP API with one route, and the function behind it."""

from __future__ import annotations

from aws_cdk import Acknowledgment, Validations
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk.aws_apigatewayv2_integrations import HttpLambdaIntegration
from constructs import Construct

from infra.access_log import write_access_log
from infra.functions import Functions

__all__ = ["IncomingWebhooks"]

ACCESS_LOG = ("requestId", "routeKey", "status", "integrationLatency", "requestTime")
"""What an access log says: not the path, which names the room, nor headers or body, which are signatures and what is
said."""


class IncomingWebhooks(Construct):
    """`url`: what the webhooks' URLs begin with, without the slash before the id."""

    def __init__(self, scope: Construct, construct_id: str, *, functions: Functions, prefix: str) -> None:
        super().__init__(scope, construct_id)
        stage = functions.stage
        incoming = functions.add(
            self, "incoming", "services.incoming.handler", memory=stage.api_memory, timeout=stage.api_timeout
        )
        api = apigateway.HttpApi(self, "Api", api_name=f"{prefix}-webhooks", create_default_stage=False)
        [route] = api.add_routes(
            path="/hooks/{hook}",
            methods=[apigateway.HttpMethod.POST],
            integration=HttpLambdaIntegration(
                "Incoming", incoming, payload_format_version=apigateway.PayloadFormatVersion.VERSION_2_0
            ),
        )
        Validations.of(route).acknowledge(
            Acknowledgment(
                id="AwsSolutions-APIG4",
                reason="Who may post has the webhook's secret and signs the body with it, which no authorizer sees.",
            )
        )
        self.stage = apigateway.HttpStage(
            self,
            "Stage",
            http_api=api,
            stage_name="$default",
            auto_deploy=True,
            throttle=apigateway.ThrottleSettings(rate_limit=stage.webhook_rate, burst_limit=stage.webhook_burst),
        )
        write_access_log(self, stage, self.stage, f"{prefix}-webhooks", ACCESS_LOG)
        self.url = f"{api.api_endpoint}/hooks"
