"""RoomStore, second part: what a send reads, and what it appends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from copy import copy
from dataclasses import replace

import pytest

from domain.errors import Conflict, Unavailable
from domain.notices import Announcement
from domain.policy import Needs, Role
from domain.rooms import FOREVER, Append, Entry, Ring, Room, Sender, Sending, Standing, inbox_of
from tests.contract.stage import EPOCH, HOUR, NOW, StoreStage

pytestmark = pytest.mark.asyncio(loop_scope="session")

ALL = 1_000_000
"""More bytes than any log here holds."""


# ---- sending


async def test_a_send_reads_nothing_where_nothing_is(stage: StoreStage) -> None:
    """No room, no membership, no record, no memory of the request."""
    read = await stage.store.sending([stage.room], stage.connection, stage.user, "request-1")
    assert read == Sending(rooms={}, membership=None, standing=Standing(), once=None)


async def test_a_send_reads_all_it_depends_on(stage: StoreStage) -> None:
    """The rooms there are; of the first, membership and standing; and the once-row, even an expired one."""
    await stage.open_room()
    await stage.store.create_room(Room(stage.inbox.room, EPOCH + 1))
    await stage.enter()
    await stage.store.join(stage.member(join_id="join-2"), stage.inbox, None, stage.may_join(), NOW)
    expired = stage.once(expires_at=NOW - 1)
    await stage.append(await stage.read_room(), stage.entry(1), once=expired)
    await stage.store.set_standing(stage.room, stage.user, Standing(muted_until=NOW))
    rooms = [stage.room, "nowhere", stage.inbox.room]
    assert await stage.store.sending(rooms, stage.connection, stage.user, "request-1") == Sending(
        rooms={
            stage.room: Room(stage.room, EPOCH, head=1, messages=1),
            stage.inbox.room: Room(stage.inbox.room, EPOCH + 1),
        },
        membership=stage.membership(),
        standing=Standing(muted_until=NOW),
        once=expired,
    )


async def test_a_once_row_keeps_whom_it_announced(stage: StoreStage) -> None:
    """So that a repeat announces the same."""
    await stage.open_room()
    await stage.enter()
    said = Announcement("mention", stage.room, EPOCH, 1, NOW, stage.user, "Ada Löwe", ["bob", "cid"])
    once = stage.once(1, announcement=said)
    await stage.append(await stage.read_room(), stage.entry(1), once=once)
    assert (await stage.store.sending([stage.room], stage.connection, stage.user, "request-1")).once == once


async def test_once_rows_belong_to_their_user(stage: StoreStage) -> None:
    """Another user's request with the same id is another request."""
    await stage.open_room()
    await stage.enter()
    await stage.append(await stage.read_room(), stage.entry(1))
    assert (await stage.store.sending([stage.room], stage.connection, "eve", "request-1")).once is None


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
    read = await stage.store.sending([stage.room], stage.connection, stage.user, "request-1")
    assert read.once == stage.once(1)


Twist = Callable[[StoreStage], Awaitable[None]]


async def _leave(stage: StoreStage) -> None:
    assert await stage.store.leave(stage.connection, stage.membership())


async def _rejoin(stage: StoreStage) -> None:
    await stage.store.join(stage.member(join_id="join-2"), stage.key, stage.membership(), stage.may_join(), NOW)


async def _ban(stage: StoreStage) -> None:
    await stage.store.set_standing(stage.room, stage.user, Standing(banned_until=FOREVER))


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
    assert (await stage.store.sending([stage.room], stage.connection, stage.user, "request-lost")).once is None


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
    assert (await stage.store.sending([stage.room], stage.connection, stage.user, "request-1")).once == stage.once(1)


async def test_an_expired_once_row_is_replaced(stage: StoreStage) -> None:
    """From its `expires_at` on, the request is a new one."""
    await stage.open_room()
    await stage.enter()
    await stage.append(await stage.read_room(), stage.entry(1))
    later = stage.once(2, expires_at=NOW + 2 * HOUR)
    await stage.append(await stage.read_room(), stage.entry(2), once=later, now=NOW + HOUR)
    assert (await stage.store.sending([stage.room], stage.connection, stage.user, "request-1")).once == later


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
            read = await stage.store.sending([stage.room], stage.connection, stage.user, "request-1")
            if read.once:
                return read.once.rings[0].seq
            room = read.rooms[stage.room]
            seq = room.head + 1
            try:
                await stage.append(room, stage.entry(seq, number=number))
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
                await stage.store.set_standing(stage.room, stage.user, Standing(banned_until=FOREVER))
            except Unavailable:
                continue
            return

    async def write() -> None:
        room = await stage.read_room()
        await stage.append(room, stage.entry(room.head + 1), client_id=f"request-{room.head}")

    await asyncio.gather(write(), ban(), return_exceptions=True)
    with pytest.raises(Conflict):
        await write()


