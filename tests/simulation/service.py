"""The service under faults: the real use cases, workers and event sources' rules, over the memory adapters."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

from adapters.memory import MemoryMarks, MemoryNotices, MemoryStatuses, MemoryStore, MemoryWebhooks
from adapters.roster import AnnouncingRoster
from domain.errors import Refused, RoomcastError
from domain.events import Ack
from domain.lanes import Lane
from domain.policy import Needs
from domain.ports import Clock, Connections, Ports
from domain.rooms import Connection, Entry, Member, Rules, Shard, ShardKey
from domain.webhooks import Hook
from pipeline.batch import Worker
from pipeline.known import KnownMembers
from pipeline.pacing import Pace
from pipeline.worker import read_record
from services.caller import Caller
from services.leases import sweep
from services.requests import answer
from services.sessions import connect, disconnect
from tests.simulation.chaos import Chaos, Environment, Faulty, Rates
from tests.simulation.clients import Client, Life
from tests.simulation.hooks import SimulatedReceivers
from tests.simulation.notices import Topic
from tests.simulation.queues import SimulatedQueue
from tests.simulation.sockets import Metered, Socket, Sockets
from tests.simulation.virtual_time import VirtualClock

__all__ = ["Service"]

API_TIMEOUT = 29.0
"""Seconds after which API Gateway gives up on a function."""
SILENCE = (5.0, 40.0)
"""Seconds until the gateway notices that a client has gone without a word."""
TICK = 60.0


class Removing(Connections):
    """The sockets, as who removes a user closes them."""

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets

    async def post(self, connection: str, frame: bytes, deadline: float) -> None:
        await self._sockets.post(connection, frame, deadline)

    async def close(self, connection: str) -> None:
        await self._sockets.remove(connection)


class Store(MemoryStore):
    """It remembers when whose connections came, since of some of them their clients never hear, and which broadcasts
    were overtaken by who came or went."""

    def __init__(self, answer: Callable[[], Awaitable[None]], clock: Clock) -> None:
        super().__init__(answer)
        self.came: dict[str, int] = {}
        """User → when the last one's rows were written, in milliseconds since 1970."""
        self.overtaken: dict[ShardKey, int] = {}
        """Shard → its version when a broadcast ended that had read an older one: its census does not count."""
        self._censuses: dict[ShardKey, int] = {}
        self._clock = clock

    async def connect(
        self, connection: Connection, joins: Sequence[tuple[Member, ShardKey, Needs | None]], now: int
    ) -> None:
        await super().connect(connection, joins, now)
        self.came[connection.user] = self._clock.now()

    async def advance(self, key: ShardKey, sent: int, counted: int | None, read: Shard | None) -> None:
        await super().advance(key, sent, counted, read)
        shard = self._shards[key]
        if counted is not None and shard.census == self._censuses.get(key, 0):
            self.overtaken[key] = shard.version
        self._censuses[key] = shard.census


