"""API Gateway's own log of a stage, where the deployment wants one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import cast

from aws_cdk import Acknowledgment, RemovalPolicy, Validations
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.settings import Stage

__all__ = ["write_access_log"]


def write_access_log(
    scope: Construct, stage: Stage, of: apigateway.WebSocketStage | apigateway.HttpStage, name: str, says: Sequence[str]
) -> None:
    """Have `of` write a line for each request: what API Gateway calls `$context.…`. Without the setting `access_logs`
    it writes none."""
    if not stage.access_logs:
        Validations.of(of).acknowledge(
            Acknowledgment(
                id="AwsSolutions-APIG1",
                reason="Access logs are an opt-in, `-c access_logs=true`: a WebSocket API's need a role of the whole "
                "account, which is not this stack's to set. The functions tell what they refuse.",
            )
        )
        return
    log_group = logs.LogGroup(
        scope,
        "AccessLog",
        log_group_name=f"/aws/apigateway/{name}",
        retention=logs.RetentionDays.ONE_MONTH,
        removal_policy=RemovalPolicy.DESTROY,
    )
    resource = cast("apigateway.CfnStage", of.node.default_child)
    resource.access_log_settings = apigateway.CfnStage.AccessLogSettingsProperty(
        destination_arn=log_group.log_group_arn, format=json.dumps({it: f"$context.{it}" for it in says})
    )
