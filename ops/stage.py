"""Where an operator's command works: a twin on this machine, or a stage on AWS.

boto3 on purpose: such a command does one thing after the other. `open_client` is for those that don't.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import aioboto3
import boto3
import msgspec
from aiobotocore.config import AioConfig
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
)

from adapters.aws import NO_ANSWER, error_code
from adapters.settings import Settings
from domain.errors import BadSetting
from domain.lanes import Lane
from loadtest.status import read_status
from local.cloud import CREDENTIALS
from local.twin import PREFIX

__all__ = [
    "TWIN_URL",
    "Client",
    "Deployment",
    "StageError",
    "answered",
    "find",
    "find_stage",
    "find_twin",
    "twin_status",
]

TWIN_URL = "ws://127.0.0.1:8081/dev"
"""Of the twin that `roomcast up` runs."""

Client = Any
"""A boto3 client."""


class StageError(RuntimeError):
    """A deployment can't be found, reached, or worked on; the text says why, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A service that runs, on AWS or as a twin."""

    name: str
    """The stage's name, or the twin's URL."""
    twin: bool
    prefix: str
    """Of the names of its functions, tables and queues: `roomcast-dev`. A lane's worker is `roomcast-dev-LANE`."""
    websocket_url: str
    region: str
    lanes: Mapping[str, Lane]
    queues: Mapping[str, str]
    """Lane → queue URL."""
    dead_letter_queues: Mapping[str, str]
    """Lane → URL."""
    shard_limit: int
    """Members of a shard at most, about."""
    hooks_url: str = ""
    """What the URLs of incoming webhooks begin with, without the slash before the id."""
    user_pool: str = ""
    """The id of its Cognito pool; empty where its users are known otherwise."""
    user_pool_client: str = ""
    """The id of the pool's app client."""
    bucket: str = ""
    """Of its archive; empty where there is none."""
    client: Callable[[str], Client]
    """The boto3 client of a service, by its name. Its calls belong within `answered`."""
    open_client: Callable[[str], AbstractAsyncContextManager[Any]]
    """The same of aioboto3, for what does much at once: `async with deployment.open_client("s3") as s3`."""

    def __str__(self) -> str:
        return f"the twin at {self.name}" if self.twin else f"the stage {self.name} in {self.region}"


def find(*, url: str | None, stage: str | None, region: str | None, profile: str | None) -> Deployment:
    """The deployment that a command's options name. Raises `BadSetting`, or `StageError` where it is not there."""
    if stage is None:
        for option, value in {"--region": region, "--profile": profile}.items():
            if value is not None:
                raise BadSetting(f"{option} {value}: it is for a stage on AWS; name that too, e.g. --stage dev")
        return find_twin(url or TWIN_URL)
    if url is not None:
        raise BadSetting(f"--url {url}: it names a twin and --stage {stage} a stage on AWS; leave one of them out")
    return find_stage(stage, region=region, profile=profile)


def find_twin(url: str) -> Deployment:
    """The twin behind a WebSocket URL. Raises `BadSetting`, or `StageError` if no twin answers there."""
    if not url.startswith(("ws://", "wss://")):
        raise BadSetting(f"--url {url}: it must begin with ws:// or wss://")
    raw = twin_status(url)
    if not {"settings", "queue_urls", "hooks"} <= set(raw):
        raise StageError(f"the twin at {url} is of an older release than this command; start it again")
    region, cloud = str(raw["region"]), str(raw["cloud"])

    def client(service: str) -> Client:
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=str(raw["page"]) if service == "lambda" else cloud,  # functions are the twin's own
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            config=_CONFIG,
        )

    def open_client(service: str) -> AbstractAsyncContextManager[Any]:
        session: Any = aioboto3.Session(
            region_name=region,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )
        opened: AbstractAsyncContextManager[Any] = session.client(service, endpoint_url=cloud, config=_OPEN_CONFIG)
        return opened

    return Deployment(
        name=url,
        twin=True,
        prefix=PREFIX,
        websocket_url=str(raw["ws"]),
        region=region,
        lanes=msgspec.convert(raw["settings"]["lanes"], dict[str, Lane]),
        queues=raw["queue_urls"]["lanes"],
        dead_letter_queues=raw["queue_urls"]["dead"],
        shard_limit=int(raw["settings"]["shard_limit"]),
        hooks_url=str(raw["hooks"]),
        user_pool=(raw.get("users") or {}).get("pool", ""),
        user_pool_client=(raw.get("users") or {}).get("client", ""),
        bucket=(raw.get("archive") or {}).get("bucket", ""),
        client=client,
        open_client=open_client,
    )


