"""RoomStore, second part: connections, memberships and shards."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from domain.errors import Conflict, Unavailable
from domain.rooms import KICK_MARK_MS, Membership, Session, Shard, ShardKey, Standing
from tests.contract.stage import EPOCH, NOW, StoreStage

pytestmark = pytest.mark.asyncio(loop_scope="session")


# ---- join


async def test_the_first_join_brings_the_connection(stage: StoreStage) -> None:
    """With `connect`, the connection's row, its membership and the member row are there together."""
    await stage.store.join(stage.member(), stage.key, None, NOW, connect=stage.connected())
    assert await stage.store.session(stage.connection) == Session(stage.connected(), [stage.membership()])
    assert await stage.store.members(stage.key) == [stage.member()]


async def test_a_further_join_moves_the_last_room(stage: StoreStage) -> None:
    """A connection is in several rooms, and the room joined last is where it speaks by default."""
    await stage.enter()
    other = ShardKey(f"{stage.room}-b", EPOCH + 1, 3)
    await stage.store.join(stage.member(join_id="join-b"), other, None, NOW)
    session = await stage.store.session(stage.connection)
    assert session.connection == replace(stage.connected(), last_room=other.room)
    assert session.memberships == [stage.membership(), Membership(other.room, EPOCH + 1, 3, "join-b")]


async def test_the_same_join_again_succeeds(stage: StoreStage) -> None:
    """A caller that had no answer tries again, with the membership it had read before: no conflict, one member."""
    await stage.store.join(stage.member(), stage.key, None, NOW, connect=stage.connected())
    await stage.store.join(stage.member(), stage.key, None, NOW, connect=stage.connected())
    await stage.store.join(stage.member(), stage.key, None, NOW)
    assert await stage.store.members(stage.key) == [stage.member()]


async def test_a_join_replaces_the_membership_it_has_read(stage: StoreStage) -> None:
    """A connection that joins again has one membership, the new one; the same try again succeeds."""
    read = await stage.enter()
    await stage.store.join(stage.member(join_id="join-2"), stage.key, read, NOW)
    assert (await stage.store.session(stage.connection)).memberships == [stage.membership("join-2")]
    assert await stage.store.members(stage.key) == [stage.member(join_id="join-2")]
    await stage.store.join(stage.member(join_id="join-2"), stage.key, read, NOW)


async def test_a_join_over_the_membership_of_an_old_epoch_leaves_the_old_member_row(stage: StoreStage) -> None:
    """Jobs of the old epoch still need it, and its key keeps it harmless."""
    read = await stage.enter()
    anew = ShardKey(stage.room, EPOCH + 1, 0)
    await stage.store.join(stage.member(join_id="join-2"), anew, read, NOW)
    assert (await stage.store.session(stage.connection)).memberships == [Membership(stage.room, EPOCH + 1, 0, "join-2")]
    assert await stage.store.members(stage.key) == [stage.member()]
    assert await stage.store.members(anew) == [stage.member(join_id="join-2")]


Twist = Callable[[StoreStage], Awaitable[None]]


async def _ban(stage: StoreStage) -> None:
    await stage.store.set_standing(stage.room, stage.user, Standing(banned=True))


async def _kick(stage: StoreStage) -> None:
    await stage.store.set_standing(stage.room, stage.user, Standing(kicked_at=NOW - KICK_MARK_MS + 1))


async def _disconnect(stage: StoreStage) -> None:
    await stage.store.end_connection(stage.connection)


async def _rejoin(stage: StoreStage) -> None:
    await stage.store.join(stage.member(join_id="join-2"), stage.key, stage.membership(), NOW)


async def _leave(stage: StoreStage) -> None:
    assert await stage.store.leave(stage.connection, stage.membership())


@pytest.mark.parametrize("twist", [_ban, _kick, _disconnect, _rejoin, _leave])
async def test_a_join_fails_when_the_world_has_moved(stage: StoreStage, twist: Twist) -> None:
    """Banned, kicked, the connection ended, or its membership replaced or gone: nothing is written."""
    read = await stage.enter()
    await twist(stage)
    session = await stage.store.session(stage.connection)
    members = await stage.store.members(stage.key)
    with pytest.raises(Conflict):
        await stage.store.join(stage.member(join_id="join-3", name="New"), stage.key, read, NOW)
    assert await stage.store.session(stage.connection) == session
    assert await stage.store.members(stage.key) == members


async def test_a_first_join_fails_where_there_is_a_membership_already(stage: StoreStage) -> None:
    """Another join of the connection came between read and write."""
    await stage.enter()
    with pytest.raises(Conflict):
        await stage.store.join(stage.member(join_id="join-2"), stage.key, None, NOW)
    assert await stage.store.members(stage.key) == [stage.member()]


@pytest.mark.parametrize("twist", [_ban, _kick])
async def test_a_connect_fails_for_who_may_not_join(stage: StoreStage, twist: Twist) -> None:
    """And leaves no connection behind."""
    await twist(stage)
    with pytest.raises(Conflict):
        await stage.store.join(stage.member(), stage.key, None, NOW, connect=stage.connected())
    assert await stage.store.session(stage.connection) == Session(None, [])


