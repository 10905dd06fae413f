"""`roomcast forget`: how it is asked, paced, and what it says."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import aioboto3
import boto3
import pytest

from adapters.dynamodb import rows, table_definitions
from adapters.s3 import bucket_name
from adapters.settings import table_names
from domain.errors import BadSetting, Unavailable
from domain.forgetting import STAND_IN, Kind, user_hash
from domain.lanes import LANES
from domain.rooms import FOREVER, Entry
from ops import forget as command
from ops.forgetting import Oblivion, Outcome, Pace
from ops.stage import Deployment, StageError
from tests.unit.ops.test_command import NOBODY, roomcast

REGION = "us-east-1"
OPTIONS: dict[str, Any] = {
    "url": None,
    "stage": "dev",
    "region": None,
    "profile": None,
    "keep_bans": False,
    "read_units": None,
    "write_units": None,
    "yes": True,
    "dry_run": False,
    "as_json": False,
}
KEYS = {"region_name": REGION, "aws_access_key_id": "any", "aws_secret_access_key": "any"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bob and ada", "--yes"], "USER 'bob and ada': an id is 1 to 64 letters"),
        (["inbox#bob", "--yes"], "USER 'inbox#bob': an id is 1 to 64 letters"),
        (["bob", "--yes", "--read-units", "0"], "--read-units 0: it must be between 1 and 100000 a second"),
        (["bob", "--yes", "--write-units", "1e9"], "--write-units 1e+09: it must be between 1 and 100000 a second"),
        (["bob"], "there is nobody to ask: add --yes, or --dry-run to change nothing"),
        (["bob", "--yes", "--region", "eu-north-1"], "--region eu-north-1: it is for a stage on AWS"),
    ],
)
async def test_bad_usage_is_one_sentence(arguments: list[str], words: str) -> None:
    """Before anything is asked of any service."""
    status, out, err = await roomcast("forget", *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert words in err


async def test_nobody_answers() -> None:
    """One sentence, status 1."""
    status, out, err = await roomcast("forget", "bob", "--yes", "--url", NOBODY)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert f"no twin answers at {NOBODY}" in err


async def test_help_has_an_example() -> None:
    """And says that the whole tables are read."""
    status, out, _ = await roomcast("forget", "--help")
    assert status == 0
    assert "Example: roomcast forget mallory --stage dev --dry-run" in out
    assert "It reads whole tables" in out


async def test_units_are_paced() -> None:
    """Whoever spends them, together they take as long as the rate says; what was not used is not saved up."""
    now, slept = 0.0, list[float]()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    pace = Pace(100, clock=lambda: now, sleep=sleep)
    await pace.spend(50)
    await pace.spend(100)
    now = 60.0
    await pace.spend(10)
    assert slept == pytest.approx([0.5, 1.5, 0.1])
    assert pace.spent == 160


# ------------------------------------------------------------------------------------------------ what it says


@pytest.fixture
def stage(moto_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """A stage on moto whose function `publish` closes three connections."""

    def client(service: str) -> Any:
        return boto3.client(service, endpoint_url=moto_endpoint, **KEYS)

    def open_client(service: str) -> Any:
        session: Any = aioboto3.Session()
        return session.client(service, endpoint_url=moto_endpoint, **KEYS)

    found = Deployment(
        name="dev",
        twin=False,
        prefix="roomcast-forget",
        websocket_url="",
        region=REGION,
        lanes=LANES,
        queues={},
        dead_letter_queues={},
        shard_limit=1_000,
        client=client,
        open_client=open_client,
    )
    monkeypatch.setattr(command, "find", lambda **_: found)
    monkeypatch.setattr(command, "invoke", lambda *_: {"closed": 3})
    return found


def test_a_stage(stage: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    """Without an archive; by whom, is the caller's ARN."""
    dynamodb = stage.client("dynamodb")
    tables = table_names(stage.prefix)
    for definition in table_definitions(tables):
        dynamodb.create_table(**definition)
    entry = Entry(1, "chat", 1, "bob", {"senderId": "bob", "senderName": "Bob", "message": "hi"}, ends_at=FOREVER)
    dynamodb.put_item(TableName=tables["messages"], Item=rows.entry_row("tea", 5, entry))

    assert command.forget("bob", **OPTIONS | {"dry_run": True}) == 0
    looked = capsys.readouterr().out
    assert "messages, now tombstones" in looked
    assert "Nothing is changed." in looked
    assert command.forget("bob", **OPTIONS | {"as_json": True}) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["counts"], said["proven"], said["passes"]) == ({Kind.MESSAGE: 1}, True, 2)
    assert (said["closed"], said["record"]) == (6, user_hash("bob"))
    [row] = dynamodb.scan(TableName=tables["messages"])["Items"]
    assert rows.read_entry(row).sender == STAND_IN
    [row] = dynamodb.scan(TableName=tables["rooms"])["Items"]
    record = json.loads(row["record"]["S"])
    assert record["by"].startswith("arn:aws:")
    assert record["archive"] is False
    assert command.forget("bob", **OPTIONS) == 0
    assert "There is nothing of bob." in capsys.readouterr().out


