"""The Python client's wheel in an environment that has nothing else, at the whole service."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from ops.trial import own_twin
from ops.wheel import ROOT, build
from tests.examples import ANSWERED, WRITTEN, chat_with_bob

pytestmark = pytest.mark.slow

BROUGHT = ("msgspec", "websockets")
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
WITHIN = 100
"""Seconds."""


def ran(*command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """What the command said; it ends well. What pip says of its own settings is on stderr."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=WITHIN)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment in which nothing but the wheel was installed."""
    folder = tmp_path_factory.mktemp("wheel")
    ran(sys.executable, "-m", "venv", "--without-pip", "empty", folder=folder)
    python = folder / "empty/bin/python"
    wheel = build(folder / "built")
    # A release of theirs is no reason for this test to fail.
    constraints = folder / "constraints.txt"
    constraints.write_text("".join(f"{it}=={version(it)}\n" for it in BROUGHT))
    ran(*PIP, "--python", python, "install", "--quiet", "--constraint", constraints, wheel, folder=folder)
    return python


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with own_twin([]) as url:
        yield url


def test_what_it_brings(python: Path) -> None:
    """Itself, the two that it needs, and none of the repository's packages."""
    listed = json.loads(ran(*PIP, "--python", python, "list", "--format", "json", folder=python.parent).stdout)
    assert {it["name"] for it in listed} == {"roomcast-client", *BROUGHT}
    code = "import importlib.metadata as all, json; print(json.dumps(all.packages_distributions()))"
    modules = json.loads(ran(python, "-I", "-c", code, folder=python.parent).stdout)
    assert [name for name, owners in modules.items() if owners == ["roomcast-client"]] == ["roomcast"]
    assert not {"client", "domain"} & set(modules)


@pytest.mark.parametrize(
    ("document", "printed"),
    [
        ("client/README.md", {"Ada: Hello", "Bob: Ready!"}),
        (
            "docs/client.md",
            {"Bob is in the kitchen", "Bob has it", "[general] Ada: Hello", "[kitchen] Bob: Ready!", ANSWERED},
        ),
    ],
    ids=["package", "page"],
)
async def test_the_written_example_runs(
    python: Path, url: str, tmp_path: Path, document: str, printed: set[str]
) -> None:
    """As it stands; Bob is there."""
    program = tmp_path / "chat.py"
    program.write_text(example(document).replace(WRITTEN, url))
    code, (first, *others), stderr = await chat_with_bob(url, python, "-I", "-u", program, folder=tmp_path)
    assert (code, stderr) == (0, "")
    assert re.fullmatch(r"stored as number \d+", first)
    assert printed <= set(others)


def test_its_types_are_known(python: Path, tmp_path: Path) -> None:
    """To a strict checker, from the wheel: the examples are sound, and what is wrong is noticed."""
    short, page = example("client/README.md"), example("docs/client.md")
    for name, code in {"short": short, "page": page, "wrong": short.replace("ack.seq", "ack.number")}.items():
        (tmp_path / f"{name}.py").write_text(code)
    command = (
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--python-executable",
        python,
        "--cache-dir",
        tmp_path / "mypy",
    )
    done = subprocess.run(
        [*command, "short.py", "page.py", "wrong.py"],
        cwd=tmp_path,
        env={it: os.environ[it] for it in os.environ if it != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    (fault, summary) = done.stdout.splitlines()
    assert fault.startswith('wrong.py:10: error: "Ack" has no attribute "number"')
    assert summary == "Found 1 error in 1 file (checked 3 source files)"


def example(document: str) -> str:
    """The program in it."""
    (found,) = re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)
    assert isinstance(found, str)
    assert found.count(WRITTEN) == 1
    return found
