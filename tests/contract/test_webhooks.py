"""Hooks: kept and changed only as read, named by their room while they are told of it, on memory and both emulators."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from adapters.dynamodb import DynamoWebhooks
from adapters.memory import MemoryStore, MemoryWebhooks
from domain.errors import Conflict
from domain.ports import Webhooks
from domain.rooms import Append, Entry, Once, Room, Sender
from domain.webhooks import Hook, failed, new_secret
from tests.contract.stage import EPOCH, HOUR, NOW, DynamoStage, StoreStage

if TYPE_CHECKING:
    from tests.contract.stage import MemoryStage

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
def webhooks(stage: StoreStage) -> Webhooks:
    """On the tables of the stage."""
    return _webhooks(stage)


def _webhooks(stage: StoreStage | MemoryStage) -> Webhooks:
    if isinstance(stage, DynamoStage):
        return DynamoWebhooks(stage.client, stage.tables)
    assert isinstance(stage.store, MemoryStore)
    return MemoryWebhooks(stage.store)


async def _room(stage: StoreStage) -> Room:
    return await stage.store.create_room(Room(stage.room, EPOCH))


def _hook(stage: StoreStage, key: str = "a" * 16, **changes: object) -> Hook:
    hook = Hook(
        stage.room,
        key,
        EPOCH,
        "outgoing",
        "ci",
        new_secret(bytes(32)),
        NOW,
        "service#ops",
        url="https://example.org/ä?x=1",
        events=("chat", "reaction"),
        position=3,
    )
    return replace(hook, **changes)  # type: ignore[arg-type]  # the tests name its fields


async def test_what_is_put_is_there(stage: StoreStage, webhooks: Webhooks) -> None:
    """Every field of it, by id and in its room's list; its room names it."""
    room = await _room(stage)
    full = _hook(
        stage,
        previous=new_secret(b"x" * 32),
        previous_until=NOW + 1,
        failing_since=NOW,
        failures=2,
        retry_at=NOW + 5,
        problem="500",
    )
    await webhooks.put(room, None, full)
    assert await webhooks.hook(full.id) == full
    assert await webhooks.hooks(stage.room) == [full]
    assert (await stage.store.room(stage.room)) == replace(room, hooks=(full.key,))


async def test_one_that_is_not_there(stage: StoreStage, webhooks: Webhooks) -> None:
    """None; of a room without any, nothing."""
    assert await webhooks.hook(f"{stage.room}~{'a' * 16}") is None
    assert await webhooks.hooks(stage.room) == []
    with pytest.raises(Conflict):
        await webhooks.follow(_hook(stage))


async def test_incoming_and_disabled_ones_are_not_named(stage: StoreStage, webhooks: Webhooks) -> None:
    """Since nobody tells them of an entry."""
    room = await _room(stage)
    incoming = _hook(stage, "b" * 16, direction="incoming", url="", events=())
    disabled = _hook(stage, "c" * 16, disabled_at=NOW, cause="410")
    await webhooks.put(room, None, incoming)
    await webhooks.put(room, None, disabled)
    assert await webhooks.hooks(stage.room) == [incoming, disabled]
    assert await stage.store.room(stage.room) == room


async def test_a_change_needs_what_was_read(stage: StoreStage, webhooks: Webhooks) -> None:
    """Of two, the second has read an older version; so has who makes one that is there, or removes another's."""
    await webhooks.put(await _room(stage), None, hook := _hook(stage))
    room = await _room(stage)
    changed = replace(hook, disabled_at=NOW, cause="410", version=2)
    await webhooks.put(room, hook, changed)
    for read in (hook, None):
        with pytest.raises(Conflict):
            await webhooks.put(await _room(stage), read, replace(hook, version=2))
    with pytest.raises(Conflict):
        await webhooks.remove(await _room(stage), hook)
    assert await webhooks.hook(hook.id) == changed
    assert (await _room(stage)).hooks == ()
    await webhooks.remove(await _room(stage), changed)
    assert await webhooks.hooks(stage.room) == []


