"""DynamoDB, SQS, SNS, on demand S3: the ministack emulator in a process of its own, on a free loopback port.

It lives in an environment of its own, because it pins another botocore. What it holds is kept in the state folder: read
when it starts, written when it stops, which it does by itself when this process is gone. A kill -9 of the emulator
loses what was stored since it started.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import aioboto3
from aiobotocore.config import AioConfig
from botocore.exceptions import ClientError

from adapters.aws import error_code
from adapters.dynamodb import STREAM_VIEW, TTL_ATTRIBUTE, table_definitions
from adapters.settings import table_names
from adapters.sns import topic_name
from adapters.sqs import queue_definition
from domain.errors import BadSetting
from domain.lanes import Lane
from local.processes import Child

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_sqs import SQSClient
    from types_aiobotocore_sqs.literals import QueueAttributeNameType

__all__ = ["ACCOUNT", "ARCHIVE_SERVICES", "CREDENTIALS", "REGION", "Cloud", "CloudError", "Depth", "Queues", "launch"]

ACCOUNT = "000000000000"
REGION = "us-east-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "twin", "AWS_SECRET_ACCESS_KEY": "twin"}
"""The emulator takes any."""

ARCHIVE_SERVICES = ("s3", "dynamodbstreams")
"""What an archive needs beyond the others."""

LAUNCHER = Path(__file__).with_name("cloud_launcher.py")
STORED = "stored"
"""The folder below the state's in which the launcher has the emulator keep what it holds."""
START_SECONDS = 60.0
"""A start takes 0.5 s on an idle machine."""
KNOCK_SECONDS = 5.0
"""For one that runs already."""
STOP_SECONDS = 25.0
"""A stop takes 0.5 s, and what saving takes: about 1 s for 100,000 rows."""


class CloudError(RuntimeError):
    """The emulator can't run; the text says why and what to do."""


@asynccontextmanager
async def launch(
    state: Path,
    *arguments: str,
    environ: Mapping[str, str],
    launcher: Path = LAUNCHER,
    python: Path | None = None,
) -> AsyncIterator[int]:
    """The emulator in a process of its own; its port.

    `environ` adds to what every emulator is told; `launcher` and its `arguments`: see `cloud_launcher.py`. Raises
    `CloudError` if the emulator is not installed, does not start, or the state folder is in use.
    """
    python = python or Path(sys.prefix) / "cloud" / "bin" / "python"
    if not python.exists():
        raise CloudError(f"the emulator is not installed in {python.parents[1]}; `make up` installs it")
    scratch = state / "tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    fixed = {
        "BIND_HOST": "127.0.0.1",
        "IOT_MTLS_ENABLED": "0",
        "LOG_LEVEL": "WARNING",
        "SFTP_ENABLED": "0",
        "TMPDIR": str(scratch),
    }
    log = state / "cloud.log"
    child = await Child.start(python, launcher, state, *arguments, environ={**fixed, **environ}, log=log)
    try:
        try:
            async with asyncio.timeout(START_SECONDS):
                line = await child.reader.readline()
        except TimeoutError:
            raise CloudError(f"the emulator is not ready after {START_SECONDS:g} s; see {log}") from None
        answer: dict[str, Any] = json.loads(line) if line else {"error": f"the emulator ended at once; see {log}"}
        if "error" in answer:
            raise CloudError(f"{answer['error']} ({state})")
        yield int(answer["port"])
    finally:
        await child.end(STOP_SECONDS)


@dataclass(frozen=True, slots=True)
class Queues:
    """Lane → URL."""

    urls: dict[str, str] = field(default_factory=dict)
    dead: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Depth:
    """How many messages a lane holds, by what can be done with them."""

    visible: int
    in_flight: int
    delayed: int
    dead: int