async def test_an_old_kick_mark_and_a_mute_let_a_user_join(stage: StoreStage) -> None:
    """A kick mark is fresh for `KICK_MARK_MS`; a mute speaks of messages alone."""
    standing = Standing(muted_until=NOW + 1, kicked_at=NOW - KICK_MARK_MS)
    await stage.store.set_standing(stage.room, stage.user, standing)
    await stage.enter()
    assert await stage.store.members(stage.key) == [stage.member()]


async def test_of_racing_joins_of_a_connection_one_wins(racing_stage: StoreStage) -> None:
    """The others meet its rows, or its join id."""
    stage = racing_stage
    read = await stage.enter()
    ids = [f"join-{it}" for it in range(2, 12)]
    outcomes = await asyncio.gather(
        *(stage.store.join(stage.member(join_id=it), stage.key, read, NOW) for it in ids), return_exceptions=True
    )
    assert outcomes.count(None) == 1
    assert all(isinstance(it, Conflict) for it in outcomes if it is not None)
    winner = ids[outcomes.index(None)]
    assert (await stage.store.session(stage.connection)).memberships == [stage.membership(winner)]
    assert await stage.store.members(stage.key) == [stage.member(join_id=winner)]


# ---- end of a connection


async def test_an_ended_connection_keeps_its_memberships(stage: StoreStage) -> None:
    """They name the rows that are still to be deleted; ending it twice does no harm."""
    await stage.enter()
    await stage.store.end_connection(stage.connection)
    await stage.store.end_connection(stage.connection)
    assert await stage.store.session(stage.connection) == Session(None, [stage.membership()])


# ---- counts


async def test_the_first_counted_join_starts_the_shard_at_the_head(stage: StoreStage) -> None:
    """Later joins add to the count and leave `sent` where it is."""
    assert await stage.store.shard(stage.key) is None
    assert await stage.store.count_join(stage.key, head=7) == 1
    assert await stage.store.shard(stage.key) == Shard(sent=7, members=1, version=1)
    assert await stage.store.count_join(stage.key, head=9) == 2
    assert await stage.store.shard(stage.key) == Shard(sent=7, members=2, version=2)


async def test_counts_of_racing_joins_add_up(racing_stage: StoreStage) -> None:
    """Each gets a count of its own."""
    stage = racing_stage
    counts = await asyncio.gather(*(stage.store.count_join(stage.key, head=3) for _ in range(20)))
    assert sorted(counts) == list(range(1, 21))
    assert await stage.store.shard(stage.key) == Shard(sent=3, members=20, version=20)


# ---- leave


async def test_a_leave_deletes_both_rows_and_counts(stage: StoreStage) -> None:
    """The second call deletes nothing and does not count."""
    membership = await stage.enter()
    assert await stage.store.leave(stage.connection, membership) is True
    assert await stage.store.session(stage.connection) == Session(stage.connected(), [])
    assert await stage.store.members(stage.key) == []
    assert await stage.store.shard(stage.key) == Shard(sent=0, members=0, version=2)
    assert await stage.store.leave(stage.connection, membership) is False
    assert await stage.store.shard(stage.key) == Shard(sent=0, members=0, version=2)


async def test_a_leave_spares_a_later_join(stage: StoreStage) -> None:
    """A late disconnect or purge speaks of the join it has read."""
    membership = await stage.enter()
    await _rejoin(stage)
    assert await stage.store.leave(stage.connection, membership) is False
    assert (await stage.store.session(stage.connection)).memberships == [stage.membership("join-2")]
    assert await stage.store.members(stage.key) == [stage.member(join_id="join-2")]


async def test_a_leave_spares_a_member_row_whose_membership_has_moved_on(stage: StoreStage) -> None:
    """Both rows must carry the join id: the row of an old epoch alone is not enough."""
    read = await stage.enter()
    anew = ShardKey(stage.room, EPOCH + 1, 0)
    await stage.store.join(stage.member(join_id="join-2"), anew, read, NOW)
    assert await stage.store.leave(stage.connection, read) is False
    assert await stage.store.members(stage.key) == [stage.member()]
    assert await stage.store.members(anew) == [stage.member(join_id="join-2")]


async def test_a_leave_before_the_join_was_counted_is_made_up_by_the_count(stage: StoreStage) -> None:
    """A shard row without `sent` says that a join is between its steps."""
    await stage.store.join(stage.member(), stage.key, None, NOW, connect=stage.connected())
    assert await stage.store.leave(stage.connection, stage.membership())
    assert await stage.store.shard(stage.key) == Shard(sent=None, members=-1, version=1)
    assert await stage.store.count_join(stage.key, head=4) == 0
    assert await stage.store.shard(stage.key) == Shard(sent=4, members=0, version=2)


