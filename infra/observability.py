"""What operators see: a dashboard, the alarms, and the topic that tells them.

What a stage costs that nobody uses: the dashboard ($3 a month) and the alarms ($0.10 for each metric that they watch);
a custom metric ($0.30 a month) costs while there are numbers of it: https://aws.amazon.com/cloudwatch/pricing/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from aws_cdk import Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from domain.fanout import HOOKS_LANE
from domain.lanes import Lane
from domain.protocol import ERROR_CODES
from infra.alarms import alarms, oldest_age
from infra.watched import MINUTE, Watched

__all__ = ["Observability"]

EPHEMERAL = "ephemeral"
"""The lane that carries no entries."""
WIDTH = 24
"""Of a dashboard."""


class Observability(Construct):
    """`topic` gets the alarms; `dashboard_url` is for a browser."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        prefix: str,
        lanes: Mapping[str, Lane],
        queues: Mapping[str, sqs.IQueue],
        dead_letter_queues: Mapping[str, sqs.IQueue],
        functions: Mapping[str, lambda_.IFunction],
        api_id: str,
        stage_name: str,
        alarm_email: str | None = None,
        lost: sqs.IQueue | None = None,
    ) -> None:
        """`prefix`: names the dashboard and the alarms, and is the functions' `POWERTOOLS_SERVICE_NAME`.

        A lane's worker is among `functions` under the lane's name. `lost`: the queue of what the archive lacks, where
        there is one.
        """
        super().__init__(scope, name)
        watched = Watched(prefix, lanes, queues, dead_letter_queues, functions, api_id, stage_name, lost)
        self.topic = self._topic(prefix, alarm_email)
        made = self._alarms(watched)
        cloudwatch.Dashboard(self, "Dashboard", dashboard_name=prefix, widgets=_rows(watched, made))
        region = Stack.of(self).region
        self.dashboard_url = (
            f"https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}#dashboards/dashboard/{prefix}"
        )

    def _topic(self, prefix: str, email: str | None) -> sns.Topic:
        # Not encrypted with the key that AWS manages, which CloudWatch may not use; an alarm's text is no secret.
        topic = sns.Topic(self, "Topic", topic_name=f"{prefix}-alarms", enforce_ssl=True)
        # With a policy of its own the topic has lost its default one, which let CloudWatch in.
        stack = Stack.of(self)
        arns = f"arn:{stack.partition}:cloudwatch:{stack.region}:{stack.account}:alarm:{prefix}-*"
        topic.add_to_resource_policy(
            iam.PolicyStatement(
                sid="Alarms",
                principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                actions=["sns:Publish"],
                resources=[topic.topic_arn],
                conditions={
                    "StringEquals": {"aws:SourceAccount": stack.account},
                    "ArnLike": {"aws:SourceArn": arns},
                },
            )
        )
        if email is not None:
            topic.add_subscription(subscriptions.EmailSubscription(email))
        return topic

    def _alarms(self, watched: Watched) -> list[cloudwatch.IAlarm]:
        made: list[cloudwatch.IAlarm] = []
        tell = actions.SnsAction(self.topic)
        for it in alarms(watched):
            alarm = cloudwatch.Alarm(
                self,
                it.name,
                alarm_name=f"{watched.prefix}-{it.name}",
                alarm_description=f"{it.means} First: {it.first}",
                metric=it.metric,
                threshold=it.threshold,
                comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
                evaluation_periods=it.periods,
                datapoints_to_alarm=it.breaching,
                treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
            )
            # Not the way back to normal: every new alarm goes it once, and a deployment would send thirty mails.
            alarm.add_alarm_action(tell)
            made.append(alarm)
        return made


# ------------------------------------------------------------------------------------------------ the dashboard


def _rows(watched: Watched, made: Sequence[cloudwatch.IAlarm]) -> list[list[cloudwatch.IWidget]]:
    return [
        [cloudwatch.AlarmStatusWidget(title="Alarms", alarms=list(made), width=WIDTH, height=4)],
        _row(*_deliveries(watched)),
        _row(*(_lateness(watched, it) for it in watched.lanes.values() if it.fifo and it.sockets), _acks(watched)),
        _row(*_jobs(watched)),
        _row(*(_posts(watched, it.name) for it in watched.lanes.values() if it.sockets)),
        _row(*_clients(watched)),
        _row(*_functions(watched)),
        *([_row(*_archive(watched))] if watched.lost is not None else []),
    ]


def _row(*graphs: cloudwatch.GraphWidget) -> list[cloudwatch.IWidget]:
    return list(graphs)


def _deliveries(watched: Watched) -> Iterable[cloudwatch.GraphWidget]:
    lanes = list(_broadcasting(watched))
    yield _graph(
        "Deliveries a second",
        [_ratio(watched, it, "Deliveries / PERIOD(Deliveries)") for it in lanes],
        parts=3,
        stacked=True,
    )
    yield _graph("Entries per frame", [_ratio(watched, it, "Deliveries / Frames") for it in lanes], parts=3)
    yield _graph(
        "429s",
        [watched.own("PostsThrottled", lane=it.name, label=it.name) for it in watched.lanes.values() if it.sockets],
        parts=3,
    )


def _lateness(watched: Watched, lane: Lane) -> cloudwatch.GraphWidget:
    quantiles = [watched.own("AcceptToLastPost", it, lane=lane.name, label=it) for it in ("p50", "p95", "p99")]
    return _graph(f"{lane.name}: accepted → at the last member, ms", quantiles, parts=3)


