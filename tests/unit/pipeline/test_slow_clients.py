"""A client that does not read, and an account that is throttled: both answer 429, and only one slows the others down.

In virtual time, with the rows, the queue, the worker and its pace as they are.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from msgspec import Raw

from adapters.memory import MemoryMarks, MemoryNotices, MemoryQueue, MemoryStatuses, MemoryStore, MemoryWebhooks
from adapters.roster import AnnouncingRoster
from domain.errors import ConnectionGone, PostFailed, Throttled
from domain.fanout import Notice, Remainder
from domain.lanes import LANES
from domain.ports import Clock, Connections, Ports
from domain.requests import ChatMessage
from domain.rooms import Rules
from pipeline.batch import Worker
from pipeline.broadcast import SLOW_ATTEMPTS
from pipeline.pacing import SLOW_SECONDS, Pace
from pipeline.posting import THROTTLED_PAUSE
from pipeline.worker import read_record
from services.caller import Caller
from services.chat import send_chat
from services.sessions import connect
from tests.simulation.virtual_time import VirtualClock, run_virtually

ROOM = "arena"
LATENCY = 0.002
"""Seconds that a post takes."""
SLOW = "m7"


class Sockets(Connections):
    """Open sockets: `slow` ones answer 429, and the account does beyond `rate` posts a second."""

    def __init__(self, clock: VirtualClock) -> None:
        self.slow: set[str] = set()
        self.gone: set[str] = set()
        self.rate = 0.0
        self.burst = 0.0
        self.received: dict[str, list[bytes]] = {}
        self.tried: Counter[str] = Counter()
        self.closed: list[str] = []
        self.close_failures = 0
        self.last = 0.0
        """When the last frame was taken."""
        self._clock = clock
        self._refilled = 0.0

    def throttle(self, rate: float) -> None:
        """From now on, with an empty bucket."""
        self.rate, self.burst, self._refilled = rate, 0.0, self._clock.monotonic()

    async def post(self, connection: str, frame: bytes, deadline: float) -> None:
        await asyncio.sleep(LATENCY)
        self.tried[connection] += 1
        now = self._clock.monotonic()
        if self.rate:
            self.burst = min(50.0, self.burst + (now - self._refilled) * self.rate)
            self._refilled = now
            if self.burst < 1:
                raise Throttled("429")
            self.burst -= 1
        if connection in self.slow:
            raise Throttled("429")
        if connection in self.gone:
            raise ConnectionGone("410")
        self.received.setdefault(connection, []).append(frame)
        self.last = now

    async def close(self, connection: str) -> None:
        await asyncio.sleep(LATENCY)
        if self.close_failures:
            self.close_failures -= 1
            raise PostFailed("503")
        self.closed.append(connection)


class RecordingQueue(MemoryQueue):
    """Keeps every remainder, as it was enqueued."""

    def __init__(self, clock: Clock, draw: random.Random) -> None:
        super().__init__(clock, draw=draw)
        self.deferred: list[Remainder] = []

    async def defer(self, remainders: Sequence[Remainder]) -> None:
        self.deferred += remainders
        await super().defer(remainders)


class Stage:
    """A room with members, a recording queue, and one environment of each lane."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.queue = RecordingQueue(self.clock, random.Random(1))
        self.sockets = Sockets(self.clock)
        rules = Rules(roster_limit=0)
        store = MemoryStore()
        statuses = MemoryStatuses(store)
        roster = AnnouncingRoster(store, statuses, self.queue, self.clock, rules)
        self.ports = Ports(
            store,
            self.queue,
            roster,
            self.clock,
            rules,
            random.Random(2),
            marks=MemoryMarks(),
            notices=MemoryNotices(),
            statuses=statuses,
            webhooks=MemoryWebhooks(store),
        )
        self.paces = {name: Pace(lane.post_rate) for name, lane in LANES.items()}
        self.counts: Counter[str] = Counter()

    async def fill(self, members: int) -> list[str]:
        """The names of so many members, whose welcomes are delivered."""
        names = [f"m{it}" for it in range(members)]
        for it in names:
            await connect(self.ports, Caller(it, it, it, it), ROOM, "v1")
        await self.drain()
        self.sockets.received.clear()
        self.sockets.tried.clear()
        return names

    async def say(self, *messages: str) -> None:
        for it in messages:
            request = ChatMessage(message=it, room_id=ROOM)
            await send_chat(self.ports, Caller("m0", "m0", "m0", f"request-{it}"), request)

    async def serve(self) -> float:
        """Work what waits on `interactive`; the seconds until the last frame was taken."""
        begun = self.clock.monotonic()
        assert await self._work("interactive")
        return self.sockets.last - begun

    async def tell(self) -> None:
        """Send the room an ephemeral event."""
        now = self.clock.now()
        room = await self.ports.store.room(ROOM)
        assert room is not None
        await self.queue.announce(
            Notice(room=ROOM, epoch=room.epoch, shard=0, event=Raw(b'{"type":"typing"}'), not_after=now + 3_000)
        )
        assert await self._work("ephemeral")

    async def drain(self) -> None:
        """Work every lane until nothing waits, is hidden, or delayed."""
        while any(self.queue.depth(it) for it in LANES):
            worked = [await self._work(it) for it in LANES]
            if not any(worked):
                await self.clock.sleep(0.05)

    def chats(self, name: str) -> list[str]:
        events = [json.loads(it) for it in self.sockets.received.get(name, [])]
        flat = [one for it in events for one in (it["data"]["events"] if it["type"] == "batch" else [it])]
        return [it["data"]["message"] for it in flat if it["type"] == "chat"]

    async def _work(self, lane: str) -> bool:
        records = await self.queue.receive(lane, LANES[lane].batch_size)
        if not records:
            return False
        end = self.clock.monotonic() + LANES[lane].timeout
        worker = Worker(self.ports, self.sockets, LANES[lane], self.paces[lane])
        worked = await worker.work([read_record(it) for it in records], lambda: end - self.clock.monotonic())
        assert (worked.causes, worked.failed) == ([], [])
        for it in records:
            await self.queue.delete(lane, it["receiptHandle"])
        self.counts.update(worker.counts)
        return True


