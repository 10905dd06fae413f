"""Chance for clients in tests."""

from __future__ import annotations

import random

__all__ = ["IMPATIENT"]


class _Lowest(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return a


IMPATIENT = _Lowest()
"""No jitter: reconnects come at once."""
