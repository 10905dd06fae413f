"""The synthesized template on the emulator, its IAM on. The tests go in order: deployed, used, destroyed.

`make e2e` runs them; the default run does not, for it takes minutes and Node.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit
from xml.etree import ElementTree

import aioboto3
import aiohttp
import jwt
import pytest
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin, Subprotocol

from adapters.dynamodb import DynamoStore
from adapters.settings import Settings, table_names
from domain.fanout import Doorbell, encode_job, group_of
from domain.lanes import LANES
from domain.rooms import due_bucket, due_minute
from domain.webhooks import signatures
from infra.permissions import TABLES
from local.cloud import ACCOUNT, REGION
from tests.conformance.clients import fresh
from tests.deploy.deployment import (
    ADMINISTRATOR,
    API,
    PATIENCE,
    PREFIX,
    ROOT,
    STAGE,
    CommandFailed,
    Deployment,
    wait_until,
)
from tests.deploy.differences import DIFFERENCES
from tests.e2e.people import Person, person

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(400)]

SUITE_SECONDS = 300.0
"""What the suite may take; it takes 40."""
SOCKETS = f"arn:aws:execute-api:{REGION}:{ACCOUNT}:{API}/{STAGE}/*/@connections/*"
OPERATOR = {
    "*": ["cloudformation:DescribeStacks", "cloudwatch:GetMetricData", "lambda:GetFunctionConfiguration"],
    f"arn:aws:sqs:{REGION}:{ACCOUNT}:{PREFIX}-*": [
        "sqs:ChangeMessageVisibility",
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
        "sqs:ReceiveMessage",
        "sqs:SendMessage",
    ],
}
"""What `roomcast status` and `roomcast redrive` need: resource → actions."""
TUNER = {
    "*": [
        "cloudformation:DescribeStacks",
        "lambda:GetEventSourceMapping",
        "lambda:ListEventSourceMappings",
        "lambda:UpdateEventSourceMapping",
    ],
    f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{PREFIX}-*": [
        "lambda:GetFunctionConfiguration",
        "lambda:UpdateFunctionConfiguration",
    ],
}
"""What `roomcast tune --apply` and `--undo` need."""
REGISTRAR = {
    "*": [
        "cloudformation:DescribeStacks",
        "lambda:GetFunctionConfiguration",
        "cognito-idp:AdminAddUserToGroup",
        "cognito-idp:AdminCreateUser",
        "cognito-idp:AdminGetUser",
        "cognito-idp:AdminListGroupsForUser",
        "cognito-idp:AdminSetUserPassword",
    ],
}
"""What `roomcast user` needs."""
HOOKS = {
    "*": ["cloudformation:DescribeStacks", "lambda:GetFunctionConfiguration"],
    f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{PREFIX}-publish": ["lambda:InvokeFunction"],
}
"""What `roomcast webhook` needs."""
PAGE = "https://chat.example.org"
PASSWORD = "Correct-horse-7"
ADDRESSES = {
    "WebSocketUrl": f"wss://{API}.execute-api.{REGION}.amazonaws.com/{STAGE}",
    "InteractiveQueue": f"{PREFIX}-interactive.fifo",
    "RetryDeadLetterQueue": f"{PREFIX}-retry-dead",
}


def logged(deployment: Deployment, function: str) -> list[str]:
    """What a function has logged. Of those that API Gateway invokes the emulator keeps no log, but the authorizer's."""
    pages = deployment.client("logs").get_paginator("filter_log_events")
    return [
        event["message"]
        for page in pages.paginate(logGroupName=f"/aws/lambda/{PREFIX}-{function}")
        for event in page["events"]
    ]


def counted(deployment: Deployment, function: str, metric: str) -> float:
    """A metric's sum over all that a function has logged."""
    lines = [json.loads(it) for it in logged(deployment, function) if it.startswith('{"_aws"')]
    return float(sum(sum(it.get(metric, ())) for it in lines))


@contextmanager
def without_sockets(deployment: Deployment, lane: str) -> Iterator[None]:
    """Meanwhile a worker's role has no execute-api:ManageConnections."""
    iam, functions = deployment.client("iam"), deployment.client("lambda")
    role = functions.get_function_configuration(FunctionName=f"{PREFIX}-{lane}")["Role"].rpartition("/")[2]
    [policy] = iam.list_role_policies(RoleName=role)["PolicyNames"]
    whole: dict[str, Any] = iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
    rest = [it for it in whole["Statement"] if it["Action"] != "execute-api:ManageConnections"]
    assert len(rest) == len(whole["Statement"]) - 1
    put = {"RoleName": role, "PolicyName": policy}
    iam.put_role_policy(**put, PolicyDocument=json.dumps({**whole, "Statement": rest}))
    try:
        yield
    finally:
        iam.put_role_policy(**put, PolicyDocument=json.dumps(whole))


