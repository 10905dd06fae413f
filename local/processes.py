"""The twin's child processes: each has a socket to its parent as standard input, and lives as long as that is open.

The kernel closes the parent's end when the parent is gone, however it went, so nothing outlives the twin.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

__all__ = ["LINE_BYTES", "Child", "Process", "inherited"]

LINE_BYTES = 64 * 1024
_INHERITED = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ")


class Process(Protocol):
    """As asyncio's; also of one that is not a child of this process itself."""

    pid: int

    @property
    def returncode(self) -> int | None: ...

    async def wait(self) -> int: ...

    def kill(self) -> None: ...


@dataclass(frozen=True, slots=True, eq=False)
class Child:
    """A child process, with the parent's end of its socket."""

    process: Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def start(cls, *command: str | Path, environ: Mapping[str, str], log: Path, limit: int = LINE_BYTES) -> Self:
        """Run `command`, its output appended to `log`. It may send lines of `limit` bytes.

        Of this process's environment it inherits what speaks of the machine and the interpreter, nothing of AWS.
        """
        own, theirs = socket.socketpair()
        with own, theirs, log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=theirs.fileno(), stdout=output, stderr=output, env={**inherited(), **environ}
            )
            try:
                reader, writer = await asyncio.open_unix_connection(sock=own.dup(), limit=limit)
            except BaseException:  # cancelled here, nobody would know of the child
                process.kill()
                await process.wait()
                raise
        return cls(process, reader, writer)

    @property
    def alive(self) -> bool:
        return self.process.returncode is None and not self.reader.at_eof()

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()

    async def end(self, grace: float) -> None:
        """Close the socket, which tells the child to end; kill it when it needs more than `grace` seconds."""
        self.writer.close()
        try:
            async with asyncio.timeout(grace):
                await self.process.wait()
        except TimeoutError:
            pass
        finally:
            if self.process.returncode is None:
                self.kill()
                await self.process.wait()


def inherited() -> dict[str, str]:
    """What a child has of this process's environment: what speaks of the machine and the interpreter, not of AWS."""
    return {name: value for name, value in os.environ.items() if name in _INHERITED or name.startswith("PYTHON")}
