"""A client that was away for thousands of messages, on the real stack, with the SDK."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from adapters.settings import table_names
from client.connection import Connection, connect
from client.events import Missed
from domain.events import Chat, Welcome
from loadtest.bench.seats import fill_log
from local.twin import PREFIX, Twin

MISSED = 5_000
TALKERS = 4
RATE = 20.0
"""Messages a second while the client catches up."""
ROOM = "tea"


class Traveller:
    """Somebody whose client cannot reach the service while the gate is shut."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.connections: list[str] = []
        self.seqs: list[int] = []
        self.missed: list[Missed] = []
        self._changed = asyncio.Condition()

    async def token(self) -> str:
        """Asked for before each handshake."""
        await self.gate.wait()
        return "valid_traveller"

    async def read(self, me: Connection) -> None:
        async for event in me.events():
            async with self._changed:
                match event:
                    case Chat():
                        self.seqs.append(event.seq)
                    case Missed():
                        self.missed.append(event)
                    case Welcome():
                        self.connections.append(event.connection_id)
                self._changed.notify_all()

    async def has(self, seqs: int = 0, connections: int = 0, patience: float = 120.0) -> None:
        async with asyncio.timeout(patience), self._changed:
            await self._changed.wait_for(lambda: len(self.seqs) >= seqs and len(self.connections) >= connections)


@pytest.mark.slow
async def test_who_was_away_for_five_thousand_messages_has_each_once_in_order(tmp_path: Path) -> None:
    """Complete, while twenty messages a second go on; nothing is named missing."""
    async with Twin(state=tmp_path) as twin, AsyncExitStack() as stack:
        traveller = Traveller()
        me = connect(twin.ws_url, room=ROOM, user="traveller", token=traveller.token)
        await stack.enter_async_context(me)
        reading = asyncio.create_task(traveller.read(me))
        talkers = [
            await stack.enter_async_context(connect(twin.ws_url, room=ROOM, user=f"talker-{it}"))
            for it in range(TALKERS)
        ]
        await talkers[0].send(ROOM, "before")
        await traveller.has(seqs=1, connections=1)

        traveller.gate.clear()
        await _cut(twin, traveller.connections[0])
        await fill_log(twin.cloud.dynamodb, table_names(PREFIX), ROOM, MISSED)
        assert traveller.seqs == [1]

        traveller.gate.set()
        said = 1 + MISSED + await _talk_on(talkers, traveller, 1 + MISSED)
        await traveller.has(seqs=said, connections=2)
        assert traveller.seqs == list(range(1, said + 1))
        assert traveller.missed == []
        await me.close()
        await reading


async def _cut(twin: Twin, connection: str) -> None:
    url = f"{twin.gateway.management_endpoint}/@connections/{connection}"
    async with aiohttp.ClientSession(headers={"Authorization": "anybody"}) as http, http.delete(url) as answer:
        assert answer.status == 204


async def _talk_on(talkers: list[Connection], traveller: Traveller, seqs: int) -> int:
    """Go on talking until the traveller has so many, and a second longer; how many messages that took."""
    caught_up = asyncio.create_task(traveller.has(seqs=seqs))
    said = 0
    while not caught_up.done() or said < 2 * RATE:
        _, _ = await asyncio.gather(talkers[said % TALKERS].send(ROOM, f"meanwhile {said}"), asyncio.sleep(1 / RATE))
        said += 1
    await caught_up
    return said
