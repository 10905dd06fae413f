"""Who the dashboard answers, and what it refuses, on a gateway whose functions are in this process."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import aiohttp
import pytest

from domain.lanes import LANES, Lane
from local.cloud import Depth
from local.dashboard import Dashboard
from local.event_source import SourceTally
from local.functions import FunctionError, Tally
from local.gateway import Gateway
from local.knobs import turned
from tests.unit.local.gateway_stage import GatewayStage, closed
from tests.unit.local.processes import ROOT, until
from tests.unit.test_docs import rows

USUAL = (10_000.0, 5_000.0)


class FakeFunction:
    """A lane's function that has one busy environment, or none."""

    def __init__(self) -> None:
        self.max_concurrency = 2
        self.tally = Tally()
        self.pids: dict[int, bool] = {41: True}

    def kill_one(self) -> int | None:
        if not self.pids:
            return None
        self.pids.clear()
        self.tally.crashes += 1
        return 41


class FakeSource:
    def __init__(self) -> None:
        self.tally = SourceTally()

    def oldest(self, now: float) -> float | None:
        return 1.5


class FakeCloud:
    async def queue_depths(self) -> dict[str, Depth]:
        return {"interactive": Depth(3, 2, 1, 0)}


class FakeCensus:
    async def rooms(self) -> int:
        return 4

    async def members(self, rooms: list[str]) -> dict[str, int]:
        return dict.fromkeys(rooms, 9)


class FakeVisitors:
    def __init__(self) -> None:
        self.count = 0
        self.asked: list[tuple[int, int, float]] = []

    async def add(self, url: str, count: int, *, rooms: int, rate: float) -> int:
        self.count += count
        self.asked.append((count, rooms, rate))
        return self.count

    async def send_away(self) -> None:
        self.count = 0


class Desk:
    """A twin that is nothing but its gateway, with the dashboard beside it."""

    def __init__(self, auth: str = "demo") -> None:
        self.lanes: Mapping[str, Lane] = LANES
        self.functions = {it: FakeFunction() for it in LANES}
        self.sources = {it: FakeSource() for it in LANES}
        self.cloud = FakeCloud()
        self.visitors = FakeVisitors()
        self.broken: FunctionError | None = None
        self.stage = GatewayStage(dashboard=self._answer)
        self.dashboard = Dashboard(
            cast("Any", self),
            self._retune,
            cast("Any", FakeCensus()),
            cast("Any", self.visitors),
            usual=USUAL,
            auth=auth,
            clock=self.stage.clock,
        )

    @property
    def gateway(self) -> Gateway:
        return self.stage.gateway

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        async with self._http.get(self._url(path), headers=headers) as answer:
            return answer.status, await answer.text()

    async def post(self, path: str, body: object, **headers: str) -> tuple[int, dict[str, Any]]:
        """Status and answer; `body` is sent as JSON, which `Content_Type` may deny."""
        named = {"Content-Type": "application/json"} | {name.replace("_", "-"): it for name, it in headers.items()}
        data = body if isinstance(body, str | bytes) else json.dumps(body)
        async with self._http.post(self._url(path), data=data, headers=named) as answer:
            return answer.status, await answer.json()

    def watch(self) -> aiohttp.client._RequestContextManager:
        return self._http.get(self._url("/dashboard/live"))

    async def __aenter__(self) -> Desk:
        await self.stage.__aenter__()
        self._http = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()
        await self.dashboard.stop()
        self.stage.clock.advance(10)
        await self.stage.__aexit__()

    async def _answer(self, request: Any) -> Any:
        return await self.dashboard.answer(request)

    async def _retune(self, name: str, changes: Mapping[str, Any]) -> Lane:
        lane = turned(self.lanes[name], changes)
        if self.broken is not None:
            raise self.broken
        self.lanes = {**self.lanes, name: lane}
        return lane

    def _url(self, path: str) -> str:
        return self.gateway.page_url.rstrip("/") + path


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with Desk() as desk:
        yield desk


