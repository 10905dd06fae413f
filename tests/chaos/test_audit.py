"""The audit finds nothing where nothing is wrong, and each thing that is."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random

import pytest
import pytest_asyncio

from domain.rooms import Entry
from loadtest.audit import ClientLog
from tests.chaos.audit import RULES, findings
from tests.chaos.evidence import Evidence, StoredRoom, StoredShard, connections_of, read_rooms
from tests.chaos.load import Load, Size
from tests.inline import InlineService
from tests.unit.local.processes import until

SIZE = Size(hall=6, rooms=2, members=3, rate=50)
MESSAGES = 60
"""That are acknowledged at least."""


@asynccontextmanager
async def conversation(service: InlineService) -> AsyncIterator[Load]:
    """The load of a run, of which nobody kills anything: all is said and given."""
    load = Load(service.url, SIZE, 60, Random(0))
    try:
        await load.begin()
        await until(lambda: load.acknowledged >= MESSAGES and load.private)
        await load.settle()
        await load.say_last()
        yield load
    finally:
        await load.close()


async def gather(service: InlineService, load: Load) -> Evidence:
    rooms = await read_rooms(service.store, load.places)
    opened = {it for it in connections_of(rooms) if service.gateway.describe(it) is not None}
    return load.evidence(rooms, opened, {})


async def given_to_all(service: InlineService, load: Load, *, but: Collection[str] = ()) -> None:
    rooms = await read_rooms(service.store, load.places)
    await until(lambda: load.behind(rooms).keys() == set(but))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def clean() -> AsyncIterator[Evidence]:
    async with InlineService() as service, conversation(service) as load:
        await given_to_all(service, load)
        yield copy.deepcopy(await gather(service, load))


@pytest.fixture
def evidence(clean: Evidence) -> Evidence:
    """Of a run in which all went well, to be falsified."""
    return copy.deepcopy(clean)


def test_all_is_well(evidence: Evidence) -> None:
    """Nothing is found, and there is something of everything to find fault with."""
    assert findings(evidence) == []
    assert len([it for it in evidence.messages if it.acknowledged_at is not None]) + len(evidence.private) >= MESSAGES
    assert evidence.private
    assert all(it.released for it in evidence.logs if any(member.until is None for member in it.memberships))


async def test_a_message_that_was_deleted_is_found() -> None:
    """It was acknowledged and given to everybody, and is no longer stored."""
    async with InlineService() as service, conversation(service) as load:
        await given_to_all(service, load)
        lost = next(it for it in load.messages if it.acknowledged_at is not None)
        del service.store._entries[lost.room, lost.epoch][lost.seq]
        found = findings(await gather(service, load))
    assert {it.rule for it in found} == {"gap", "not stored", "not given", "changed"}
    assert any(lost.text in it.words for it in found if it.rule == "not stored")


@pytest.mark.parametrize("dialect", ["recipe", "v1"])
async def test_a_delivery_that_was_withheld_is_found(monkeypatch: pytest.MonkeyPatch, dialect: str) -> None:
    """The gateway took the post and wrote nothing. A client that knows `history` fills it; the other has lost it."""
    withheld: list[str] = []
    async with InlineService() as service, conversation(service) as load:
        deliver, connections = service.gateway._deliver, service.gateway._connections
        loads = {it.log.name for it in load.clients}

        def withhold_one(connection: str, frame: bytes) -> None:
            user = connections[connection].context["authorizer"]["userId"]
            right = user in loads and (connections[connection].subprotocol is not None) == (dialect == "v1")
            if right and not withheld and b'"type":"chat"' in frame:
                withheld.append(user)
            else:
                deliver(connection, frame)

        await given_to_all(service, load)
        filled = sum(len(it.log.filled) for it in load.clients)
        monkeypatch.setattr(service.gateway, "_deliver", withhold_one)
        await load.say_last()
        await until(lambda: withheld)
        await load.ping()
        await given_to_all(service, load, but=withheld if dialect == "recipe" else ())
        found = findings(await gather(service, load))
        filled = sum(len(it.log.filled) for it in load.clients) - filled
    if dialect == "v1":
        assert (found, filled) == ([], 1)
    else:
        assert {it.rule for it in found} == {"not given", "audit"}
        assert all(withheld[0] in it.words for it in found)


# ------------------------------------------------------------------------------------------------ falsified


def _room(evidence: Evidence) -> StoredRoom:
    """A room in which things were said."""
    return next(it for it in evidence.rooms.values() if it.room in evidence.quiet and it.head > 3)


def _with(evidence: Evidence, room: StoredRoom) -> Evidence:
    return replace(evidence, rooms={**evidence.rooms, room.room: room})


def _with_shard(evidence: Evidence, change: Callable[[StoredShard], StoredShard]) -> Evidence:
    room = _room(evidence)
    return _with(evidence, replace(room, shards=[change(room.shards[0]), *room.shards[1:]]))


def _a_gap(evidence: Evidence) -> Evidence:
    room = _room(evidence)
    return _with(evidence, replace(room, entries=[it for it in room.entries if it.seq != 2]))


def _another_text(evidence: Evidence) -> Evidence:
    room = _room(evidence)
    entries = [replace(it, body={"message": "something else"}) if it.seq == 2 else it for it in room.entries]
    return _with(evidence, replace(room, entries=entries))


def _a_double(evidence: Evidence) -> Evidence:
    """The last message once more, as if its second try had been carried out, too."""
    room = _room(evidence)
    again: Entry = replace(room.entries[-1], seq=room.head + 1)
    return _with(evidence, replace(room, head=room.head + 1, entries=[*room.entries, again]))


def _half_a_private_message(evidence: Evidence) -> Evidence:
    [word, *_] = evidence.private
    inbox = evidence.rooms[f"inbox#{word.target}"]
    entries = [it for it in inbox.entries if it.body["message"] != word.message.text]
    return _with(evidence, replace(inbox, entries=entries))


def _log(evidence: Evidence) -> ClientLog:
    return next(it for it in evidence.logs if len(it.released) > 3 and it.memberships[-1].until is None)


def _one_less(evidence: Evidence) -> Evidence:
    del _log(evidence).released[1]
    return evidence


def _disorder(evidence: Evidence) -> Evidence:
    released = _log(evidence).released
    released[1], released[2] = released[2], released[1]
    return evidence


def _a_repeat(evidence: Evidence) -> Evidence:
    log = _log(evidence)
    log.released.insert(1, log.released[0])
    return evidence


def _another_text_given(evidence: Evidence) -> Evidence:
    log = _log(evidence)
    log.pushed[0] = log.pushed[0]._replace(text="something else")
    return evidence


def _no_welcome(evidence: Evidence) -> Evidence:
    _log(evidence).memberships.clear()
    return evidence


def _a_purge(evidence: Evidence) -> Evidence:
    return _with_shard(evidence, lambda it: replace(it, members=it.members[1:]))


def _a_ghost(evidence: Evidence) -> Evidence:
    return _with_shard(
        evidence, lambda it: replace(it, members=[*it.members, replace(it.members[0], connection="a closed one")])
    )


def _a_wrong_count(evidence: Evidence) -> Evidence:
    def count_one_more(it: StoredShard) -> StoredShard:
        assert it.shard is not None
        return replace(it, shard=replace(it.shard, members=it.shard.members + 1))

    return _with_shard(evidence, count_one_more)


def _not_sent(evidence: Evidence) -> Evidence:
    def send_less(it: StoredShard) -> StoredShard:
        assert it.shard is not None
        assert it.shard.sent is not None
        return replace(it, shard=replace(it.shard, sent=it.shard.sent - 1))

    return _with_shard(evidence, send_less)


FALSIFIED: dict[Callable[[Evidence], Evidence], set[str]] = {
    _a_gap: {"gap", "not stored", "not given", "changed"},
    _another_text: {"not stored", "changed"},
    _a_double: {"stored twice", "not given", "counts"},
    _half_a_private_message: {"gap", "half a private message", "not given", "changed"},
    _one_less: {"not given", "audit"},
    _disorder: {"not given", "audit"},
    _a_repeat: {"not given", "audit"},
    _another_text_given: {"changed", "audit"},
    _no_welcome: {"no welcome", "audit", "rows"},
    _a_purge: {"rows", "counts"},
    _a_ghost: {"rows", "counts"},
    _a_wrong_count: {"counts"},
    _not_sent: {"counts"},
    lambda it: replace(it, dead={"bulk": 1}): {"dead letters"},
    lambda it: replace(it, refusals=["NOT_A_MEMBER"]): {"refused"},
}
"""A change → the rules that it breaks."""


@pytest.mark.parametrize(("falsify", "rules"), FALSIFIED.items())
def test_what_is_wrong_is_found(evidence: Evidence, falsify: Callable[[Evidence], Evidence], rules: set[str]) -> None:
    """By each rule that it breaks, and by no other."""
    assert {it.rule for it in findings(falsify(evidence))} == rules


def test_every_rule_can_be_broken() -> None:
    """There is none that a change above does not break."""
    assert set.union(*FALSIFIED.values()) == set(RULES)
