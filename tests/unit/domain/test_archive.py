"""The archive's lines and objects: where an entry stands, what a merge leaves, and what can't be read."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.archive import (
    BLOCK,
    Change,
    Line,
    Place,
    entry_line,
    line_of,
    merged,
    object_name,
    pack,
    place_of,
    read_name,
    room_prefix,
    unpack,
)
from domain.errors import NewerVersion, UnreadableObject
from domain.rooms import FOREVER, Entry

EPOCH = 1_796_000_000_000
AT = 1_793_491_200_000
"""The first moment of 1 November 2026."""
SAFE = re.compile(r"[A-Za-z0-9!_.*'()/-]+")
"""What https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html calls safe."""

rooms = st.from_regex(r"(inbox#|audit#)?[A-Za-z0-9_.:-]{1,64}", fullmatch=True)
"""What `domain.protocol.RoomRef` takes."""
seqs = st.integers(1, 3 * BLOCK)
texts = st.text(max_size=20)


def entry(seq: int, text: str = "hello", at: int = AT) -> Entry:
    return Entry(seq, "chat", at, "ada", {"messageId": "m", "message": text, "senderName": "Ada"}, nth=seq)


def line(seq: int, rev: int = 1, text: str = "hello", epoch: int = EPOCH) -> Line:
    return entry_line(Change("lobby", epoch, entry(seq, text), f"{rev:030d}"))


lines = st.lists(st.builds(line, st.integers(1, 8), st.integers(1, 4), texts, st.sampled_from([EPOCH, EPOCH + 1])))
"""Of one change of one row there is one text."""


# ---- lines


def test_a_line_says_what_the_entry_does() -> None:
    """In the words of the wire; until when the log keeps it only where that ends."""
    message = entry(7)
    fields = {
        "v": 1,
        "room": "inbox#ada",
        "epoch": EPOCH,
        "seq": 7,
        "at": AT,
        "type": "chat",
        "sender": "ada",
        "nth": 7,
        "body": {"messageId": "m", "message": "hello", "senderName": "Ada"},
        "rev": "0012",
    }
    assert message.ends_at == FOREVER
    assert entry_line(Change("inbox#ada", EPOCH, message, "0012")).fields() == fields
    ending = replace(message, ends_at=AT + 1000)
    assert entry_line(Change("inbox#ada", EPOCH, ending, "0012")).fields() == fields | {"endsAt": AT + 1000}


@given(texts)
def test_a_line_is_one_line(text: str) -> None:
    """Whatever was said."""
    made = line(1, text=text + "\r\n\N{LINE SEPARATOR}\x85\x0b")
    assert len(made.text.splitlines()) == 1
    [found] = unpack(pack([made]))
    assert found == made
    assert found.fields()["body"]["message"] == text + "\r\n\N{LINE SEPARATOR}\x85\x0b"


def test_who_rewrites_a_line_keeps_what_it_does_not_know() -> None:
    """A field of a later release."""
    later = line_of(line(1).fields() | {"mood": "blue"})
    [found] = unpack(pack([later]))
    assert line_of(found.fields() | {"sender": "nobody"}).fields() == later.fields() | {"sender": "nobody"}


# ---- the merge


@given(lines, lines)
def test_of_each_entry_the_later_change_stays(first: list[Line], second: list[Line]) -> None:
    """Once, in the order of the log; nothing is lost, and nothing made up."""
    both = merged(merged([], first), second)
    keys = [(it.epoch, it.seq) for it in both]
    assert keys == sorted({(it.epoch, it.seq) for it in first + second})
    for it in both:
        assert it in first + second
        assert it.rev == max(other.rev for other in first + second if (other.epoch, other.seq) == (it.epoch, it.seq))


@given(lines)
def test_it_does_not_matter_in_what_company_lines_come(all_lines: list[Line]) -> None:
    """Cut anywhere, and again from anywhere before: the same. (Of one change there is one line.)"""
    one_each = list({(it.epoch, it.seq, it.rev): it for it in all_lines}.values())
    whole = merged([], one_each)
    for cut in range(len(one_each) + 1):
        for again in range(cut + 1):
            assert merged(merged([], one_each[:cut]), one_each[again:]) == whole


def test_of_one_change_what_is_stored_stays() -> None:
    """So what was rewritten in the archive is not undone by a repeat of the change that it came from."""
    forgotten = line(1, rev=5, text="")
    assert merged([forgotten], [line(1, rev=5, text="secret")]) == [forgotten]
    assert merged([forgotten], [line(1, rev=4, text="older secret")]) == [forgotten]
    assert merged([forgotten], [line(1, rev=6, text="newer")]) == [line(1, rev=6, text="newer")]


def test_revs_are_numbers() -> None:
    """AWS's have no leading zeros, and grow in length."""
    nine, ten = (entry_line(Change("lobby", EPOCH, entry(1, it), it)) for it in ("999", "1000"))
    assert merged([nine], [ten]) == merged([ten], [nine]) == [ten]