async def state(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    """The next that a stream tells."""
    line = await answer.content.readline()
    assert await answer.content.readline() == b"\n"
    told: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
    return told


# ---- who is answered


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "[::1]:{port}"])
async def test_a_name_that_is_not_this_machines_is_refused(desk: Desk, host: str) -> None:
    """A page whose name was bound to 127.0.0.1 after it was loaded sends its own name."""
    port = desk.gateway.page_url.rstrip("/").rpartition(":")[2]
    for path in ("/dashboard", "/dashboard/live", "/dashboard/knobs"):
        assert (await desk.get(path, Host=host.format(port=port)))[0] == 403
    status, answer = await desk.post("/dashboard/kill", {"lane": "interactive"}, Host=host.format(port=port))
    assert (status, "localhost" in answer["message"]) == (403, True)
    assert desk.functions["interactive"].pids


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://localhost:{port}"]
)
async def test_a_page_of_another_origin_is_refused(desk: Desk, origin: str) -> None:
    """Also that of the other name of this machine: a page sends its own."""
    port = desk.gateway.page_url.rstrip("/").rpartition(":")[2]
    there = origin.format(port=port)
    assert (await desk.post("/dashboard/kill", {"lane": "interactive"}, Origin=there))[0] == 403
    assert (await desk.get("/dashboard/live", Origin=there))[0] == 403
    assert desk.functions["interactive"].pids


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_its_own_page_is_answered(desk: Desk, name: str) -> None:
    """By either name, if the two headers agree."""
    host = f"{name}:{desk.gateway.page_url.rstrip('/').rpartition(':')[2]}"
    status, answer = await desk.post("/dashboard/kill", {"lane": "bulk"}, Host=host, Origin=f"http://{host}")
    assert (status, answer) == (200, {"pid": 41})


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
async def test_what_a_form_can_send_is_refused(desk: Desk, kind: str) -> None:
    """A browser asks nobody before it sends these to another site."""
    status, answer = await desk.post("/dashboard/kill", {"lane": "interactive"}, Content_Type=kind)
    assert (status, "application/json" in answer["message"]) == (415, True)
    assert desk.functions["interactive"].pids


# ---- what is refused


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("kill", {"lane": "nowhere"}, 404, "interactive, bulk"),
        ("kill", {}, 400, "lane"),
        ("kill", {"lane": 7}, 400, "lane"),
        ("kill", "no json", 400, "body"),
        ("kill", b"\xff", 400, "body"),
        ("kill", "[" * 10_000, 400, "body"),
        ("kill", " " * 20_000, 413, "bytes"),
        ("drop", {"count": 0}, 400, "count"),
        ("drop", {"count": 1.5}, 400, "count"),
        ("drop", {"count": 1, "room": "tea"}, 400, "room"),
        ("throttle", {"rate": 0}, 400, "rate"),
        ("throttle", {"burst": 5}, 400, "rate"),
        ("throttle", {"rate": 5, "burst": 0}, 400, "burst"),
        ("throttle", {"rate": "5"}, 400, "rate"),
        ("clients", {"count": 5_001}, 400, "count"),
        ("clients", {"count": -1}, 400, "count"),
        ("clients", {"count": 5, "rooms": 6}, 400, "rooms"),
        ("clients", {"count": 5, "rate": 0}, 400, "rate"),
        ("lanes/interactive", {"batch_size": 11}, 400, "interactive.batch_size"),
        ("lanes/interactive", {"timeout": 15}, 400, "visibility"),
        ("lanes/interactive", {"retention": 60}, 400, "post_concurrency"),
        ("lanes/interactive", [], 400, "body"),
        ("lanes/nowhere", {"batch_size": 1}, 404, "interactive, bulk"),
        ("nowhere", {}, 404, "/dashboard/nowhere"),
    ],
)
async def test_a_refusal_says_what_and_why(desk: Desk, path: str, body: object, status: int, words: str) -> None:
    """And nothing has happened."""
    before = desk.gateway.account, desk.lanes
    got, answer = await desk.post(f"/dashboard/{path}", body)
    assert (got, set(answer)) == (status, {"message"})
    assert words in answer["message"]
    assert (desk.gateway.account, desk.lanes, desk.visitors.asked) == (*before, [])


