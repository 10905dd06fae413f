"""The pace against an account's token bucket, in simulated time: what it delivers, and what it wastes."""

from __future__ import annotations

import heapq
import itertools
import random
from dataclasses import dataclass, field

import pytest

from pipeline.pacing import FLOOR, SLOW_SECONDS, Pace

FAST = (0.001, 0.003)
WIDE = (0.0, 0.02)
"""Seconds that an answer takes."""


@dataclass
class Account:
    """A token bucket of `rate` a second and `burst`, and workers that post to many connections as fast as they may."""

    rate: float
    burst: float
    workers: int = 2
    latency: tuple[float, float] = FAST
    cap: float = 0
    slow: frozenset[str] = frozenset()
    """Connections that answer 429 whatever the bucket holds."""
    changes: dict[float, float] = field(default_factory=dict)
    """Time → the bucket's rate from then on."""
    frozen: tuple[float, float] = (-1, -1)
    """From when until when the first worker's environment lies still: answers wait."""
    demand: float = 0
    """Posts a second that the first worker has to make, at any times; 0: as many as it may."""
    waits: list[float] = field(default_factory=list)
    """How long each post of the first worker waited for its turn."""
    posted: list[float] = field(default_factory=list)
    """When each post reached the account."""
    answers: list[tuple[float, bool]] = field(default_factory=list)
    """(time, whether it was taken) of each post to a connection that reads."""
    rates: list[tuple[float, float]] = field(default_factory=list)
    """(time, the first worker's rate) after each of its answers."""

    def __post_init__(self) -> None:
        self.paces = [Pace(self.cap) for _ in range(self.workers)]

    def run(self, seconds: float, concurrency: int = 64, clients: int = 1_000, seed: int = 1) -> None:
        draw = random.Random(seed)
        numbers = itertools.count()
        events: list[tuple[float, int, str, int, str]] = []
        changes = sorted(self.changes.items())
        tokens, refilled, rate = self.burst, 0.0, self.rate

        def at(when: float, what: str, worker: int, answer: str = "") -> None:
            begin, end = self.frozen
            if worker == 0 and begin <= when < end:
                when = end
            heapq.heappush(events, (when, next(numbers), what, worker, answer))

        for worker in range(self.workers):
            demand = round(self.demand * seconds) if worker == 0 else 0
            for _ in range(demand or concurrency):
                at(draw.uniform(0, seconds) if demand else 0.0, "turn", worker)
        while events[0][0] <= seconds:
            now, _, what, worker, answer = heapq.heappop(events)
            pace = self.paces[worker]
            if what == "turn":
                wait = pace.reserve(now)
                assert wait is not None
                if worker == 0:
                    self.waits.append(wait)
                at(now + wait, "post", worker)
            elif what == "post":
                while changes and changes[0][0] <= now:
                    rate = changes.pop(0)[1]
                tokens, refilled = min(self.burst, tokens + (now - refilled) * rate), now
                connection = f"{draw.randrange(clients)}"
                taken = tokens >= 1 and connection not in self.slow
                tokens -= taken
                self.posted.append(now)
                if connection not in self.slow:
                    self.answers.append((now, taken))
                at(now + draw.uniform(*self.latency), "taken" if taken else "refused", worker, connection)
            else:
                (pace.delivered if what == "taken" else pace.refused)(now, answer)
                if worker == 0:
                    self.rates.append((now, pace.rate))
                if worker or not self.demand:
                    at(now, "turn", worker)

    def goodput(self, begin: float, end: float) -> float:
        """Posts a second that were taken."""
        return sum(taken for now, taken in self.answers if begin <= now < end) / (end - begin)

    def refused(self, begin: float, end: float) -> float:
        """The share of 429s."""
        answers = [taken for now, taken in self.answers if begin <= now < end]
        return 1 - sum(answers) / len(answers)

    def most_in_a_second(self) -> int:
        """Posts over any second."""
        most = end = 0
        for begin, now in enumerate(self.posted):
            while end < len(self.posted) and self.posted[end] < now + 1:
                end += 1
            most = max(most, end - begin)
        return most


@pytest.mark.parametrize("latency", [FAST, WIDE], ids=["fast", "wide"])
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_a_throttled_account_is_used_up_and_not_flooded(workers: int, latency: tuple[float, float]) -> None:
    """1,000 posts a second, burst 500: at least 950 are delivered, and at most every tenth answer is a 429."""
    account = Account(1_000, 500, workers, latency)
    account.run(22)
    assert account.goodput(2, 22) >= 950
    assert account.refused(2, 22) <= 0.1


def test_without_a_throttle_nothing_is_held_back() -> None:
    """No cap, no 429: no post waits, and there is no rate."""
    account = Account(1e9, 1e9, workers=1)
    account.run(1)
    assert account.paces[0].rate == float("inf")
    assert len(account.posted) == pytest.approx(64 / 0.002, rel=0.05)


