"""RoomStore, sixth part: connections that last longer than they were to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from domain.errors import Conflict
from domain.rooms import Session
from tests.contract.stage import HOUR, NOW, StoreStage

pytestmark = pytest.mark.asyncio(loop_scope="session")
LATER = NOW + 2 * HOUR + 60_000
"""A minute after the end of what the stage makes."""


async def test_a_connection_ends_later(stage: StoreStage) -> None:
    """Its row and its lease; the rest, its memberships among it, stays as it is."""
    await stage.enter()
    await stage.store.lengthen(stage.connection, LATER, NOW + HOUR)
    longer = replace(stage.connected(), expires_at=LATER, lease_until=NOW + HOUR)
    assert await stage.store.session(stage.connection) == Session(longer, [stage.membership()])
    assert await stage.store.members(stage.key) == [stage.member()]


async def test_a_connection_never_ends_sooner(stage: StoreStage) -> None:
    """Of two fresh tokens the one that lasts longer counts, whichever is shown first."""
    await stage.enter()
    await stage.store.lengthen(stage.connection, LATER, NOW + HOUR)
    await stage.store.lengthen(stage.connection, LATER - 1, NOW)
    found = (await stage.store.session(stage.connection)).connection
    assert found == replace(stage.connected(), expires_at=LATER, lease_until=NOW + HOUR)


async def test_a_connection_that_has_ended_stays_so(stage: StoreStage) -> None:
    """Where the row is gone, nothing happens."""
    await stage.enter()
    await stage.store.end_connection(stage.connection)
    await stage.store.lengthen(stage.connection, LATER, NOW + HOUR)
    assert await stage.store.session(stage.connection) == Session(None, [stage.membership()])


async def test_a_membership_ends_later(stage: StoreStage) -> None:
    """The worker reads it again: the shard's version has risen. The count has not."""
    membership = await stage.enter()
    before = await stage.store.shard(stage.key)
    assert before is not None
    await stage.store.lengthen_membership(stage.connection, membership, LATER)
    assert await stage.store.members(stage.key) == [stage.member(expires_at=LATER)]
    assert await stage.store.shard(stage.key) == replace(before, version=before.version + 1)
    assert await stage.store.session(stage.connection) == Session(stage.connected(), [stage.membership()])


async def test_only_the_membership_that_was_read_ends_later(stage: StoreStage) -> None:
    """A later join of the room has an end of its own; one that was left is not brought back."""
    membership = await stage.enter()
    before = await stage.store.shard(stage.key)
    await stage.store.lengthen_membership(stage.connection, replace(membership, join_id="other"), LATER)
    assert await stage.store.members(stage.key) == [stage.member()]
    assert await stage.store.shard(stage.key) == before
    await stage.store.leave(stage.connection, membership)
    left = await stage.store.shard(stage.key)
    await stage.store.lengthen_membership(stage.connection, membership, LATER)
    assert await stage.store.members(stage.key) == []
    assert await stage.store.session(stage.connection) == Session(stage.connected(), [])
    assert await stage.store.shard(stage.key) == left


async def test_a_join_that_has_read_the_old_end_fails(stage: StoreStage) -> None:
    """It would end before its connection does. With the new end it succeeds."""
    await stage.enter()
    await stage.store.lengthen(stage.connection, LATER, NOW + HOUR)
    with pytest.raises(Conflict):
        await stage.store.join(stage.member(join_id="join-2"), stage.inbox, None, stage.may_join(), NOW)
    assert [it.room for it in (await stage.store.session(stage.connection)).memberships] == [stage.room]
    await stage.store.join(stage.member(join_id="join-2", expires_at=LATER), stage.inbox, None, stage.may_join(), NOW)
    assert len((await stage.store.session(stage.connection)).memberships) == 2
