"""The bench's own processes: each has a socket to the bench as standard input; both ways it carries a line of JSON.

A process ends when the socket does, however the bench ended.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from local.cloud import CREDENTIALS, REGION
from local.processes import Child

__all__ = ["BenchError", "Peer", "parent", "serve_parent", "start"]

STOP_SECONDS = 0.2
"""How long a process may take to end, unless its start says otherwise: most have nothing to save."""
LOG_BYTES = 64 * 1024
"""How much of a log is looked at for the reason of an end."""
_ENVIRON = {
    **CREDENTIALS,
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "POWERTOOLS_TRACE_DISABLED": "true",
}


class BenchError(RuntimeError):
    """No figure can be given; the text says why."""


class Peer:
    """A process of the bench, from the bench's side."""

    def __init__(self, name: str, child: Child, log: Path) -> None:
        self._name = name
        self._child = child
        self._log = log

    async def read(self, within: float) -> dict[str, Any]:
        """The next line. Raises `BenchError` where the process has ended, or says nothing for `within` seconds."""
        try:
            async with asyncio.timeout(within):
                line = await self._child.reader.readline()
        except TimeoutError:
            raise BenchError(f"the {self._name} did not answer within {within:g} s") from None
        except OSError:
            line = b""
        if not line:
            raise BenchError(f"the {self._name} ended: {_last_line(self._log)}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def ask(self, within: float, **request: object) -> dict[str, Any]:
        """The answer to a request; raises as `read` does."""
        self._child.writer.write(json.dumps(request).encode() + b"\n")
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
    """Run `python -m module arguments` for as long as the block lasts. `name` is for people; the log is in `folder`.

    `environ`: variables beside those that all of the bench's processes have.
    """
    log = folder / f"{name.replace(' ', '-')}.log"
    # -P: a folder called `local` where the bench is started must not hide ours.
    command = (sys.executable, "-P", "-m", module, *arguments)
    child = await Child.start(*command, environ={**_ENVIRON, **environ}, log=log)
    try:
        yield Peer(name, child, log)
    finally:
        await child.end(stop_within)


def _last_line(log: Path) -> str:
    lines = log.read_bytes()[-LOG_BYTES:].decode("utf-8", "replace").split("\n")
    return next((it.strip() for it in reversed(lines) if it.strip()), "it said nothing")


# ------------------------------------------------------------------------------------------------ in the process


def parent() -> socket.socket:
    """The socket to the bench. Called once, by a process of the bench alone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the bench ends us
    return socket.socket(fileno=os.dup(0))


async def serve_parent(
    channel: socket.socket, hello: dict[str, Any], answer: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
) -> None:
    """Say hello, then answer requests until the bench closes its end."""
    reader, writer = await asyncio.open_unix_connection(sock=channel)
    line = hello
    while True:
        writer.write(json.dumps(line).encode() + b"\n")
        request = await reader.readline()
        if not request:
            writer.close()
            return
        line = await answer(json.loads(request))
