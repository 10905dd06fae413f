"""RoomStore, fourth part: a shard's row, its count, and its members."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from domain.errors import Conflict
from domain.rooms import GROWTH_CLAIM_MS, Count, Room, Shard
from tests.contract.stage import EPOCH, NOW, StoreStage

pytestmark = pytest.mark.asyncio(loop_scope="session")


# ---- counts


async def test_the_first_counted_join_starts_the_shard_at_the_head(stage: StoreStage) -> None:
    """Later joins add to the count and leave `sent` where it is."""
    assert await stage.store.shard(stage.key) is None
    assert await stage.store.count_join(stage.key, head=7) == Count(members=1, stats_at=0)
    assert await stage.store.shard(stage.key) == Shard(sent=7, members=1, version=1)
    assert await stage.store.count_join(stage.key, head=9) == Count(members=2, stats_at=0)
    assert await stage.store.shard(stage.key) == Shard(sent=7, members=2, version=2)


async def test_who_was_a_member_already_raises_the_version_alone(stage: StoreStage) -> None:
    """An earlier join of the same connection may have died before it counted."""
    await stage.store.count_join(stage.key, head=7)
    assert await stage.store.count_join(stage.key, head=9, joined=0) == Count(members=1, stats_at=0)
    assert await stage.store.shard(stage.key) == Shard(sent=7, members=1, version=2)


async def test_counts_of_racing_joins_add_up(racing_stage: StoreStage) -> None:
    """Each gets a count of its own."""
    stage = racing_stage
    counts = await asyncio.gather(*(stage.store.count_join(stage.key, head=3) for _ in range(20)))
    assert sorted(it.members for it in counts) == list(range(1, 21))
    assert await stage.store.shard(stage.key) == Shard(sent=3, members=20, version=20)


async def test_many_shards_in_one_read(stage: StoreStage) -> None:
    """Of any rooms and epochs, as many as are asked for; those without a row are left out."""
    await stage.store.count_join(stage.key, head=7)
    await stage.store.count_join(stage.inbox, head=0)
    missing = [replace(stage.key, epoch=stage.key.epoch + it) for it in range(1, 130)]
    assert await stage.store.shards([stage.key, *missing, stage.inbox, stage.key]) == {
        stage.key: Shard(sent=7, members=1, version=1),
        stage.inbox: Shard(sent=0, members=1, version=1),
    }
    assert await stage.store.shards([]) == {}


async def test_a_count_tells_how_many_shards_there_were(stage: StoreStage) -> None:
    """At the shard's last join: the next leave, and a drop, tell the same."""
    membership = await stage.enter()
    await stage.connect("other=", "join-other")
    assert await stage.store.count_join(stage.key, 0, 4) == Count(members=2, stats_at=0, shards=4)
    assert await stage.store.leave(stage.connection, membership) == Count(members=1, stats_at=0, shards=4)
    assert await stage.store.count_join(stage.key, 0, 8) == Count(members=2, stats_at=0, shards=8)
    assert await stage.store.drop_member(stage.key, stage.member("other=", "join-other")) == Count(1, 0, 8)


# ---- growth


async def test_of_racing_growths_one_is_claimed(racing_stage: StoreStage) -> None:
    """Twenty joins find their shard full at once: one doubles the shards."""
    room = await racing_stage.open_room()
    claims = await asyncio.gather(*(racing_stage.store.claim_growth(room, NOW + it) for it in range(20)))
    assert sorted(claims) == [False] * 19 + [True]


async def test_a_claim_shows_and_touches_nothing_else(stage: StoreStage) -> None:
    """A room's row begins without the time of a claim, in a read of one as of many."""
    room = await stage.open_room()
    assert room == Room(stage.room, EPOCH)
    assert await stage.store.claim_growth(room, NOW) is True
    claimed = replace(room, growing_at=NOW)
    assert await stage.read_room() == claimed
    assert await stage.store.rooms([stage.room]) == {stage.room: claimed}


