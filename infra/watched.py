"""What the dashboard draws and the alarms watch: a deployment's parts, and the metrics of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs

from adapters.observability import METRICS, NAMESPACE
from domain.lanes import Lane

__all__ = ["ARCHIVE", "MINUTE", "RETRY", "Watched"]

MINUTE = Duration.minutes(1)
ARCHIVE = "archive"
"""The function that archives, where there is one."""
RETRY = "retry"
"""The lane of the remainders: each of its posts has failed before, so that of its shares none is alarming."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A deployment. A lane's worker is the function of its name."""

    prefix: str
    """What the functions say they are: their metrics' `service`."""
    lanes: Mapping[str, Lane]
    queues: Mapping[str, sqs.IQueue]
    dead_letter_queues: Mapping[str, sqs.IQueue]
    functions: Mapping[str, lambda_.IFunction]
    api_id: str
    stage_name: str
    lost: sqs.IQueue | None = None
    """What the archive lacks; None where there is no archive."""

    def own(
        self, name: str, statistic: str = "Sum", *, period: Duration = MINUTE, label: str | None = None, **known: str
    ) -> cloudwatch.Metric:
        """A metric of the functions; `known` is its `lane` or `code`."""
        values = {"service": self.prefix, **known}
        return cloudwatch.Metric(
            namespace=NAMESPACE,
            metric_name=name,
            dimensions_map={it: values[it] for it in METRICS[name].dimensions},
            statistic=statistic,
            period=period,
            label=label or name,
        )

    def lateness(self, label: str | None = None) -> cloudwatch.Metric:
        """The age of the changes that reach the archive, in milliseconds."""
        function = self.functions[ARCHIVE]
        return function.metric("IteratorAge", period=MINUTE, statistic="Maximum", label=label)

    def of_api(self, name: str, *, period: Duration = MINUTE) -> cloudwatch.Metric:
        """A metric of API Gateway's for a WebSocket API."""
        return cloudwatch.Metric(
            namespace="AWS/ApiGateway",
            metric_name=name,
            dimensions_map={"ApiId": self.api_id, "Stage": self.stage_name},
            statistic="Sum",
            period=period,
            label=name,
        )
