"""What operators see: every lane and function has its alarms, every alarm tells somebody what it means and what to do,
and what is drawn is what the functions emit."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.observability import METRICS, NAMESPACE
from adapters.sqs import queue_definition
from domain.fanout import remainder_delay
from domain.lanes import LANES
from domain.protocol import ERROR_CODES
from tests.infra.conftest import Synthesis
from tests.infra.templates import Template

PREFIX = "roomcast-dev"
ROOT = Path(__file__).parents[2]
ALARM = "AWS::CloudWatch::Alarm"
ARCHIVES = {"EntriesArchived", "ArchivePuts", "ArchiveUnreadable"}
"""Metrics of the archive."""
AGES = {"interactive": 30, "bulk": 30, "retry": 50, "ephemeral": 50, "hooks": 90}
"""Lane → seconds: twice the visibility time, and for a standard queue the longest delay of a job."""


@pytest.fixture(scope="module")
def alarms(service: Template) -> dict[str, dict[str, Any]]:
    """Name without the prefix → the alarm's properties."""
    return {it["AlarmName"].removeprefix(f"{PREFIX}-"): it for it in service.of(ALARM).values()}


@pytest.fixture(scope="module")
def drawn(service: Template) -> list[list[Any]]:
    """The lines of the dashboard's graphs: namespace, name, dimension, value, …, properties."""
    return [line for graph in widgets(service) for line in graph.get("metrics", []) if isinstance(line[0], str)]


class Longest(random.Random):
    """Draws what is highest."""

    def random(self) -> float:
        return 1.0


def widgets(service: Template) -> list[dict[str, Any]]:
    [dashboard] = service.of("AWS::CloudWatch::Dashboard").values()
    return [it["properties"] for it in json.loads(dashboard["DashboardBody"])["widgets"]]


def dimensions(alarm: dict[str, Any]) -> dict[str, str]:
    return {it["Name"]: it["Value"] for it in alarm["Dimensions"]}


def watched(alarm: dict[str, Any]) -> list[dict[str, Any]]:
    """The metrics that an alarm watches, alone or in an expression."""
    if "MetricName" in alarm:
        return [alarm]
    return [it["MetricStat"]["Metric"] for it in alarm["Metrics"] if "MetricStat" in it]


def own(alarms: dict[str, dict[str, Any]], drawn: list[list[Any]]) -> Iterator[tuple[str, dict[str, str]]]:
    """Every use of a metric of the functions, by an alarm or in a graph: its name, its dimensions."""
    for alarm in alarms.values():
        for metric in watched(alarm):
            if metric["Namespace"] == NAMESPACE:
                yield metric["MetricName"], dimensions(metric)
    for line in drawn:
        if line[0] == NAMESPACE:
            named = [it for it in line[2:] if isinstance(it, str)]
            yield line[1], dict(zip(named[::2], named[1::2], strict=True))


def test_operators_are_told_what_to_do_at_each(alarms: dict[str, dict[str, Any]], prod: Synthesis) -> None:
    """Every alarm of the templates stands in the operating guide's table, under its kind, and no other does."""
    lines = (ROOT / "docs/operating.md").read_text().partition("## Alarms")[2].partition("\n## ")[0].splitlines()
    told = {kind.strip("`") for it in lines if it.startswith("| `") for kind in it.split("|")[1].strip().split(" · ")}
    kinds = set()
    of_all = prod.template("roomcast-prod-service").of(ALARM).values()
    for name in [*alarms, *(it["AlarmName"].removeprefix("roomcast-prod-") for it in of_all)]:
        of, _, what = name.partition("-")
        lane_only = what.startswith(("age", "dead", "posts"))
        alone = of in {"api", "requests"} or name in {"archive-late", "archive-lost", "archive-unreadable"}
        kinds.add(name if alone else f"{'LANE' if lane_only else 'FUNCTION'}-{what}")
    assert told == kinds


