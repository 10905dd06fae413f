"""Statuses: the guarantees of the port, on every implementation."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from domain.errors import Conflict, Unavailable
from domain.presence import CLAIM_MS, TYPING_EVERY_MS, Presence
from tests.contract.stage import EPOCH, HOUR, NOW, DynamoStage, StoreStage

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_user_who_was_never_here_has_the_empty_row(stage: StoreStage) -> None:
    """Beside those of others; each user once."""
    ada = Presence(stage.user, "busy", since=NOW, until=NOW + HOUR, version=1)
    await stage.statuses.record(ada)
    found = await stage.statuses.presences([stage.user, "nobody", stage.user])
    assert found == {stage.user: ada, "nobody": Presence("nobody")}


async def test_rows_of_many_users(stage: StoreStage) -> None:
    """A hundred are one read."""
    users = [f"{stage.user}-{it}" for it in range(100)]
    await asyncio.gather(*(stage.statuses.record(Presence(it, "away", NOW, NOW, 1)) for it in users))
    assert await stage.statuses.presences(users) == {it: Presence(it, "away", NOW, NOW, 1) for it in users}


async def test_a_row_is_written_over_the_one_that_was_read(stage: StoreStage) -> None:
    """By its version: an older one, the same, and one beyond the next write nothing."""
    online = Presence(stage.user, "online", NOW, NOW, 1)
    rows = [online, replace(online, status="away", version=2), replace(online, status="busy", version=3)]
    for row in rows:
        await stage.statuses.record(row)
    for version in (1, 2, 3, 5):
        with pytest.raises(Conflict):
            await stage.statuses.record(replace(rows[0], version=version))
    assert await stage.statuses.presences([stage.user]) == {stage.user: rows[-1]}


async def test_of_many_who_read_the_same_row_one_writes(racing_stage: StoreStage) -> None:
    """The others know that they did not."""

    async def record(number: int) -> bool:
        try:
            await racing_stage.statuses.record(Presence(racing_stage.user, "online", number, NOW, 1))
        except Conflict:
            return False
        return True

    assert sum(await asyncio.gather(*(record(it) for it in range(10)))) == 1


async def connected(stage: StoreStage) -> None:
    """The user is in the inbox."""
    await stage.store.connect(stage.connected(), [(stage.member(), stage.inbox, None)], NOW)


async def test_a_connection_says_how_its_user_is(stage: StoreStage) -> None:
    """The member row says it, and the request is remembered; nothing else changes."""
    await connected(stage)
    assert [it.status for it in await stage.store.members(stage.inbox)] == ["online"]
    inbox = stage.membership(room=stage.inbox.room)
    await stage.statuses.set_status(stage.connection, inbox, "away", "request-1", stage.once(), NOW)
    assert await stage.store.members(stage.inbox) == [stage.member(status="away")]
    sending = await stage.store.sending([stage.inbox.room], stage.connection, stage.user, "request-1")
    assert sending.once == stage.once()


async def test_a_status_that_is_lengthened_stays(stage: StoreStage) -> None:
    """A fresh token changes the end alone."""
    await connected(stage)
    inbox = stage.membership(room=stage.inbox.room)
    await stage.statuses.set_status(stage.connection, inbox, "busy", "request-1", stage.once(), NOW)
    await stage.store.lengthen_membership(stage.connection, inbox, NOW + 2 * HOUR + 1)
    [member] = await stage.store.members(stage.inbox)
    assert (member.status, member.expires_at) == ("busy", NOW + 2 * HOUR + 1)


async def test_a_connect_that_comes_twice_takes_no_status(stage: StoreStage) -> None:
    """Its first try was thought to have failed, and is carried out when the connection has said how its user is."""
    await connected(stage)
    inbox = stage.membership(room=stage.inbox.room)
    await stage.statuses.set_status(stage.connection, inbox, "busy", "request-1", stage.once(), NOW)
    await connected(stage)
    assert await stage.store.members(stage.inbox) == [stage.member(status="busy")]


async def test_a_status_is_set_once(stage: StoreStage) -> None:
    """A late repeat finds the once-row, unless it has expired; what has ended, or begun anew, is not touched."""
    await connected(stage)
    inbox, statuses = stage.membership(room=stage.inbox.room), stage.statuses
    await statuses.set_status(stage.connection, inbox, "busy", "request-1", stage.once(), NOW)
    await statuses.set_status(stage.connection, inbox, "away", "request-2", stage.once(), NOW)
    with pytest.raises(Conflict):
        await statuses.set_status(stage.connection, inbox, "busy", "request-1", stage.once(), NOW)
    with pytest.raises(Conflict):
        await statuses.set_status(
            stage.connection, replace(inbox, join_id="join-2"), "busy", "request-3", stage.once(), NOW
        )
    with pytest.raises(Conflict):
        await statuses.set_status("gone", inbox, "busy", "request-3", stage.once(), NOW)
    assert [it.status for it in await stage.store.members(stage.inbox)] == ["away"]
    assert (await stage.store.sending([stage.inbox.room], stage.connection, stage.user, "request-3")).once is None
    later = stage.once(expires_at=NOW + 2 * HOUR)
    await statuses.set_status(stage.connection, inbox, "busy", "request-1", later, NOW + HOUR)
    assert [it.status for it in await stage.store.members(stage.inbox)] == ["busy"]


async def test_the_first_who_is_noted_calls(stage: StoreStage) -> None:
    """The next one is the first again once they were taken; each epoch has its own."""
    statuses, room = stage.statuses, stage.room
    assert await statuses.take(room, EPOCH) == []
    assert await statuses.note(room, EPOCH, "bob", NOW) is True
    assert await statuses.note(room, EPOCH, "ada", NOW + 1) is False
    assert await statuses.note(room, EPOCH, "bob", NOW + CLAIM_MS - 1) is False
    assert await statuses.note(room, EPOCH + 1, "cid", NOW) is True
    assert await statuses.take(room, EPOCH) == ["ada", "bob"]
    assert await statuses.take(room, EPOCH) == []
    assert await statuses.note(room, EPOCH, "ada", NOW + 2) is True
    assert await statuses.take(room, EPOCH) == ["ada"]
    assert await statuses.take(room, EPOCH + 1) == ["cid"]


async def test_who_has_waited_too_long_is_called_for_again(stage: StoreStage) -> None:
    """By one; nobody who was noted before is forgotten."""
    statuses, room = stage.statuses, stage.room
    await statuses.note(room, EPOCH, "ada", NOW)
    assert await statuses.note(room, EPOCH, "bob", NOW + CLAIM_MS) is True
    assert await statuses.note(room, EPOCH, "cid", NOW + CLAIM_MS + 1) is False
    assert await statuses.take(room, EPOCH) == ["ada", "bob", "cid"]


async def test_of_many_at_once_one_calls_and_none_is_lost(racing_stage: StoreStage) -> None:
    """Whoever is noted after they were taken calls anew."""
    statuses, room = racing_stage.statuses, racing_stage.room
    users = [f"u{it}" for it in range(20)]
    taken: list[str] = []

    async def note(user: str) -> None:
        if await statuses.note(room, EPOCH, user, NOW):
            taken.extend(await statuses.take(room, EPOCH))

    await asyncio.gather(*map(note, users))
    assert sorted({*taken, *await statuses.take(room, EPOCH)}) == sorted(users)


async def test_typing_is_claimed_once_in_a_while(stage: StoreStage) -> None:
    """For each user, to the millisecond."""
    claim, user = stage.statuses.claim_typing, stage.user
    assert await claim(user, NOW) is True
    assert await claim(user, NOW + TYPING_EVERY_MS - 1) is False
    assert await claim(f"{user}-2", NOW + 1) is True
    assert await claim(user, NOW + TYPING_EVERY_MS) is True


async def test_of_many_who_type_at_once_one_is_told(racing_stage: StoreStage) -> None:
    """On as many devices."""
    claims = [racing_stage.statuses.claim_typing(racing_stage.user, NOW) for _ in range(10)]
    assert sum(await asyncio.gather(*claims)) == 1


async def test_rows_go_by_themselves(dynamo_stage: DynamoStage) -> None:
    """Each has a time to live, beyond what it says."""
    stage = dynamo_stage
    await stage.statuses.record(Presence(stage.user, "online", NOW, NOW + HOUR, 1))
    await stage.statuses.note(stage.room, EPOCH, stage.user, NOW)
    await stage.statuses.claim_typing(stage.user, NOW)
    presence = await stage.row("rooms", stage.inbox.room, "presence")
    changed = await stage.row("rooms", stage.room, f"presence#{EPOCH}")
    typing = await stage.row("rooms", stage.inbox.room, "typing")
    assert presence["expiresAt"] == (NOW + 25 * HOUR) // 1000
    assert changed["expiresAt"] == (NOW + HOUR) // 1000
    assert typing["expiresAt"] == (NOW + 2 * TYPING_EVERY_MS) // 1000


async def test_a_held_member_row_is_a_conflict(racing_stage: StoreStage) -> None:
    """Ten requests at once on one connection: each is set once, or refused to be tried again."""
    await connected(racing_stage)
    inbox = racing_stage.membership(room=racing_stage.inbox.room)

    async def say(number: int) -> bool:
        try:
            await racing_stage.statuses.set_status(
                racing_stage.connection, inbox, "away", f"request-{number}", racing_stage.once(), NOW
            )
        except (Conflict, Unavailable):
            return False
        return True

    assert any(await asyncio.gather(*map(say, range(10))))
    assert [it.status for it in await racing_stage.store.members(racing_stage.inbox)] == ["away"]
