"""How a user is: one status over all of their connections, of which the most engaged counts.

    busy > online > away > offline

Each connection says how it is, `online` until it says otherwise; a user without any is offline. What that comes to
stands in a row of the user's. It holds `until` a while after the last of the leases that it was worked out of: a
function that died between the end of a connection and the work-out is made good by time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from domain.protocol import Shown
from domain.rooms import LEASE_MS, Member, lease_end

__all__ = [
    "CLAIM_MS",
    "PRESENCE_EVERY",
    "RENEW_MS",
    "SLACK_MS",
    "TYPING_EVERY_MS",
    "Presence",
    "is_behind",
    "shown",
    "worked_out",
]

PRESENCE_EVERY = 3
"""Seconds between two posts, at most, by which a small room is told whose status has changed."""
CLAIM_MS = 10_000
"""How long a room's changes count as on their way. Whoever changes later has them told anew: the job was lost."""
SLACK_MS = 180_000
"""How much longer than a lease a status holds: the tick finds the lease in the next minute, and needs some time."""
RENEW_MS = (LEASE_MS + SLACK_MS) // 2
"""A ping that finds less than this left works the status out anew."""
TYPING_EVERY_MS = 3_000
"""How often, at most, a user's rooms are told that they are writing."""
_ENGAGED: tuple[Shown, ...] = ("offline", "away", "online", "busy")
"""The least engaged first."""


@dataclass(frozen=True, slots=True)
class Presence:
    """A user's row. The empty one is that of a user who was never here."""

    user: str
    status: Shown = "offline"
    since: int = 0
    """When it became so. Of two statuses of a user the one with the higher `since` is the later."""
    until: int = 0
    """It counts as offline from then on."""
    version: int = 0
    """Rises with every work-out: of two at a time the one that has read the older row writes in vain."""


def shown(presence: Presence, now: int) -> Shown:
    """How the user is."""
    return presence.status if presence.until > now else "offline"


def worked_out(read: Presence, members: Iterable[Member], now: int) -> Presence:
    """The user's next row, where `read` is the one before, and `members` are the user's connections as the rows of the
    inbox that were read after it have them."""
    live = [it for it in members if it.expires_at > now]
    said: list[Shown] = [it.status for it in live]
    status = max(said, key=_ENGAGED.index, default=_ENGAGED[0])
    until = max((lease_end(it, now) + SLACK_MS for it in live), default=now)
    changed = status != shown(read, now)
    return Presence(read.user, status, max(now, read.since + 1) if changed else read.since, until, read.version + 1)


def is_behind(presence: Presence, now: int) -> bool:
    """Whether the row of a user with an open connection is to be worked out anew."""
    return presence.until - now < RENEW_MS
