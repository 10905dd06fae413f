"""For how long a room keeps what was said in it.

The stage says how long at most, a room may say less. An entry's row ends by the retention at the time it was stored;
a retention that was shortened since counts for what is older, too. DynamoDB deletes such rows days later: whoever reads
a log for somebody leaves out what has ended.
"""

from __future__ import annotations

from domain.rooms import FOREVER, Entry, Room, Rules

__all__ = ["DAY_SECONDS", "entry_end", "has_ended", "retention"]

DAY_SECONDS = 24 * 3600


def retention(room: Room, rules: Rules) -> int:
    """Seconds for which the room keeps its entries; 0: for ever."""
    return min((it for it in (room.profile.retention, rules.retention_days * DAY_SECONDS) if it), default=0)


def entry_end(room: Room, rules: Rules, at: int) -> int:
    """When an entry that is stored `at` ends, in milliseconds since 1970: a whole second, as a row can hold it."""
    seconds = retention(room, rules)
    return (-(-at // 1000) + seconds) * 1000 if seconds else FOREVER


def has_ended(entry: Entry, room: Room, rules: Rules, now: int) -> bool:
    """Whether the entry counts as gone, whether or not its row is."""
    return min(entry.ends_at, entry_end(room, rules, entry.at)) <= now
