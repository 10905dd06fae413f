"""The Python client as its wheel has it: the modules that it needs under one name, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import client
from domain import events, requests
from ops.wheel import ROOT, lay_out, renamed

CLIENT = (
    "backoff",
    "clock",
    "connection",
    "errors",
    "events",
    "feeds",
    "following",
    "handshake",
    "messages",
    "outbox",
    "pages",
    "reading",
    "room",
    "session",
)
DOMAIN = ("errors", "events", "policy", "protocol", "requests")
MODULES = [*("__init__", *CLIENT), *(f"domain/{it}" for it in ("__init__", *DOMAIN))]
WIRE = [*events.EVENTS.values(), *(it.model for it in requests.REQUESTS.values())]


def test_only_what_it_needs(tmp_path: Path) -> None:
    """The client's modules, and of the domain the wire with what it is made of."""
    lay_out(tmp_path)
    files = {it.relative_to(tmp_path).as_posix() for it in tmp_path.rglob("*") if it.is_file()}
    others = {"pyproject.toml", "README.md", "LICENSE", "roomcast/py.typed"}
    assert files == others | {f"roomcast/{it}.py" for it in MODULES}


def test_it_stands_alone(tmp_path: Path) -> None:
    """Every module can be imported where the repository's own packages can't."""
    lay_out(tmp_path)
    names = [f"roomcast.{it.replace('/', '.')}".removesuffix(".__init__") for it in MODULES]
    code = f"""
import importlib, sys
sys.modules.update(client=None, domain=None)
for name in {names}:
    importlib.import_module(name)
"""
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_imports_take_the_new_names() -> None:
    """And what only looks like one stays."""
    assert renamed("from client.errors import Gone\nfrom domain.events import (\n    Chat,\n)\n") == (
        "from roomcast.errors import Gone\nfrom roomcast.domain.events import (\n    Chat,\n)\n"
    )
    assert renamed("def f():\n    from client import connect\n") == "def f():\n    from roomcast import connect\n"
    others = '"""from client.errors import Gone"""\nfrom clients import domain\nimport domains\n'
    assert renamed(others) == others
    with pytest.raises(ValueError, match="line 2: `import domain"):
        renamed("import re\nimport domain.events\n")


def test_the_whole_wire_has_its_names() -> None:
    """Each event and request can be named from `roomcast`, and what they are made of."""
    parts = {name for name, it in vars(events).items() if isinstance(it, type) and it.__module__ == events.__name__}
    wanted = {it.__name__ for it in WIRE} | {it for it in parts if not it.startswith("_")}
    assert wanted - {"Envelope"} <= set(client.__all__)
    assert [it for it in client.__all__ if not hasattr(client, it)] == []


def test_its_project_is_of_this_version() -> None:
    """And needs what the service is tested with."""
    own, whole = (tomllib.loads((ROOT / it).read_text()) for it in ("client/pyproject.toml", "pyproject.toml"))
    for key in ("version", "requires-python", "license"):
        assert own["project"][key] == whole["project"][key]
    assert own["build-system"] == whole["build-system"]
    pins = {*whole["project"]["dependencies"], *whole["dependency-groups"]["local"]}
    assert {it.replace(">=", "==") for it in own["project"]["dependencies"]} <= pins
