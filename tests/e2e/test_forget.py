"""`roomcast forget` on a twin: killed half way and run again, nothing is left of a user in any row or object."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from adapters.dynamodb import rows
from adapters.settings import table_names
from domain.archive import room_prefix, unpack
from domain.forgetting import STAND_IN, user_hash
from domain.rooms import FOREVER, Entry, Room
from local.twin import PREFIX, Twin
from tests.e2e.people import person
from tests.unit.ops.test_command import roomcast

MALLORY, LONGER = "mallory-7", "mallory-71"
HALL = Room("hall", 5)
EXPIRED = 200
"""Messages of the hall that the archive alone has."""
FAST = ("--read-units", "100000", "--write-units", "100000")
COMMAND = ("forget", MALLORY, "--yes", "--json", *FAST)
PATIENCE = 100.0
"""Seconds after which what was awaited is taken to be lost."""

Rows = dict[tuple[str, str, str], dict[str, Any]]


def message(seq: int) -> Entry:
    sender = MALLORY if seq % 2 else LONGER
    body = {"messageId": f"m{seq}", "senderId": sender, "senderName": sender.title(), "message": f"number {seq}"}
    return Entry(seq, "chat", 1_790_000_000_000 + seq, sender, body, ends_at=FOREVER, nth=seq)


async def fill(twin: Twin, messages: int) -> None:
    """Put the log of the hall, every other message of it mallory's."""
    table = table_names(PREFIX)
    items = [rows.entry_row(HALL.room, HALL.epoch, message(seq)) for seq in range(1, messages + 1)]

    async def put(batch: list[rows.Item]) -> None:
        puts: Any = [{"PutRequest": {"Item": it}} for it in batch]
        await twin.cloud.dynamodb.batch_write_item(RequestItems={table["messages"]: puts})

    meta: Any = rows.room_row(Room(HALL.room, HALL.epoch, head=messages, messages=messages))
    await twin.cloud.dynamodb.put_item(TableName=table["rooms"], Item=meta)
    for start in range(0, len(items), 500):
        batches = [items[it : it + 25] for it in range(start, min(start + 500, len(items)), 25)]
        await asyncio.gather(*map(put, batches))


async def expire(twin: Twin) -> None:
    """Take the oldest of the hall's messages from the log, as time does: the archive alone has them then."""
    for seq in range(1, EXPIRED + 1):
        key: Any = rows.entry_key(HALL.room, HALL.epoch, seq)
        await twin.cloud.dynamodb.delete_item(TableName=table_names(PREFIX)["messages"], Key=key)


async def talk(twin: Twin) -> None:
    """Leave something of mallory behind wherever the service keeps anything."""
    async with person(twin.ws_url, MALLORY, "den") as mallory, person(twin.ws_url, "ada", "den") as ada:
        first = await mallory.say("my secret", "den")
        answer = await ada.say("what is it?", "den", replyTo=first["seq"], mentions=[MALLORY])
        await mallory.ask(type="react", roomId="den", seq=answer["seq"], emoji="+1")
        await ada.ask(type="react", roomId="den", seq=answer["seq"], emoji="+1")
        await mallory.ask(type="edit_message", roomId="den", seq=first["seq"], message="no secret")
        await mallory.ask(type="private_message", targetUserId="ada", message="psst")
        await ada.ask(type="private_message", targetUserId=MALLORY, message="yes?")
        await mallory.ask(type="create_room", roomId="cellar", title="The cellar")
        await mallory.ask(type="read", roomId="den", seq=first["seq"])
        await mallory.ask(type="presence", status="busy")
        await mallory.ask(type="notices", enabled=False)
        await mallory.ask(type="ban", roomId="cellar", userId="eve", reason="she is loud")
        await mallory.ask(type="join_room", roomId="cellar")
        await mallory.say("in the cellar", "cellar")
        await mallory.ask(type="delete_room", roomId="cellar")


async def all_rows(twin: Twin) -> Rows:
    found: Rows = {}
    for table, name in table_names(PREFIX).items():
        async for page in twin.cloud.dynamodb.get_paginator("scan").paginate(TableName=name):
            for it in page["Items"]:
                found[table, str(it["pk"]["S"]), str(it["sk"]["S"])] = dict(it)
    return found


async def all_objects(twin: Twin) -> dict[str, bytes]:
    bucket = (await twin.status())["archive"]["bucket"]
    found = {}
    async for page in twin.cloud.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for it in page.get("Contents", ()):
            answer = await twin.cloud.s3.get_object(Bucket=bucket, Key=it["Key"])
            async with answer["Body"] as body:
                found[it["Key"]] = await body.read()
    return found


async def archived(twin: Twin) -> None:
    """Wait until the archive has all there is."""
    quiet, seen = 0, -1
    async with asyncio.timeout(PATIENCE):
        while quiet < 12:
            await asyncio.sleep(0.25)  # the stream is another process's
            tally = (await twin.status())["archive"]["records"]
            busy = (await twin.status())["functions"]["archive"]["busy"]
            quiet = quiet + 1 if tally == seen and not busy else 0
            seen = tally


def named(text: str) -> list[str]:
    """Where mallory's id stands in a text as a whole."""
    return re.findall(rf"(?<![\w.:-]){MALLORY}(?![\w.:-])", text)


async def counted(twin: Twin) -> int:
    """The messages that the run under way has made tombstones of, so far."""
    answer = await twin.cloud.dynamodb.query(
        TableName=table_names(PREFIX)["rooms"],
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": f"#forget#{user_hash(MALLORY)}"}},
        ConsistentRead=True,
    )
    return sum(int(str(it.get("messages", {"N": "0"})["N"])) for it in answer["Items"])


