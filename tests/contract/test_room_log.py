"""RoomStore, first part: rooms, standings, and the log."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from domain.errors import Conflict, Unavailable
from domain.rooms import Entry, Room, Sending, Standing
from tests.contract.stage import EPOCH, HOUR, NOW, StoreStage

pytestmark = pytest.mark.asyncio(loop_scope="session")

ALL = 1_000_000
"""More bytes than any log here holds, unless a test says otherwise."""


# ---- rooms


async def test_a_room_is_there_once_it_is_made(stage: StoreStage) -> None:
    """A new room has an empty log, one shard, and the epoch it was given."""
    assert await stage.store.room(stage.room) is None
    await stage.store.create_room(stage.room, EPOCH)
    assert await stage.store.room(stage.room) == Room(stage.room, EPOCH, head=0, shards=1, status="open")


async def test_making_a_room_again_changes_nothing(stage: StoreStage) -> None:
    """A room that is there keeps its epoch and its head."""
    await stage.open_room()
    await stage.enter()
    await stage.say({"message": "one"})
    await stage.store.create_room(stage.room, EPOCH + 1)
    assert await stage.store.room(stage.room) == Room(stage.room, EPOCH, head=1)


async def test_many_rooms_in_one_read(stage: StoreStage) -> None:
    """A hundred rooms at once; those that don't exist are left out, those named twice come once."""
    await stage.open_room()
    missing = [f"{stage.room}-{it}" for it in range(98)]
    assert await stage.store.rooms([stage.room, *missing, stage.room]) == {stage.room: Room(stage.room, EPOCH)}
    assert await stage.store.rooms([]) == {}


async def test_a_standing_is_empty_until_recorded_and_then_replaced(stage: StoreStage) -> None:
    """Each record replaces the whole standing."""
    assert await stage.store.standing(stage.room, stage.user) == Standing()
    for standing in (Standing(True, NOW, NOW + 1), Standing(False, 0, NOW)):
        await stage.store.set_standing(stage.room, stage.user, standing)
        assert await stage.store.standing(stage.room, stage.user) == standing
    assert await stage.store.standing(stage.room, "another") == Standing()


# ---- sending


async def test_a_send_reads_nothing_where_nothing_is(stage: StoreStage) -> None:
    """No room, no membership, no record, no memory of the request."""
    read = await stage.store.sending(stage.room, stage.connection, stage.user, "request-1")
    assert read == Sending(room=None, membership=None, standing=Standing(), once=None)


async def test_a_send_reads_all_it_depends_on(stage: StoreStage) -> None:
    """The room, the connection's membership, the user's standing and the once-row, even an expired one."""
    await stage.open_room()
    await stage.enter()
    expired = stage.once(expires_at=NOW - 1)
    await stage.append(await stage.read_room(), stage.entry(1), once=expired)
    await stage.store.set_standing(stage.room, stage.user, Standing(muted_until=NOW))
    assert await stage.store.sending(stage.room, stage.connection, stage.user, "request-1") == Sending(
        room=Room(stage.room, EPOCH, head=1),
        membership=stage.membership(),
        standing=Standing(muted_until=NOW),
        once=expired,
    )


async def test_once_rows_belong_to_their_user(stage: StoreStage) -> None:
    """Another user's request with the same id is another request."""
    await stage.open_room()
    await stage.enter()
    await stage.append(await stage.read_room(), stage.entry(1))
    assert (await stage.store.sending(stage.room, stage.connection, "eve", "request-1")).once is None


# ---- append


async def test_an_append_raises_the_head_and_keeps_the_entry(stage: StoreStage) -> None:
    """Head, entry and once-row are there together, the body as it was."""
    await stage.open_room()
    await stage.enter()
    body = {"message": 'Größe \U0001f600 \u0000 "q"', "mentions": ["a", "b"], "replyTo": 2**53 - 1, "x": {"y": [None]}}
    entry = Entry(1, "chat", NOW, stage.user, body)
    await stage.append(await stage.read_room(), entry)
    assert (await stage.read_room()).head == 1
    assert await stage.store.entries(stage.room, EPOCH, 0, limit=10, max_bytes=ALL) == [entry]
    read = await stage.store.sending(stage.room, stage.connection, stage.user, "request-1")
    assert read.once == stage.once(1)


