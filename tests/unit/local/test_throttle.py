"""The account's request rate."""

from __future__ import annotations

from adapters.memory import ManualClock
from local.throttle import TokenBucket


def taken(bucket: TokenBucket, tries: int) -> int:
    return sum(bucket.take() for _ in range(tries))


def test_a_full_bucket_gives_its_burst() -> None:
    """As many at once as the burst, and no more."""
    assert taken(TokenBucket(rate=10, burst=5, clock=ManualClock()), 100) == 5


def test_it_refills_with_time() -> None:
    """The rate times the seconds that passed, parts of tokens included."""
    clock = ManualClock()
    bucket = TokenBucket(rate=8, burst=5, clock=clock)
    taken(bucket, 5)
    clock.advance(0.3125)
    assert taken(bucket, 100) == 2
    clock.advance(0.0625)
    assert taken(bucket, 100) == 1


def test_it_never_holds_more_than_its_burst() -> None:
    """An idle hour is not saved up."""
    clock = ManualClock()
    bucket = TokenBucket(rate=10, burst=5, clock=clock)
    clock.advance(3600)
    assert taken(bucket, 100) == 5
