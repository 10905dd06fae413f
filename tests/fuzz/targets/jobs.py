"""Records of the queues: the parser of jobs, and a worker of each lane, in memory."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, get_args

from msgspec import NODEFAULT
from msgspec.structs import fields

from domain.errors import NewerVersion, RoomcastError, UnreadableJob
from domain.fanout import JOB_VERSION, Job, encode_job, parse_job
from pipeline.batch import Worker
from pipeline.posting import RESERVE
from pipeline.worker import read_record
from tests.fuzz.mutations import SEPARATOR, odd_value
from tests.fuzz.target import Target
from tests.unit.world import World

__all__ = ["Jobs"]

RECORDS = 10
"""Records of an input at most: a batch of a FIFO lane."""
POSTS = 8
"""Frames that one record may cost in a room of two with three entries, one frame each."""
LANES = ("interactive", "bulk", "retry", "ephemeral")
EPOCH = 1_700_000_000_000
"""Of the rooms: they are made as the world begins."""
KINDS: Mapping[str, Any] = {it.__struct_config__.tag: it for it in get_args(Job)}
VALUES: Mapping[str, Sequence[Any]] = {
    "v": [1],
    "room": ["general", "den", "inbox#ada", "nowhere"],
    "epoch": [EPOCH, EPOCH, EPOCH, 1],
    "shard": [0, 0, 0, 1],
    "shards": [1, 2, 4, 16, 128],
    "connections": [["ada"], ["ada", "bob"], [], ["nobody"], ["bob"] * 100],
    "connection": ["ada", "bob", "nobody"],
    "user": ["ada"],
    "name": ["Ada", "\ufffe"],
    "event": [{"type": "typing", "data": {}}, None, [1e308], {"type": "x", "data": {"y": "é" * 20_000}}],
    "skip": ["ada", None],
    "tellOthers": [True, False],
    "about": ["private_message", "mention"],
    "sender": ["ada", "bob", "service#x", "nobody"],
    "users": [["bob"], ["ada", "bob", "cid", "nobody"], [], ["bob"] * 21],
    "notAfter": [EPOCH - 1, EPOCH + 60_000, EPOCH + 600_000],
    "reconnectAt": [EPOCH + 6_000_000],
}
NUMBERS = (0, 1, 2, 3, 4, 1_000)


class Jobs(Target):
    """A lane's name, then the bodies of a batch, separated by U+001E; two message groups in turn.

    Of the parser: a job that is the same once encoded and parsed again, `UnreadableJob`, or `NewerVersion` for a
    version beyond our own. Of the worker: never an exception; each record is worked, comes again, or is buried as it
    is; it comes again only for what `errors.py` foresees, is buried only if it can't be read, and posts no more than a
    job may.
    """

    name = "jobs"
    folders = ("domain", "pipeline", "adapters/memory", "adapters/roster.py")
    tokens = (
        *(f'"{it}"'.encode() for it in (*VALUES, *KINDS, "kind", "seq", "from", "to", "attempt", "head", "inboxHead")),
        *(it.encode() for it in LANES),
        *(b'"general"', b'"ada"', b"1700000000000", b"null", b"true", b"[]", b"{}", b'"\\ud800"', b"1e400", b"NaN"),
        *(b",", b":", b'"', b"{", b"}", b"\xff", SEPARATOR),
    )

    def draw(self, draw: random.Random) -> bytes:
        bodies = [_draw_body(draw) for _ in range(draw.choice((1, 1, 2, 4, 10)))]
        return SEPARATOR.join([draw.choice(LANES).encode(), *bodies])

    async def take(self, given: bytes) -> Hashable:
        first, *parts = given.split(SEPARATOR)
        lane = first.decode(errors="replace") if first.decode(errors="replace") in LANES else LANES[0]
        bodies = [it.decode(errors="replace") for it in parts[:RECORDS]]
        world = World()
        await world.connect("ada")
        await world.connect("bob", dialect="recipe")
        for text in ("one", "two", "three"):
            await world.say("ada", text)
        for it in world.lanes:
            for record in await world.queue.receive(it, 10):
                await world.queue.delete(it, record["receiptHandle"])
        for number, body in enumerate(bodies):
            world.queue.put(lane, body, f"group{number % 2}")
        records = [read_record(it) for it in await world.queue.receive(lane, RECORDS)]
        worker = Worker(world.ports, world.sockets, world.lanes[lane])
        end = world.clock.monotonic() + world.lanes[lane].timeout
        worked = await worker.work(records, lambda: end - world.clock.monotonic())
        kinds = {it.id: check_job(it.body) for it in records}
        failed, buried = {it.id for it in worked.failed}, {it.id for it, _ in worked.buried}
        unreadable = {it for it, kind in kinds.items() if kind == "unreadable"}
        assert all(isinstance(it, RoomcastError) for it in worked.causes), worked.causes
        assert not failed or worked.causes or end - world.clock.monotonic() < RESERVE
        assert {it for it, kind in kinds.items() if kind == "newer"} <= failed
        # What stands behind a job that failed is not read.
        assert buried <= unreadable <= buried | failed
        assert not buried & failed
        assert sorted(world.queue.dead(lane)) == sorted(it.body for it, _ in worked.buried)
        assert sum(len(it) for it in world.sockets.received.values()) <= POSTS * len(records)
        return frozenset((lane, kind, it in failed) for it, kind in kinds.items())


def check_job(body: str) -> str:
    """The contract of the parser. The job's kind, or why there is none."""
    try:
        job = parse_job(body)
    except UnreadableJob:
        return "unreadable"
    except NewerVersion as error:
        newer = str(error)
    else:
        assert parse_job(encode_job(job)) == job
        return str(job.__struct_config__.tag)
    version = re.fullmatch(r"job version (\d+); .*", newer)
    assert version is not None
    assert int(version[1]) > JOB_VERSION
    return "newer"


# ---- private


def _draw_body(draw: random.Random) -> bytes:
    kind = draw.choice(list(KINDS))
    job: dict[str, Any] = {"kind": kind}
    for field in fields(KINDS[kind]):
        if field.default is NODEFAULT or draw.random() < 0.4:
            usual = VALUES.get(field.encode_name, NUMBERS)
            job[field.encode_name] = odd_value(draw) if draw.random() < 0.05 else draw.choice(usual)
    return json.dumps(job | {"v": draw.choice((1, 1, 1, 1, 0, 2))}).encode()