def virtually(scenario: Callable[[Stage], Awaitable[None]]) -> None:
    async def run() -> None:
        await scenario(Stage())

    run_virtually(run())


# ---- one client that does not read


def test_the_others_wait_for_a_slow_client_no_longer_than_a_pause() -> None:
    """Theirs are delivered as without it; the round ends one pause later, and the next rounds at once."""

    async def scenario(stage: Stage) -> None:
        names = await stage.fill(200)
        await stage.say("before")
        usual = await stage.serve()
        stage.sockets.slow = {SLOW}
        await stage.say("first")
        begun = stage.clock.monotonic()
        assert await stage.serve() <= usual + LATENCY
        assert stage.clock.monotonic() - begun <= usual + THROTTLED_PAUSE + 3 * LATENCY
        await stage.say("second")
        begun = stage.clock.monotonic()
        assert await stage.serve() <= usual + LATENCY
        assert stage.clock.monotonic() - begun <= usual + 3 * LATENCY
        assert stage.sockets.tried[SLOW] == 1 + 2 + 1
        assert all(stage.chats(it) == ["before", "first", "second"] for it in names if it != SLOW)
        assert [it.connections for it in stage.queue.deferred] == [[SLOW]] * 2
        assert stage.paces["interactive"].rate == float("inf")

    virtually(scenario)


def test_a_slow_client_loses_what_is_worth_nothing_when_old() -> None:
    """Ephemeral events are not even tried on it, for ten seconds from the last 429; then they are again."""

    async def scenario(stage: Stage) -> None:
        await stage.fill(20)
        stage.sockets.slow = {SLOW}
        pace = stage.paces["ephemeral"]
        pace.call_slow(SLOW, stage.clock.monotonic())
        await stage.tell()
        assert (stage.sockets.tried[SLOW], stage.sockets.tried["m1"]) == (0, 1)
        await stage.clock.sleep(SLOW_SECONDS)
        stage.sockets.slow = set()
        await stage.tell()
        assert (stage.sockets.tried[SLOW], stage.sockets.tried["m1"]) == (1, 2)

    virtually(scenario)


def test_an_ephemeral_event_is_tried_once() -> None:
    """A 429 is the end of it, whoever's it is."""

    async def scenario(stage: Stage) -> None:
        await stage.fill(20)
        stage.sockets.slow = {SLOW}
        await stage.tell()
        assert stage.sockets.tried[SLOW] == 1
        assert stage.queue.deferred == []

    virtually(scenario)


