"""RoomStore, first part: rooms, the directory, standings, and reading the log."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from domain.errors import Conflict
from domain.policy import Needs
from domain.rooms import FOREVER, Append, Directory, Room, Standing
from tests.contract.stage import EPOCH, HOUR, NOW, StoreStage

pytestmark = pytest.mark.asyncio(loop_scope="session")

ALL = 1_000_000
"""More bytes than any log here holds, unless a test says otherwise."""


# ---- rooms


async def test_a_room_is_there_once_it_is_made(stage: StoreStage) -> None:
    """A new room has an empty log, one shard, and the epoch it was given."""
    assert await stage.store.room(stage.room) is None
    made = await stage.store.create_room(Room(stage.room, EPOCH))
    assert made == await stage.store.room(stage.room) == Room(stage.room, EPOCH, head=0, shards=1, status="open")


async def test_making_a_room_again_changes_nothing(stage: StoreStage) -> None:
    """A room that is there keeps its epoch and its head."""
    await stage.open_room()
    await stage.enter()
    await stage.say({"message": "one"})
    there = await stage.store.create_room(Room(stage.room, EPOCH + 1))
    assert there == await stage.store.room(stage.room) == Room(stage.room, EPOCH, head=1, messages=1)


async def test_many_rooms_in_one_read(stage: StoreStage) -> None:
    """A hundred rooms at once; those that don't exist are left out, those named twice come once."""
    await stage.open_room()
    missing = [f"{stage.room}-{it}" for it in range(98)]
    assert await stage.store.rooms([stage.room, *missing, stage.room]) == {stage.room: Room(stage.room, EPOCH)}
    assert await stage.store.rooms([]) == {}


async def test_a_room_is_made_together_with_how_it_is_listed(stage: StoreStage) -> None:
    """Both, or neither where the room is there already; hidden rooms and inboxes are in no list."""
    child, elsewhere = f"{stage.room}-b", f"{stage.room}-c"
    room = Room(child, EPOCH, profile=stage.profile(child))
    await stage.store.create_room(room)
    await stage.store.create_room(Room(child, EPOCH + 1, profile=stage.profile(child, title="A", parent=elsewhere)))
    for it, visibility in ((stage.inbox.room, "public"), (f"{stage.room}-d", "hidden")):
        await stage.store.create_room(Room(it, EPOCH, profile=stage.profile(it, visibility=visibility)))
    assert await stage.store.room(child) == room
    assert await stage.store.directory(stage.room, "", 10) == [stage.listed(child)]
    assert await stage.store.directory(elsewhere, "", 10) == []


async def test_a_room_is_made_together_with_its_owner(stage: StoreStage) -> None:
    """Who finds it made already is not."""
    await stage.store.create_room(Room(stage.room, EPOCH), owner=stage.user)
    await stage.store.create_room(Room(stage.room, EPOCH), owner="another")
    assert await stage.store.standings([stage.room, stage.inbox.room], stage.user) == {
        stage.room: Standing(role="owner"),
        stage.inbox.room: Standing(),
    }
    assert await stage.store.standing(stage.room, "another") == Standing()


async def test_a_deleted_room_is_replaced_by_who_names_it(stage: StoreStage) -> None:
    """By that epoch of it, and only once it is deleted; roles stay."""
    await stage.open_room()
    await stage.enter()
    await stage.store.set_standing(stage.room, "another", Standing(role="guest"))
    anew = Room(stage.room, EPOCH + 1)
    read = await stage.read_room()
    assert await stage.store.create_room(anew, replaces=read) == read
    await stage.change(Append(read, stage.entry(1), deletes=True))
    deleted = await stage.read_room()
    assert deleted == Room(stage.room, EPOCH, head=1, status="deleted", messages=1)
    assert await stage.store.create_room(anew) == deleted
    assert await stage.store.create_room(anew, replaces=replace(deleted, epoch=EPOCH - 1)) == deleted
    assert await stage.store.create_room(anew, owner=stage.user, replaces=deleted) == anew == await stage.read_room()
    assert await stage.store.standing(stage.room, "another") == Standing(role="guest")


