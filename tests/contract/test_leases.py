"""RoomStore, fifth part: leases, and the minutes in which they end."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from domain.errors import Unavailable
from domain.rooms import DUE_BUCKETS, Session, due_bucket
from tests.contract.stage import HOUR, NOW, StoreStage

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_lease_is_due_in_the_minute_in_which_it_ends(stage: StoreStage) -> None:
    """In the bucket of its connection, and in no other."""
    await stage.connect()
    bucket = due_bucket(stage.connection)
    found = {
        (minute, it): await stage.store.due(minute, it, 10)
        for minute in (stage.minute - 1, stage.minute, stage.minute + 1)
        for it in range(DUE_BUCKETS)
    }
    assert {at for at, connections in found.items() if stage.connection in connections} == {(stage.minute, bucket)}


async def test_due_rows_come_up_to_a_limit(stage: StoreStage) -> None:
    """Those that are done make place for the rest."""
    connections = [it for number in range(40) if due_bucket(it := f"{stage.connection}{number:02d}") == 1][:7]
    for it in connections:
        await stage.store.connect(stage.connected(it), [], NOW)
    first = await stage.store.due(stage.minute, 1, 5)
    assert len(first) == 5
    for it in first:
        await stage.store.move_due(it, stage.minute, None)
    assert sorted([*first, *await stage.store.due(stage.minute, 1, 5)]) == connections


async def test_a_due_row_moves(stage: StoreStage) -> None:
    """Into the later minute; moving it again, or what was never there, is no error."""
    await stage.connect()
    bucket = due_bucket(stage.connection)
    for _ in range(2):
        await stage.store.move_due(stage.connection, stage.minute, stage.minute + 100_000)
        assert await stage.store.due(stage.minute, bucket, 10) == []
        assert await stage.store.due(stage.minute + 100_000, bucket, 10) == [stage.connection]
    for _ in range(2):
        await stage.store.move_due(stage.connection, stage.minute + 100_000, None)
        assert await stage.store.due(stage.minute + 100_000, bucket, 10) == []


async def test_a_lease_is_renewed(stage: StoreStage) -> None:
    """In the connection's row alone: the rest of it, its memberships and its due row stay as they are."""
    await stage.connect()
    await stage.store.renew(stage.connection, NOW + HOUR)
    renewed = replace(stage.connected(), lease_until=NOW + HOUR)
    assert await stage.store.session(stage.connection) == Session(renewed, [stage.membership()])
    assert await stage.store.due(stage.minute, due_bucket(stage.connection), 10) == [stage.connection]


async def test_a_renewal_brings_no_connection_back(stage: StoreStage) -> None:
    """Where the row is gone, nothing happens."""
    await stage.connect()
    await stage.store.end_connection(stage.connection)
    await stage.store.renew(stage.connection, NOW + HOUR)
    await stage.store.renew("never", NOW + HOUR)
    assert await stage.store.session(stage.connection) == Session(None, [stage.membership()])
    assert await stage.store.session("never") == Session(None, [])


async def test_a_further_join_keeps_the_lease(stage: StoreStage) -> None:
    """It changes `last_room` alone."""
    await stage.connect()
    await stage.store.join(stage.member(join_id="join-2"), stage.inbox, None, stage.may_join(), NOW)
    session = await stage.store.session(stage.connection)
    assert session.connection == stage.connected(last_room=stage.inbox.room)


async def test_a_join_that_is_taken_back(stage: StoreStage) -> None:
    """The room joined last is another again, unless a later join has changed it; no connection is brought back."""
    await stage.connect()
    await stage.store.join(stage.member(join_id="join-2"), stage.inbox, None, None, NOW)
    await stage.store.set_last_room(stage.connection, "lost", "another")
    assert (await stage.store.session(stage.connection)).connection == stage.connected(last_room=stage.inbox.room)
    await stage.store.set_last_room(stage.connection, "before", stage.inbox.room)
    assert (await stage.store.session(stage.connection)).connection == stage.connected(last_room="before")
    await stage.store.set_last_room("never", "before", "before")
    assert await stage.store.session("never") == Session(None, [])


async def test_the_last_minute_done_is_remembered(stage: StoreStage) -> None:
    """For each bucket; before the first there is none."""
    bucket = 1_000 + stage.number
    assert await stage.store.ticked(bucket) is None
    for minute in (stage.minute, stage.minute + 1):
        await stage.store.set_ticked(bucket, minute)
        assert await stage.store.ticked(bucket) == minute
    assert await stage.store.ticked(bucket + 1_000_000) is None


async def test_joins_and_renewals_at_once_lose_nothing(racing_stage: StoreStage) -> None:
    """Renewals that meet a join's transaction are tried again; the row has both in the end."""
    stage = racing_stage
    await stage.connect()

    async def renew(lease_until: int) -> None:
        while True:
            try:
                await stage.store.renew(stage.connection, lease_until)
            except Unavailable:
                continue
            return

    join = stage.store.join(stage.member(join_id="join-2"), stage.inbox, None, stage.may_join(), NOW)
    await asyncio.gather(join, *(renew(NOW + HOUR) for _ in range(5)))
    session = await stage.store.session(stage.connection)
    assert session.connection == stage.connected(last_room=stage.inbox.room, lease_until=NOW + HOUR)
