"""Posts to members: side by side, each with a deadline, and what their answers mean."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping

from domain.errors import ConnectionGone, PostError, PostFailed, Throttled, Unavailable
from domain.fanout import GRACE, Outcome, read_outcome
from domain.lanes import Lane
from domain.ports import Connections, Ports
from domain.rooms import Member, ShardKey

__all__ = ["RESERVE", "Poster", "TimeLeft"]

RESERVE = 2.0
"""Seconds of an invocation that are kept for remainders and the advance: no post begins within them."""
THROTTLED_TRIES = 3
"""Posts to one connection that are answered with 429 before it counts as failed."""

TimeLeft = Callable[[], float]
"""Seconds until the function is cut off."""

_ANSWERS: Mapping[type[PostError], str] = {
    ConnectionGone: "PostsGone",
    Throttled: "PostsThrottled",
    PostFailed: "PostsFailed",
}
"""What was answered → the metric that counts it."""


class Poster:
    """The posts of one worker environment, at most `lane.post_concurrency` at once whatever they belong to."""

    def __init__(self, ports: Ports, connections: Connections, lane: Lane) -> None:
        self._ports = ports
        self._connections = connections
        self._lane = lane
        self._slots = asyncio.Semaphore(lane.post_concurrency)
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
        """Post one frame. `patient`: try again at once what a moment may mend, a 429 or a young connection's 410."""
        grace = iter(GRACE if patient else ())
        throttled = 0 if patient else THROTTLED_TRIES
        while True:
            left = time_left() - RESERVE
            if left <= 0:
                return Outcome.RETRY
            # The age before the call: an answer that comes late must not make the connection old.
            age = self._ports.clock.now() - member.connected_at
            try:
                async with self._slots:
                    await self._connections.post(member.connection, body, min(self._lane.post_deadline, left))
            except PostError as error:
                self.counts[_ANSWERS[type(error)]] += 1
                if read_outcome(error, age) is Outcome.GONE:
                    return Outcome.GONE
                if isinstance(error, ConnectionGone):
                    pause = next(grace, None)
                elif isinstance(error, Throttled):
                    throttled += 1
                    pause = self._ports.draw.uniform(0, 0.1 * throttled) if throttled < THROTTLED_TRIES else None
                else:
                    pause = None
                if pause is None:
                    return Outcome.RETRY
                await self._ports.clock.sleep(pause)
            else:
                self.counts["PostsDelivered"] += 1
                return Outcome.DELIVERED

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