Twist = Callable[[StoreStage], Awaitable[None]]


async def _leave(stage: StoreStage) -> None:
    assert await stage.store.leave(stage.connection, stage.membership())


async def _rejoin(stage: StoreStage) -> None:
    await stage.store.join(stage.member(join_id="join-2"), stage.key, stage.membership(), NOW)


async def _ban(stage: StoreStage) -> None:
    await stage.store.set_standing(stage.room, stage.user, Standing(banned=True))


async def _mute(stage: StoreStage) -> None:
    await stage.store.set_standing(stage.room, stage.user, Standing(muted_until=NOW + 1))


async def _say(stage: StoreStage) -> None:
    await stage.append(await stage.read_room(), stage.entry(2), client_id="request-2")


@pytest.mark.parametrize("twist", [_leave, _rejoin, _ban, _mute, _say])
async def test_an_append_fails_when_the_world_has_moved(stage: StoreStage, twist: Twist) -> None:
    """The sender has left, joined anew, was banned or muted, or another entry came first: nothing is written."""
    await stage.open_room()
    await stage.enter()
    await stage.say({"message": "one"})
    read = await stage.read_room()
    await twist(stage)
    moved = await stage.read_room()
    with pytest.raises(Conflict):
        await stage.append(read, stage.entry(2, message="lost"), client_id="request-lost")
    assert await stage.read_room() == moved
    log = await stage.store.entries(stage.room, EPOCH, 0, limit=10, max_bytes=ALL)
    assert {"message": "lost"} not in [it.body for it in log]
    assert (await stage.store.sending(stage.room, stage.connection, stage.user, "request-lost")).once is None


@pytest.mark.parametrize(
    ("field", "value"),
    [("head", 0), ("head", 2), ("epoch", EPOCH + 1), ("epoch", EPOCH - 1), ("shards", 2), ("status", "deleted")],
)
async def test_an_append_fails_where_the_room_is_not_as_read(stage: StoreStage, field: str, value: object) -> None:
    """Head, epoch, shards and status are each compared."""
    await stage.open_room()
    await stage.enter()
    await stage.say({"message": "one"})
    room = await stage.read_room()
    with pytest.raises(Conflict):
        await stage.append(replace(room, **{field: value}), stage.entry(7), client_id="request-lost")  # type: ignore[arg-type]
    assert await stage.read_room() == room
    assert await stage.store.entries(stage.room, EPOCH, 1, limit=10, max_bytes=ALL) == []


async def test_an_append_never_overwrites_an_entry(stage: StoreStage) -> None:
    """An entry with the same seq is in the way, even where the head is as read."""
    await stage.open_room()
    await stage.enter()
    await stage.say({"message": "one"})
    with pytest.raises(Conflict):
        await stage.append(await stage.read_room(), stage.entry(1, message="other"), client_id="request-lost")
    (entry,) = await stage.store.entries(stage.room, EPOCH, 0, limit=10, max_bytes=ALL)
    assert entry.body == {"message": "one"}


async def test_a_request_is_carried_out_once(stage: StoreStage) -> None:
    """An unexpired once-row refuses a second entry; the first stays, with its once-row."""
    await stage.open_room()
    await stage.enter()
    await stage.append(await stage.read_room(), stage.entry(1))
    room = await stage.read_room()
    with pytest.raises(Conflict):
        await stage.append(room, stage.entry(2), once=stage.once(2), now=NOW + HOUR - 1)
    assert await stage.read_room() == room
    assert (await stage.store.sending(stage.room, stage.connection, stage.user, "request-1")).once == stage.once(1)


