"""All clients lose their sockets at once and come back at what the account grants: the SDK's session and backoff, the
real use cases and workers, over the memory adapters.

Not in it: functions that die, posts that fail by themselves, and the tick (no lease ends within minutes). The chaos
simulation is for those.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any

from adapters.memory import MemoryMarks, MemoryNotices, MemoryQueue, MemoryStatuses, MemoryStore, MemoryWebhooks
from adapters.roster import AnnouncingRoster
from client.backoff import Backoff
from client.events import Missed, Released
from client.session import Session
from domain.errors import ConnectionGone, Throttled
from domain.events import Ack, Chat, Error, Welcome
from domain.lanes import LANES, Lane, override_lanes
from domain.ports import Connections, Ports
from domain.requests import request_head
from domain.rooms import Rules
from local.gateway import BURST, RATE
from local.throttle import TokenBucket
from pipeline.batch import Worker
from pipeline.worker import read_record
from services.caller import Caller
from services.requests import answer
from services.sessions import connect, disconnect
from tests.simulation.environments import Environments
from tests.simulation.virtual_time import VirtualClock, jitter

__all__ = ["Client", "ReconnectWave", "Scale", "busiest_second"]

TRIP = (0.02, 0.1)
"""Seconds from a client to the gateway and back."""
NOTICED_WITHIN = 10.0
"""Seconds within which the gateway finds that a socket is lost."""
LOST_DISCONNECTS = 0.1
"""Of the `$disconnect` events: these never come, and broadcasts find the ghosts."""
QUIET = 35.0
"""Seconds between the first connects and the first message: until a connection is 30 s old its 410 says nothing."""
TALK = 5.0
"""Seconds of messages before the loss, so that broadcasts are under way."""
LARGE_ROOM_TURN = 10
"""Every so many-th message goes to the first room."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How large it is. Times are as they are."""

    rooms: Sequence[tuple[int, int]]
    """(how many rooms, of how many members each), the largest first."""
    connects: float
    """A second that the account grants; as many at once when it has been quiet."""
    share: float
    """Of the account's usual requests a second, and of the lanes' usual post rates."""
    shard_limit: int
    roster_limit: int
    messages: float
    """A second, as long as it lasts."""
    settings: Sequence[str] = ()
    """Of the lanes, as `roomcast` takes them."""

    @property
    def clients(self) -> int:
        return sum(count * members for count, members in self.rooms)

    @property
    def ideal(self) -> float:
        """Seconds that it takes if no connect of the quota is left unused."""
        return self.clients / self.connects - 1

    def lanes(self) -> dict[str, Lane]:
        shares = {name: replace(it, post_rate=it.post_rate * self.share) for name, it in LANES.items()}
        return override_lanes(shares, self.settings)


class Client:
    """The SDK's session and its backoff, and what came of them. Times are seconds of the loop's clock."""

    __slots__ = (
        "_alarm", "_backoff", "_draw", "_gateway", "_loop", "_made", "admitted_at", "connection", "faults", "name",
        "opened_at", "reconnect_at", "room", "seen", "session", "tries", "welcomed_at", "whole_at",
    )  # fmt: skip

    def __init__(self, name: str, room: str, gateway: Gateway, draw: random.Random) -> None:
        self.name = name
        self.room = room
        self.session = Session(room, new_id=self._new_id, draw=draw)
        self.connection: str | None = None
        self.seen = 0
        """The seq of the room's last message that its user got."""
        self.faults: list[Released] = []
        """Messages that came out of order, twice or not at all, and errors."""
        self.tries = 0
        """Handshakes since the loss."""
        self.opened_at = self.welcomed_at = self.whole_at = 0.0
        """When the first connection after the loss was open, welcomed, and the client had all there was; 0: not yet."""
        self.reconnect_at = 0
        """When the service wants it to reconnect, in milliseconds since 1970."""
        self._gateway = gateway
        self._draw = draw
        self._loop = asyncio.get_running_loop()
        self._made = 0
        self._alarm: asyncio.TimerHandle | None = None
        self._backoff = Backoff([room], draw)

    def say(self, text: str) -> None:
        """Write to the room, now or when there is a connection again."""
        self.session.send(self.room, text, self._loop.time())
        self._flush()

    def lose(self) -> None:
        """The socket breaks."""
        self.stop()
        self.session.disconnected()
        self._backoff = Backoff(self.session.entrances, self._draw)
        self._wait()

    def stop(self) -> None:
        """Nothing is said or heard any more."""
        self.connection = None
        self._cancel_alarm()

    def refused(self, status: int) -> None:
        """The handshake came to nothing."""
        assert self._backoff.refused(status), f"{self.name} gave up: {status}"
        self._wait()

    def opened(self, connection: str, room: str) -> None:
        """The handshake is over."""
        self.connection = connection
        self.session.connected(self._loop.time(), room)
        if self.tries:
            self.opened_at = self._loop.time()
        self._flush()

    def receive(self, frame: bytes) -> None:
        for event in self.session.receive(frame, self._loop.time()):
            match event:
                case Chat():
                    if event.seq != self.seen + 1:
                        self.faults.append(event)
                    self.seen = event.seq
                case Ack():
                    self._gateway.acknowledged += 1
                case Welcome():
                    self.reconnect_at = event.reconnect_at
                    if self.tries:
                        self.welcomed_at = self._loop.time()
                case Missed() | Error():
                    self.faults.append(event)
                case _:
                    pass
        self._flush()

    def _flush(self) -> None:
        """Hand out what the session has to send, and be back when it wants to be."""
        if self.connection is None:
            return
        for frame in self.session.frames():
            self._gateway.request(self, frame)
        if self.opened_at and not self.whole_at and not self.session.busy:
            self.whole_at = self._loop.time()
        due = self.session.due()
        # One that rings too early costs less than another for each frame.
        if due is not None and (self._alarm is None or self._alarm.when() > due):
            self._cancel_alarm()
            self._alarm = self._loop.call_at(max(due, self._loop.time()), self._tick)

    def _tick(self) -> None:
        self._alarm = None
        for event in self.session.tick(self._loop.time()):
            self.faults.append(event)
        self._flush()

    def _wait(self) -> None:
        self._loop.call_later(self._backoff.pause() + self._draw.uniform(*TRIP), self._knock)

    def _knock(self) -> None:
        self.tries += 1
        self._gateway.knock(self, self._backoff.room)

    def _cancel_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _new_id(self) -> str:
        self._made += 1
        return f"{self.name}-{self._made:06}"


