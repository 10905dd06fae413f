"""What tests of processes ask of the machine."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

__all__ = ["ROOT", "children", "environments", "is_running", "until"]

ROOT = Path(__file__).parents[3]
"""The repository: where handlers of the tests are imported from."""


def is_running(pid: int) -> bool:
    """Whether a process lives; one that has ended and was not waited for does not."""
    return _stat(pid) not in {None, "Z"}


def children() -> set[int]:
    """The processes that this one has started and that live."""
    proc = Path("/proc")
    if not proc.exists():
        pytest.skip("this machine has no /proc")
    found = (int(it.name) for it in proc.iterdir() if it.name.isdigit())
    return {pid for pid in found if _parent(pid) == os.getpid() and is_running(pid)}


def environments() -> set[int]:
    """The same, with those that its nursery has forked instead of that itself."""
    own = children()
    nurseries = {it for it in own if b"local.nursery" in Path(f"/proc/{it}/cmdline").read_bytes()}
    pids = (int(it.name) for it in Path("/proc").iterdir() if it.name.isdigit())
    return own - nurseries | {pid for pid in pids if _parent(pid) in nurseries and is_running(pid)}


async def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Let the loop run until the condition holds; `TimeoutError` if it never does."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # what is awaited happens in other processes
            await asyncio.sleep(0.01)


def _stat(pid: int) -> str | None:
    fields = _fields(pid)
    return fields[0] if fields else None


def _parent(pid: int) -> int | None:
    fields = _fields(pid)
    return int(fields[1]) if fields else None


def _fields(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
