"""Read marks: monotone over devices and repeats, told to whom they are for, and what is unread counted exactly."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from domain.marks import Mark
from domain.rooms import Append, Entry, Once, Room, Sender, ShardKey, inbox_of
from tests.unit.world import World


async def mark(world: World, name: str, seq: int, room: str = "general", **fields: Any) -> dict[str, Any]:
    """Mark a room read, expecting the reply's data."""
    reply = await world.ask(name, {"type": "read", "roomId": room, "seq": seq, **fields})
    assert reply["type"] == "read", reply
    data: dict[str, Any] = reply["data"]
    return data


async def listed(world: World, name: str, room: str = "general") -> tuple[int | None, int | None]:
    """(read, unread) of a room in the list."""
    reply = await world.ask(name, {"type": "room_list"})
    [row] = [it for it in reply["data"]["rooms"] if it["roomId"] == room]
    return row.get("read"), row.get("unread")


async def test_the_mark_that_stands_and_what_is_unread() -> None:
    """The reply says both; the list shows them once there is a mark, and counts on as others write."""
    world = World()
    await world.connect("ada")
    await world.connect("bob")
    for text in "abc":
        await world.say("bob", text)
    assert await listed(world, "ada") == (None, None)
    epoch = (await world.say("bob", "d"))["epoch"]
    reply = await mark(world, "ada", 2, clientId="mark-0001")
    now = world.clock.now()
    assert reply == {
        "clientId": "mark-0001",
        "roomId": "general",
        "userId": "ada",
        "epoch": epoch,
        "seq": 2,
        "unread": 2,
        "timestamp": now // 1000,
        "sentAt": now,
    }
    await world.say("bob", "e")
    assert await listed(world, "ada") == (2, 3)
    assert await listed(world, "bob") == (None, None)
    assert (await mark(world, "ada", 5))["unread"] == 0
    assert await listed(world, "ada") == (5, 0)


async def test_only_messages_are_unread() -> None:
    """Roles, mutes and changes of the room are entries, and nothing to read."""
    world = World()
    await world.connect("ada", groups=["admin"])
    await world.connect("bob")
    await world.ask("ada", {"type": "create_room", "roomId": "tea"})
    for name in ("ada", "bob"):
        await world.ask(name, {"type": "join_room", "roomId": "tea"})
    await world.say("ada", "one", "tea")
    await world.ask("ada", {"type": "set_role", "roomId": "tea", "userId": "bob", "role": "moderator"})
    await world.say("ada", "two", "tea")
    await world.ask("ada", {"type": "update_room", "roomId": "tea", "title": "Tea"})
    await world.ask("ada", {"type": "mute", "roomId": "tea", "userId": "bob", "seconds": 5})
    await world.say("ada", "three", "tea")
    room = await world.store.room("tea")
    assert room is not None
    assert (room.head, room.messages) == (6, 3)
    unread = [(await mark(world, "bob", seq, "tea"))["unread"] for seq in range(room.head + 1)]
    assert unread == [3, 2, 2, 1, 1, 1, 0]


async def test_marks_never_go_back() -> None:
    """Whoever says less is answered with what stands, and nobody is told; the same again is told again."""
    world = World()
    await world.connect("ada")
    await world.connect("desk", user="ada")
    await world.connect("bob")
    for text in "abcd":
        await world.say("bob", text)
    await mark(world, "ada", 3)
    await world.pump()
    heard = len(world.events("bob", "read"))
    assert (await mark(world, "desk", 1))["seq"] == 3
    assert (await mark(world, "desk", 0))["unread"] == 1
    await world.pump()
    assert len(world.events("bob", "read")) == heard == 1
    assert (await mark(world, "ada", 3))["seq"] == 3
    await world.pump()
    assert len(world.events("bob", "read")) == 2


async def test_devices_that_race() -> None:
    """In whatever order their marks come: the highest stands, and each was answered with one that is no lower."""
    world = World()
    devices = [f"device-{it}" for it in range(12)]
    for it in devices:
        await world.connect(it, user="ada")
    await world.connect("bob")
    for number in range(12):
        await world.say("bob", str(number))
    seqs = [5, 12, 1, 7, 3, 11, 2, 10, 4, 8, 6, 9]
    replies = await asyncio.gather(*(mark(world, it, seq) for it, seq in zip(devices, seqs, strict=True)))
    assert all(it["seq"] >= seq for it, seq in zip(replies, seqs, strict=True))
    assert all(it["unread"] == 12 - it["seq"] for it in replies)
    assert await listed(world, "device-3") == (12, 0)


