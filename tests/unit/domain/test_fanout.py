"""Jobs, packing, and what answers mean."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from domain import fanout
from domain.errors import ConnectionGone, NewerVersion, PostFailed, Throttled, UnreadableJob
from domain.fanout import (
    JOB_VERSION,
    WRITTEN_VERSION,
    YOUNG_MS,
    Absent,
    Arrived,
    Doorbell,
    Job,
    Notice,
    Outcome,
    Plan,
    Presences,
    Remainder,
    Stats,
    absent,
    deduplication_of,
    encode_entry,
    encode_job,
    group_of,
    jobs_for,
    lane_of,
    pack,
    parse_job,
    planned,
    read_outcome,
    remainder_delay,
)
from domain.notices import Announcement
from domain.protocol import FRAME_LIMIT, MESSAGE_LIMIT
from domain.rooms import Entry, Ring


@given(st.lists(st.integers(1, FRAME_LIMIT - 100), max_size=40))
def test_frames_hold_every_event_once_in_order_within_the_limit(sizes: list[int]) -> None:
    """Whatever the sizes: no frame over 32 KB, nothing lost, order kept, `first` is the first seq within."""
    events = [(seq, json.dumps({"seq": seq, "x": "x" * size}).encode()) for seq, size in enumerate(sizes, 1)]
    events = [it for it in events if len(it[1]) <= FRAME_LIMIT]
    unpacked: list[dict[str, int]] = []
    for frame in pack(events, "v1"):
        assert len(frame.body) <= FRAME_LIMIT
        content = json.loads(frame.body)
        inner = content["data"]["events"] if content.get("type") == "batch" else [content]
        assert frame.first == inner[0]["seq"]
        unpacked += inner
    assert [it["seq"] for it in unpacked] == [seq for seq, _ in events]
    assert [it.body for it in pack(events, "recipe")] == [body for _, body in events]


def test_packing_is_dense() -> None:
    """A hundred events of 300 bytes need one frame, not two."""
    assert len(pack([(it, b"x" * 300) for it in range(100)], "v1")) == 1


@given(st.text(max_size=200), st.integers(1, 2**40))
def test_an_entry_survives_the_wire(message: str, seq: int) -> None:
    """Encoded and read again, an entry is what it was."""
    event = json.loads(encode_entry("tea", 7, Entry(seq, "chat", 1_234, "ada", {"message": message})))
    assert event["type"] == "chat"
    assert event["data"]["message"] == message
    assert (event["data"]["seq"], event["data"]["timestamp"], event["data"]["sentAt"]) == (seq, 1, 1_234)


def test_the_longest_message_fits_into_a_frame() -> None:
    """24 KB of text and its envelope stay under 32 KB."""
    assert len(encode_entry("r" * 64, 2**53, Entry(2**53, "chat", 2**53, "u", {"message": "x" * MESSAGE_LIMIT}))) < (
        FRAME_LIMIT
    )


@pytest.mark.parametrize(
    "job",
    [
        Doorbell(room="a", epoch=1, shard=0, seq=2),
        Remainder(room="a", epoch=1, shard=0, first=2, last=3, connections=["c="], attempt=1, not_after=4),
        Arrived(
            room="a",
            epoch=1,
            shard=0,
            connection="c",
            user="u",
            name="n",
            head=2,
            inbox_epoch=3,
            inbox_head=4,
            reconnect_at=5,
            tell_others=True,
            not_after=6,
        ),
        Notice(room="a", epoch=1, shard=0, event=Raw(b'{"type":"typing","data":{}}'), skip="c", not_after=3),
        Stats(room="a", epoch=1, shard=0, not_after=3),
        Absent(
            room="a",
            epoch=1,
            seq=2,
            about="mention",
            at=3,
            sender="ada",
            name="Ada",
            users=["b", "c"],
            not_after=4,
        ),
        Presences(room="a", epoch=1, shard=0, not_after=3),
    ],
)
def test_a_job_survives_the_queue(job: Job) -> None:
    """What is encoded is parsed to the same."""
    assert parse_job(encode_job(job)) == job


def test_an_announcement_is_worth_ten_minutes() -> None:
    """From when it was made, however old the entry is."""
    said = Announcement("private_message", "inbox#bob", 5, 7, 1_000, "ada", "Ada", ["bob"])
    job = absent(said, 2_000)
    assert (job.room, job.epoch, job.seq, job.about, job.at) == ("inbox#bob", 5, 7, "private_message", 1_000)
    assert (job.sender, job.name, job.users, job.not_after) == ("ada", "Ada", ["bob"], 602_000)


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_no_record_breaks_the_parser(body: str) -> None:
    """Anything at all is a job or `UnreadableJob`, and the reason quotes nothing of it."""
    try:
        parse_job(body)
    except UnreadableJob as error:
        assert len(body) < 8 or body not in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "plan", "shards": 10**9, "seq": 1},
        {"kind": "plan", "shards": 0, "seq": 1},
        {"kind": "doorbell", "shard": 0, "seq": -(2**63)},
        {"kind": "doorbell", "shard": 0, "seq": 2**53},
        {"kind": "doorbell", "shard": -1, "seq": 1},
        {"kind": "doorbell", "shard": 0, "seq": 1, "epoch": -1},
        {"kind": "remainder", "shard": 0, "from": -5, "to": 1, "connections": [], "attempt": 1, "notAfter": 1},
        {"kind": "remainder", "shard": 0, "from": 1, "to": 1, "connections": [], "attempt": -1, "notAfter": 1},
    ],
)
def test_numbers_that_no_job_of_ours_has_are_unreadable(fields: dict[str, object]) -> None:
    """A worker that took them at their word would ring a thousand million doorbells, or read a log from long before it
    began."""
    with pytest.raises(UnreadableJob):
        parse_job(json.dumps({"v": 1, "room": "a", "epoch": 1, **fields}))


def test_the_pause_before_a_remainders_next_try_is_bounded() -> None:
    """However often it was tried."""
    draw = random.Random(1)
    assert max(remainder_delay(it, draw) for it in (1, 10, 100, 2_000) for _ in range(100)) <= 20


def doorbell(version: int) -> str:
    return f'{{"kind":"doorbell","v":{version},"room":"a","epoch":1,"shard":0,"seq":1}}'


@pytest.mark.parametrize(("newest", "read"), [(1, [1]), (2, [1, 2]), (3, [2, 3])])
def test_the_newest_version_and_the_one_before_are_read(
    newest: int, read: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is older is unreadable for ever, and so is 0; what is newer is another worker's."""
    monkeypatch.setattr(fanout, "JOB_VERSION", newest)
    for version in range(-1, 5):
        if version in read:
            assert parse_job(doorbell(version)).v == version
            continue
        with pytest.raises(NewerVersion if version > newest else UnreadableJob, match=f"version {version};"):
            parse_job(doorbell(version))


