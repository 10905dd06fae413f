"""A load test from end to end, against a room server on a real socket."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_socket

from domain.errors import BadSetting
from loadtest.clients import LoadClient
from loadtest.histogram import new_histogram, percentiles, record
from loadtest.ledger import Ledger
from loadtest.plan import Plan, plan_messages, reserve_sockets
from loadtest.run import run
from tests.unit.client.draws import IMPATIENT
from tests.unit.client.room_server import RoomServer
from tests.unit.local.processes import until


@pytest.fixture
async def server() -> AsyncIterator[RoomServer]:
    async with RoomServer() as running:
        yield running


def plan_for(server: RoomServer, **changes: Any) -> Plan:
    plan = Plan(server.url, clients=12, rooms=3, rate=100, seconds=0.3, ramp=1000, quiet=0.3, name="test")
    return replace(plan, **changes)


@pytest.mark.parametrize("dialect", ["v1", "recipe"])
async def test_a_clean_run(server: RoomServer, dialect: str) -> None:
    """30 messages over three rooms of four: each at every member, and every key that programs rely on."""
    phases: list[str] = []
    report = await run(plan_for(server, dialect=dialect), lambda phase, done, total: phases.append(phase))
    result = report.as_json()
    assert result["audit"] == "clean"
    assert result["clients"] | {"connects_per_s": 0, "kb_each": 0} == {
        "asked": 12,
        "connected": 12,
        "failed": 0,
        "connects_per_s": 0,
        "reconnects": 0,
        "failures": {},
        "processes": 1,
        "kb_each": 0,
    }
    assert (result["messages"]["sent"], result["messages"]["acknowledged"]) == (30, 30)
    assert (result["deliveries"]["expected"], result["deliveries"]["received"]) == (120, 120)
    assert result["frames"]["entries_per_frame"] == 1
    by_type = result["frames"]["by_type"]
    assert result["frames"]["received"] == sum(by_type.values())
    # How much of the going is seen depends on who is gone first.
    assert by_type | {"user_left": 0} == {"chat": 120, "ack": 30, "user_joined": 30, "welcome": 12, "user_left": 0}
    for key in ("latency_ms", "ack_ms", "time_to_last_ms"):
        assert 0 < result[key]["p50"] <= result[key]["p95"] <= result[key]["p99"] <= result[key]["max"]
    assert (result["posts"], result["queue"], result["cost_usd"]) == (None, None, None)
    assert list(dict.fromkeys(phases)) == ["connect", "send", "drain", "disconnect"]
    assert not server.clients


async def test_a_dropped_delivery_is_found_by_the_last_ping(server: RoomServer) -> None:
    """v1: the tail of a room is lost at one client; a ping finds it, and history gives it."""
    server.drop = lambda user, event: user == "load-test-4" and event["seq"] >= 9
    result = (await run(plan_for(server))).as_json()
    assert (result["audit"], result["deliveries"]["filled"]) == ("clean", 2)
    assert [it["type"] for it in server.requests].count("ping") == 12


async def test_a_delivery_that_nobody_can_give_is_named(server: RoomServer) -> None:
    """The recipe's clients can't ask: message and client are in the finding."""
    server.drop = lambda user, event: user == "load-test-4" and event["seq"] == 5
    report = await run(plan_for(server, dialect="recipe"))
    (finding,) = report.audit.findings
    assert str(finding).startswith("lost: client load-test-4, room load-test-1, epoch 1, seq 5, clientId test-00000")
    assert report.as_json()["audit"] == "violated"


async def test_a_forged_body_is_named(server: RoomServer) -> None:
    """What one client gets is not what was said."""
    server.alter = lambda user, event: [
        {**event, "message": "forged"} if (user, event["seq"]) == ("load-test-0", 3) else event
    ]
    report = await run(plan_for(server))
    assert [str(it).partition(":")[0] for it in report.audit.findings] == ["not what was said"]


async def test_a_push_to_a_non_member_is_named(server: RoomServer) -> None:
    """A client of room 0 gets a message of room 1."""

    def leak(user: str, event: dict[str, Any]) -> list[dict[str, Any]]:
        stranger = user == "load-test-0" and event["seq"] == 2
        return [event, {**event, "roomId": "load-test-1"}] if stranger else [event]

    server.alter = leak
    report = await run(plan_for(server))
    assert {it.kind for it in report.audit.findings} == {"to_non_member", "wrong_body"}


async def test_refusals(server: RoomServer) -> None:
    """A busy room is tried again under the same clientId; other refusals are counted."""
    server.refusals = [{"code": "ROOM_BUSY", "retryAfter": 0.01}, {"code": "MUTED"}, {"code": "INTERNAL"}]
    result = (await run(plan_for(server))).as_json()
    assert result["messages"] | {"retries": 0} == {
        "planned": 30,
        "sent": 30,
        "acknowledged": 29,
        "refused": 1,
        "unanswered": 0,
        "retries": 0,
        "refusals": {"MUTED": 1},
    }
    assert result["messages"]["retries"] == 2
    chats = [it["clientId"] for it in server.requests if it["type"] == "chat"]
    assert (len(chats), len(set(chats))) == (32, 30)


@pytest.mark.parametrize(("dialect", "owed"), [("v1", 120), ("recipe", 110)])
async def test_a_client_whose_socket_breaks_comes_back(server: RoomServer, dialect: str, owed: int) -> None:
    """v1 resumes and misses nothing; the recipe begins anew, and its broken membership is owed nothing."""
    cut = False

    def break_one(user: str, event: dict[str, Any]) -> bool:
        nonlocal cut
        if user == "load-test-4" and event["seq"] == 10 and not cut:
            cut = True
            server.cut(user)
        return False

    server.drop = break_one
    result = (await run(plan_for(server, dialect=dialect))).as_json()
    assert (result["audit"], result["deliveries"]["expected"]) == ("clean", owed)
    assert (result["deliveries"]["received"], result["clients"]["reconnects"]) == (owed, 1)


async def test_sockets_are_renewed(server: RoomServer) -> None:
    """At `reconnectAt` every client opens its next socket, and misses nothing."""
    server.life_ms = 300
    result = (await run(plan_for(server, seconds=1.5, rate=40))).as_json()
    assert (result["audit"], result["deliveries"]["received"]) == ("clean", 240)
    assert result["clients"]["reconnects"] >= 12


async def test_a_client_vanishes(server: RoomServer) -> None:
    """Without a close frame and for good; what it was owed ends there."""
    plan = plan_for(server)
    clients = [LoadClient(number, plan, Ledger(random.Random(0)), random.Random(0)) for number in (0, 3)]
    assert all([await it.connect() for it in clients])
    await asyncio.gather(*(ready(it) for it in clients))
    clients[0].vanish()
    await server.gone("load-test-0")
    await server.say("load-test-0", "hello?")
    clients[1].ping()
    await settled(clients[1])
    assert [len(it.log.released) for it in clients] == [0, 1]
    assert [it.until is None for client in clients for it in client.log.memberships] == [False, True]
    await asyncio.gather(*(it.close() for it in clients))
    assert server.codes["load-test-0"] == 1006
    assert (len(server.queries), [it.reconnects for it in clients]) == (2, [0, 0])


async def test_a_handshake_out_of_time_is_one_that_failed(server: RoomServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be done, and its socket lost, before the client hears that there was no time left: that is one try, and
    the next makes one socket."""
    opened: list[ClientConnection] = []

    async def late(*args: Any, **options: Any) -> ClientConnection:
        opened.append(await open_socket(*args, **options))
        if len(opened) == 2:
            opened[1].transport.abort()
            await opened[1].wait_closed()
            raise TimeoutError
        return opened[-1]

    monkeypatch.setattr("loadtest.clients.open_socket", late)
    monkeypatch.setattr("loadtest.clients.RECONNECT_WITHIN", 0)
    client = LoadClient(0, plan_for(server), Ledger(random.Random(0)), random.Random(0))
    assert await client.connect()
    client.cut()
    await until(lambda: len(opened) >= 3 and client.open)
    await settled(client)
    assert [it.state.name for it in opened] == ["CLOSED", "CLOSED", "OPEN"]
    await client.close()


