"""The whole service as processes that can be killed: an emulator that stays, and a twin that comes again.

The twin's ports are bound, but not listened at, for as long as the stack is there: so nobody else gets them while no
twin lives, and a client that knocks then is refused, as it should be.
"""

from __future__ import annotations

import os
import signal
import socket
from collections import Counter
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from loadtest.children import Peer, start
from local.cloud import Cloud
from tests.unit.local.processes import ROOT, children, is_running, until

__all__ = ["Stack", "StackError"]

START_WITHIN = 120.0
"""Seconds for a twin's start: some four on an idle machine; the emulator may be stopped meanwhile."""
STOP_WITHIN = 30.0
ANSWER_WITHIN = 10.0
ORPHANED_SECONDS = 5.0
"""How long a function's environment may outlive its twin: it ends when its socket does."""


class StackError(RuntimeError):
    """A part of the stack has ended that nobody had killed."""


class Stack:
    """`async with`: the service is there until the end of the block. `url` and `cloud` are there once it has begun."""

    url: str
    management: str
    """Where `@connections` is."""

    def __init__(self, folder: Path) -> None:
        """`folder`: for what is stored, and for logs: those of the n-th twin in `twin-n`."""
        self.cloud = Cloud(folder / "emulator")
        self.twins = 0
        """Started so far."""
        self.orphans = 0
        """Environments that outlived their twin."""
        self.deaths: Counter[str] = Counter()
        """Function → environments that died within an event, as far as the twins could tell."""
        self._folder = folder
        self._ports: list[int] = []
        self._open = AsyncExitStack()
        self._twin = AsyncExitStack()
        self._peer: Peer | None = None
        self._twin_pid = 0
        self._emulator_pid = 0
        self._died: dict[str, int] = {}
        """Function → the same, of the twin that is up."""

    async def __aenter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            self._ports = [self._reserved_port(), self._reserved_port()]
            before = children()
            await self._open.enter_async_context(self.cloud)
            [self._emulator_pid] = children() - before
            await self.start_twin()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    # ---- what can be done to it

    async def start_twin(self) -> None:
        """Start the next twin, and wait until it serves. Raises `ChildError`."""
        self.twins += 1
        name = f"twin-{self.twins}"
        ports = map(str, self._ports)
        peer = await self._twin.enter_async_context(
            start(
                name,
                "tests.chaos.twin_process",
                self._folder / name,
                self.cloud.endpoint,
                *ports,
                folder=self._folder,
                stop_within=STOP_WITHIN,
                environ={"PYTHONPATH": str(ROOT)},
            )
        )
        hello = await peer.read(START_WITHIN)
        self._peer = peer
        self._twin_pid, self.url, self.management = hello["pid"], hello["ws"], hello["management"]

    async def kill_twin(self) -> None:
        """kill -9, and wait until all of its environments have ended, too."""
        os.kill(self._twin_pid, signal.SIGKILL)
        await self._twin.aclose()
        self._forget()
        await self._end_orphans()

    def stop_emulator(self) -> None:
        """SIGSTOP: it answers nobody, and loses nothing."""
        os.kill(self._emulator_pid, signal.SIGSTOP)

    def resume_emulator(self) -> None:
        os.kill(self._emulator_pid, signal.SIGCONT)

    # ---- what can be seen of it

    async def environments(self) -> dict[str, dict[int, bool]]:
        """Function → the process id of each of its environments → whether that is within an event.

        Raises `ChildError` or `StackError` where a part ended that nobody had killed.
        """
        assert self._peer is not None
        if not is_running(self._emulator_pid):
            raise StackError(f"the emulator ended by itself; see {self._folder}")
        answer = await self._peer.ask(ANSWER_WITHIN)
        self._died = answer["died"]
        return {name: {int(pid): busy for pid, busy in up.items()} for name, up in answer["up"].items() if up}

    # ---- private

    def _reserved_port(self) -> int:
        bound = self._open.enter_context(socket.socket())
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port

    def _forget(self) -> None:
        """That twin counts no more."""
        self.deaths.update(self._died)
        self._died = {}

    def _environments(self) -> list[int]:
        """Every environment of ours that lives, whoever has started it: no others know our emulator."""
        ours = f"AWS_ENDPOINT_URL={self.cloud.endpoint}".encode()
        found = []
        for it in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended, or is another's
                if ours in it.joinpath("environ").read_bytes().split(b"\0"):
                    found.append(int(it.name))
        return found

    async def _end_orphans(self) -> None:
        """Wait until no environment is left, and kill those that stay."""
        with suppress(TimeoutError):
            await until(lambda: not self._environments(), ORPHANED_SECONDS)
        for it in self._environments():
            with suppress(ProcessLookupError):
                os.kill(it, signal.SIGKILL)
                self.orphans += 1

    async def _close(self) -> None:
        if self._emulator_pid and is_running(self._emulator_pid):
            self.resume_emulator()
        self._forget()
        await self._twin.aclose()
        if self._emulator_pid:
            await self._end_orphans()
        await self._open.aclose()
