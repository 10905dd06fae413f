"""A twin whose posts can be slowed down, with the recipe's worker beside it: `python -m loadtest.bench.stage FOLDER`.

Started by the bench alone. It says what `roomcast up --json` says. Requests, one at a time:
    {"latency_ms"}                  posts take so long from now on, give or take as much
    {"enrol": room}                 the room's members become the recipe's as well; {"members"}: how many they are
    {"broadcast": room, "data"}     the recipe's worker broadcasts; {"posted"}: how many it reached, once it is through
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop

from adapters.dynamodb import DynamoStore
from adapters.settings import table_names
from domain.rooms import ShardKey
from loadtest.bench.children import Peer, parent, serve_parent, start
from loadtest.bench.recipe import table_definition
from local.functions import Function
from local.twin import PREFIX, Twin

__all__ = ["RECIPE_SECONDS", "main", "start_stage"]

START_WITHIN = 90.0
STOP_WITHIN = 40.0
"""Seconds for the twin, as `roomcast loadtest` gives its own."""
RECIPE_SECONDS = 300.0
"""The longest that the recipe's worker may take: 4,000 posts of 10 ms, one after the other, and as much again."""
RECIPE_TABLE = "recipe-connections"
WRITES = 25
"""Rows in one call to DynamoDB."""


@asynccontextmanager
async def start_stage(folder: Path) -> AsyncIterator[tuple[Peer, str]]:
    """The stage in a process of its own, and its WebSocket URL. What it stores is in a new folder within `folder`."""
    state = tempfile.mkdtemp(dir=folder, prefix="twin-")
    async with start("twin", "loadtest.bench.stage", state, folder=folder, stop_within=STOP_WITHIN) as peer:
        yield peer, (await peer.read(START_WITHIN))["ws"]


class _Stage:
    def __init__(self, state: Path) -> None:
        self.twin = Twin(state=state, post_latency=self._draw_latency)
        self._state = state
        self._latency = 0.0

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        match request:
            case {"latency_ms": milliseconds}:
                self._latency = milliseconds / 1000
                return {}
            case {"enrol": room}:
                return {"members": await self._enrol(room)}
            case {"broadcast": room, "data": data}:
                event = {"table": RECIPE_TABLE, "room": room, "data": data}
                endpoints = {"cloud": self.twin.cloud.endpoint, "management": self.twin.gateway.management_endpoint}
                result: dict[str, Any] = await self.recipe.invoke(event | endpoints)
                return result
        raise ValueError(f"no such request: {request}")

    async def prepare(self) -> None:
        """What the recipe needs: a table, and a function that is warm."""
        await self.twin.cloud.dynamodb.create_table(**table_definition(RECIPE_TABLE))
        self.recipe = Function(
            "recipe",
            "loadtest.bench.recipe:handler",
            {},
            timeout=RECIPE_SECONDS,
            max_concurrency=1,
            log=self._state / "recipe.log",
        )
        await self.recipe.warm()

    def _draw_latency(self) -> float:
        return random.uniform(0, 2 * self._latency)

    async def _enrol(self, room: str) -> int:
        dynamodb = self.twin.cloud.dynamodb
        connections = await self._connections(room)
        for first in range(0, len(connections), WRITES):
            rows: Any = [
                {"PutRequest": {"Item": {"roomId": {"S": room}, "connectionId": {"S": it}}}}
                for it in connections[first : first + WRITES]
            ]
            await dynamodb.batch_write_item(RequestItems={RECIPE_TABLE: rows})
        return len(connections)

    async def _connections(self, room: str) -> Sequence[str]:
        store = DynamoStore(self.twin.cloud.dynamodb, table_names(PREFIX))
        found = await store.room(room)
        assert found is not None  # noqa: S101  # its members have joined
        shards = [ShardKey(room, found.epoch, it) for it in range(found.shards)]
        return [member.connection for key in shards for member in await store.members(key)]


async def main(state: Path) -> None:
    """Serve until the bench closes its end."""
    channel = parent()
    stage = _Stage(state)
    async with stage.twin:
        await stage.prepare()
        try:
            await serve_parent(channel, stage.twin.endpoints(), stage.answer)
        finally:
            await stage.recipe.stop()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(Path(sys.argv[1])))
