"""Why a bench gives no figure."""

from __future__ import annotations

__all__ = ["BenchError"]


class BenchError(RuntimeError):
    """No figure can be given; the text says why."""