class Cloud:
    """The emulator. `endpoint` and the clients are there once it has started."""

    endpoint: str
    """`http://127.0.0.1:PORT`, for every service."""
    sqs: SQSClient
    dynamodb: DynamoDBClient
    sns: Any
    s3: Any
    """There if it is among `services`, as the next."""
    streams: Any
    """Of tables."""

    def __init__(
        self,
        state: Path,
        *,
        reset: bool = False,
        python: Path | None = None,
        running: str | None = None,
        services: Iterable[str] = (),
    ) -> None:
        """`state`: the folder for what is stored, the log and scratch files. `reset` forgets what is stored there.

        `services`: more that it is to serve, by their names in endpoints: `cognito-idp`.
        `running`: the endpoint of an emulator that another has started, and that goes on after `stop`; `state` is then
        not used. Raises `BadSetting` where that is to forget what it holds.
        """
        if running is not None and reset:
            raise BadSetting(f"the emulator at {running} keeps what it holds: leave out either it or the reset")
        self._state = state
        self._running = running
        self._reset = reset
        self._python = python
        self._services = ("dynamodb", "sqs", "sns", *services)
        self._open = AsyncExitStack()
        self._queues = Queues()

    async def start(self) -> None:
        """Raises `CloudError`, as `launch` does, or where no emulator runs at the endpoint."""
        try:
            if self._running is not None:
                await _require_listener(self._running)
            self.endpoint = self._running or await self._launch()
            await self._open_clients()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Let an emulator of our own save what it holds, and end it. May be called at any time, and again."""
        await self._open.aclose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    # ---- tables, queues and the topic

    async def create_tables(self, prefix: str) -> dict[str, str]:
        """Make the tables that are missing; connections, rooms, messages → table name."""
        names = table_names(prefix)
        for definition in table_definitions(names):
            try:
                await self.dynamodb.create_table(**definition)
            except ClientError as error:
                if error_code(error) != "ResourceInUseException":
                    raise
                await self._require_indexes(definition)
            table = definition["TableName"]
            described = await self.dynamodb.describe_time_to_live(TableName=table)
            if described["TimeToLiveDescription"].get("TimeToLiveStatus") != "ENABLED":
                await self.dynamodb.update_time_to_live(
                    TableName=table, TimeToLiveSpecification={"Enabled": True, "AttributeName": TTL_ATTRIBUTE}
                )
        return names

    async def create_queues(self, prefix: str, lanes: Iterable[Lane]) -> Queues:
        """Make the queues that are missing, and give all of them the attributes that the lanes ask for."""
        queues = Queues()
        for lane in lanes:
            queues.urls[lane.name], queues.dead[lane.name] = await self.create_lane(prefix, lane)
        self._queues = queues
        return queues

    async def create_lane(self, prefix: str, lane: Lane) -> tuple[str, str]:
        """The same for one lane: the URLs of its queue and of its dead-letter queue."""
        definition = queue_definition(prefix, lane)
        dead = await self._create_queue(definition.dead_name, definition.dead_attributes)
        redrive = {"deadLetterTargetArn": await self._arn(dead), "maxReceiveCount": lane.max_receives}
        attributes = {**definition.attributes, "RedrivePolicy": json.dumps(redrive)}
        return await self._create_queue(definition.name, attributes), dead

    async def create_topic(self, prefix: str) -> str:
        """Make the topic of notices if it is missing; its ARN."""
        made: dict[str, str] = await self.sns.create_topic(Name=topic_name(prefix))
        return made["TopicArn"]

    async def create_bucket(self, name: str) -> None:
        """Make a bucket if it is missing."""
        await self.s3.create_bucket(Bucket=name)  # of one's own it is no error that it is there: us-east-1

    async def open_stream(self, table: str) -> str:
        """Have a table tell its changes in a stream from now on, if it does not yet; the stream's ARN."""
        described = (await self.dynamodb.describe_table(TableName=table))["Table"]
        if not described.get("StreamSpecification", {}).get("StreamEnabled"):
            answer = await self.dynamodb.update_table(
                TableName=table, StreamSpecification={"StreamEnabled": True, "StreamViewType": STREAM_VIEW}
            )
            described = answer["TableDescription"]
        return described["LatestStreamArn"]

    async def queue_depths(self) -> dict[str, Depth]:
        """Lane → its depth, for the queues made by `create_queues`."""

        async def depth(lane: str) -> Depth:
            own, dead = await asyncio.gather(
                self._counts(self._queues.urls[lane]), self._counts(self._queues.dead[lane])
            )
            return Depth(*own, dead=sum(dead))

        lanes = list(self._queues.urls)
        return dict(zip(lanes, await asyncio.gather(*map(depth, lanes)), strict=True))

    # ---- private

    async def _launch(self) -> str:
        """The endpoint of an emulator of our own."""
        reset = ["--reset"] if self._reset else []
        environ = {"PERSIST_STATE": "1", "SERVICES": ",".join(self._services)}
        if "s3" in self._services:
            environ |= {"S3_PERSIST": "1", "S3_DATA_DIR": str(self._state / STORED / "s3-objects")}
        port = await self._open.enter_async_context(launch(self._state, *reset, environ=environ, python=self._python))
        return f"http://127.0.0.1:{port}"

    async def _open_clients(self) -> None:
        session = aioboto3.Session(
            region_name=REGION,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )
        config = AioConfig(max_pool_connections=64, connect_timeout=5, read_timeout=30)
        self.dynamodb = await self._open.enter_async_context(
            session.client("dynamodb", endpoint_url=self.endpoint, config=config)
        )
        self.sqs = await self._open.enter_async_context(
            session.client("sqs", endpoint_url=self.endpoint, config=config)
        )
        self.sns = await self._open.enter_async_context(
            session.client("sns", endpoint_url=self.endpoint, config=config)
        )
        if "s3" in self._services:
            self.s3 = await self._open.enter_async_context(
                session.client("s3", endpoint_url=self.endpoint, config=config)
            )
        if "dynamodbstreams" in self._services:
            self.streams = await self._open.enter_async_context(
                session.client("dynamodbstreams", endpoint_url=self.endpoint, config=config)
            )

    async def _create_queue(self, name: str, attributes: dict[str, str]) -> str:
        # CreateQueue refuses a queue that exists with other attributes; only its kind can't be set later.
        kind = {it: value for it, value in attributes.items() if it == "FifoQueue"}
        await self.sqs.create_queue(QueueName=name, Attributes=_attributes(kind))
        # The emulator answers with the host name and port that it was first started under.
        url = f"{self.endpoint}/{ACCOUNT}/{name}"
        rest = {it: value for it, value in attributes.items() if it not in kind}
        await self.sqs.set_queue_attributes(QueueUrl=url, Attributes=_attributes(rest))
        return url

    async def _require_indexes(self, definition: dict[str, Any]) -> None:
        table = definition["TableName"]
        described = await self.dynamodb.describe_table(TableName=table)
        present = {it["IndexName"] for it in described["Table"].get("GlobalSecondaryIndexes", ())}
        for it in definition.get("GlobalSecondaryIndexes", ()):
            if it["IndexName"] not in present:
                raise CloudError(
                    f"the table {table} was stored by an older version, without the index {it['IndexName']}; "
                    f"start with --reset to forget what is stored ({self._state})"
                )

    async def _arn(self, url: str) -> str:
        answer = await self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return answer["Attributes"]["QueueArn"]

    async def _counts(self, url: str) -> tuple[int, int, int]:
        answer = await self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
        attributes = answer["Attributes"]
        return (
            int(attributes["ApproximateNumberOfMessages"]),
            int(attributes["ApproximateNumberOfMessagesNotVisible"]),
            int(attributes["ApproximateNumberOfMessagesDelayed"]),
        )


async def _require_listener(endpoint: str) -> None:
    url = urlsplit(endpoint)
    try:
        async with asyncio.timeout(KNOCK_SECONDS):
            _, writer = await asyncio.open_connection(url.hostname, url.port)
    except (OSError, TimeoutError) as error:
        raise CloudError(f"no emulator answers at {endpoint} ({error})") from None
    writer.close()


def _attributes(named: dict[str, str]) -> dict[QueueAttributeNameType, str]:
    return named  # type: ignore[return-value]  # the definitions know the names
