"""One contender of the post benchmark: `python -m loadtest.bench.posters NAME ENDPOINT MEMBERS`.

Started by the bench alone, each in a process of its own. It warms up by one broadcast and says {"ready"}. A request
{"cpu_seconds"} makes it broadcast until so much CPU is used, at least once, and is answered by
{"posts", "cpu_seconds"}: of this process, in user and kernel mode, all its threads. An https endpoint is verified with
the certificates in AWS_CA_BUNDLE.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import ssl
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager
from typing import cast
from urllib.parse import quote, urlsplit

import aioboto3
import uvloop
from aiobotocore.config import AioConfig

from adapters.management_api import management_client_config
from adapters.memory import MemoryMarks, MemoryNotices, MemoryQueue, MemoryStatuses, MemoryStore, MemoryWebhooks
from adapters.roster import AnnouncingRoster
from adapters.runtime import Runtime, SystemClock
from adapters.settings import Settings
from domain.fanout import encode_entry
from domain.ports import Ports
from domain.rooms import Entry, Rules
from loadtest.bench.recipe import management_client, post_to_all
from loadtest.children import parent
from pipeline.batch import Worker
from pipeline.worker import read_record
from services.caller import Caller
from services.requests import answer
from services.sessions import connect

__all__ = ["CONTENDERS", "Broadcasting", "main"]

CONCURRENCY = 64
"""Posts under way at once: of stock aioboto3 and of the bound; the worker has its lane's."""
ROOM = "bench"
TEXT = "What a room says in a message is rarely longer than this one, which is about a hundred characters."
FRAME = encode_entry(
    ROOM,
    1_700_000_000_000,
    Entry(
        seq=1,
        type="chat",
        at=1_700_000_000_000,
        sender="user-0",
        body={"messageId": "0" * 32, "senderId": "user-0", "senderName": "User 0", "message": TEXT},
    ),
)
"""What is posted: as long as what the worker makes of `TEXT`."""

Broadcasting = Callable[[], int]
"""Makes one broadcast to all members; how many posts were answered with 200."""
Contender = Callable[[str, Sequence[str]], AbstractContextManager[Broadcasting]]
"""(endpoint, connections) → what broadcasts to them, for as long as the block lasts."""


def main(name: str, endpoint: str, members: int) -> None:
    """Broadcast when told to, until the bench closes its end."""
    channel = parent()
    # The form of API Gateway's ids, whose `=` a client has to escape in the path.
    connections = [f"Bench{number:09d}A=" for number in range(members)]
    with CONTENDERS[name](endpoint, connections) as broadcast, channel.makefile("rw") as lines:
        broadcast()
        print(json.dumps({"ready": True}), file=lines, flush=True)
        for line in lines:
            print(json.dumps(_measure(broadcast, json.loads(line)["cpu_seconds"])), file=lines, flush=True)


def _measure(broadcast: Broadcasting, cpu_seconds: float) -> dict[str, float]:
    posts, begun = 0, time.process_time()
    while True:
        answered = broadcast()
        if not answered:
            raise RuntimeError("a broadcast posted nothing")
        posts += answered
        used = time.process_time() - begun
        if used >= cpu_seconds:
            return {"posts": posts, "cpu_seconds": used}


# ------------------------------------------------------------------------------------------------ contenders


@contextmanager
def _recipe_loop(endpoint: str, connections: Sequence[str]) -> Iterator[Broadcasting]:
    """boto3 as it comes, one post after the other."""
    client = management_client(endpoint)
    yield lambda: post_to_all(client, connections, FRAME, forget=lambda connection: None)


def _aioboto3_default(endpoint: str, connections: Sequence[str]) -> AbstractContextManager[Broadcasting]:
    """aioboto3 as it comes: a pool of ten, retries, asyncio's own loop."""
    return _aioboto3(endpoint, connections, None, asyncio.new_event_loop)


def _aioboto3_tuned(endpoint: str, connections: Sequence[str]) -> AbstractContextManager[Broadcasting]:
    """aioboto3 with the project's configuration, on uvloop."""
    return _aioboto3(endpoint, connections, management_client_config(CONCURRENCY), uvloop.new_event_loop)


