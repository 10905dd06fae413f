"""Changing the lanes of a deployed stage, and the way back, on an emulator that holds its functions and mappings."""

from __future__ import annotations

import io
import zipfile
from collections.abc import AsyncIterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
import pytest_asyncio
from msgspec import structs
from rich.console import Console

from adapters.settings import Settings
from adapters.sqs import queue_definition
from domain.lanes import LANES, override_lanes
from infra.permissions import TABLES
from local.cloud import ACCOUNT, CREDENTIALS, REGION, launch
from ops import retune, tune
from ops.stage import Deployment, StageError
from ops.trial import TrialError

pytestmark = pytest.mark.asyncio(loop_scope="module")

PREFIX = "roomcast-dev"
OTHERS = override_lanes(
    LANES,
    ["interactive.batch_size=5", "interactive.post_concurrency=128", "ephemeral.window=2", "bulk.max_concurrency=4"],
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def endpoint(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with launch(tmp_path_factory.mktemp("aws"), environ={"SERVICES": "lambda,sqs"}) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def deployment(endpoint: str) -> Deployment:
    """A stage's functions and mappings as `make deploy` leaves them."""

    def client(service: str) -> Any:
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=endpoint,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )

    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("worker.py", "")
    settings = Settings({}, {}, {}, management_endpoint="https://h/dev")
    functions, sqs = client("lambda"), client("sqs")
    for name in TABLES:
        functions.create_function(
            FunctionName=f"{PREFIX}-{name}",
            Runtime="python3.13",
            Role=f"arn:aws:iam::{ACCOUNT}:role/worker",
            Handler="worker.handler",
            Code={"ZipFile": code.getvalue()},
            Environment={"Variables": {**settings.as_environment(), "ITS_OWN": name}},
        )
    for lane in LANES.values():
        definition = queue_definition(PREFIX, lane)
        sqs.create_queue(QueueName=definition.name, Attributes=definition.attributes)
        functions.create_event_source_mapping(
            EventSourceArn=f"arn:aws:sqs:{REGION}:{ACCOUNT}:{definition.name}",
            FunctionName=f"{PREFIX}-{lane.name}",
            BatchSize=lane.batch_size,
            ScalingConfig={"MaximumConcurrency": lane.max_concurrency},
            FunctionResponseTypes=["ReportBatchItemFailures"],
        )
    return Deployment(
        name="dev",
        twin=False,
        prefix=PREFIX,
        websocket_url="",
        region=REGION,
        lanes=LANES,
        queues={},
        dead_letter_queues={},
        shard_limit=1_000,
        client=client,
        open_client=client,
    )


async def test_there_and_back(deployment: Deployment, tmp_path: Path) -> None:
    """What differs is shown before it is changed; each place gets it, nothing else is touched; undo restores it all."""
    before = retune.read(deployment)
    after = retune.tuned(before, OTHERS)
    assert {(it.where, it.setting, it.old, it.new) for it in retune.changes(before, after)} == {
        ("mapping of interactive", "batch_size", "10", "5"),
        ("mapping of bulk", "max_concurrency", "2", "4"),
        ("mapping of ephemeral", "window", "0", "2"),
        ("every function", "interactive.batch_size", "10", "5"),
        ("every function", "interactive.post_concurrency", "64", "128"),
        ("every function", "bulk.max_concurrency", "2", "4"),
        ("every function", "ephemeral.window", "0", "2"),
    }
    path = retune.notes(deployment, tmp_path)
    assert retune.remember(before, path)
    steps: list[str] = []
    retune.put(deployment, after, steps.append)
    assert len(steps) == len(TABLES) + 3
    functions = deployment.client("lambda")
    for name in TABLES:
        variables = functions.get_function_configuration(FunctionName=f"{PREFIX}-{name}")["Environment"]["Variables"]
        assert variables["ITS_OWN"] == name
        assert Settings.from_environment(variables).lanes == OTHERS
    [mapping] = functions.list_event_source_mappings(FunctionName=f"{PREFIX}-interactive")["EventSourceMappings"]
    assert mapping["BatchSize"] == 5
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": 2}
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert retune.read(deployment) == after

    steps.clear()
    retune.put(deployment, after, steps.append)
    assert steps == []

    retune.put(deployment, retune.remembered(deployment, path))
    assert retune.read(deployment) == before


async def test_a_second_change_is_undone_with_the_first(deployment: Deployment, tmp_path: Path) -> None:
    """What is written down is how the stage was deployed, until that is restored."""
    before = retune.read(deployment)
    path = retune.notes(deployment, tmp_path)
    assert retune.remember(before, path)
    assert not retune.remember(retune.tuned(before, OTHERS), path)
    assert retune.remembered(deployment, path) == before


@pytest.mark.slow
@pytest.mark.parametrize("error", [None, KeyboardInterrupt, TrialError])
async def test_after_a_search_the_stage_is_as_it_was(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException] | None
) -> None:
    """It gets each setting in turn; however the search ends, its own come back, and nothing is left to undo."""
    monkeypatch.setattr(tune, "BUILD", tmp_path)
    before = retune.read(deployment)
    path = retune.notes(deployment, tmp_path)
    with (
        nullcontext() if error is None else pytest.raises(error),
        tune.stage_place(deployment, "wss://elsewhere", Console(quiet=True)) as at,
    ):
        for batch_size in (5, 1):
            with at([f"interactive.batch_size={batch_size}"]) as url:
                assert url == "wss://elsewhere"
                assert retune.read(deployment).mappings["interactive"].batch_size == batch_size
                assert retune.remembered(deployment, path) == before
        if error is not None:
            raise error
    assert retune.read(deployment) == before
    assert not path.exists()


async def test_a_search_after_a_change_leaves_it_to_be_undone(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nobody would know how the stage was deployed."""
    monkeypatch.setattr(tune, "BUILD", tmp_path)
    deployed = retune.tuned(retune.read(deployment), OTHERS)
    path = retune.notes(deployment, tmp_path)
    retune.remember(deployed, path)
    with tune.stage_place(deployment, None, Console(quiet=True)):
        pass
    assert retune.remembered(deployment, path) == deployed


async def test_functions_that_differ_among_themselves_are_told_apart(deployment: Deployment) -> None:
    """As after a change that ended half-way."""
    before = retune.read(deployment)
    after = retune.tuned(before, OTHERS)
    message = f"{PREFIX}-message"
    half = structs.replace(after, functions={**after.functions, message: before.functions[message]})
    assert {it.where for it in retune.changes(half, after)} == {message}


async def test_what_is_no_stage_is_one_sentence(deployment: Deployment, tmp_path: Path) -> None:
    """Nothing to undo; notes that were cut; a function that is not there."""
    path = retune.notes(deployment, tmp_path)
    with pytest.raises(StageError, match="nothing to undo"):
        retune.remembered(deployment, path)
    path.write_text('{"stage":')
    with pytest.raises(StageError, match="unreadable"):
        retune.remembered(deployment, path)
    with pytest.raises(StageError, match="roomcast-prod"):
        retune.read(replace(deployment, name="prod", prefix="roomcast-prod"))
