"""Retention: what a room keeps is read for as long, and what has ended is never a silent part."""

from __future__ import annotations

from typing import Any

import pytest

from domain.retention import DAY_SECONDS, entry_end, has_ended, retention
from domain.rooms import FOREVER, Entry, Profile, Room, Rules
from tests.unit.world import World

MINUTE = 60
NOW = 1_700_000_000_001


def room(seconds: int) -> Room:
    return Room("den", 1, profile=Profile(retention=seconds))


@pytest.mark.parametrize(
    ("own", "days", "seconds"), [(0, 0, 0), (5, 0, 5), (0, 2, 2 * DAY_SECONDS), (5, 2, 5), (10**8, 2, 2 * DAY_SECONDS)]
)
def test_the_shorter_of_two_retentions_counts(own: int, days: int, seconds: int) -> None:
    """The room's, and the deployment's; 0 is for ever."""
    assert retention(room(own), Rules(retention_days=days)) == seconds


def test_an_entry_ends_when_its_row_does_or_the_room_says() -> None:
    """A longer retention brings nothing back, a shorter one takes what is there."""
    rules = Rules(retention_days=0)
    end = entry_end(room(60), rules, NOW)
    assert end == 1_700_000_061_000
    entry = Entry(1, "chat", NOW, "ada", ends_at=end)
    assert [has_ended(entry, room(60), rules, it) for it in (end - 1, end)] == [False, True]
    assert [has_ended(entry, room(3_600), rules, it) for it in (end - 1, end)] == [False, True]
    assert has_ended(entry, room(10), rules, NOW + 11_000)
    assert not has_ended(Entry(1, "chat", NOW, "ada"), room(0), rules, FOREVER - 1)


async def said(world: World, *texts: str) -> None:
    for it in texts:
        await world.say("ada", it, "den")


async def started(seconds: int = 10 * MINUTE) -> World:
    """Ada is in a room that keeps things for ten minutes."""
    world = World()
    await world.connect("ada")
    made = await world.ask("ada", {"type": "create_room", "roomId": "den", "retention": seconds})
    assert made["data"]["retention"] == seconds
    await world.ask("ada", {"type": "join_room", "roomId": "den"})
    return world


async def page(world: World, **fields: Any) -> list[int]:
    reply = await world.ask("ada", {"type": "history", "roomId": "den", **fields})
    return [it["data"]["seq"] for it in reply["data"]["entries"]]


async def test_what_has_ended_is_in_no_page() -> None:
    """Whichever way the log is read, though the rows are still there; the seqs go on."""
    world = await started()
    await said(world, "one", "two")
    world.clock.advance(6 * MINUTE)
    await said(world, "three", "four")
    assert await page(world) == [1, 2, 3, 4]
    world.clock.advance(5 * MINUTE)
    for fields in ({}, {"after": 0}, {"after": 1}, {"before": 5}):
        assert await page(world, **fields) == [3, 4], fields
    assert await page(world, before=3) == await page(world, after=4) == []
    assert await page(world, after=3) == [4]
    world.clock.advance(6 * MINUTE)
    assert await page(world) == await page(world, after=0) == []
    assert (await world.say("ada", "five", "den"))["seq"] == 5
    assert await page(world, after=0) == [5]


@pytest.mark.parametrize("ended", [1, 99, 100, 101, 257])
async def test_the_first_that_is_kept_is_found_behind_any_number_that_has_ended(ended: int) -> None:
    """A client that was away for long does not page through what is gone."""
    world = await started()
    await said(world, *map(str, range(ended)))
    world.clock.advance(9 * MINUTE)
    await said(world, "a", "b", "c")
    world.clock.advance(2 * MINUTE)
    seqs = await page(world, after=0)
    if len(seqs) < 3:  # a page may end early; `next` leads on
        seqs += await page(world, after=seqs[-1])
    assert seqs == [ended + 1, ended + 2, ended + 3]


async def test_a_join_from_before_retention_is_not_recovered() -> None:
    """`recovered` is true only for all of it."""
    world = await started()
    await said(world, "one", "two")
    world.clock.advance(6 * MINUTE)
    await said(world, "three")

    async def joined(since: int) -> tuple[bool, list[int]]:
        reply = await world.ask("ada", {"type": "join_room", "roomId": "den", "since": since})
        return reply["data"]["recovered"], [it["data"]["seq"] for it in reply["data"]["events"]]

    assert await joined(1) == (True, [2, 3])
    world.clock.advance(5 * MINUTE)
    assert await joined(1) == (False, [])
    assert await joined(2) == (True, [3])
    assert await joined(3) == (True, [])


async def test_a_shorter_retention_takes_what_is_there() -> None:
    """By an update of the room, at once, for who reads."""
    world = await started()
    await said(world, "one")
    world.clock.advance(2 * MINUTE)
    await world.ask("ada", {"type": "update_room", "roomId": "den", "retention": MINUTE})
    assert await page(world) == [2]


async def test_rows_end_by_retention() -> None:
    """The deployment's where the room has none of its own."""
    world = await started(0)
    await said(world, "one")
    [entry] = await world.store.entries("den", (await world.store.rooms(["den"]))["den"].epoch, 0, limit=9, max_bytes=9)
    assert entry.ends_at == entry_end(room(0), world.rules, entry.at)
    assert entry.ends_at - entry.at >= 30 * DAY_SECONDS * 1000
