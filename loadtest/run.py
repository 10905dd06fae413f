"""A run: connect, send, drain, disconnect, and tell what came of it.

The model is open: a message is sent when it is due, whatever became of those before, and its latency counts from then.
A service that slows down so shows its queue, where a client that waits for answers would hide it.
"""

from __future__ import annotations

import asyncio
import math
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from loadtest.audit import Audit
from loadtest.cost import estimate
from loadtest.counts import Circumstances, Counts, Owed
from loadtest.crew import Credential, Crew, start_crew
from loadtest.drain import Drain
from loadtest.plan import Message, Plan, plan_messages, split
from loadtest.report import Report
from loadtest.series import Series
from loadtest.share import senders_of
from loadtest.status import read_status, wait_until_idle

__all__ = ["Live", "Watch", "run"]

Watch = Callable[[str, int, int], None]
"""Is told the phase, how much of it is done, and how much there is."""
Live = Callable[[Mapping[str, Any]], None]
"""Is told each second as the report's `series` has it."""

READY_WITHIN = 30.0
"""Seconds for the last welcome after the last handshake."""
POLL_SECONDS = 0.1
STATUS_SECONDS = 1.0
STOP_SECONDS = 0.2
"""For word of an early end to reach every process."""
DRAIN_LIMIT = 180.0
"""Seconds after which a drain ends even if messages still come."""
INTERRUPTED_LIMIT = 5.0
"""The same after an interrupt."""
SETTLE_WITHIN = 10.0
"""Seconds for the answers to the last ping, and the history it leads to."""


def _silent(*told: object) -> None:
    pass


async def run(
    plan: Plan,
    watch: Watch = _silent,
    *,
    live: Live = _silent,
    processes: int | None = None,
    credential: Credential = Credential(),  # noqa: B008  # it is frozen
    interrupt: asyncio.Event | None = None,
) -> Report:
    """Carry out the plan in so many processes, or as many as it takes; `interrupt` ends the sending early.

    Raises `BadSetting` where a process may not open enough sockets, or for a token command that gives none, and
    `ChildError` where a process ends.
    """
    count = split(plan.clients, processes)
    async with start_crew(count) as crew:
        return await _Run(plan, crew, watch, live, interrupt or asyncio.Event()).carry_out(credential)