async def test_what_is_said_while_a_mark_is_set_stays_unread() -> None:
    """The room's count of messages and its head are of one read."""
    world = World()
    await world.connect("ada")
    await world.connect("bob")

    async def chat() -> None:
        for number in range(30):
            await world.say("bob", str(number))

    async def follow() -> None:
        for _ in range(20):
            room = await world.store.room("general")
            assert room is not None
            await mark(world, "ada", room.head)

    await asyncio.gather(chat(), follow())
    stands = (await world.ports.marks.marks(["general"], "ada"))["general"]
    assert stands.nth == stands.seq
    assert await listed(world, "ada") == (stands.seq, 30 - stands.seq)


async def test_two_devices_have_the_same() -> None:
    """A private message and the mark of who has read it come to both; the next welcome says what is unread."""
    world = World()
    await world.connect("desk", user="ada")
    await world.connect("phone", user="ada")
    await world.connect("bob")
    for text in ("one", "two", "three"):
        await world.ask("bob", {"type": "private_message", "targetUserId": "ada", "message": text})
    await world.pump()
    assert [len(world.events(it, "private_message")) for it in ("desk", "phone")] == [3, 3]
    reply = await mark(world, "phone", 2, "inbox#ada")
    assert (reply["seq"], reply["unread"]) == (2, 1)
    await world.pump()
    [told] = world.events("desk", "read")
    assert told["data"] == {it: reply[it] for it in reply if it != "clientId"}
    assert world.events("phone", "read") == []
    assert world.events("bob", "read") == []  # nobody has a receipt of what is private
    await world.connect("tablet", user="ada")
    await world.pump()
    [welcome] = world.events("tablet", "welcome")
    assert welcome["data"]["inbox"] == {"epoch": reply["epoch"], "seq": 3, "read": 2, "unread": 1}


async def test_a_welcome_says_what_came_while_nobody_was_there() -> None:
    """What one wrote oneself is in the inbox, too, and no news."""
    world = World()
    for name in ("ada", "bob"):
        await world.connect(name)
    await world.ask("ada", {"type": "private_message", "targetUserId": "bob", "message": "mine"})
    await world.disconnect("ada")
    for text in ("one", "two"):
        await world.ask("bob", {"type": "private_message", "targetUserId": "ada", "message": text})
    await world.connect("ada2", user="ada")
    await world.pump()
    [welcome] = world.events("ada2", "welcome")
    inbox = welcome["data"]["inbox"]
    assert (inbox["seq"], inbox["read"], inbox["unread"]) == (3, 0, 2)
    assert (await mark(world, "ada2", 2, "inbox#ada"))["unread"] == 1


async def test_receipts_in_a_small_room() -> None:
    """All others are told, without what is unread; the user's own devices hear it by the inbox, with that."""
    world = World(roster_limit=3)
    await world.connect("ada")
    await world.connect("bob")
    await world.connect("phone", room="elsewhere", user="ada")
    await world.say("bob", "hello")
    await mark(world, "ada", 1)
    await world.pump()
    [receipt] = world.events("bob", "read")
    assert (receipt["data"]["userId"], receipt["data"]["roomId"], receipt["data"]["seq"]) == ("ada", "general", 1)
    assert "unread" not in receipt["data"]
    [own] = world.events("phone", "read")
    assert own["data"]["unread"] == 0
    assert world.events("ada", "read") == []


@pytest.mark.parametrize("shard_limit", [1_000, 4])
async def test_no_receipts_in_a_large_room(shard_limit: int) -> None:
    """Of more members than `roster_limit`, or several shards; the user's other devices are told all the same."""
    world = World(roster_limit=3, shard_limit=shard_limit)
    for name in ("ada", "bob", "cid", "dan", "eve"):
        await world.connect(name)
    await world.connect("phone", room="elsewhere", user="ada")
    await world.say("bob", "hello")
    await mark(world, "ada", 1)
    await world.pump()
    assert [it for it in ("ada", "bob", "cid", "dan", "eve") if world.events(it, "read")] == []
    assert len(world.events("phone", "read")) == 1


