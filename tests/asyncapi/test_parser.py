"""docs/asyncapi.json is an AsyncAPI document to AsyncAPI's own parser. Skipped where Node or the parser is missing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ops.asyncapi import DOCUMENT
from tests.javascript import ROOT, node

pytestmark = pytest.mark.slow

VALIDATE = Path(__file__).parent / "validate.js"
TOOLS = ROOT / ".venv/asyncapi/node_modules"
"""What `make slow` installs where npm is there."""
ACCEPTED = "asyncapi-latest-version: "
"""The document is of version 3.0, which more tools read than its successor."""


def _no_title(made: Any) -> None:
    del made["info"]["title"]


def _no_such_message(made: Any) -> None:
    made["operations"]["send_events"]["messages"][0]["$ref"] = "#/channels/socket/messages/event_none"


def _not_of_the_channel(made: Any) -> None:
    made["operations"]["receive_chat"]["messages"][0]["$ref"] = "#/components/messages/request_chat"


def _no_such_type(made: Any) -> None:
    made["components"]["schemas"]["ChatMessage"]["type"] = "objekt"


BROKEN: dict[str, tuple[Callable[[Any], None], str]] = {
    "no-title": (_no_title, '"info" property must have required property "title"'),
    "no-such-message": (_no_such_message, "event_none' does not exist"),
    "not-of-the-channel": (_not_of_the_channel, "does not belong to the specified channel"),
    "no-such-type": (_no_such_type, "components.schemas.ChatMessage.type"),
}
"""What is done to the document, and what is said of it."""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the parser says of the document, and of the broken ones: one process for all, since it takes seconds to
    start."""
    if shutil.which("node") is None or not TOOLS.is_dir():
        pytest.skip("`make slow` has not installed AsyncAPI's parser, which needs Node 20 or newer")
    folder = tmp_path_factory.mktemp("asyncapi")
    shutil.copy(VALIDATE, folder)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "node_modules").symlink_to(TOOLS)
    shutil.copy(DOCUMENT, folder / "true")
    for name, (breaks, _) in BROKEN.items():
        made = json.loads(DOCUMENT.read_text(encoding="utf-8"))
        breaks(made)
        (folder / name).write_text(json.dumps(made))
    done = node(folder, "validate.js", "true", *BROKEN)
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_document_is_one(said: dict[str, Any]) -> None:
    """Without an error, a warning or an advice, and the parser has found each operation in it."""
    assert [it for it in said["true"]["faults"] if not it.startswith(ACCEPTED)] == []
    assert said["true"]["operations"] == list(json.loads(DOCUMENT.read_text(encoding="utf-8"))["operations"])


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_is_noticed(said: dict[str, Any], name: str) -> None:
    """So that silence says something."""
    assert any(BROKEN[name][1] in it for it in said[name]["faults"])
