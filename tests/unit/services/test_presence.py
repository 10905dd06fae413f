"""How users are: one status over all devices, told to small rooms at most every three seconds; typing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from domain.errors import Unavailable
from domain.presence import PRESENCE_EVERY, RENEW_MS, SLACK_MS, Presence
from domain.protocol import Status
from domain.rooms import LEASE_MS, LIFETIME_MS, Once
from services.leases import sweep
from tests.unit.world import World


def told(world: World, name: str, room: str = "tea") -> list[dict[str, str]]:
    """What the client was told of statuses in the room, event by event: user → status."""
    events = [it["data"] for it in world.events(name, "presence") if it["data"]["roomId"] == room]
    return [{it["userId"]: it["status"] for it in event["members"]} for event in events]


async def say(world: World, name: str, status: Status, **fields: Any) -> dict[str, Any]:
    """Say how the user is on that connection; the reply."""
    return await world.ask(name, {"type": "presence", "status": status, **fields})


async def statuses(world: World, name: str, room: str = "tea") -> dict[str, str]:
    """User → status, as `members` has it."""
    reply = await world.ask(name, {"type": "members", "roomId": room})
    return {it["userId"]: it["status"] for it in reply["data"]["members"]}


async def settled(*names: str, **settings: Any) -> World:
    """They are in the room, and all are told."""
    world = World(**settings)
    for name in names:
        await world.connect(name, room="tea")
    await world.pump(seconds=4)
    for frames in world.sockets.received.values():
        frames.clear()
    return world


async def test_who_is_here_is_online() -> None:
    """By the connection alone; `members` says so, and those who were here before are told."""
    world = World()
    await world.connect("ada", room="tea")
    await world.pump(seconds=4)
    await world.connect("bob", room="tea")
    await world.pump(seconds=4)
    assert await statuses(world, "ada") == {"ada": "online", "bob": "online"}
    assert told(world, "ada") == [{"ada": "online"}, {"bob": "online"}]


async def test_the_others_hear_of_it() -> None:
    """The reply is the status that counts; the room is told once, within the window, of all who changed."""
    world = await settled("ada", "bob", "cid")
    reply = await say(world, "ada", "away", clientId="request-1")
    data = reply["data"]
    assert (reply["type"], data["clientId"], data["roomId"]) == ("presence", "request-1", "inbox#ada")
    assert [(it["userId"], it["status"]) for it in data["members"]] == [("ada", "away")]
    assert data["members"][0]["since"] == world.clock.now()
    world.clock.advance(1)
    await say(world, "bob", "busy")
    await world.pump()
    assert told(world, "cid") == []
    await world.pump(seconds=PRESENCE_EVERY)
    assert told(world, "cid") == [{"ada": "away", "bob": "busy"}]
    assert told(world, "ada", "inbox#ada") == [], "it has the reply"
    assert await statuses(world, "cid") == {"ada": "away", "bob": "busy", "cid": "online"}


async def test_the_most_engaged_device_counts() -> None:
    """A phone that is away and a laptop that is online: online. Both devices hear of what becomes of them together."""
    world = await settled("bob")
    await world.connect("phone", room="tea", user="ada")
    await world.connect("laptop", room="tea", user="ada")
    await world.pump(seconds=4)
    reply = await say(world, "phone", "away")
    assert [it["status"] for it in reply["data"]["members"]] == ["online"]
    reply = await say(world, "laptop", "busy")
    assert [it["status"] for it in reply["data"]["members"]] == ["busy"]
    await world.pump(seconds=4)
    assert told(world, "phone", "inbox#ada")[-1] == told(world, "laptop", "inbox#ada")[-1] == {"ada": "busy"}
    await say(world, "laptop", "away")
    assert (await statuses(world, "bob"))["ada"] == "away"
    await world.disconnect("laptop")
    await world.connect("watch", room="tea", user="ada")
    await world.pump(seconds=4)
    assert (await statuses(world, "bob"))["ada"] == "online"
    await world.disconnect("watch")
    await world.pump(seconds=4)
    assert told(world, "phone", "inbox#ada")[-1] == {"ada": "away"}
    assert told(world, "bob")[-1] == {"ada": "away"}


async def test_a_new_device_learns_that_its_user_is_busy() -> None:
    """Of itself it would think that they are online."""
    world = await settled("ada")
    await say(world, "ada", "busy")
    await world.connect("phone", room="tea", user="ada")
    await world.pump()
    assert [it["type"] for it in world.events("phone")] == ["welcome", "user_joined", "presence"]
    assert told(world, "phone", "inbox#ada") == [{"ada": "busy"}]


async def test_who_goes_is_offline() -> None:
    """When the last device goes, and not before."""
    world = await settled("bob")
    for name in ("phone", "laptop"):
        await world.connect(name, room="tea", user="ada")
    await world.pump(seconds=4)
    await world.disconnect("phone")
    await world.pump(seconds=4)
    assert told(world, "bob") == [{"ada": "online"}]
    await world.disconnect("laptop")
    await world.pump(seconds=4)
    assert told(world, "bob")[1:] == [{"ada": "offline"}]


async def test_a_large_room_is_told_nothing() -> None:
    """Beyond `roster_limit` members who is how is for who asks."""
    world = await settled("ada", "bob", "cid", roster_limit=2)
    await say(world, "ada", "busy")
    await world.pump(seconds=4)
    assert told(world, "bob") == []
    assert (await statuses(world, "bob"))["ada"] == "busy"


async def test_a_room_that_has_grown_meanwhile_is_told_nothing() -> None:
    """Between the change and the window's end."""
    world = await settled("ada", "bob", roster_limit=2)
    await say(world, "ada", "busy")
    await world.connect("cid", room="tea")
    await world.pump(seconds=4)
    assert told(world, "bob") == []


