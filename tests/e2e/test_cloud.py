"""The emulator of DynamoDB and SQS in a process of its own."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters.dynamodb import TTL_ATTRIBUTE, table_definitions
from adapters.settings import table_names
from domain.errors import BadSetting
from domain.lanes import LANES
from local.cloud import LAUNCHER, Cloud, CloudError, Depth
from tests.unit.local.processes import children, is_running, until

ROW = {"pk": {"S": "room"}, "sk": {"S": "meta"}, "head": {"N": "7"}, "blob": {"B": b"\x00\xff"}}
KEY = {"pk": ROW["pk"], "sk": ROW["sk"]}


async def store(cloud: Cloud) -> None:
    """A row in a table, and a message in a queue."""
    tables = await cloud.create_tables("test")
    await cloud.dynamodb.put_item(TableName=tables["rooms"], Item=ROW)  # type: ignore[arg-type]  # one table for all
    queues = await cloud.create_queues("test", LANES.values())
    await cloud.sqs.send_message(
        QueueUrl=queues.urls["interactive"], MessageBody="job", MessageGroupId="g", MessageDeduplicationId="d"
    )


async def stored(cloud: Cloud) -> tuple[bool, int]:
    """Whether the row is there as it was, and how many messages are."""
    tables = await cloud.create_tables("test")
    await cloud.create_queues("test", LANES.values())
    answer = await cloud.dynamodb.get_item(TableName=tables["rooms"], Key=KEY)  # type: ignore[arg-type]
    return answer.get("Item") == ROW, (await cloud.queue_depths())["interactive"].visible


async def test_tables_and_queues_are_made_once(tmp_path: Path) -> None:
    """Names and URLs come back as the functions need them, the second time as well."""
    async with Cloud(tmp_path) as cloud:
        tables = await cloud.create_tables("test")
        assert tables == {it: f"test-{it}" for it in ("connections", "rooms", "messages")}
        ttl = await cloud.dynamodb.describe_time_to_live(TableName=tables["messages"])
        assert ttl["TimeToLiveDescription"] == {"AttributeName": TTL_ATTRIBUTE, "TimeToLiveStatus": "ENABLED"}
        queues = await cloud.create_queues("test", LANES.values())
        assert set(queues.urls) == set(queues.dead) == set(LANES)
        assert all(it.startswith(f"{cloud.endpoint}/") for it in (*queues.urls.values(), *queues.dead.values()))
        assert await cloud.create_tables("test") == tables
        assert await cloud.create_queues("test", LANES.values()) == queues


async def test_a_stored_table_without_its_index_is_named(tmp_path: Path) -> None:
    """An older version made it: what is stored must go, and the text says how."""
    async with Cloud(tmp_path) as cloud:
        rooms = next(it for it in table_definitions(table_names("test")) if "GlobalSecondaryIndexes" in it)
        del rooms["GlobalSecondaryIndexes"], rooms["AttributeDefinitions"][2:]
        await cloud.dynamodb.create_table(**rooms)
        with pytest.raises(CloudError, match=r"test-rooms .* the index directory; start with --reset"):
            await cloud.create_tables("test")


async def test_a_queue_has_what_its_lane_says(tmp_path: Path) -> None:
    """Visibility, redrive and kind are the lane's, also when the lane has changed since the queue was made."""
    async with Cloud(tmp_path) as cloud:
        for lane in (LANES["interactive"], replace(LANES["interactive"], visibility=4, timeout=3, max_receives=2)):
            queues = await cloud.create_queues("test", [lane])
            url = queues.urls["interactive"]
            answer = await cloud.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
            attributes = answer["Attributes"]
            assert attributes["FifoQueue"] == "true"
            assert attributes["VisibilityTimeout"] == f"{lane.visibility:g}"
            redrive = json.loads(attributes["RedrivePolicy"])
            assert redrive["maxReceiveCount"] == lane.max_receives
            assert redrive["deadLetterTargetArn"].endswith(":test-interactive-dead.fifo")


async def test_depths_tell_what_a_lane_holds(tmp_path: Path) -> None:
    """Waiting, being worked, delayed and dead messages are told apart."""
    async with Cloud(tmp_path) as cloud:
        queues = await cloud.create_queues("test", LANES.values())
        url = queues.urls["retry"]
        await cloud.sqs.send_message(QueueUrl=url, MessageBody="first")
        await cloud.sqs.receive_message(QueueUrl=url)
        for _ in range(2):
            await cloud.sqs.send_message(QueueUrl=url, MessageBody="waiting")
        await cloud.sqs.send_message(QueueUrl=url, MessageBody="later", DelaySeconds=60)
        await cloud.sqs.send_message(QueueUrl=queues.dead["retry"], MessageBody="poison")
        depths = await cloud.queue_depths()
        assert depths["retry"] == Depth(visible=2, in_flight=1, delayed=1, dead=1)
        assert depths["ephemeral"] == Depth(0, 0, 0, 0)


async def test_what_is_stored_stays_until_it_is_reset(tmp_path: Path) -> None:
    """Rows and messages outlive a stop; with `reset` nothing does."""
    async with Cloud(tmp_path) as cloud:
        await store(cloud)
    async with Cloud(tmp_path) as cloud:
        assert await stored(cloud) == (True, 1)
    async with Cloud(tmp_path, reset=True) as cloud:
        assert await stored(cloud) == (False, 0)


async def test_a_state_folder_has_one_user(tmp_path: Path) -> None:
    """A second emulator on the same folder would overwrite what the first stores: it is refused, and leaves nothing."""
    async with Cloud(tmp_path) as cloud:
        before = children()
        with pytest.raises(CloudError, match="another twin"):
            await Cloud(tmp_path).start()
        assert children() == before
        assert await stored(cloud) == (False, 0)


