"""A run: connect, hold, drain, disconnect, and tell what came of it.

The model is open: a message is sent when it is due, whatever became of those before, and its latency counts from then.
A service that slows down so shows its queue, where a client that waits for answers would hide it.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable

from loadtest.audit import audit
from loadtest.clients import LoadClient
from loadtest.cost import estimate
from loadtest.ledger import Ledger
from loadtest.plan import Plan, plan_messages, reserve_sockets
from loadtest.report import Report
from loadtest.status import Status, read_status, wait_until_idle

__all__ = ["Watch", "run"]

Watch = Callable[[str, int, int], None]
"""Is told the phase, how much of it is done, and how much there is."""

HANDSHAKES = 64
"""Under way at once at most: more would time out waiting for each other where a service is slower than the ramp."""
READY_WITHIN = 30.0
"""Seconds for the last welcome after the last handshake."""
TICK_SECONDS = 0.1
CLIENT_TICKS = 10
"""Every so many ticks the clients' own clocks are looked at: there may be thousands."""
DRAIN_LIMIT = 180.0
"""Seconds after which a drain ends even if messages still come."""
TWIN_PATIENCE = 2.0
"""Seconds without any arrival before a twin is asked whether anything is still on its way."""
SETTLE_WITHIN = 10.0
"""Seconds for the answers to the last ping, and the history it leads to."""


async def run(plan: Plan, watch: Watch = lambda phase, done, total: None) -> Report:
    """Carry out the plan. Raises `BadSetting` if this process may not open enough sockets."""
    reserve_sockets(plan.clients)
    return await _Run(plan, watch).carry_out()


class _Run:
    def __init__(self, plan: Plan, watch: Watch) -> None:
        draw = random.Random()
        self._plan = plan
        self._watch = watch
        self._ledger = Ledger(draw)
        self._clients = [LoadClient(number, plan, self._ledger, draw) for number in range(plan.clients)]
        self._ready: dict[int, LoadClient] = {}
        self._members: dict[str, int] = {}
        self._failures: Counter[str] = Counter()
        self._loop = asyncio.get_running_loop()

    async def carry_out(self) -> Report:
        before = await read_status(self._plan.url)
        ticking = asyncio.create_task(self._tick())
        try:
            per_second = await self._connect()
            ready = await read_status(self._plan.url) if before is not None else None
            start = await self._hold()
            await self._drain(twin=before is not None)
        finally:
            ticking.cancel()
            await asyncio.wait([ticking])
            await self._disconnect()
        if not ticking.cancelled():
            ticking.result()
        after = await wait_until_idle(self._plan.url) if before is not None else None
        return self._report(before, ready, after, per_second, start)

    async def _connect(self) -> float:
        """Open the sockets at the planned pace, or the service's if that is slower, and wait until all know where their
        room is; connects a second."""
        start = self._loop.time()
        under_way = asyncio.Semaphore(HANDSHAKES)

        async def connect(client: LoadClient) -> bool:
            async with under_way:
                return await client.connect()

        tasks = []
        for number, client in enumerate(self._clients):
            await self._sleep_until(start + number / self._plan.ramp)
            tasks.append(asyncio.create_task(connect(client)))
            self._watch("connect", number, self._plan.clients)
        opened = await asyncio.gather(*tasks)
        last = max((it.connected_at or start for it in self._clients), default=start)
        hopeful = [client for client, success in zip(self._clients, opened, strict=True) if success]
        await self._until(lambda: all(it.ready for it in hopeful), READY_WITHIN)
        self._ready = {it.number: it for it in hopeful if it.ready}
        self._members = dict(Counter(it.room for it in self._ready.values()))
        self._failures.update(it.failure for it in self._clients if it.failure is not None)
        self._failures.update(
            {"no welcome": len(hopeful) - len(self._ready)} if len(hopeful) > len(self._ready) else {}
        )
        return len(self._ready) / max(last - start, 1e-3)

    async def _hold(self) -> float:
        """Send each message when it is due; returns when the first was."""
        start = self._loop.time() + TICK_SECONDS
        senders: dict[str, list[int]] = {}
        for client in self._ready.values():
            senders.setdefault(client.room, []).append(client.number)
        self._ledger.open(plan_messages(self._plan, senders, start))
        total = len(self._ledger.messages)
        for number, message in enumerate(self._ledger.messages):
            # Also when it is late already: the sockets must be read between two messages.
            await self._sleep_until(message.due)
            self._ledger.send(message, self._ready, self._loop.time())
            self._watch("send", number + 1, total)
        return start

    async def _drain(self, *, twin: bool) -> None:
        """Until all has arrived that will."""
        end = self._loop.time() + DRAIN_LIMIT
        if not await self._all_arrives(end, twin=twin) and self._plan.dialect == "v1":
            for client in self._ready.values():
                if client.open:
                    client.ping()
            await self._until(lambda: not any(it.session.busy for it in self._ready.values()), SETTLE_WITHIN)

    async def _all_arrives(self, end: float, *, twin: bool) -> bool:
        """True when nothing is missing; False when nothing has come for a while, and nothing is on its way."""
        ledger = self._ledger
        owed = 1
        while self._loop.time() < end:
            missing = ledger.missing(self._members)
            if not missing and not ledger.under_way:
                return True
            owed = max(owed, missing)
            self._watch("drain", owed - missing, owed)
            now = self._loop.time()
            patience = TWIN_PATIENCE if twin else self._plan.patience
            if not ledger.under_way and now - ledger.last_arrival > patience:
                status = await read_status(self._plan.url) if twin else None
                if status is None or not status.working:
                    return False
            await asyncio.sleep(TICK_SECONDS)
        return False

    async def _disconnect(self) -> None:
        self._watch("disconnect", 0, 1)
        await asyncio.gather(*(it.close() for it in self._clients))
        self._watch("disconnect", 1, 1)

    async def _tick(self) -> None:
        """The clients' clock, and that of messages to be sent again."""
        for turn in itertools.count():
            await asyncio.sleep(TICK_SECONDS)
            now = self._loop.time()
            self._ledger.send_due(self._ready, now)
            if turn % CLIENT_TICKS == 0:
                for client in self._clients:
                    client.tick(now)

    async def _until(self, condition: Callable[[], bool], within: float) -> None:
        deadline = self._loop.time() + within
        while True:
            if condition() or self._loop.time() > deadline:
                return
            await asyncio.sleep(TICK_SECONDS)

    async def _sleep_until(self, when: float) -> None:
        await asyncio.sleep(max(0.0, when - self._loop.time()))

    def _report(
        self, before: Status | None, ready: Status | None, after: Status | None, per_second: float, start: float
    ) -> Report:
        plan, ledger = self._plan, self._ledger
        minutes = sum(it.connected_seconds for it in self._clients) / 60
        return Report(
            plan=plan,
            audit=audit(ledger.messages, [it.log for it in self._clients]),
            connected=len(self._ready),
            connects_per_second=per_second,
            failures=self._failures,
            messages=ledger.messages,
            retries=ledger.retries,
            unanswered=sum(it.acknowledged_at is None and it.refusal is None for it in ledger.messages),
            members=self._members,
            latencies=ledger.latencies,
            acks=ledger.acks,
            seconds=max(0.0, ledger.last_arrival - start),
            frames=sum((it.frames for it in self._clients), Counter()),
            entry_frames=sum(it.entry_frames for it in self._clients),
            reconnects=sum(it.reconnects for it in self._clients),
            before=before,
            ready=ready,
            after=after,
            cost=estimate(before, after, minutes, plan.clients / plan.rooms) if before and after else None,
        )
