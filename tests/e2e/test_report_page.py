"""The report page in a real browser: its charts are drawn, nothing is complained of, and nothing but it is loaded."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from loadtest.page import write_page
from tests.unit.loadtest.results import bare, result, violated

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"),
    # No name has an address, so that a request for anything fails, and says so on the console.
    *("--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--virtual-time-budget=20000", "--dump-dom"),
)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on the PATH; on Debian: apt-get install chromium")


def opened(page: Path, home: Path) -> tuple[str, list[str]]:
    """The page as the browser has it once its scripts have run, and what its console says."""
    assert BROWSER is not None
    done = subprocess.run(
        [BROWSER, *OPTIONS, f"--user-data-dir={home}", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    return done.stdout, re.findall(r"CONSOLE.*", done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("runs", "charts"),
    [([result()], 9), ([result(), result(seed=1, slower=2)], 9), ([violated()], 9), ([bare()], 0)],
    ids=["one", "two", "wicked", "bare"],
)
def test_charts_are_drawn(tmp_path: Path, runs: list[dict[str, Any]], charts: int) -> None:
    """Each chart is there as plotly.js draws it, texts of the result are no elements, and the console is silent."""
    write_page(runs, tmp_path / "report.html")
    text, console = opened(tmp_path / "report.html", tmp_path / "browser")
    assert console == []
    assert len(re.findall(r'class="[^"]*\bjs-plotly-plot\b', text)) == charts
    assert text.count('class="legend"') >= charts - 2, "entries and cost of one run have a single line"
    assert not re.search(r"<img[^>]*onerror|<b>bold", text)
