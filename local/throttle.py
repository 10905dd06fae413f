"""The account's request rate: a token bucket that refills with time."""

from __future__ import annotations

from domain.ports import Clock

__all__ = ["TokenBucket"]


class TokenBucket:
    """`burst` requests at once, `rate` a second in the long run."""

    def __init__(self, rate: float, burst: float, clock: Clock) -> None:
        self.rate = rate
        self.burst = burst
        self._clock = clock
        self._tokens = burst
        self._filled_at = clock.monotonic()

    def take(self) -> bool:
        """Take a token; False if there is none."""
        now = self._clock.monotonic()
        self._tokens = min(self.burst, self._tokens + (now - self._filled_at) * self.rate)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
