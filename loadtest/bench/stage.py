"""A twin whose posts can be slowed down, with the recipe's worker beside it:
`python -m loadtest.bench.stage FOLDER [LANE.SETTING=NUMBER …]`.

Started by the bench alone. It says what `roomcast up --json` says. Requests, one at a time:
    {"latency_ms"}                  posts take so long from now on, give or take as much
    {"rate", "burst"}               the gateway's throttle from now on
    {"seat": room}                  who has come with a seat since the last time is a member of the room; {"shards"}
    {"fill": room, "entries"}       the room's log has so many entries more, each a short message; {"needle": {"every",
                                    "first"}} beside it: one of so many, from the first on, has what is searched for
    {"tally": function}             what the function has asked of AWS: {"calls", "units"}
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
from typing import Any, cast

import uvloop

from adapters.dynamodb import DynamoStore
from adapters.dynamodb.rows import Item
from adapters.settings import table_names
from domain.lanes import LANES, override_lanes
from domain.rates import RATES, override_rates
from domain.rooms import Rules
from loadtest.bench.environ import ENVIRON
from loadtest.bench.recipe import table_definition
from loadtest.bench.seats import Needle, SeatingGateway, fill_log, members_of, put_rows, seat
from loadtest.children import Peer, parent, serve_parent, start
from local.functions import Function
from local.twin import PREFIX, Twin

__all__ = ["ANSWER_WITHIN", "RECIPE_SECONDS", "main", "start_stage"]

START_WITHIN = 90.0
STOP_WITHIN = 40.0
"""Seconds for the twin, as `roomcast loadtest` gives its own."""
ANSWER_WITHIN = 60.0
"""The longest that any request but a broadcast takes."""
RECIPE_SECONDS = 300.0
"""The longest that the recipe's worker may take: 5,000 posts of 10 ms, one after the other, and as much again."""
RATE = "rate."
"""How the settings of rates begin."""
RECIPE_TABLE = "recipe-connections"


@asynccontextmanager
async def start_stage(folder: Path, *settings: str) -> AsyncIterator[tuple[Peer, str]]:
    """The stage in a process of its own, and its WebSocket URL. What it stores is in a new folder within `folder`.

    `settings`: of lanes, as `interactive.batch_size=5`, or of rates, as `rate.chat=5/50`; without any of those clients
    may ask as often as they like.
    """
    state = tempfile.mkdtemp(dir=folder, prefix="twin-")
    command = ("twin", "loadtest.bench.stage", state, *settings)
    async with start(*command, folder=folder, stop_within=STOP_WITHIN, environ=ENVIRON) as peer:
        yield peer, (await peer.read(START_WITHIN))["ws"]


class _Stage:
    def __init__(self, state: Path, settings: Sequence[str]) -> None:
        of_rates = [it.removeprefix(RATE) for it in settings if it.startswith(RATE)]
        self.twin = Twin(
            state=state,
            lanes=override_lanes(LANES, [it for it in settings if not it.startswith(RATE)]),
            post_latency=self._draw_latency,
            gateway_class=SeatingGateway,
            rates=override_rates(RATES, of_rates) if of_rates else {},
        )
        self._state = state
        self._latency = 0.0

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = {}
        match request:
            case {"latency_ms": milliseconds}:
                self._latency = milliseconds / 1000
            case {"rate": rate, "burst": burst}:
                self._gateway.throttle(rate, burst)
            case {"seat": room}:
                newcomers, self._gateway.newcomers = self._gateway.newcomers, []
                tables = table_names(PREFIX)
                seated = await seat(self.twin.cloud.dynamodb, tables, room, newcomers, Rules().shard_limit)
                answer = {"shards": seated.shards}
            case {"fill": room, "entries": entries}:
                needle = request.get("needle")
                tables = table_names(PREFIX)
                await fill_log(self.twin.cloud.dynamodb, tables, room, entries, Needle(**needle) if needle else None)
            case {"tally": name}:
                tally = self.twin.functions[name].tally
                answer = {"calls": tally.calls, "units": tally.units}
            case {"enrol": room}:
                answer = {"members": await self._enrol(room)}
            case {"broadcast": room, "data": data}:
                event = {"table": RECIPE_TABLE, "room": room, "data": data}
                endpoints = {"cloud": self.twin.cloud.endpoint, "management": self.twin.gateway.management_endpoint}
                answer = await self.recipe.invoke(event | endpoints)
            case _:
                raise ValueError(f"no such request: {request}")
        return answer

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

    @property
    def _gateway(self) -> SeatingGateway:
        return cast("SeatingGateway", self.twin.gateway)

    async def _enrol(self, room: str) -> int:
        dynamodb = self.twin.cloud.dynamodb
        members = members_of(DynamoStore(dynamodb, table_names(PREFIX)), room)
        enrolled: list[Item] = [{"roomId": {"S": room}, "connectionId": {"S": it.connection}} async for it in members]
        await put_rows(dynamodb, RECIPE_TABLE, enrolled)
        return len(enrolled)


async def main(state: Path, settings: Sequence[str]) -> None:
    """Serve until the bench closes its end."""
    channel = parent()
    stage = _Stage(state, settings)
    async with stage.twin:
        await stage.prepare()
        try:
            await serve_parent(channel, stage.twin.endpoints(), stage.answer)
        finally:
            await stage.recipe.stop()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(Path(sys.argv[1]), sys.argv[2:]))
