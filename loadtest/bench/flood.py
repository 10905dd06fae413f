"""What others notice of a user who asks ten times as often as the rates grant: their latency, without and beside it.

All on one twin, whose function environments share the machine's cores; on AWS each has its own.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_socket
from websockets.typing import Subprotocol

from client.handshake import with_query
from domain.protocol import SUBPROTOCOL
from loadtest.bench.packing import RAMP, clean
from loadtest.bench.stage import start_stage
from loadtest.plan import Plan, reserve_sockets
from loadtest.run import Watch, run

__all__ = ["Flood", "measure_flood"]

KIND = "ping"
RATE = 5.0
BURST = 10.0
"""What a user is granted, in each environment: as by default, but of a bucket that is soon empty. Pings, because what
is granted of a flood is work as any other: of messages four environments would grant more than two cores bear."""
TIMES = 10
"""How many times the rate for such requests the flood is."""
SMALL_MEMBERS = 6
WARM_SECONDS = 5.0
"""For which the rooms talk, and the flood empties its buckets in all environments, before anything is measured."""


@dataclass(frozen=True, slots=True)
class Flood:
    """Medians of the rounds. Times are of deliveries in the others' rooms, from when a message was due."""

    rooms: int
    rate: float
    """What is granted a second."""
    asked_per_s: float
    """What the flood asked for."""
    refused_share: float
    """Of its answers."""
    without_p50_ms: float
    without_p99_ms: float
    beside_p50_ms: float
    beside_p99_ms: float

    @property
    def ratio(self) -> float:
        """How many times longer the slowest hundredth takes beside the flood."""
        return self.beside_p99_ms / self.without_p99_ms


async def measure_flood(*, rooms: int, seconds: float, rounds: int, folder: Path, watch: Watch) -> Flood:
    """One message a second in each of so many small rooms, for so long, by turns without and beside a flood. Raises
    `BenchError`."""
    clients = rooms * SMALL_MEMBERS
    reserve_sockets(clients)
    without: list[tuple[float, float]] = []
    beside: list[tuple[float, float]] = []
    async with start_stage(folder, f"rate.{KIND}={RATE:g}/{BURST:g}") as (_, url):

        async def talk(name: str, lasting: float = seconds) -> tuple[float, float]:
            plan = Plan(url, clients=clients, rooms=rooms, rate=rooms, seconds=lasting, ramp=RAMP)
            report = clean(await run(plan, lambda phase, done, total: watch(f"{name}: {phase}", done, total)))
            latency = report.as_json()["latency_ms"]
            return latency["p50"], latency["p99"]

        await talk("flood, warming up", WARM_SECONDS)
        flooder = _Flooder(url)
        for number in range(1, rounds + 1):
            without.append(await talk(f"flood, without ({number} of {rounds})"))
            async with flooder.flooding():
                await asyncio.sleep(WARM_SECONDS)
                flooder.begin_to_count()
                beside.append(await talk(f"flood, beside ({number} of {rounds})"))
                flooder.stop_counting()
    return Flood(
        rooms,
        RATE,
        flooder.asked / flooder.seconds,
        flooder.refused / flooder.answered,
        *(statistics.median(it) for it in zip(*without, strict=True)),
        *(statistics.median(it) for it in zip(*beside, strict=True)),
    )


class _Flooder:
    """One user in a room of its own, who asks `TIMES` as often as is granted."""

    def __init__(self, url: str) -> None:
        self.asked = self.answered = self.refused = 0
        self.seconds = 0.0
        """For which these were counted."""
        self._url = url
        self._counts = False
        self._began = 0.0

    @asynccontextmanager
    async def flooding(self) -> AsyncIterator[None]:
        """Ask until the block ends."""
        query: dict[str, str | None] = {"roomId": "flood", "userId": "flood"}
        async with open_socket(
            with_query(self._url, query), subprotocols=[Subprotocol(SUBPROTOCOL)], compression=None, proxy=None
        ) as socket:
            parts = [asyncio.create_task(self._ask(socket)), asyncio.create_task(self._listen(socket))]
            try:
                yield
            finally:
                for it in parts:
                    it.cancel()
                await asyncio.gather(*parts, return_exceptions=True)

    def begin_to_count(self) -> None:
        self._counts, self._began = True, time.monotonic()

    def stop_counting(self) -> None:
        self._counts = False
        self.seconds += time.monotonic() - self._began

    async def _ask(self, socket: ClientConnection) -> None:
        begun = time.monotonic()
        for number in itertools.count(1):
            request = {"type": KIND, "clientId": secrets.token_hex(8)}
            await socket.send(json.dumps(request))
            self.asked += self._counts
            await asyncio.sleep(max(0.0, begun + number / (TIMES * RATE) - time.monotonic()))

    async def _listen(self, socket: ClientConnection) -> None:
        async for frame in socket:
            if not self._counts:
                continue
            told = _answer.decode(frame)
            self.refused += told.data.code == "RATE_LIMITED"
            self.answered += told.type in {"pong", "error"}


class _Data(msgspec.Struct, frozen=True):
    code: str = ""


class _Answer(msgspec.Struct, frozen=True):
    type: str
    data: _Data = _Data()


_answer = msgspec.json.Decoder(_Answer)