def user(deployment: Deployment, name: str, **may: Sequence[str]) -> dict[str, str]:
    """The credentials of a user who may do certain actions, resource → actions, and nothing else."""
    iam = deployment.client("iam")
    statements = [{"Effect": "Allow", "Action": actions, "Resource": it} for it, actions in may.items()]
    iam.create_user(UserName=name)
    document = json.dumps({"Version": "2012-10-17", "Statement": statements})
    iam.put_user_policy(UserName=name, PolicyName="May", PolicyDocument=document)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}


async def roomcast(deployment: Deployment, credentials: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    """(status, standard output, standard error) of a command about the stage."""
    environ = {
        **{it: os.environ[it] for it in ("HOME", "LANG", "PATH") if it in os.environ},
        **credentials,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": deployment.endpoint,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ops.main", *arguments), cwd=ROOT, env=environ, stdout=pipe, stderr=pipe
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_the_outputs_say_where_everything_is(deployment: Deployment) -> None:
    """Where clients connect, and what the queues are called."""
    assert {it: deployment.outputs[it] for it in ADDRESSES} == ADDRESSES
    assert deployment.outputs["ManagementUrl"] == deployment.management_url
    urls = await asyncio.to_thread(lambda: deployment.client("sqs").list_queues()["QueueUrls"])
    queues = {value for name, value in deployment.outputs.items() if name.endswith("Queue")}
    assert {it.rpartition("/")[2] for it in urls} == queues
    assert len(queues) == 2 * len(LANES)


async def test_it_conforms(deployment: Deployment, tmp_path: Path) -> None:
    """The whole conformance suite passes, but for what is the emulator's own."""
    report = tmp_path / "report.xml"
    environ = {
        **{it: os.environ[it] for it in ("HOME", "LANG", "PATH") if it in os.environ},
        **await asyncio.to_thread(
            lambda: user(deployment, "conformance", **{SOCKETS: ["execute-api:ManageConnections"]})
        ),
        "AWS_REGION": REGION,
        "ROOMCAST_WS_URL": deployment.websocket_url,
        "ROOMCAST_MANAGEMENT_URL": deployment.management_url,
    }
    options = ["-p", "tests.deploy.differences", "-p", "no:cacheprovider", "--maxfail=3", f"--junitxml={report}"]
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "pytest", "tests/conformance", *options],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=SUITE_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [suite] = ElementTree.parse(report).getroot()
    ran, expected = int(suite.attrib["tests"]), int(suite.attrib["skipped"])
    assert expected == len(DIFFERENCES)
    assert ran - expected >= 80


async def test_who_is_away_is_told(deployment: Deployment) -> None:
    """By the one role that may publish to the topic, which takes nothing without TLS; and nobody who has opted out."""
    sns, sqs = deployment.client("sns"), deployment.client("sqs")
    bob, eve, room = fresh("bob"), fresh("eve"), fresh("hall")

    def subscribe() -> str:
        url: str = sqs.create_queue(QueueName="subscriber")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        topic = deployment.outputs["NoticesTopic"]
        statement = {  # as docs/notices.md has it
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
            "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
        wanted = {"RawMessageDelivery": "true", "FilterPolicy": json.dumps({"userId": [bob, eve]})}
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes=wanted)
        return url

    url = await asyncio.to_thread(subscribe)
    async with person(deployment.websocket_url, fresh("ada"), room) as ada:
        for name in (eve, bob):
            async with person(deployment.websocket_url, name, room) as someone:
                reply = await someone.ask(type="notices", enabled=name == bob)
                assert reply["data"]["enabled"] is (name == bob)
            await ada.until(lambda: any(it["userId"] == name for it in ada.seen("user_left")), PATIENCE)  # noqa: B023  # awaited at once
            reply = await ada.ask(type="private_message", targetUserId=name, message="psst")
            assert reply["data"]["online"] is False
        await asyncio.to_thread(wait_until, lambda: bool(_bodies(sqs, url)))
        [notice] = map(json.loads, await asyncio.to_thread(_bodies, sqs, url))
        assert (notice["userId"], notice["senderId"], notice["kind"]) == (bob, ada.user, "private_message")
    await asyncio.to_thread(lambda: sqs.delete_queue(QueueUrl=url))


