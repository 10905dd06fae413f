"""Writing to the archive: whatever comes twice, fails or dies, each entry is there once, as it was changed last."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.memory import MemoryArchive
from domain.archive import BLOCK, Change, Line, entry_line, merged, object_name, pack, place_of, read_name, unpack
from domain.errors import Conflict, NewerVersion, Unavailable, UnreadableObject
from domain.retention import DAY_SECONDS
from domain.rooms import Entry, Profile, Room
from pipeline.archiving import AT_ONCE, RESERVE, TRIES, Archived, Archiver, Unreadable
from tests.unit.world import World

EPOCH = 5
AT = 1_793_491_200_000
"""The first moment of 1 November 2026."""


def change(seq: int, rev: int = 1, text: str = "hello", room: str = "lobby", at: int = AT) -> Change:
    return Change(room, EPOCH, Entry(seq, "chat", at, "ada", {"message": f"{text} {seq}.{rev}"}), f"{rev:030d}")


def unreadable(rev: int) -> Unreadable:
    return Unreadable(f"{rev:030d}", b"poison", UnreadableObject("no change of an entry"))


class Death(BaseException):
    """The environment is gone."""


class Bench:
    """An archive that answers as told, and what is in it."""

    def __init__(self) -> None:
        self.world = World()
        self.answers: list[BaseException | None] = []
        """To the next calls; then all succeed."""
        self.archive = MemoryArchive(self._answer)
        self.counts: dict[str, int] = {}
        self.time_left = 120.0

    async def _answer(self) -> None:
        await asyncio.sleep(0)
        if self.answers and (answer := self.answers.pop(0)) is not None:
            raise answer

    async def work(self, *batch: Change | Unreadable, everything: bool = False) -> Archived:
        archiver = Archiver(self.world.ports, self.archive, everything=everything)
        archived = await archiver.work(batch, lambda: self.time_left)
        self.counts = dict(archiver.counts)
        return archived

    def lines(self, room: str = "lobby") -> list[Line]:
        """What the archive has of a room, in the order of its log."""
        stored = [
            unpack(it) for name, it in self.archive.objects.items() if (at := read_name(name)) and at.room == room
        ]
        return sorted(itertools.chain.from_iterable(stored), key=lambda it: (it.epoch, it.seq))

    def texts(self, room: str = "lobby") -> list[str]:
        return [it.fields()["body"]["message"] for it in self.lines(room)]


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_entries_are_written_once(bench: Bench) -> None:
    """An object for each room, day and thousand; again, they cost reads and change nothing."""
    batch = [change(1), change(2), change(BLOCK), change(3, at=AT - 1), change(1, room="inbox#ada")]
    assert await bench.work(*batch) == Archived()
    assert bench.counts == {"ArchivePuts": 4, "EntriesArchived": 5}
    assert bench.lines() == [entry_line(it) for it in (batch[0], batch[1], batch[3], batch[2])]
    assert bench.lines("inbox#ada") == [entry_line(batch[4])]
    objects = dict(bench.archive.objects)
    assert await bench.work(*batch) == Archived()
    assert bench.counts == {}
    assert bench.archive.objects == objects


async def test_the_last_change_of_an_entry_stays(bench: Bench) -> None:
    """Also when an older one comes later, as in a batch that comes again."""
    await bench.work(change(1, 1), change(2, 2), change(1, 3, "edited"))
    await bench.work(change(2, 1, "older"), change(1, 2, "older"))
    assert bench.texts() == ["edited 1.3", "hello 2.2"]


async def test_what_fails_comes_again_and_the_others_are_written(bench: Bench) -> None:
    """By its revs; a fault of ours no differently."""
    bench.answers = [Unavailable("SlowDown"), RuntimeError("a fault")]
    batch = [change(1, 1), change(1, 2, room="tea"), change(1, 3, room="den"), change(2, 4)]
    archived = await bench.work(*batch)
    assert archived.failed == {batch[0].rev, batch[1].rev, batch[3].rev}
    assert [type(it) for it in archived.causes] == [Unavailable, RuntimeError]
    assert (bench.texts(), bench.texts("tea"), bench.texts("den")) == ([], [], ["hello 1.3"])


async def test_rooms_that_can_not_be_read(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows what they want archived: all comes again."""

    async def rooms(_: object) -> dict[str, Room]:
        raise Unavailable("throttled")

    monkeypatch.setattr(bench.world.store, "rooms", rooms)
    assert (await bench.work(change(1), unreadable(2))).failed == {f"{1:030d}", f"{2:030d}"}
    assert bench.archive.objects == {}


async def test_an_object_is_begun_only_while_there_is_time(bench: Bench) -> None:
    """The first of them, in the order of the changes; the others come again."""
    calls = iter([RESERVE, RESERVE, RESERVE - 0.1])
    archiver = Archiver(bench.world.ports, bench.archive)
    batch = [change(1, 1), change(1, 2, room="tea")]
    archived = await archiver.work(batch, lambda: next(calls))
    assert archived.failed == {batch[1].rev}
    assert bench.texts() == ["hello 1.1"]


async def test_objects_are_written_side_by_side_but_not_all(bench: Bench) -> None:
    """So many at once as there are connections for."""
    under_way, most = 0, 0
    original = bench.archive.read

    async def read(name: str) -> object:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            return await original(name)
        finally:
            under_way -= 1

    bench.archive.read = read  # type: ignore[assignment]  # counted
    await bench.work(*(change(1, room=f"room-{it}") for it in range(3 * AT_ONCE)))
    assert most == AT_ONCE