def test_a_client_that_never_reads_is_closed_after_its_strikes() -> None:
    """Five remainders, then the socket: it comes back and reads what it missed. No sixth is made."""

    async def scenario(stage: Stage) -> None:
        names = await stage.fill(50)
        stage.sockets.slow = {SLOW}
        await stage.say("hello")
        await stage.drain()
        assert [it.attempt for it in stage.queue.deferred] == list(range(1, SLOW_ATTEMPTS + 1))
        assert stage.sockets.closed == [SLOW]
        assert stage.counts["SocketsClosed"] == 1
        assert all(stage.chats(it) == ["hello"] for it in names if it != SLOW)

    virtually(scenario)


def test_a_client_that_reads_again_is_not_closed() -> None:
    """It gets what it is owed, once and in order."""

    async def scenario(stage: Stage) -> None:
        await stage.fill(50)
        stage.sockets.slow = {SLOW}
        await stage.say("one", "two")
        await stage.serve()
        await stage.clock.sleep(1)
        stage.sockets.slow = set()
        await stage.drain()
        assert (stage.sockets.closed, stage.chats(SLOW)) == ([], ["one", "two"])

    virtually(scenario)


def test_a_close_that_fails_is_tried_again() -> None:
    """The connection may still be open: its remainder lives on until the close works."""

    async def scenario(stage: Stage) -> None:
        await stage.fill(10)
        stage.sockets.slow = {SLOW}
        stage.sockets.close_failures = 2
        await stage.say("hello")
        await stage.drain()
        assert [it.attempt for it in stage.queue.deferred] == list(range(1, SLOW_ATTEMPTS + 3))
        assert stage.sockets.closed == [SLOW]

    virtually(scenario)


# ---- an account that is throttled


def test_a_throttled_account_closes_nobody_and_loses_nothing() -> None:
    """400 members, 20 posts a second: many meet a 429 again and again, and all get everything in the end."""

    async def scenario(stage: Stage) -> None:
        names = await stage.fill(400)
        stage.sockets.rate = 10
        for number in range(8):
            await stage.say(f"{number}")
            await stage.serve()
        await stage.drain()
        assert stage.counts["PostsThrottled"] > 0
        assert stage.sockets.closed == []
        assert all(sorted(stage.chats(it)) == [f"{number}" for number in range(8)] for it in names)
        assert max(it.attempt for it in stage.queue.deferred) > SLOW_ATTEMPTS

    virtually(scenario)


def test_a_small_room_of_a_throttled_account_is_not_put_off() -> None:
    """Five members who meet an empty bucket twice are no clients that do not read: within the same invocation all are
    served, in the time that the bucket takes to fill."""

    async def scenario(stage: Stage) -> None:
        names = await stage.fill(5)
        stage.sockets.throttle(20)
        await stage.say("hello")
        assert await stage.serve() <= 5 / 20 + 2 * THROTTLED_PAUSE
        assert stage.queue.deferred == []
        assert all(stage.chats(it) == ["hello"] for it in names)

    virtually(scenario)


def test_a_slow_client_of_a_throttled_account_goes_by_its_strikes() -> None:
    """The others are spared."""

    async def scenario(stage: Stage) -> None:
        names = await stage.fill(200)
        stage.sockets.rate = 500
        stage.sockets.slow = {SLOW}
        for number in range(10):
            await stage.say(f"{number}")
            await stage.serve()
        await stage.drain()
        assert set(stage.sockets.closed) == {SLOW}
        assert all(sorted(stage.chats(it)) == [f"{number}" for number in range(10)] for it in names if it != SLOW)

    virtually(scenario)


def test_a_worker_gets_its_pace_back_from_whoever_answers() -> None:
    """After a throttle, in a room whose members are ghosts: each 410 is a post that the account let through."""

    async def scenario(stage: Stage) -> None:
        names = await stage.fill(200)
        await stage.clock.sleep(60)
        stage.sockets.gone = set(names)
        pace = stage.paces["interactive"]
        for number in range(100):
            pace.refused(stage.clock.monotonic(), f"{number}")
            await stage.clock.sleep(0.01)
        low = pace.rate
        await stage.clock.sleep(10)
        await stage.say("anybody?")
        await stage.serve()
        assert set(stage.sockets.tried) >= stage.sockets.gone
        assert pace.rate > low

    virtually(scenario)