async def test_poison_is_buried(deployment: Deployment) -> None:
    """In every lane, by a worker under its own role."""
    sqs = deployment.client("sqs")
    for lane in LANES.values():
        name = deployment.outputs[f"{lane.name.title()}Queue"]
        dead = deployment.outputs[f"{lane.name.title()}DeadLetterQueue"]
        order = {"MessageGroupId": "poison", "MessageDeduplicationId": "poison"} if lane.fifo else {}
        url, dead_url = (sqs.get_queue_url(QueueName=it)["QueueUrl"] for it in (name, dead))
        await asyncio.to_thread(lambda: sqs.send_message(QueueUrl=url, MessageBody="poison", **order))  # noqa: B023
        await asyncio.to_thread(wait_until, lambda: _bodies(sqs, dead_url) == ["poison"])  # noqa: B023
        # SQS moves it there too, after the lane's number of receives: then none was buried.
        await asyncio.to_thread(wait_until, lambda: counted(deployment, lane.name, "JobsBuried") == 1)  # noqa: B023


async def test_an_operator_sees_and_redrives_dead_letters(deployment: Deployment) -> None:
    """By the stage's name, with no more rights than docs/operating.md names: the poison is there, a job goes back to
    its lane and is done, the poison is dropped on demand."""
    credentials = await asyncio.to_thread(lambda: user(deployment, "operator", **OPERATOR))
    sqs = deployment.client("sqs")
    dead = sqs.get_queue_url(QueueName=deployment.outputs["InteractiveDeadLetterQueue"])["QueueUrl"]
    job = Doorbell(room="nowhere", epoch=1, shard=0, seq=1)
    order = {"MessageGroupId": group_of(job), "MessageDeduplicationId": "job"}
    await asyncio.to_thread(lambda: sqs.send_message(QueueUrl=dead, MessageBody=encode_job(job), **order))

    async def waiting() -> dict[str, int]:
        status, out, err = await roomcast(deployment, credentials, "status", "--stage", STAGE, "--json")
        assert (status, err) == (0, "")
        return {name: it["dead"] for name, it in json.loads(out)["lanes"].items()}

    assert await waiting() == {**dict.fromkeys(LANES, 1), "interactive": 2}
    done = await asyncio.to_thread(counted, deployment, "interactive", "JobsBuried")
    status, out, err = await roomcast(
        deployment, credentials, "redrive", "--stage", STAGE, "--yes", "--drop-poison", "--json"
    )
    answer = json.loads(out)
    assert (status, err, answer["redriven"], answer["dropped"]) == (0, "", {"interactive": 1}, len(LANES))
    await asyncio.to_thread(wait_until, lambda: _bodies(sqs, dead) == [])
    assert await waiting() == dict.fromkeys(LANES, 0)
    assert await asyncio.to_thread(counted, deployment, "interactive", "JobsBuried") == done


async def test_who_may_not_operate_is_told(deployment: Deployment) -> None:
    """What is not there, or not allowed, in a sentence."""
    nobody = await asyncio.to_thread(lambda: user(deployment, "nobody", **{SOCKETS: ["execute-api:Invoke"]}))
    for credentials, stage, words in (
        (ADMINISTRATOR, "nowhere", "there is no stage nowhere in us-east-1"),
        (nobody, STAGE, "your credentials may not call DescribeStacks"),
    ):
        status, out, err = await roomcast(deployment, credentials, "status", "--stage", stage)
        assert (status, out, err.count("\n")) == (1, "", 1)
        assert words in err


async def test_no_role_lacks_anything(deployment: Deployment) -> None:
    """After all that, none of the functions has been denied a call."""
    for lane in LANES:
        lines = await asyncio.to_thread(logged, deployment, lane)
        assert [it for it in lines if "AccessDenied" in it] == []


