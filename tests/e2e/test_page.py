"""The page in a real browser, at the whole service. Skipped where Node, its tools or Chromium are missing."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from urllib.request import urlopen

import pytest

from client.connection import connect
from domain.requests import CreateRoom
from local.access import Access
from local.twin import Twin
from ops.stage import find_twin
from ops.trial import own_twin
from ops.user_pool import create_user, sign_in
from tests.browser import chromium_path, prepared
from tests.javascript import node, passed

PASSWORD = "Correct-horse-7"
MESSAGES = 2_000
AUTHORS = 10

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return prepared(tmp_path / "browser")


@pytest.fixture
def chromium() -> str:
    return chromium_path()


def test_people_at_the_page(folder: Path, chromium: str) -> None:
    """They chat, one is away and comes back complete, texts stay texts, nobody is shut out."""
    with own_twin([]) as url:
        with urlopen(url.replace("ws", "http", 1).rpartition("/")[0] + "/twin") as answer:  # our own twin
            page = json.load(answer)["page"]
        env = {"PAGE": page, "CHROMIUM": chromium, "PICTURES": os.environ.get("PICTURES", "")}
        passed(node(folder, "--test", "page.test.js", env=env, within=200))


async def test_the_page_of_another_origin_is_refused(
    folder: Path, chromium: str, tmp_path: Path, unused_tcp_port: int
) -> None:
    """The same page, by an address that is not in the list."""
    page = f"http://127.0.0.1:{unused_tcp_port}"
    async with Twin(state=tmp_path / "twin", port=unused_tcp_port, ws_port=0, access=Access(origins=(page,))):
        env = {"PAGE": f"{page}/", "CHROMIUM": chromium}
        passed(await asyncio.to_thread(node, folder, "--test", "origin.test.js", env=env))


async def test_a_moderator_deletes_others_messages(folder: Path, chromium: str, tmp_path: Path) -> None:
    """In a room that was created, whose owner the deployment knows; a moderator from when they are made one."""
    async with Twin(state=tmp_path / "twin") as twin:
        async with connect(twin.ws_url, user="ada") as ada:
            await ada.ask(CreateRoom(room_id="club", title="Club"))
        env = {"PAGE": twin.gateway.page_url, "CHROMIUM": chromium, "ROOM": "club", "OWNER": "ada"}
        passed(await asyncio.to_thread(node, folder, "--test", "moderator.test.js", env=env))


async def test_who_has_a_token_enters(folder: Path, chromium: str, tmp_path: Path) -> None:
    """Where the service asks for one, the page does; it says what is wrong with one that is of no use."""
    async with Twin(state=tmp_path / "twin", access=Access("cognito")) as twin:

        def token() -> str:
            where = find_twin(twin.ws_url)
            create_user(where, "ada", PASSWORD, [])
            return str(sign_in(where, "ada", PASSWORD)["AccessToken"])

        env = {"PAGE": twin.gateway.page_url, "CHROMIUM": chromium, "TOKEN": await asyncio.to_thread(token)}
        passed(await asyncio.to_thread(node, folder, "--test", "token.test.js", env=env))


async def test_a_long_room_scrolls(folder: Path, chromium: str, tmp_path: Path) -> None:
    """Two thousand messages on the page, and how long each frame takes while they are scrolled: printed, as a machine
    that is busy says little of the page."""
    async with Twin(state=tmp_path / "twin") as twin:

        async def speak(author: int) -> None:
            async with connect(twin.ws_url, user=f"author-{author}", room="long") as me:
                for n in range(MESSAGES // AUTHORS):
                    await me.send("long", f"Message {n} of author {author}. " + "Words follow words. " * (n % 9))

        async with asyncio.TaskGroup() as group:
            for author in range(AUTHORS):
                group.create_task(speak(author))
        env = {"PAGE": twin.gateway.page_url, "CHROMIUM": chromium, "MESSAGES": str(MESSAGES)}
        done = await asyncio.to_thread(node, folder, "--test", "scroll.test.js", env=env)
        passed(done)
        print(*(it for it in done.stdout.splitlines() if "ms" in it and it.startswith("# scrolled")), sep="\n")
