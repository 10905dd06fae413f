"""Posts to members: side by side, each with a deadline, and what their answers mean."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping

from domain.errors import ConnectionGone, PostError, PostFailed, Throttled, Unavailable
from domain.fanout import GRACE, PENDING_MS, Outcome, read_outcome
from domain.lanes import Lane
from domain.ports import Connections, Ports
from domain.rooms import Member, ShardKey
from pipeline.pacing import Pace

__all__ = ["RESERVE", "Poster", "TimeLeft"]

RESERVE = 2.0
"""Seconds of an invocation that are kept for remainders and the advance: no post begins within them."""
THROTTLED_TRIES = 10
"""Posts of a frame that are answered with 429 before it counts as failed, while the account's throttle is at work."""
THROTTLED_PAUSE = 0.1
"""Seconds, at most, between them; the first lasts half of it, in which the pace finds out whose throttle it is."""

TimeLeft = Callable[[], float]
"""Seconds until the function is cut off."""

_ANSWERS: Mapping[type[PostError], str] = {
    ConnectionGone: "PostsGone",
    Throttled: "PostsThrottled",
    PostFailed: "PostsFailed",
}
"""What was answered → the metric that counts it."""


class Poster:
    """The posts of one batch, at most `lane.post_concurrency` at once whatever they belong to."""

    def __init__(self, ports: Ports, connections: Connections, lane: Lane, pace: Pace) -> None:
        self._ports = ports
        self._pace = pace
        self._connections = connections
        self._lane = lane
        self._slots = asyncio.Semaphore(lane.post_concurrency)
        self._gone: set[str] = set()
        self.counts: Counter[str] = Counter()
        """Metric → number: every answer to a post, ConnectionsPurged, SocketsClosed."""

    async def to_each(self, members: Iterable[Member], deliver: Callable[[Member], Awaitable[None]]) -> None:
        """Run `deliver` for every member whose rows have not expired, as many side by side as may post."""
        now = self._ports.clock.now()
        live = [it for it in members if it.expires_at > now]
        todo = iter(live)

        async def work_through() -> None:
            for member in todo:
                await deliver(member)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(len(live), self._lane.post_concurrency)):
                group.create_task(work_through())

    async def post(self, member: Member, body: bytes, time_left: TimeLeft, *, patient: bool = True) -> Outcome:
        """Post one frame, when the pace allows it; none to a connection that was found gone before.

        `patient`: try again at once what a moment may mend, the account's 429 or a young connection's 410. Impatient
        posts are not even tried on a connection whose client does not read.
        """
        clock, pace = self._ports.clock, self._pace
        if not patient and pace.is_slow(member.connection, clock.monotonic()):
            return Outcome.SLOW
        grace = iter(GRACE if patient else ())
        throttled = 0
        while True:
            left = time_left() - RESERVE
            wait = pace.reserve(clock.monotonic(), left)
            if wait is None:
                return Outcome.RETRY
            left -= wait
            if wait:
                await clock.sleep(wait)
            if member.expires_at <= clock.now():
                return Outcome.OVER
            # The age before the call: an answer that comes late must not make the connection old.
            age = clock.now() - member.connected_at
            try:
                async with self._slots:
                    if member.connection in self._gone:
                        # Several rooms' frames, or several remainders, wait for it: each would find it out anew.
                        return Outcome.GONE
                    await self._connections.post(member.connection, body, min(self._lane.post_deadline, left))
            except PostError as error:
                self.counts[_ANSWERS[type(error)]] += 1
                outcome = read_outcome(error, age)
                pause: float | None = None
                if isinstance(error, Throttled):
                    throttled += 1
                    pace.refused(clock.monotonic(), member.connection)
                    outcome, pause = self._after_throttle(member, throttled, patient)
                elif isinstance(error, ConnectionGone):
                    pace.granted(clock.monotonic())
                    pause = next(grace, None) if age < PENDING_MS else None
                if pause is None:
                    if outcome is Outcome.GONE:
                        self._gone.add(member.connection)
                    return outcome
                await clock.sleep(pause)
            else:
                self.counts["PostsDelivered"] += 1
                pace.delivered(clock.monotonic(), member.connection)
                return Outcome.DELIVERED

    def _after_throttle(self, member: Member, throttled: int, patient: bool) -> tuple[Outcome, float | None]:
        """What the so many-th 429 of a frame means, and the seconds until the next try; None: there is none."""
        now = self._ports.clock.monotonic()
        if not patient or throttled == THROTTLED_TRIES:
            return Outcome.RETRY, None
        if self._pace.throttled:
            return Outcome.RETRY, self._ports.draw.uniform(0, THROTTLED_PAUSE)
        if throttled == 1 and not self._pace.is_slow(member.connection, now):
            return Outcome.RETRY, self._ports.draw.uniform(THROTTLED_PAUSE / 2, THROTTLED_PAUSE)
        # Others are served meanwhile, who need not wait for this one.
        self._pace.call_slow(member.connection, now)
        return Outcome.SLOW, None

    async def purge(self, key: ShardKey, member: Member) -> None:
        """End a connection that is no more, in all its rooms. If that fails, the next broadcast finds it again."""
        try:
            await self._ports.roster.drop(member, key)
        except Unavailable:
            return
        self.counts["ConnectionsPurged"] += 1

    async def close(self, member: Member) -> None:
        """Close a socket, so that its client notices and comes back. Raises `PostError` if it may still be open."""
        try:
            await self._connections.close(member.connection)
        except ConnectionGone:
            return
        self.counts["SocketsClosed"] += 1
