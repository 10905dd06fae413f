"""The model of `roomcast plan` against what a twin counts while a load test runs on it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from adapters.dynamodb.rows import member_row
from domain.rooms import Member, Rules, ShardKey
from local.twin import Twin
from local.units import item_size
from ops.bills import RoomShape, tick

RULES = Rules(shard_limit=50)
"""41 members are two shards."""
CONNECTION = "aWhQ9hTSIAMCJyw="
ROW = member_row(
    Member(CONNECTION, "load-0123abcd-17", "load-0123abcd-17", "v1", 1_700_000_000_000, 1_700_000_000_000, "0" * 16),
    ShardKey("load-0123abcd-0", 1_700_000_000_000, 0),
)
TOLERANCE = 0.15


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def twin(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Twin]:
    async with Twin(state=tmp_path_factory.mktemp("plan"), shard_limit=RULES.shard_limit) as twin:
        # Environments that start within the run would make what is told of a join late.
        await asyncio.gather(*(twin.functions[it].warm(2) for it in ("connect", "ephemeral")))
        yield twin


@dataclass(frozen=True, slots=True)
class Run:
    """One load test: what it says of itself, and what the twin counted."""

    result: Mapping[str, Any]
    before: Mapping[str, Any]
    after: Mapping[str, Any]

    def counted(self, part: str, name: str) -> float:
        return float(self.after[part].get(name, 0) - self.before[part].get(name, 0))

    def invocations(self, function: str) -> int:
        return int(self.after["functions"][function]["invocations"] - self.before["functions"][function]["invocations"])

    def billed(self, function: str) -> float:
        """Seconds."""
        return (
            float(self.after["functions"][function]["billed_ms"] - self.before["functions"][function]["billed_ms"])
            / 1000
        )

    @property
    def usage(self) -> Mapping[str, float]:
        sends = self.counted("calls", "sqs.SendMessage") + self.counted("calls", "sqs.SendMessageBatch")
        receives = self.counted("sqs", "receives") - self.counted("sqs", "empty_receives")
        return {
            "posts": self.counted("posts", "sent"),
            "queue_calls": sends + receives + self.counted("sqs", "deletes"),
            "reads": self.counted("units", "read"),
            "writes": self.counted("units", "write"),
        }


async def run(twin: Twin, *, members: int, rooms: int, rate: float, ramp: float, seconds: float) -> Run:
    options = f"--clients {members * rooms} --rooms {rooms} --rate {rate} --seconds {seconds} --ramp {ramp}".split()
    before = await twin.status()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ops.main", "loadtest", "--json", "-", "--url", twin.ws_url, *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return Run(json.loads(out), before, await twin.status())


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("members", "rooms", "rate", "ramp"),
    [
        pytest.param(40, 1, 5, 15, id="a room of one shard, told who comes and goes"),
        # Joins of a room further apart than a window of its presence: how many share one would be chance.
        pytest.param(6, 20, 10, 3, id="many small rooms"),
        pytest.param(60, 1, 4, 20, id="a room of two shards"),
    ],
)
async def test_the_model_is_near_what_is_counted(
    twin: Twin, members: int, rooms: int, rate: float, ramp: float
) -> None:
    """Posts, requests to queues, and units of a whole run, connects and disconnects among it, within 15 %. How many
    entries and jobs came together, and how late, is taken from the run: that is the machine's speed, not the model."""
    ran = await run(twin, members=members, rooms=rooms, rate=rate, ramp=ramp, seconds=2)
    messages = ran.result["messages"]["acknowledged"]
    shape = RoomShape(members, message_bytes=50, member_bytes=item_size(ROW), rules=RULES)
    entries = ran.result["frames"]["entries_per_frame"]
    announced = ran.counted("calls", "sqs.SendMessage") / ran.invocations("ephemeral")
    rung = messages * shape.shards / ran.invocations(shape.lane)
    seconds = members * rooms / ran.result["clients"]["connects_per_s"]
    # A job waits for the batch before its own, or a part of it.
    lag = 1.5 * ran.billed("ephemeral") / ran.invocations("ephemeral")

    room = shape.filling(seconds, announced, lag) + shape.emptying(announced)
    model = room * rooms + shape.speaking(messages, entries, rung) + tick() * ran.invocations("tick")

    ratios = {name: getattr(model, name) / count for name, count in ran.usage.items()}
    print({name: round(it, 3) for name, it in ratios.items()}, f"{entries} entries a frame")
    assert all(abs(it - 1) < TOLERANCE for it in ratios.values()), ratios
