"""What things cost in requests and units, counted by hand along the code."""

from __future__ import annotations

import pytest

from domain.rooms import Rules
from ops.bills import RoomShape, shards_of

TRIO = RoomShape(members=3, message_bytes=100, member_bytes=200)
LARGE = RoomShape(members=3_200, message_bytes=100, member_bytes=200)


@pytest.mark.parametrize(
    ("members", "shards"), [(1, 1), (800, 1), (801, 2), (1_600, 2), (1_601, 4), (10_000, 16), (100_000, 128)]
)
def test_shards_double_when_four_fifths_are_taken(members: int, shards: int) -> None:
    """As joins decide it, one after the other."""
    assert shards_of(members, 1_000) == shards


def test_a_send() -> None:
    """Four rows read; meta, entry, once-row and two checks, each twice; one call to the queue, one ack. A message of
    1 KB makes an entry of two units; more than ten shards are rung by a plan, which a worker carries out."""
    small = TRIO.sending()
    assert (small.reads, small.writes, small.fifo, small.inbound, small.replies, small.posts) == (4, 10, 1, 1, 1, 0)
    assert RoomShape(3, message_bytes=1_024).sending().writes == 12
    assert LARGE.shards == 4
    assert LARGE.sending().fifo == 1
    planned = RoomShape(10_000).sending()
    assert (planned.fifo, planned.invocations) == (1 + 2 + 2, 2)


def test_a_round() -> None:
    """One shard: its row, a page of the log, its members unless the worker knows them; the advance; a post for each
    member; receive and delete."""
    one = TRIO.serving()
    assert (one.reads, one.writes, one.posts, one.fifo, one.invocations) == (1 + 1 + 1, 1, 3, 2, 1)
    assert TRIO.serving(unknown=0).reads == 2
    shard = LARGE.serving()
    members = -(-(100 + 800 * 200) // 4096)
    assert (shard.reads, shard.posts) == (1 + 1 + members, 800)


def test_a_packed_round() -> None:
    """Five entries in one frame: a post for each member; four doorbells come late, each for a look at the shard's row,
    unless they come in the batch of the first."""
    alone = TRIO.serving(entries=5)
    assert (alone.posts, alone.reads, alone.invocations, alone.fifo) == (3, 3 + 4, 5, 10)
    together = TRIO.serving(entries=5, jobs_per_batch=5)
    assert (together.posts, together.reads, together.invocations, together.fifo) == (3, 3, 1, 2)
    assert RoomShape(1, message_bytes=16_084).serving(entries=4).posts == pytest.approx(2.0)


def test_a_connect_and_its_end() -> None:
    """Rooms before and after and the own row are read; eight rows in a transaction, and two counts; who is new gets an
    inbox. The end: the connection's row, and two memberships with their counts."""
    joined, new = TRIO.connecting(), TRIO.connecting(new_user=True)
    assert (joined.reads, joined.writes, joined.standard, joined.invocations) == (5, 18, 1, 2)
    assert new.writes == 20
    assert (LARGE.connecting().reads, RoomShape(1_000).connecting().reads) == (5 + 4, 5 + 2)
    left = TRIO.leaving()
    assert (left.reads, left.writes, left.invocations) == (1, 7, 1)


def test_three_come_speak_and_go() -> None:
    """A whole room: a welcome each, two and one are told of others; two messages in rounds of their own, for which a
    lone worker reads the members once; the end. In the last summand of each: how users are, told in one window."""
    filled = TRIO.filling(seconds=3)
    assert filled.posts == 3 + (0 + 1 + 2) + 3
    assert filled.writes == 5 + 3 * 20 + (3 * 2 + 1)
    assert filled.reads == 3 * 5 + 3 * 1 + 3 * 1 + (3 * 6 + 3 + 1)
    assert filled.queue_calls == 3 * (1 + 2) + 3
    said = TRIO.speaking(2, workers=1)
    assert (said.posts, said.queue_calls, said.reads, said.writes) == (6, 2 * 3, 2 * (4 + 2) + 1, 2 * 11)
    left = TRIO.emptying()
    assert (left.posts, left.writes, left.queue_calls) == (0, 21 + (3 * 2 + 1), 3 * 3 + 3)
    assert left.reads == 3 + 3 + (3 * 5 + 3 + 1)
    assert TRIO.filling(seconds=3, lag=1).posts == 3 + (1 + 2 + 2) + 3


def test_a_large_room_is_told_how_many_it_has() -> None:
    """Above the roster's limit nobody is named: a shard's count once in as many seconds as there are shards. Below it
    there were two windows of nineteen whose status was told."""
    shape = RoomShape(60, rules=Rules(shard_limit=50))
    assert (shape.shards, shape.roster, shape.stats_every) == (2, False, 2)
    filled = shape.filling(seconds=10)
    told = sum(range(41))
    assert filled.posts == pytest.approx(60 + told + 60 * (10 * 19 / 60) / 2 + (19 + 38))
    assert shape.counting().reads == 1 + 2 + shape.member_units(30)


def test_a_ping() -> None:
    """Its own rows, two heads and the status are read, the lease is written, every third time the status; no post."""
    ping = TRIO.pinging()
    assert (ping.inbound, ping.replies, ping.posts) == (1, 1, 0)
    assert (ping.reads, ping.writes) == pytest.approx((3 + 1 + 3 / 3, 1 + 1 / 3))


def test_how_users_are() -> None:
    """The user's row, the inbox and who is in it are read, and the row is written; who has come is looked up with their
    rooms, and a small one notes it, a large one does not."""
    assert (TRIO.appearing().reads, TRIO.appearing().writes) == (3 + 3, 2)
    assert (LARGE.appearing().writes, LARGE.vanishing().writes) == (1, 1)
    window = TRIO.telling_presence(3, changed=2)
    assert (window.posts, window.reads, window.writes, window.queue_calls) == (3, 2 + 1, 1, 3)