async def test_there_is_nothing_else(desk: Desk) -> None:
    assert (await desk.get("/dashboard/"))[0] == 404
    assert (await desk.get("/dashboardx"))[0] == 404
    assert (await desk.get("/dashboard/kill"))[0] == 404
    status, page = await desk.get("/dashboard")
    assert (status, "<html" in page) == (200, True)


async def test_no_more_simulated_clients_than_a_machine_bears(desk: Desk) -> None:
    """All together; and none where a user needs a token."""
    assert await desk.post("/dashboard/clients", {"count": 1_000}) == (200, {"count": 1_000})
    assert await desk.post("/dashboard/clients", {"count": 50, "rooms": 5, "rate": 8}) == (200, {"count": 1_050})
    assert desk.visitors.asked == [(1_000, 10, 10.0), (50, 5, 8.0)]
    status, answer = await desk.post("/dashboard/clients", {"count": 4_000})
    assert (status, "3,950 more" in answer["message"]) == (400, True)
    assert await desk.post("/dashboard/clients", {"count": 0}) == (200, {"count": 0})
    async with Desk(auth="cognito") as other:
        status, answer = await other.post("/dashboard/clients", {"count": 1})
        assert (status, "cognito" in answer["message"]) == (409, True)


# ---- what it does


async def test_a_worker_dies(desk: Desk) -> None:
    """Once: then none is up. It is told with the figures, and so is the batch that it had."""
    async with desk.watch() as live:
        assert (await state(live))["lanes"]["interactive"]["workers"] == {"up": 1, "busy": 1, "limit": 2}
        assert (await desk.post("/dashboard/kill", {"lane": "interactive"}))[1] == {"pid": 41}
        desk.stage.clock.advance(0.5)
        told = await state(live)
    assert told["lanes"]["interactive"]["workers"]["up"] == 0
    assert told["lanes"]["interactive"]["crashes"] == 1
    assert [it["kind"] for it in told["happenings"]] == ["worker_killed", "crash"]
    status, answer = await desk.post("/dashboard/kill", {"lane": "interactive"})
    assert (status, "no worker up" in answer["message"]) == (409, True)


async def test_connections_break(desk: Desk) -> None:
    """Without a close frame; no more than there are."""
    sockets = [(await desk.stage.enter())[0] for _ in range(3)]
    assert (await desk.post("/dashboard/drop", {"count": 2}))[1] == {"dropped": 2}
    await until(lambda: desk.gateway.open_connections == 1)
    assert (await desk.post("/dashboard/drop", {"count": 100}))[1] == {"dropped": 1}
    assert [await closed(it) for it in sockets] == [(1006, "")] * 3


async def test_the_account_is_throttled_and_is_not_any_more(desk: Desk) -> None:
    """Its bucket is what it may do in a second, unless the request says otherwise; null is the usual rate."""
    assert await desk.post("/dashboard/throttle", {"rate": 5}) == (200, {"rate": 5.0, "burst": 5.0})
    assert list(desk.gateway.account) == [5, 5]
    assert sum(desk.gateway.allow() for _ in range(20)) == 5
    assert await desk.post("/dashboard/throttle", {"rate": 5, "burst": 9}) == (200, {"rate": 5.0, "burst": 9.0})
    assert await desk.post("/dashboard/throttle", {"rate": None}) == (200, {"rate": USUAL[0], "burst": USUAL[1]})
    assert list(desk.gateway.account) == list(USUAL)


async def test_a_knob_is_turned(desk: Desk) -> None:
    """The answer and the figures have it."""
    status, answer = await desk.post("/dashboard/lanes/bulk", {"post_rate": 100, "batch_size": 2})
    assert (status, answer["lane"]["post_rate"], answer["lane"]["batch_size"]) == (200, 100, 2)
    async with desk.watch() as live:
        told = await state(live)
    assert (told["settings"]["bulk"]["post_rate"], told["settings"]["bulk"]["batch_size"]) == (100, 2)
    assert told["happenings"][-1]["text"] == "bulk: post_rate 100, batch_size 2"
    knobs = json.loads((await desk.get("/dashboard/knobs"))[1])["lanes"]
    assert set(knobs) == set(LANES)
    assert set(knobs["bulk"][0]) == {"name", "min", "max", "usual", "step", "unit", "says"}


