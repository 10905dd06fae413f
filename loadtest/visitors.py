"""Clients that come and chat until they are sent away: `python -m loadtest.visitors URL`, which a dashboard starts.

Each line of JSON on its standard input, a socket, brings more of them: {"clients", "rooms", "rate"}, in rooms of their
own, in which they send so many messages a second in all. They go, and the process ends, when the socket does. Nothing
is audited; who loses the connection comes back.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
import time

import msgspec
import uvloop

from domain.events import Ack, Chat, Error
from domain.requests import ChatMessage, encode_request
from loadtest.audit import Receipt
from loadtest.children import parent
from loadtest.clients import LoadClient
from loadtest.plan import Plan, reserve_sockets

__all__ = ["main"]

HANDSHAKES = 16
"""Under way at once: those of others must find their turn between them."""
RAMP = 100.0
"""Connects a second at most."""
AGAIN_SECONDS = 5.0
"""Before another try of a handshake that was refused, at most: full jitter."""
TICK_SECONDS = 1.0


class Deaf:
    """A `Desk` that keeps nothing."""

    def connected(self, client: int, now: float) -> None:
        pass

    def disconnected(self, broken: bool, now: float) -> None:
        pass

    def framed(self, kind: str, entries: int, now: float) -> None:
        pass

    def receipt(self, chat: Chat) -> Receipt:
        return Receipt(chat.room_id, chat.epoch, chat.seq, "")

    def delivered(self, chat: Chat, now: float) -> None:
        pass

    def acknowledged(self, ack: Ack, now: float) -> None:
        pass

    def refused(self, error: Error, now: float) -> None:
        pass

    def stumbled(self, client: int, now: float) -> None:
        pass


class Party:
    """Visitors who have come together."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._draw = random.Random()
        desk = Deaf()
        self._clients = [LoadClient(it, plan, desk, self._draw) for it in range(plan.clients)]
        self._handshakes = asyncio.Semaphore(HANDSHAKES)
        self._tasks = [asyncio.create_task(it) for it in (self._come(), self._chat(), self._tick())]

    async def go(self) -> None:
        """Close all sockets for good."""
        for it in self._tasks:
            it.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(it.close() for it in self._clients), return_exceptions=True)

    async def _come(self) -> None:
        async with asyncio.TaskGroup() as group:
            for client in self._clients:
                group.create_task(self._enter(client))
                await asyncio.sleep(1 / self._plan.ramp)

    async def _enter(self, client: LoadClient) -> None:
        while True:
            async with self._handshakes:
                if await client.connect():
                    return
            await asyncio.sleep(self._draw.uniform(0, AGAIN_SECONDS))

    async def _chat(self) -> None:
        """One after the other says something: those of one number are in all rooms by turns."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for number in itertools.count():
            await asyncio.sleep(max(0.0, begun + number / self._plan.rate - loop.time()))
            client = self._clients[number % len(self._clients)]
            message = ChatMessage(
                client_id=f"{self._plan.name}-{number:07d}", room_id=client.room, message=f"message {number}"
            )
            client.write(encode_request(message))

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            for client in self._clients:
                client.tick(time.monotonic())
                for seen in (client.log.pushed, client.log.filled, client.log.released):
                    seen.clear()  # they may stay for days


async def _serve(url: str) -> None:
    reader, writer = await asyncio.open_unix_connection(sock=parent())
    parties: list[Party] = []
    clients = 0
    while line := await reader.readline():
        asked = msgspec.json.decode(line)
        clients += asked["clients"]
        reserve_sockets(clients)
        parties.append(Party(Plan(url, asked["clients"], asked["rooms"], asked["rate"], ramp=RAMP)))
    await asyncio.gather(*(it.go() for it in parties))
    writer.close()


def main() -> None:
    """Serve the parent until it closes its end."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(sys.argv[1]))


if __name__ == "__main__":
    main()