async def ready(client: LoadClient) -> None:
    while not client.ready:  # noqa: ASYNC110  # it tells nobody
        await asyncio.sleep(0.001)


async def settled(client: LoadClient) -> None:
    while client.session.busy:  # noqa: ASYNC110
        await asyncio.sleep(0.001)


async def test_nobody_is_let_in(server: RoomServer) -> None:
    """The reasons are counted; such a run proves nothing."""
    server.refuse = 429
    report = await run(plan_for(server))
    assert report.proves_nothing
    assert report.as_json()["clients"]["failures"] == {"HTTP 429": 12}


async def test_a_twin_is_asked_what_it_did(server: RoomServer) -> None:
    """Counters are taken as differences, and priced."""
    server.status = {
        "functions": {"message": {"busy": [], "invocations": 3, "billed_ms": 10}},
        "posts": {"sent": 5, "gone": 0, "throttled": 0, "failed": 0},
        "gateway": {"messages_in": 1, "messages_out": 6},
        "queues": {"interactive": {"visible": 0, "in_flight": 0, "delayed": 0, "dead": 1}},
        "sqs": {"sent": 1, "received": 1},
        "calls": {"dynamodb.Query": 2},
        "units": {"read": 2, "write": 7},
    }

    def work(user: str, event: dict[str, Any]) -> bool:
        assert server.status is not None
        server.status["posts"]["sent"] += 1
        server.status["units"]["read"] += 2
        server.status["queues"]["interactive"]["dead"] = 3
        return False

    def welcome(phase: str, done: int, total: int) -> None:
        assert server.status is not None
        server.status["posts"]["sent"] += 12 * (phase == "connect" and done == 0)

    server.drop = work
    result = (await run(plan_for(server), welcome)).as_json()
    assert result["posts"] == {"sent": 132, "gone": 0, "throttled": 0, "failed": 0, "at_ready": 12}
    assert result["queue"] == {"sent": 0, "received": 0, "dead": 2, "left": 0}
    assert result["units"] == {"read": 240, "write": 0}
    assert result["cost_usd"]["dynamodb"] == pytest.approx(240 * 0.125e-6, abs=1e-6)


