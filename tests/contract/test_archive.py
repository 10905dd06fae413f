"""The archive: the guarantees of the port, in memory and in a bucket of the emulator."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import aioboto3
import pytest
import pytest_asyncio
from aiobotocore.config import AioConfig
from botocore.exceptions import ClientError

from adapters.memory import MemoryArchive
from adapters.s3 import S3Archive, bucket_name
from domain.archive import Change, object_name, place_of, room_prefix
from domain.errors import Conflict, Unavailable
from domain.ports import Archive, StoredObject
from domain.rooms import Entry
from local.cloud import ACCOUNT, REGION, Cloud
from tests.contract.answers import Answers
from tests.contract.stage import EPOCH, NOW

pytestmark = pytest.mark.asyncio(loop_scope="session")

_numbers = itertools.count(1)


@pytest.fixture
def memory_archive() -> Archive:
    return MemoryArchive()


@pytest_asyncio.fixture(loop_scope="session")
async def ministack_archive(cloud: Cloud) -> Archive:
    bucket = bucket_name(f"contract{next(_numbers)}", ACCOUNT, REGION)
    await cloud.create_bucket(bucket)
    await cloud.create_bucket(bucket)
    return S3Archive(cloud.s3, bucket)


@pytest.fixture(params=["memory", "ministack"])
def archive(request: pytest.FixtureRequest) -> Archive:
    """Each archive in turn, empty."""
    found: Archive = request.getfixturevalue(f"{request.param}_archive")
    return found


async def names(archive: Archive, prefix: str, after: str = "") -> list[str]:
    return [it async for it in archive.names(prefix, after)]


async def read(archive: Archive, name: str) -> StoredObject:
    stored = await archive.read(name)
    assert stored is not None
    return stored


async def test_what_is_put_is_read(archive: Archive) -> None:
    """Byte for byte, whatever the room is called; what is not there is None."""
    rooms = ("lobby", "inbox#ada", "audit#lobby", "a.b:c-d_e", "..", ".x")
    named = {room: object_name(place_of(Change(room, EPOCH, Entry(7, "chat", NOW, "ada"), "1"))) for room in rooms}
    for room, name in named.items():
        await archive.put(name, room.encode() + bytes(range(256)), replaces=None)
    for room, name in named.items():
        assert (await read(archive, name)).content == room.encode() + bytes(range(256))
        assert await names(archive, room_prefix(room)) == [name]
    assert await archive.read("log/lobby/no-such-object") is None


async def test_an_object_is_put_where_there_is_none(archive: Archive) -> None:
    """Once; who did not know of it changes nothing."""
    await archive.put("log/lobby/one", b"first", replaces=None)
    with pytest.raises(Conflict):
        await archive.put("log/lobby/one", b"second", replaces=None)
    assert (await read(archive, "log/lobby/one")).content == b"first"


async def test_an_object_is_replaced_while_it_is_as_it_was_read(archive: Archive) -> None:
    """And by whoever has read what is there now."""
    await archive.put("log/lobby/one", b"first", replaces=None)
    first = await read(archive, "log/lobby/one")
    await archive.put("log/lobby/one", b"second", replaces=first)
    with pytest.raises(Conflict):
        await archive.put("log/lobby/one", b"third", replaces=first)
    second = await read(archive, "log/lobby/one")
    assert second.content == b"second"
    assert second.version != first.version
    await archive.put("log/lobby/one", b"third", replaces=second)
    assert (await read(archive, "log/lobby/one")).content == b"third"


async def test_what_is_deleted_is_gone(archive: Archive) -> None:
    """Also for who would replace it; and nothing happens where there is nothing."""
    await archive.put("log/lobby/one", b"first", replaces=None)
    first = await read(archive, "log/lobby/one")
    await archive.delete("log/lobby/one")
    await archive.delete("log/lobby/one")
    assert await archive.read("log/lobby/one") is None
    with pytest.raises(Conflict):
        await archive.put("log/lobby/one", b"second", replaces=first)
    assert await names(archive, "log/") == []


async def test_of_many_who_put_at_once_one_does(archive: Archive) -> None:
    """A new object, and one that they all have read."""

    async def put(content: bytes, replaces: StoredObject | None) -> bool:
        try:
            await archive.put("log/lobby/one", content, replaces=replaces)
        except Conflict:
            return False
        return True

    for replaces in (None, "the first"):
        read_by_all = replaces and await read(archive, "log/lobby/one")
        contents = [f"{replaces} {it}".encode() for it in range(10)]
        done = await asyncio.gather(*(put(it, read_by_all or None) for it in contents))
        assert sum(done) == 1
        assert (await read(archive, "log/lobby/one")).content == contents[done.index(True)]


async def test_names_are_listed_in_order(archive: Archive) -> None:
    """More than a page of them; from behind any one on; of the prefix alone."""
    made = [f"log/lobby/{it:04d}" for it in range(1_100)]
    for start in range(0, len(made), 50):
        await asyncio.gather(*(archive.put(it, b"x", replaces=None) for it in reversed(made[start : start + 50])))
    await archive.put("log/lobby2/0000", b"x", replaces=None)
    assert await names(archive, "log/lobby/") == made
    assert await names(archive, "log/lobby/", made[1_050]) == made[1_051:]
    assert await names(archive, "log/lobby/", "log/lobby/0500x") == made[501:]
    assert await names(archive, "log/nowhere/") == []


# ---- what S3 answers


@pytest_asyncio.fixture(loop_scope="session")
async def told(aws: aioboto3.Session, answers: Answers) -> AsyncIterator[S3Archive]:
    """A bucket whose service answers as told."""
    config = AioConfig(connect_timeout=1, read_timeout=1, retries={"total_max_attempts": 1})
    async with aws.client("s3", endpoint_url=answers.endpoint, config=config) as client:
        yield S3Archive(client, "archive")


def _refusal(code: str) -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>m</Message></Error>'


@pytest.mark.parametrize(("status", "code"), [(409, "ConditionalRequestConflict"), (412, "PreconditionFailed")])
async def test_a_put_that_came_too_late(told: S3Archive, answers: Answers, status: int, code: str) -> None:
    """Another has put the object, or is about to."""
    answers.answer(status, _refusal(code))
    with pytest.raises(Conflict, match=code):
        await told.put("log/lobby/one", b"x", replaces=None)


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, "InternalError"), (400, "RequestTimeout")])
async def test_answers_that_mean_not_now(told: S3Archive, answers: Answers, status: int, code: str) -> None:
    """Throttled or failed, at any call."""
    answers.answer(status, _refusal(code))
    calls: list[Any] = [told.read("a"), told.put("a", b"x", replaces=None), told.delete("a"), names(told, "a")]
    for it in calls:
        with pytest.raises(Unavailable):
            await it


async def test_an_answer_that_does_not_come_or_breaks_off(told: S3Archive, answers: Answers) -> None:
    """Whether its head came or not."""
    answers.hang()
    with pytest.raises(Unavailable):
        await told.read("a")
    answers.answer(200, "half", headers={"Content-Length": "8", "ETag": '"x"'})
    with pytest.raises(Unavailable):
        await told.read("a")


async def test_faults_of_ours_stay_as_they_are(told: S3Archive, answers: Answers) -> None:
    """A bucket that is not there, or a right that is missing."""
    for status, code in ((404, "NoSuchBucket"), (403, "AccessDenied")):
        answers.answer(status, _refusal(code))
        with pytest.raises(ClientError, match=code):
            await told.read("a")


async def test_nobody_listens(aws: aioboto3.Session, deserted: str) -> None:
    """No connection is no answer."""
    config = AioConfig(connect_timeout=1, retries={"total_max_attempts": 1})
    async with aws.client("s3", endpoint_url=deserted, config=config) as client:
        with pytest.raises(Unavailable):
            await S3Archive(client, "archive").read("a")