@pytest.mark.parametrize("rate", [1e9, 500, 90])
def test_a_cap_is_never_exceeded(rate: float) -> None:
    """Over no second, whatever the account would grant, or refuses."""
    account = Account(rate, 50, workers=1, cap=100)
    account.run(20)
    assert account.most_in_a_second() <= 101
    if rate > 100:
        assert account.goodput(1, 20) == pytest.approx(100, rel=0.02)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_environment_that_lay_frozen_goes_on_as_before(workers: int) -> None:
    """A minute without an answer is no minute in which the account granted nothing."""
    for step in range(4):
        account = Account(1_000, 500, workers, frozen=(5 + step / 35, 65.0))
        account.run(75)
        before = [rate for now, rate in account.rates if 4 <= now < 5]
        after = [rate for now, rate in account.rates if 65 <= now < 67]
        assert min(after) >= min(before) / 5
        assert account.goodput(66, 75) >= 950


def test_a_worker_with_little_to_post_does_not_starve_beside_others() -> None:
    """Thirty posts a second of its own, while two others fill the account: its posts go out as they come."""
    account = Account(1_000, 500, workers=3, demand=30)
    account.run(40)
    assert max(account.waits) < 0.1
    assert account.goodput(2, 40) >= 950
    assert account.refused(2, 40) <= 0.1
    assert account.paces[0].rate >= 100


@pytest.mark.parametrize("latency", [FAST, WIDE], ids=["fast", "wide"])
def test_a_worker_is_back_soon_after_a_throttle(latency: tuple[float, float]) -> None:
    """Ten seconds in which the account grants next to nothing: it is at its cap again within twenty."""
    account = Account(1, 1, workers=1, latency=latency, cap=1_000, changes={10.0: 1e9})
    account.run(40)
    assert min(rate for now, rate in account.rates if now < 10) == FLOOR
    assert min(rate for now, rate in account.rates if now >= 30) >= 900


def test_a_post_to_who_has_gone_shows_what_the_account_grants() -> None:
    """As one that is taken does: it was let through."""
    pace = Pace(1_000)
    for number in range(100):
        pace.refused(number / 100, f"{number}")
    assert pace.rate == FLOOR
    now = 1.0
    while now < 25:
        wait = pace.reserve(now)
        assert wait is not None
        now += wait + 0.0005
        pace.granted(now)
    assert pace.rate >= 900


def test_one_client_that_does_not_read_slows_nobody() -> None:
    """All 429s are one connection's: however many they are, the rate is as without it."""
    account = Account(1e9, 1e9, workers=1, slow=frozenset({"7"}))
    account.run(3, clients=10)
    pace = account.paces[0]
    assert (pace.rate, pace.throttled) == (float("inf"), False)
    assert account.refused(0, 3) == 0
    capped = Account(1e9, 1e9, workers=1, cap=200, slow=frozenset({"7"}))
    capped.run(5, clients=10)
    assert capped.paces[0].rate == 200


def test_a_quota_that_rises_is_found() -> None:
    """From 500 to 2,000 a second: within half a minute nine tenths of it are used."""
    account = Account(500, 100, changes={10.0: 2_000.0})
    account.run(60)
    assert account.goodput(3, 10) >= 475
    assert account.goodput(40, 60) >= 1_900


def test_a_quota_that_falls_is_obeyed() -> None:
    """From 2,000 to 200 a second, within a second or two."""
    account = Account(2_000, 100, changes={10.0: 200.0})
    account.run(30)
    assert account.refused(12, 30) <= 0.15
    assert account.goodput(12, 30) >= 190


def test_no_throttle_brings_a_worker_below_the_floor() -> None:
    """Else it would take minutes to notice that the throttle is over."""
    account = Account(0.001, 0, workers=1)
    account.run(10)
    assert account.paces[0].rate == FLOOR


def test_a_turn_that_comes_too_late_is_not_taken() -> None:
    """Whoever has no time to wait for it leaves it to the next."""
    pace = Pace(cap=10)
    assert [pace.reserve(0, within=0.15) for _ in range(5)] == [0, 0.1, None, None, None]
    assert pace.reserve(0.1, within=1) == pytest.approx(0.1)
    assert Pace().reserve(0, within=0) is None


def test_a_slow_client_is_remembered_for_a_while() -> None:
    """Until something is delivered to it, or ten seconds."""
    pace = Pace()
    pace.call_slow("ada", 5)
    pace.call_slow("bob", 5)
    assert pace.is_slow("ada", 5 + SLOW_SECONDS - 0.1)
    assert not pace.is_slow("ada", 5 + SLOW_SECONDS)
    assert not pace.is_slow("cid", 5)
    pace.delivered(6, "bob")
    assert not pace.is_slow("bob", 6)
