"""Outgoing webhooks through the twin: from the wire to real receivers, by the commands that make them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from standardwebhooks import Webhook

from local.twin import Twin
from tests.e2e.people import person
from tests.unit.ops.test_command import roomcast

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATIENCE = 30.0
WARMING = 60
"""Messages before those that are measured."""
MEASURED = 600


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def twin(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Twin]:
    """Without limits of rate: messages that are measured follow each other as fast as the machine has them."""
    state: Path = tmp_path_factory.mktemp("twin")
    async with Twin(state=state, rates={}) as running:
        yield running


@dataclass
class Receiver:
    """An HTTP server that keeps what it is told."""

    url: str = ""
    told: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    """What it answered with 204."""
    requests: int = 0
    statuses: list[int] = field(default_factory=list)
    """The next answers, before it says 204."""
    headers: dict[str, str] = field(default_factory=dict)
    pause: float = 0.0

    async def answer(self, request: web.Request) -> web.Response:
        self.requests += 1
        body = await request.read()
        if self.pause:
            await asyncio.sleep(self.pause)
        status = self.statuses.pop(0) if self.statuses else 204
        if status == 204:
            self.told.append(({name.lower(): it for name, it in request.headers.items()}, body))
        return web.Response(status=status, headers=self.headers)

    @property
    def texts(self) -> list[Any]:
        return [json.loads(body)["data"].get("message") for _, body in self.told]


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/{any:.*}", receiver.answer)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        yield receiver
    finally:
        await runner.cleanup()


async def until(condition: Callable[[], bool] | Callable[[], Awaitable[bool]]) -> None:
    """Look again and again, until it is so or patience is over."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = condition()
            if found is True or (not isinstance(found, bool) and await found):
                return
            await asyncio.sleep(0.05)


async def add(twin: Twin, room: str, *options: str) -> dict[str, str]:
    status, out, err = await roomcast(
        "webhook", "add", "--room", room, "--name", "ci", *options, "--url", twin.ws_url, "--json"
    )
    assert (status, err) == (0, ""), err
    made: dict[str, str] = json.loads(out)
    return made


async def shown(twin: Twin, room: str) -> list[dict[str, Any]]:
    status, out, _ = await roomcast("webhook", "list", "--room", room, "--json", "--url", twin.ws_url)
    assert status == 0
    hooks: list[dict[str, Any]] = json.loads(out)["webhooks"]
    return hooks


async def test_a_receiver_is_told_what_is_said(twin: Twin) -> None:
    """In order, as the wire has it, signed as the standard has it: its own library accepts every delivery."""
    async with receiving() as receiver, person(twin.ws_url, "ada", "tea") as ada:
        hook = await add(twin, "tea", "--to", receiver.url)
        said = await ada.say("hellö", "tea")
        await ada.ask(type="edit_message", roomId="tea", seq=said["seq"], message="hello")
        await ada.ask(type="react", roomId="tea", seq=said["seq"], emoji="👍")
        await until(lambda: len(receiver.told) == 3)

        async def kept() -> bool:
            [state] = await shown(twin, "tea")
            return bool(state["behind"] == 0)

        await until(kept)  # where it stands is written after it was told
        told = [Webhook(hook["secret"]).verify(body, headers) for headers, body in receiver.told]
        assert [(it["type"], it["data"]["seq"]) for it in told] == [
            ("chat", 1),
            ("message_edited", 2),
            ("reaction", 3),
        ]
        await ada.until(lambda: bool(ada.seen("reaction")))
        assert [it["data"] for it in told][1:] == [*ada.seen("message_edited"), *ada.seen("reaction")]
        assert len({headers["webhook-id"] for headers, _ in receiver.told}) == 3
        [state] = await shown(twin, "tea")
        assert (state["id"], state["behind"], state["failures"]) == (hook["id"], 0, 0)
        assert hook["secret"] not in json.dumps(state)


@pytest.mark.slow
async def test_a_receiver_that_fails_catches_up(twin: Twin) -> None:
    """Others are told meanwhile; then it gets all of it, in order, each under the id of its first try."""
    async with receiving() as failing, receiving() as well, person(twin.ws_url, "bob", "pond") as bob:
        failing.statuses = [500, 302, 503]
        await add(twin, "pond", "--to", failing.url, "--event", "chat")
        await add(twin, "pond", "--to", well.url)
        texts = [f"message {it}" for it in range(10)]
        for it in texts:
            await bob.say(it, "pond")
        await until(lambda: well.texts == texts)
        await until(lambda: failing.texts == texts)
        assert failing.requests == 13


@pytest.mark.slow
async def test_a_receiver_that_is_gone(twin: Twin) -> None:
    """It is told once; the list says why the webhook is disabled, and enabling it tells what was missed."""
    async with receiving() as receiver, person(twin.ws_url, "cid", "gone") as cid:
        receiver.statuses = [410]
        hook = await add(twin, "gone", "--to", receiver.url)
        await cid.say("one", "gone")

        async def disabled() -> bool:
            [state] = await shown(twin, "gone")
            return not state["enabled"]

        await until(disabled)
        await cid.say("two", "gone")
        [state] = await shown(twin, "gone")
        assert (state["cause"], state["behind"]) == ("its receiver is gone: 410", 2)
        status, out, _ = await roomcast("webhook", "list", "--room", "gone", "--url", twin.ws_url)
        assert (status, "disabled" in out, "410" in out) == (0, True, True)
        assert receiver.requests == 1
        status, out, err = await roomcast("webhook", "enable", hook["id"], "--url", twin.ws_url)
        assert (status, err, out) == (0, "", f"{hook['id']} enabled, 2 entries behind\n")
        await until(lambda: receiver.texts == ["one", "two"])