async def test_what_a_role_lacks_is_denied(deployment: Deployment) -> None:
    """A message is acknowledged, and reaches nobody as long as the workers may not post; then the retry lane has it."""
    ws, room = deployment.websocket_url, fresh("hall")
    async with person(ws, fresh("ada"), room) as ada, person(ws, fresh("bob"), room) as bob:
        await ada.say("before", room)
        for someone in (ada, bob):
            await someone.hears("before")
        failed = await asyncio.to_thread(counted, deployment, "retry", "PostsFailed")
        with without_sockets(deployment, "interactive"):
            with without_sockets(deployment, "retry"):
                await ada.say("denied", room)
                # One for each of them: both lanes have tried.
                await asyncio.to_thread(wait_until, lambda: counted(deployment, "retry", "PostsFailed") >= failed + 2)
                assert ada.messages == bob.messages == ["before"]
            for someone in (ada, bob):
                await someone.hears("denied", patience=PATIENCE)
        await ada.say("after", room)
        for someone in (ada, bob):
            await someone.hears("after")


async def test_the_minute_ends_a_lease(deployment: Deployment) -> None:
    """The rule's function closes a socket that was not heard of, under its own role."""
    session = aioboto3.Session(
        region_name=REGION,
        aws_access_key_id=ADMINISTRATOR["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=ADMINISTRATOR["AWS_SECRET_ACCESS_KEY"],
    )
    async with (
        person(deployment.websocket_url, fresh("ada"), fresh("hall")) as ada,
        session.client("dynamodb", endpoint_url=deployment.endpoint) as client,
    ):
        connection = ada.seen("welcome")[0]["connectionId"]
        store = DynamoStore(client, table_names(PREFIX))
        row = (await store.session(connection)).connection
        assert row is not None
        # As if it had been found dead in the minute before it came, and that minute's tick were still to be done.
        minute = row.connected_at // 60_000 - 1
        await store.renew(connection, row.connected_at)
        await store.move_due(connection, due_minute(row.lease_until), minute)
        await store.set_ticked(due_bucket(connection), minute - 1)
        async with asyncio.timeout(PATIENCE):
            await ada.socket.wait_closed()
        # Its log is written when it has returned, and its row goes after its socket.
        await asyncio.to_thread(wait_until, lambda: counted(deployment, "tick", "LeasesEnded") == 1)
        assert (await store.session(connection)).connection is None


async def test_its_lanes_are_changed_and_changed_back(deployment: Deployment) -> None:
    """`roomcast tune --apply` and `--undo`: mappings and functions get the settings, messages still arrive."""
    functions = deployment.client("lambda")

    def read() -> tuple[int, set[tuple[int, int]]]:
        [mapping] = functions.list_event_source_mappings(FunctionName=f"{PREFIX}-interactive")["EventSourceMappings"]
        deployed = [it for it in TABLES if it != "archive"]
        told = [functions.get_function_configuration(FunctionName=f"{PREFIX}-{it}") for it in deployed]
        lanes = [Settings.from_environment(it["Environment"]["Variables"]).lanes["interactive"] for it in told]
        return mapping["BatchSize"], {(it.batch_size, it.post_concurrency) for it in lanes}

    credentials = await asyncio.to_thread(lambda: user(deployment, "tuner", **TUNER))

    async def tune(*arguments: str) -> None:
        status, out, err = await roomcast(deployment, credentials, "tune", "--stage", STAGE, "--yes", *arguments)
        assert status == 0, out + err

    before = await asyncio.to_thread(read)
    await tune("--apply", "--use", "interactive.batch_size=5", "--use", "interactive.post_concurrency=32")
    assert await asyncio.to_thread(read) == (5, {(5, 32)})
    ws, room = deployment.websocket_url, fresh("hall")
    async with person(ws, fresh("ada"), room) as ada:
        await ada.say("tuned", room)
        await ada.hears("tuned")
    await tune("--undo")
    assert await asyncio.to_thread(read) == before


async def test_a_server_speaks_by_a_webhook(deployment: Deployment) -> None:
    """An operator makes one with no more rights than docs/operating.md names; who posts to it needs none. Its function
    may do all that takes, also where the room tells an outgoing one, and nobody without the secret is heard."""
    credentials = await asyncio.to_thread(lambda: user(deployment, "integrator", **HOOKS))
    room = fresh("works")

    async def added(*options: str) -> dict[str, str]:
        common = ("--room", room, "--name", "ci", "--stage", STAGE, "--json")
        status, out, err = await roomcast(deployment, credentials, "webhook", "add", *common, *options)
        assert status == 0, err
        made: dict[str, str] = json.loads(out)
        return made

    async def post(session: aiohttp.ClientSession, url: str, secret: str, text: str) -> int:
        body = json.dumps({"message": text}).encode()
        headers = signatures([secret], fresh("msg"), int(time.time()), body)
        async with session.post(url, data=body, headers=headers) as response:
            await response.read()
            return response.status

    async with person(deployment.websocket_url, fresh("ada"), room) as ada, aiohttp.ClientSession() as session:
        hook = await added("--incoming")
        assert hook["url"] == f"{deployment.outputs['WebhooksUrl']}/{hook['id']}"
        # On AWS that leads there; the emulator's names of APIs are in no DNS.
        api = urlsplit(hook["url"]).netloc.partition(".")[0]
        url = f"{deployment.endpoint}/_aws/execute-api/{api}/$default/hooks/{hook['id']}"
        assert await post(session, url, hook["secret"], "first") == 200
        outgoing = await added("--to", "https://receiver.invalid/hook")
        assert await post(session, url, hook["secret"], "second") == 200
        assert await post(session, url, outgoing["secret"], "forged") == 401
        assert await post(session, f"{url}/more", hook["secret"], "elsewhere") == 404
        await ada.hears("second", patience=PATIENCE)
        assert ada.messages == ["first", "second"]
        options = (outgoing["id"], "--stage", STAGE)
        status, _, err = await roomcast(deployment, credentials, "webhook", "remove", *options)
        assert status == 0, err


async def test_what_is_said_is_archived(deployment: Deployment) -> None:
    """Once the stage has an archive: by the stream, the mapping's filter and a role that may do no more; an operator
    with no more rights than docs/archive.md names prints it. Switched off again, nothing of it is left."""
    room, s3 = fresh("hall"), deployment.client("s3")
    await asyncio.to_thread(lambda: deployment.synthesize(archive="true", archive_window="1"))
    await asyncio.to_thread(deployment.deploy)
    bucket = deployment.outputs["ArchiveBucket"]
    async with person(deployment.websocket_url, fresh("ada"), room) as ada:
        seq = (await ada.say("to be forgotten", room))["seq"]
        await ada.say("to be kept", room)
        await ada.ask(type="delete_message", roomId=room, seq=seq)
    reader = {
        "*": ["cloudformation:DescribeStacks", "lambda:GetFunctionConfiguration"],
        f"arn:aws:s3:::{bucket}": ["s3:ListBucket"],
        f"arn:aws:s3:::{bucket}/*": ["s3:GetObject"],
    }
    credentials = await asyncio.to_thread(lambda: user(deployment, "reader", **reader))
    async with asyncio.timeout(PATIENCE):
        while True:
            status, out, _ = await roomcast(deployment, credentials, "archive", "cat", "--room", room, "--stage", STAGE)
            lines = [json.loads(it) for it in out.splitlines()]
            if len(lines) == 3:
                break
            await asyncio.sleep(1)
    assert status == 0
    assert [it["body"].get("message") for it in lines] == ["", "to be kept", None]
    names = [it["Key"] for it in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert [it for it in names if not it.startswith("log/")] == [], "nothing was kept aside"
    for it in names:
        s3.delete_object(Bucket=bucket, Key=it)
    await asyncio.to_thread(deployment.synthesize)
    await asyncio.to_thread(deployment.deploy)
    assert bucket not in [it["Name"] for it in s3.list_buckets()["Buckets"]]
    functions = deployment.client("lambda").list_functions()["Functions"]
    assert f"{PREFIX}-archive" not in [it["FunctionName"] for it in functions]


async def test_users_sign_in_once_the_stage_has_a_pool(deployment: Deployment) -> None:
    """The stage is brought from `demo` to `cognito`. An operator with no more rights than docs/operating.md names makes
    users, who connect from a page of the list by a subprotocol and chat; no other page and no other token is let in."""
    settings = {"auth": "cognito", "cognito_endpoint": deployment.endpoint, "origins": PAGE}
    await asyncio.to_thread(lambda: deployment.synthesize(**settings))
    await asyncio.to_thread(deployment.deploy)
    credentials = await asyncio.to_thread(lambda: user(deployment, "registrar", **REGISTRAR))
    for name in ("ada", "bob"):
        options = ("--stage", STAGE, "--password", PASSWORD)
        status, out, err = await roomcast(deployment, credentials, "user", "create", name, "--group", "admin", *options)
        assert status == 0, out + err
    tokens = [
        (await roomcast(deployment, credentials, "user", "token", it, *options))[1].strip() for it in ("ada", "bob")
    ]

    async def status_of(token: str, origin: str | None = PAGE) -> int:
        try:
            async with page(deployment, token, origin):
                return 101
        except InvalidStatus as error:
            return error.response.status_code

    room = fresh("hall")
    async with page(deployment, tokens[0], room=room) as ada, page(deployment, tokens[1], room=room) as bob:
        await ada.say("by Cognito", room)
        await bob.hears("by Cognito")
        [chat] = bob.seen("chat")
        assert (chat["senderName"], chat["senderId"]) == ("ada", ada.seen("welcome")[0]["userId"])
        reply = await ada.ask(type="reauth", token=tokens[0])
        assert reply["type"] == "reauthenticated", reply
    assert [await status_of(it) for it in ("", "valid_1", tokens[0][:-9] + "forgedfor")] == [401, 401, 401]
    assert await status_of(expired(deployment, tokens[0])) == 401
    origins = (None, "https://evil.net", "null", f"{PAGE}:8443")
    assert [await status_of(tokens[0], it) for it in origins] == [101, 403, 403, 403]


@asynccontextmanager
async def page(
    deployment: Deployment, token: str, origin: str | None = PAGE, *, room: str = "general"
) -> AsyncIterator[Person]:
    """A socket as a page opens it. Closed when the block ends."""
    socket = await open_socket(
        f"{deployment.websocket_url}?{urlencode({'roomId': room})}",
        subprotocols=[Subprotocol("roomcast.v1"), *([Subprotocol(f"bearer.{token}")] if token else [])],
        origin=Origin(origin) if origin is not None else None,
        compression=None,
    )
    someone = Person(socket, "page")
    try:
        await someone.until(lambda: bool(someone.seen("welcome")), PATIENCE)
        yield someone
    finally:
        await someone.leave()


def expired(deployment: Deployment, token: str) -> str:
    """The token as the pool signed it eleven minutes after its end: the emulator keeps the pool's keys in files."""
    pem = deployment.keys / f"{deployment.outputs['UserPoolId']}-access.pem"
    said = jwt.decode(token, options={"verify_signature": False})
    kid = jwt.get_unverified_header(token)["kid"]
    return jwt.encode({**said, "exp": said["iat"] - 660}, pem.read_bytes(), "RS256", headers={"kid": kid})


async def test_destroyed_it_leaves_nothing(deployment: Deployment) -> None:
    """No table, queue, function, log, role, rule, alarm, topic, API, user pool or parameter."""
    await asyncio.to_thread(deployment.destroy)
    assert await asyncio.to_thread(_resources, deployment) == []


async def test_a_failed_deployment_says_why(emulator: Deployment) -> None:
    """CloudFormation's own reason, for each resource: here, that another API has the id."""
    gateway = emulator.client("apigatewayv2")
    other = {"Name": "other", "ProtocolType": "WEBSOCKET", "Tags": {"ms-custom-id": API}}
    await asyncio.to_thread(lambda: gateway.create_api(**other, RouteSelectionExpression="$request.body.type"))
    with pytest.raises(CommandFailed, match=r"CREATE_FAILED .* AWS::ApiGatewayV2::Api .* is already in use"):
        await asyncio.to_thread(emulator.deploy)


def _bodies(sqs: Any, url: str) -> list[str]:
    received = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0)
    return [it["Body"] for it in received.get("Messages", ())]


def _resources(deployment: Deployment) -> list[str]:
    """The names of all that the template can make."""
    kinds = (
        ("apigatewayv2", "get_apis", "Items", "Name"),
        ("cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName"),
        ("cloudwatch", "list_dashboards", "DashboardEntries", "DashboardName"),
        ("dynamodb", "list_tables", "TableNames", ""),
        ("events", "list_rules", "Rules", "Name"),
        ("iam", "list_roles", "Roles", "RoleName"),
        ("lambda", "list_event_source_mappings", "EventSourceMappings", "UUID"),
        ("lambda", "list_functions", "Functions", "FunctionName"),
        ("logs", "describe_log_groups", "logGroups", "logGroupName"),
        ("sns", "list_topics", "Topics", "TopicArn"),
        ("sqs", "list_queues", "QueueUrls", ""),
        ("ssm", "describe_parameters", "Parameters", "Name"),
    )
    pools = deployment.client("cognito-idp").list_user_pools(MaxResults=60)["UserPools"]
    found = (
        (it[name] if name else it)
        for service, operation, key, name in kinds
        for it in getattr(deployment.client(service), operation)().get(key, ())
    )
    return [*(it["Name"] for it in pools), *(it for it in found if "cdk-" not in it)]  # what `cdk bootstrap` has made