async def test_a_claim_that_died_is_taken_over_by_who_has_read_it(stage: StoreStage) -> None:
    """Whoever read the room before the claim can't; when a claim is old enough is not the store's to say."""
    room = await stage.open_room()
    await stage.store.claim_growth(room, NOW)
    read = await stage.read_room()
    later = NOW + GROWTH_CLAIM_MS
    assert await stage.store.claim_growth(room, later) is False
    assert await stage.store.claim_growth(read, later) is True
    assert await stage.store.claim_growth(read, later) is False
    assert (await stage.read_room()).growing_at == later


@pytest.mark.parametrize(("epoch", "shards"), [(EPOCH, 2), (EPOCH + 1, 1)])
async def test_a_room_that_has_moved_on_neither_is_claimed_nor_grows(
    stage: StoreStage, epoch: int, shards: int
) -> None:
    """Read with other shards, or in another life."""
    room = await stage.open_room()
    other = replace(room, epoch=epoch, shards=shards)
    assert await stage.store.claim_growth(other, NOW) is False
    await stage.store.grow(other)
    assert await stage.read_room() == room


async def test_a_room_that_is_not_there_does_not_grow(stage: StoreStage) -> None:
    """No row is made."""
    room = Room(stage.room, EPOCH)
    assert await stage.store.claim_growth(room, NOW) is False
    await stage.store.grow(room)
    assert await stage.store.room(stage.room) is None


async def test_growth_doubles_once_and_ends_the_claim(stage: StoreStage) -> None:
    """However often it is tried; what was written meanwhile stays."""
    room = await stage.open_room()
    await stage.store.claim_growth(room, NOW)
    await stage.enter()
    await stage.say({"message": "meanwhile"})
    await stage.store.grow(room)
    await stage.store.grow(room)
    grown = await stage.read_room()
    assert grown == replace(room, shards=2, head=1, messages=1)
    await stage.store.grow(grown)
    assert (await stage.read_room()).shards == 4


async def test_a_send_that_read_fewer_shards_conflicts(stage: StoreStage) -> None:
    """It would not ring the new ones."""
    room = await stage.open_room()
    await stage.enter()
    await stage.store.grow(room)
    with pytest.raises(Conflict):
        await stage.append(room, stage.entry(1))
    await stage.append(await stage.read_room(), stage.entry(1))


async def test_new_shards_open_at_the_head(stage: StoreStage) -> None:
    """Those alone that were never served: whatever has been counted or served stays as it is."""
    keys = [replace(stage.key, shard=it) for it in range(4)]
    await stage.store.count_join(keys[0], head=3)
    await stage.store.advance(keys[1], 5, 1, None)
    await stage.store.open_shards(keys, head=7)
    await stage.store.open_shards(keys, head=9)
    found = await stage.store.shards(keys)
    assert {it.shard: (row.sent, row.members, row.version) for it, row in found.items()} == {
        0: (3, 1, 1),
        1: (5, 1, 0),
        2: (7, 0, 0),
        3: (7, 0, 0),
    }
    assert await stage.store.count_join(keys[2], head=8, shards=4) == Count(members=1, stats_at=0, shards=4)
    assert await stage.store.shard(keys[2]) == Shard(sent=7, members=1, version=1)
    await stage.store.advance(keys[3], 8, 0, found[keys[3]])
    assert await stage.store.shard(keys[3]) == Shard(sent=8, members=0, version=0, census=1)


# ---- members


async def test_members_are_all_rows_of_the_shard(stage: StoreStage) -> None:
    """Expired ones too, in both dialects, and nothing of another shard."""
    one = stage.member("one=", dialect="recipe", name="Ünï", user="u:1")
    two = stage.member("two=", expires_at=NOW - 1)
    await stage.put_members([one, two])
    await stage.store.count_join(stage.key, 0)
    assert await stage.store.members(stage.key) == [one, two]
    assert await stage.store.members(replace(stage.key, shard=1)) == []


