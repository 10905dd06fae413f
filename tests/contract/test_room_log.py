"""RoomStore, first part: rooms, the directory, standings, and reading the log."""

from __future__ import annotations

import asyncio

import pytest

from domain.rooms import Directory, Room, Standing
from tests.contract.stage import EPOCH, NOW, StoreStage

pytestmark = pytest.mark.asyncio(loop_scope="session")

ALL = 1_000_000
"""More bytes than any log here holds, unless a test says otherwise."""


# ---- rooms


async def test_a_room_is_there_once_it_is_made(stage: StoreStage) -> None:
    """A new room has an empty log, one shard, and the epoch it was given."""
    assert await stage.store.room(stage.room) is None
    made = await stage.store.create_room(stage.room, EPOCH, None)
    assert made == await stage.store.room(stage.room) == Room(stage.room, EPOCH, head=0, shards=1, status="open")


async def test_making_a_room_again_changes_nothing(stage: StoreStage) -> None:
    """A room that is there keeps its epoch and its head."""
    await stage.open_room()
    await stage.enter()
    await stage.say({"message": "one"})
    there = await stage.store.create_room(stage.room, EPOCH + 1, None)
    assert there == await stage.store.room(stage.room) == Room(stage.room, EPOCH, head=1)


async def test_many_rooms_in_one_read(stage: StoreStage) -> None:
    """A hundred rooms at once; those that don't exist are left out, those named twice come once."""
    await stage.open_room()
    missing = [f"{stage.room}-{it}" for it in range(98)]
    assert await stage.store.rooms([stage.room, *missing, stage.room]) == {stage.room: Room(stage.room, EPOCH)}
    assert await stage.store.rooms([]) == {}


async def test_a_room_is_made_together_with_how_it_is_listed(stage: StoreStage) -> None:
    """Both, or neither where the room is there already; a room without a directory row is in no list."""
    child, elsewhere = f"{stage.room}-b", f"{stage.room}-c"
    listed = stage.listed(child)
    await stage.store.create_room(child, EPOCH, listed)
    await stage.store.create_room(child, EPOCH + 1, stage.listed(child, title="Another", parent=elsewhere))
    await stage.store.create_room(stage.inbox.room, EPOCH, None)
    await stage.store.create_room(stage.inbox.room, EPOCH, stage.listed(stage.inbox.room))
    assert await stage.store.room(child) == Room(child, EPOCH)
    assert await stage.store.directory(stage.room, "", 10) == [listed]
    assert await stage.store.directory(elsewhere, "", 10) == []


async def test_of_racing_makers_of_a_room_one_wins(racing_stage: StoreStage) -> None:
    """Meta and directory row are of the same one, and nobody hears of an error."""
    stage = racing_stage
    child = f"{stage.room}-b"
    made = await asyncio.gather(
        *(stage.store.create_room(child, it, stage.listed(child, title=f"{it}")) for it in range(20))
    )
    room = await stage.store.room(child)
    assert room is not None
    assert made == [room] * 20
    assert await stage.store.directory(stage.room, "", 10) == [stage.listed(child, title=f"{room.epoch}")]


async def test_a_directory_comes_in_pages(stage: StoreStage) -> None:
    """By id, from behind the last one seen, which need not exist; each parent has its own."""
    children = sorted(f"{stage.room}{it}" for it in (*"019:_.-AZaz", "-inner"))
    for it in children[::-1]:
        await stage.store.create_room(it, EPOCH, stage.listed(it))
    await stage.store.create_room(f"{stage.room}0a", EPOCH, stage.listed(f"{stage.room}0a", parent=children[0]))
    pages: list[list[Directory]] = []
    while page := await stage.store.directory(stage.room, pages[-1][-1].room if pages else "", 5):
        pages.append(page)
    assert [len(it) for it in pages] == [5, 5, 2]
    assert [it for page in pages for it in page] == [stage.listed(it) for it in children]
    assert await stage.store.directory(stage.room, f"{stage.room}0a", 1) == [stage.listed(f"{stage.room}1")]
    assert len(await stage.store.directory(stage.room, "", 100)) == 12
    assert await stage.store.directory(f"{stage.room}9", "", 5) == []


