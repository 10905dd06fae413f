"""Token buckets: what is granted in any stretch of time, what a refusal promises, and what is forgotten."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import BadSetting
from domain.rates import CONNECTION, HOOK, OTHER, RATES, USER, Rate, RateLimiter, override_rates
from domain.requests import REQUESTS

START = 1_764_000_000.0
rates = st.builds(Rate, st.sampled_from([0.5, 1.0, 3.0, 20.0]), st.integers(1, 30).map(float))
pauses = st.lists(st.floats(0, 3), max_size=200)


@given(rates, pauses)
def test_no_stretch_of_time_grants_more_than_the_bucket(rate: Rate, pauses: list[float]) -> None:
    """Between any two grants: what a full bucket holds, and what has come since."""
    limiter, now, granted = RateLimiter({"chat": rate}), START, []
    for pause in pauses:
        now += pause
        if limiter.take("c", "ada", "chat", now) == 0:
            granted.append(now)
    for first in range(len(granted)):
        for last in range(first, len(granted)):
            allowed = rate.burst + rate.per_second * (granted[last] - granted[first])
            assert last - first + 1 <= allowed + 1e-4


@given(rates, pauses)
def test_who_keeps_to_the_rate_is_never_refused(rate: Rate, pauses: list[float]) -> None:
    """However unevenly the pauses beyond it fall."""
    limiter, now = RateLimiter({USER: rate}), START
    for pause in pauses:
        now += pause + 1 / rate.per_second
        assert limiter.take("c", "ada", "chat", now) == 0


@given(st.lists(rates, min_size=3, max_size=3), pauses)
def test_a_refusal_says_when_it_is_granted(three: list[Rate], pauses: list[float]) -> None:
    """After that wait, and not a moment before; and a refusal takes nothing from any bucket."""
    limiter, now = RateLimiter(dict(zip((CONNECTION, USER, "chat"), three, strict=True))), START
    for pause in pauses:
        now += pause
        wait = limiter.take("c", "ada", "chat", now)
        if wait:
            assert limiter.take("c", "ada", "chat", now + wait * 0.99 - 1e-5) > 0
            now += wait + 1e-5
            assert limiter.take("c", "ada", "chat", now) == 0


def test_a_flood_still_gets_what_the_rate_grants() -> None:
    """Ten times the rate for a minute: the burst and a minute's tokens are granted."""
    limiter = RateLimiter({USER: Rate(2, 10)})
    asked = [limiter.take("c", "ada", None, START + it / 20) for it in range(1_200)]
    assert abs(sum(it == 0 for it in asked) - (10 + 2 * 60)) <= 1


def test_buckets_are_apart() -> None:
    """A connection's, a user's over all connections, and a user's for each type; types without a row share one."""
    limiter = RateLimiter({CONNECTION: Rate(1, 3), USER: Rate(1, 5), "chat": Rate(1, 2), OTHER: Rate(1, 1)})

    def take(connection: str, user: str, kind: str | None) -> bool:
        return limiter.take(connection, user, kind, START) == 0

    assert [take("c1", "ada", "chat") for _ in range(3)] == [True, True, False]
    assert take("c1", "ada", "ping")
    assert not take("c1", "ada", None)  # the connection's third was the last
    assert not take("c2", "ada", "history")  # shares the row of `ping`
    assert [take("c2", "ada", None) for _ in range(3)] == [True, True, False]  # the user's fifth was the last
    assert [take("c3", "bob", "chat") for _ in range(3)] == [True, True, False]


def test_a_bucket_alone() -> None:
    """One of its row's, for each whose it is; no other bucket has to do with it."""
    limiter = RateLimiter({CONNECTION: Rate(1, 1), USER: Rate(1, 1), HOOK: Rate(1, 2)})
    assert limiter.take("general~1", "general~1", None, START) == 0
    assert [limiter.take_of(HOOK, "general~1", START) for _ in range(3)] == [0, 0, pytest.approx(1)]
    assert limiter.take_of(HOOK, "general~2", START) == 0
    assert limiter.take_of(HOOK, "general~1", START + 1) == 0
    assert all(limiter.take_of("nowhere", "general~1", START) == 0 for _ in range(10))


def test_nothing_a_second_is_no_limit() -> None:
    """Such a row, which is not the one of types without a row then, and an empty table."""
    for table in ({}, {"chat": Rate(0, 1), USER: Rate(0, 0), OTHER: Rate(1, 1)}):
        limiter = RateLimiter(table)
        assert all(limiter.take("c", "ada", "chat", START) == 0 for _ in range(1_000))


def test_a_clock_that_goes_back_harms_nobody_for_long() -> None:
    """Whoever was refused before is granted a full bucket's time later at the latest."""
    limiter = RateLimiter({USER: Rate(1, 5)})
    for _ in range(6):
        limiter.take("c", "ada", None, START)
    earlier = START - 3_600
    assert 0 < limiter.take("c", "ada", None, earlier) <= 1
    assert limiter.take("c", "ada", None, earlier + 1) == 0


def test_memory_is_bounded_and_forgets_the_longest_unused() -> None:
    """Of too many users the one who was heard of last is still known."""
    limiter = RateLimiter({USER: Rate(1, 1)}, remembered=100)
    for number in range(1_000):
        limiter.take("c", "ada", None, START + number / 1_000)  # refused but once: that is remembered all the same
        limiter.take("c", f"user-{number}", None, START + number / 1_000)
    assert len(limiter) == 100
    assert limiter.take("c", "user-999", None, START + 1) > 0
    assert limiter.take("c", "user-0", None, START + 1) == 0


def test_every_request_type_has_a_row() -> None:
    """Or falls under `other`; no row is for a type that there isn't."""
    assert set(RATES) - {CONNECTION, USER, HOOK, OTHER} <= set(REQUESTS)
    assert all(it.per_second > 0 for it in RATES.values())


def test_who_comes_back_is_not_limited() -> None:
    """Fifty rooms joined and asked for what was missed, pings, and the line of waiting messages: all at once."""
    limiter = RateLimiter()
    for kind, number in {"join_room": 50, "history": 100, "ping": 3, "chat": 50, "private_message": 50}.items():
        assert all(limiter.take("c", "ada", kind, START) == 0 for _ in range(number))


def test_settings() -> None:
    """A rate keeps the seconds that its bucket holds, unless it says how many at once."""
    table = override_rates(RATES, ["chat=5", "user=5/7", "ping=0", "connection=0.01"])
    assert table["chat"] == Rate(5, 50)
    assert table["user"] == Rate(5, 7)
    assert table["ping"].per_second == 0
    assert table["connection"] == Rate(0.01, 1)
    assert override_rates(table, ["ping=5"])["ping"] == RATES["ping"]
    assert replace(table["chat"], per_second=10, burst=100) == RATES["chat"]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("shout=1", "no row 'shout'; the rows are connection, user, chat"),
        ("chat", "write NAME=PER_SECOND"),
        ("chat=many", "write NAME=PER_SECOND"),
        ("chat=1/", "write NAME=PER_SECOND"),
        ("chat=-1", "between 0"),
        ("chat=nan", "between 0"),
        ("chat=1e9", "between 0"),
        ("chat=1/0", "1 to"),
    ],
)
def test_nonsense_is_refused(setting: str, words: str) -> None:
    """By one sentence that names the setting."""
    with pytest.raises(BadSetting, match=f"rate '{setting}'.*{words}"):
        override_rates(RATES, [setting])
