"""What is wrong with a deployment, what CloudWatch is asked, and what the command says when there is nothing to ask."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    ProfileNotFound,
    ReadTimeoutError,
    UnauthorizedSSOTokenError,
)
from rich.console import Console

from adapters.settings import Settings
from domain.lanes import LANES
from ops.reading import FunctionReading, LaneReading, Posts, Reading, read, troubles
from ops.stage import StageError, answered, find_stage
from ops.status import view
from tests.unit.ops.stages import REGION, MotoStage, doorbell, moto_stage
from tests.unit.ops.test_command import NOBODY, roomcast, start

QUIET = Posts(sent=1_000, gone=5, throttled=200, failed=10)


@pytest.fixture
def stage() -> Iterator[MotoStage]:
    yield from moto_stage()


def printed(reading: Reading) -> str:
    """What a person gets."""
    console = Console(width=150, file=StringIO())
    console.print(view(reading))
    return str(console.file.getvalue())  # type: ignore[attr-defined]  # it is a StringIO


# ------------------------------------------------------------------------------------------------ what is wrong


def lane(**parts: Any) -> LaneReading:
    quiet: dict[str, Any] = {
        "waiting": 3,
        "in_flight": 2,
        "delayed": 1,
        "dead": 0,
        "oldest_s": 16.0,
        "workers_up": 2,
        "workers_busy": 2,
        "workers_limit": 2,
        "posts": None,
    }
    return LaneReading(**{**quiet, **parts})


def function(**parts: Any) -> FunctionReading:
    return FunctionReading(**{"errors": 0, "timeouts": 0, "throttles": 0, **parts})


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({}, None),
        ({"lane": lane(dead=1)}, "1 job of bulk in its dead-letter queue: see `roomcast redrive --dry-run`."),
        ({"lane": lane(oldest_s=61.2)}, "The oldest job of bulk has waited for 61 s: its rooms hear their messages"),
        ({"lane": lane(oldest_s=None)}, None),
        ({"function": function(errors=2)}, "The function bulk failed 2 times: its log says why."),
        ({"function": function(errors=2, timeouts=1)}, "failed 2 times, 1 of them out of time: its log says why."),
        ({"function": function(throttles=1)}, "Lambda refused to start bulk 1 time: raise the concurrency quota."),
        ({"posts": Posts(sent=70, gone=0, throttled=30, failed=0)}, "30 % of the posts were throttled: the account's"),
        ({"posts": Posts(sent=90, gone=0, throttled=0, failed=10)}, "10 % of the posts failed: the workers' logs"),
        ({"posts": Posts(sent=0, gone=0, throttled=5, failed=4)}, None),
        ({"throttled": 7}, "7 messages or handshakes of clients were beyond the gateway's rate."),
    ],
)
def test_each_trouble_has_a_sentence(parts: dict[str, Any], words: str | None) -> None:
    """And what is normal under load has none."""
    found = list(
        troubles(
            {"bulk": parts.get("lane", lane())},
            {"bulk": parts.get("function", function()), "authorizer": function(errors=9)},
            parts.get("posts", QUIET),
            parts.get("throttled"),
        )
    )
    assert len(found) == (words is not None)
    assert not words or words in found[0]


# ------------------------------------------------------------------------------------------------ a stage


def test_a_stage_is_read_from_sqs_and_cloudwatch(stage: MotoStage) -> None:
    """Depths from the queues; ages, workers, failures, posts under the names that AWS and our functions give them."""
    stage.bury("interactive", doorbell("tea", 1), doorbell("hall", 1))
    stage.sqs.send_message(QueueUrl=stage.deployment.queues["retry"], MessageBody="{}")
    own = {"service": "roomcast-dev"}
    bulk = {**own, "lane": "bulk"}
    for space, name, dimensions, value in [
        ("AWS/SQS", "ApproximateAgeOfOldestMessage", {"QueueName": "roomcast-dev-retry"}, 75),
        ("AWS/SQS", "ApproximateAgeOfOldestMessage", {"QueueName": "roomcast-dev-bulk.fifo"}, 99),
        ("AWS/Lambda", "ConcurrentExecutions", {"FunctionName": "roomcast-dev-bulk"}, 2),
        ("AWS/Lambda", "Errors", {"FunctionName": "roomcast-dev-connect"}, 4),
        ("AWS/Lambda", "Throttles", {"FunctionName": "roomcast-dev-message"}, 3),
        ("roomcast", "PostsDelivered", bulk, 100),
        ("roomcast", "PostsGone", bulk, 1),
        ("roomcast", "PostsThrottled", bulk, 7),
        ("roomcast", "PostsFailed", bulk, 2),
        ("roomcast", "PostsDelivered", {**own, "lane": "retry"}, 10),
        ("roomcast", "Connects", own, 12),
        ("roomcast", "Disconnects", own, 11),
        ("roomcast", "Connects", {"service": "roomcast-prod"}, 1_000),
    ]:
        named = [{"Name": it, "Value": known} for it, known in dimensions.items()]
        number = {"MetricName": name, "Dimensions": named, "Value": value, "Timestamp": datetime.now(UTC)}
        stage.client("cloudwatch").put_metric_data(Namespace=space, MetricData=[number])
    reading = read(stage.deployment)
    assert {it: lane.dead for it, lane in reading.lanes.items()} == {**dict.fromkeys(LANES, 0), "interactive": 2}
    assert (reading.lanes["retry"].waiting, reading.lanes["retry"].oldest_s) == (1, 75)
    # CloudWatch still has the age of what is done.
    assert (reading.lanes["bulk"].waiting, reading.lanes["bulk"].oldest_s) == (0, None)
    assert (reading.lanes["bulk"].workers_busy, reading.lanes["bulk"].workers_limit) == (2, 2)
    assert reading.lanes["bulk"].posts == Posts(sent=100, gone=1, throttled=7, failed=2)
    assert reading.posts == Posts(sent=110, gone=1, throttled=7, failed=2)
    assert reading.functions["connect"] == FunctionReading(errors=4, timeouts=None, throttles=0)
    assert (reading.connects, reading.disconnects, reading.connections) == (12, 11, None)
    assert len(reading.troubles) == 4
    json.dumps(reading.as_json())
    text = printed(reading)
    assert "75 s" in text
    assert all(it in text for it in reading.troubles)


TEMPLATE = {
    "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
    "Outputs": {"WebSocketUrl": {"Value": "wss://api/dev"}},
}


def deploy(stage: MotoStage, environ: dict[str, str]) -> None:
    """What `find_stage` asks of a stage: its stack, and a function's settings."""
    stage.client("cloudformation").create_stack(StackName="roomcast-dev-service", TemplateBody=json.dumps(TEMPLATE))
    trust = json.dumps({"Version": "2012-10-17", "Statement": []})
    role = stage.client("iam").create_role(RoleName="worker", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    stage.client("lambda").create_function(
        FunctionName="roomcast-dev-message",
        Role=role,
        Runtime="python3.13",
        Handler="services.message:handler",
        Code={"S3Bucket": "none", "S3Key": "none"},
        Environment={"Variables": environ},
    )


def test_a_stage_is_found_by_its_name(stage: MotoStage, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the lanes' settings and queues that its functions have."""
    monkeypatch.setenv("VALIDATE_LAMBDA_S3", "false")
    made = stage.deployment
    settings = Settings(
        tables={}, queues=made.queues, dead_letter_queues=made.dead_letter_queues, management_endpoint="https://api/dev"
    )
    deploy(stage, settings.as_environment())
    found = find_stage("dev", region=REGION)
    assert (str(found), found.prefix, found.websocket_url) == (
        "the stage dev in us-east-1",
        "roomcast-dev",
        "wss://api/dev",
    )
    assert (found.queues, found.dead_letter_queues, found.lanes) == (made.queues, made.dead_letter_queues, LANES)
    assert found.client("sqs").list_queues()["QueueUrls"]


def test_a_stage_of_another_release_is_named(stage: MotoStage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its settings can't be read."""
    monkeypatch.setenv("VALIDATE_LAMBDA_S3", "false")
    deploy(stage, {"ROOMCAST_TABLES": "{}"})
    with pytest.raises(StageError, match=r"^the stage dev in us-east-1 was deployed by another release .* is missing"):
        find_stage("dev", region=REGION)


def test_a_stage_that_is_not_there_is_named(stage: MotoStage) -> None:
    """With what to do."""
    assert stage
    with pytest.raises(StageError, match=r"^there is no stage dev in us-east-1 \(no stack roomcast-dev-service\)"):
        find_stage("dev", region=REGION)


def refused(code: str, message: str = "no") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "ReceiveMessage")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (refused("AccessDenied", "user x may not"), "your credentials may not call ReceiveMessage: user x may not"),
        (refused("ExpiredToken"), "AWS does not accept your credentials (ExpiredToken); sign in again"),
        (refused("ThrottlingException", "slow down"), "ReceiveMessage: slow down"),
        (EndpointConnectionError(endpoint_url="https://sqs"), "can't be reached: Could not connect"),
        (ReadTimeoutError(endpoint_url="https://sqs"), "can't be reached: Read timeout"),
        (NoCredentialsError(), "there are no AWS credentials; sign in, or name a --profile"),
        (NoRegionError(), "no Region is set; name it with --region"),
        (ProfileNotFound(profile="x"), "The config profile (x) could not be found; name another --profile"),
        (UnauthorizedSSOTokenError(), "The SSO session associated with this profile has expired"),
    ],
)
def test_what_aws_answers_becomes_a_sentence(error: Exception, words: str) -> None:
    """Whatever is raised on the way, with the remedy where there is one."""
    with pytest.raises(StageError) as caught, answered("the stage dev"):
        raise error
    assert str(caught.value).startswith("the stage dev")
    assert words in str(caught.value)