async def test_a_large_shard_is_read_beyond_one_page(stage: StoreStage) -> None:
    """DynamoDB answers 1 MB at a time: 2,800 members with long names are more."""
    members = [stage.member(f"c{it:05d}=", user="u" * 64, name="\N{GRINNING FACE}" * 64) for it in range(2_800)]
    await stage.put_members(members)
    assert await stage.store.members(stage.key) == members
    assert await stage.store.members_page(stage.key, "c00009=", 2_700) == members[10:2_710]


async def test_members_among_many_connections(stage: StoreStage) -> None:
    """Those that are members, expired or not, in the order asked, however many are asked for, and each once."""
    members = [stage.member(f"c{it:03d}=", expires_at=NOW - 1) for it in range(150)]
    await stage.put_members(members)
    asked = [f"c{it:03d}=" for it in range(250)]
    assert await stage.store.members_among(stage.key, [*asked, *asked]) == members
    assert await stage.store.members_among(stage.key, ["c149=", "none", "c003="]) == [members[149], members[3]]
    assert await stage.store.members_among(stage.key, []) == []


async def test_members_come_in_pages(stage: StoreStage) -> None:
    """By connection, from behind the last one seen; every page is full but the last, and holds members alone."""
    members = [stage.member(f"{it}{number:02d}=") for it in "AZrtz" for number in range(4)]
    await stage.put_members(members)
    await stage.store.count_join(stage.key, 0)
    pages = []
    after = ""
    while page := await stage.store.members_page(stage.key, after, 7):
        pages.append(page)
        after = page[-1].connection
    assert [len(it) for it in pages] == [7, 7, 6]
    assert [it for page in pages for it in page] == members
    assert await stage.store.members_page(stage.key, "rzz", 1) == [stage.member("t00=")]
    assert await stage.store.members_page(stage.key, "shard", 4) == members[12:16]
    assert await stage.store.members_page(replace(stage.key, shard=1), "", 7) == []


# ---- telling a large room how many they are


async def test_the_time_of_telling_is_claimed_as_it_was_read(stage: StoreStage) -> None:
    """Every count says when that was; who read an older time is too late."""
    assert (await stage.store.count_join(stage.key, 0)).stats_at == 0
    assert await stage.store.claim_stats(stage.key, 0, NOW) is True
    assert await stage.store.claim_stats(stage.key, 0, NOW + 1) is False
    assert await stage.store.count_join(stage.key, 0) == Count(members=2, stats_at=NOW)
    assert await stage.store.claim_stats(stage.key, NOW, NOW + 1_000) is True
    assert await stage.store.claim_stats(stage.key, NOW, NOW + 1_001) is False
    assert await stage.store.count_join(stage.key, 0) == Count(members=3, stats_at=NOW + 1_000)


async def test_a_leave_and_a_drop_tell_the_count_too(stage: StoreStage) -> None:
    """With the time at which the room was last told."""
    membership = await stage.enter()
    await stage.enter("other=", "join-other")
    await stage.store.claim_stats(stage.key, 0, NOW)
    assert await stage.store.leave(stage.connection, membership) == Count(members=1, stats_at=NOW)
    assert await stage.store.drop_member(stage.key, stage.member("other=", "join-other")) == Count(0, NOW)


async def test_a_claim_changes_nothing_else_and_outlives_a_census(stage: StoreStage) -> None:
    """Count and version stay; where no row is, none is made."""
    assert await stage.store.claim_stats(stage.key, 0, NOW) is False
    assert await stage.store.shard(stage.key) is None
    await stage.store.count_join(stage.key, head=3)
    assert await stage.store.claim_stats(stage.key, 0, NOW) is True
    read = await stage.store.shard(stage.key)
    assert read == Shard(sent=3, members=1, version=1)
    await stage.store.advance(stage.key, 4, 5, read)
    assert await stage.store.count_join(stage.key, 0) == Count(members=6, stats_at=NOW)