class _Run:
    def __init__(self, plan: Plan, crew: Crew, watch: Watch, live: Live, interrupt: asyncio.Event) -> None:
        self._plan = plan
        self._crew = crew
        self._watch = watch
        self._live = live
        self._interrupt = interrupt
        self._series = Series()
        self._looks: Sequence[Mapping[str, Any]] = ()
        self._messages: list[Message] = []
        self._absent: set[int] = set()
        self._circumstances = Circumstances.now()

    async def carry_out(self, credential: Credential) -> Report:
        before = await read_status(self._plan.url)
        await self._crew.begin(replace(self._plan, trace=before is not None), credential)
        asking = asyncio.create_task(self._ask_twin()) if before is not None else None
        try:
            per_second = await self._connect()
            ready = await read_status(self._plan.url) if before is not None else None
            start = await self._send()
            await self._drain(twin=before is not None)
        finally:
            if asking is not None:
                asking.cancel()
                await asyncio.wait([asking])
        self._watch("disconnect", 0, 1)
        await self._crew.ask("disconnect")
        await self._look(last=True)
        last_arrival = max(it["last_arrival"] for it in self._looks)
        self._watch("disconnect", 1, 1)
        owed = self._merge(await self._crew.ask("outcomes"))
        audited = await self._audit()
        results = await self._crew.ask("results")
        after = await wait_until_idle(self._plan.url) if before is not None else None
        minutes = sum(it["connected_seconds"] for it in results) / 60
        return Report(
            plan=self._plan,
            circumstances=replace(self._circumstances, interrupted=self._interrupt.is_set()),
            processes=len(self._crew),
            audit=audited,
            counts=Counts.of(results),
            connects_per_second=per_second,
            messages=self._messages,
            owed=owed,
            members={room: len(them) for room, them in senders_of(self._plan, self._absent).items()},
            series=self._series,
            seconds=max(0.0, last_arrival - start),
            before=before,
            ready=ready,
            after=after,
            cost=estimate(before, after, minutes) if before and after else None,
        )

    # ---- phases

    async def _connect(self) -> float:
        """Open the sockets and wait until all clients know where their room is; connects a second."""
        early = sum(not self._plan.comes_late(it) for it in range(self._plan.clients))
        start = time.monotonic()
        self._watch("connect", 0, early)
        await self._crew.ask("connect", start=start)
        while await self._goes_on():
            self._watch("connect", sum(it["opened"] for it in self._looks), early)
            if self._interrupt.is_set():
                await self._crew.ask("stop", until=time.monotonic())
        deadline = time.monotonic() + READY_WITHIN
        while not self._interrupt.is_set() and time.monotonic() < deadline:
            await self._look()
            if all(it["ready"] >= it["opened"] for it in self._looks):
                break
            await asyncio.sleep(POLL_SECONDS)
        answers = await self._crew.ask("absent")
        self._absent = {client for it in answers for client in it["absent"]}
        last = max(it["last"] for it in answers)
        ready = self._plan.clients - len(self._absent)
        return ready / max(float(last) - start, 1e-3)

    async def _send(self) -> float:
        """Have each message sent when it is due; returns when the first was."""
        # A whole second of the clock, so that the seconds of the series are those of the run.
        start: int = math.ceil(time.monotonic() + POLL_SECONDS)
        self._series.begin(start, self._plan.timeline)
        if self._interrupt.is_set():
            self._cut(start)
            return start
        self._messages = plan_messages(self._plan, senders_of(self._plan, self._absent), start)
        await self._crew.ask("send", start=start, absent=sorted(self._absent))
        self._watch("send", 0, len(self._messages))
        cut = False
        while await self._goes_on():
            sent = bisect_right(self._messages, time.monotonic(), key=lambda it: it.due)
            self._watch("send", sent, len(self._messages))
            if not cut and (self._interrupt.is_set() or self._series.overloaded()):
                cut = True
                until = time.monotonic() + STOP_SECONDS
                await self._crew.ask("stop", until=until)
                self._cut(until)
        return start

    async def _drain(self, *, twin: bool) -> None:
        """Until all has arrived that will."""
        limit = INTERRUPTED_LIMIT if self._interrupt.is_set() else DRAIN_LIMIT
        drain = Drain(self._crew, self._plan, self._look, self._watch, twin=twin)
        if not await drain.all_arrives(limit) and self._plan.dialect == "v1":
            await self._crew.ask("ping")
            deadline = time.monotonic() + SETTLE_WITHIN
            while time.monotonic() < deadline:
                await self._look()
                if not any(it["busy"] for it in self._looks):
                    break
                await asyncio.sleep(POLL_SECONDS)

    # ---- what the processes tell

    async def _goes_on(self) -> bool:
        """Whether the processes still do what they were told, a moment from now."""
        await asyncio.sleep(POLL_SECONDS)
        await self._look()
        return any(it["working"] for it in self._looks)

    async def _look(self, *, last: bool = False) -> None:
        self._looks = await self._crew.ask("look", last=last)
        for row in self._series.take(self._looks):
            self._live(row)

    async def _ask_twin(self) -> None:
        """Ask it once in each second."""
        while True:
            second = int(time.monotonic())
            status = await read_status(self._plan.url)
            if status is not None:
                self._series.see(second, status)
            await asyncio.sleep(max(0.0, second + STATUS_SECONDS - time.monotonic()))

    def _cut(self, until: float) -> None:
        self._series.cut(until)
        self._messages = [it for it in self._messages if it.due <= until]

    def _merge(self, answers: Sequence[Mapping[str, Any]]) -> list[Owed]:
        """Put together what became of the messages; returns who is owed what."""
        for answer in answers:
            for number, sent_at, acknowledged_at, refusal, epoch, seq in answer["sent"]:
                it = self._messages[number]
                it.sent_at, it.acknowledged_at, it.refusal, it.epoch, it.seq = (
                    *(sent_at, acknowledged_at, refusal, epoch),
                    seq,
                )
            for number, received, last_at in answer["given"]:
                it = self._messages[number]
                it.received += received
                it.last_at = max(it.last_at, last_at)
        return [Owed(*it) for answer in answers for it in answer["owed"]]

    async def _audit(self) -> Audit:
        rows = [
            (number, it.sent_at, it.acknowledged_at, it.epoch, it.seq, it.last_at)
            for number, it in enumerate(self._messages)
            if it.sent_at is not None
        ]
        answers = await self._crew.ask("audit", messages=rows)
        return sum((msgspec.convert(it, Audit) for it in answers), Audit())