@pytest.mark.parametrize("lane", LANES)
def test_a_lane_that_is_late_rings(alarms: dict[str, dict[str, Any]], lane: str) -> None:
    """The oldest job of the lane's own queue, in two of three minutes: one may be the end of a single stand-still."""
    alarm = alarms[f"{lane}-age"]
    assert (alarm["Namespace"], alarm["MetricName"], alarm["Statistic"]) == (
        "AWS/SQS",
        "ApproximateAgeOfOldestMessage",
        "Maximum",
    )
    assert dimensions(alarm) == {"QueueName": f"<{queue_definition(PREFIX, LANES[lane]).name}.QueueName>"}
    assert (alarm["Threshold"], alarm["Period"]) == (AGES[lane], 60)
    assert (alarm["EvaluationPeriods"], alarm["DatapointsToAlarm"]) == (3, 2)


def test_a_job_that_was_told_to_wait_is_not_late() -> None:
    """The longest delay of a remainder is within the standard lanes' ages."""
    assert remainder_delay(100, Longest()) == 20
    for lane in LANES.values():
        assert AGES[lane.name] >= 2 * lane.visibility + (0 if lane.fifo else 20)


@pytest.mark.parametrize("lane", LANES)
def test_a_dead_letter_rings(alarms: dict[str, dict[str, Any]], lane: str) -> None:
    """The first one, within a minute, in the lane's own dead-letter queue."""
    alarm = alarms[f"{lane}-dead"]
    assert (alarm["MetricName"], alarm["Statistic"]) == ("ApproximateNumberOfMessagesVisible", "Maximum")
    assert dimensions(alarm) == {"QueueName": f"<{queue_definition(PREFIX, LANES[lane]).dead_name}.QueueName>"}
    assert (alarm["Threshold"], alarm["Period"], alarm["EvaluationPeriods"]) == (1, 60, 1)


@pytest.mark.parametrize(
    ("name", "metric", "threshold", "periods"),
    [("posts-failed", "PostsFailed", 5, 2), ("posts-throttled", "PostsThrottled", 25, 3)],
)
def test_a_lanes_share_of_bad_answers_rings(
    alarms: dict[str, dict[str, Any]], name: str, metric: str, threshold: int, periods: int
) -> None:
    """In per cent, in every lane but that of the remainders, whose posts have all failed before."""
    lanes = {it.removesuffix(f"-{name}") for it in alarms if it.endswith(f"-{name}")}
    assert lanes == set(LANES) - {"retry", "hooks"}
    for lane in lanes:
        alarm = alarms[f"{lane}-{name}"]
        [share] = [it["Expression"] for it in alarm["Metrics"] if "Expression" in it]
        assert share == "IF(part >= 10, 100 * part / (part + delivered), 0)"
        parts = {it["Id"]: it["MetricStat"] for it in alarm["Metrics"] if "MetricStat" in it}
        assert {it: stat["Metric"]["MetricName"] for it, stat in parts.items()} == {
            "part": metric,
            "delivered": "PostsDelivered",
        }
        for stat in parts.values():
            assert dimensions(stat["Metric"])["lane"] == lane
            assert (stat["Stat"], stat["Period"]) == ("Sum", 300)
        assert (alarm["Threshold"], alarm["EvaluationPeriods"]) == (threshold, periods)


def test_every_function_rings_when_it_fails_or_may_not_start(
    service: Template, alarms: dict[str, dict[str, Any]]
) -> None:
    """Errors and throttles of each; a refused token is an error of the authorizer, so there it is a share."""
    functions = service.named("AWS::Lambda::Function")
    for full_name in functions:
        name = full_name.removeprefix(f"{PREFIX}-")
        throttles = alarms[f"{name}-throttles"]
        assert (throttles["MetricName"], dimensions(throttles)) == ("Throttles", {"FunctionName": f"<{full_name}>"})
        assert throttles["Threshold"] == 1
        errors = alarms[f"{name}-errors"]
        assert {dimensions(it)["FunctionName"] for it in watched(errors)} == {f"<{full_name}>"}
        if name == "authorizer":
            assert {it["MetricName"] for it in watched(errors)} == {"Errors", "Invocations"}
            assert errors["Threshold"] == 50
        else:
            assert (errors["MetricName"], errors["Threshold"]) == ("Errors", 3)
    assert {it.removesuffix("-errors") for it in alarms if it.endswith("-errors")} == {
        "api",
        *(it.removeprefix(f"{PREFIX}-") for it in functions),
    }