def test_known_alone() -> None:
    """What is not stored stays out; what is, gets its later change."""
    assert merged([line(1)], [line(1, rev=2, text="x"), line(2)], known_alone=True) == [line(1, rev=2, text="x")]
    assert merged([], [line(1)], known_alone=True) == []


# ---- objects


@given(rooms, st.integers(0, 2**53 - 1), st.integers(1, 2**53 - 1), st.integers(0, 4_102_444_800_000))
def test_a_name_tells_its_place(room: str, epoch: int, seq: int, at: int) -> None:
    """In characters that are safe everywhere, and no part of a path that means another folder."""
    place = place_of(Change(room, epoch, entry(seq, at=at), "1"))
    name = object_name(place)
    assert read_name(name) == place
    assert SAFE.fullmatch(name)
    assert name.startswith(room_prefix(room))
    assert not {"", ".", ".."} & set(name.split("/"))
    assert place.first <= seq < place.first + BLOCK


@given(rooms, rooms)
def test_no_room_is_within_another(one: str, two: str) -> None:
    """Nor is it another's."""
    assert (room_prefix(one).startswith(room_prefix(two))) == (one == two)
    assert not room_prefix(one + "x").startswith(room_prefix(one))


def test_names_are_in_the_order_of_the_days_and_the_log() -> None:
    """As a listing has them."""
    day = 86_400_000
    places = [
        place_of(Change("lobby", epoch, entry(seq, at=at), "1"))
        for at, epoch, seq in ((AT - 1, 5, 999), (AT, 5, 1_000), (AT, 5, 10_000), (AT, 6, 1), (AT + day, 6, 2))
    ]
    assert [it.day for it in places[:2]] == [date(2026, 10, 31), date(2026, 11, 1)]
    made = [object_name(it) for it in places]
    assert made == sorted(made)
    assert len(set(made)) == 5
    assert made[1] == "log/lobby/2026-11-01/0000000000000005-0000000000001000.jsonl.zst"


@pytest.mark.parametrize(
    "name",
    [
        "unreadable/log/lobby/2026-11-01/0000000000000005-0000000000001000.jsonl.zst",
        "log/lobby/2026-11-01/0000000000000005-0000000000001000.jsonl",
        "log/lobby/2026-13-01/0000000000000005-0000000000001000.jsonl.zst",
        "log/a/b/2026-11-01/0000000000000005-0000000000001000.jsonl.zst",
    ],
)
def test_other_names(name: str) -> None:
    """Are no entries'."""
    assert read_name(name) is None


def test_places_of_a_room_are_in_the_order_of_its_log() -> None:
    """However the days fall."""
    places = [Place("lobby", 5, 1_000, date(2026, 11, 1)), Place("lobby", 5, 0, date(2026, 11, 2))]
    assert sorted(places) == places[::-1]


@given(lines)
def test_objects_hold_their_lines(some: list[Line]) -> None:
    """The same lines are the same bytes."""
    stored = merged([], some)
    assert unpack(pack(stored)) == stored
    assert pack(stored) == pack(list(stored))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no zstandard",
        pack([line(1)])[:-1],
        bytes([*pack([line(1)])[:-1], pack([line(1)])[-1] ^ 1]),
        pack([Line(1, 1, 1, b"[]")]),
        pack([Line(1, 1, 1, b'{"v":1,"epoch":1,"seq":1}')]),
        pack([Line(1, 1, 1, b'{"v":1,"epoch":1,"seq":1,"rev":"x"}')]),
        pack([Line(1, 1, 1, b"\xff")]),
    ],
)
def test_what_is_no_object(content: bytes) -> None:
    """Nothing, something else, cut off, changed by a bit, other lines."""
    with pytest.raises(UnreadableObject, match="no object of the archive"):
        unpack(content)


def test_an_object_of_a_later_release() -> None:
    """Is not taken for one that can be written again."""
    text = msgspec.json.encode(line(1).fields() | {"v": 2})
    with pytest.raises(NewerVersion, match="version 2: a later release"):
        unpack(pack([line(2), Line(EPOCH, 1, 1, text)]))
