"""RoomStore, third part: connections and memberships."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from domain.errors import Conflict, Unavailable
from domain.policy import Needs
from domain.rooms import FOREVER, KICK_MARK_MS, Count, Member, Session, Shard, ShardKey, Standing, due_bucket
from tests.contract.stage import EPOCH, NOW, StoreStage

pytestmark = pytest.mark.asyncio(loop_scope="session")


# ---- connect


async def test_a_connect_brings_the_connection_into_all_its_rooms(stage: StoreStage) -> None:
    """The connection's row as it is given, a member and a reverse row for each room, and the lease's due row."""
    own = stage.connected(last_room="any")
    await stage.store.connect(own, _joins(stage), NOW)
    memberships = [stage.membership(room=stage.inbox.room), stage.membership()]
    assert await stage.store.session(stage.connection) == Session(own, memberships)
    assert await _state(stage) == (Session(own, memberships), [stage.member()], [stage.member()], [stage.connection])


async def test_the_same_connect_again_succeeds(stage: StoreStage) -> None:
    """A caller that had no answer tries again: all is there once."""
    await stage.store.connect(stage.connected(), _joins(stage), NOW)
    state = await _state(stage)
    await stage.store.connect(stage.connected(), _joins(stage), NOW)
    assert await _state(stage) == state


@pytest.mark.parametrize("nth", [0, 1])
async def test_a_connect_fails_where_there_is_a_membership_already(stage: StoreStage, nth: int) -> None:
    """In any of its rooms, by another join: nothing is written, not even in the others."""
    await stage.store.connect(stage.connected(), [_joins(stage)[nth]], NOW)
    state = await _state(stage)
    with pytest.raises(Conflict):
        await stage.store.connect(stage.connected(last_room="lost"), _joins(stage, "join-2"), NOW)
    assert await _state(stage) == state


@pytest.mark.parametrize("nth", [0, 1])
@pytest.mark.parametrize("standing", [Standing(banned_until=FOREVER), Standing(kicked_at=NOW - KICK_MARK_MS + 1)])
async def test_a_connect_fails_for_who_may_not_join(stage: StoreStage, nth: int, standing: Standing) -> None:
    """Banned or just kicked in any of the rooms; it leaves nothing behind."""
    await stage.store.set_standing(_joins(stage)[nth][1].room, stage.user, standing)
    with pytest.raises(Conflict):
        await stage.store.connect(stage.connected(), _joins(stage), NOW)
    assert await _state(stage) == (Session(None, []), [], [], [])


async def test_twenty_connections_of_a_user_at_once(racing_stage: StoreStage) -> None:
    """Each tries again after a conflict: all are in both rooms, and in the count."""
    stage = racing_stage
    connections = [f"{stage.connection}{it:02d}" for it in range(20)]

    async def enter(connection: str) -> int:
        member = stage.member(connection, f"join-{connection}")
        while True:
            try:
                await stage.store.connect(
                    stage.connected(connection),
                    [(member, it, stage.may_join(it.room)) for it in (stage.key, stage.inbox)],
                    NOW,
                )
            except Conflict:
                continue
            return (await stage.store.count_join(stage.key, 0)).members

    assert sorted(await asyncio.gather(*map(enter, connections))) == list(range(1, 21))
    assert [it.connection for it in await stage.store.members(stage.key)] == connections
    assert [it.connection for it in await stage.store.members(stage.inbox)] == connections
    sessions = [await stage.store.session(it) for it in connections]
    assert all(it.connection and len(it.memberships) == 2 for it in sessions)


async def test_of_racing_connects_of_a_connection_one_wins(racing_stage: StoreStage) -> None:
    """It is in both rooms by the same join."""
    stage = racing_stage
    outcomes = await asyncio.gather(
        *(stage.store.connect(stage.connected(), _joins(stage, f"join-{it}"), NOW) for it in range(10)),
        return_exceptions=True,
    )
    assert outcomes.count(None) == 1
    assert all(isinstance(it, Conflict) for it in outcomes if it is not None)
    winner = f"join-{outcomes.index(None)}"
    session = await stage.store.session(stage.connection)
    assert [it.join_id for it in session.memberships] == [winner] * 2
    assert [it.join_id for key in (stage.key, stage.inbox) for it in await stage.store.members(key)] == [winner] * 2


def _joins(stage: StoreStage, join_id: str = "join-1") -> list[tuple[Member, ShardKey, Needs | None]]:
    """Of the connection, into the room and its user's inbox."""
    return [(stage.member(join_id=join_id), it, stage.may_join(it.room)) for it in (stage.key, stage.inbox)]


