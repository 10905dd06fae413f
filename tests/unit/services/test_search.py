"""A search of a room: what history shows of it and no more, newest first, each message once over all pages."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.protocol import SEARCH_CHARACTERS
from domain.rooms import Entry
from services import search
from tests.unit.world import World

Page = dict[str, Any]


async def talking(*names: str) -> World:
    """Ada and the named are in `general`."""
    world = World()
    for it in ("ada", *names):
        await world.connect(it)
    return world


async def page(world: World, who: str, query: str, room: str = "general", **fields: Any) -> Page:
    """The data of the answer; of an error, too."""
    reply = await world.ask(who, {"type": "search", "roomId": room, "query": query, **fields})
    data: Page = reply["data"]
    return data


async def found(world: World, who: str, query: str, room: str = "general") -> list[str]:
    """The texts on all pages."""
    return [it["message"] for it in await everything(world, who, query, room)]


async def everything(world: World, who: str, query: str, room: str = "general", **fields: Any) -> list[dict[str, Any]]:
    hits: list[dict[str, Any]] = []
    cursor: dict[str, int] = {}
    while True:
        answered = await page(world, who, query, room, **cursor, **fields)
        hits += [it["data"] for it in answered["entries"]]
        if "next" not in answered:
            return hits
        assert answered["next"] < cursor.get("cursor", 10**9)
        cursor = {"cursor": answered["next"]}


async def test_messages_as_they_stand_now() -> None:
    """An edited one by its new words, a deleted one never, an answer in a thread like any; the newest first."""
    world = await talking("bob")
    for it in ("the red fox", "a red hen", "red herring", "blue"):
        await world.say("ada", it)
    await world.ask("bob", {"type": "chat", "roomId": "general", "message": "a RED answer", "replyTo": 1})
    about = {"roomId": "general"}
    await world.ask("ada", {"type": "edit_message", "seq": 2, "message": "a green hen", **about})
    await world.ask("ada", {"type": "edit_message", "seq": 4, "message": "was red", **about})
    await world.ask("ada", {"type": "delete_message", "seq": 3, **about})
    await world.ask("bob", {"type": "react", "seq": 1, "emoji": "red", **about})
    assert await found(world, "bob", "red") == ["a RED answer", "was red", "the red fox"]
    assert await found(world, "bob", "hen") == ["a green hen"]
    assert await found(world, "bob", "gre he") == ["a green hen"]
    assert await found(world, "bob", "herring") == []
    answered = await page(world, "bob", "fox")
    history = await world.ask("bob", {"type": "history", "roomId": "general", "before": 2})
    assert answered["entries"] == history["data"]["entries"]  # as history has it, its reaction and its thread, too


async def test_of_one_room_and_one_life_of_it() -> None:
    """What is said elsewhere, or was said in the room that had the name before, is not found."""
    world = World()
    await world.connect("ada")
    for room in ("den", "attic"):
        await world.ask("ada", {"type": "create_room", "roomId": room})
        await world.ask("ada", {"type": "join_room", "roomId": room})
        await world.say("ada", f"needle in {room}", room)
    assert await found(world, "ada", "needle", "den") == ["needle in den"]
    await world.ask("ada", {"type": "delete_room", "roomId": "den"})
    world.clock.advance(1)
    await world.ask("ada", {"type": "create_room", "roomId": "den"})
    await world.ask("ada", {"type": "join_room", "roomId": "den"})
    assert await found(world, "ada", "needle", "den") == []


async def test_private_messages_in_the_own_inbox() -> None:
    """Sent and received ones; another's inbox is closed, as it is to history."""
    world = await talking("bob")
    await world.ask("ada", {"type": "private_message", "targetUserId": "bob", "message": "psst, needle"})
    for who in ("ada", "bob"):
        assert await found(world, who, "needle", f"inbox#{who}") == ["psst, needle"]
    assert (await page(world, "bob", "needle", "inbox#ada"))["code"] == "NOT_A_MEMBER"
    assert await found(world, "bob", "needle") == []


@pytest.mark.parametrize("room", ["general", "den", "hidden", "nowhere", "inbox#ada", "audit#den", "audit#nowhere"])
@pytest.mark.parametrize("who", ["ada", "bob"])
async def test_who_may_search_is_who_may_read_history(room: str, who: str) -> None:
    """The same refusals in the same words."""
    world = await talking("bob")
    for name, visibility in (("den", "public"), ("hidden", "hidden")):
        await world.ask("ada", {"type": "create_room", "roomId": name, "visibility": visibility})
        await world.ask("ada", {"type": "join_room", "roomId": name})
    history = await world.ask(who, {"type": "history", "roomId": room})
    answered = await world.ask(who, {"type": "search", "roomId": room, "query": "x"})
    if history["type"] == "error":
        assert {**answered["data"], "request": "history"} == history["data"]
    elif room.startswith("audit#"):
        assert (answered["data"]["code"], who) == ("BAD_REQUEST", "ada")
    else:
        assert answered["type"] == "search"