async def test_who_is_overtaken_reads_again(bench: Bench) -> None:
    """Another's lines stay; who is overtaken for ever gives way."""
    await bench.work(change(1, 1))
    bench.answers = [None, Conflict("another was first")]
    assert await bench.work(change(2, 2)) == Archived()
    assert bench.texts() == ["hello 1.1", "hello 2.2"]
    bench.answers = [None, Conflict("another was first")] * TRIES
    archived = await bench.work(change(3, 3))
    assert archived.failed == {f"{3:030d}"}
    assert [type(it) for it in archived.causes] == [Unavailable]


async def test_two_at_once_lose_nothing(bench: Bench) -> None:
    """An environment that Lambda took for dead, and its successor."""
    await asyncio.gather(
        bench.work(*(change(it, 1) for it in (1, 2, 3))), bench.work(*(change(it, 2) for it in (3, 4)))
    )
    assert bench.texts() == ["hello 1.1", "hello 2.1", "hello 3.2", "hello 4.2"]


@given(
    st.lists(st.tuples(st.integers(1, 5), st.sampled_from(["lobby", "tea"])), min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(1, 6), st.integers(0, 12)), max_size=10),
)
def test_killed_at_any_call_and_replayed(said: list[tuple[int, str]], deaths: list[tuple[int, int]]) -> None:
    """Batches of any size, from where the last that was done had ended: no double and no gap, and the last change."""
    changes = [change(seq, rev, room=room) for rev, (seq, room) in enumerate(said, 1)]

    async def replay() -> Bench:
        bench, done, mishaps = Bench(), 0, list(deaths)
        while done < len(changes):
            size, calls = mishaps.pop(0) if mishaps else (len(changes), 1_000)
            bench.answers = [*[None] * calls, Death()]
            try:
                archived = await bench.work(*changes[done : done + size])
            except Death:
                continue
            assert archived == Archived()
            done += size
        return bench

    bench = asyncio.run(replay())
    for room in ("lobby", "tea"):
        assert bench.lines(room) == merged([], [entry_line(it) for it in changes if it.room == room])


# ---- what can't be read


async def test_poison_is_kept_aside_and_holds_nothing_up(bench: Bench) -> None:
    """Whole, under its rev, once; it is counted, and its reason told."""
    poison = unreadable(2)
    for _ in range(2):
        archived = await bench.work(change(1, 1), poison, change(3, 3))
        assert archived == Archived(kept_aside=[poison.reason])
        assert bench.counts["ArchiveUnreadable"] == 1
    assert bench.texts() == ["hello 1.1", "hello 3.3"]
    assert bench.archive.objects[f"unreadable/{poison.rev}.json"] == b"poison"


async def test_poison_that_can_not_be_kept_aside_comes_again(bench: Bench) -> None:
    """Nothing vanishes silently."""
    bench.answers = [Unavailable("SlowDown")]
    assert (await bench.work(unreadable(1))).failed == {unreadable(1).rev}
    assert bench.archive.objects == {}


async def test_an_object_that_can_not_be_read_is_kept_aside(bench: Bench) -> None:
    """And begun anew."""
    name = object_name(place_of(change(1)))
    bench.archive.objects[name] = b"garbage"
    archived = await bench.work(change(1))
    assert [str(it) for it in archived.kept_aside] == ["no object of the archive: ZstdError"]
    assert archived.failed == set()
    assert bench.texts() == ["hello 1.1"]
    [aside] = [it for it in bench.archive.objects if it != name]
    assert aside.startswith(f"unreadable/{name}.")
    assert bench.archive.objects[aside] == b"garbage"


async def test_an_object_of_a_later_release_is_left_alone(bench: Bench) -> None:
    """Its lines wait for that release."""
    line = entry_line(change(1))
    name, later = object_name(place_of(change(1))), pack([replace(line, text=line.text.replace(b'"v":1', b'"v":2'))])
    bench.archive.objects[name] = later
    archived = await bench.work(change(2, 2))
    assert archived.failed == {f"{2:030d}"}
    assert [type(it) for it in archived.causes] == [NewerVersion]
    assert bench.archive.objects == {name: later}


# ---- rooms that keep what is said for less time than the stage


async def keeping(bench: Bench, room: str, seconds: int) -> None:
    await bench.world.store.create_room(Room(room, EPOCH, profile=Profile(retention=seconds)))


async def test_what_a_room_keeps_for_less_time_is_not_archived(bench: Bench) -> None:
    """Unless the stage says all; a room that says nothing of its own, or is gone, is."""
    month = bench.world.rules.retention_days * DAY_SECONDS
    for room, seconds in {"day": DAY_SECONDS, "month": month, "plain": 0}.items():
        await keeping(bench, room, seconds)
    batch = [change(1, room=it) for it in ("day", "month", "plain", "gone")]
    assert await bench.work(*batch) == Archived()
    assert [bool(bench.texts(it.room)) for it in batch] == [False, True, True, True]
    await bench.work(*batch, everything=True)
    assert all(bench.texts(it.room) for it in batch)


async def test_a_deletion_reaches_what_was_archived_before(bench: Bench) -> None:
    """When the room has shortened its retention since: no new entry, but what becomes of the old ones."""
    await bench.work(change(1, 1))
    await keeping(bench, "lobby", 3_600)
    await bench.work(change(1, 2, "deleted"), change(2, 3))
    assert bench.texts() == ["deleted 1.2"]


async def test_a_stage_that_keeps_all_for_ever(bench: Bench) -> None:
    """A room that doesn't keeps it for less."""
    bench.world.ports = replace(bench.world.ports, rules=replace(bench.world.rules, retention_days=0))
    await keeping(bench, "lobby", 365 * DAY_SECONDS)
    await bench.work(change(1))
    assert bench.texts() == []
