"""The page in a real browser, at the whole service. Skipped where Node, its tools or Chromium are missing."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path
from urllib.request import urlopen

import pytest

from local.access import Access
from local.page import BUILT
from local.twin import Twin
from ops.trial import own_twin
from tests.javascript import ROOT, node, passed

BROWSER = Path(__file__).parent / "browser"
TOOLS = ROOT / ".venv/browser/node_modules"
"""What `make slow` installs where npm is there."""


pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What drives a browser. Skips the test where it, the browser or the built page is missing."""
    if not TOOLS.is_dir() or not (BUILT / "index.html").is_file():
        pytest.skip("`make slow` has not built the page, or not installed what drives the browser")
    found = tmp_path / "browser"
    shutil.copytree(BROWSER, found)
    (found / "node_modules").symlink_to(TOOLS)
    return found


@pytest.fixture
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("there is no Chromium on the PATH")
    return found


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