async def test_a_running_emulator_is_shared(tmp_path: Path) -> None:
    """Who is told of it uses what it holds, and leaves it running."""
    async with Cloud(tmp_path) as cloud:
        await store(cloud)
        before = children()
        async with Cloud(tmp_path / "unused", running=cloud.endpoint) as guest:
            assert await stored(guest) == (True, 1)
        assert children() == before
        assert await stored(cloud) == (True, 1)
    assert not (tmp_path / "unused").exists()


async def test_where_no_emulator_runs_the_error_says_so(tmp_path: Path) -> None:
    """Nobody listens there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(CloudError, match=f"no emulator answers at http://127.0.0.1:{port}"):
        await Cloud(tmp_path, running=f"http://127.0.0.1:{port}").start()


def test_a_running_emulator_is_not_reset(tmp_path: Path) -> None:
    """What it holds is another's, too."""
    with pytest.raises(BadSetting, match="keeps what it holds"):
        Cloud(tmp_path, running="http://127.0.0.1:1", reset=True)


async def test_a_missing_emulator_names_the_remedy(tmp_path: Path) -> None:
    """Where the emulator is not installed, the error says what installs it."""
    with pytest.raises(CloudError, match="make up"):
        await Cloud(tmp_path, python=tmp_path / "cloud" / "bin" / "python").start()


async def test_an_emulator_that_does_not_start_names_the_log(tmp_path: Path) -> None:
    """An interpreter without the emulator ends at once, and the error says where its words are."""
    with pytest.raises(CloudError, match=r"cloud\.log"):
        await Cloud(tmp_path, python=Path(sys.executable)).start()
    assert "ModuleNotFoundError" in (tmp_path / "cloud.log").read_text()


async def test_stop_may_be_called_at_any_time(tmp_path: Path) -> None:
    """Before a start, twice, and while the emulator starts: no process stays."""
    before = children()
    cloud = Cloud(tmp_path)
    await cloud.stop()
    starting = asyncio.create_task(cloud.start())
    await until(lambda: children() > before)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await cloud.stop()
    assert children() == before


PARENT = """
import asyncio, os, sys
from pathlib import Path
from typing import Any
from local.cloud import Cloud
from tests.e2e.test_cloud import store
from tests.unit.local.processes import children

async def main() -> None:
    cloud = Cloud(Path(sys.argv[1]))
    await cloud.start()
    await store(cloud)
    print(*children(), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_the_emulator_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    """kill -9 of the process that uses it ends the emulator, which saves what it holds."""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, tmp_path, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    [pid] = [int(it) for it in (await parent.stdout.readline()).split()]
    parent.kill()
    await parent.wait()
    await until(lambda: not is_running(pid))
    async with Cloud(tmp_path) as cloud:
        assert await stored(cloud) == (True, 1)


async def test_an_emulator_ends_though_nobody_read_that_it_serves(tmp_path: Path) -> None:
    """Its parent was killed before; the unread line resets their socket."""
    own, theirs = socket.socketpair()
    with own, theirs:
        emulator = await asyncio.create_subprocess_exec(
            *(Path(sys.prefix) / "cloud" / "bin" / "python", LAUNCHER, tmp_path),
            stdin=theirs.fileno(),
            env={"BIND_HOST": "127.0.0.1", "IOT_MTLS_ENABLED": "0", "SERVICES": "sqs", "SFTP_ENABLED": "0"},
            stderr=asyncio.subprocess.DEVNULL,
        )
        await asyncio.to_thread(own.recv, 1, socket.MSG_PEEK)
    try:
        await asyncio.wait_for(emulator.wait(), 20)
    finally:
        if emulator.returncode is None:
            emulator.kill()


async def test_a_large_partition_is_read_as_a_small_one(tmp_path: Path) -> None:
    """Page after page, from either end, between rows that were put late and deleted."""
    async with Cloud(tmp_path) as cloud:
        table = (await cloud.create_tables("test"))["messages"]
        seqs = [it for it in range(400) if it % 50]
        for it in (*seqs, *range(0, 400, 50)):
            await cloud.dynamodb.put_item(TableName=table, Item={"pk": {"S": "log"}, "sk": {"S": f"{it:016d}"}})
        await cloud.dynamodb.delete_item(TableName=table, Key={"pk": {"S": "log"}, "sk": {"S": f"{7:016d}"}})

        async def read(first: int, last: int, *, forward: bool) -> list[int]:
            found: list[int] = []
            start: dict[str, Any] = {}
            while True:
                answer = await cloud.dynamodb.query(
                    TableName=table,
                    KeyConditionExpression="pk = :log AND sk BETWEEN :first AND :last",
                    ExpressionAttributeValues={
                        ":log": {"S": "log"},
                        ":first": {"S": f"{first:016d}"},
                        ":last": {"S": f"{last:016d}"},
                    },
                    ScanIndexForward=forward,
                    Limit=33,
                    **start,
                )
                found += [int(it["sk"]["S"]) for it in answer["Items"]]
                if "LastEvaluatedKey" not in answer:
                    return found
                assert len(answer["Items"]) == 33
                start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

        everything = [it for it in range(400) if it != 7]
        assert await read(0, 10**15, forward=True) == everything
        assert await read(0, 10**15, forward=False) == everything[::-1]
        assert await read(5, 120, forward=True) == [it for it in everything if 5 <= it <= 120]
        assert await read(5, 120, forward=False) == [it for it in everything if 5 <= it <= 120][::-1]
        assert await read(398, 398, forward=True) == [398]
        assert await read(500, 600, forward=True) == []
