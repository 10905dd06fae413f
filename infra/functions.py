"""A Lambda function of this service: its role, its log, its settings. All come from one bundle, by handler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from aws_cdk import Acknowledgment, CfnElement, Duration, RemovalPolicy, Stack, Validations
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sns as sns
from constructs import Construct

from adapters.settings import Settings
from infra import permissions
from infra.broadcast_queues import BroadcastQueues
from infra.settings import Stage

__all__ = ["Functions", "allow"]

_RETENTIONS = {
    1: logs.RetentionDays.ONE_DAY,
    7: logs.RetentionDays.ONE_WEEK,
    14: logs.RetentionDays.TWO_WEEKS,
    30: logs.RetentionDays.ONE_MONTH,
    90: logs.RetentionDays.THREE_MONTHS,
    365: logs.RetentionDays.ONE_YEAR,
}


class Functions:
    """Makes a deployment's functions, each with the permissions that `infra/permissions.py` has under its name."""

    def __init__(
        self,
        stage: Stage,
        prefix: str,
        bundle: Path,
        settings: Settings,
        queues: BroadcastQueues,
        api: apigateway.WebSocketApi,
        topic: sns.Topic | None,
    ) -> None:
        """`bundle`: the zip with all code. `topic`: of notices, where there is one."""
        self.stage = stage
        self.made: dict[str, lambda_.Function] = {}
        """Name → function."""
        self._prefix = prefix
        self._bundle = bundle
        self._settings = settings
        self._queues = queues
        self._api = api
        self._topic = topic

    def add(
        self,
        scope: Construct,
        name: str,
        handler: str,
        *,
        memory: int,
        timeout: float,
        lane: str = "",
        statements: Sequence[iam.PolicyStatement] = (),
    ) -> lambda_.Function:
        """A function and what it needs. `handler` is `module.attribute`, `memory` in MB, `timeout` in seconds.

        `statements`: what it may do beyond `infra/permissions.py`, to what no other function knows.
        """
        home = Construct(scope, name.title())
        log_group = logs.LogGroup(
            home,
            "Log",
            log_group_name=f"/aws/lambda/{self._prefix}-{name}",
            retention=_RETENTIONS[self.stage.log_retention_days],
            removal_policy=RemovalPolicy.DESTROY,
        )
        role = iam.Role(home, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        for statement in (*self._statements(name, lane, log_group), *statements):
            role.add_to_policy(statement)
        self._acknowledge_wildcards(role, name)
        function = lambda_.Function(
            home,
            "Function",
            function_name=f"{self._prefix}-{name}",
            code=lambda_.Code.from_asset(str(self._bundle)),
            handler=handler,
            runtime=lambda_.Runtime(f"python{self.stage.python}", lambda_.RuntimeFamily.PYTHON),
            architecture=_ARCHITECTURES[self.stage.architecture],
            memory_size=memory,
            timeout=Duration.seconds(round(timeout)),
            environment={
                **replace(self._settings, lane=lane).as_environment(),
                "POWERTOOLS_SERVICE_NAME": self._prefix,
                "POWERTOOLS_TRACE_DISABLED": str(not self.stage.tracing).lower(),
            },
            role=role,
            log_group=log_group,
            logging_format=lambda_.LoggingFormat.JSON,
            # A remainder that fails goes back to its own queue, for ten minutes: Lambda would call that a loop at the
            # sixteenth time, and take the job away.
            recursive_loop=lambda_.RecursiveLoop.ALLOW if lane in permissions.SENDS.get(name, ()) else None,
            tracing=lambda_.Tracing.ACTIVE if self.stage.tracing else lambda_.Tracing.DISABLED,
        )
        Validations.of(function).acknowledge(
            Acknowledgment(id="AwsSolutions-L1", reason="The bundle's wheels are made and tested for this runtime.")
        )
        self.made[name] = function
        return function

    def _statements(self, name: str, lane: str, log_group: logs.LogGroup) -> list[iam.PolicyStatement]:
        queues, dead_letter_queues = self._queues.queues, self._queues.dead_letter_queues
        statements = [allow("OwnLog", ["logs:CreateLogStream", "logs:PutLogEvents"], [log_group.log_group_arn])]
        for table, actions in permissions.TABLES[name].items():
            statements.append(
                allow(f"Table{table.title()}", [f"dynamodb:{it}" for it in actions], [self._table_arn(table)])
            )
        for table, indexes in permissions.INDEXES.get(name, {}).items():
            arns = [f"{self._table_arn(table)}/index/{it}" for it in indexes]
            statements.append(allow(f"Index{table.title()}", ["dynamodb:Query"], arns))
        if sends := permissions.SENDS.get(name):
            statements.append(allow("Send", ["sqs:SendMessage"], [queues[it].queue_arn for it in sends]))
        if lane:
            statements.append(allow("Work", permissions.WORKS, [queues[lane].queue_arn]))
            statements.append(allow("Bury", ["sqs:SendMessage"], [dead_letter_queues[lane].queue_arn]))
        if self._topic is not None and name in permissions.PUBLISHES:
            statements.append(allow("Notices", ["sns:Publish"], [self._topic.topic_arn]))
        if methods := permissions.SOCKETS.get(name):
            arns = [self._api.arn_for_execute_api_v2(f"{it}/@connections/*", self.stage.name) for it in methods]
            statements.append(allow("Sockets", ["execute-api:ManageConnections"], arns))
        if self.stage.tracing:
            statements.append(allow("Trace", ["xray:PutTraceSegments", "xray:PutTelemetryRecords"], ["*"]))
        return statements

    def _table_arn(self, table: str) -> str:
        # By name: an import of the other stack's export would tie every update of one to the other.
        return Stack.of(self._api).format_arn(
            service="dynamodb", resource="table", resource_name=self._settings.tables[table]
        )

    def _acknowledge_wildcards(self, role: iam.Role, name: str) -> None:
        """Of the resources with a wildcard, these alone: any other fails the synthesis."""
        stack = Stack.of(role)
        api = stack.get_logical_id(cast("CfnElement", self._api.node.default_child))
        arn = f"arn:<AWS::Partition>:execute-api:<AWS::Region>:<AWS::AccountId>:<{api}>/{self.stage.name}"
        accepted = {
            f"{arn}/{it}/@connections/*": "Connection ids come and go; these are the connections of this API's stage."
            for it in permissions.SOCKETS.get(name, ())
        }
        if self.stage.tracing:
            accepted["*"] = "X-Ray's actions know no resources."
        for resource, reason in accepted.items():
            Validations.of(role).acknowledge(
                Acknowledgment(id=f"AwsSolutions-IAM5[Resource::{resource}]", reason=reason)
            )


_ARCHITECTURES = {"arm64": lambda_.Architecture.ARM_64, "x86_64": lambda_.Architecture.X86_64}


def allow(name: str, actions: Sequence[str], resources: Sequence[str]) -> iam.PolicyStatement:
    """A statement of that name."""
    return iam.PolicyStatement(sid=name, actions=list(actions), resources=list(resources))
