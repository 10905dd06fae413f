"""Incoming webhooks on a twin: the command that makes one, HTTP clients that post, people who hear it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from standardwebhooks import Webhook

from domain.rates import HOOK, RATES, Rate
from domain.webhooks import TOLERANCE_MS, signatures
from local.twin import API_FUNCTIONS, INCOMING, Twin
from tests.e2e.people import person
from tests.unit.ops.test_command import roomcast

pytestmark = pytest.mark.asyncio(loop_scope="module")

BURST = 30
PAGE = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()
SAID = b'{"message":"the build is green"}'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def twin(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Twin]:
    state: Path = tmp_path_factory.mktemp("twin")
    # So slow a rate that nothing comes back while a test runs.
    async with Twin(state=state, rates={**RATES, HOOK: Rate(0.001, BURST)}) as running:
        yield running


async def made(twin: Twin, room: str, name: str = "ci") -> tuple[str, str]:
    """The URL and the secret of a new webhook, as the command tells them."""
    options = ("--room", room, "--name", name, "--incoming", "--url", twin.ws_url)
    status, out, err = await roomcast("webhook", "add", *options, "--json")
    assert (status, err) == (0, ""), err
    made = json.loads(out)
    return made["url"], made["secret"]


def signed(secret: str, body: bytes = SAID, webhook: str = "", late: float = 0) -> dict[str, str]:
    return signatures([secret], webhook or f"msg_{uuid.uuid4().hex}", int(time.time() - late), body)


async def post(url: str, headers: Mapping[str, str], body: bytes = SAID) -> tuple[int, Any, Mapping[str, str]]:
    """Status, decoded body, headers."""
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as response:
        return response.status, await response.json(), response.headers


async def run(*command: str, url: str, secret: str) -> Any:
    """The decoded JSON that a program prints that finds a webhook in its environment."""
    environ = {"PATH": os.environ["PATH"], "URL": url, "SECRET": secret}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, env=environ, stdout=pipe, stderr=pipe)
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b""), err.decode()
    return json.loads(out)


async def test_twenty_deliveries_at_once_are_one_message(twin: Twin) -> None:
    """Through real environments and real tables; signed by the standard's own library, in whatever encoding."""
    async with person(twin.ws_url, "ada", "works") as ada:
        url, secret = await made(twin, "works")
        now, webhook = datetime.now(UTC), "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W"
        headers = {
            "Webhook-Id": webhook,
            "Webhook-Timestamp": str(int(now.timestamp())),
            "Webhook-Signature": Webhook(secret).sign(webhook, now, SAID.decode()),
        }
        kinds: tuple[dict[str, str], ...] = ({"Content-Type": "application/json"}, {})
        answers = await asyncio.gather(*(post(url, headers | kinds[it % 2]) for it in range(20)))
        stored = answers[0][1]
        assert [(status, body) for status, body, _ in answers] == [(200, stored)] * 20
        await ada.hears("the build is green")
        await ada.say("after", "works")
        await ada.hears("after")
        page = await ada.ask(type="history", roomId="works")
        assert [it["data"]["message"] for it in page["data"]["entries"]] == ["the build is green", "after"]
        [chat, _] = ada.seen("chat")
        assert (chat["senderId"], chat["senderName"]) == ("service#ci", "ci")
        assert {it: chat[it] for it in stored} == stored
        changed = b'{"message":"the build is red"}'
        status, body, _ = await post(url, signed(secret, changed, webhook), changed)
        assert (status, body["error"]["code"]) == (400, "BAD_REQUEST")


async def test_what_is_altered_old_or_of_nobody_is_refused_alike(twin: Twin) -> None:
    """One answer to all, and nobody hears anything."""
    async with person(twin.ws_url, "bob", "vault") as bob:
        url, secret = await made(twin, "vault")
        other, _ = await made(twin, "vault", "other")
        headers = signed(secret)
        late = TOLERANCE_MS / 1000 + 60  # one from the future is on time a while later
        refused = [
            await post(url, headers, SAID.replace(b"green", b"red")),
            await post(url, {**headers, "webhook-id": "msg_other"}),
            await post(url, {**headers, "webhook-timestamp": str(int(headers["webhook-timestamp"]) + 1)}),
            await post(url, signed(secret, late=late)),
            await post(url, signed(secret, late=-late)),
            await post(other, headers),
            await post(url.rpartition("~")[0] + "~0123456789abcdef", headers),
            await post(url.replace("vault", "nowhere"), headers),
            await post(url.rpartition("/")[0] + "/nothing", headers),
            await post(url, {}),
        ]
        assert refused[0][0] == 401
        shown = [(status, body, sorted(set(it) - {"Date"})) for status, body, it in refused]
        assert shown == [shown[0]] * len(refused)
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            assert (response.status, await response.json()) == (404, {"message": "Not Found"})
        assert (await post(url, headers))[0] == 200
        await bob.hears("the build is green")
        assert bob.messages == ["the build is green"]


async def test_a_hooks_rate_holds(twin: Twin) -> None:
    """What each environment grants by itself: the burst, so many times as there are environments at most."""
    async with person(twin.ws_url, "cid", "busy") as cid:
        url, secret = await made(twin, "busy")
        most = API_FUNCTIONS[INCOMING] * BURST
        answers = []
        for _ in range(6):  # some at a time, or the room's writers are in each other's way
            answers += await asyncio.gather(*(post(url, signed(secret)) for _ in range(most // 4)))
        counted = Counter(status for status, _, _ in answers)
        assert set(counted) == {200, 429}
        assert BURST <= counted[200] <= most
        for status, body, headers in answers:
            if status == 429:
                assert (body["error"]["code"], int(headers["Retry-After"]) > 0) == ("RATE_LIMITED", True)
        await cid.until(lambda: len(cid.messages) == counted[200])


async def test_the_examples_of_the_docs_work(twin: Twin) -> None:
    """Both, as they stand on the page."""
    if shutil.which("curl") is None or shutil.which("openssl") is None:
        pytest.skip("curl and openssl are not installed")
    section = PAGE.partition("## Incoming")[2]
    shell, python = (re.findall(rf"```{it}\n(.*?)```", section, re.DOTALL)[0] for it in ("bash", "python"))
    async with person(twin.ws_url, "dan", "desk") as dan:
        url, secret = await made(twin, "desk")
        assert (await run("bash", "-euc", shell, url=url, secret=secret))["seq"] == 1
        assert (await run(sys.executable, "-c", python, url=url, secret=secret))["seq"] == 2
        await dan.until(lambda: dan.messages == ["The build is green"] * 2)
        assert [it["senderName"] for it in dan.seen("chat")] == ["Build 7"] * 2


async def test_the_command_says_where_to_post(twin: Twin) -> None:
    """For people: id, secret, and URL."""
    async with person(twin.ws_url, "eve", "hall"):
        options = ("--room", "hall", "--name", "ci", "--incoming", "--url", twin.ws_url)
        status, out, err = await roomcast("webhook", "add", *options)
        assert (status, err) == (0, "")
        webhook, secret, where = out.splitlines()
        assert secret.endswith(" (shown this once)")
        assert where == f"post to {twin.endpoints()['hooks']}/{webhook}"
        status, _, _ = await post(where.removeprefix("post to "), signed(secret.partition(" ")[0]))
        assert status == 200
