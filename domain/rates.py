"""How many requests a client may make: a table of token buckets, and the memory of how full each is.

A request takes a token from each of three buckets, or from none: its connection's, its user's, and its user's for
requests of its type. A refused one takes none, so that who asks too often still gets what the rates grant. A delivery
to an incoming hook takes one from the hook's bucket alone.

    full_at     when a bucket will be full: all that is remembered of it
    depth       seconds that an empty bucket takes to be full

A bucket that is full again is the same as one that was never used, so of those that are forgotten, the least recently
used first, only the ones still filling lose anything, and that to their user's advantage.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from domain.errors import BadSetting

__all__ = ["CONNECTION", "HOOK", "OTHER", "RATES", "REMEMBERED", "USER", "Rate", "RateLimiter", "override_rates"]

CONNECTION = "connection"
"""The row for all requests of one connection."""
USER = "user"
"""The row for all requests of one user, over all connections."""
HOOK = "hook"
"""The row for all deliveries to one incoming hook."""
OTHER = "other"
"""The row for requests of a type that has none of its own."""
REMEMBERED = 20_000
"""Buckets that are remembered at most, some 5 MB: three for each user who asked for anything a moment ago."""
_MOST = 100_000.0
_ROUNDING = 1e-6
"""Seconds; times since 1970 are exact to a quarter of that."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A bucket: it holds `burst` tokens, and fills by `per_second`. 0 a second: there is no such limit."""

    per_second: float
    burst: float


RATES: Mapping[str, Rate] = {
    CONNECTION: Rate(30, 300),
    USER: Rate(60, 600),
    # A person types one or two a second; a bot that reports what happens may come to five.
    "chat": Rate(10, 100),
    "private_message": Rate(10, 100),
    "typing": Rate(5, 50),
    # Who comes back joins fifty rooms at once and asks each for what was missed, on each of their devices.
    "join_room": Rate(10, 200),
    "leave_room": Rate(10, 200),
    "history": Rate(20, 200),
    # A client pings every four minutes, and one that finds out that it is behind, once more.
    "ping": Rate(5, 100),
    # An index query and two batch reads; a page of 100 members.
    "room_list": Rate(5, 50),
    "members": Rate(5, 50),
    # Each is told to the whole room, as a message is; a hand taps no faster.
    "edit_message": Rate(5, 50),
    "react": Rate(5, 50),
    # Each may be told to fifty rooms; a person changes it a few times an hour, a client that comes and goes more often.
    "presence": Rate(1, 20),
    OTHER: Rate(10, 100),
    # A client marks a room that it shows once a second; who comes back marks fifty at once. Each is told to a room.
    "read": Rate(5, 100),
    # Each reads up to 1 MB of a room's partition, 256 of the 3,000 read units that one has in a second.
    "search": Rate(2, 20),
    # Machines report in bursts: a build of fifty parts ends at once.
    HOOK: Rate(5, 50),
}
"""Row → how often. Types are counted for each user. None of it is met by a person, or by a client that comes back."""


def override_rates(rates: Mapping[str, Rate], settings: Iterable[str]) -> dict[str, Rate]:
    """The table with settings such as `chat=5` or `chat=5/50` applied: tokens a second, and how many at once.

    Without the second the bucket goes on holding what fills it in as many seconds as before. Raises `BadSetting`.
    """
    result = dict(rates)
    for setting in settings:
        name, _, text = setting.partition("=")
        if name not in result:
            raise BadSetting(f"rate '{setting}': there is no row '{name}'; the rows are {', '.join(result)}")
        per_second, slash, burst = text.partition("/")
        before = result[name] if result[name].per_second else RATES[name]
        try:
            rate = float(per_second)
            result[name] = Rate(rate, float(burst) if slash else max(1.0, rate * before.burst / before.per_second))
        except ValueError:
            raise BadSetting(
                f"rate '{setting}': write NAME=PER_SECOND or NAME=PER_SECOND/BURST, e.g. chat=5/50"
            ) from None
        if not (0 <= rate <= _MOST and 1 <= result[name].burst <= _MOST):
            raise BadSetting(
                f"rate '{setting}': a second between 0, for none, and {_MOST:g}, and 1 to {_MOST:g} at once"
            )
    return result


class RateLimiter:
    """The buckets of whoever was heard of. Times are in seconds of any clock; one that goes back harms nobody."""

    __slots__ = ("_full_at", "_rates", "_remembered")

    def __init__(self, rates: Mapping[str, Rate] = RATES, remembered: int = REMEMBERED) -> None:
        self._rates = dict(rates)
        self._full_at: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._remembered = remembered

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, connection: str, user: str, request: str | None, now: float) -> float:
        """0 if the request is granted; else the seconds after which it would be. `request`: its type, if it has one."""
        own = request if request in self._rates else OTHER
        wanted = [(CONNECTION, connection), (USER, user)]
        if request is not None:
            wanted.append((own, user))
        return self._take(wanted, now)

    def take_of(self, row: str, who: str, now: float) -> float:
        """The same of one bucket alone: the one of that row that is `who`'s."""
        return self._take([(row, who)], now)

    def _take(self, wanted: Sequence[tuple[str, str]], now: float) -> float:
        """`wanted`: the buckets, each by its row and whose it is."""
        wait, taken = 0.0, []
        for key in wanted:
            rate = self._rates.get(key[0])
            if rate is None or not rate.per_second:
                continue
            depth = rate.burst / rate.per_second
            full_at = self._full_at.get(key, now)
            if full_at > now + depth:  # the clock has gone back: no bucket is more than empty
                full_at = self._full_at[key] = now + depth
            full_at = max(full_at, now) + 1 / rate.per_second
            wait = max(wait, full_at - now - depth)
            taken.append((key, full_at))
        if wait > _ROUNDING:
            return wait
        for key, full_at in taken:
            self._full_at[key] = full_at
            self._full_at.move_to_end(key)
        while len(self._full_at) > self._remembered:
            self._full_at.popitem(last=False)
        return 0.0
