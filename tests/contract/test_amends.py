"""RoomStore, third part: what an append makes of earlier entries, and the rows beside the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from domain.errors import Conflict
from domain.policy import Needs
from domain.rooms import FOREVER, Append, Entry, Reaction, Room, Sender, Standing
from tests.contract.stage import EPOCH, NOW, DynamoStage, StoreStage

pytestmark = pytest.mark.asyncio(loop_scope="session")

ALL = 1_000_000
"""More bytes than any log here holds."""
EMOJI = "\N{FAMILY}\u200d~#\N{HEAVY BLACK HEART}\ufe0f"
"""With the marks that keys are made of."""


async def talking(stage: StoreStage, *texts: str) -> Room:
    """A room with its member, and what they have said there."""
    await stage.open_room()
    await stage.enter()
    await stage.say(*({"message": it} for it in texts))
    return await stage.read_room()


def next_entry(stage: StoreStage, read: Room) -> Entry:
    return stage.entry(read.head + 1, of=1)


async def log(stage: StoreStage) -> list[Entry]:
    return await stage.store.entries(stage.room, EPOCH, 0, limit=100, max_bytes=ALL)


# ---- entries that are amended


async def test_an_amended_entry_has_the_new_body_and_is_otherwise_as_it_was(stage: StoreStage) -> None:
    """Wherever it is read; the others are untouched."""
    read = await talking(stage, "one", "two", "three")
    two = replace((await log(stage))[1], body={"message": "zwei", "x": [1, None, "é"]}, beside={"edit": 4})
    await stage.change(Append(read, next_entry(stage, read), amends=[two]))
    one, amended, three, four = await log(stage)
    assert (one.body, amended, three.body, four.body) == ({"message": "one"}, two, {"message": "three"}, {"of": 1})
    assert await stage.store.entries_before(stage.room, EPOCH, 3, limit=1, max_bytes=ALL) == [two]
    assert await stage.store.entries_at(stage.room, EPOCH, [2]) == [two]


async def test_what_is_remembered_beside_a_body_stays_until_there_is_more(stage: StoreStage) -> None:
    """It comes with the entry, and an amendment that knows of none leaves it."""
    read = await talking(stage, "one")
    second = replace(next_entry(stage, read), beside={"twin": 7})
    await stage.change(Append(read, second))
    read = await stage.read_room()
    await stage.change(Append(read, next_entry(stage, read), amends=[replace(second, body={"of": 2}, beside={})]))
    assert await stage.store.entries_at(stage.room, EPOCH, [2]) == [replace(second, body={"of": 2})]


async def test_several_entries_of_several_rooms_are_amended_together(stage: StoreStage) -> None:
    """As both copies of a private message are, each with the edit before."""
    read = await talking(stage, "one", "two")
    empty = Room(f"{stage.room}-other", EPOCH)
    await stage.store.create_room(empty)
    first = stage.entry(1, message="eins")
    said = Append(empty, first)
    await stage.store.append([said], Sender(stage.user), "request-other", stage.once(), NOW)
    other = said.after
    amended = [replace(it, body={"message": f"{it.seq}"}) for it in await log(stage)]
    appends = [
        Append(read, next_entry(stage, read), amends=amended),
        Append(other, stage.entry(2, of=1), amends=[replace(first, body={})]),
    ]
    await stage.store.append(appends, stage.sender(), "request-both", stage.once(), NOW)
    assert [it.body for it in await log(stage)] == [{"message": "1"}, {"message": "2"}, {"of": 1}]
    assert await stage.store.entries_at(other.room, EPOCH, [1]) == [replace(first, body={})]


async def test_an_entry_that_is_gone_does_not_rise_again(stage: StoreStage) -> None:
    """Nothing is written at all."""
    read = await talking(stage, "one")
    gone = stage.entry(17, message="risen")
    reaction = Reaction(17, NOW, stage.user, EMOJI)
    with pytest.raises(Conflict):
        await stage.change(Append(read, next_entry(stage, read), amends=[gone], reaction=reaction, thread=17))
    assert await stage.read_room() == read
    assert await stage.store.entries_at(stage.room, EPOCH, [17, 2]) == []
    assert not await stage.store.has_reacted(stage.room, EPOCH, 17, stage.user, EMOJI)
    assert await stage.store.thread_after(stage.room, EPOCH, 17, 0, 10) == []


async def test_who_read_before_another_amended_has_to_read_again(stage: StoreStage) -> None:
    """The head guards the entry as well."""
    read = await talking(stage, "one")
    [one] = await log(stage)
    await stage.change(Append(read, next_entry(stage, read), amends=[replace(one, body={"message": "first"})]))
    with pytest.raises(Conflict):
        await stage.append(read, next_entry(stage, read), client_id="request-late")
    late = Append(read, next_entry(stage, read), amends=[replace(one, body={"message": "late"})])
    with pytest.raises(Conflict):
        await stage.store.append([late], stage.sender(), "request-late", stage.once(), NOW)
    assert (await log(stage))[0].body == {"message": "first"}


async def test_entries_are_read_by_their_seqs(stage: StoreStage) -> None:
    """In the order asked for, each once; those that are not there are left out."""
    await talking(stage, *(f"{it}" for it in range(1, 6)))
    found = await stage.store.entries_at(stage.room, EPOCH, [4, 2, 99, 4, 1])
    assert [it.body["message"] for it in found] == ["4", "2", "1"]
    assert await stage.store.entries_at(stage.room, EPOCH, []) == []
    assert await stage.store.entries_at(stage.room, EPOCH + 1, [1]) == []


# ---- an append of nothing


async def test_a_request_that_changes_nothing_is_remembered_all_the_same(stage: StoreStage) -> None:
    """Once; no room has moved."""
    read = await talking(stage, "one")
    await stage.store.append([], stage.sender(), "request-none", stage.once(9), NOW)
    sending = await stage.store.sending([stage.room], stage.connection, stage.user, "request-none")
    assert (sending.once, sending.rooms) == (stage.once(9), {stage.room: read})
    with pytest.raises(Conflict):
        await stage.store.append([], stage.sender(), "request-none", stage.once(10), NOW)


async def test_it_asks_for_what_any_other_does(stage: StoreStage) -> None:
    """Who was banned meanwhile has not done it."""
    await talking(stage, "one")
    await stage.store.set_standing(stage.room, stage.user, Standing(banned_until=FOREVER))
    sender = Sender(stage.user, needs=Needs(stage.room, stage.user))
    with pytest.raises(Conflict):
        await stage.store.append([], sender, "request-none", stage.once(), NOW)


# ---- reactions


async def test_a_reaction_stands_until_it_is_taken_back(stage: StoreStage) -> None:
    """Of this user, with this emoji, to this message of this life of the room; no entry of the log."""
    read = await talking(stage, "one")
    reaction = Reaction(1, NOW, stage.user, EMOJI)
    await stage.change(Append(read, next_entry(stage, read), reaction=reaction))
    asked = [
        (EPOCH, 1, stage.user, EMOJI),
        (EPOCH + 1, 1, stage.user, EMOJI),
        (EPOCH, 2, stage.user, EMOJI),
        (EPOCH, 1, "eve", EMOJI),
        (EPOCH, 1, stage.user, EMOJI[:1]),
    ]
    assert [await stage.store.has_reacted(stage.room, *it) for it in asked] == [True, False, False, False, False]
    assert [it.seq for it in await log(stage)] == [1, 2]
    assert [it.seq for it in await stage.store.entries_before(stage.room, EPOCH, 99, limit=9, max_bytes=ALL)] == [1, 2]
    read = await stage.read_room()
    await stage.change(Append(read, next_entry(stage, read), reaction=replace(reaction, given=False)))
    assert not await stage.store.has_reacted(stage.room, *asked[0])


async def test_a_reactions_row_goes_when_its_message_does(dynamo_stage: DynamoStage) -> None:
    """It holds nothing but that."""
    read = await talking(dynamo_stage, "one")
    ends_at = NOW + 86_400_000
    await dynamo_stage.change(
        Append(read, next_entry(dynamo_stage, read), reaction=Reaction(1, ends_at, dynamo_stage.user, EMOJI))
    )
    row = await dynamo_stage.row(
        "messages", f"{dynamo_stage.room}#{EPOCH}", f"~0000000000000001~{dynamo_stage.user}~{EMOJI}"
    )
    assert row == {"expiresAt": ends_at // 1000}


# ---- threads


async def test_a_thread_is_read_from_either_end(stage: StoreStage) -> None:
    """Of several threads each by itself, in the order of the log."""
    await talking(stage, "one", "two")
    for root in (1, 2, 1, 1, 2, 1):
        read = await stage.read_room()
        await stage.change(Append(read, next_entry(stage, read), thread=root))
    store, room = stage.store, stage.room

    async def after(root: int, seq: int, limit: int) -> Sequence[int]:
        return await store.thread_after(room, EPOCH, root, seq, limit)

    async def before(root: int, seq: int, limit: int) -> Sequence[int]:
        return await store.thread_before(room, EPOCH, root, seq, limit)

    assert (await after(1, 0, 10), await before(1, 2**53 - 1, 10)) == ([3, 5, 6, 8], [3, 5, 6, 8])
    assert (await after(1, 3, 2), await before(1, 8, 2)) == ([5, 6], [5, 6])
    assert (await after(2, 0, 10), await after(3, 0, 10)) == ([4, 7], [])
    assert (await after(1, 8, 5), await before(1, 3, 5), await before(1, 0, 5)) == ([], [], [])
    assert [it.seq for it in await log(stage)] == list(range(1, 9))
