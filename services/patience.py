"""Trying again within a budget of time."""

from __future__ import annotations

from domain.ports import Ports

__all__ = ["Patience"]

FIRST_PAUSE = 0.02
LONGEST_PAUSE = 0.5
"""Seconds; each pause is drawn evenly between nothing and a bound that doubles, so that those who collide part."""


class Patience:
    """A budget of seconds for conflicts and failures of one request."""

    def __init__(self, ports: Ports, seconds: float) -> None:
        self._ports = ports
        self._end = ports.clock.monotonic() + seconds
        self._bound = FIRST_PAUSE

    async def lasts(self) -> bool:
        """Pause before the next try; False, at once, when the budget is spent."""
        if self._ports.clock.monotonic() >= self._end:
            return False
        await self._ports.clock.sleep(self._ports.draw.uniform(0, self._bound))
        self._bound = min(LONGEST_PAUSE, 2 * self._bound)
        return True