def twin_status(url: str) -> dict[str, Any]:
    """What the twin behind a WebSocket URL says of itself. Raises `StageError` if none answers."""
    status = asyncio.run(read_status(url))
    if status is None:
        raise StageError(f"no twin answers at {url}; `roomcast up` starts one, --url names another, --stage one on AWS")
    return status.raw


def find_stage(name: str, *, region: str | None = None, profile: str | None = None) -> Deployment:
    """A stage on AWS, as CloudFormation's outputs and the functions' own settings describe it.

    `region` and `profile`: instead of those in AWS's environment variables and files. Raises `StageError`.
    """
    prefix = f"roomcast-{name}"
    with answered(f"the stage {name}"):
        session = boto3.Session(region_name=region, profile_name=profile)

        def client(service: str) -> Client:
            return session.client(service, config=_CONFIG)

        def open_client(service: str) -> AbstractAsyncContextManager[Any]:
            same: Any = aioboto3.Session(region_name=session.region_name, profile_name=profile)
            opened: AbstractAsyncContextManager[Any] = same.client(service, config=_OPEN_CONFIG)
            return opened

        place = f"{name} in {session.region_name}"
        stack = _stack(client("cloudformation"), f"{prefix}-service", place)
        # They hold what the stage was deployed with: its lanes' settings, and the queues' URLs.
        found = client("lambda").get_function_configuration(FunctionName=f"{prefix}-message")
    try:
        settings = Settings.from_environment(found["Environment"]["Variables"])
    except BadSetting as error:
        raise StageError(f"the stage {place} was deployed by another release than this command's: {error}") from None
    return Deployment(
        name=name,
        twin=False,
        prefix=prefix,
        websocket_url=stack["WebSocketUrl"],
        region=settings.region,
        lanes=settings.lanes,
        queues=settings.queues,
        dead_letter_queues=settings.dead_letter_queues,
        shard_limit=settings.shard_limit,
        hooks_url=stack.get("WebhooksUrl", ""),
        user_pool=stack.get("UserPoolId", ""),
        user_pool_client=stack.get("UserPoolClientId", ""),
        bucket=settings.bucket,
        client=client,
        open_client=open_client,
    )


@contextmanager
def answered(what: str) -> Iterator[None]:
    """Make one sentence about `what` of an error of AWS's, or of the way there: raises `StageError`."""
    try:
        yield
    except ClientError as error:
        raise StageError(f"{what}: {_refusal(error)}") from error
    except NO_ANSWER as error:
        raise StageError(f"{what} can't be reached: {error}") from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise StageError(f"{what}: there are no AWS credentials; sign in, or name a --profile") from error
    except NoRegionError as error:
        raise StageError(f"{what}: no Region is set; name it with --region") from error
    except ProfileNotFound as error:
        raise StageError(f"{what}: {error}; name another --profile") from error
    except BotoCoreError as error:
        raise StageError(f"{what}: {error}") from error


# ---- private

_CONFIG = Config(connect_timeout=3, read_timeout=30, retries={"mode": "standard", "total_max_attempts": 3})
_OPEN_CONFIG = AioConfig(
    connect_timeout=3, read_timeout=30, max_pool_connections=32, retries={"mode": "standard", "total_max_attempts": 3}
)
_NOT_ACCEPTED = {
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
_DENIED = {"AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation"}


def _stack(cloudformation: Client, name: str, place: str) -> dict[str, str]:
    """The outputs of a stack that stands."""
    try:
        [stack] = cloudformation.describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        if error_code(error) != "ValidationError":  # what it says of a stack that is not there
            raise
        raise StageError(
            f"there is no stage {place} (no stack {name}); --stage and --region name another, `make deploy` makes one"
        ) from None
    outputs = {it["OutputKey"]: str(it["OutputValue"]) for it in stack.get("Outputs", ())}
    if "WebSocketUrl" not in outputs:
        raise StageError(f"the stage {place} is not deployed: the stack {name} is {stack['StackStatus']}")
    return outputs


def _refusal(error: ClientError) -> str:
    code, message = error_code(error), error.response.get("Error", {}).get("Message", "")
    if code in _DENIED:
        return f"your credentials may not call {error.operation_name}: {message}"
    if code in _NOT_ACCEPTED:
        return f"AWS does not accept your credentials ({code}); sign in again, or name another --profile"
    return f"{error.operation_name}: {message or code}"