class Service:
    """Everything but the clients."""

    def __init__(
        self,
        rates: Rates,
        rules: Rules,
        lanes: Mapping[str, Lane],
        draw: random.Random,
        notes: list[tuple[Any, ...]],
        tokens: tuple[float, float] | None,
    ) -> None:
        """`notes` gets (seconds, what, …) of all that happens. `tokens`: for how many seconds one is good, at least and
        at most."""
        self.clock = VirtualClock()
        self.chaos = Chaos(rates, draw, self.note)
        self.marks = MemoryMarks(self.chaos.answer)
        self.store = Store(self.chaos.answer, self.clock)
        self.notices = MemoryNotices(self.chaos.answer)
        self.topic = Topic(self)
        self.statuses = MemoryStatuses(self.store)
        self.webhooks = MemoryWebhooks(self.store, self.chaos.answer)
        self.receivers = SimulatedReceivers(self)
        self.hooks: list[Hook] = []
        """As they were made."""
        self.queue = SimulatedQueue(self.clock, lanes, self.chaos)
        self.sockets = Sockets(self.chaos, self.clock)
        self.lanes = lanes
        self.rules = rules
        self.tokens = tokens
        self.metered: list[Metered] = []
        """What each environment of a lane has posted."""
        self.crashes: list[Exception] = []
        """What no code may raise."""
        self.last_words: dict[ShardKey, int] = {}
        """Shard → its version when the last word was said in its room: who comes or goes later is not counted by it."""
        self.lives: dict[str, list[Life]] = {}
        """User → the connections of its client."""
        self.redriven = 0
        self.under_way = 0
        """Requests, handshakes and ends of connections."""
        self.counts: Counter[str] = Counter()
        self._notes = notes
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._numbers = 0

    def note(self, what: str, *of: object) -> None:
        self._notes.append((round(self._loop.time(), 3), what, *of))

    def start(self) -> None:
        """Begin to work the lanes."""
        for lane in self.lanes.values():
            for number in range(lane.max_concurrency):
                self._spawn(self._poll(lane, f"{lane.name}-{number}"))
        self._spawn(self._tick())

    async def stop(self) -> None:
        for it in list(self._tasks):
            it.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def idle(self) -> bool:
        return not self.under_way and not any(self.queue.depth(it) for it in self.lanes)

    def redrive(self) -> int:
        """Give the dead letters back but for poison; how many."""
        given = sum(self.queue.redrive(it) for it in self.lanes)
        self.redriven += given
        return given

    # ---- the gateway

    def handshake(
        self, client: Client, connection: str, room: str, receive: Callable[[bytes], None], closed: Callable[[], None]
    ) -> Socket:
        """A client asks to be let in; it is told by `opened` or `refused`."""
        socket = self.sockets.offer(connection, receive, closed)
        if self.tokens is not None:
            socket.token_expires_at = self.clock.now() + round(1000 * self.chaos.draw.uniform(*self.tokens))
        self._begin(self._admit(client, socket, room))
        return socket

    def request(self, client: Client, socket: Socket, frame: bytes) -> None:
        """A client has sent a frame."""
        self._begin(self._respond(client, socket, frame))

    def lost(self, socket: Socket) -> None:
        """A socket has ended, and the gateway knows."""
        if socket.state != "open":
            return
        self.sockets.lose(socket)
        if self.chaos.draw.random() >= self.chaos.rates.lost_disconnect:
            self._begin(self._farewell(socket))

    def later_lost(self, socket: Socket) -> None:
        """A client has gone without a word: the gateway finds out after a while."""
        self._loop.call_later(self.chaos.draw.uniform(*SILENCE), self.lost, socket)

    async def _admit(self, client: Client, socket: Socket, room: str) -> None:
        await self.chaos.answer()
        caller = Caller(socket.id, client.user, client.user, self._request_id(), client.groups, socket.token_expires_at)
        environment = Environment("connect", self.chaos, API_TIMEOUT)
        self.note("handshake", socket.id, room)
        status = 200
        try:
            work = connect(self._ports(environment), caller, room, client.dialect)
            if await self._integrate(environment, work) is None:
                status = 502
        except Refused:
            status = 403
        except RoomcastError:
            status = 502
        # Until the answer has passed the gateway, the connection does not exist for posts.
        await self.chaos.answer()
        self.note("admitted" if status == 200 else "refused", socket.id, status)
        if status != 200:
            self.sockets.lose(socket)
            client.refused(status)
        else:
            self.sockets.open(socket)
            client.opened(socket, room)

    async def _respond(self, client: Client, socket: Socket, frame: bytes) -> None:
        await self.chaos.answer()
        if socket.state != "open":
            return
        request = self._request_id()
        caller = Caller(socket.id, client.user, client.user, request, client.groups, socket.token_expires_at)
        environment = Environment("message", self.chaos, API_TIMEOUT)
        self.note("request", socket.id, frame.decode())
        sockets = Faulty(Removing(self.sockets), environment, fails=False)
        answered = await self._integrate(environment, answer(self._ports(environment), sockets, caller, frame.decode()))
        if answered is not None:
            reply = answered[0].frame
        else:
            failure = {"message": "Internal server error", "connectionId": socket.id, "requestId": request}
            reply = json.dumps(failure).encode()
        self.note("reply", socket.id, reply.decode())
        if reply and socket.state == "open":
            self.sockets.send(socket, reply)

    async def _integrate(self, environment: Environment, work: Coroutine[Any, Any, Any]) -> tuple[Any] | None:
        """The function's result; None where it died, or API Gateway waits no longer, while it goes on."""
        task = self._loop.create_task(environment.run(work))
        self.under_way += 1
        task.add_done_callback(self._one_less)
        await asyncio.wait([task], timeout=API_TIMEOUT)
        if not task.done():
            return None
        lived, result = task.result()
        return (result,) if lived else None

    def _one_less(self, task: asyncio.Task[Any]) -> None:
        self.under_way -= 1
        if not task.cancelled():
            task.exception()  # of one that nobody waits for any more: it has been seen

    async def _farewell(self, socket: Socket) -> None:
        await self.chaos.answer()
        environment = Environment("disconnect", self.chaos, API_TIMEOUT)
        try:
            await environment.run(disconnect(self._ports(environment), socket.id))
        except RoomcastError:
            self.note("no farewell", socket.id)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        async def count() -> None:
            self.under_way += 1
            try:
                await work
            except Exception as error:
                self.crashes.append(error)
            finally:
                self.under_way -= 1

        self._spawn(count())

    # ---- the lanes and the tick

    async def _poll(self, lane: Lane, name: str) -> None:
        memory = Pace(lane.post_rate), KnownMembers()
        metered = self._metered(lane)
        while True:
            received = await self.queue.receive(lane.name, lane.batch_size)
            environment = Environment(name, self.chaos, lane.timeout)
            connections = Faulty(metered, environment, fails=False)
            worker = Worker(self._ports(environment), connections, lane, *memory)
            batch = [read_record(it) for it in received]
            self.note("received", name, *(it.body for it in batch))
            metered.begins()
            try:
                lived, worked = await environment.run(worker.work(batch, environment.time_left))
            except Exception as error:
                self.crashes.append(error)
                continue
            if not lived:
                metered.died()
                memory, metered = (Pace(lane.post_rate), KnownMembers()), self._metered(lane)
                continue
            self.crashes += [it for it in worked.causes if not isinstance(it, RoomcastError)]
            self.counts.update({f"{lane.name} {metric}": count for metric, count in worker.counts.items()})
            failed = {it.receipt for it in worked.failed}
            for it in batch:
                if it.receipt not in failed:
                    await self.queue.delete(lane.name, it.receipt)

    def _metered(self, lane: Lane) -> Metered:
        self.metered.append(Metered(lane, self.sockets))
        return self.metered[-1]

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            environment = Environment("tick", self.chaos, API_TIMEOUT)
            try:
                await environment.run(sweep(self._ports(environment), Faulty(self.sockets, environment, fails=False)))
            except RoomcastError:
                self.note("the tick failed")

    def _ports(self, environment: Environment) -> Ports:
        store, queue = Faulty(self.store, environment), Faulty(self.queue, environment)
        statuses = Faulty(self.statuses, environment)
        roster = AnnouncingRoster(store, statuses, queue, self.clock, self.rules)
        return Ports(
            store,
            queue,
            roster,
            self.clock,
            self.rules,
            self.chaos.draw,
            marks=Faulty(self.marks, environment),
            notices=Faulty(self.notices, environment),
            statuses=statuses,
            webhooks=Faulty(self.webhooks, environment),
            receivers=Faulty(self.receivers, environment, fails=False),
            publisher=Faulty(self.topic, environment),
        )

    # ---- what moderators were told

    def removed(self, what: str, room: str, user: str, ack: Ack) -> None:
        """It was acknowledged: of a room that they were in, or of any that they may not come back to, the user's
        connections of now hear no more. Those aside that had left it of themselves: they were not closed, and may still
        be posted what was on its way. And those that came after a kick of which this is a late word: it keeps nobody
        out."""
        self.note("removed by ack", what, room, user)
        for life in self.lives.get(user, ()):
            member = room in life.begun and room not in life.doubtful
            left = room in life.leaving or life.moved
            kicked = what == "kick" and member and life.socket.state == "open"
            if not left and (what == "ban" or (kicked and life.begun[room] < (ack.epoch, ack.seq))):
                life.shut.setdefault(room, ack.epoch)

    def let_in(self, room: str, user: str) -> None:
        """A ban is about to end."""
        for life in self.lives.get(user, ()):
            life.shut.pop(room, None)

    def heads(self) -> dict[str, tuple[int, int]]:
        """Room → (epoch, head) at this very moment."""
        return {name: (it.epoch, it.head) for name, it in self.store._rooms.items()}

    def entry(self, room: str, epoch: int, seq: int) -> Entry | None:
        """What is stored there."""
        return self.store._entries[room, epoch].get(seq)

    def epochs(self, room: str) -> list[int]:
        """Of which there are entries."""
        return sorted(epoch for name, epoch in self.store._entries if name == room)

    def _request_id(self) -> str:
        self._numbers += 1
        return f"r{self._numbers}"

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