def test_a_job_may_have_more_fields() -> None:
    """A later release may add them without a new version."""
    assert parse_job(doorbell(JOB_VERSION).replace("}", ',"urgent":{"a":[1]}}')) == parse_job(doorbell(JOB_VERSION))


@pytest.mark.parametrize("form", ["", ',"kind":"plan","of":[{"a":1}]', ',"kind":"doorbell","room":3'])
def test_a_newer_version_may_have_any_form(form: str) -> None:
    """Its version is looked at first: a kind or a field that nobody here knows makes it no poison."""
    with pytest.raises(NewerVersion):
        parse_job(f'{{"v":{JOB_VERSION + 1}{form}}}')


@pytest.mark.parametrize("version", ['"2"', "null", "2.5", "[2]", "true"])
def test_a_version_is_a_whole_number(version: str) -> None:
    """Anything else is of no release."""
    with pytest.raises(UnreadableJob, match="ValidationError"):
        parse_job(f'{{"kind":"doorbell","v":{version},"room":"a","epoch":1,"shard":0,"seq":1}}')


def test_a_job_without_a_version_is_unreadable() -> None:
    """Nobody knows what it means."""
    with pytest.raises(UnreadableJob, match="ValidationError"):
        parse_job('{"kind":"doorbell","room":"a","epoch":1,"shard":0,"seq":1}')


def test_what_is_written_is_read_by_this_release_and_the_next() -> None:
    """So that both of the two steps can be rolled back."""
    assert JOB_VERSION - 1 <= WRITTEN_VERSION <= JOB_VERSION
    assert json.loads(encode_job(Stats(room="a", epoch=1, shard=0, not_after=3)))["v"] == WRITTEN_VERSION


@pytest.mark.parametrize(
    ("error", "age", "outcome"),
    [
        (ConnectionGone(""), YOUNG_MS, Outcome.GONE),
        (ConnectionGone(""), YOUNG_MS - 1, Outcome.RETRY),
        (Throttled(""), 10**9, Outcome.RETRY),
        (PostFailed(""), 10**9, Outcome.RETRY),
    ],
)
def test_only_an_old_410_means_gone(error: Exception, age: int, outcome: Outcome) -> None:
    """Every other answer says nothing about the connection."""
    assert read_outcome(error, age) is outcome


@pytest.mark.parametrize(("shards", "lane", "kind", "jobs"), [
    (1, "interactive", Doorbell, 1), (2, "bulk", Doorbell, 2), (10, "bulk", Doorbell, 10), (11, "bulk", Plan, 1),
    (4_096, "bulk", Plan, 1),
])  # fmt: skip
def test_what_a_ring_enqueues(shards: int, lane: str, kind: type, jobs: int) -> None:
    """As many doorbells as a call to the queue takes, in the order of their shards, or one plan."""
    rung = jobs_for(Ring("a", 5, shards, 7))
    assert (lane_of(shards), [type(it) for it in rung]) == (lane, [kind] * jobs)
    doorbells = [it for job in rung for it in (planned(job) if isinstance(job, Plan) else [job])]
    assert doorbells == [Doorbell(room="a", epoch=5, shard=it, seq=7) for it in range(shards)]


def test_a_plan_has_a_group_and_a_name_of_its_own() -> None:
    """No shard is called like a plan's group, and no doorbell is deduplicated against a plan."""
    plan = Plan(room="a", epoch=5, shards=16, seq=7)
    assert (group_of(plan), deduplication_of(plan)) == ("a#5", "plan#a#5#7")
    assert (group_of(planned(plan)[3]), deduplication_of(planned(plan)[3])) == ("a#5#3", "a#5#3#7")