async def crowd(number: int) -> tuple[World, list[str]]:
    """So many clients in rooms of fifty, who have heard of one another."""
    world = World(seed=2)
    names = [f"c{it}" for it in range(number)]
    for it, name in enumerate(names):
        await world.connect(name, room=f"room-{it // 50}")
    await world.pump(seconds=4)
    return world, names


CROWDS = pytest.mark.parametrize("clients", [100, pytest.param(1_000, marks=pytest.mark.slow)])


@CROWDS
async def test_who_vanishes_is_offline_within_the_lease(clients: int) -> None:
    """No close comes for any of them: the ticks find them, and their rooms, and their rows."""
    world, names = await crowd(clients)
    began = world.clock.now()
    assert {it.status for it in (await world.statuses.presences(names)).values()} == {"online"}
    for name in names:
        world.sockets.drop(name)
    for _ in range(LEASE_MS // 60_000 + 2):
        world.clock.advance(60)
        await sweep(world.ports, world.sockets)
    rows = await world.statuses.presences(names)
    assert {it.status for it in rows.values()} == {"offline"}
    latest = max(it.since for it in rows.values()) - began
    print(f"{clients} clients: the last was offline {latest / 1000:.0f} s after the sockets were lost")
    assert latest <= LEASE_MS + 60_000


@CROWDS
async def test_who_flaps_costs_a_post_for_each_member_and_window(clients: int) -> None:
    """Rooms of fifty for a minute, everybody away and back every six seconds: at most one post in three seconds for
    each member, and one for the window that was open when it began."""
    world, names = await crowd(clients)
    before = world.counts["PostsDelivered"]
    for second in range(60):
        for number, name in enumerate(names):
            if number % 6 == second % 6:
                await say(world, name, "away" if second % 12 < 6 else "online")
        await world.pump(seconds=1)
    posts = world.counts["PostsDelivered"] - before
    bound = clients * (60 // PRESENCE_EVERY + 1)
    print(f"{posts} posts in a minute, at most {bound}; one for each change and member would be {10 * clients * 50}")
    assert clients * 10 < posts <= bound
    await world.pump(seconds=4)
    here = await world.statuses.presences(names)
    heard: dict[str, str] = {}
    for event in told(world, "c0", "room-0"):
        heard |= event
    assert heard == {it: here[it].status for it in names[:50]}


# ------------------------------------------------------------------------------------------------ what goes wrong


async def test_a_request_is_carried_out_once() -> None:
    """A repeat says how things are, and sets nothing; another content under its id is refused."""
    world = await settled("ada")
    await say(world, "ada", "busy", clientId="request-1")
    await say(world, "ada", "away", clientId="request-2")
    reply = await say(world, "ada", "busy", clientId="request-1")
    assert [it["status"] for it in reply["data"]["members"]] == ["away"]
    refused = await say(world, "ada", "online", clientId="request-1")
    assert refused["data"]["code"] == "BAD_REQUEST"
    assert await statuses(world, "ada") == {"ada": "away"}


async def test_a_request_that_died_between_its_steps_is_finished_by_its_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection says it already; the user's row follows."""
    world = await settled("ada")
    record = world.statuses.record

    async def dies(presence: object) -> None:
        raise Unavailable("throttled")

    monkeypatch.setattr(world.statuses, "record", dies)
    assert (await say(world, "ada", "busy", clientId="request-1"))["data"]["code"] == "INTERNAL"
    monkeypatch.setattr(world.statuses, "record", record)
    reply = await say(world, "ada", "busy", clientId="request-1")
    assert [it["status"] for it in reply["data"]["members"]] == ["busy"]


async def test_bad_requests_name_the_field() -> None:
    """And change nothing."""
    world = await settled("ada")
    for request, words in (
        ({"type": "presence"}, "`status` is missing"),
        ({"type": "presence", "status": "asleep"}, "`status`: Invalid enum value 'asleep'"),
        ({"type": "presence", "status": "offline"}, "`status`: Invalid enum value 'offline'"),
        ({"type": "presence", "status": "away", "roomId": "tea"}, "Object contains unknown field `roomId`"),
    ):
        refused = await world.ask("ada", request)
        assert (refused["data"]["code"], refused["data"]["message"]) == ("BAD_REQUEST", words)
    assert await statuses(world, "ada") == {"ada": "online"}


async def test_a_connection_that_has_ended_has_no_status() -> None:
    """Its request came late."""
    world = await settled("ada", "bob")
    await world.disconnect("ada")
    assert (await say(world, "ada", "busy"))["data"]["code"] == "FORBIDDEN"


async def test_many_devices_at_once_come_to_one_status() -> None:
    """Twenty say something at the same time: the row is what all of them come to, after two tries of each."""
    world = await settled("bob")
    for number in range(20):
        await world.connect(f"d{number}", room="den", user="ada")
    await world.pump()
    await asyncio.gather(*(say(world, f"d{it}", "busy" if it == 7 else "away") for it in range(20)))
    [row] = (await world.statuses.presences(["ada"])).values()
    assert row.status == "busy"
    await asyncio.gather(*(say(world, f"d{it}", "away") for it in range(20)))
    [row] = (await world.statuses.presences(["ada"])).values()
    assert row.status == "away"


async def test_an_older_work_out_writes_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    """It saw the user busy, and was held up; the newer finds the row as it is, and has to write it all the same."""
    world = await settled("ada")
    [membership] = [it for it in (await world.store.session("ada")).memberships if it.room == "inbox#ada"]
    once = Once("", "", (), world.clock.now() + 1)
    record, go_on, held = world.statuses.record, asyncio.Event(), asyncio.Event()

    async def held_up(presence: Presence) -> None:
        monkeypatch.setattr(world.statuses, "record", record)
        held.set()
        await go_on.wait()
        await record(presence)

    monkeypatch.setattr(world.statuses, "record", held_up)
    await world.statuses.set_status("ada", membership, "busy", "request-1", once, world.clock.now())
    older = asyncio.create_task(world.ports.roster.work_out("ada"))
    await held.wait()
    await world.statuses.set_status("ada", membership, "online", "request-2", once, world.clock.now())
    assert (await world.ports.roster.work_out("ada")).status == "online"
    go_on.set()
    assert (await older).status == "online"
    assert await statuses(world, "ada") == {"ada": "online"}


async def test_an_end_that_died_before_the_work_out_is_finished_by_the_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rooms that it has not left yet say whose connection it was."""
    world = await settled("ada", "bob")
    with monkeypatch.context() as patch:

        async def dies(presence: object) -> None:
            raise Unavailable("throttled")

        patch.setattr(world.statuses, "record", dies)
        with pytest.raises(Unavailable):
            await world.disconnect("ada")
    await sweep(world.ports, world.sockets)
    for _ in range(LEASE_MS // 60_000 + 1):
        world.clock.advance(60)
        await world.ask("bob", {"type": "ping"})
        await sweep(world.ports, world.sockets)
    assert await statuses(world, "bob") == {"bob": "online"}
    await world.pump(seconds=4)
    assert told(world, "bob")[-1] == {"ada": "offline"}


async def test_a_row_that_nobody_renews_is_offline() -> None:
    """Whoever was to work it out has died for good: a lease later, and a while, it says so by itself."""
    world = await settled("ada", "bob")
    world.clock.advance((LEASE_MS + SLACK_MS) / 1000 - 5)
    assert (await statuses(world, "bob"))["ada"] == "online"
    world.clock.advance(10)
    assert (await statuses(world, "bob"))["ada"] == "offline"


async def test_a_ping_renews_the_row_and_heals_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not each: when less than half is left, or none was ever written."""
    world = World()
    await world.connect("ada", room="tea")
    await world.connect("bob", room="tea")
    await world.pump(seconds=4)
    world.statuses._presences.pop("ada")
    await world.ask("ada", {"type": "ping"})
    assert (await statuses(world, "bob"))["ada"] == "online"
    first = world.statuses._presences["ada"]
    world.clock.advance((LEASE_MS + SLACK_MS - RENEW_MS) / 1000 - 1)
    await world.ask("ada", {"type": "ping"})
    assert world.statuses._presences["ada"] == first
    world.clock.advance(2)
    await world.ask("ada", {"type": "ping"})
    renewed = world.statuses._presences["ada"]
    assert (renewed.until - first.until, renewed.since) == (LEASE_MS + SLACK_MS - RENEW_MS + 1_000, first.since)


async def test_the_recipes_client_need_not_ping() -> None:
    """It is online as long as its connection lasts."""
    world = World()
    await world.connect("ada", room="tea", dialect="recipe")
    await world.pump(seconds=4)
    world.clock.advance(LIFETIME_MS / 1000 - 10)
    assert await statuses(world, "ada") == {"ada": "online"}


async def test_a_lost_job_is_made_up_for_by_the_next_change() -> None:
    """Whoever changes when nobody has come for ten seconds calls again."""
    world = await settled("ada", "bob")
    announce = world.queue.announce

    async def lose(job: object, delay: int = 0) -> None:
        pass

    world.queue.announce = lose  # type: ignore[method-assign]
    await say(world, "ada", "busy")
    world.queue.announce = announce  # type: ignore[method-assign]
    world.clock.advance(5)
    await say(world, "bob", "away")
    await world.pump(seconds=4)
    assert told(world, "bob") == []
    world.clock.advance(2)
    await say(world, "bob", "online")
    await world.pump(seconds=4)
    assert told(world, "bob") == [{"ada": "busy", "bob": "online"}]


# ------------------------------------------------------------------------------------------------ typing


async def type_in(world: World, name: str, room: str = "tea") -> str | None:
    """The error's code, if there is one."""
    reply = await world.ask(name, {"type": "typing", "roomId": room})
    await world.pump()
    return reply["data"]["code"] if reply else None


async def test_typing_is_told_once_in_three_seconds() -> None:
    """However many devices and rooms; what is too often is dropped without a word."""
    world = await settled("ada", "bob")
    await world.connect("phone", room="tea", user="ada")
    await world.pump()
    for _ in range(5):
        assert await type_in(world, "ada") is None
        assert await type_in(world, "phone") is None
    assert len(world.events("bob", "typing")) == 1
    world.clock.advance(2.999)
    await type_in(world, "ada")
    assert len(world.events("bob", "typing")) == 1
    world.clock.advance(0.001)
    await type_in(world, "ada")
    assert len(world.events("bob", "typing")) == 2


async def test_typing_is_for_small_rooms() -> None:
    """In a large one it is dropped, and takes nothing from a small one."""
    world = await settled("ada", "bob", "cid", roster_limit=2)
    for name in ("ada", "bob"):
        await world.ask(name, {"type": "join_room", "roomId": "den"})
    assert await type_in(world, "ada") is None
    assert world.events("bob", "typing") == []
    assert await type_in(world, "ada", "den") is None
    assert [it["data"]["roomId"] for it in world.events("bob", "typing")] == ["den"]


async def test_typing_is_for_who_may_write() -> None:
    """Others are refused as a message would be; in a slow room who has to wait is not told of."""
    world = await settled("bob")
    await world.connect("root", room="tea", groups={"admin"})
    await world.connect("ada", room="tea")
    assert await type_in(world, "ada", "else") == "ROOM_NOT_FOUND"
    await world.ask("bob", {"type": "join_room", "roomId": "den"})
    assert await type_in(world, "ada", "den") == "NOT_A_MEMBER"
    await world.ask("root", {"type": "mute", "roomId": "tea", "userId": "ada"})
    assert await type_in(world, "ada") == "MUTED"
    await world.ask("root", {"type": "unmute", "roomId": "tea", "userId": "ada"})
    await world.ask("root", {"type": "update_room", "roomId": "tea", "slowMode": 60})
    await world.say("ada", "hello", "tea")
    assert await type_in(world, "ada") is None
    assert world.events("bob", "typing") == []
    world.clock.advance(60)
    assert await type_in(world, "ada") is None
    assert len(world.events("bob", "typing")) == 1