# ------------------------------------------------------------------------------------------------ a twin

TWIN = {
    "ws": "ws://127.0.0.1:1/dev",
    "cloud": NOBODY,
    "region": REGION,
    "functions": {
        **{it: {"pids": [1, 2], "busy": [2], "errors": 0, "timeouts": 0, "crashes": 0} for it in LANES},
        "connect": {"pids": [3], "busy": [], "errors": 1, "timeouts": 2, "crashes": 3},
    },
    "posts": {"sent": 100, "gone": 2, "throttled": 3, "failed": 4},
    "gateway": {"open": 5, "connects": 6, "disconnects": 7, "throttled": 0},
    "queues": {it: {"visible": 1, "in_flight": 2, "delayed": 3, "dead": 0, "oldest_s": 0.5} for it in LANES},
    "settings": {"lanes": {name: asdict(it) for name, it in LANES.items()}, "shard_limit": 1_000},
    "queue_urls": {"lanes": {}, "dead": {}},
    "hooks": "http://127.0.0.1:8080/hooks",
}


@pytest.fixture
async def twin() -> AsyncIterator[str]:
    """The WebSocket URL of what says the same of itself for ever."""

    async def status(_: web.Request) -> web.Response:
        return web.json_response(TWIN)

    app = web.Application()
    app.router.add_get("/twin", status)
    async with TestServer(app) as server:
        yield f"ws://127.0.0.1:{server.port}/dev"


