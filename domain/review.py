"""What a deployment's own review may say of a message before it is stored."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

__all__ = ["Allow", "Refuse", "Replace", "Reviewer", "Verdict"]


@dataclass(frozen=True, slots=True)
class Allow:
    """It is stored as it is."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """It is not stored; the sender is told why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Replace:
    """Another text is stored in its place; its sender is pushed that, as everybody is."""

    text: str


Verdict = Allow | Refuse | Replace
Reviewer = Callable[[str, str, str], Verdict | Awaitable[Verdict]]
"""(room, user, text) → what becomes of the text. The room of a private message is its target's inbox, `inbox#USER`."""
