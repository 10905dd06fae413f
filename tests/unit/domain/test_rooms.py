"""Decisions about rooms."""

import pytest

from domain.rooms import GROWTH_CLAIM_MS, Count, Room, Rules, is_small, should_grow

NOW = 1_700_000_000_000


@pytest.mark.parametrize(
    ("members", "counted_of", "growing_at", "grows"),
    [
        (80, 4, 0, False),
        (81, 4, 0, True),
        (200, 4, 0, True),
        (81, 2, 0, False),
        (81, 4, NOW, False),
        (81, 4, NOW - GROWTH_CLAIM_MS + 1, False),
        (81, 4, NOW - GROWTH_CLAIM_MS, True),
    ],
)
def test_a_room_grows_above_four_fifths_of_a_shard(members: int, counted_of: int, growing_at: int, grows: bool) -> None:
    """Unless it has grown since the join drew its shard, or another join is about to double it."""
    room = Room("a", 5, shards=4, growing_at=growing_at)
    assert should_grow(room, Count(members, 0, counted_of), Rules(shard_limit=100), NOW) is grows


@pytest.mark.parametrize(("members", "shards", "small"), [(50, 1, True), (51, 1, False), (1, 2, False), (50, 2, False)])
def test_a_room_of_several_shards_is_not_small(members: int, shards: int, small: bool) -> None:
    """However few are left in the shard."""
    assert is_small(Count(members, 0, shards), Rules(roster_limit=50)) is small