async def test_a_twin_is_read_from_its_counters(twin: str) -> None:
    """For programs, all of it; whose counters begin with the twin itself."""
    status, out, _ = await roomcast("status", "--url", twin, "--json")
    answer = json.loads(out)
    assert (status, answer["healthy"], answer["minutes"]) == (0, False, None)
    assert answer["troubles"] == ["The function connect failed 6 times, 2 of them out of time: its log says why."]
    assert answer["posts"] == TWIN["posts"]
    assert (answer["connections"], answer["connects"], answer["disconnects"]) == (5, 6, 7)
    assert answer["lanes"]["bulk"] == {
        "waiting": 1,
        "in_flight": 2,
        "delayed": 3,
        "dead": 0,
        "oldest_s": 0.5,
        "workers_up": 2,
        "workers_busy": 1,
        "workers_limit": LANES["bulk"].max_concurrency,
        "posts": None,
    }


async def test_a_person_gets_a_table(twin: str) -> None:
    """With every lane, and what is wrong."""
    status, out, err = await roomcast("status", "--url", twin)
    assert (status, err) == (0, "")
    assert all(it in out for it in (*LANES, "5 connections are open", "connect failed 6 times"))


@pytest.mark.parametrize("options", [["--json"], []])
async def test_a_watch_ends_with_ctrl_c(twin: str, options: list[str]) -> None:
    """One reading after the other, as lines of JSON where those are asked for, and status 0."""
    process = await start("status", "--watch", "0.5", "--url", twin, *options)
    assert process.stdout is not None
    if options:
        for _ in range(2):
            assert json.loads(await process.stdout.readline())["posts"] == TWIN["posts"]
    else:
        for _ in range(2):
            await process.stdout.readuntil(b"connect failed 6 times")
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")


async def test_a_watch_on_a_terminal_stays_in_place(twin: str) -> None:
    """Each table over the one before it."""
    ours, its = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ops.main", "status", "--watch", "0.5", "--url", twin),
        stdout=its,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(its)
    try:
        seen = b""
        while seen.count(b"connect failed 6 times") < 2:
            seen += await asyncio.to_thread(os.read, ours, 4096)
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
    finally:
        os.close(ours)
    assert b"\x1b[1A" in seen  # a line up


# ------------------------------------------------------------------------------------------------ the command


async def test_no_twin_is_one_sentence() -> None:
    """With status 1, and what to do."""
    for command in ("status", "redrive"):
        status, out, err = await roomcast(command, "--url", NOBODY, *(["--dry-run"] if command == "redrive" else []))
        assert (status, out, err.count("\n")) == (1, "", 1)
        assert err.startswith(f"roomcast: no twin answers at {NOBODY}; `roomcast up` starts one, ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["5"], "5: seconds go with --watch; add it"),
        (["--watch", "0.1"], "--watch 0.1: it must be between 0.5 and 3600 seconds"),
        (["--profile", "x"], "--profile x: it is for a stage on AWS"),
    ],
)
async def test_bad_usage_is_one_sentence(arguments: list[str], words: str) -> None:
    """With status 2."""
    status, out, err = await roomcast("status", *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert words in err


async def test_help_has_an_example() -> None:
    """It tells how it is called."""
    _, out, _ = await roomcast("status", "--help")
    assert "Example: roomcast status --watch 5" in out
