"""Environments that are there at once: forks of a process that has imported what takes long to import.

A new interpreter needs some 0.8 s of CPU until a handler of ours can answer; a fork of one that has the libraries
already needs a tenth of it. Only libraries are imported there, none of our code: that is read by each environment for
itself, so that settings are its own, and a release of other code can be started from the same nursery.

`Nursery` starts and asks that process, `python -m local.nursery`. Its standard input is a socket of packets:
    →  {"handler", "environ", "path"} and two descriptors: the environment's socket, and its log
    ←  {"pid"}
It ends with the socket. Its forks don't: each has a socket of its own, and ends with that.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import random
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from local.processes import LINE_BYTES, Child, inherited

__all__ = ["Nursery"]

LIBRARIES = (
    "aioboto3",
    "aiobotocore.config",
    "aiohttp",
    "aws_lambda_powertools",
    "aws_lambda_powertools.metrics",
    "aws_lambda_powertools.tracing",
    "local.environment",
    "msgspec",
    "uvloop",
)
"""What the functions import, and reads no setting while it is imported."""
PACKET_BYTES = 128 * 1024
START_SECONDS = 30.0


class Nursery:
    """Forks environments. Starts with the first one; a new one takes its place if it is killed."""

    def __init__(self, log: Path) -> None:
        """`log`: the file for what the process itself has to say."""
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._channel: socket.socket | None = None
        self._turn = asyncio.Lock()

    @staticmethod
    def possible() -> bool:
        """Whether this system can tell when a process ends that is not its own child."""
        return hasattr(os, "pidfd_open")

    async def fork(self, handler: str, *, environ: Mapping[str, str], path: Sequence[str], log: Path) -> Child:
        """An environment of `handler`, which looks into `path` first. Raises `OSError` where there can be none."""
        own, theirs = socket.socketpair()
        with own, theirs, log.open("ab") as output:
            request = {"handler": handler, "environ": {**inherited(), **environ}, "path": list(path)}
            pid = await self._ask(json.dumps(request).encode(), [theirs.fileno(), output.fileno()])
            process = _Fork(pid)
            try:
                reader, writer = await asyncio.open_unix_connection(sock=own.dup(), limit=LINE_BYTES)
            except BaseException:
                process.kill()
                raise
        return Child(process, reader, writer)

    async def stop(self) -> None:
        """End the process. Its forks live on."""
        if self._channel is not None:
            self._channel.close()
        if self._process is not None:
            await self._process.wait()
        self._process = self._channel = None

    async def _ask(self, request: bytes, descriptors: list[int]) -> int:
        async with self._turn, asyncio.timeout(START_SECONDS):
            channel = self._channel
            if channel is None or self._process is None or self._process.returncode is not None:
                channel = await self._start()
            try:
                socket.send_fds(channel, [request], descriptors)
                answer = await asyncio.get_running_loop().sock_recv(channel, PACKET_BYTES)
                if not answer:
                    raise ConnectionResetError("the nursery has ended")
            except BaseException:
                # Given up here, the answer would be taken for the next one's: another process takes its place.
                channel.close()
                self._channel = None
                raise
            return int(json.loads(answer)["pid"])

    async def _start(self) -> socket.socket:
        if self._channel is not None:
            self._channel.close()
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.setblocking(False)
        channel = self._channel
        with theirs, self._log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "local.nursery"),
                stdin=theirs.fileno(),
                stdout=output,
                stderr=output,
                env=inherited(),
            )
        return channel


class _Fork:
    """A process that another one has forked: the kernel tells when it has ended, and not how."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = asyncio.Event()
        self._descriptor: int | None = None
        try:
            self._descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            self._end()
        else:
            asyncio.get_running_loop().add_reader(self._descriptor, self._end)

    async def wait(self) -> int:
        await self._ended.wait()
        return 0

    def kill(self) -> None:
        if self._descriptor is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)

    def _end(self) -> None:
        self.returncode = 0
        self._ended.set()
        if self._descriptor is not None:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None


def main() -> None:
    """Fork what standard input asks for, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the twin ends us
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel forgets forks that have ended
    channel = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for library in LIBRARIES:
        importlib.import_module(library)
    gc.freeze()  # what is here now is never looked at again, so that forks go on sharing it
    while True:
        try:
            packet, descriptors, *_ = socket.recv_fds(channel, PACKET_BYTES, 2)
        except OSError:
            return
        if not packet:
            return
        pid = os.fork()
        if pid == 0:
            channel.close()
            _be_environment(json.loads(packet), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        with suppress(OSError):
            channel.send(json.dumps({"pid": pid}).encode())


def _be_environment(request: dict[str, Any], channel: int, log: int) -> None:
    """What a new interpreter would find, then `local.environment`; never returns."""
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for of, place in ((channel, 0), (log, 1), (log, 2)):
            os.dup2(of, place)
        os.close(channel)
        os.close(log)
        os.environ.clear()
        os.environ.update(request["environ"])
        sys.path[:0] = request["path"]
        random.seed()  # or all forks would draw the same
        from local.environment import main as serve  # noqa: PLC0415  # imported before it was forked

        serve(request["handler"])
        status = 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
