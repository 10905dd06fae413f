"""What drives a real browser in tests, and the browser."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from local.page import BUILT
from tests.javascript import ROOT

__all__ = ["chromium_path", "prepared"]

TESTS = ROOT / "tests/e2e/browser"
TOOLS = ROOT / ".venv/browser/node_modules"
"""What `make slow` installs where npm is there."""


def prepared(folder: Path) -> Path:
    """`folder`, with the browser's tests in it. Skips the test where what drives it, or the built page, is missing."""
    if not TOOLS.is_dir() or not (BUILT / "index.html").is_file():
        pytest.skip("`make slow` has not built the page, or not installed what drives the browser")
    shutil.copytree(TESTS, folder)
    (folder / "node_modules").symlink_to(TOOLS)
    return folder


def chromium_path() -> str:
    """Where it is. Skips the test where it is not."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("there is no Chromium on the PATH")
    return found
