"""The JavaScript client does what the Python one does, and is as small as it says. Skipped where Node is missing."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest

from domain.events import EVENTS
from tests.javascript import CLIENT, ROOT, built, node, passed

ANSWERS = {"ack", "left", "history", "search", "pong", "room_list", "members", "notices", "reauthenticated"}
"""Types of events that a call's caller has, and nobody else."""
SIZE = 8 * 1024
"""Bytes of the package's code, minified and gzipped."""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("js"))


def test_its_own_tests_pass(package: Path) -> None:
    """The golden traces among them."""
    passed(node(package, "--test", *map(str, sorted((package / "test").glob("*.test.js")))))


def test_its_size(package: Path) -> None:
    """All of it is one file."""
    code = [it for it in (package / "dist").rglob("*") if it.suffix != ".ts"]
    assert [it.name for it in code] == ["index.js"]
    assert len(gzip.compress(code[0].read_bytes(), 9)) < SIZE


def test_its_page_names_what_there_is(package: Path) -> None:
    """Every call, and every event that a user is given."""
    page = (CLIENT.parents[1] / "docs/client-js.md").read_text()
    methods = set(re.findall(r"^    (\w+)\(", (package / "dist/connection.d.ts").read_text(), re.MULTILINE))
    options = {"now", "wait"}
    """Of the clock."""
    assert set(re.findall(r"\bme\.(\w+)\(", page)) == methods - options
    given = set(re.findall(r"\*\*`(\w+)`\*\*", page))
    assert given == {*EVENTS, "missed", "opaque"} - ANSWERS - {"batch", "head"}


def test_it_asks_for_nothing_at_run_time() -> None:
    """Whoever installs it installs nothing else."""
    package = json.loads((CLIENT / "package.json").read_text())
    assert not {"dependencies", "peerDependencies", "optionalDependencies"} & set(package)


@pytest.mark.parametrize("folder", ["client/js", "web", "tests/e2e/browser"])
def test_what_builds_and_tests_is_pinned(folder: str) -> None:
    """To versions, by hashes, and the lock names no registry."""
    package = json.loads((ROOT / folder / "package.json").read_text())
    assert all(version[0].isdigit() for version in package["devDependencies"].values())
    lock = json.loads((ROOT / folder / "package-lock.json").read_text())
    assert all("integrity" in it and "resolved" not in it for name, it in lock["packages"].items() if name)