async def test_every_shard_of_the_inbox_is_told() -> None:
    """A user with so many devices that their inbox has grown."""
    world = World(shard_limit=4)
    devices = [f"device-{it}" for it in range(12)]
    for it in devices:
        await world.connect(it, room="general" if it == "device-0" else "elsewhere", user="ada")
    inbox = await world.store.room(inbox_of("ada"))
    assert inbox is not None
    assert inbox.shards > 1
    await world.say("device-0", "x")
    await mark(world, "device-0", 1)
    await world.pump()
    assert [len(world.events(it, "read")) for it in devices[1:]] == [1] * 11


@pytest.mark.parametrize(
    ("request_fields", "words"),
    [
        ({"seq": 1}, "`roomId` is missing"),
        ({"roomId": "general"}, "`seq` is missing"),
        ({"roomId": "general", "seq": -1}, "`seq`"),
        ({"roomId": "general", "seq": 1.5}, "`seq`"),
        ({"roomId": "general", "seq": "1"}, "`seq`"),
        ({"roomId": "general", "seq": 2}, "`seq`: The room's last entry is number 1"),
        ({"roomId": "general", "seq": 2**53}, "`seq`"),
        ({"roomId": "general", "seq": 1, "epoch": 7}, "`epoch`"),
        ({"roomId": "a#b", "seq": 1}, "`roomId`"),
        ({"roomId": "general", "seq": 1, "all": True}, "all"),
    ],
)
async def test_what_is_wrong_with_a_request(request_fields: dict[str, Any], words: str) -> None:
    """One error that names the field; nothing is marked, nobody is told."""
    world = World()
    await world.connect("ada")
    await world.connect("bob")
    await world.say("bob", "one")
    await world.pump()
    reply = await world.ask("ada", {"type": "read", "clientId": "mark-0001", **request_fields})
    assert (reply["data"]["code"], reply["data"]["clientId"]) == ("BAD_REQUEST", "mark-0001")
    assert words in reply["data"]["message"]
    await world.pump()
    assert world.events("bob", "read") == []
    assert await world.ports.marks.marks(["general", inbox_of("ada")], "ada") == {}


@pytest.mark.parametrize(
    ("room", "code"),
    [("tea", "NOT_A_MEMBER"), ("nowhere", "ROOM_NOT_FOUND"), ("inbox#bob", "NOT_A_MEMBER"), ("den", "ROOM_NOT_FOUND")],
)
async def test_only_members_mark(room: str, code: str) -> None:
    """And nobody another's inbox; a hidden room is not there for strangers."""
    world = World()
    await world.connect("ada")
    await world.connect("bob", room="tea")
    await world.ask("bob", {"type": "create_room", "roomId": "den", "visibility": "hidden"})
    await world.say("bob", "x", "tea")
    for request in ({"seq": 0}, {"seq": 9}):
        reply = await world.ask("ada", {"type": "read", "roomId": room, **request})
        assert reply["data"]["code"] == code
    await world.ask("ada", {"type": "join_room", "roomId": "tea"})
    await mark(world, "ada", 1, "tea")
    await world.ask("ada", {"type": "leave_room", "roomId": "tea"})
    assert (await world.ask("ada", {"type": "read", "roomId": "tea", "seq": 1}))["data"]["code"] == "NOT_A_MEMBER"


async def test_a_mark_belongs_to_one_life_of_its_room() -> None:
    """Made anew, the room has none; the old life can't be marked any more."""
    world = World()
    await world.connect("ada")
    old = (await world.ask("ada", {"type": "create_room", "roomId": "tea"}))["data"]["epoch"]
    await world.ask("ada", {"type": "join_room", "roomId": "tea"})
    await world.say("ada", "x", "tea")
    await mark(world, "ada", 1, "tea", epoch=old)
    await world.ask("ada", {"type": "delete_room", "roomId": "tea"})
    gone = await world.ask("ada", {"type": "read", "roomId": "tea", "seq": 2})
    assert gone["data"]["code"] == "ROOM_NOT_FOUND"
    await world.ask("ada", {"type": "create_room", "roomId": "tea"})
    assert await listed(world, "ada", "tea") == (None, None)
    await world.ask("ada", {"type": "join_room", "roomId": "tea"})
    await world.say("ada", "y", "tea")
    late = await world.ask("ada", {"type": "read", "roomId": "tea", "seq": 1, "epoch": old})
    assert late["data"]["code"] == "BAD_REQUEST"
    assert (await mark(world, "ada", 0, "tea"))["unread"] == 1