async def test_what_is_settled_about_a_room_changes_with_an_entry(stage: StoreStage) -> None:
    """Its profile and how it is listed: elsewhere, under another title, or no more."""
    child, elsewhere = stage.room, f"{stage.room}-c"
    await stage.store.create_room(Room(child, EPOCH, profile=stage.profile(child)))
    await stage.enter()
    moved = stage.profile(child, title="Tea", parent=elsewhere, slow_mode=3, visibility="private")
    for seq, (profile, there, here) in enumerate(
        [
            (moved, 1, 0),
            (replace(moved, visibility="hidden"), 0, 0),
            (stage.profile(child), 0, 1),
        ],
        1,
    ):
        await stage.change(Append(await stage.read_room(), stage.entry(seq), profile=profile))
        assert await stage.read_room() == Room(child, EPOCH, head=seq, profile=profile, messages=seq)
        assert len(await stage.store.directory(elsewhere, "", 10)) == there
        assert len(await stage.store.directory(stage.room, "", 10)) == here
    await stage.change(Append(await stage.read_room(), stage.entry(4), deletes=True))
    assert await stage.store.directory(stage.room, "", 10) == []
    assert (await stage.read_room()).status == "deleted"


async def test_of_racing_makers_of_a_room_one_wins(racing_stage: StoreStage) -> None:
    """Meta and directory row are of the same one, and nobody hears of an error."""
    stage = racing_stage
    child = f"{stage.room}-b"
    made = await asyncio.gather(
        *(stage.store.create_room(Room(child, it, profile=stage.profile(child, title=f"{it}"))) for it in range(1, 21))
    )
    room = await stage.store.room(child)
    assert room is not None
    assert made == [room] * 20
    assert await stage.store.directory(stage.room, "", 10) == [stage.listed(child, title=f"{room.epoch}")]


async def test_a_directory_comes_in_pages(stage: StoreStage) -> None:
    """By id, from behind the last one seen, which need not exist; each parent has its own."""
    children = sorted(f"{stage.room}{it}" for it in (*"019:_.-AZaz", "-inner"))
    for it in children[::-1]:
        await stage.store.create_room(Room(it, EPOCH, profile=stage.profile(it)))
    inner = f"{stage.room}0a"
    await stage.store.create_room(Room(inner, EPOCH, profile=stage.profile(inner, parent=children[0])))
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
    for standing in (Standing("guest", NOW, NOW + 1, NOW, NOW), Standing(None, 0, NOW)):
        await stage.store.set_standing(stage.room, stage.user, standing)
        assert await stage.store.standing(stage.room, stage.user) == standing
    assert await stage.store.standing(stage.room, "another") == Standing()


async def test_a_judgement_changes_what_differs(stage: StoreStage) -> None:
    """The rest of the standing may have changed meanwhile."""
    await stage.store.set_standing(stage.room, "eve", Standing(muted_until=NOW))
    await stage.judge(Standing(), Standing(role="member", kicked_at=NOW))
    assert await stage.store.standing(stage.room, "eve") == Standing("member", 0, NOW, NOW)
    await stage.judge(Standing("member", 0, NOW, NOW), Standing("member", 0, NOW, NOW))
    await stage.judge(Standing(role="member"), Standing(banned_until=FOREVER))
    assert await stage.store.standing(stage.room, "eve") == Standing(None, FOREVER, NOW, NOW)


@pytest.mark.parametrize(
    ("field", "read", "there", "wanted"),
    [
        ("role", None, "guest", "owner"),
        ("role", "member", None, "owner"),
        ("banned_until", 0, NOW, FOREVER),
        ("muted_until", NOW, 0, FOREVER),
        ("kicked_at", 0, 1, NOW),
    ],
)
async def test_a_judgement_fails_where_the_standing_is_not_as_read(
    stage: StoreStage, field: str, read: Any, there: Any, wanted: Any
) -> None:
    """In what it changes: another judge came first."""
    standing = replace(Standing(), **{field: there})
    await stage.store.set_standing(stage.room, "eve", standing)
    with pytest.raises(Conflict):
        await stage.judge(replace(Standing(), **{field: read}), replace(Standing(), **{field: wanted}))
    assert await stage.store.standing(stage.room, "eve") == standing


async def test_a_judgement_fails_for_who_may_not_judge_or_has_judged(stage: StoreStage) -> None:
    """The judge's own role is looked at in the transaction, and so is the request's once-row."""
    await stage.open_room()
    await stage.enter()
    needs = Needs(stage.room, stage.user, roles=frozenset({"owner"}), without=False)
    with pytest.raises(Conflict):
        await stage.judge(Standing(), Standing(kicked_at=NOW), needs=needs)
    await stage.store.set_standing(stage.room, stage.user, Standing(role="owner"))
    await stage.judge(Standing(), Standing(kicked_at=NOW), needs=needs)
    await stage.say({"message": "one"})  # request-1
    with pytest.raises(Conflict):
        await stage.judge(Standing(kicked_at=NOW), Standing(kicked_at=0), client_id="request-1")
    await stage.judge(Standing(kicked_at=NOW), Standing(kicked_at=0), client_id="request-1", now=NOW + HOUR)
    assert await stage.store.standing(stage.room, "eve") == Standing()


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
