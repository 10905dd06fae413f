"""Frames of clients: the parser, and what answers them, on the services in memory."""

from __future__ import annotations

import json
import random
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from msgspec import NODEFAULT
from msgspec.structs import fields

from adapters.dynamodb import rows
from domain.errors import Refused
from domain.events import Batch, Error, Event, parse_envelope
from domain.fanout import encode_entry
from domain.protocol import ERROR_CODES, FRAME_LIMIT, valid_id
from domain.requests import REQUESTS, encode_request, parse_request, request_head, request_type
from services.caller import Caller
from services.requests import answer
from tests.fuzz.mutations import SEPARATOR, TEXTS, odd_value
from tests.fuzz.target import Target
from tests.unit.world import World

__all__ = ["CheckingWorld", "Requests", "check_frame", "check_words", "sqs_takes"]

FRAMES = 12
"""Frames of an input at most."""
PEOPLE: Mapping[str, str] = {"ada": "general", "bob": "general", "eve": "den"}
"""Who is where at first. ada and bob send; eve must hear nothing of rooms that she is not in."""
VALUES: Mapping[str, Sequence[Any]] = {
    "clientId": ["request-1", "request-2", "request-3", "short", "a" * 64],
    "roomId": ["general", "den", "tea", "nowhere", "inbox#ada", "inbox#bob"],
    "targetUserId": ["ada", "bob", "eve", "nobody"],
    "message": ["hi", *TEXTS],
    "query": ["hi", "zwei", "…", "x" * 200, "x" * 201, *TEXTS],
    "mentions": [[], ["bob"], ["bob"] * 20, ["bob"] * 21],
    "cursors": [{}, {"general": 0}, {"inbox#ada": 1, "den": 2}, {f"r{it}": it for it in range(51)}],
    "cursor": ["0:", "0:ada", "1:", "general", "0" * 20 + "9:", "a" * 128],
    "parent": ["root", "general"],
    "emoji": ["\N{THUMBS UP SIGN}", "+1", "x" * 32, "x" * 33, "~#", " "],
    "remove": [True, False],
}
SEQS = (0, 1, 2, 3, 4, 5, 100, 101, 2**53 - 1)


class Requests(Target):
    """Frames that ada and bob send in turn, separated by U+001E.

    Of the parser: `Refused` with a code of the wire's table and printable words, or a request that is the same once
    encoded and parsed again. Of the answer: never an exception; an event of the type that the table names, or an
    `error` that echoes the `clientId`, after which nothing has changed; at most 32 KB. Of what was accepted: DynamoDB
    and SQS take it, workers do it and bury nothing, what they post are events of at most 32 KB, and nobody hears of a
    room that they are not in.
    """

    name = "requests"
    folders = ("domain", "services", "pipeline")
    tokens = (
        *(f'"{it}"'.encode() for it in (*REQUESTS, *VALUES, "type", "since", "epoch", "before", "after", "limit")),
        *(b'"general"', b'"inbox#ada"', b'"\\ud800"', b'"\\u0000"', b"\\ud83d\\ude00", b"null", b"true", b"[]", b"{}"),
        *(
            b"1e400",
            b"NaN",
            b"-0",
            b"1.0",
            b",",
            b":",
            b'"',
            b"\\",
            b"{",
            b"}",
            b"\xff",
            b"\xed\xa0\x80",
            b"\xef\xbb\xbf",
        ),
        SEPARATOR,
    )

    def draw(self, draw: random.Random) -> bytes:
        return SEPARATOR.join(_draw_frame(draw) for _ in range(draw.randint(1, 6)))

    async def take(self, given: bytes) -> Hashable:
        world = CheckingWorld(trace=True)
        for name, room in PEOPLE.items():
            await world.connect(name, room, "recipe" if name == "bob" else "v1")
        await world.say("ada", "one")
        await world.ask("ada", {"type": "join_room", "roomId": "tea"})
        await world.ask("bob", {"type": "private_message", "targetUserId": "ada", "message": "psst"})
        outcomes: list[Hashable] = []
        for number, frame in enumerate(given.split(SEPARATOR)[:FRAMES]):
            check_parser(frame)
            outcomes.append(await _ask(world, ("ada", "bob")[number % 2], frame.decode(errors="replace")))
        await world.pump(seconds=3)
        await _check_stored(world)
        _check_heard(world)
        return frozenset(zip([None, *outcomes], outcomes, strict=False))


