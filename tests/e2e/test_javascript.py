"""The JavaScript client at the whole service, in Node. Skipped where Node is missing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.trial import own_twin
from tests.examples import ANSWERED, WRITTEN, chat_with_bob
from tests.javascript import CLIENT, ROOT, built, installed, node, passed, type_errors

pytestmark = pytest.mark.slow

OWN_SOCKET = ("--experimental-websocket", "--no-warnings")
"""Node 20 has a socket of its own behind this flag, and newer ones take it for granted."""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("js"))


@pytest.fixture(scope="module")
def url(package: Path) -> Iterator[str]:
    """A twin for all tests here; none is started where Node is missing."""
    with own_twin([]) as url:
        yield url


def test_every_message_comes_once_and_in_order(package: Path, url: str) -> None:
    """Also while sockets break under load; and every request is answered."""
    passed(node(package, "--test", "--test-timeout=60000", "e2e/twin.test.js", env={"ROOMCAST_URL": url}))


@pytest.mark.parametrize(
    ("document", "printed"),
    [
        ((CLIENT / "README.md").read_text(), {"Ada: Hello", "Bob: Ready!"}),
        (
            (ROOT / "docs/client-js.md").read_text(),
            {"Bob is in the kitchen", "Bob has it", "[general] Ada: Hello", "[kitchen] Bob: Ready!", ANSWERED},
        ),
    ],
    ids=["package", "page"],
)
async def test_the_written_example_runs(
    package: Path, url: str, tmp_path: Path, document: str, printed: set[str]
) -> None:
    """As it stands, in a folder that holds nothing but what `npm pack` made, at Node's own socket; Bob is there. Its
    types are those of the package."""
    (example,) = re.findall(r"```js\n(import .*?)```", document, re.DOTALL)
    assert example.count(WRITTEN) == 1
    folder = await asyncio.to_thread(installed, package, tmp_path)
    (folder / "chat.mjs").write_text(example.replace(WRITTEN, url))
    assert await asyncio.to_thread(type_errors, folder, example) == ""
    code, (first, *others), stderr = await chat_with_bob(url, "node", *OWN_SOCKET, "chat.mjs", folder=folder)
    assert (code, stderr) == (0, "")
    assert re.fullmatch(r"stored as number \d+", first)
    assert printed <= set(others)
