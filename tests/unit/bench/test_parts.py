"""The bench's parts: the sink, the recipe's loop, the audience, processes and imports."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from loadtest.bench.audience import Audience
from loadtest.bench.certificate import make_certificate
from loadtest.bench.errors import BenchError
from loadtest.bench.imports import handler_modules, measure_imports
from loadtest.bench.recipe import post_to_all
from loadtest.bench.sink import ANSWER, Sink
from loadtest.children import ChildError, start
from tests.unit.client.room_server import RoomServer

# ------------------------------------------------------------------------------------------------ sink


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def sink(wire: Wire) -> Iterator[Sink]:
    made, before = Sink(), Sink.posts
    made.connection_made(wire)
    yield made
    Sink.posts = before


REQUEST = b"POST /dev/@connections/a HTTP/1.1\r\nHost: h\r\ncontent-LENGTH: 5\r\nX: y\r\n\r\nhello"


def test_the_sink_answers_a_request_whatever_pieces_it_comes_in(sink: Sink, wire: Wire) -> None:
    """Once it is whole, and not before; the header's name may be written in any case."""
    before = Sink.posts
    for number in range(len(REQUEST)):
        assert wire.written == []
        sink.data_received(REQUEST[number : number + 1])
    assert wire.written == [ANSWER]
    assert Sink.posts == before + 1


def test_the_sink_answers_each_of_several_requests(sink: Sink, wire: Wire) -> None:
    """Those that come in one piece too, with and without a body."""
    sink.data_received(REQUEST + b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" + REQUEST[:-1])
    assert wire.written == [ANSWER] * 2
    sink.data_received(REQUEST[-1:])
    assert wire.written == [ANSWER] * 3


# ------------------------------------------------------------------------------------------------ recipe


class GoneException(Exception):
    pass


class Client:
    """boto3's management client, with some connections gone."""

    class exceptions:  # noqa: N801  # as boto3 calls it
        GoneException = GoneException

    def __init__(self, *gone: str) -> None:
        self.gone = gone
        self.posted: list[tuple[str, bytes]] = []

    def post_to_connection(self, **request: Any) -> None:
        if request["ConnectionId"] in self.gone:
            raise GoneException
        self.posted.append((request["ConnectionId"], request["Data"]))


def test_the_recipe_s_loop() -> None:
    """One after the other; who is gone is forgotten, and the others are posted to all the same."""
    client, forgotten = Client("b"), list[str]()
    assert post_to_all(client, ["a", "b", "c"], b"hi", forgotten.append) == 2
    assert client.posted == [("a", b"hi"), ("c", b"hi")]
    assert forgotten == ["b"]


# ------------------------------------------------------------------------------------------------ audience


@pytest.fixture
async def server() -> AsyncIterator[RoomServer]:
    async with RoomServer() as running:
        yield running


async def test_the_audience_tells_when_the_last_member_has_it(server: RoomServer) -> None:
    """Each member counts once, whatever it gets twice; what else is said does not count."""
    held: list[dict[str, Any]] = []

    def alter(user: str, event: dict[str, Any]) -> list[dict[str, Any]]:
        if user != "bench-2" or event["message"] != "the one":
            return [event, event]
        held.append(event)
        return []

    server.alter = alter
    audience = Audience(server.url, "bench")
    await audience.grow(2)
    await audience.grow(3)
    begun = time.perf_counter()
    last = audience.hear("the one")
    audience.say("another one")
    audience.say("the one")
    while audience.missing > 1 or not held:  # noqa: ASYNC110  # sockets tell nobody
        await asyncio.sleep(0.001)
    assert not last.done()
    server.alter = lambda user, event: [event]
    audience.say("the one")
    assert begun < await last <= time.perf_counter()
    assert audience.missing == 0
    await audience.leave()


async def test_the_first_of_an_audience_speaks(server: RoomServer) -> None:
    """The others have seats and no standing in the room, so it is the first to be let in, however long that takes."""

    class Late(Audience):
        async def _connect(self, number: int) -> Any:
            for _ in range(0 if number else 100):
                await asyncio.sleep(0)
            return await super()._connect(number)

    audience = Late(server.url, "bench")
    await audience.grow(3)
    last = audience.hear("hello")
    audience.say("hello")
    await last
    await audience.leave()
    assert server.said("bench", "bench-0") == ["hello"]


async def test_an_audience_that_is_not_let_in(server: RoomServer) -> None:
    """One sentence, with what the service answered."""
    server.refuse = 429
    with pytest.raises(BenchError, match=r"a member could not connect: .*429"):
        await Audience(server.url, "bench").grow(3)


# ------------------------------------------------------------------------------------------------ processes


async def test_a_process_that_ends(tmp_path: Path) -> None:
    """What it said last is the reason."""
    async with start("sink", "loadtest.bench.nonsense", folder=tmp_path) as peer:
        with pytest.raises(ChildError, match=r"^the sink ended: .*No module named loadtest\.bench\.nonsense$"):
            await peer.read(60)


async def test_a_process_that_does_not_answer(tmp_path: Path) -> None:
    """The bench does not wait for ever."""
    async with start("sink", "loadtest.bench.sink", folder=tmp_path) as peer:
        await peer.read(60)
        with pytest.raises(ChildError, match=r"^the sink did not answer within 0 s$"):
            await peer.read(0)


async def test_no_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it can't be made, one sentence says why."""
    with pytest.raises(BenchError, match=r"^openssl made no certificate: \S"):
        await make_certificate(tmp_path / "nowhere")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchError, match=r"need the openssl command: install it, or leave post_tls out of --only$"):
        await make_certificate(tmp_path)


# ------------------------------------------------------------------------------------------------ imports


def test_functions_are_found_by_their_handlers() -> None:
    """Every function's module, and none of the use cases."""
    modules = handler_modules()
    assert {"services.authorizer", "services.connect", "services.message", "pipeline.worker"} <= set(modules)
    assert {"services.chat", "pipeline.batch"}.isdisjoint(modules)


async def test_a_module_that_can_t_be_imported() -> None:
    """It is named, with Python's own words."""
    with pytest.raises(BenchError, match=r"^services\.nonsense can't be imported: ModuleNotFoundError: "):
        await measure_imports(modules=["services.nonsense"], rounds=1, watch=lambda part, done, total: None)
