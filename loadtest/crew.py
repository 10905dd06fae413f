"""The processes of a run, each with its share of the clients, from the side of the one that tells them what to do."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from domain.errors import BadSetting
from loadtest.children import Peer, start
from loadtest.plan import Plan

__all__ = ["Credential", "Crew", "start_crew"]

START_WITHIN = 60.0
ANSWER_WITHIN = 300.0
"""Seconds for the longest answer: an audit of some million deliveries."""


class Credential(msgspec.Struct, frozen=True):
    """What clients show: a token, what a command prints, or nothing."""

    token: str | None = None
    command: str | None = None


class Crew:
    """All processes of a run; asking is asking each, at once."""

    def __init__(self, peers: Sequence[Peer]) -> None:
        self._peers = peers

    def __len__(self) -> int:
        return len(self._peers)

    async def ask(self, what: str, **request: object) -> list[dict[str, Any]]:
        """Each process's answer. Raises `ChildError` where one has ended, and `BadSetting` where one refuses."""
        return await self._ask([{"do": what, **request}] * len(self))

    async def begin(self, plan: Plan, credential: Credential) -> None:
        """Tell each process which clients are its own. Raises as `ask` does."""
        request = {"do": "begin", "plan": plan, "processes": len(self)}
        request |= {"token": credential.token, "token_command": credential.command}
        await self._ask([{**request, "process": it} for it in range(len(self))])

    async def _ask(self, requests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        asked = [it.ask(ANSWER_WITHIN, **request) for it, request in zip(self._peers, requests, strict=True)]
        answers = await asyncio.gather(*asked)
        for it in answers:
            if "error" in it:
                raise BadSetting(it["error"])
        return answers


@asynccontextmanager
async def start_crew(processes: int) -> AsyncIterator[Crew]:
    """So many processes for as long as the block lasts."""
    async with AsyncExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="roomcast-loadtest-")))
        starting = [
            start(f"client process {number}", "loadtest.client_process", folder=folder)
            for number in range(1, processes + 1)
        ]
        peers = [await running.enter_async_context(it) for it in starting]
        await asyncio.gather(*(it.read(START_WITHIN) for it in peers))
        yield Crew(peers)