async def kill_half_way(twin: Twin, messages: int) -> int:
    """How many messages the command was able to do before it was killed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ops.main", *COMMAND, "--url", twin.ws_url), stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(PATIENCE):
        while await counted(twin) < messages // 4:  # noqa: ASYNC110  # the row is another process's
            await asyncio.sleep(0.01)
    process.kill()
    await process.wait()
    done = await counted(twin)
    assert messages // 4 <= done < messages // 2
    return done


def check_rows(before: Rows, after: Rows, messages: int) -> None:
    """The id is nowhere, mallory's are tombstones, and others' are as they were, byte for byte."""
    assert [key for key, row in after.items() if named(json.dumps(row))] == []
    seqs = range(EXPIRED + 1, messages + 1)
    hall = {seq: rows.read_entry(after["messages", "hall#5", rows.seq_text(seq)]) for seq in seqs}
    assert all(it.sender == STAND_IN and it.body["message"] == "" for seq, it in hall.items() if seq % 2)
    others = {key: row for key, row in before.items() if key[1] == "hall#5" and int(key[2]) % 2 == 0}
    assert len(others) == (messages - EXPIRED) // 2
    assert {key: after[key] for key in others} == others


def check_objects(before: dict[str, bytes], after: dict[str, bytes], messages: int) -> None:
    """The same of the archive, line by line."""
    assert [name for name in after if named(name)] == []
    still = {(name, it.epoch, it.seq): it.text for name, content in after.items() for it in unpack(content)}
    assert [key for key, text in still.items() if named(text.decode())] == []
    hall = {
        (name, it.epoch, it.seq): it.text
        for name, content in before.items()
        for it in unpack(content)
        if name.startswith(room_prefix("hall"))
    }
    assert len(hall) == messages
    others = {key: text for key, text in hall.items() if not named(text.decode())}
    assert len(others) == messages // 2
    assert {key: still[key] for key in others} == others
    assert hall.keys() <= still.keys()


async def check_seen(twin: Twin) -> None:
    """What ada finds: tombstones, her own words, and a reaction less; and she can still delete what she wrote."""
    async with person(twin.ws_url, "ada", "den") as ada:
        page = await ada.ask(type="history", roomId="den")
        [secret, question, *_] = page["data"]["entries"]
        assert (secret["data"]["senderId"], secret["data"]["message"]) == (STAND_IN, "")
        assert question["data"]["message"] == "what is it?"
        assert question["data"]["reactions"] == [{"emoji": "+1", "count": 1, "users": ["ada"]}]
        page = await ada.ask(type="history", roomId="inbox#ada")
        [psst, yes] = page["data"]["entries"]
        assert (psst["data"]["senderId"], psst["data"]["message"]) == (STAND_IN, "")
        gone = await ada.ask(type="delete_message", roomId="inbox#ada", seq=yes["data"]["seq"])
        assert gone["type"] == "ack"
        refused = await ada.ask(type="private_message", targetUserId=MALLORY, message="are you there?")
        assert refused["data"]["code"] == "USER_OFFLINE"


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param(2_000, marks=[pytest.mark.slow, pytest.mark.timeout(300)]),
        pytest.param(20_000, marks=[pytest.mark.large, pytest.mark.timeout(600)]),
    ],
)
async def test_nothing_is_left_of_a_user(tmp_path: Path, messages: int) -> None:
    """Half of the messages are mallory's. The command is killed when it has done half of them; the next run goes on,
    counts them all, and a raw look finds the id nowhere, and everything else as it was."""
    async with Twin(state=tmp_path, archive=True, archive_window=1.0) as twin:
        await fill(twin, messages)
        await talk(twin)
        await archived(twin)
        await expire(twin)
        before, objects = await all_rows(twin), await all_objects(twin)
        assert sum(len(unpack(it)) for it in objects.values()) > messages
        assert any(named(json.dumps(it)) for it in before.values())

        status, out, err = await roomcast("forget", MALLORY, "--dry-run", "--json", "--url", twin.ws_url, *FAST)
        assert (status, err) == (0, "")
        looked = json.loads(out)["counts"]
        assert looked["messages"] == (messages - EXPIRED) // 2 + 3
        assert await all_rows(twin) == before

        async with person(twin.ws_url, MALLORY, "lobby") as mallory:
            done = await kill_half_way(twin, messages)
            await asyncio.wait_for(mallory.socket.wait_closed(), PATIENCE)
        began = time.monotonic()
        status, out, err = await roomcast(*COMMAND, "--url", twin.ws_url)
        seconds = time.monotonic() - began
        assert (status, err) == (0, "")
        outcome = json.loads(out)
        print(f"\nkilled after {done:,} messages; the second run, {seconds:.1f} s: {json.dumps(outcome)}")
        assert (outcome["proven"], outcome["resumed"], outcome["left"]) == (True, True, 0)
        # Of the private message there were two copies, and mallory's went with the inbox.
        assert outcome["counts"]["messages"] == (messages - EXPIRED) // 2 + 3
        assert outcome["counts"]["archive_lines"] >= EXPIRED // 2

        await archived(twin)
        check_rows(before, await all_rows(twin), messages)
        check_objects(objects, await all_objects(twin), messages)
        await check_seen(twin)
        status, out, err = await roomcast("forget", MALLORY, "--yes", "--url", twin.ws_url, *FAST)
        assert (status, err) == (0, "")
        assert f"There is nothing of {MALLORY}." in out