@pytest.mark.parametrize("host", ["169.254.169.254", "10.0.0.1", "[::ffff:127.0.0.1]", "[fd00:ec2::254]", "0.0.0.0"])
async def test_addresses_that_nothing_is_sent_to(twin: Twin, host: str) -> None:
    """The twin's receivers are on this machine, and on no network of it beyond: such a delivery fails in so many words,
    and a listener on all of the machine's addresses has no connection."""
    connections = 0

    async def count(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.close()

    room = f"closed-{abs(hash(host)) % 1000}"
    server = await asyncio.start_server(count, "0.0.0.0", 0)
    async with server, person(twin.ws_url, "eve", room) as eve:
        hook = await add(twin, room, "--to", f"http://{host}:{server.sockets[0].getsockname()[1]}/latest/meta-data")
        await eve.say("one", room)

        async def failed() -> bool:
            [state] = await shown(twin, room)
            return bool(state["failures"] and state["problem"].startswith("its URL leads to an address"))

        await until(failed)
        assert connections == 0
        await roomcast("webhook", "remove", hook["id"], "--url", twin.ws_url)


@pytest.mark.slow
async def test_the_commands(twin: Twin) -> None:
    """What they print, and one sentence for each wrong input."""
    async with receiving() as receiver, person(twin.ws_url, "dan", "den"):
        url = ("--url", twin.ws_url)
        status, out, err = await roomcast("webhook", "list", "--room", "den", *url)
        assert (status, out, err) == (0, "den has no webhooks\n", "")
        status, out, err = await roomcast("webhook", "add", "--room", "den", "--name", "ci", "--to", receiver.url, *url)
        assert (status, err) == (0, "")
        made, secret = out.splitlines()
        assert made.startswith("den~")
        assert secret.startswith("whsec_")
        incoming = await add(twin, "den", "--incoming")
        status, out, err = await roomcast("webhook", "list", "--room", "den", "--json", *url)
        assert {it["id"]: it["url"] for it in json.loads(out)["webhooks"]}[incoming["id"]] == incoming["url"]
        status, out, err = await roomcast("webhook", "rotate", made, *url)
        assert (status, err, secret in out) == (0, "", False)
        status, out, err = await roomcast("webhook", "remove", incoming["id"], *url)
        assert (status, out, err) == (0, f"{incoming['id']} removed\n", "")
        for options, expected, words in (
            (("add", "--room", "den", "--name", "ci"), 2, "--to URL for an outgoing webhook, or --incoming"),
            (("add", "--room", "den", "--name", "ci", "--incoming", "--event", "chat"), 2, "--event chat"),
            (("add", "--room", "den", "--name", "ci", "--to", "ftp://x"), 1, "BAD_REQUEST: `url`"),
            (("add", "--room", "den", "--name", "ci", "--to", "http://x", "--event", "joins"), 1, "`events`"),
            (("list", "--room", "nowhere"), 1, "ROOM_NOT_FOUND"),
            (("remove", incoming["id"]), 1, "there is no such webhook"),
            (("enable", "den"), 1, "`webhookId`"),
        ):
            status, out, err = await roomcast("webhook", *options, *url)
            assert (status, out, words in err, err.count("\n")) == (expected, "", True, 1), err


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_what_chat_notices_of_slow_receivers(twin: Twin) -> None:
    """Four rooms by turns, message by message, so that the machine is the same to all: two without webhooks, whose
    difference is the noise, one whose receiver takes five seconds for each, one with five that never answer. Printed is
    how long a member waited for a message, and its sender for the ack; that every message came is what is asserted."""
    heard: dict[str, list[float]] = {"none": [], "slow": [], "none too": [], "dead": []}
    acked: dict[str, list[float]] = {room: [] for room in heard}
    async with receiving() as slow, receiving() as dead, AsyncExitStack() as people:
        slow.pause, dead.pause = 5.0, 60.0
        pairs = {}
        for room, name in {it: it.replace(" ", "-") for it in heard}.items():
            both = [await people.enter_async_context(person(twin.ws_url, f"{it}-{name}", name)) for it in ("s", "m")]
            pairs[room] = both
            for url in {"slow": [slow.url], "dead": [dead.url] * 5}.get(room, []):
                await add(twin, name, "--to", url)
        for number in range(-WARMING, MEASURED):
            for room, (sender, member) in pairs.items():
                began = time.perf_counter()
                saying = asyncio.create_task(sender.say(str(number), room.replace(" ", "-")))
                saying.add_done_callback(partial(_note, acked[room], began))
                hearing = asyncio.create_task(member.hears(str(number)))
                hearing.add_done_callback(partial(_note, heard[room], began))
                await asyncio.gather(saying, hearing)  # what is refused fails at once, and says why
        for _, member in pairs.values():
            assert member.messages == [str(it) for it in range(-WARMING, MEASURED)]
        assert slow.requests
        assert dead.requests >= 5
    for what, took in (("heard", heard), ("acked", acked)):
        for room, all_times in took.items():
            times = sorted(all_times[WARMING:])  # by then every environment is up
            spread = ", ".join(f"p{it} {times[len(times) * it // 100]:.1f} ms" for it in (50, 95, 99))
            print(f"{what} beside {room:>8}: {spread}")


def _note(times: list[float], began: float, _done: object = None) -> None:
    times.append((time.perf_counter() - began) * 1000)
