"""The archive through the real twin: what is said, the emulator's stream, its S3, and `roomcast archive cat`."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from adapters.dynamodb import DynamoStore, rows
from adapters.settings import table_names
from domain.retention import DAY_SECONDS
from domain.rooms import Entry, Profile, Room
from loadtest.bench.seats import put_rows
from local.twin import ARCHIVE, PREFIX, Twin
from tests.conformance.clients import fresh
from tests.e2e.people import PATIENCE, person

SEED = 11
EPOCH = 1_796_000_000_000
AT = 1_793_491_200_000
"""The first moment of 1 November 2026."""


async def cat(twin: Twin, room: str, *options: str) -> list[dict[str, Any]]:
    """What the command prints, line by line."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ops.main", "archive", "cat", "--room", room, "--url", twin.ws_url, *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return [json.loads(it) for it in out.splitlines()]


async def log(twin: Twin, room: str) -> list[Entry]:
    """The room's log as its rows are now, whatever epoch it is in."""
    store = DynamoStore(twin.cloud.dynamodb, table_names(PREFIX))
    found = await store.room(room)
    assert found is not None
    entries: list[Entry] = []
    while more := await store.entries(
        room, found.epoch, entries[-1].seq if entries else 0, limit=1_000, max_bytes=2**20
    ):
        entries += more
    return entries


def told(entries: Sequence[Entry]) -> list[tuple[int, str, int, str, dict[str, Any]]]:
    return [(it.seq, it.type, it.at, it.sender, it.body) for it in entries]


def printed(lines: Sequence[dict[str, Any]]) -> list[tuple[int, str, int, str, dict[str, Any]]]:
    return [(it["seq"], it["type"], it["at"], it["sender"], it["body"]) for it in lines]


async def idle(twin: Twin) -> None:
    """Wait until all that was written has gone through the stream, and through the function."""

    async def drained() -> int:
        number: int = (await twin.status())["archive"]["drained"]
        return number

    wanted = await drained() + 2
    async with asyncio.timeout(600):
        while await drained() < wanted:  # noqa: ASYNC110  # a stream tells nobody that it has ended
            await asyncio.sleep(0.1)


@pytest.mark.slow
async def test_what_becomes_of_messages_is_archived(tmp_path: Path) -> None:
    """As the log has it in the end, edits, deletions, reactions and answers; also what was said just before the twin
    was stopped; and it is there when the twin comes back."""
    room, ada, bob = fresh("hall"), fresh("ada"), fresh("bob")
    async with (
        Twin(state=tmp_path, archive=True, archive_window=0.2) as twin,
        person(twin.ws_url, ada, room) as one,
        person(twin.ws_url, bob, room) as other,
    ):
        seqs = [(await one.say(f"message {it}", room))["seq"] for it in range(5)]
        await idle(twin)
        await one.ask(type="edit_message", roomId=room, seq=seqs[0], message="Löwe")
        await one.ask(type="delete_message", roomId=room, seq=seqs[1])
        await other.ask(type="react", roomId=room, seq=seqs[2], emoji="+1")
        await other.say("an answer", room, replyTo=seqs[3])
        await one.ask(type="private_message", targetUserId=bob, message="psst")
        await idle(twin)
        entries = await log(twin, room)
        assert printed(await cat(twin, room)) == told(entries)
        bodies = {it.seq: it.body for it in entries}
        assert [bodies[it]["message"] for it in seqs[:2]] == ["Löwe", ""]
        assert bodies[seqs[2]]["reactions"][0]["count"] == 1
        assert bodies[seqs[3]]["replies"]["count"] == 1
        [whisper] = await cat(twin, f"inbox#{bob}")
        assert (whisper["type"], whisper["body"]["message"]) == ("private_message", "psst")
        await one.say("the last words", room)
    async with Twin(state=tmp_path, archive=True) as twin:
        lines = await cat(twin, room)
        assert lines[-1]["body"]["message"] == "the last words"
        assert printed(lines) == told(await log(twin, room))