async def test_two_at_once_on_one_room(stage: StoreStage, webhooks: Webhooks) -> None:
    """The room's hooks are as they were read, or nothing is written: so both are named, and none is lost."""
    room = await _room(stage)
    first, second = _hook(stage), _hook(stage, "b" * 16)
    await webhooks.put(room, None, first)
    with pytest.raises(Conflict):
        await webhooks.put(room, None, second)
    assert await webhooks.hooks(stage.room) == [first]
    await webhooks.put(await _room(stage), None, second)
    assert (await _room(stage)).hooks == (first.key, second.key)
    await webhooks.remove(await _room(stage), first)
    assert (await _room(stage)).hooks == (second.key,)


async def test_a_room_of_another_life_is_left_as_it_is(stage: StoreStage, webhooks: Webhooks) -> None:
    """An old hook can be removed, and names nothing; one whose room's epoch was read wrong is not put."""
    room = await _room(stage)
    old = _hook(stage, epoch=EPOCH - 1)
    await webhooks.put(room, None, old)
    await webhooks.put(None, old, replace(old, version=2, cause="gone", disabled_at=NOW))
    assert (await _room(stage)).hooks == ()
    await webhooks.remove(room, replace(old, version=2))
    assert await webhooks.hooks(stage.room) == []
    elsewhere = _hook(stage, epoch=EPOCH + 1)
    with pytest.raises(Conflict):
        await webhooks.put(replace(room, epoch=EPOCH + 1), None, elsewhere)


async def test_where_it_stands(stage: StoreStage, webhooks: Webhooks) -> None:
    """The position never goes down, failures come and go, and a change of the settings leaves them as they are."""
    await webhooks.put(await _room(stage), None, hook := _hook(stage))
    await webhooks.follow(further := failed(replace(hook, position=7), "500", NOW, NOW + 9))
    assert await webhooks.hook(hook.id) == further
    with pytest.raises(Conflict):
        await webhooks.follow(replace(hook, position=6))
    # Whoever changes it has read it before it moved on.
    await webhooks.put(await _room(stage), hook, replace(hook, name="new", version=2))
    found = await webhooks.hook(hook.id)
    assert found is not None
    assert (found.position, found.name) == (7, "new")
    with pytest.raises(Conflict):
        await webhooks.follow(replace(further, position=8))
    await webhooks.follow(replace(found, position=7))
    await webhooks.put(await _room(stage), found, replace(found, position=2, version=3))
    moved = await webhooks.hook(hook.id)
    assert moved is not None
    assert moved.position == 2, "whoever names another position has it"


async def test_an_append_needs_the_hooks_as_read(stage: StoreStage, webhooks: Webhooks) -> None:
    """Or an entry would be stored that a hook made meanwhile is not told of; the ring of the next names it."""
    room = await _room(stage)
    await webhooks.put(room, None, hook := _hook(stage))

    async def append(read: Room, client_id: str) -> Append:
        appended = Append(read, Entry(read.head + 1, "chat", NOW, "bob", {"message": "x"}))
        once = Once("digest", "{}", [appended.ring], NOW + HOUR)
        await stage.store.append([appended], Sender("bob"), client_id, once, NOW)
        return appended

    with pytest.raises(Conflict):
        await append(room, f"first-{stage.room}")
    read = await _room(stage)
    appended = await append(read, f"second-{stage.room}")
    assert appended.ring.hooks == (hook.key,)
    sending = await stage.store.sending([stage.room], "none", "bob", f"second-{stage.room}")
    assert sending.once is not None
    assert sending.once.rings == [appended.ring]
    await webhooks.remove(await _room(stage), hook)
    with pytest.raises(Conflict):
        await append(replace(appended.after), f"third-{stage.room}")
    await append(await _room(stage), f"fourth-{stage.room}")


async def test_a_room_made_anew_has_none(stage: StoreStage, webhooks: Webhooks) -> None:
    """Its row is a new one."""
    room = await _room(stage)
    await webhooks.put(room, None, _hook(stage))
    read = await _room(stage)
    last = Append(read, Entry(1, "room_deleted", NOW, "bob", {}), deletes=True)
    await stage.store.append([last], Sender("bob"), f"end-{stage.room}", Once("d", "{}", [], NOW + HOUR), NOW)
    made = await stage.store.create_room(Room(stage.room, EPOCH + 1), replaces=last.after)
    assert (made.epoch, made.hooks) == (EPOCH + 1, ())
