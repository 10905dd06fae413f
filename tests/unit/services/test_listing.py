"""Which rooms there are, and who is in them."""

import pytest

from tests.unit.world import World


async def test_rooms_are_listed_by_id_with_their_counts() -> None:
    """Every room once over all pages, without inboxes; `activeUsers` counts connections."""
    world = World()
    for number in range(7):
        for other in range(number % 3 + 1):
            await world.connect(f"user-{number}-{other}", room=f"room-{number}")
    await world.say("user-2-0", "x", "room-2")
    listed = []
    cursor = None
    while True:
        request = {"type": "room_list", "limit": 3} | ({"cursor": cursor} if cursor else {})
        reply = await world.ask("user-0-0", request)
        assert len(reply["data"]["rooms"]) <= 3
        listed += reply["data"]["rooms"]
        cursor = reply["data"].get("cursor")
        if cursor is None:
            break
    assert [(it["roomId"], it["activeUsers"]) for it in listed] == [(f"room-{it}", it % 3 + 1) for it in range(7)]
    assert listed[2] == {
        "roomId": "room-2",
        "activeUsers": 3,
        "title": "room-2",
        "visibility": "public",
        "parent": "root",
        "head": 1,
    }
    other_parent = await world.ask("user-0-0", {"type": "room_list", "parent": "elsewhere"})
    assert other_parent["data"]["rooms"] == []


async def test_a_long_list_is_cut_to_a_frame() -> None:
    """A hundred rooms with names of 64 characters: every one once, no reply over 32 KB."""
    world = World()
    names = sorted(f"{it:03d}-" + "x" * 60 for it in range(120))
    await world.connect("ada", room=names[0])
    for name in names[1:]:
        await world.ask("ada", {"type": "join_room", "roomId": name})
        await world.ask("ada", {"type": "leave_room", "roomId": name})
    listed: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        reply = await world.ask("ada", {"type": "room_list", **cursor})
        listed += [it["roomId"] for it in reply["data"]["rooms"]]
        if "cursor" not in reply["data"]:
            break
        cursor = {"cursor": reply["data"]["cursor"]}
    assert listed == names


async def test_members_are_listed_for_members() -> None:
    """Each user once a page, by pages; who is not in the room may not ask."""
    world = World()
    for number in range(130):
        await world.connect(f"c{number:03d}", room="tea", user=f"user-{number // 2}")
    await world.connect("bob")
    users: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        reply = await world.ask("c000", {"type": "members", "roomId": "tea", **cursor})
        page = [it["userId"] for it in reply["data"]["members"]]
        assert len(page) == len(set(page)) <= 100
        users += page
        if "cursor" not in reply["data"]:
            break
        cursor = {"cursor": reply["data"]["cursor"]}
    assert set(users) == {f"user-{it}" for it in range(65)}
    assert (await world.ask("bob", {"type": "members", "roomId": "tea"}))["data"]["code"] == "NOT_A_MEMBER"


@pytest.mark.parametrize("cursor", ["x", "1", "9:", ":", "99999999999999999999:", "-1:", "٣:"])
async def test_a_made_up_cursor_is_refused(cursor: str) -> None:
    """One clear error."""
    world = World()
    await world.connect("ada", room="tea")
    reply = await world.ask("ada", {"type": "members", "roomId": "tea", "cursor": cursor})
    assert reply["data"]["code"] == "BAD_REQUEST"
    assert "cursor" in reply["data"]["message"]
