"""Chance for clients in tests."""

from __future__ import annotations

import random

__all__ = ["IMPATIENT"]

IMPATIENT = random.Random()
"""No jitter: reconnects come at once."""
IMPATIENT.uniform = lambda a, b: a  # type: ignore[method-assign]  # one number in place of many