def _acks(watched: Watched) -> cloudwatch.GraphWidget:
    return _graph("Ack, ms", [watched.own("AckLatency", it, label=it) for it in ("p50", "p99")], parts=3)


def _jobs(watched: Watched) -> Iterable[cloudwatch.GraphWidget]:
    ages = {
        name: it.metric_approximate_age_of_oldest_message(period=MINUTE, statistic="Maximum", label=name)
        for name, it in watched.queues.items()
    }
    yield _graph(
        "Oldest job, s",
        ages.values(),
        parts=4,
        lines={f"alarm: {it.name}": oldest_age(it) for it in watched.lanes.values()},
    )
    dead = {
        name: it.metric_approximate_number_of_messages_visible(period=MINUTE, statistic="Maximum", label=name)
        for name, it in watched.dead_letter_queues.items()
    }
    yield _graph("Dead letters", dead.values(), parts=4)
    for title, names in {
        "Jobs failed, buried, deferred": ("JobsFailed", "JobsBuried", "Remainders"),
        "Connections purged, sockets closed": ("ConnectionsPurged", "SocketsClosed"),
    }.items():
        drawn = [watched.own(it, lane=lane, label=f"{lane} {it}") for lane in watched.lanes for it in names]
        yield _graph(title, drawn, parts=4)


def _posts(watched: Watched, lane: str) -> cloudwatch.GraphWidget:
    answers = [watched.own(f"Posts{it}", lane=lane, label=it) for it in ("Delivered", "Gone", "Throttled", "Failed")]
    return _graph(
        f"{lane}: posts by answer", answers, parts=sum(it.sockets for it in watched.lanes.values()), stacked=True
    )


def _clients(watched: Watched) -> Iterable[cloudwatch.GraphWidget]:
    comings = ("Connects", "HandshakesRefused", "Disconnects", "LeasesEnded")
    yield _graph("Comings and goings", [watched.own(it) for it in comings], parts=4)
    told = [watched.own(it, lane="ephemeral") for it in ("NoticesPublished", "NoticesHeldBack")]
    hooks = [watched.own(it, lane=HOOKS_LANE) for it in ("HooksDelivered", "HooksFailed", "HooksDisabled")]
    asked = [watched.own("Requests"), watched.own("ReviewsFailed"), *_entries(watched), *told, *hooks]
    yield _graph("Requests, log entries, notices, hooks", asked, parts=4)
    refused = [watched.own("RequestsRefused", code=it, label=it) for it in ERROR_CODES]
    yield _graph("Requests refused", refused, parts=4, stacked=True)
    of_api = ("MessageCount", "ClientError", "IntegrationError", "ExecutionError")
    yield _graph("API Gateway", [watched.of_api(it) for it in of_api], parts=4)


def _broadcasting(watched: Watched) -> Iterable[str]:
    """The lanes that carry entries of logs to members."""
    return (it.name for it in watched.lanes.values() if it.sockets and it.name != EPHEMERAL)


def _entries(watched: Watched) -> Iterable[cloudwatch.Metric]:
    return (watched.own("EntriesServed", lane=it, label=f"{it} entries") for it in _broadcasting(watched))


def _functions(watched: Watched) -> Iterable[cloudwatch.GraphWidget]:
    named = watched.functions.items()
    errors = [it.metric_errors(period=MINUTE, statistic="Sum", label=name) for name, it in named]
    yield _graph("Errors", errors, parts=3)
    throttles = [it.metric_throttles(period=MINUTE, statistic="Sum", label=name) for name, it in named]
    yield _graph("Throttles", throttles, parts=3)
    workers = {it: watched.functions[it] for it in watched.lanes}
    yield _graph(
        "Workers at once",
        [
            it.metric("ConcurrentExecutions", period=MINUTE, statistic="Maximum", label=name)
            for name, it in workers.items()
        ],
        parts=3,
        lines={f"most: {it.name}": it.max_concurrency for it in watched.lanes.values()},
    )


def _archive(watched: Watched) -> Iterable[cloudwatch.GraphWidget]:
    yield _graph("Archive: age of changes, ms", [watched.lateness("oldest")], parts=2)
    written = ("EntriesArchived", "ArchivePuts", "ArchiveUnreadable")
    yield _graph("Archive: entries, puts, unreadable", [watched.own(it) for it in written], parts=2)


def _ratio(watched: Watched, lane: str, expression: str) -> cloudwatch.MathExpression:
    """An expression over a lane's own metrics, which stand in it under their names."""
    # Ids begin with a small letter, and each is one metric's in a whole graph.
    ids = {it: f"{it.lower()}_{lane}" for it in ("Deliveries", "Frames") if it in expression}
    for name, id_ in ids.items():
        expression = expression.replace(name, id_)
    return cloudwatch.MathExpression(
        expression=expression,
        using_metrics={id_: watched.own(name, lane=lane) for name, id_ in ids.items()},
        period=MINUTE,
        label=lane,
    )


def _graph(
    title: str,
    drawn: Iterable[cloudwatch.IMetric],
    *,
    parts: int,
    stacked: bool = False,
    lines: Mapping[str, float] | None = None,
) -> cloudwatch.GraphWidget:
    """A graph as wide as one of `parts` beside each other; `lines` are drawn across it."""
    return cloudwatch.GraphWidget(
        title=title,
        left=list(drawn),
        left_y_axis=cloudwatch.YAxisProps(min=0),
        left_annotations=[
            cloudwatch.HorizontalAnnotation(label=label, value=value) for label, value in (lines or {}).items()
        ],
        stacked=stacked,
        width=WIDTH // parts,
    )