async def test_what_retention_has_taken_counts_as_read() -> None:
    """A mark within what is gone is one before the oldest entry that is there; a room that is all gone is all read."""
    world = World()
    await world.connect("ada")
    for text in "abcdef":
        await world.say("ada", text)
    room = await world.store.room("general")
    assert room is not None
    log = world.store._entries["general", room.epoch]
    for seq in (1, 2, 3):
        del log[seq]
    assert (await mark(world, "ada", 2))["unread"] == 3
    assert (await mark(world, "ada", 4))["unread"] == 2
    log.clear()
    assert (await mark(world, "ada", 5))["unread"] == 0


async def test_entries_from_before_messages_were_counted() -> None:
    """They count as read, and nothing goes below nothing."""
    world = World()
    await world.connect("ada")
    room = await world.store.room("general")
    assert room is not None
    entry = Entry(1, "chat", world.clock.now(), "ada", {"message": "old"})
    once = Once("", "", [], world.clock.now() + 1)
    await world.store.append([Append(room, entry)], Sender("ada"), "request-1", once, world.clock.now())
    world.store._rooms["general"] = Room("general", room.epoch, head=1)
    world.store._entries["general", room.epoch][1] = entry
    assert (await mark(world, "ada", 1))["unread"] == 0
    await world.say("ada", "new")
    assert await listed(world, "ada") == (1, 1)
    assert await world.ports.marks.marks(["general"], "ada") == {"general": Mark(room.epoch, 1, 0)}


async def test_a_muted_member_may_read() -> None:
    """It is no writing."""
    world = World()
    await world.connect("ada", groups=["admin"])
    await world.connect("bob")
    await world.ask("ada", {"type": "mute", "roomId": "general", "userId": "bob"})
    assert (await mark(world, "bob", 1))["unread"] == 0


async def test_what_a_mark_costs() -> None:
    """At the head of a small room: three reads and a write; within the log one read more."""
    world = World()
    await world.connect("ada")
    await world.say("ada", "one")
    await world.say("ada", "two")
    calls: list[str] = []
    for port in (world.store, world.ports.marks):
        for name in ("rooms", "session", "entries", "shards", "mark", "standing", "sending"):
            if hasattr(port, name):
                _count(port, name, calls)
    await mark(world, "ada", 2)
    assert sorted(calls) == ["mark", "rooms", "session", "shards"]
    calls.clear()
    await mark(world, "ada", 1)
    assert sorted(calls) == ["entries", "mark", "rooms", "session"]  # it does not stand, so nobody is told
    calls.clear()
    assert (await world.ask("ada", {"type": "read", "roomId": inbox_of("ada"), "seq": 0}))["type"] == "read"
    assert sorted(calls) == ["mark", "rooms"]


def _count(port: object, name: str, calls: list[str]) -> None:
    method = getattr(port, name)

    async def counted(*args: Any, **named: Any) -> Any:
        calls.append(name)
        return await method(*args, **named)

    setattr(port, name, counted)


async def test_an_inbox_counts_for_its_owner_alone() -> None:
    """What ada wrote to bob is a message in his inbox, and none in hers; to herself, none at all."""
    world = World()
    for name in ("ada", "bob"):
        await world.connect(name)
    await world.ask("ada", {"type": "private_message", "targetUserId": "bob", "message": "x"})
    await world.ask("ada", {"type": "private_message", "targetUserId": "ada", "message": "y"})
    rooms = await world.store.rooms([inbox_of("ada"), inbox_of("bob")])
    assert {it: (room.head, room.messages) for it, room in rooms.items()} == {"inbox#ada": (2, 0), "inbox#bob": (1, 1)}


async def test_a_mark_of_a_room_that_is_read_while_it_is_not_there() -> None:
    """Its rows are gone between two reads: nobody is told of anything."""
    world = World()
    await world.connect("ada")
    room = await world.store.room("general")
    assert room is not None
    assert await world.store.shards([ShardKey("general", room.epoch + 1, 0)]) == {}
    del world.store._shards[ShardKey("general", room.epoch, 0)]
    assert (await mark(world, "ada", 0))["unread"] == 0