def test_the_api_rings(alarms: dict[str, dict[str, Any]]) -> None:
    """API Gateway's own failures, the integrations', and what the function answers instead of failing."""
    for name, metrics in {
        "api-errors": {"ExecutionError"},
        "api-integration": {"IntegrationError", "ConnectCount"},
    }.items():
        assert {it["MetricName"] for it in watched(alarms[name])} == metrics
        for it in watched(alarms[name]):
            assert it["Namespace"] == "AWS/ApiGateway"
            assert dimensions(it)["Stage"] == "dev"
            assert dimensions(it)["ApiId"].startswith("<Api")
    [internal] = watched(alarms["requests-internal"])
    assert (internal["MetricName"], dimensions(internal)["code"]) == ("RequestsRefused", "INTERNAL")
    assert "INTERNAL" in ERROR_CODES


def test_an_alarm_tells_somebody_what_it_means_and_what_to_do(
    service: Template, alarms: dict[str, dict[str, Any]]
) -> None:
    """None without an action, or without words; and none that silence sets off."""
    assert len(alarms) > 2 * len(LANES)
    for name, alarm in alarms.items():
        assert alarm["AlarmActions"] == ["<roomcast-dev-alarms>"], name
        means, first, what = alarm["AlarmDescription"].partition(" First: ")
        assert means.endswith("."), name
        assert first, name
        assert what.endswith("."), name
        assert len(alarm["AlarmDescription"]) <= 1024, name
        assert alarm["TreatMissingData"] == "notBreaching", name
        assert alarm["ComparisonOperator"] == "GreaterThanOrEqualToThreshold", name
        assert len(watched(alarm)) <= 10, name


def test_what_is_watched_is_what_the_functions_emit(
    service: Template, alarms: dict[str, dict[str, Any]], drawn: list[list[Any]]
) -> None:
    """Each metric of ours, with the dimensions that it is emitted with, and values that functions really give them."""
    functions = service.named("AWS::Lambda::Function").values()
    variables = [it["Environment"]["Variables"] for it in functions]
    [says] = {it["POWERTOOLS_SERVICE_NAME"] for it in variables}
    values = {"service": {says}, "lane": {it["ROOMCAST_LANE"] for it in variables} - {""}, "code": set(ERROR_CODES)}
    uses = list(own(alarms, drawn))
    for name, dims in uses:
        assert sorted(dims) == sorted(METRICS[name].dimensions)
        assert all(value in values[it] for it, value in dims.items()), name
    assert values["lane"] == set(LANES)


def test_the_dashboard_draws_every_metric(service: Template, drawn: list[list[Any]]) -> None:
    """All that the functions emit, in every lane that can emit it, and the services' own. Of the archive where there is
    one: tests/infra/test_archive.py."""
    assert {name for name, _ in own({}, drawn)} == set(METRICS) - ARCHIVES
    for name in ("PostsDelivered", "PostsGone", "PostsThrottled", "PostsFailed"):
        assert {dims["lane"] for it, dims in own({}, drawn) if it == name} == set(LANES) - {"hooks"}, name
    assert {dims["lane"] for it, dims in own({}, drawn) if it == "JobsFailed"} == set(LANES)
    for name in ("Deliveries", "Frames", "EntriesServed"):
        assert {dims["lane"] for it, dims in own({}, drawn) if it == name} == set(LANES) - {"ephemeral", "hooks"}, name
    assert {it[-1]["stat"] for it in drawn if it[1] == "AcceptToLastPost"} == {"p50", "p95", "p99"}
    assert {it[-1]["stat"] for it in drawn if it[1] == "AckLatency"} == {"p50", "p99"}
    theirs = {(it[0], it[1]) for it in drawn if it[0] != NAMESPACE}
    assert theirs == {
        ("AWS/SQS", "ApproximateAgeOfOldestMessage"),
        ("AWS/SQS", "ApproximateNumberOfMessagesVisible"),
        ("AWS/Lambda", "Errors"),
        ("AWS/Lambda", "Throttles"),
        ("AWS/Lambda", "ConcurrentExecutions"),
        ("AWS/ApiGateway", "MessageCount"),
        ("AWS/ApiGateway", "ClientError"),
        ("AWS/ApiGateway", "IntegrationError"),
        ("AWS/ApiGateway", "ExecutionError"),
    }


