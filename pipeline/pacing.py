"""How fast a worker may post: a rate that follows what the account grants. Pure: it is fed with time, and waits for
nobody.

A 429 has two meanings. From several connections within a moment: the account's throttle. From one connection again and
again: its client does not read. Only the first slows the worker down.

The rate is measured, not guessed: while an account is throttled, what is delivered is what it grants. So after a
throttled moment the rate is what was delivered in it, and then it probes upwards by a few per cent a moment. A token
bucket keeps what a slow moment leaves, so that little is lost by probing from below. One moment at most halves the
rate: where all posts met an empty bucket, since they woke together or another worker came first, it says little. A
worker with little to post is not why an account is throttled: it keeps a rate that its next burst can live with.
"""

from __future__ import annotations

import math

__all__ = ["Pace"]

MOMENT = 0.1
"""Seconds over which answers are counted, if there are enough of them."""
LONG_MOMENT = 1.0
"""The same where there are few."""
SHORT_MOMENT = 0.01
"""The same while most answers are 429s: whoever is that wrong corrects it at once."""
ENOUGH = 20
"""Answers that make a moment."""
ACCOUNT_SHARE = 0.01
"""429s among a moment's answers above which they are the account's, if they are several connections'."""
PROBE = 1.03
"""How much faster each moment is than the one before it, as long as nothing is throttled."""
CALM_SECONDS = 5.0
"""After so long without a throttled moment a long one counts as the moments that it lasted. Else a worker that was
brought down to where answers are few would take minutes to come up again."""
FLOOR = 20.0
"""Posts a second below which no throttle brings a worker."""
MODEST = 200.0
"""The same for a worker that posts less than half of what its pace allows: what was delivered may be all it had."""
SLOW_SECONDS = 10.0
"""How long a connection whose client did not read counts as slow, unless something is delivered to it before."""


class Pace:
    """The pace of one worker environment. Times are seconds of any clock that does not go back."""

    def __init__(self, cap: float = 0) -> None:
        """`cap`: posts a second at most; 0: as many as the account grants."""
        self._was_throttled = False
        self._throttled_at = -math.inf
        self._cap = cap or math.inf
        self._rate = self._cap
        self._next_turn = -math.inf
        self._held_back = False
        self._slow: dict[str, float] = {}
        self._begin(-math.inf)

    @property
    def rate(self) -> float:
        """Posts a second, if there are as many; infinite before the first throttle where there is no cap."""
        return self._rate

    @property
    def throttled(self) -> bool:
        """Whether the account's throttle was at work in the last whole moment, or is in the present one: where posts
        are few, a moment is long, and a frame refused twice can't wait for its end to learn whose throttle it met."""
        return self._was_throttled or self._is_throttled()

    def reserve(self, now: float, within: float = math.inf) -> float | None:
        """Take the next post's turn: the seconds until it comes. None, and no turn is taken, if they are not fewer than
        `within`: a turn that nobody waits for would keep the next ones waiting."""
        turn = now if math.isinf(self._rate) else max(self._next_turn, now)
        if turn - now >= within:
            return None
        self._next_turn = turn + 1 / self._rate
        self._held_back |= turn > now
        return turn - now

    def delivered(self, now: float, connection: str) -> None:
        """Count a post that was taken."""
        self._close_if_over(now)
        self._deliveries += 1
        self._slow.pop(connection, None)

    def granted(self, now: float) -> None:
        """Count a post that nobody took, as where the connection has gone: the account let it through."""
        self._close_if_over(now)
        self._deliveries += 1

    def refused(self, now: float, connection: str) -> None:
        """Count a 429."""
        self._close_if_over(now)
        self._refusals += 1
        self._refused.add(connection)

    def call_slow(self, connection: str, now: float) -> None:
        """Remember that a connection's client does not read."""
        self._slow[connection] = now + SLOW_SECONDS

    def is_slow(self, connection: str, now: float) -> bool:
        """Whether it did not read a moment ago."""
        return self._slow.get(connection, -math.inf) > now

    # ---- private

    def _begin(self, now: float) -> None:
        self._began = self._last = now
        self._deliveries = self._refusals = 0
        self._refused: set[str] = set()

    def _close_if_over(self, now: float) -> None:
        answers = self._deliveries + self._refusals
        if not answers:
            self._begin(now)
        elif self._refusals > self._deliveries:
            over = SHORT_MOMENT if answers >= ENOUGH else MOMENT
            if now - self._began >= over:
                self._close(now)
        elif now - self._began >= (MOMENT if answers >= ENOUGH else LONG_MOMENT):
            self._close(now)
        self._last = now

    def _is_throttled(self) -> bool:
        answers = self._deliveries + self._refusals
        return len(self._refused) > 1 and self._refusals > ACCOUNT_SHARE * answers

    def _close(self, now: float) -> None:
        """A moment is over: what it says of the account sets the rate of the next."""
        answers = self._deliveries + self._refusals
        self._was_throttled = self._is_throttled()
        if self._was_throttled:
            self._throttled_at = now
            # Up to the last answer: an environment that lay frozen since then was granted nothing.
            lasted = max(self._last - self._began, SHORT_MOMENT)
            tried = answers / lasted
            least = FLOOR if tried > self._rate / 2 else MODEST
            self._rate = min(self._cap, max(least, self._deliveries / lasted, min(self._rate, tried) / 2))
        elif self._held_back and math.isfinite(self._rate):
            # Only a pace that held posts back has shown that the account grants it.
            calm = now - self._throttled_at > CALM_SECONDS
            moments = min(max(now - self._began, MOMENT), LONG_MOMENT) / MOMENT if calm else 1
            self._rate = min(self._cap, self._rate * PROBE**moments)
        self._held_back = False
        self._slow = {it: until for it, until in self._slow.items() if until > now}
        self._begin(now)