async def _state(stage: StoreStage) -> tuple[Session, list[Member], list[Member], list[str]]:
    """All that a connect writes."""
    return (
        await stage.store.session(stage.connection),
        await stage.store.members(stage.key),
        await stage.store.members(stage.inbox),
        await stage.store.due(stage.minute, due_bucket(stage.connection), 10),
    )


# ---- join


async def test_a_further_join_moves_the_last_room(stage: StoreStage) -> None:
    """A connection is in several rooms, and the room joined last is where it speaks by default."""
    await stage.enter()
    other = ShardKey(f"{stage.room}-b", EPOCH + 1, 3)
    await stage.store.join(stage.member(join_id="join-b"), other, None, stage.may_join(), NOW)
    session = await stage.store.session(stage.connection)
    assert session.connection == replace(stage.connected(), last_room=other.room)
    assert session.memberships == [
        stage.membership(),
        stage.membership("join-b", room=other.room, epoch=EPOCH + 1, shard=3),
    ]


async def test_the_same_join_again_succeeds(stage: StoreStage) -> None:
    """A caller that had no answer tries again, with the membership it had read before: no conflict, one member."""
    await stage.connect()
    await stage.store.join(stage.member(), stage.key, None, stage.may_join(), NOW)
    await stage.store.join(stage.member(), stage.key, None, stage.may_join(), NOW)
    assert await stage.store.members(stage.key) == [stage.member()]


async def test_a_join_replaces_the_membership_it_has_read(stage: StoreStage) -> None:
    """A connection that joins again has one membership, the new one; the same try again succeeds."""
    read = await stage.enter()
    await stage.store.join(stage.member(join_id="join-2"), stage.key, read, stage.may_join(), NOW)
    assert (await stage.store.session(stage.connection)).memberships == [stage.membership("join-2")]
    assert await stage.store.members(stage.key) == [stage.member(join_id="join-2")]
    await stage.store.join(stage.member(join_id="join-2"), stage.key, read, stage.may_join(), NOW)


async def test_a_join_over_the_membership_of_an_old_epoch_leaves_the_old_member_row(stage: StoreStage) -> None:
    """Jobs of the old epoch still need it, and its key keeps it harmless."""
    read = await stage.enter()
    anew = ShardKey(stage.room, EPOCH + 1, 0)
    await stage.store.join(stage.member(join_id="join-2"), anew, read, stage.may_join(), NOW)
    assert (await stage.store.session(stage.connection)).memberships == [stage.membership("join-2", epoch=EPOCH + 1)]
    assert await stage.store.members(stage.key) == [stage.member()]
    assert await stage.store.members(anew) == [stage.member(join_id="join-2")]


Twist = Callable[[StoreStage], Awaitable[None]]


async def _ban(stage: StoreStage) -> None:
    await stage.store.set_standing(stage.room, stage.user, Standing(banned_until=FOREVER))


async def _kick(stage: StoreStage) -> None:
    await stage.store.set_standing(stage.room, stage.user, Standing(kicked_at=NOW - KICK_MARK_MS + 1))


async def _disconnect(stage: StoreStage) -> None:
    await stage.store.end_connection(stage.connection)


async def _rejoin(stage: StoreStage) -> None:
    await stage.store.join(stage.member(join_id="join-2"), stage.key, stage.membership(), stage.may_join(), NOW)


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
        await stage.store.join(stage.member(join_id="join-3", name="New"), stage.key, read, stage.may_join(), NOW)
    assert await stage.store.session(stage.connection) == session
    assert await stage.store.members(stage.key) == members


async def test_a_first_join_fails_where_there_is_a_membership_already(stage: StoreStage) -> None:
    """Another join of the connection came between read and write."""
    await stage.enter()
    with pytest.raises(Conflict):
        await stage.store.join(stage.member(join_id="join-2"), stage.key, None, stage.may_join(), NOW)
    assert await stage.store.members(stage.key) == [stage.member()]


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
        *(stage.store.join(stage.member(join_id=it), stage.key, read, stage.may_join(), NOW) for it in ids),
        return_exceptions=True,
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


# ---- leave


