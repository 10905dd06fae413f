"""A large room on a twin of its own, with what is needed to make it suffer."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from websockets.asyncio.client import ClientConnection

from adapters.dynamodb import DynamoStore
from adapters.settings import table_names
from client.clock import LoopClock
from client.connection import Connection
from domain.lanes import LANES, override_lanes
from domain.rooms import ShardKey
from local.event_source import EventSource
from local.functions import Function, InvocationFailed, Invoke
from local.gateway import Gateway
from local.twin import PREFIX, Twin
from tests.e2e.crowd import Crowd

__all__ = ["Hall", "Reader", "Size", "open_hall"]

FULL_ANSWERS = 20
"""429s in a row after which a buffer is taken to be full: the system's own may still take some of it."""
NOISE = json.dumps({"type": "noise", "data": "." * 100_000}).encode()


@dataclass(frozen=True, slots=True)
class Size:
    """The numbers of a run."""

    shard_limit: int
    first: int
    """Members before the room grows."""
    grown: int
    members: int
    """In the end."""
    kills: int
    failing: int
    """Messages while posts fail."""
    throttled: int
    """Members of the room that is broadcast to under the account's throttle."""
    rate: float
    """Of that throttle; half of it is the bucket."""
    small: int
    """Rooms of five beside it."""
    seconds: float
    """Of posts that the throttle is watched for."""
    lanes: Sequence[str]


class Hall:
    """The twin, and the crowd in its large room."""

    def __init__(self, twin: Twin, crowd: Crowd, witness: Witness, size: Size) -> None:
        assert isinstance(twin.gateway, HallGateway)
        self.twin = twin
        self.gateway = twin.gateway
        self.crowd = crowd
        self.size = size
        self.stricken = witness.stricken
        """For each event that ended in a bulk worker's death, the shards of its jobs."""

    async def shards(self) -> list[set[str]]:
        """The users in each shard of the room."""
        store = DynamoStore(self.twin.cloud.dynamodb, table_names(PREFIX))
        room = await store.room(self.crowd.room)
        assert room is not None
        keys = [ShardKey(room.room, room.epoch, it) for it in range(room.shards)]
        return [{member.user for member in await store.members(key)} for key in keys]

    def repeats(self, shards: Sequence[set[str]]) -> Counter[int]:
        """Shard → how many entries its members were pushed that they had been pushed before."""
        shard_of = {user: shard for shard, users in enumerate(shards) for user in users}
        repeats: Counter[int] = Counter()
        for it in self.crowd.clients.values():
            repeats[shard_of[it.log.name]] += len(it.log.pushed) - len(set(it.log.pushed))
        return repeats

    def busy_workers(self) -> list[int]:
        """Process ids of the bulk workers that are within an event."""
        return sorted(pid for pid, busy in self.twin.functions["bulk"].pids.items() if busy)

    async def fill_buffer(self, connection: str) -> None:
        """Post to a client that does not read until nothing more fits."""
        url = f"{self.gateway.management_endpoint}/@connections/{connection}"
        full = 0
        async with aiohttp.ClientSession(headers={"Authorization": "anybody"}) as http:
            while full < FULL_ANSWERS:
                async with http.post(url, data=NOISE) as answer:
                    assert answer.status in {200, 429}
                    full = full + 1 if answer.status == 429 else 0


@asynccontextmanager
async def open_hall(state: Path, size: Size) -> AsyncIterator[Hall]:
    """A hall whose clients have not come yet."""
    # So few jobs in a batch that one worker can't have all shards; and no post is given up, and so perhaps repeated,
    # because the machine is slow.
    lanes = override_lanes(LANES, ["bulk.batch_size=4", "bulk.post_deadline=5", *size.lanes])
    async with (
        Twin(
            state=state,
            shard_limit=size.shard_limit,
            lanes=lanes,
            gateway_class=HallGateway,
            lose_disconnects=True,
        ) as twin,
        Crowd(twin.ws_url, size.members) as crowd,
    ):
        bulk = twin.functions["bulk"]
        await bulk.warm(bulk.max_concurrency)
        witness = Witness(bulk)
        queues = await twin.cloud.create_queues(PREFIX, twin.lanes.values())
        await twin.sources["bulk"].stop()
        twin.sources["bulk"] = EventSource(twin.lanes["bulk"], queues.urls["bulk"], witness, twin.cloud.sqs)
        twin.sources["bulk"].start()
        yield Hall(twin, crowd, witness, size)


class HallGateway(Gateway):
    """Counts the posts of messages, and answers 500 to some of them, which delivers nothing."""

    message_posts = 0
    fail_every = 0
    """Every so many-th fails; 0: none."""

    def post(self, connection_id: str, message: bytes) -> int:
        if b'"type":"chat"' in message:
            self.message_posts += 1
            if self.fail_every and self.message_posts % self.fail_every == 0:
                return 500
        return super().post(connection_id, message)


class Witness:
    """A lane's function between its queue and its environments: it sees what was in hand when one died."""

    def __init__(self, function: Function) -> None:
        self.max_concurrency = function.max_concurrency
        self.stricken: list[set[int]] = []
        self._function = function

    @asynccontextmanager
    async def free_environment(self) -> AsyncIterator[Invoke]:
        async with self._function.free_environment() as invoke:

            async def invoke_and_see(event: Mapping[str, Any]) -> Any:
                try:
                    return await invoke(event)
                except InvocationFailed:
                    self.stricken.append({json.loads(it["body"])["shard"] for it in event["Records"]})
                    raise

            yield invoke_and_see


class Reader(Connection):
    """The SDK's client, whose socket is within reach."""

    socket: ClientConnection

    def __init__(self, url: str, room: str, user: str) -> None:
        super().__init__(url, room, {"userId": user}, "v1", random.Random(0), LoopClock())

    async def _open(self, room: str) -> ClientConnection:
        self.socket = await super()._open(room)
        return self.socket