async def test_an_expired_once_row_is_replaced(stage: StoreStage) -> None:
    """From its `expires_at` on, the request is a new one."""
    await stage.open_room()
    await stage.enter()
    await stage.append(await stage.read_room(), stage.entry(1))
    later = stage.once(2, expires_at=NOW + 2 * HOUR)
    await stage.append(await stage.read_room(), stage.entry(2), once=later, now=NOW + HOUR)
    assert (await stage.store.sending(stage.room, stage.connection, stage.user, "request-1")).once == later


async def test_a_mute_that_is_over_and_a_kick_mark_let_a_member_write(stage: StoreStage) -> None:
    """A mute ends at its time; a kick mark speaks of joins alone."""
    await stage.open_room()
    await stage.enter()
    await stage.store.set_standing(stage.room, stage.user, Standing(muted_until=NOW, kicked_at=NOW))
    await stage.append(await stage.read_room(), stage.entry(1))
    assert (await stage.read_room()).head == 1


async def test_of_racing_appends_one_wins(racing_stage: StoreStage) -> None:
    """Twenty writers read the same head: one entry, nineteen conflicts."""
    stage = racing_stage
    room = await stage.open_room()
    await stage.enter()
    outcomes = await asyncio.gather(
        *(stage.append(room, stage.entry(1, writer=it), client_id=f"request-{it}") for it in range(20)),
        return_exceptions=True,
    )
    assert outcomes.count(None) == 1
    assert all(isinstance(it, Conflict) for it in outcomes if it is not None)
    (entry,) = await stage.store.entries(stage.room, EPOCH, 0, limit=10, max_bytes=ALL)
    assert entry.body == {"writer": outcomes.index(None)}
    assert (await stage.read_room()).head == 1


async def test_racing_writers_who_try_again_leave_no_gap(racing_stage: StoreStage) -> None:
    """Twenty writers that read again after a conflict fill seq 1 to 20, each with one entry."""
    stage = racing_stage
    await stage.open_room()
    await stage.enter()

    async def write(writer: int) -> None:
        while True:
            room = await stage.read_room()
            try:
                await stage.append(room, stage.entry(room.head + 1, writer=writer), client_id=f"request-{writer}")
            except Conflict:
                continue
            return

    await asyncio.gather(*map(write, range(20)))
    log = await stage.store.entries(stage.room, EPOCH, 0, limit=100, max_bytes=ALL)
    assert [it.seq for it in log] == list(range(1, 21))
    assert sorted(it.body["writer"] for it in log) == list(range(20))


async def test_the_same_request_ten_times_at_once_is_one_entry(racing_stage: StoreStage) -> None:
    """Each try reads again after a conflict, and stops when it finds the once-row."""
    stage = racing_stage
    await stage.open_room()
    await stage.enter()

    async def send(number: int) -> int:
        while True:
            read = await stage.store.sending(stage.room, stage.connection, stage.user, "request-1")
            if read.once:
                return read.once.seq
            assert read.room is not None
            seq = read.room.head + 1
            try:
                await stage.append(read.room, stage.entry(seq, number=number))
            except Conflict:
                continue
            return seq

    assert await asyncio.gather(*map(send, range(10))) == [1] * 10
    assert len(await stage.store.entries(stage.room, EPOCH, 0, limit=100, max_bytes=ALL)) == 1


async def test_a_ban_and_an_append_at_once_leave_no_entry_after_the_ban(racing_stage: StoreStage) -> None:
    """Whatever the order, an append that starts after the ban was recorded fails."""
    stage = racing_stage
    await stage.open_room()
    await stage.enter()

    async def ban() -> None:
        while True:
            try:
                await stage.store.set_standing(stage.room, stage.user, Standing(banned=True))
            except Unavailable:
                continue
            return

    async def write() -> None:
        room = await stage.read_room()
        await stage.append(room, stage.entry(room.head + 1), client_id=f"request-{room.head}")

    await asyncio.gather(write(), ban(), return_exceptions=True)
    with pytest.raises(Conflict):
        await write()


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
