"""Jobs that a broken release killed are given back to their lane, and are neither lost nor doubled."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from domain.fanout import Doorbell, encode_job, group_of
from domain.lanes import LANES, override_lanes
from loadtest.status import wait_until_idle
from local.twin import PREFIX, Twin
from tests.e2e.crowd import Crowd
from tests.unit.local.processes import ROOT, until

PACKAGES = ("adapters", "domain", "pipeline", "services")
"""What a function's bundle holds of ours."""
BREAK = """

async def _break(*_: object) -> int:
    raise RuntimeError("a broken release")


Broadcast.serve = _break
"""
MEMBERS = 5
"""Of each room."""
PATIENCE = 100.0
"""Seconds after which what was awaited is taken to be lost."""


def broken_release(folder: Path) -> Path:
    """What the functions carry, copied, but no shard can be served."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "pipeline" / "broadcast.py").open("a") as code:
        code.write(BREAK)
    return folder


async def start(twin: Twin, *options: str) -> asyncio.subprocess.Process:
    """A redrive of the lane."""
    command = ["redrive", "--url", twin.ws_url, "--lane", "interactive", "--yes", "--json", *options]
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ops.main", *command), stdout=asyncio.subprocess.PIPE
    )


async def answer(process: asyncio.subprocess.Process) -> dict[str, Any]:
    """What it says when it has ended."""
    out, _ = await process.communicate()
    said: dict[str, Any] = json.loads(out)
    assert process.returncode == said["interrupted"]
    assert set(said["redriven"]) == {"interactive"}
    return said


async def dead(twin: Twin) -> int:
    return (await twin.cloud.queue_depths())["interactive"].dead


async def mend(twin: Twin) -> None:
    """Give the workers whole code, and wait until none of the broken ones lives."""
    workers = [twin.functions[it] for it in twin.lanes]
    broken = {pid for it in workers for pid in it.pids}
    await asyncio.gather(*(it.update(ROOT) for it in workers))
    await until(lambda: broken.isdisjoint(pid for it in workers for pid in it.pids), PATIENCE)


async def bury_again(twin: Twin, crowd: Crowd) -> None:
    """Make the jobs of all messages dead once more, though they are done."""
    url = (await twin.cloud.create_queues(PREFIX, twin.lanes.values())).dead["interactive"]
    for it in crowd.sent:
        job = Doorbell(room=it.room, epoch=it.epoch, shard=0, seq=it.seq)
        await twin.cloud.sqs.send_message(
            QueueUrl=url,
            MessageBody=encode_job(job),
            MessageGroupId=group_of(job),
            MessageDeduplicationId=uuid.uuid4().hex,
        )


@pytest.mark.parametrize(
    ("jobs", "rooms", "rate"),
    [
        pytest.param(60, 4, 5, marks=pytest.mark.slow),
        pytest.param(1_000, 50, 30, marks=[pytest.mark.large, pytest.mark.timeout(400)]),
    ],
)
async def test_dead_jobs_are_redriven_twice(tmp_path: Path, jobs: int, rooms: int, rate: int) -> None:
    """Everybody is pushed every message once the workers are mended, within the budget of posts, `rate` a second, and
    though Ctrl-C ends the first run; the same jobs again cost no post at all."""
    lanes = override_lanes(
        LANES,
        ["interactive.max_receives=1", "interactive.max_concurrency=1", f"interactive.post_rate={rate}"],
    )
    posts: list[float] = []

    def note_post() -> float:
        posts.append(time.monotonic())
        return 0.0

    code = await asyncio.to_thread(broken_release, tmp_path / "broken")
    twin = Twin(state=tmp_path / "twin", lanes=lanes, code=code, post_latency=note_post, lose_disconnects=True)
    async with twin, Crowd(twin.ws_url, MEMBERS * rooms, rooms) as crowd:
        await crowd.join()
        await crowd.say(jobs, rate=150)
        await until(lambda: not crowd.ledger.under_way, PATIENCE)
        async with asyncio.timeout(PATIENCE):
            while await dead(twin) < jobs:  # noqa: ASYNC110  # the queue is another process's
                await asyncio.sleep(0.1)
        assert not any(it.log.pushed for it in crowd.clients.values())

        await mend(twin)
        posts.clear()
        process = await start(twin)
        async with asyncio.timeout(PATIENCE):
            while await dead(twin) == jobs:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        process.send_signal(signal.SIGINT)
        stopped = await answer(process)
        assert stopped["interrupted"] is True
        assert await dead(twin) == jobs - stopped["redriven"]["interactive"] > 0
        going_on = await answer(await start(twin, "--rate", "100"))
        assert going_on["redriven"]["interactive"] + stopped["redriven"]["interactive"] == jobs
        await until(lambda: all(_pushed(crowd, it) for it in crowd.clients), PATIENCE)
        await wait_until_idle(twin.ws_url)
        # A second's worth more: the posts are noted when they arrive.
        assert len(posts) <= rate * (posts[-1] - posts[0] + 1)

        await bury_again(twin, crowd)
        posts.clear()
        again = await answer(await start(twin, "--rate", "1000"))
        assert again["redriven"]["interactive"] == jobs
        idle = await wait_until_idle(twin.ws_url)
        assert idle is not None
        assert (idle.waiting, idle.dead, posts) == (0, 0, [])
        await crowd.arrived()
        found = crowd.audit()
    assert found.findings == []
    assert found.expected == found.received == MEMBERS * jobs


def _pushed(crowd: Crowd, client: int) -> bool:
    """Whether a client was pushed all that was said in its room."""
    log = crowd.clients[client].log
    [room] = {it.room for it in log.memberships}
    return {it.seq for it in log.pushed} == {it.seq for it in crowd.sent if it.room == room}