class CheckingWorld(World):
    """Looks at what passes the queues."""

    async def work(self, lane: str, records: Sequence[dict[str, Any]]) -> list[str]:
        assert all(sqs_takes(it["body"]) for it in records)
        failed = await super().work(lane, records)
        assert not failed
        assert not self.queue.dead(lane)
        return failed


def check_parser(frame: bytes) -> None:
    """The contract of the parser, for bytes."""
    request_head(frame)
    try:
        request = parse_request(frame)
    except Refused as error:
        check_words(error.code, error.message)
    else:
        assert parse_request(encode_request(request)) == request


def check_frame(frame: bytes) -> list[Event]:
    """The events in a frame that is fit for a socket."""
    assert len(frame) <= FRAME_LIMIT
    event = parse_envelope(frame)
    assert event is not None
    return [it for raw in event.events for it in check_frame(bytes(raw))] if isinstance(event, Batch) else [event]


def check_words(code: str, message: str) -> None:
    """The contract of a refusal."""
    assert code in ERROR_CODES
    assert message
    assert message.isprintable()
    assert len(message) < 300


def sqs_takes(body: str) -> bool:
    """Whether a message may have these characters: https://www.w3.org/TR/REC-xml/#charsets"""
    return bool(body) and all(
        it in "\t\n\r" or " " <= it <= "\ud7ff" or "\ue000" <= it <= "\ufffd" or it > "\uffff" for it in body
    )


# ---- private


async def _ask(world: World, name: str, frame: str) -> Hashable:
    """Send a frame; what it came to."""
    before = await _state(world)
    caller = Caller(name, name, name.title(), f"{world.ports.draw.getrandbits(64):x}")
    answered = await answer(world.ports, world.sockets, caller, frame)
    if answered.refused is None:
        request = parse_request(frame)
        kind = REQUESTS[request_type(request)].reply
        [event] = check_frame(answered.frame) if answered.frame else [None]
        assert kind == (event.type if event else None)
        return request_type(request), getattr(event, "recovered", None)
    assert await _state(world) == before
    [error] = check_frame(answered.frame)
    assert isinstance(error, Error)
    assert error.code == answered.refused
    check_words(error.code, error.message)
    try:
        named = json.loads(frame)["clientId"]
    except (ValueError, KeyError, TypeError, RecursionError):
        named = None
    if error.code != "BAD_JSON" and isinstance(named, str) and valid_id(named):
        assert error.client_id == named
    return error.request, error.code


async def _state(world: World) -> object:
    listed = [it.room for it in await world.store.directory("root", "", 100)]
    rooms = await world.store.rooms([*listed, *(f"inbox#{it}" for it in PEOPLE)])
    return rooms, [await world.store.session(it) for it in PEOPLE]


async def _check_stored(world: World) -> None:
    """Every log is 1 … n, and DynamoDB takes its rows."""
    listed = [it.room for it in await world.store.directory("root", "", 100)]
    for room in (await world.store.rooms([*listed, *(f"inbox#{it}" for it in PEOPLE)])).values():
        entries = await world.store.entries(room.room, room.epoch, 0, limit=1_000, max_bytes=10**9)
        assert [it.seq for it in entries] == list(range(1, room.head + 1))
        for it in entries:
            row = rows.entry_row(room.room, room.epoch, it)
            assert (rows.read_entry(row), rows.read_entry(row).nth) == (it, it.nth)
            assert len(encode_entry(room.room, room.epoch, it)) <= FRAME_LIMIT


def _check_heard(world: World) -> None:
    for name in PEOPLE:
        heard = [it for frame in world.sockets.received[name] for it in check_frame(frame)]
        rooms = {getattr(it, "room_id", None) for it in heard}
        assert name != "eve" or rooms <= {"den", "inbox#eve"}
        assert not rooms & {f"inbox#{it}" for it in PEOPLE if it != name}


def _draw_frame(draw: random.Random) -> bytes:
    kind = draw.choice(list(REQUESTS))
    request: dict[str, Any] = {"type": kind}
    for field in fields(REQUESTS[kind].model):
        if field.default is NODEFAULT or draw.random() < 0.4:
            usual = VALUES.get(field.encode_name, SEQS)
            request[field.encode_name] = odd_value(draw) if draw.random() < 0.05 else draw.choice(usual)
    return json.dumps(request, ensure_ascii=draw.random() < 0.5).encode()