async def test_what_the_twin_could_not_do_is_said(desk: Desk) -> None:
    """As where an environment with the new settings does not start."""
    desk.broken = FunctionError("ImportError", "no such module")
    status, answer = await desk.post("/dashboard/lanes/bulk", {"post_rate": 100})
    assert (status, "no such module" in answer["message"]) == (503, True)


# ---- the figures


async def test_posts_are_measured_while_somebody_watches(desk: Desk) -> None:
    """Frames with what they carry, and how late; before and after, a post costs nothing more."""
    _, connection = await desk.stage.enter()
    clock = desk.stage.clock

    def frame(*ages: int) -> bytes:
        events = [{"type": "chat", "data": {"roomId": "tea", "seq": 1, "sentAt": clock.now() - it}} for it in ages]
        return json.dumps({"type": "batch", "data": {"events": events}}).encode()

    assert desk.gateway.on_post is None
    desk.gateway.post(connection, frame(1))
    async with desk.watch() as live:
        told = await state(live)
        assert (told["entries_per_frame"], told["latency_ms"]) == (None, {"p50": None, "p99": None, "count": 0})
        desk.gateway.post(connection, frame(10, 20, 30))
        desk.gateway.post(connection, frame(500))
        desk.gateway.posts.sent += 2
        clock.advance(0.5)
        told = await state(live)
        assert (told["entries_per_frame"], told["deliveries_per_s"], told["posts_per_s"]) == (2.0, 4, 4.0)
        assert told["latency_ms"] == {"p50": 20, "p99": 500, "count": 4}
        assert told["room_list"] == [{"room": "tea", "members": None, "deliveries_per_s": 4}]
        assert (told["rooms"], told["connections"], told["clients"]) == (4, 1, 0)
        lane = told["lanes"]["interactive"]
        assert (lane["waiting"], lane["in_flight"], lane["delayed"], lane["oldest_s"]) == (3, 2, 1, 1.5)
        assert told["account"] == {"rate": 10_000, "burst": 5_000, "usual_rate": 10_000}
        clock.advance(1.5)
        told = await state(live)
        assert told["latency_ms"]["count"] == 0

    def turned_away() -> bool:
        clock.advance(0.5)  # who has gone is found out when the next state is told
        return desk.gateway.on_post is None

    await until(turned_away)


async def test_the_members_of_a_room_that_was_silent_stay_known(desk: Desk) -> None:
    """It is none of the busiest meanwhile, so nobody counts it."""
    _, connection = await desk.stage.enter()
    clock = desk.stage.clock

    async with desk.watch() as live:

        async def shown(*, speaks: bool) -> list[int | None]:
            event = {"type": "chat", "data": {"roomId": "tea", "seq": 1, "sentAt": clock.now()}}
            if speaks:
                desk.gateway.post(connection, json.dumps({"type": "batch", "data": {"events": [event]}}).encode())
            clock.advance(0.5)
            return [it["members"] for it in (await state(live))["room_list"]]

        await state(live)
        spoken = [await shown(speaks=True) for _ in range(8)]
        assert spoken[-1] == [9]
        silent = [await shown(speaks=False) for _ in range(8)]
        assert silent[-1] == []
        assert await shown(speaks=True) == [9]


async def test_each_figure_is_described(desk: Desk) -> None:
    """Those of a lane, too, and every thing that may be done."""
    text = (ROOT / "docs/dashboard.md").read_text()
    documented = rows("What it shows", text)
    async with desk.watch() as live:
        told = await state(live)
    assert set(told) == set(documented)
    for name in told["lanes"]["bulk"]:
        assert f"`{name}`" in documented["lanes"][0]
    assert {it.partition("`")[0] for it in rows("Trouble", text)} == {"kill", "drop", "throttle", "clients"}


async def test_two_may_watch(desk: Desk) -> None:
    """When one turns away the other goes on."""
    async with desk.watch() as one:
        await state(one)
        async with desk.watch() as other:
            await state(other)
        desk.stage.clock.advance(0.5)
        await state(one)
        desk.stage.clock.advance(0.5)
        assert (await state(one))["connections"] == 0
        assert desk.gateway.on_post is not None
