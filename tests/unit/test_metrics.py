"""What the functions emit: the real handlers over the memory service, and the lines of their log for CloudWatch."""

from __future__ import annotations

import ast
import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from adapters.identity import DemoIdentity
from adapters.memory import Delivery, MemoryArchive
from adapters.observability import METRICS, NAMESPACE, metrics
from adapters.settings import Settings
from domain.errors import ConnectionGone, PostFailed, Throttled, Unavailable
from domain.fanout import NOT_AFTER_MS, YOUNG_MS
from domain.lanes import LANES
from domain.ports import Answered
from domain.protocol import ERROR_CODES
from domain.rooms import Entry
from domain.webhooks import signatures
from local.api_events import (
    Upgrade,
    authorizer_event,
    connect_event,
    connection_context,
    disconnect_event,
    message_event,
)
from local.environment import Context
from local.http_api import Posted, http_event
from pipeline import archive, worker
from services import authorizer, connect, disconnect, incoming, message, tick
from services.backend import answer
from tests.unit.changes import entry_record
from tests.unit.world import World

ROOT = Path(__file__).parents[2]
SERVICE = "roomcast-test"
SECRET = "tell-nobody"  # in what clients send: bodies, tokens, names of users, rooms and connections
_T = TypeVar("_T")


class Deployment:
    """The real handlers, with a `World` behind their runtime. `lines` is what they have logged for CloudWatch."""

    def __init__(self, capsys: pytest.CaptureFixture[str], runner: asyncio.Runner) -> None:
        self.world = World()
        self.settings = Settings({}, {}, {}, management_endpoint="")
        self.objects = MemoryArchive()
        self._capsys = capsys
        self._runner = runner
        self._lines: list[dict[str, Any]] = []
        self._contexts: dict[str, dict[str, Any]] = {}

    # ---- what handlers ask of their runtime

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return self._runner.run(work)

    async def ports(self) -> Any:
        return self.world.ports

    async def connections(self, concurrency: int) -> Any:
        return self.world.sockets

    async def archive(self, concurrency: int) -> MemoryArchive:
        return self.objects

    def identity(self) -> DemoIdentity:
        return DemoIdentity()

    # ---- events

    def connect(self, name: str, query: str = "", *, subprotocol: str = "roomcast.v1") -> dict[str, Any] | None:
        """A handshake, as far as the functions let it come; None where the authorizer refuses it."""
        now = self.world.clock.now()
        upgrade = Upgrade(query, [("Sec-WebSocket-Protocol", subprotocol)] if subprotocol else [], "10.0.0.1")
        context = connection_context(name, upgrade, "dev", now)
        try:
            admitted = authorizer.handler(authorizer_event(context, upgrade, now), _context())
        except Exception:
            return None
        self._contexts[name] = {**context, "authorizer": admitted["context"]}
        answer: dict[str, Any] = connect.handler(connect_event(self._contexts[name], upgrade, now), _context())
        self.world.sockets.open(name)
        return answer

    def send(self, name: str, request: dict[str, Any] | str, *, sent: float = 0) -> None:
        """A request that reached the gateway `sent` seconds ago."""
        now = self.world.clock.now() - round(sent * 1000)
        text = request if isinstance(request, str) else json.dumps(request)
        message.handler(message_event(self._contexts[name], text, now), _context())

    def disconnect(self, name: str) -> None:
        disconnect.handler(disconnect_event(self._contexts[name], 1000, "", self.world.clock.now()), _context())

    def tick(self) -> None:
        tick.handler({}, _context())

    def change(self, *records: dict[str, Any]) -> list[dict[str, str]]:
        """A batch of the messages table's stream; what must come again of it."""
        failures: list[dict[str, str]] = archive.handler({"Records": list(records)}, _context(120))["batchItemFailures"]
        return failures

    def work(self, lane: str) -> None:
        """One batch of the lane."""
        self.settings = Settings({}, {}, {}, management_endpoint="", lane=lane)
        records = self.run(self.world.queue.receive(lane, LANES[lane].batch_size))
        failed = worker.handler({"Records": records}, _context())["batchItemFailures"]
        for it in records:
            if {"itemIdentifier": it["messageId"]} not in failed:
                self.run(self.world.queue.delete(lane, it["receiptHandle"]))

    def hook(self, status: int) -> None:
        """A hook of the room is told of a message, and answers so."""
        url = f"https://{SECRET}.example/"
        request = {"roomId": SECRET, "direction": "outgoing", "name": SECRET, "url": url}
        self.run(answer(self.world.ports, self.world.sockets, {"action": "add_webhook", **request}, "id"))

        async def answered(_: Delivery) -> Answered:
            return Answered(status)

        self.world.receivers.answer = answered
        self.send("ada", {"type": "chat", "message": SECRET})
        self.work("hooks")

    def deliver(self) -> None:
        """A hook of the room is posted a message, with a signature and without."""
        ask = {"action": "add_webhook", "roomId": SECRET, "direction": "incoming", "name": SECRET}
        made = self.run(answer(self.world.ports, self.world.sockets, ask, "id"))
        now, body = self.world.clock.now(), json.dumps({"message": SECRET}).encode()
        for headers in (signatures([made["secret"]], SECRET, now // 1000, body), {"webhook-signature": SECRET}):
            posted = Posted(f"/hooks/{made['id']}", SECRET, list(headers.items()), body, "10.0.0.1")
            incoming.handler(http_event(posted, now), _context())

    # ---- what they emitted

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Lines in the embedded metric format, oldest first."""
        logged = [json.loads(it) for it in self._capsys.readouterr().out.splitlines() if it.startswith('{"_aws"')]
        self._lines += logged
        return self._lines

    def values(self, name: str, **dimensions: str) -> list[float]:
        """The metric's values, in the order in which they were emitted."""
        found = [it[name] for it in self.lines if name in it and dimensions.items() <= it.items()]
        return list(itertools.chain.from_iterable(found))


@pytest.fixture
def deployment(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    """Functions that say they are `roomcast-test`'s."""
    with asyncio.Runner() as runner:
        made = Deployment(capsys, runner)
        monkeypatch.setattr("adapters.runtime._runtime", made)
        monkeypatch.setattr(metrics.provider, "service", SERVICE)  # read from the environment when it is imported
        monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", SERVICE)
        yield made
        metrics.clear_metrics()


def _context(seconds: float = 10) -> Context:
    return Context("id", time.monotonic() + seconds, "function", "arn:aws:lambda:…", "log", "stream", 512)


def everything_happens(here: Deployment) -> None:
    """A day of a deployment: each metric of the table has its cause."""
    world = here.world
    here.connect("mallory", f"token={SECRET}")
    for name in ("ada", "bob", "cid", "dan"):
        here.connect(name, f"userId={SECRET}-{name}&username={SECRET}&roomId={SECRET}&token=valid_{SECRET}")
    here.connect("eve", f"roomId={SECRET}", subprotocol="")
    here.work("ephemeral")
    world.clock.advance(YOUNG_MS / 1000 + 1)
    here.send("ada", {"type": "chat", "message": SECRET})
    here.send("ada", {"type": "ping"})
    here.send("ada", f"{{{SECRET}")
    here.settings = replace(here.settings, review="math:sqrt", review_fails="open")  # which raises, as any may
    here.send("ada", {"type": "chat", "message": SECRET})
    world.sockets.drop("bob")
    world.sockets.fail_next("cid", Throttled("429"))
    world.sockets.fail_next("eve", PostFailed("503"))
    here.work("interactive")
    world.queue.put("interactive", SECRET, SECRET)
    here.work("interactive")
    world.queue.put("interactive", '{"v": 99}', SECRET)
    here.work("interactive")
    world.clock.advance(NOT_AFTER_MS / 1000 + 1)
    here.work("retry")
    here.disconnect("cid")
    for _ in range(2):
        here.send("ada", {"type": "private_message", "targetUserId": f"{SECRET}-cid", "message": SECRET})
    here.work("ephemeral")
    here.change(entry_record(SECRET, 5, Entry(1, "chat", 1_796_000_000_000, SECRET, {"message": SECRET})))
    here.change(entry_record(SECRET, 5, Entry(2, "chat", 1_796_000_000_000, SECRET, {}), body={"S": SECRET}))
    here.hook(204)
    here.hook(500)
    here.hook(410)
    here.deliver()
    world.clock.advance(3 * 3600)
    here.tick()


def test_every_metric_is_emitted_as_the_table_says(deployment: Deployment) -> None:
    """No name but the table's, none of the table's missing, each with its unit and its dimensions."""
    deployment.tick()
    everything_happens(deployment)
    seen: dict[str, set[tuple[str, tuple[str, ...]]]] = {}
    for line in deployment.lines:
        [directive] = line["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == NAMESPACE
        [dimensions] = directive["Dimensions"]
        for metric in directive["Metrics"]:
            seen.setdefault(metric["Name"], set()).add((metric["Unit"], tuple(sorted(dimensions))))
    assert seen == {name: {(it.unit.value, tuple(sorted(it.dimensions)))} for name, it in METRICS.items()}


def test_metrics_name_nobody_and_quote_nothing(deployment: Deployment) -> None:
    """Beside numbers a line holds the deployment, a lane, an error code: of closed lists all."""
    deployment.tick()
    everything_happens(deployment)
    known: Mapping[str, set[str]] = {"service": {SERVICE}, "lane": set(LANES), "code": set(ERROR_CODES)}
    for line in deployment.lines:
        assert SECRET not in json.dumps(line)
        for name, value in line.items():
            if name in METRICS:
                assert all(isinstance(it, float) for it in value)
            elif name != "_aws":
                assert value in known[name]


def test_no_code_can_count_what_the_table_does_not_know() -> None:
    """Names in the code that the day above does not reach: a wrong one would fail an invocation that is done."""
    used: Counter[str] = Counter()
    for path in itertools.chain((ROOT / "services").glob("*.py"), (ROOT / "pipeline").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Name("emit" | "emit_refusal"), args=[ast.Constant(str(name)), *_]):
                    used[name] += 1
                case ast.Subscript(
                    value=ast.Name("counts") | ast.Attribute(attr="counts"), slice=ast.Constant(str(name))
                ):
                    used[name] += 1
    assert set(used) <= set(METRICS)
    assert {"Deliveries", "ConnectionsPurged", "AckLatency", "Disconnects"} <= set(used)


def test_a_delivery_is_an_entry_at_a_member(deployment: Deployment) -> None:
    """Three messages to a v1 and a recipe member: six deliveries in a frame of three and three of one."""
    deployment.connect("ada")
    deployment.connect("eve", subprotocol="")
    deployment.work("ephemeral")
    for _ in range(3):
        deployment.send("ada", {"type": "chat", "message": "hi"})
    deployment.work("interactive")
    of_lane = {name: sum(deployment.values(name, lane="interactive")) for name in METRICS}
    assert {name: count for name, count in of_lane.items() if count} == {
        "EntriesServed": 3,
        "Deliveries": 6,
        "Frames": 4,
        "PostsDelivered": 4,
    }
    assert sum(deployment.values("PostsDelivered", lane="ephemeral")) > 0
    assert deployment.values("Frames", lane="ephemeral") == []


def test_a_delivery_that_is_made_good_counts_where_it_was_made(deployment: Deployment) -> None:
    """Who failed is delivered by the retry lane, and only there; its lag says how late."""
    deployment.connect("ada")
    deployment.connect("bob")
    deployment.work("ephemeral")
    deployment.world.sockets.fail_next("bob", PostFailed("503"))
    deployment.send("ada", {"type": "chat", "message": "hi"})
    deployment.work("interactive")
    deployment.world.clock.advance(5)
    deployment.work("retry")
    assert deployment.values("Deliveries", lane="interactive") == [1]
    assert deployment.values("Deliveries", lane="retry") == [1]
    assert deployment.values("Remainders") == [1]
    assert deployment.values("AcceptToLastPost", lane="retry") == [5000]


def test_posts_count_by_their_answers(deployment: Deployment) -> None:
    """Every answer counts, those of the tries within one post among them."""
    for name in ("ada", "bob", "cid"):
        deployment.connect(name)
    deployment.work("ephemeral")
    deployment.world.sockets.fail_next("ada", Throttled("429"), Throttled("429"))
    deployment.world.sockets.fail_next("bob", ConnectionGone("410"))
    deployment.world.sockets.fail_next("cid", PostFailed("403"))
    deployment.send("ada", {"type": "chat", "message": "hi"})
    deployment.work("interactive")
    answers = {
        it: deployment.values(f"Posts{it}", lane="interactive") for it in ("Delivered", "Gone", "Throttled", "Failed")
    }
    assert answers == {"Delivered": [1], "Gone": [1], "Throttled": [2], "Failed": [1]}


def test_a_share_can_be_computed_of_zeros(deployment: Deployment) -> None:
    """Where nothing was delivered, the number says 0: of a missing one no share is computed, and no alarm rings."""
    deployment.connect("ada")
    deployment.work("ephemeral")
    deployment.world.sockets.fail_next("ada", PostFailed("403"))
    deployment.send("ada", {"type": "chat", "message": "hi"})
    deployment.work("interactive")
    shown = {it: deployment.values(f"Posts{it}", lane="interactive") for it in ("Delivered", "Throttled", "Failed")}
    assert shown == {"Delivered": [0], "Throttled": [0], "Failed": [1]}


def test_accept_to_last_post_is_of_the_oldest_entry(deployment: Deployment) -> None:
    """Stored at 0 and 2 s, served at 3 s, the last of two posts taking a second more: 4 s, once."""
    deployment.connect("ada")
    deployment.connect("bob")
    deployment.work("ephemeral")
    world, posts = deployment.world, itertools.count(1)
    deployment.send("ada", {"type": "chat", "message": "one"})
    world.clock.advance(2)
    deployment.send("ada", {"type": "chat", "message": "two"})
    world.clock.advance(1)

    async def second_takes_long(connection: str, frame: bytes) -> None:
        if next(posts) == 2:
            world.clock.advance(1)

    world.sockets.on_post = second_takes_long
    deployment.work("interactive")
    assert deployment.values("AcceptToLastPost") == [4000]


def test_a_round_that_reached_nobody_has_no_last_post(deployment: Deployment) -> None:
    """Its lag would be a guess."""
    deployment.connect("ada")
    deployment.work("ephemeral")
    deployment.world.sockets.fail_next("ada", PostFailed("503"))
    deployment.send("ada", {"type": "chat", "message": "hi"})
    deployment.work("interactive")
    assert deployment.values("EntriesServed") == [1]
    assert deployment.values("AcceptToLastPost") == []


def test_more_rounds_than_a_line_holds(deployment: Deployment) -> None:
    """A line takes a hundred values of a metric: 150 shards in one batch are two lines, both with their lane."""
    for name, number in itertools.product(("ada", "bob", "cid"), range(50)):
        if number == 0:
            deployment.connect(name, f"roomId={name}-0")
        deployment.send(name, {"type": "join_room", "roomId": f"{name}-{number}"})
        deployment.send(name, {"type": "chat", "roomId": f"{name}-{number}", "message": "hi"})
    deployment.settings = Settings({}, {}, {}, management_endpoint="", lane="interactive")
    records = list(
        itertools.chain.from_iterable(
            iter(lambda: deployment.run(deployment.world.queue.receive("interactive", 10)), [])
        )
    )
    worker.handler({"Records": records}, _context())
    assert len(records) == len(deployment.values("AcceptToLastPost", lane="interactive")) == 150
    assert sum(deployment.values("Deliveries", lane="interactive")) == 150


def test_an_acks_latency_begins_at_the_gateway(deployment: Deployment) -> None:
    """From the gateway's receipt; of messages that are acknowledged, in either dialect, and of nothing else."""
    deployment.connect("ada")
    deployment.connect("eve", subprotocol="")
    deployment.send("ada", {"type": "chat", "message": "hi"}, sent=0.25)
    deployment.send("eve", {"type": "chat", "message": "hi"}, sent=0.5)
    deployment.send("ada", {"type": "ping"}, sent=1)
    deployment.send("ada", {"type": "chat", "message": " "}, sent=2)
    deployment.send("ada", {"type": "typing", "roomId": "general"}, sent=3)
    deployment.send("ada", {"type": "chat", "message": "hi"}, sent=-0.1)  # the gateway's clock is ahead
    assert deployment.values("AckLatency") == [250, 500, 0]
    assert deployment.values("Requests") == [1] * 6


def test_refusals_count_by_code(deployment: Deployment) -> None:
    """Requests by their error's code; handshakes wherever they end."""
    deployment.connect("ada")
    deployment.send("ada", "{")
    deployment.send("ada", {"type": "chat", "message": " "})
    deployment.send("ada", {"type": "chat", "message": " "})
    assert deployment.values("RequestsRefused", code="EMPTY_MESSAGE") == [1, 1]
    assert deployment.values("RequestsRefused", code="BAD_JSON") == [1]
    assert deployment.connect("mallory", "token=stolen") is None
    assert deployment.values("HandshakesRefused") == [1]
    refused = deployment.connect("mallory", "roomId=a%20b")
    assert refused is not None
    assert refused["statusCode"] == 400
    assert deployment.values("HandshakesRefused") == [1, 1]
    assert deployment.values("Connects") == [1]


def test_one_connection_too_many_is_a_429(deployment: Deployment) -> None:
    """As the status of the handshake; counted among the refused."""
    deployment.world = World(max_connections_per_user=1)
    first, second = (deployment.connect(it, "userId=ada") for it in ("ada-1", "ada-2"))
    assert first is not None
    assert second is not None
    assert (first["statusCode"], second["statusCode"]) == (200, 429)
    assert second["body"].endswith("as you may: 1")
    assert deployment.values("HandshakesRefused") == [1]


def test_what_is_archived_counts_once(deployment: Deployment) -> None:
    """A batch that comes again writes nothing; what fails is named by the first that must come again."""
    records = [entry_record("lobby", 5, Entry(it, "chat", 1_796_000_000_000, "ada", {})) for it in (1, 2, 3)]
    poison = entry_record("lobby", 5, Entry(4, "chat", 1_796_000_000_000, "ada", {}), body={"S": SECRET})
    for _ in range(2):
        assert deployment.change(*records, poison) == []
    assert deployment.values("EntriesArchived") == [3]
    assert deployment.values("ArchivePuts") == [1]
    assert deployment.values("ArchiveUnreadable") == [1, 1]
    [kept_aside] = [body for name, body in deployment.objects.objects.items() if name.startswith("unreadable/")]
    assert json.loads(kept_aside) == poison

    async def fail(_: str) -> None:
        raise Unavailable("SlowDown")

    deployment.objects.read = fail  # type: ignore[assignment]
    first = {"itemIdentifier": records[0]["dynamodb"]["SequenceNumber"]}
    assert deployment.change(poison, *records) == [first]
