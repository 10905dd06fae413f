"""The implementations that the contract suites run on."""

from __future__ import annotations

import itertools
import socket
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import aioboto3
import pytest
import pytest_asyncio
from aiobotocore.config import AioConfig

from adapters.dynamodb import DynamoStore, table_definitions
from adapters.memory import MemoryStore
from adapters.settings import table_names
from local.cloud import Cloud
from tests.contract.answers import Answers
from tests.contract.lanes import LaneStage, MemoryLanes, SqsLanes
from tests.contract.stage import DynamoStage, MemoryStage, StoreStage

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_sqs import SQSClient

CONFIG = AioConfig(max_pool_connections=64, connect_timeout=1, read_timeout=10)
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def aws() -> aioboto3.Session:
    """Credentials that every emulator takes."""
    return aioboto3.Session(region_name="us-east-1", aws_access_key_id="any", aws_secret_access_key="any")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def moto_dynamodb(aws: aioboto3.Session, moto_endpoint: str) -> AsyncIterator[DynamoDBClient]:
    async with aws.client("dynamodb", endpoint_url=moto_endpoint, config=CONFIG) as client:
        yield client


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def moto_sqs(aws: aioboto3.Session, moto_endpoint: str) -> AsyncIterator[SQSClient]:
    async with aws.client("sqs", endpoint_url=moto_endpoint, config=CONFIG) as client:
        yield client


# ---- room stores


@pytest.fixture(scope="session")
def memory_store() -> StoreStage:
    return MemoryStage(MemoryStore())


@pytest_asyncio.fixture(loop_scope="session")
async def moto_store(moto_dynamodb: DynamoDBClient) -> AsyncIterator[StoreStage]:
    # Tables for one test alone: a transaction of moto copies every row that it holds.
    stage = await _dynamo_stage(moto_dynamodb, f"contract{next(_numbers)}")
    yield stage
    for table in stage.tables.values():
        await moto_dynamodb.delete_table(TableName=table)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def ministack_store(cloud: Cloud) -> StoreStage:
    return await _dynamo_stage(cloud.dynamodb, "contract")


async def _dynamo_stage(client: DynamoDBClient, prefix: str) -> DynamoStage:
    tables = table_names(prefix)
    for definition in table_definitions(tables):
        await client.create_table(**definition)
    return DynamoStage(DynamoStore(client, tables), client, tables)


@pytest.fixture(params=["memory", "moto", "ministack"])
def stage(request: pytest.FixtureRequest) -> StoreStage:
    """Each room store in turn, with a room, a user and a connection that no other test has."""
    found: StoreStage = request.getfixturevalue(f"{request.param}_store")
    return found.fresh(next(_numbers))


@pytest.fixture(params=["memory", "ministack"])
def racing_stage(request: pytest.FixtureRequest) -> StoreStage:
    """The same without moto, whose transactions are not isolated."""
    found: StoreStage = request.getfixturevalue(f"{request.param}_store")
    return found.fresh(next(_numbers))


@pytest.fixture(params=["moto", "ministack"])
def dynamo_stage(request: pytest.FixtureRequest) -> DynamoStage:
    """The stores that have rows to look at."""
    found: DynamoStage = request.getfixturevalue(f"{request.param}_store")
    return found.fresh(next(_numbers))


# ---- queues


@pytest_asyncio.fixture(loop_scope="session")
async def memory_lanes() -> LaneStage:
    return MemoryLanes()


@pytest_asyncio.fixture(loop_scope="session")
async def moto_lanes(moto_sqs: SQSClient) -> LaneStage:
    return await SqsLanes.create(moto_sqs, f"contract{next(_numbers)}")


@pytest_asyncio.fixture(loop_scope="session")
async def ministack_lanes(cloud: Cloud) -> LaneStage:
    return await SqsLanes.create(cloud.sqs, f"contract{next(_numbers)}")


@pytest.fixture(params=["memory", "moto", "ministack"])
def lanes(request: pytest.FixtureRequest) -> LaneStage:
    """Each queue in turn, its lanes empty."""
    found: LaneStage = request.getfixturevalue(f"{request.param}_lanes")
    return found


@pytest.fixture(params=["memory", "ministack"])
def exact_lanes(request: pytest.FixtureRequest) -> LaneStage:
    """The same without moto, which forgets a deduplication id together with its message."""
    found: LaneStage = request.getfixturevalue(f"{request.param}_lanes")
    return found


# ---- services that answer as told


@pytest_asyncio.fixture(loop_scope="session")
async def answers() -> AsyncIterator[Answers]:
    """A server that answers every request as the test says."""
    async with Answers() as server:
        yield server


@pytest.fixture
def deserted() -> str:
    """An endpoint where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return f"http://127.0.0.1:{port}"
