"""How a client that has lost its socket comes back: after which pauses, through which rooms, and when it gives up."""

from __future__ import annotations

import random
from collections.abc import Sequence

__all__ = ["PAUSE", "PAUSE_LIMIT", "Backoff"]

PAUSE = 0.5
PAUSE_LIMIT = 30.0
"""Seconds before a reconnect: full jitter below 0.5 × 2^tries, at most 30."""


class Backoff:
    """The tries of one reconnect. Wait for `pause()`, open a socket that names `room`, and tell a refusal to
    `refused`; a try that nobody answered needs no telling."""

    def __init__(self, entrances: Sequence[str], draw: random.Random) -> None:
        """`entrances`: the rooms to name, one after the other, where the service refuses the one before."""
        self._entrances = list(entrances)
        self._draw = draw
        self._bound = PAUSE

    @property
    def room(self) -> str:
        """The room to name at the next try."""
        return self._entrances[0]

    def pause(self) -> float:
        """The seconds before the next try."""
        pause = self._draw.uniform(0, self._bound)
        self._bound = min(PAUSE_LIMIT, 2 * self._bound)
        return pause

    def refused(self, status: int) -> bool:
        """The handshake was answered with that HTTP status. Whether another try may succeed."""
        if status == 403 and len(self._entrances) > 1:
            # This room is closed to us; we may still be welcome in another.
            del self._entrances[0]
            self._bound = PAUSE
            return True
        return status == 429 or status >= 500