async def test_a_leave_deletes_both_rows_and_counts(stage: StoreStage) -> None:
    """The second call deletes nothing and does not count."""
    membership = await stage.enter()
    assert await stage.store.leave(stage.connection, membership) == Count(members=0, stats_at=0)
    assert await stage.store.session(stage.connection) == Session(stage.connected(), [])
    assert await stage.store.members(stage.key) == []
    assert await stage.store.shard(stage.key) == Shard(sent=0, members=0, version=2)
    assert await stage.store.leave(stage.connection, membership) is None
    assert await stage.store.shard(stage.key) == Shard(sent=0, members=0, version=2)


async def test_a_leave_spares_a_later_join(stage: StoreStage) -> None:
    """A late disconnect or purge speaks of the join it has read."""
    membership = await stage.enter()
    await _rejoin(stage)
    assert await stage.store.leave(stage.connection, membership) is None
    assert (await stage.store.session(stage.connection)).memberships == [stage.membership("join-2")]
    assert await stage.store.members(stage.key) == [stage.member(join_id="join-2")]


async def test_a_leave_of_an_old_epoch_spares_the_membership_that_has_moved_on(stage: StoreStage) -> None:
    """It ends what it speaks of, the member row of the room that was."""
    read = await stage.enter()
    anew = ShardKey(stage.room, EPOCH + 1, 0)
    await stage.store.join(stage.member(join_id="join-2"), anew, read, stage.may_join(), NOW)
    assert await stage.store.leave(stage.connection, read) == Count(members=0, stats_at=0)
    assert await stage.store.members(stage.key) == []
    assert await stage.store.members(anew) == [stage.member(join_id="join-2")]
    assert (await stage.store.session(stage.connection)).memberships == [stage.membership("join-2", epoch=EPOCH + 1)]


async def test_a_leave_that_died_is_finished_by_the_next(stage: StoreStage) -> None:
    """Its member row is gone, and nobody knows whether that was counted: the version rises, so that a census tells."""
    membership = await stage.enter()
    assert await stage.store.drop_member(stage.key, stage.member())
    assert await stage.store.shard(stage.key) == Shard(sent=0, members=0, version=2)
    assert await stage.store.leave(stage.connection, membership) is None
    assert await stage.store.shard(stage.key) == Shard(sent=0, members=0, version=3)
    assert (await stage.store.session(stage.connection)).memberships == []
    assert await stage.store.leave(stage.connection, membership) is None
    assert await stage.store.shard(stage.key) == Shard(sent=0, members=0, version=3)


async def test_a_leave_before_the_join_was_counted_is_made_up_by_the_count(stage: StoreStage) -> None:
    """A shard row without `sent` says that a join is between its steps."""
    await stage.connect()
    assert await stage.store.leave(stage.connection, stage.membership())
    assert await stage.store.shard(stage.key) == Shard(sent=None, members=-1, version=1)
    assert await stage.store.count_join(stage.key, head=4) == Count(members=0, stats_at=0)
    assert await stage.store.shard(stage.key) == Shard(sent=4, members=0, version=2)


async def test_of_racing_leaves_one_deletes(racing_stage: StoreStage) -> None:
    """Disconnect, purge and kick may meet: who deletes is told so, and counts, once."""
    stage = racing_stage
    membership = await stage.enter()
    outcomes = await asyncio.gather(
        *(stage.store.leave(stage.connection, membership) for _ in range(10)), return_exceptions=True
    )
    counts = [it for it in outcomes if isinstance(it, Count)]
    assert counts == [Count(members=0, stats_at=0)]
    assert all(it is None or isinstance(it, Unavailable) for it in outcomes if it not in counts)
    shard = await stage.store.shard(stage.key)
    assert shard is not None
    assert shard.members == 0
    assert (await stage.store.session(stage.connection)).memberships == []


async def test_a_member_row_alone_is_dropped_if_it_is_still_that_join(stage: StoreStage) -> None:
    """And counted; the reverse row, which speaks of another epoch by now, stays."""
    read = await stage.enter()
    anew = ShardKey(stage.room, EPOCH + 1, 0)
    await stage.store.join(stage.member(join_id="join-2"), anew, read, stage.may_join(), NOW)
    assert await stage.store.drop_member(stage.key, stage.member(join_id="join-0")) is None
    assert await stage.store.drop_member(stage.key, stage.member()) == Count(members=0, stats_at=0)
    assert await stage.store.drop_member(stage.key, stage.member()) is None
    assert await stage.store.members(stage.key) == []
    assert await stage.store.shard(stage.key) == Shard(sent=0, members=0, version=2)
    assert (await stage.store.session(stage.connection)).memberships == [stage.membership("join-2", epoch=EPOCH + 1)]