async def test_a_standing_is_empty_until_recorded_and_then_replaced(stage: StoreStage) -> None:
    """Each record replaces the whole standing."""
    assert await stage.store.standing(stage.room, stage.user) == Standing()
    for standing in (Standing(True, NOW, NOW + 1), Standing(False, 0, NOW)):
        await stage.store.set_standing(stage.room, stage.user, standing)
        assert await stage.store.standing(stage.room, stage.user) == standing
    assert await stage.store.standing(stage.room, "another") == Standing()


# ---- reading the log


@pytest.mark.parametrize(
    ("after", "upto", "limit", "seqs"),
    [
        (0, None, 100, range(1, 13)),
        (8, None, 100, range(9, 13)),  # 9, 10, 11: by number, not by text
        (3, 9, 100, range(4, 10)),
        (3, 9, 2, (4, 5)),
        (11, 12, 100, (12,)),
        (12, None, 100, ()),
        (99, None, 100, ()),
        (5, 5, 100, ()),
        (6, 5, 100, ()),
    ],
)
async def test_entries_after_a_seq(
    stage: StoreStage, after: int, upto: int | None, limit: int, seqs: tuple[int, ...]
) -> None:
    """Oldest first, above `after`, up to `upto`, at most `limit`."""
    await stage.put_entries(*({"number": it} for it in range(12)))
    found = await stage.store.entries(stage.room, EPOCH, after, upto=upto, limit=limit, max_bytes=ALL)
    assert [it.seq for it in found] == list(seqs)


@pytest.mark.parametrize(
    ("before", "limit", "seqs"),
    [(13, 100, range(1, 13)), (99, 3, (10, 11, 12)), (11, 2, (9, 10)), (2, 100, (1,)), (1, 100, ()), (0, 100, ())],
)
async def test_entries_before_a_seq(stage: StoreStage, before: int, limit: int, seqs: tuple[int, ...]) -> None:
    """The newest below `before`, oldest first, at most `limit`."""
    await stage.put_entries(*({"number": it} for it in range(12)))
    found = await stage.store.entries_before(stage.room, EPOCH, before, limit=limit, max_bytes=ALL)
    assert [it.seq for it in found] == list(seqs)


async def test_a_read_of_the_log_stops_at_its_bytes(stage: StoreStage) -> None:
    """About `max_bytes`, cut at an entry; one entry always comes, however long."""
    await stage.put_entries(*({"message": "x" * 1000} for _ in range(5)))
    for max_bytes, number in ((1, 1), (1500, 1), (2500, 2), (ALL, 5)):
        after = await stage.store.entries(stage.room, EPOCH, 0, limit=100, max_bytes=max_bytes)
        before = await stage.store.entries_before(stage.room, EPOCH, 6, limit=100, max_bytes=max_bytes)
        assert [it.seq for it in after] == list(range(1, number + 1))
        assert [it.seq for it in before] == list(range(6 - number, 6))


async def test_a_long_log_is_read_beyond_one_page(stage: StoreStage) -> None:
    """DynamoDB answers 1 MB at a time: sixty entries of 24 KB take two answers."""
    await stage.put_entries(*({"message": "x" * 24_000} for _ in range(60)))
    after = await stage.store.entries(stage.room, EPOCH, 0, limit=100, max_bytes=10 * ALL)
    before = await stage.store.entries_before(stage.room, EPOCH, 61, limit=100, max_bytes=10 * ALL)
    assert [it.seq for it in after] == [it.seq for it in before] == list(range(1, 61))


async def test_each_epoch_has_a_log_of_its_own(stage: StoreStage) -> None:
    """A room made anew shares no entry with the old one."""
    await stage.put_entries(*({"number": it} for it in range(12)))
    assert await stage.store.entries(stage.room, EPOCH + 1, 0, limit=100, max_bytes=ALL) == []
    assert await stage.store.entries_before(stage.room, EPOCH - 1, 99, limit=100, max_bytes=ALL) == []