def test_messages_are_spread_evenly() -> None:
    """Over time, rooms, and each room's senders."""
    plan = Plan("ws://h/dev", clients=4, rooms=2, rate=10, seconds=0.8, name="x")
    messages = plan_messages(plan, {"a": [0, 2], "b": [1, 3]}, start=100)
    assert [(it.room, it.sender) for it in messages] == [("a", 0), ("b", 1), ("a", 2), ("b", 3)] * 2
    assert [it.due for it in messages] == pytest.approx([100 + it / 10 for it in range(8)])
    assert len({it.client_id for it in messages} | {it.text for it in messages}) == 16


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": "http://h"}, "--url http://h: it must begin with ws://"),
        ({"clients": 0}, "--clients 0: it must be between 1 and 100,000"),
        ({"rooms": 11}, "--rooms 11: it must be between 1 and the number of clients (10)"),
        ({"rate": -1}, "--rate -1: it must be above 0"),
        ({"seconds": float("nan")}, "--seconds nan: it must be above 0"),
        ({"dialect": "v2"}, "--dialect v2: it must be v1 or recipe"),
    ],
)
def test_a_plan_that_can_t_be(changes: dict[str, Any], words: str) -> None:
    """One sentence names the option and what would be right."""
    arguments: dict[str, Any] = {"url": "ws://h", "clients": 10} | changes
    with pytest.raises(BadSetting) as caught:
        Plan(**arguments)
    assert str(caught.value).startswith(words)


def test_too_few_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence names the limit and the remedy."""
    monkeypatch.setattr("resource.getrlimit", lambda which: (256, 1024))
    with pytest.raises(
        BadSetting, match=r"needs 5064 open files and this shell allows 1024; raise .* at most 960 clients a process"
    ):
        reserve_sockets(5_000)


def test_percentiles() -> None:
    """Milliseconds from seconds, to three digits."""
    histogram = new_histogram()
    assert percentiles(histogram) == {"p50": None, "p95": None, "p99": None, "max": None}
    for it in range(1, 1001):
        record(histogram, it / 1000)
    assert percentiles(histogram) == pytest.approx({"p50": 500, "p95": 950, "p99": 990, "max": 1000}, rel=0.002)


@pytest.mark.parametrize("dialect", ["v1", "recipe"])
async def test_a_connection_that_is_never_welcomed_is_a_member(server: RoomServer, dialect: str) -> None:
    """What it is pushed before it breaks is no stranger's, though the membership that is known begins later."""
    plan = plan_for(server, clients=1, rooms=1, dialect=dialect)
    client = LoadClient(0, plan, Ledger(random.Random(0)), IMPATIENT)
    server.welcomes = False
    assert await client.connect()
    await server.say(client.room, "before it knows")
    await until(lambda: bool(client.log.pushed))
    server.welcomes = True
    client.cut()
    await until(lambda: client.ready)
    await client.close()
    [known], [unwelcomed] = client.log.memberships, client.log.unwelcomed
    assert unwelcomed.until is not None
    assert unwelcomed.since < unwelcomed.until <= known.since