async def test_of_racing_leaves_one_deletes(racing_stage: StoreStage) -> None:
    """Disconnect, purge and kick may meet: who deletes is told so, and counts, once."""
    stage = racing_stage
    membership = await stage.enter()
    outcomes = await asyncio.gather(
        *(stage.store.leave(stage.connection, membership) for _ in range(10)), return_exceptions=True
    )
    assert outcomes.count(True) == 1
    assert all(it is False or isinstance(it, Unavailable) for it in outcomes if it is not True)
    assert await stage.store.shard(stage.key) == Shard(sent=0, members=0, version=2)


async def test_a_member_row_alone_is_dropped_if_it_is_still_that_join(stage: StoreStage) -> None:
    """And counted; the reverse row, which speaks of another epoch by now, stays."""
    read = await stage.enter()
    anew = ShardKey(stage.room, EPOCH + 1, 0)
    await stage.store.join(stage.member(join_id="join-2"), anew, read, NOW)
    assert await stage.store.drop_member(stage.key, stage.member(join_id="join-0")) is False
    assert await stage.store.drop_member(stage.key, stage.member()) is True
    assert await stage.store.drop_member(stage.key, stage.member()) is False
    assert await stage.store.members(stage.key) == []
    assert await stage.store.shard(stage.key) == Shard(sent=0, members=0, version=2)
    assert (await stage.store.session(stage.connection)).memberships == [Membership(stage.room, EPOCH + 1, 0, "join-2")]


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
    """DynamoDB answers 1 MB at a time: 3,500 members with long names are more."""
    members = [stage.member(f"c{it:05d}=", user="u" * 64, name="\N{GRINNING FACE}" * 64) for it in range(3_500)]
    await stage.put_members(members)
    assert await stage.store.members(stage.key) == members


async def test_members_among_many_connections(stage: StoreStage) -> None:
    """Those that are members, expired or not, in the order asked, however many are asked for, and each once."""
    members = [stage.member(f"c{it:03d}=", expires_at=NOW - 1) for it in range(150)]
    await stage.put_members(members)
    asked = [f"c{it:03d}=" for it in range(250)]
    assert await stage.store.members_among(stage.key, [*asked, *asked]) == members
    assert await stage.store.members_among(stage.key, ["c149=", "none", "c003="]) == [members[149], members[3]]
    assert await stage.store.members_among(stage.key, []) == []


# ---- advance


async def test_an_advance_is_a_census(stage: StoreStage) -> None:
    """Where nobody came or went since the read, it sets the count; the version rises even where it was right."""
    await stage.store.count_join(stage.key, head=0)
    await stage.store.advance(stage.key, 5, 3, await stage.store.shard(stage.key))
    assert await stage.store.shard(stage.key) == Shard(sent=5, members=3, version=2)
    await stage.store.advance(stage.key, 5, 3, await stage.store.shard(stage.key))
    assert await stage.store.shard(stage.key) == Shard(sent=5, members=3, version=3)


async def test_an_advance_leaves_the_count_when_somebody_came_or_went(stage: StoreStage) -> None:
    """The census is out of date; `sent` alone is raised."""
    await stage.store.count_join(stage.key, head=0)
    read = await stage.store.shard(stage.key)
    await stage.store.count_join(stage.key, head=0)
    await stage.store.advance(stage.key, 5, 1, read)
    assert await stage.store.shard(stage.key) == Shard(sent=5, members=2, version=2)


async def test_sent_never_falls(stage: StoreStage) -> None:
    """A slower worker's advance still counts, if its census is of the present, but does not lower `sent`."""
    await stage.store.count_join(stage.key, head=8)
    read = await stage.store.shard(stage.key)
    await stage.store.advance(stage.key, 5, 3, read)
    assert await stage.store.shard(stage.key) == Shard(sent=8, members=3, version=2)
    await stage.store.advance(stage.key, 6, 4, read)
    assert await stage.store.shard(stage.key) == Shard(sent=8, members=3, version=2)


async def test_an_advance_of_a_shard_that_nobody_counted(stage: StoreStage) -> None:
    """A worker may come before the first count: the row is made, and later joins go on from there."""
    await stage.store.advance(stage.key, 5, 1, None)
    assert await stage.store.shard(stage.key) == Shard(sent=5, members=1, version=1)
    await stage.store.advance(stage.key, 6, 9, None)
    assert await stage.store.shard(stage.key) == Shard(sent=6, members=1, version=1)
    assert await stage.store.count_join(stage.key, head=9) == 2
    assert await stage.store.shard(stage.key) == Shard(sent=6, members=2, version=2)


async def test_racing_advances_end_at_the_highest(racing_stage: StoreStage) -> None:
    """Two workers at one shard: duplicates only, never a step back."""
    stage = racing_stage
    await stage.store.count_join(stage.key, head=0)
    read = await stage.store.shard(stage.key)
    await asyncio.gather(*(stage.store.advance(stage.key, it, 7, read) for it in (3, 20, 11, 20, 5)))
    assert await stage.store.shard(stage.key) == Shard(sent=20, members=7, version=2)
