"""The archive of a stage that has one: a bucket that is hard to lose, and a function that may do what it does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.dynamodb.changes import ENTRY_CHANGES
from adapters.observability import NAMESPACE
from adapters.settings import Settings
from tests.infra.conftest import Synthesis, Synthesize
from tests.infra.templates import Template
from tests.infra.test_observability import ARCHIVES, watched

BUCKET, MAPPING = "AWS::S3::Bucket", "AWS::Lambda::EventSourceMapping"
NAME = "roomcast-prod-archive-<AWS::AccountId>-<AWS::Region>"
LOST = "roomcast-prod-archive-lost"
ARCHIVE = "roomcast-prod-archive"


@pytest.fixture(scope="module")
def state(prod: Synthesis) -> Template:
    return prod.template("roomcast-prod-state")


@pytest.fixture(scope="module")
def service(prod: Synthesis) -> Template:
    return prod.template("roomcast-prod-service")


def bucket(state: Template) -> dict[str, Any]:
    [found] = state.of(BUCKET).values()
    properties: dict[str, Any] = found
    return properties


def rules(state: Template) -> dict[str, dict[str, Any]]:
    return {it["Id"]: it for it in bucket(state)["LifecycleConfiguration"]["Rules"]}


def test_a_stage_has_none_unless_it_is_asked_for(dev: Synthesis) -> None:
    """No bucket, no stream, no function, and no function is told of one."""
    bodies = [dev.template(f"roomcast-dev-{it}").body for it in ("state", "service")]
    types = {it["Type"] for body in bodies for it in body["Resources"].values()}
    assert BUCKET not in types
    assert "StreamSpecification" not in json.dumps(bodies)
    functions = dev.template("roomcast-dev-service").named("AWS::Lambda::Function")
    assert "roomcast-dev-archive" not in functions
    assert {Settings.from_environment(it["Environment"]["Variables"]).bucket for it in functions.values()} == {""}


def test_the_bucket_is_encrypted_and_nobody_elses(state: Template) -> None:
    """Not public, by TLS only, without older versions; and it outlives its stack."""
    [(name, found)] = state.of(BUCKET).items()
    assert name == "ArchiveBucket49F1AC64", "a new logical id is a new bucket"
    assert found["BucketName"] == NAME
    [encryption] = found["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert encryption["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    assert set(found["PublicAccessBlockConfiguration"].values()) == {True}
    assert "VersioningConfiguration" not in found
    resource = state.body["Resources"][name]
    assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("Retain", "Retain")
    [policy] = state.of("AWS::S3::BucketPolicy").values()
    [denied] = policy["PolicyDocument"]["Statement"]
    assert (denied["Effect"], denied["Action"]) == ("Deny", "s3:*")
    assert denied["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_objects_get_cooler_and_end(state: Template) -> None:
    """Those of the log in classes that answer at once; broken uploads in a day."""
    found = rules(state)
    assert set(found) == {"BrokenUploads", "Log", "Unreadable"}
    assert found["BrokenUploads"]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert (found["Log"]["Prefix"], found["Log"]["ExpirationInDays"]) == ("log/", 365)
    assert {it["StorageClass"]: it["TransitionInDays"] for it in found["Log"]["Transitions"]} == {
        "STANDARD_IA": 30,
        "GLACIER_IR": 90,
    }
    assert (found["Unreadable"]["Prefix"], found["Unreadable"]["ExpirationInDays"]) == ("unreadable/", 365)


@pytest.mark.slow
def test_an_archive_without_an_end_and_a_short_one(synthesize: Synthesize) -> None:
    """Nothing expires; and nothing is moved that would expire before."""
    for days, transitions in (("0", 2), ("60", 1), ("7", 0)):
        state = synthesize(archive="true", archive_days=days).template("roomcast-dev-state")
        log = rules(state)["Log"]
        assert log.get("ExpirationInDays", 0) == int(days)
        assert len(log.get("Transitions", ())) == transitions
        [name] = state.of(BUCKET)
        assert state.body["Resources"][name]["DeletionPolicy"] == "Delete"


def test_the_messages_tell_of_their_changes(state: Template, service: Template) -> None:
    """That table alone; the service finds the stream by a parameter."""
    tables = state.named("AWS::DynamoDB::Table")
    streams = {name: it["StreamSpecification"] for name, it in tables.items() if "StreamSpecification" in it}
    assert streams == {"roomcast-prod-messages": {"StreamViewType": "NEW_IMAGE"}}
    parameters = {it["Name"]: it["Value"] for it in state.of("AWS::SSM::Parameter").values()}
    assert parameters["/roomcast-prod/messages-stream"] == "<roomcast-prod-messages.StreamArn>"
    [asked] = [name for name, it in service.body["Parameters"].items() if it.get("Default", "").endswith("-stream")]
    assert mapping(service)["EventSourceArn"] == f"<{asked}>"


def mapping(service: Template) -> dict[str, Any]:
    [found] = [it for it in service.of(MAPPING).values() if it["FunctionName"] == f"<{ARCHIVE}>"]
    properties: dict[str, Any] = found
    return properties


def test_nothing_is_lost_silently(service: Template) -> None:
    """From the oldest change on, in order, halved where the function fails, given up before the stream forgets, and
    then told to a queue that rings."""
    found = mapping(service)
    assert (found["StartingPosition"], found["ParallelizationFactor"]) == ("TRIM_HORIZON", 1)
    assert found["BisectBatchOnFunctionError"] is True
    assert found["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert found["MaximumRecordAgeInSeconds"] == 23 * 3600
    assert "MaximumRetryAttempts" not in found, "until then it is tried for ever"
    assert (found["BatchSize"], found["MaximumBatchingWindowInSeconds"]) == (2_000, 60)
    assert [json.loads(it["Pattern"]) for it in found["FilterCriteria"]["Filters"]] == [ENTRY_CHANGES]
    assert found["DestinationConfig"] == {"OnFailure": {"Destination": f"<{LOST}.Arn>"}}
    queue = service.named("AWS::SQS::Queue")[LOST]
    assert (queue["SqsManagedSseEnabled"], queue["MessageRetentionPeriod"]) == (True, 14 * 86_400)


def test_the_function_may_do_what_it_does(service: Template) -> None:
    """These actions on these resources, and nothing else; X-Ray's, since the stage traces."""
    role = service.named("AWS::Lambda::Function")[ARCHIVE]["Role"].replace(".Arn", "")
    [policy] = [it for it in service.of("AWS::IAM::Policy").values() if it["Roles"] == [role]]
    stream = mapping(service)["EventSourceArn"]
    arn = f"arn:<AWS::Partition>:s3:::{NAME}"
    statements = {it.get("Sid"): (it["Action"], it["Resource"]) for it in policy["PolicyDocument"]["Statement"]}
    table = "arn:<AWS::Partition>:dynamodb:<AWS::Region>:<AWS::AccountId>:table/roomcast-prod-rooms"
    assert statements == {
        "OwnLog": (["logs:CreateLogStream", "logs:PutLogEvents"], f"</aws/lambda/{ARCHIVE}.Arn>"),
        "TableRooms": ("dynamodb:BatchGetItem", table),
        "Changes": (
            ["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams"],
            stream,
        ),
        "Objects": (["s3:GetObject", "s3:PutObject"], [f"{arn}/log/*", f"{arn}/unreadable/*"]),
        "Names": ("s3:ListBucket", arn),
        "Lost": ("sqs:SendMessage", f"<{LOST}.Arn>"),
        "Trace": (["xray:PutTraceSegments", "xray:PutTelemetryRecords"], "*"),
        None: (["xray:PutTraceSegments", "xray:PutTelemetryRecords"], "*"),  # the CDK's own, the same once more
    }