def test_the_dashboard_shows_the_alarms_and_the_limits(service: Template) -> None:
    """Every alarm's state, the age at which a lane rings, the most workers that a lane may have."""
    graphs = {it["title"]: it for it in widgets(service)}
    assert len(graphs["Alarms"]["alarms"]) == len(service.of(ALARM))
    lines = {title: graphs[title]["annotations"]["horizontal"] for title in ("Oldest job, s", "Workers at once")}
    assert {it["label"]: it["value"] for it in lines["Oldest job, s"]} == {
        f"alarm: {lane}": age for lane, age in AGES.items()
    }
    assert {it["label"]: it["value"] for it in lines["Workers at once"]} == {
        f"most: {it.name}": it.max_concurrency for it in LANES.values()
    }


def test_the_rates_are_of_one_lane_each(service: Template) -> None:
    """Deliveries a second and entries per frame: each expression is over its own lane's metrics."""
    graphs = {it["title"]: it["metrics"] for it in widgets(service) if "metrics" in it}
    for title, expression in {
        "Deliveries a second": "deliveries_{0} / PERIOD(deliveries_{0})",
        "Entries per frame": "deliveries_{0} / frames_{0}",
    }.items():
        expressions = {it[0]["label"]: it[0]["expression"] for it in graphs[title] if isinstance(it[0], dict)}
        assert expressions == {it: expression.format(it) for it in LANES if it not in {"ephemeral", "hooks"}}
        for line in graphs[title]:
            if isinstance(line[0], str):
                lane = line[line.index("lane") + 1]
                assert line[-1]["id"] == f"{line[1].lower()}_{lane}"


def test_cloudwatch_may_publish_and_nobody_without_tls(service: Template) -> None:
    """A topic with a policy has lost its default one; under the key that AWS manages CloudWatch could not publish."""
    assert "KmsMasterKeyId" not in service.named("AWS::SNS::Topic")["roomcast-dev-alarms"]
    policies = service.of("AWS::SNS::TopicPolicy").values()
    [policy] = (it for it in policies if it["Topics"] == ["<roomcast-dev-alarms>"])
    statements = {it["Effect"]: it for it in policy["PolicyDocument"]["Statement"]}
    denied, allowed = statements["Deny"], statements["Allow"]
    assert (denied["Principal"], denied["Action"]) == ("*", "sns:Publish")
    assert denied["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert (allowed["Principal"], allowed["Action"]) == ({"Service": "cloudwatch.amazonaws.com"}, "sns:Publish")
    assert allowed["Condition"]["StringEquals"] == {"aws:SourceAccount": "<AWS::AccountId>"}
    assert allowed["Condition"]["ArnLike"]["aws:SourceArn"].endswith(f":<AWS::AccountId>:alarm:{PREFIX}-*")


def test_who_is_told(dev: Any, prod: Any) -> None:
    """The address that the stage names; none named, none told, and the topic is there to subscribe to."""
    kind = "AWS::SNS::Subscription"
    assert kind not in {it["Type"] for it in dev.template(f"{PREFIX}-service").body["Resources"].values()}
    [subscription] = prod.template("roomcast-prod-service").of(kind).values()
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("email", "ops@example.org")


def test_the_dashboard_can_be_found(service: Template) -> None:
    """Its address is among the outputs."""
    [dashboard] = service.of("AWS::CloudWatch::Dashboard").values()
    assert dashboard["DashboardName"] == PREFIX
    assert service.outputs["DashboardUrl"].startswith("https://<AWS::Region>.console.aws.amazon.com/cloudwatch/")
    assert service.outputs["DashboardUrl"].endswith(f"#dashboards/dashboard/{PREFIX}")