@contextmanager
def _aioboto3(
    endpoint: str,
    connections: Sequence[str],
    config: AioConfig | None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> Iterator[Broadcasting]:
    opened = AsyncExitStack()
    slots = asyncio.Semaphore(CONCURRENCY)
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        client = runner.run(
            opened.enter_async_context(
                aioboto3.Session().client("apigatewaymanagementapi", endpoint_url=endpoint, config=config)
            )
        )

        async def post(connection: str) -> None:
            async with slots:
                await client.post_to_connection(ConnectionId=connection, Data=FRAME)

        async def post_to_each() -> int:
            return len(await asyncio.gather(*map(post, connections)))

        try:
            yield lambda: runner.run(post_to_each())
        finally:
            runner.run(opened.aclose())


@contextmanager
def _roomcast(endpoint: str, connections: Sequence[str]) -> Iterator[Broadcasting]:
    """The broadcast function's own path: its runtime's connections, and its `Worker`, over rooms in memory.

    A message's way into the log is within what is measured: a part in a thousand.
    """
    environment = Runtime(Settings({}, {}, {}, management_endpoint=endpoint))
    lane = environment.settings.lanes["interactive"]
    clock, store, rules = SystemClock(), MemoryStore(), Rules()
    queue = MemoryQueue(clock)
    statuses = MemoryStatuses(store)
    roster = AnnouncingRoster(store, statuses, queue, clock, rules)
    ports = Ports(
        store,
        queue,
        roster,
        clock,
        rules,
        marks=MemoryMarks(),
        notices=MemoryNotices(),
        statuses=statuses,
        webhooks=MemoryWebhooks(store),
    )
    numbers = itertools.count()
    request = json.dumps({"type": "chat", "roomId": ROOM, "message": TEXT})

    def caller(number: int) -> Caller:
        return Caller(connections[number], f"user-{number}", f"User {number}", f"request-{next(numbers)}")

    async def arrive() -> None:
        for number in range(len(connections)):
            await connect(ports, caller(number), ROOM, "v1")

    async def broadcast() -> int:
        sockets = await environment.connections(lane.post_concurrency)
        await answer(ports, sockets, caller(0), request)
        records = await queue.receive(lane.name, lane.batch_size)
        worker = Worker(ports, sockets, lane)
        await worker.work([read_record(it) for it in records], lambda: lane.timeout)
        for it in records:
            await queue.delete(lane.name, it["receiptHandle"])
        return worker.counts["PostsDelivered"]

    environment.run(arrive())
    yield lambda: environment.run(broadcast())


@contextmanager
def _bound(endpoint: str, connections: Sequence[str]) -> Iterator[Broadcasting]:
    """Requests made beforehand, on bare protocols: what no client in Python can beat by much."""
    url = urlsplit(endpoint)
    host, port = str(url.hostname), url.port or 0
    tls = ssl.create_default_context(cafile=os.environ["AWS_CA_BUNDLE"]) if url.scheme == "https" else None
    requests = [_request(url.netloc, f"{url.path}/@connections/{quote(it, safe='')}") for it in connections]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:

        async def open_sockets() -> list[_BarePoster]:
            loop = asyncio.get_running_loop()
            opened = [await loop.create_connection(_BarePoster, host, port, ssl=tls) for _ in range(CONCURRENCY)]
            return [protocol for _, protocol in opened]

        posters = runner.run(open_sockets())

        async def post_to_each() -> int:
            todo = iter(requests)
            return sum(await asyncio.gather(*(it.work_through(todo) for it in posters)))

        yield lambda: runner.run(post_to_each())


class _BarePoster(asyncio.Protocol):
    """A connection that is kept alive, with one request under way."""

    _todo: Iterator[bytes]
    _done: asyncio.Future[int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._answer = b""
        self._posts = 0

    def work_through(self, todo: Iterator[bytes]) -> asyncio.Future[int]:
        """Send requests until there are no more; how many were answered with 200."""
        self._todo, self._posts = todo, 0
        self._done = asyncio.get_running_loop().create_future()
        self._next()
        return self._done

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if self._answer.endswith(b"\r\n\r\n"):  # the sink's answers have no body
            self._posts += self._answer.startswith(b"HTTP/1.1 200 ")
            self._answer = b""
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(exc or ConnectionError("the sink closed a connection"))

    def _next(self) -> None:
        request = next(self._todo, None)
        if request is not None:
            self._transport.write(request)
        elif self._done is not None:
            self._done.set_result(self._posts)


def _request(host: str, path: str) -> bytes:
    """A post with headers as an SDK sends them; the signature is as long as a real one."""
    head = (
        f"POST {path} HTTP/1.1\r\n"
        f"Host: {host}\r\n"
        "X-Amz-Date: 20240101T000000Z\r\n"
        f"X-Amz-Content-SHA256: {'0' * 64}\r\n"
        "Authorization: AWS4-HMAC-SHA256 Credential=twin/20240101/us-east-1/execute-api/aws4_request,"
        f" SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature={'0' * 64}\r\n"
        f"Content-Length: {len(FRAME)}\r\n\r\n"
    )
    return head.encode() + FRAME


CONTENDERS: Mapping[str, Contender] = {
    "recipe_loop": _recipe_loop,
    "aioboto3_default": _aioboto3_default,
    "aioboto3_tuned": _aioboto3_tuned,
    "roomcast": _roomcast,
    "bound": _bound,
}
"""By the names of the result, in the order in which they are measured."""


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