ROLES_CASES = [
    (frozenset({"member", "owner"}), True, None, True),
    (frozenset({"member", "owner"}), True, "guest", False),
    (frozenset({"member", "owner"}), False, None, False),
    (frozenset({"member", "owner"}), False, "owner", True),
    (frozenset({"guest", "member", "moderator", "owner"}), True, "guest", True),
    (frozenset({"guest", "member", "moderator", "owner"}), False, None, False),
]


@pytest.mark.parametrize(("roles", "without", "role", "fits"), ROLES_CASES)
async def test_an_append_needs_a_role(
    stage: StoreStage, roles: frozenset[Role], without: bool, role: Role | None, fits: bool
) -> None:
    """One of those, or none where none will do; a role that was taken is none."""
    await stage.open_room()
    await stage.enter()
    if role is None:
        await stage.store.set_standing(stage.room, stage.user, Standing(role="guest"))
    await stage.store.set_standing(stage.room, stage.user, Standing(role=role))
    needs = Needs(stage.room, stage.user, roles=roles, without=without)
    write = stage.store.append(
        [Append(await stage.read_room(), stage.entry(1))], Sender(stage.user, needs=needs), "r", stage.once(), NOW
    )
    with nullcontext() if fits else pytest.raises(Conflict):
        await write
    assert (await stage.read_room()).head == fits


async def test_an_append_without_a_membership_or_needs_asks_nothing_of_its_sender(stage: StoreStage) -> None:
    """A backend is no member of the rooms that it writes to."""
    await stage.open_room()
    await stage.store.set_standing(stage.room, "news", Standing(banned_until=FOREVER))
    await stage.store.append(
        [Append(await stage.read_room(), stage.entry(1))], Sender("news"), "request-1", stage.once(), NOW
    )
    assert (await stage.read_room()).head == 1
    assert (await stage.store.sending([stage.room], "none", "news", "request-1")).once == stage.once()


async def test_a_pause_counts_from_the_last_append_that_had_one(stage: StoreStage) -> None:
    """Too early: nothing is written; what is written is the time to count from."""
    await stage.open_room()
    await stage.enter()

    async def say(now: int, pause: int = 5_000) -> None:
        room = await stage.read_room()
        sender = replace(stage.sender(), needs=Needs(stage.room, stage.user, unmuted=True, pause=pause))
        entry = stage.entry(room.head + 1)
        await stage.store.append([Append(room, entry)], sender, f"request-{now}", stage.once(), now)

    await say(NOW)
    await say(NOW + 1, pause=0)
    with pytest.raises(Conflict):
        await say(NOW + 4_999)
    await say(NOW + 5_000)
    assert (await stage.store.standing(stage.room, stage.user)).spoke_at == NOW + 5_000
    assert (await stage.read_room()).head == 3


# ---- several rooms


async def _inboxes(stage: StoreStage) -> tuple[str, str]:
    """Ada's inbox, with her connection in it, and Bob's."""
    own, theirs = stage.inbox.room, inbox_of(f"bob-{stage.number}")
    for it in (own, theirs):
        await stage.store.create_room(Room(it, EPOCH))
    await stage.store.connect(stage.connected(), [(stage.member(), stage.inbox, None)], NOW)
    return own, theirs


def _private(stage: StoreStage, rooms: Sequence[Room], text: str) -> list[Append]:
    """The same message in each of the rooms; only in the first it names where it came from."""
    return [
        Append(it, replace(stage.entry(it.head + 1, message=text), origin=None if number else stage.connection))
        for number, it in enumerate(rooms)
    ]


