"""Private messages: two inboxes, one transaction, and nobody else."""

import asyncio

import pytest

from tests.unit.world import World


async def private(world: World, name: str, target: str, message: str, **fields: object) -> dict[str, object]:
    reply = await world.ask(name, {"type": "private_message", "targetUserId": target, "message": message, **fields})
    data: dict[str, object] = reply["data"]
    return data


def heard(world: World, name: str) -> list[str]:
    return [it["data"]["message"] for it in world.events(name, "private_message")]


async def test_it_reaches_all_of_the_targets_connections_and_the_senders_others() -> None:
    """Two devices of each: three get it, the sending one has the ack, a stranger nothing."""
    world = World()
    for name in ("ada-1", "ada-2", "bob-1", "bob-2"):
        await world.connect(name, user=name[:3], dialect="recipe" if name.endswith("2") else "v1")
    await world.connect("cid")
    ack = await private(world, "ada-1", "bob", "psst", clientId="private-1")
    await world.pump()
    assert {it: heard(world, it) for it in world.callers} == {
        "ada-1": [],
        "ada-2": ["psst"],
        "bob-1": ["psst"],
        "bob-2": ["psst"],
        "cid": [],
    }
    assert (ack["roomId"], ack["seq"], ack["online"], ack["clientId"]) == ("inbox#ada", 1, True, "private-1")
    [event] = world.events("bob-1", "private_message")
    data = event["data"]
    assert (data["roomId"], data["seq"], data["senderId"], data["targetUserId"]) == ("inbox#bob", 1, "ada", "bob")


async def test_who_was_never_here_is_told_so() -> None:
    """The recipe's words, and nothing is stored."""
    world = World()
    await world.connect("ada")
    reply = await world.ask("ada", {"type": "private_message", "targetUserId": "nobody", "message": "x"})
    assert (reply["data"]["code"], reply["data"]["message"]) == ("USER_OFFLINE", "Target user not found or offline")
    inbox = await world.store.room("inbox#ada")
    assert inbox is not None
    assert inbox.head == 0


async def test_who_is_away_finds_it_later() -> None:
    """Known but gone: stored, `online` false; the next welcome's inbox head and history bring it."""
    world = World()
    await world.connect("ada")
    await world.connect("bob-1", user="bob")
    await world.disconnect("bob-1")
    assert (await private(world, "ada", "bob", "call me"))["online"] is False
    await world.connect("bob-2", user="bob")
    await world.pump()
    [welcome] = world.events("bob-2", "welcome")
    assert welcome["data"]["inbox"]["seq"] == 1
    page = await world.ask("bob-2", {"type": "history", "roomId": "inbox#bob", "after": 0})
    assert [it["data"]["message"] for it in page["data"]["entries"]] == ["call me"]


async def test_who_has_many_connections_is_here_by_any_of_them() -> None:
    """An inbox of several shards: its owner is online as long as one connection is left in any of them."""
    world = World(shard_limit=3)
    await world.connect("ada")
    devices = [f"bob-{it}" for it in range(6)]
    for name in devices:
        await world.connect(name, user="bob")
    inbox = await world.store.room("inbox#bob")
    assert inbox is not None
    assert inbox.shards > 1
    for name in devices:
        assert (await private(world, "ada", "bob", "psst"))["online"] is True
        await world.disconnect(name)
    assert (await private(world, "ada", "bob", "psst"))["online"] is False


async def test_nobody_reads_anothers_inbox() -> None:
    """An inbox is a room that only its owner's connections are in, and no request that writes can name it."""
    world = World()
    await world.connect("ada")
    await world.connect("bob")
    for request in (
        {"type": "history", "roomId": "inbox#ada"},
        {"type": "join_room", "roomId": "inbox#ada"},
        {"type": "chat", "roomId": "inbox#ada", "message": "x"},
        {"type": "chat", "roomId": "inbox#bob", "message": "x"},
        {"type": "leave_room", "roomId": "inbox#bob"},
        {"type": "members", "roomId": "inbox#ada"},
        {"type": "typing", "roomId": "inbox#ada"},
    ):
        reply = await world.ask("bob", request)
        assert reply["type"] == "error", request
        assert reply["data"]["code"] in {"NOT_A_MEMBER", "BAD_REQUEST"}
    pong = await world.ask("bob", {"type": "ping", "cursors": {"inbox#ada": 0, "inbox#bob": 0}})
    assert list(pong["data"]["heads"]) == ["inbox#bob"]


async def test_repeats_and_crossings() -> None:
    """The same clientId five times at once is one message; ten each way at once all arrive, in gapless order."""
    world = World()
    await world.connect("ada")
    await world.connect("bob")
    acks = await asyncio.gather(*(private(world, "ada", "bob", "once", clientId="private-once") for _ in range(5)))
    assert all(it == acks[0] for it in acks)

    async def insist(sender: str, target: str, number: int) -> None:
        while "code" in await private(world, sender, target, f"{number}", clientId=f"crossing-{number}"):
            pass

    await asyncio.gather(
        *(insist("ada", "bob", it) for it in range(10)), *(insist("bob", "ada", it) for it in range(10))
    )
    await world.pump()
    for name in ("ada", "bob"):
        inbox = await world.store.room(f"inbox#{name}")
        assert inbox is not None
        assert inbox.head == 21
        assert sorted(heard(world, name)) == sorted([f"{it}" for it in range(10)] + (["once"] if name == "bob" else []))


async def test_a_note_to_oneself_is_one_entry() -> None:
    """The sender's other device gets it."""
    world = World()
    await world.connect("ada-1", user="ada")
    await world.connect("ada-2", user="ada")
    await private(world, "ada-1", "ada", "milk")
    await world.pump()
    assert (heard(world, "ada-1"), heard(world, "ada-2")) == ([], ["milk"])


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"message": "x"}, "BAD_REQUEST"),
        ({"targetUserId": "bob"}, "BAD_REQUEST"),
        ({"targetUserId": "bob", "message": " "}, "EMPTY_MESSAGE"),
    ],
)
async def test_the_recipes_words(fields: dict[str, str], code: str) -> None:
    """What is missing is said as the recipe says it."""
    world = World()
    await world.connect("ada")
    reply = await world.ask("ada", {"type": "private_message", **fields})
    words = "Target user ID and message required for private messages"
    assert (reply["data"]["code"], reply["data"]["message"]) == (code, words)
