"""The page in a real browser, at the whole service. Skipped where Node, its tools or Chromium are missing."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from urllib.request import urlopen

import pytest

from local.page import BUILT
from ops.trial import own_twin
from tests.javascript import ROOT, node, passed

BROWSER = Path(__file__).parent / "browser"
TOOLS = ROOT / ".venv/browser/node_modules"
"""What `make slow` installs where npm is there."""


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_people_at_the_page(tmp_path: Path) -> None:
    """They chat, one is away and comes back complete, texts stay texts, nobody is shut out."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no Chromium on the PATH")
    if not TOOLS.is_dir() or not (BUILT / "index.html").is_file():
        pytest.skip("`make slow` has not built the page, or not installed what drives the browser")
    shutil.copytree(BROWSER, tmp_path, dirs_exist_ok=True)
    (tmp_path / "node_modules").symlink_to(TOOLS)
    with own_twin([]) as url:
        with urlopen(url.replace("ws", "http", 1).rpartition("/")[0] + "/twin") as answer:  # our own twin
            page = json.load(answer)["page"]
        env = {"PAGE": page, "CHROMIUM": chromium, "PICTURES": os.environ.get("PICTURES", "")}
        passed(node(tmp_path, "--test", "page.test.js", env=env, within=200))