async def test_of_racing_claims_one_wins(racing_stage: StoreStage) -> None:
    """The first time, and any other."""
    stage = racing_stage
    await stage.store.count_join(stage.key, 0)
    for read in (0, NOW):
        claims = await asyncio.gather(
            *(stage.store.claim_stats(stage.key, read, NOW + (1 if read else 0)) for _ in range(20))
        )
        assert sorted(claims) == [False] * 19 + [True]


# ---- advance


async def test_an_advance_is_a_census(stage: StoreStage) -> None:
    """Where nobody came or went or counted since the read, it sets the count; the version, which says who is there,
    stands."""
    await stage.store.count_join(stage.key, head=0)
    await stage.store.advance(stage.key, 5, 3, await stage.store.shard(stage.key))
    assert await stage.store.shard(stage.key) == Shard(sent=5, members=3, version=1, census=1)
    await stage.store.advance(stage.key, 5, 3, await stage.store.shard(stage.key))
    assert await stage.store.shard(stage.key) == Shard(sent=5, members=3, version=1, census=2)


async def test_an_advance_leaves_the_count_when_somebody_came_or_went(stage: StoreStage) -> None:
    """The census is out of date; `sent` alone is raised."""
    await stage.store.count_join(stage.key, head=0)
    read = await stage.store.shard(stage.key)
    await stage.store.count_join(stage.key, head=0)
    await stage.store.advance(stage.key, 5, 1, read)
    assert await stage.store.shard(stage.key) == Shard(sent=5, members=2, version=2)


async def test_an_advance_without_a_census_raises_sent_alone(stage: StoreStage) -> None:
    """The version stands, so that whoever knows the members by it still does."""
    await stage.store.count_join(stage.key, head=0)
    read = await stage.store.shard(stage.key)
    await stage.store.advance(stage.key, 5, None, read)
    assert await stage.store.shard(stage.key) == Shard(sent=5, members=1, version=1)
    await stage.store.advance(stage.key, 4, None, read)
    assert await stage.store.shard(stage.key) == Shard(sent=5, members=1, version=1)


async def test_sent_never_falls(stage: StoreStage) -> None:
    """A slower worker's advance still counts, if its census is of the present, but does not lower `sent`."""
    await stage.store.count_join(stage.key, head=8)
    read = await stage.store.shard(stage.key)
    await stage.store.advance(stage.key, 5, 3, read)
    assert await stage.store.shard(stage.key) == Shard(sent=8, members=3, version=1, census=1)
    await stage.store.advance(stage.key, 6, 4, read)
    assert await stage.store.shard(stage.key) == Shard(sent=8, members=3, version=1, census=1)


async def test_an_advance_of_a_shard_that_nobody_counted(stage: StoreStage) -> None:
    """A worker may come before the first count: the row is made, and later joins go on from there."""
    await stage.store.advance(stage.key, 5, 1, None)
    assert await stage.store.shard(stage.key) == Shard(sent=5, members=1, version=0, census=1)
    await stage.store.advance(stage.key, 6, 9, None)
    assert await stage.store.shard(stage.key) == Shard(sent=6, members=1, version=0, census=1)
    assert await stage.store.count_join(stage.key, head=9) == Count(members=2, stats_at=0)
    assert await stage.store.shard(stage.key) == Shard(sent=6, members=2, version=1, census=1)


async def test_racing_advances_end_at_the_highest(racing_stage: StoreStage) -> None:
    """Two workers at one shard: duplicates only, never a step back."""
    stage = racing_stage
    await stage.store.count_join(stage.key, head=0)
    read = await stage.store.shard(stage.key)
    await asyncio.gather(*(stage.store.advance(stage.key, it, 7, read) for it in (3, 20, 11, 20, 5)))
    assert await stage.store.shard(stage.key) == Shard(sent=20, members=7, version=1, census=1)