def test_the_archives_bucket(stage: Deployment) -> None:
    """It is there, or there is no archive."""
    name = bucket_name(stage.prefix, "123456789012", REGION)
    assert command._bucket(stage, "123456789012") == ""
    stage.client("s3").create_bucket(Bucket=name)
    assert command._bucket(stage, "123456789012") == name


@pytest.mark.parametrize(
    ("outcome", "status", "words"),
    [
        (
            Outcome(counts=Counter(messages=1_000), passes=2, kept_bans=2),
            0,
            ["1,000", "bob is forgotten: pass 2 found nothing more.", "2 bans stay, with the user's id."],
        ),
        (
            Outcome(counts=Counter(messages=1), passes=5, quiet=False),
            1,
            ["after 5 passes something of bob still comes"],
        ),
        (
            Outcome(passes=1, left=1, where=["rooms: tea [badge]"]),
            1,
            ["1 rows or objects name bob in a way that this release does not know:", "rooms: tea [badge]"],
        ),
    ],
)
def test_what_it_says(
    outcome: Outcome,
    status: int,
    words: list[str],
    stage: Deployment,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And the status: 1 unless nothing is left."""

    async def run(_: Oblivion) -> Outcome:
        return outcome

    monkeypatch.setattr(Oblivion, "run", run)
    assert command.forget("bob", **OPTIONS) == status
    said = capsys.readouterr().out
    assert [it for it in words if it not in said] == []


@pytest.mark.parametrize("error", [Unavailable("throttled"), KeyboardInterrupt()])
def test_what_stops_it_says_how_to_go_on(
    error: BaseException, stage: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one sentence."""

    async def run(_: Oblivion) -> Outcome:
        raise error

    monkeypatch.setattr(Oblivion, "run", run)
    with pytest.raises(StageError, match="run it again, and it goes on"):
        command.forget("bob", **OPTIONS)


@pytest.mark.parametrize("answer", [True, False])
def test_it_asks(
    answer: bool, stage: Deployment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whom, where, and what happens; whoever says no changes nothing."""
    asked: list[str] = []
    ran: list[bool] = []

    def confirm(question: str) -> bool:
        asked.append(question)
        return answer

    async def run(_: Oblivion) -> Outcome:
        ran.append(True)
        return Outcome(passes=1)

    monkeypatch.setattr("typer.confirm", confirm)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr(Oblivion, "run", run)
    assert command.forget("bob", **OPTIONS | {"yes": False}) == (0 if answer else 1)
    [question] = asked
    assert "Forget bob at the stage dev" in question
    assert "delete their account there first" in question
    assert ran == [True] * answer
    with pytest.raises(BadSetting, match="nobody to ask"):
        command.forget("bob", **OPTIONS | {"yes": False, "as_json": True})