async def test_what_has_ended_is_not_found() -> None:
    """Though its row is there; and what is behind it, is."""
    world = World()
    await world.connect("ada")
    await world.ask("ada", {"type": "create_room", "roomId": "den", "retention": 600})
    await world.ask("ada", {"type": "join_room", "roomId": "den"})
    await world.say("ada", "needle one", "den")
    world.clock.advance(400)
    await world.say("ada", "needle two", "den")
    assert await found(world, "ada", "needle", "den") == ["needle two", "needle one"]
    world.clock.advance(400)
    assert await found(world, "ada", "needle", "den") == ["needle two"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"query": ""}, "`query`: Expected `str` of length >= 1"),
        ({"query": "x" * (SEARCH_CHARACTERS + 1)}, f"`query`: Expected `str` of length <= {SEARCH_CHARACTERS}"),
        ({"query": "…"}, "`query`: there is no letter and no digit in it"),
        ({"query": 7}, "`query`: Expected `str`, got `int`"),
        ({"query": "x", "cursor": -1}, "`cursor`: Expected `int` >= 0"),
        ({"query": "x", "limit": 101}, "`limit`: Expected `int` <= 100"),
        ({}, "`query` is missing"),
    ],
)
async def test_a_bad_request_names_the_field(fields: dict[str, Any], words: str) -> None:
    """And nothing is read for it."""
    world = await talking()
    reply = await world.ask("ada", {"type": "search", "roomId": "general", **fields})
    assert (reply["type"], reply["data"]["code"], reply["data"]["message"]) == ("error", "BAD_REQUEST", words)


# ---- pages


async def test_a_page_reads_a_bounded_part_and_says_where_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where nothing was found in it; the store is asked once."""
    world = await talking()
    monkeypatch.setattr(search, "READ_ENTRIES", 4)
    await world.say("ada", "needle")
    for number in range(9):
        await world.say("ada", f"hay {number}")
    reads = count_reads(world)
    pages = [await page(world, "ada", "needle")]
    while "next" in pages[-1]:
        pages.append(await page(world, "ada", "needle", cursor=pages[-1]["next"]))
    assert [(len(it["entries"]), it.get("next")) for it in pages] == [(0, 7), (0, 3), (1, None)]
    assert reads == [4, 4, 2]


async def test_hits_that_fill_a_frame_go_on_the_next_page() -> None:
    """By their bytes, or by the limit."""
    world = await talking()
    for number in range(5):
        await world.say("ada", f"needle {number} " + "x" * 9_000)
    first = await page(world, "ada", "needle")
    assert [it["data"]["seq"] for it in first["entries"]] == [5, 4, 3]
    assert first["next"] == 3
    assert [it["seq"] for it in await everything(world, "ada", "needle")] == [5, 4, 3, 2, 1]
    assert [it["seq"] for it in await everything(world, "ada", "needle", limit=1)] == [5, 4, 3, 2, 1]
    assert len(json.dumps(first)) < 32 * 1024


@settings(max_examples=60)
@given(
    before=st.lists(st.booleans(), max_size=25),
    meanwhile=st.lists(st.sampled_from(["needle", "hay", "edit", "delete"]), max_size=12),
    limit=st.integers(1, 4),
    read=st.integers(1, 5),
)
async def test_each_hit_is_found_once_while_messages_arrive(
    before: Sequence[bool], meanwhile: Sequence[str], limit: int, read: int
) -> None:
    """Whatever is said, edited and deleted between two pages: of what was there and stays as it is, each once."""
    world = await talking()
    for needle in before:
        await world.say("ada", "a needle here" if needle else "hay")
    still, touched = list(meanwhile), set[int]()
    seqs: list[int] = []
    cursor: dict[str, int] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "READ_ENTRIES", read)
        while True:
            answered = await page(world, "ada", "needle her", "general", limit=limit, **cursor)
            seqs += [it["data"]["seq"] for it in answered["entries"]]
            if "next" not in answered:
                break
            cursor = {"cursor": answered["next"]}
            if still:
                await happen(world, still.pop(), touched, len(before))
    assert seqs == sorted(set(seqs), reverse=True)
    there = {number for number, needle in enumerate(before, 1) if needle}
    assert there - touched <= set(seqs) <= there | touched


async def happen(world: World, what: str, touched: set[int], said: int) -> None:
    """Something between two pages."""
    seq = 1 + len(touched)
    if what in {"needle", "hay"} or seq > said:
        await world.say("ada", "a needle here, too")
        return
    touched.add(seq)
    about = {"roomId": "general", "seq": seq}
    if what == "edit":
        await world.ask("ada", {"type": "edit_message", "message": "now a needle here", **about})
    else:
        await world.ask("ada", {"type": "delete_message", **about})


def count_reads(world: World) -> list[int]:
    """How many entries each read of a log brings, from now on."""
    reads: list[int] = []
    read: Callable[..., Any] = world.store.entries_before

    async def counted(*position: Any, **bounds: Any) -> list[Entry]:
        entries: list[Entry] = await read(*position, **bounds)
        reads.append(len(entries))
        return entries

    world.store.entries_before = counted  # type: ignore[method-assign]
    return reads
