"""Processes of a load test or a bench: each has a socket to its parent as standard input; both ways it carries a line
of JSON.

A process ends when the socket does, however the parent ended.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from local.processes import Child

__all__ = ["ChildError", "Peer", "parent", "serve_parent", "start"]

STOP_SECONDS = 0.2
"""How long a process may take to end, unless its start says otherwise: most have nothing to save."""
LOG_BYTES = 64 * 1024
"""How much of a log is looked at for the reason of an end."""
LINE_BYTES = 1 << 30
"""The longest line: what became of some million messages."""


class ChildError(RuntimeError):
    """A process has ended, or does not answer; the text says why."""


class Peer:
    """A process, from its parent's side."""

    def __init__(self, name: str, child: Child, log: Path) -> None:
        self._name = name
        self._child = child
        self._log = log

    async def read(self, within: float) -> dict[str, Any]:
        """The next line. Raises `ChildError` where the process has ended, or says nothing for `within` seconds."""
        try:
            async with asyncio.timeout(within):
                line = await self._child.reader.readline()
        except TimeoutError:
            raise ChildError(f"the {self._name} did not answer within {within:g} s") from None
        except OSError:
            line = b""
        if not line:
            raise ChildError(f"the {self._name} ended: {_last_line(self._log)}")
        return msgspec.json.decode(line, type=dict[str, Any])

    async def ask(self, within: float, **request: object) -> dict[str, Any]:
        """The answer to a request; raises as `read` does."""
        self._child.writer.write(msgspec.json.encode(request) + b"\n")
        return await self.read(within)


@asynccontextmanager
async def start(
    name: str,
    module: str,
    *arguments: str | Path,
    folder: Path,
    stop_within: float = STOP_SECONDS,
    environ: Mapping[str, str] = MappingProxyType({}),
) -> AsyncIterator[Peer]:
    """Run `python -m module arguments` for as long as the block lasts. `name` is for people; the log is in `folder`."""
    log = folder / f"{name.replace(' ', '-')}.log"
    # -P: a folder called `local` where the parent is started must not hide ours.
    command = (sys.executable, "-P", "-m", module, *arguments)
    child = await Child.start(*command, environ=environ, log=log, limit=LINE_BYTES)
    try:
        yield Peer(name, child, log)
    finally:
        await child.end(stop_within)


def _last_line(log: Path) -> str:
    lines = log.read_bytes()[-LOG_BYTES:].decode("utf-8", "replace").split("\n")
    return next((it.strip() for it in reversed(lines) if it.strip()), "it said nothing")


# ------------------------------------------------------------------------------------------------ in the process


def parent() -> socket.socket:
    """The socket to the parent. Called once, by a process that was started as above."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends us
    return socket.socket(fileno=os.dup(0))


async def serve_parent(
    channel: socket.socket, hello: dict[str, Any], answer: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
) -> None:
    """Say hello, then answer requests until the parent closes its end."""
    reader, writer = await asyncio.open_unix_connection(sock=channel, limit=LINE_BYTES)
    line = hello
    while True:
        writer.write(msgspec.json.encode(line) + b"\n")
        request = await reader.readline()
        if not request:
            writer.close()
            return
        line = await answer(msgspec.json.decode(request))
