"""The JavaScript client, built in a folder of a test's own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

__all__ = ["CLIENT", "ROOT", "built", "installed", "node", "passed", "type_errors"]

ROOT = Path(__file__).parents[1]
CLIENT = ROOT / "client/js"
TOOLS = ROOT / ".venv/js/node_modules"
"""What `make js` installs, and `make test` where npm is there."""
OLDEST = 20
WITHIN = 100
"""Seconds."""


def built(folder: Path) -> Path:
    """`folder`, with the package in it and its `dist`. Skips the test where Node, or what builds it, is missing."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("Node is not on the PATH")
    version = node(folder, "--version").stdout.strip()
    if int(version.removeprefix("v").split(".")[0]) < OLDEST:
        pytest.skip(f"Node {version} is older than {OLDEST}")
    if not TOOLS.is_dir():
        pytest.skip("`make js` has not installed what builds the JavaScript client")
    shutil.copytree(CLIENT, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("dist"))
    (folder / "node_modules").symlink_to(TOOLS)
    done = subprocess.run(["npm", "run", "--silent", "build"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def node(
    folder: Path, *arguments: str, env: Mapping[str, str] | None = None, within: float = WITHIN
) -> subprocess.CompletedProcess[str]:
    """What Node says to these arguments. What it has started itself ends with it."""
    command = ["node", *arguments]
    surroundings = {**os.environ, "ROOMCAST_TRACES": str(ROOT / "client/traces"), **(env or {})}
    with subprocess.Popen(
        command,
        cwd=folder,
        env=surroundings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=within)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            err += f"\nNot done within {within:.0f} s."
        except BaseException:  # this test is ended before it: a session of its own hears nothing of that
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def passed(done: subprocess.CompletedProcess[str]) -> None:
    """Node's own tests have passed, all of them."""
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    assert "# skipped 0" in done.stdout


def installed(package: Path, folder: Path) -> Path:
    """`folder`, in which the package is installed as `npm pack` makes it, and nothing else."""
    packed = json.loads(_npm(package, "pack", "--json", "--pack-destination", str(folder)))
    _npm(folder, "install", "--offline", "--no-audit", "--no-fund", str(folder / packed[0]["filename"]))
    return folder


def type_errors(folder: Path, code: str) -> str:
    """What the strict compiler has to say of the code, as a module in `folder`; nothing is what one likes to hear."""
    (folder / "checked.mts").write_text(code)
    options = ("--strict", "--noEmit", "--module", "nodenext", "--target", "es2022", "--lib", "es2023,dom")
    compiler = (str(TOOLS / ".bin/tsc"), *options, "checked.mts")
    done = subprocess.run(compiler, cwd=folder, capture_output=True, text=True, check=False, timeout=WITHIN)
    return done.stdout + done.stderr


def _npm(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["npm", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