@pytest.mark.slow
async def test_a_room_that_keeps_less_is_left_out(tmp_path: Path) -> None:
    """By its own retention, as its meta row says."""
    async with Twin(state=tmp_path, archive=True, archive_window=0.0) as twin:
        store = DynamoStore(twin.cloud.dynamodb, table_names(PREFIX))
        for room, retention in {"brief": DAY_SECONDS, "plain": 0}.items():
            await store.create_room(Room(room, EPOCH, profile=Profile(retention=retention)))
            async with person(twin.ws_url, fresh("ada"), room) as ada:
                await ada.say("hello", room)
        await idle(twin)
        assert [it["body"]["message"] for it in await cat(twin, "plain")] == ["hello"]
        names = [it["Key"] async for it in _objects(twin)]
        assert [it for it in names if "brief" in it] == []


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kills", [2, 10])
async def test_killed_again_and_again(tmp_path: Path, kills: int) -> None:
    """The archiver's environment, at random moments within its work, while people go on talking: no double, no gap."""
    draw, rooms = random.Random(SEED), [fresh("hall") for _ in range(4)]

    async def kill(twin: Twin) -> None:
        function = twin.functions[ARCHIVE]
        stream = twin.archiving
        assert stream is not None
        killed, goal = 0, 0
        while function.tally.crashes < kills:  # one that has just ended its work does not count
            await asyncio.sleep(draw.uniform(0, 0.05))
            if stream.batches - stream.failed_batches < goal:
                continue
            busy = [pid for pid, is_busy in function.pids.items() if is_busy]
            if busy:
                await asyncio.sleep(draw.uniform(0, 0.03))
                if function.pids.get(busy[0]) and busy[0] != killed:
                    killed = busy[0]
                    with suppress(ProcessLookupError):
                        os.kill(killed, signal.SIGKILL)
                    # Some batches get through before the next.
                    goal = stream.batches - stream.failed_batches + draw.randint(0, 3)

    async with Twin(state=tmp_path, archive=True, archive_window=0.0) as twin:
        table = table_names(PREFIX)["messages"]
        killing = asyncio.create_task(kill(twin))
        said = 0
        async with asyncio.timeout(PATIENCE * 8):
            while not killing.done():
                said += 1
                await asyncio.gather(*(_put(twin, table, room, [_entry(said)]) for room in rooms))
                if said % 3 == 0:
                    await _put(twin, table, rooms[0], [_entry(draw.randint(1, said), "edited")])
        await killing
        await idle(twin)
        for room in rooms:
            lines = await cat(twin, room)
            assert [it["seq"] for it in lines] == list(range(1, said + 1))
            assert printed(lines) == told(await _entries(twin, room))


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_hundred_thousand_messages(tmp_path: Path) -> None:
    """Through the stream to files, and as many come out of them, each the same."""
    count, rooms = 100_000, ["one", "two", "three", "inbox#ada"]
    async with Twin(state=tmp_path, archive=True, archive_window=1.0) as twin:
        table, begun = table_names(PREFIX)["messages"], time.monotonic()
        share = count // len(rooms)
        await asyncio.gather(*(_put(twin, table, it, [_entry(seq) for seq in range(1, share + 1)]) for it in rooms))
        written = time.monotonic()
        await idle(twin)
        done = time.monotonic()
        assert (await twin.status())["archive"]["records"] == count
        for room in rooms:
            lines = await cat(twin, room)
            assert len(lines) == share
            assert _hashed(printed(lines)) == _hashed(told([_entry(it) for it in range(1, share + 1)]))
        names = [it["Key"] async for it in _objects(twin)]
        figures = {
            "writing rows, s": round(written - begun, 1),
            "archived after, s": round(done - written, 1),
            "cat, s": round(time.monotonic() - done, 1),
            "objects": len(names),
            "bytes": sum([it["Size"] async for it in _objects(twin)]),
            "calls": {it: number for it, number in twin.functions[ARCHIVE].tally.calls.items() if it.startswith("s3")},
        }
        print(figures)
        assert len(names) == len(rooms) * (share // 1_000 + 1)


def _entry(seq: int, word: str = "message") -> Entry:
    body = {
        "messageId": f"{seq:032x}",
        "message": f"{word} {seq}: Löwe, sea and {seq * 7919 % 104_729}",
        "senderName": "Ada",
    }
    return Entry(seq, "chat", AT + seq, "ada", body, nth=seq)


async def _put(twin: Twin, table: str, room: str, entries: Sequence[Entry]) -> None:
    await put_rows(twin.cloud.dynamodb, table, (rows.entry_row(room, EPOCH, it) for it in entries))


async def _entries(twin: Twin, room: str) -> list[Entry]:
    store = DynamoStore(twin.cloud.dynamodb, table_names(PREFIX))
    return await store.entries(room, EPOCH, 0, limit=100_000, max_bytes=2**30)


async def _objects(twin: Twin) -> Any:
    bucket = (await twin.status())["archive"]["bucket"]
    pages = twin.cloud.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    async for page in pages:
        for it in page.get("Contents", ()):
            yield it


def _hashed(entries: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()