def test_functions_and_operators_find_the_bucket(service: Template) -> None:
    """Each function is told, the command asks one of them; and the outputs say it."""
    for function in service.named("AWS::Lambda::Function").values():
        assert Settings.from_environment(function["Environment"]["Variables"]).bucket == NAME
    assert service.outputs["ArchiveBucket"] == NAME
    assert service.outputs["ArchiveLostQueue"] == f"<{LOST}.QueueName>"


def test_a_late_lost_or_unreadable_change_rings(service: Template) -> None:
    """Half an hour late, the first that is lost, the first that can't be read."""
    alarms = {it["AlarmName"]: it for it in service.of("AWS::CloudWatch::Alarm").values()}
    late, lost, unreadable = (alarms[f"{ARCHIVE}-{it}"] for it in ("late", "lost", "unreadable"))
    assert (late["MetricName"], late["Statistic"], late["Threshold"]) == ("IteratorAge", "Maximum", 1_800_000)
    assert late["Dimensions"] == [{"Name": "FunctionName", "Value": f"<{ARCHIVE}>"}]
    assert (lost["MetricName"], lost["Threshold"]) == ("ApproximateNumberOfMessagesVisible", 1)
    assert lost["Dimensions"] == [{"Name": "QueueName", "Value": f"<{LOST}.QueueName>"}]
    [metric] = watched(unreadable)
    assert (metric["Namespace"], metric["MetricName"]) == (NAMESPACE, "ArchiveUnreadable")
    assert unreadable["Threshold"] == 1


def test_the_dashboard_draws_it(service: Template) -> None:
    """How late it is, and what is written."""
    [dashboard] = service.of("AWS::CloudWatch::Dashboard").values()
    graphs = [it["properties"].get("metrics", ()) for it in json.loads(dashboard["DashboardBody"])["widgets"]]
    drawn = {line[1] for graph in graphs for line in graph if isinstance(line[0], str)}
    assert {"IteratorAge", *ARCHIVES} <= drawn