async def test_an_append_to_two_rooms_is_one(stage: StoreStage) -> None:
    """Both heads rise, each by its own entry with its own origin; the once-row tells both rings."""
    own, theirs = await _inboxes(stage)
    sender = stage.membership(room=own)
    for number in (1, 2):
        read = await stage.store.sending([own, theirs], stage.connection, stage.user, f"request-{number}")
        assert read.membership == sender
        appends = _private(stage, [read.rooms[own], read.rooms[theirs]], f"{number}")
        once = stage.once(rings=[it.ring for it in appends])
        await stage.store.append(appends, stage.sender(sender), f"request-{number}", once, NOW)
    assert await stage.store.rooms([own, theirs]) == {
        own: Room(own, EPOCH, head=2),
        theirs: Room(theirs, EPOCH, head=2, messages=2),
    }
    logs = [await stage.store.entries(it, EPOCH, 0, limit=10, max_bytes=ALL) for it in (own, theirs)]
    assert [[(it.seq, it.body, it.origin) for it in log] for log in logs] == [
        [(it, {"message": f"{it}"}, origin) for it in (1, 2)] for origin in (stage.connection, None)
    ]
    found = await stage.store.sending([own], stage.connection, stage.user, "request-2")
    assert found.once == stage.once(rings=[Ring(it, EPOCH, 1, 2) for it in (own, theirs)])


@pytest.mark.parametrize("nth", [0, 1])
async def test_an_append_to_two_rooms_fails_where_one_is_not_as_read(stage: StoreStage, nth: int) -> None:
    """Then nothing is written to the other either."""
    own, theirs = await _inboxes(stage)
    read = await stage.store.rooms([own, theirs])
    rooms = [replace(read[it], head=number == nth) for number, it in enumerate((own, theirs))]
    appends = _private(stage, rooms, "lost")
    with pytest.raises(Conflict):
        await stage.store.append(appends, stage.sender(stage.membership(room=own)), "request-1", stage.once(), NOW)
    assert await stage.store.rooms([own, theirs]) == read
    for it in (own, theirs):
        assert await stage.store.entries(it, EPOCH, 0, limit=10, max_bytes=ALL) == []
    assert (await stage.store.sending([own], stage.connection, stage.user, "request-1")).once is None


async def test_it_is_the_sender_s_room_that_may_refuse_the_sender(stage: StoreStage) -> None:
    """The one that the membership is of; what another holds against the user is not asked."""
    own, theirs = await _inboxes(stage)
    await stage.store.set_standing(theirs, stage.user, Standing(banned_until=FOREVER))
    rooms = [Room(it, EPOCH) for it in (own, theirs)]
    write = (stage.sender(stage.membership(room=own)), "request-1", stage.once(), NOW)
    await stage.store.set_standing(own, stage.user, Standing(muted_until=NOW + 1))
    with pytest.raises(Conflict):
        await stage.store.append(_private(stage, rooms, "lost"), *write)
    await stage.store.set_standing(own, stage.user, Standing())
    await stage.store.append(_private(stage, rooms, "hello"), *write)
    assert [it.head for it in (await stage.store.rooms([own, theirs])).values()] == [1, 1]


async def test_private_messages_that_cross_both_arrive(racing_stage: StoreStage) -> None:
    """Ada to Bob and Bob to Ada, ten times at once, over the same two rooms the other way round: no deadlock."""
    ada = racing_stage
    bob = copy(ada)
    bob.user, bob.connection = f"bob-{ada.number}", f"{ada.connection}bob"
    bob.inbox = replace(ada.inbox, room=inbox_of(bob.user))
    for it in (ada, bob):
        await it.store.create_room(Room(it.inbox.room, EPOCH))
        await it.store.connect(it.connected(), [(it.member(), it.inbox, None)], NOW)

    async def send(number: int, sender: StoreStage, target: StoreStage) -> None:
        client_id = f"request-{number}"
        rooms = [sender.inbox.room, target.inbox.room]
        while True:
            read = await sender.store.sending(rooms, sender.connection, sender.user, client_id)
            appends = _private(sender, [read.rooms[it] for it in rooms], f"{sender.user} {number}")
            assert read.membership is not None
            once = sender.once(rings=[it.ring for it in appends])
            try:
                await sender.store.append(appends, sender.sender(read.membership), client_id, once, NOW)
            except Conflict:
                continue
            return

    async with asyncio.timeout(20):
        await asyncio.gather(*(send(it, *pair) for it in range(10) for pair in ((ada, bob), (bob, ada))))
    sent = {f"{user} {it}" for it in range(10) for user in (ada.user, bob.user)}
    for it in (ada, bob):
        log = await it.store.entries(it.inbox.room, EPOCH, 0, limit=100, max_bytes=ALL)
        assert [entry.seq for entry in log] == list(range(1, 21))
        assert {entry.body["message"] for entry in log} == sent