class Gateway(Connections):
    """Sockets, and what an account grants.

    How a handshake that is refused counts against the account's requests, AWS does not say: here it does.
    """

    def __init__(self, ports: Ports, scale: Scale, spawn: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        self.ports = ports
        self.settled = False
        """Before, posts take no time and are not counted."""
        self.admitted: list[float] = []
        """When handshakes were let in."""
        self.refused = 0
        """Handshakes that were not."""
        self.acknowledged = 0
        self.asked: Counter[str] = Counter()
        """Requests by type."""
        self.answered: Counter[str] = Counter()
        """Errors among their answers by code."""
        self.posts: Counter[str] = Counter()
        """Posts by what became of them."""
        self._account = TokenBucket(RATE * scale.share, BURST * scale.share, ports.clock)
        self._connects = TokenBucket(scale.connects, scale.connects, ports.clock)
        self._spawn = spawn
        self._seats: dict[str, Client] = {}
        self._post_wait = jitter(ports.draw, 0.002, 0.015)
        self._trip = jitter(ports.draw, *TRIP)
        self._numbers = 0

    def knock(self, client: Client, room: str) -> None:
        """A client asks to be let in."""
        if not (self._account.take() and self._connects.take()):
            self.refused += 1
            client.refused(429)
            return
        self.admitted.append(self.ports.clock.monotonic())
        self._spawn(self._admit(client, room))

    def request(self, client: Client, frame: bytes) -> None:
        """A client has sent a frame."""
        self.asked[request_head(frame)[0] or ""] += 1
        self._spawn(self._respond(client, client.connection or "", frame))

    def seat(self, client: Client, connection: str, room: str) -> None:
        """The client's socket is open."""
        self._seats[connection] = client
        client.opened(connection, room)

    def lose_all(self) -> None:
        """Every socket breaks; the service hears of most of them."""
        lost, self._seats = self._seats, {}
        for connection, client in lost.items():
            client.lose()
            if self.ports.draw.random() >= LOST_DISCONNECTS:
                self._spawn(self._farewell(connection))

    async def post(self, connection: str, frame: bytes, deadline: float) -> None:
        if self.settled:
            if not self._account.take():
                self.posts["throttled"] += 1
                raise Throttled(connection)
            await self._post_wait()
        client = self._seats.get(connection)
        if client is None:
            self.posts["gone"] += 1
            raise ConnectionGone(connection)
        self.posts["taken"] += 1
        client.receive(frame)

    async def close(self, connection: str) -> None:
        raise AssertionError("nobody is to be closed here")

    def caller(self, client: Client, connection: str) -> Caller:
        self._numbers += 1
        return Caller(connection, client.name, client.name, f"r{self._numbers}")

    async def _admit(self, client: Client, room: str) -> None:
        connection = f"{client.name}.{client.tries}"
        await connect(self.ports, self.caller(client, connection), room, "v1")
        await self._trip()
        self.seat(client, connection, room)

    async def _respond(self, client: Client, connection: str, frame: bytes) -> None:
        await self._trip()
        caller = self.caller(client, connection)
        if self._account.take():
            reply, code = await answer(self.ports, self, caller, frame.decode())
        else:
            words = {"message": "Too Many Requests", "connectionId": connection, "requestId": caller.request_id}
            reply, code = json.dumps(words).encode(), "429"
        if code is not None:
            self.answered[code] += 1
        if client.connection == connection:
            client.receive(reply)

    async def _farewell(self, connection: str) -> None:
        await self.ports.clock.sleep(self.ports.draw.uniform(0, NOTICED_WITHIN))
        await disconnect(self.ports, connection)


class ReconnectWave:
    """The service and its clients. `run` it, and look at what came of it."""

    def __init__(self, scale: Scale, group: asyncio.TaskGroup, seed: int = 0) -> None:
        self.scale = scale
        self.clock = VirtualClock()
        self.lanes = scale.lanes()
        self._draw = draw = random.Random(seed)
        self._settled = False
        self._slowly = jitter(draw, 0.001, 0.006)
        self.store = MemoryStore(self._answer)
        self.queue = MemoryQueue(self.clock, self.lanes, draw)
        rules = Rules(shard_limit=scale.shard_limit, roster_limit=scale.roster_limit)
        self.statuses = MemoryStatuses(self.store)
        roster = AnnouncingRoster(self.store, self.statuses, self.queue, self.clock, rules)
        marks, notices = MemoryMarks(self._answer), MemoryNotices()
        self.ports = Ports(
            self.store,
            self.queue,
            roster,
            self.clock,
            rules,
            draw,
            marks=marks,
            notices=notices,
            statuses=self.statuses,
            webhooks=MemoryWebhooks(self.store, self._answer),
        )
        self.gateway = Gateway(self.ports, scale, group.create_task)
        self.environments = Environments(self.ports, self.queue, self.gateway, self.lanes)
        sizes = [members for count, members in scale.rooms for _ in range(count)]
        self.rooms = [
            [Client(f"c{number}.{it}", f"room-{number}", self.gateway, draw) for it in range(members)]
            for number, members in enumerate(sizes)
        ]
        self.clients = [it for room in self.rooms for it in room]
        self.said = 0
        self.lost_at = 0.0
        """When the sockets were lost."""
        self._writing = True

    async def run(self) -> None:
        """Everybody is in their room, loses the socket, and comes back, while people write."""
        await self._settle()
        await self.clock.sleep(QUIET)
        async with self.environments.work(), asyncio.TaskGroup() as group:
            group.create_task(self._write())
            await self.clock.sleep(TALK)
            self.lost_at = self.clock.monotonic()
            self.gateway.lose_all()
            await self._until(lambda it: bool(it.whole_at))
            self._writing = False
            await self._until(lambda it: not it.session.busy)
            await self.environments.drain()
            await self._until(lambda it: not it.session.busy)
        for it in self.clients:
            it.stop()

    async def heads(self) -> dict[str, tuple[int, int]]:
        """Room → (epoch, head)."""
        found = {}
        for number in range(len(self.rooms)):
            room = await self.store.room(f"room-{number}")
            assert room is not None
            found[room.room] = (room.epoch, room.head)
        return found

    async def _settle(self) -> None:
        """Let everybody be in their room: by the use cases themselves, in no time, and nobody is told of others."""
        queue = MemoryQueue(self.clock, self.lanes, self._draw)
        rules = replace(self.ports.rules, roster_limit=0)
        roster = AnnouncingRoster(self.store, self.statuses, queue, self.clock, rules)
        ports = replace(self.ports, queue=queue, roster=roster, rules=rules)
        for client in self.clients:
            await connect(ports, self.gateway.caller(client, client.name), client.room, "v1")
            self.gateway.seat(client, client.name, client.room)
        lane = replace(LANES["ephemeral"], post_rate=0)
        worker = Worker(ports, self.gateway, lane)
        while received := await queue.receive(lane.name, lane.batch_size):
            await worker.work([read_record(it) for it in received], lambda: lane.timeout)
            for it in received:
                await queue.delete(lane.name, it["receiptHandle"])
        self._settled = self.gateway.settled = True

    async def _write(self) -> None:
        """People write to the large room and to others in turn, whether or not they have a connection."""
        others = cycle(self.rooms[1:])
        while self._writing:
            self.said += 1
            room = next(others) if self.said % LARGE_ROOM_TURN else self.rooms[0]
            self._draw.choice(room).say(f"message {self.said}")
            await self.clock.sleep(1 / self.scale.messages)

    async def _until(self, holds: Callable[[Client], bool]) -> None:
        """Until it has held of each client; of so many one always pings, so that it hardly holds of all at once."""
        left = self.clients
        while left := [it for it in left if not holds(it)]:
            await self.clock.sleep(1)

    async def _answer(self) -> None:
        await (self._slowly() if self._settled else asyncio.sleep(0))


def busiest_second(moments: Sequence[float]) -> int:
    """How many of the moments lie within one second at most."""
    moments = sorted(moments)
    most = first = 0
    for last, moment in enumerate(moments):
        while moments[first] <= moment - 1:
            first += 1
        most = max(most, last - first + 1)
    return most
