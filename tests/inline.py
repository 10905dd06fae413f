"""The service in this process on a clock that leaps: the real gateway and sockets, use cases and workers, over memory.

What takes hours passes within seconds: idle closes, the two-hour cut, leases, reconnects.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from adapters.identity import DemoIdentity
from adapters.memory import MemoryMarks, MemoryNotices, MemoryQueue, MemoryStatuses, MemoryStore, MemoryWebhooks
from adapters.roster import AnnouncingRoster
from domain.errors import ConnectionGone, PostFailed, Refused, Throttled
from domain.lanes import LANES, Lane
from domain.ports import Clock, Connections, Identity, Ports
from domain.protocol import SUBPROTOCOL
from domain.rooms import Rules
from local.functions import FunctionError
from local.gateway import Gateway, listen
from local.schedule import Schedule
from pipeline.batch import Worker
from pipeline.worker import read_record
from services.authorizer import context_of
from services.caller import read_caller
from services.connect import STATUS
from services.handshake import asked_room, chosen_dialect, read_handshake
from services.leases import sweep
from services.requests import answer
from services.sessions import connect, disconnect
from tests.clocks import LeapingClock

__all__ = ["InlineService"]

STEP = 30.0
"""Seconds of one leap: less than what anybody here waits for."""
POLL = 0.002
"""Seconds between two looks at an empty queue."""
TURNS = 100
"""Rounds of the event loop in which whoever a leap has woken gets his work done."""


class InlineService:
    """`async with`: it serves until the end of the block. What clients see of it is at `url`."""

    def __init__(
        self,
        *,
        rules: Rules | None = None,
        seed: int = 0,
        identify: Callable[[Clock], Identity] | None = None,
        **settings: Any,
    ) -> None:
        """`identify`: who tells users by their credentials, on that clock; without it they are who they say they are.
        `settings` are the gateway's."""
        self.clock = LeapingClock()
        self.store = MemoryStore()
        self.queue = MemoryQueue(self.clock, LANES, random.Random(seed))
        self.failures: list[Exception] = []
        """What functions raised, and why jobs failed."""
        self.closes: list[int] = []
        """The codes with which connections were closed, as `$disconnect` has them."""
        rules = rules or Rules()
        statuses = MemoryStatuses(self.store)
        roster = AnnouncingRoster(self.store, statuses, self.queue, self.clock, rules)
        identity = identify(self.clock) if identify is not None else DemoIdentity()
        self.ports = Ports(
            self.store,
            self.queue,
            roster,
            self.clock,
            rules,
            random.Random(seed),
            identity=identity,
            marks=MemoryMarks(),
            notices=MemoryNotices(),
            statuses=statuses,
            webhooks=MemoryWebhooks(self.store),
        )
        self.gateway = Gateway(
            authorizer=_Function(self._authorize, self.failures),
            connect=_Function(self._connect, self.failures),
            disconnect=_Function(self._disconnect, self.failures),
            message=_Function(self._answer, self.failures),
            ws=listen(0),
            http=listen(0),
            clock=self.clock,
            **settings,
        )
        self._sockets = _Sockets(self.gateway)
        self._schedule = Schedule("tick", _Function(self._tick, self.failures), self.clock)
        self._workers = [(it, Worker(self.ports, self._sockets, it)) for it in LANES.values()]
        self._pumping = asyncio.Lock()
        self._pump: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return self.gateway.ws_url

    async def __aenter__(self) -> InlineService:
        await self.gateway.start()
        self._pump = asyncio.create_task(self._keep_pumping())
        self._schedule.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._schedule.stop()
        await self.gateway.stop()
        assert self._pump is not None
        self._pump.cancel()
        await asyncio.wait([self._pump])

    async def let_pass(self, seconds: float) -> None:
        """Let so much time pass, step by step, everybody doing at each step what has fallen due."""
        for done in itertools.count(1):
            left = seconds - (done - 1) * STEP
            if left <= 0:
                return
            self.clock.advance(min(STEP, left))
            worked = True
            while worked:
                for _ in range(TURNS):
                    await asyncio.sleep(0)
                worked = await self._work_all()

    # ---- the functions

    async def _authorize(self, event: dict[str, Any]) -> dict[str, Any]:
        assert self.ports.identity is not None
        try:
            principal = await self.ports.identity.admit(read_handshake(event))
        except Refused as error:
            raise FunctionError("Exception", "Unauthorized") from error
        return {
            "principalId": principal.user,
            "policyDocument": {"Statement": [{"Effect": "Allow"}]},
            "context": context_of(principal),
        }

    async def _connect(self, event: dict[str, Any]) -> dict[str, Any]:
        handshake = read_handshake(event)
        try:
            dialect = chosen_dialect(handshake.subprotocols)
            await connect(self.ports, read_caller(event), asked_room(handshake.query), dialect)
        except Refused as error:
            return {"statusCode": STATUS.get(error.code, 403), "body": error.message}
        return {"statusCode": 200, "headers": {"Sec-WebSocket-Protocol": SUBPROTOCOL} if dialect == "v1" else {}}

    async def _disconnect(self, event: dict[str, Any]) -> None:
        self.closes.append(event["requestContext"]["disconnectStatusCode"])
        await disconnect(self.ports, event["requestContext"]["connectionId"])

    async def _answer(self, event: dict[str, Any]) -> dict[str, Any]:
        answered = await answer(self.ports, self._sockets, read_caller(event), event["body"])
        return {"statusCode": 200, "body": answered.frame.decode()}

    async def _tick(self, event: dict[str, Any]) -> int:
        return await sweep(self.ports, self._sockets)

    # ---- the lanes

    async def _keep_pumping(self) -> None:
        while True:
            await self._work_all()
            await asyncio.sleep(POLL)

    async def _work_all(self) -> bool:
        """Work every lane until nothing in it is visible; whether there was anything."""
        async with self._pumping:
            batches = 0
            for lane, worker in self._workers:
                while records := await self.queue.receive(lane.name, lane.batch_size):
                    batches += 1
                    await self._work(lane, worker, records)
            return batches > 0

    async def _work(self, lane: Lane, worker: Worker, records: Sequence[dict[str, Any]]) -> None:
        end = self.clock.monotonic() + lane.timeout
        worked = await worker.work([read_record(it) for it in records], lambda: end - self.clock.monotonic())
        self.failures += worked.causes
        failed = {it.id for it in worked.failed}
        for it in records:
            if it["messageId"] not in failed:
                await self.queue.delete(lane.name, it["receiptHandle"])


class _Function:
    """A function whose environments are this process: what the handler raises is what Lambda makes of it."""

    def __init__(self, handler: Callable[[dict[str, Any]], Awaitable[Any]], failures: list[Exception]) -> None:
        self._handler = handler
        self._failures = failures

    async def invoke(self, event: Any) -> Any:
        event = json.loads(msgspec.json.encode(event))  # as it reaches a function's process
        try:
            return await self._handler(event)
        except FunctionError:
            raise
        except Exception as error:
            self._failures.append(error)
            raise FunctionError(type(error).__name__, str(error)) from error


class _Sockets(Connections):
    """`@connections` without HTTP."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def post(self, connection: str, frame: bytes, deadline: float) -> None:
        await asyncio.sleep(0)
        self._check(connection, self._gateway.post(connection, frame) if self._gateway.allow() else 429)

    async def close(self, connection: str) -> None:
        await asyncio.sleep(0)
        self._check(connection, self._gateway.close(connection) if self._gateway.allow() else 429)

    def _check(self, connection: str, status: int) -> None:
        if status >= 300:
            raise {410: ConnectionGone, 429: Throttled}.get(status, PostFailed)(connection)
