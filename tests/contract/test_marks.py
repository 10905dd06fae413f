"""Marks: they only rise, for whoever sets them, and belong to one life of their room."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from adapters.dynamodb import DynamoMarks
from adapters.memory import MemoryMarks
from domain.errors import Conflict
from domain.marks import Mark
from domain.ports import Marks
from domain.rooms import Append, Entry, Room, inbox_of
from tests.contract.stage import EPOCH, NOW, DynamoStage, StoreStage

if TYPE_CHECKING:
    from tests.contract.stage import MemoryStage

pytestmark = pytest.mark.asyncio(loop_scope="session")

ALL = 1_000_000


@pytest.fixture
def marks(stage: StoreStage) -> Marks:
    """On the tables of the stage, whose names nobody else has."""
    return _marks(stage)


def _marks(stage: StoreStage | MemoryStage) -> Marks:
    return DynamoMarks(stage.client, stage.tables) if isinstance(stage, DynamoStage) else MemoryMarks()


async def test_there_is_none_at_first(stage: StoreStage, marks: Marks) -> None:
    """Of a room that is not there either."""
    assert await marks.marks([stage.room, "nowhere"], stage.user) == {}
    assert await marks.marks([], stage.user) == {}


@pytest.mark.parametrize(
    ("further", "stands"),
    [
        (Mark(EPOCH, 4, 9), Mark(EPOCH, 5, 3)),
        (Mark(EPOCH, 5, 9), Mark(EPOCH, 5, 3)),
        (Mark(EPOCH, 6, 3), Mark(EPOCH, 6, 3)),
        (Mark(EPOCH - 1, 2**53 - 1, 9), Mark(EPOCH, 5, 3)),
        (Mark(EPOCH + 1, 0, 0), Mark(EPOCH + 1, 0, 0)),
    ],
)
async def test_a_mark_only_rises(stage: StoreStage, marks: Marks, further: Mark, stands: Mark) -> None:
    """By (epoch, seq); what it counts goes with it, and the caller is told what stands."""
    first = Mark(EPOCH, 5, 3)
    assert await marks.mark(stage.room, stage.user, first) == first
    assert await marks.mark(stage.room, stage.user, further) == stands
    assert await marks.marks([stage.room], stage.user) == {stage.room: stands}


async def test_marks_of_many_rooms(stage: StoreStage, marks: Marks) -> None:
    """A hundred, each its own; a room that is asked for twice is told once; another user's are theirs."""
    rooms = [f"{stage.room}-{it}" for it in range(100)]
    set_ = {room: Mark(EPOCH, number, number // 2) for number, room in enumerate(rooms) if number % 2}
    for room, mark in set_.items():
        await marks.mark(room, stage.user, mark)
    await marks.mark(rooms[0], "eve", Mark(EPOCH, 1, 1))
    await marks.mark(inbox_of(stage.user), stage.user, Mark(EPOCH, 7, 7))
    assert await marks.marks(rooms, stage.user) == set_
    assert await marks.marks([rooms[1], rooms[1]], stage.user) == {rooms[1]: set_[rooms[1]]}
    assert await marks.marks([rooms[0], rooms[1]], "eve") == {rooms[0]: Mark(EPOCH, 1, 1)}


async def test_devices_that_race(racing_stage: StoreStage) -> None:
    """Twenty at once, in disorder: the highest stands, and each was told one that is no lower than its own."""
    marks = _marks(racing_stage)
    wanted = [Mark(EPOCH, 1 + it * 7 % 20, it) for it in range(20)]
    told = await asyncio.gather(*(marks.mark(racing_stage.room, racing_stage.user, it) for it in wanted))
    assert all(one.seq >= mark.seq for one, mark in zip(told, wanted, strict=True))
    highest = max(wanted, key=lambda it: it.seq)
    assert await marks.marks([racing_stage.room], racing_stage.user) == {racing_stage.room: highest}


async def test_a_mark_stands_beside_what_the_room_records(stage: StoreStage, marks: Marks) -> None:
    """Neither the room nor the user's standing there is another for it."""
    room = await stage.open_room()
    standing = await stage.store.standing(stage.room, stage.user)
    await marks.mark(stage.room, stage.user, Mark(EPOCH, 1, 1))
    assert await stage.read_room() == room
    assert await stage.store.standing(stage.room, stage.user) == standing


# ---- what the store counts


async def test_a_room_counts_its_messages(stage: StoreStage) -> None:
    """With each entry that is one, in the entry's own transaction; an entry knows how many there are up to it."""
    await stage.open_room()
    await stage.enter()
    kinds = ["chat", "role", "chat", "muted", "room", "chat", "private_message"]
    for seq, kind in enumerate(kinds, 1):
        entry = replace(stage.entry(seq), type=kind, sender="bob")
        await stage.append(await stage.read_room(), entry, client_id=f"request-{seq}")
    assert await stage.read_room() == Room(stage.room, EPOCH, head=7, messages=4)
    entries = await stage.store.entries(stage.room, EPOCH, 0, limit=10, max_bytes=ALL)
    assert [it.nth for it in entries] == [1, 1, 2, 2, 2, 3, 4]
    back = await stage.store.entries_before(stage.room, EPOCH, 4, limit=10, max_bytes=ALL)
    assert [it.nth for it in back] == [1, 1, 2]


async def test_an_inbox_does_not_count_what_its_owner_wrote(stage: StoreStage) -> None:
    """The copy is in it, and is no message; the other one is."""
    own, theirs = inbox_of(stage.user), inbox_of(f"bob-{stage.number}")
    await stage.open_room()
    await stage.enter()
    read = [await stage.store.create_room(Room(it, EPOCH)) for it in (own, theirs)]
    sent = Entry(1, "private_message", NOW, stage.user, {})
    appends = [Append(it, sent) for it in read]
    await stage.store.append(appends, stage.sender(), "request-1", stage.once(), NOW)
    rooms = await stage.store.rooms([own, theirs])
    assert [(rooms[it].head, rooms[it].messages) for it in (own, theirs)] == [(1, 0), (1, 1)]


async def test_an_append_that_fails_counts_nothing(stage: StoreStage) -> None:
    """Of two that read the same room one is counted."""
    await stage.open_room()
    await stage.enter()
    read = await stage.read_room()
    await stage.append(read, stage.entry(1), client_id="request-1")
    with pytest.raises(Conflict):
        await stage.append(read, stage.entry(1), client_id="request-2")
    assert (await stage.read_room()).messages == 1


async def test_rows_from_before_messages_were_counted(dynamo_stage: DynamoStage) -> None:
    """Nothing was counted in them; the next message is the first."""
    stage = dynamo_stage
    await stage.open_room()
    await stage.enter()
    await stage.say({"message": "old"})
    for table, sk, attribute in (("rooms", "meta", "messages"), ("messages", f"{1:016d}", "nth")):
        pk = stage.room if table == "rooms" else f"{stage.room}#{EPOCH}"
        await stage.client.update_item(
            TableName=stage.tables[table],
            Key={"pk": {"S": pk}, "sk": {"S": sk}},
            UpdateExpression=f"REMOVE {attribute}",
        )
    assert await stage.read_room() == Room(stage.room, EPOCH, head=1)
    await stage.say({"message": "new"})
    assert (await stage.read_room()).messages == 1
    entries = await stage.store.entries(stage.room, EPOCH, 0, limit=10, max_bytes=ALL)
    assert [it.nth for it in entries] == [0, 1]


async def test_a_write_whose_answer_was_lost(dynamo_stage: DynamoStage) -> None:
    """The client's own second try finds its mark there: the caller is told that it stands, in one row of the table."""
    stage = dynamo_stage
    marks = DynamoMarks(stage.client, stage.tables)
    for number in itertools.repeat(Mark(EPOCH, 5, 3), 2):
        assert await marks.mark(stage.room, stage.user, number) == Mark(EPOCH, 5, 3)
    assert await stage.row("rooms", stage.room, f"read#{stage.user}") == {"epoch": EPOCH, "seq": 5, "nth": 3}
