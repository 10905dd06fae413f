"""The dashboard in a real browser, at a real twin. Skipped where Node, its tools or Chromium are missing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from urllib.request import urlopen

import pytest

from ops.trial import own_twin
from tests.browser import chromium_path, prepared
from tests.javascript import node, passed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_an_operator_at_the_dashboard(tmp_path: Path) -> None:
    """What is broken shows within two seconds of the twin's saying so, a slider changes what frames carry, and nobody
    is shut out."""
    folder, chromium = prepared(tmp_path / "browser"), chromium_path()
    with own_twin([]) as url:
        with urlopen(url.replace("ws", "http", 1).rpartition("/")[0] + "/twin") as answer:  # our own twin
            page = json.load(answer)["page"]
        env = {"PAGE": page, "CHROMIUM": chromium, "PICTURES": os.environ.get("PICTURES", "")}
        done = node(folder, "--test", "dashboard.test.js", env=env, within=280)
    print(done.stdout)
    passed(done)
