"""What a twin says of itself at `/twin`, beside its sockets: counters that are compared before and after a run."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp

__all__ = ["POSTS", "Status", "read_status", "wait_until_idle"]

ANSWER_WITHIN = 10.0
IDLE_WITHIN = 90.0
"""Seconds for queues and `$disconnect`s to drain."""
POLL_SECONDS = 0.25
POSTS = ("sent", "gone", "throttled", "failed")
"""What becomes of a post."""


@dataclass(frozen=True, slots=True)
class Status:
    """A twin's counters. Those that are absent count as 0."""

    raw: dict[str, Any]

    def count(self, part: str, name: str) -> int:
        """One counter, e.g. `posts`, `sent`."""
        return int(self.raw.get(part, {}).get(name, 0))

    @property
    def calls(self) -> dict[str, int]:
        """Requests to AWS by the functions: `dynamodb.Query` → number."""
        return dict(self.raw.get("calls", {}))

    @property
    def invocations(self) -> int:
        return sum(it["invocations"] for it in self._functions.values())

    @property
    def billed_ms(self) -> int:
        return sum(it["billed_ms"] for it in self._functions.values())

    @property
    def depths(self) -> dict[str, int]:
        """Lane → messages in its queue, dead ones aside."""
        queues = self.raw.get("queues", {})
        return {lane: it["visible"] + it["in_flight"] + it["delayed"] for lane, it in queues.items()}

    def posts_since(self, before: Status) -> dict[str, int]:
        """What became of the posts since then."""
        return {it: self.count("posts", it) - before.count("posts", it) for it in POSTS}

    @property
    def settings(self) -> dict[str, Any] | None:
        """Lanes, limits and the throttle, where it states them."""
        return self.raw.get("settings")

    @property
    def waiting(self) -> int:
        """Messages in the queues, dead ones aside."""
        return sum(self.depths.values())

    @property
    def dead(self) -> int:
        return sum(it["dead"] for it in self.raw.get("queues", {}).values())

    @property
    def working(self) -> bool:
        """Whether a queue holds anything, a function is within an event, or a `$disconnect` is still owed."""
        owed = self.count("gateway", "disconnects") - int(self._functions.get("disconnect", {}).get("invocations", 0))
        return self.waiting > 0 or owed > 0 or any(it["busy"] for it in self._functions.values())

    @property
    def _functions(self) -> dict[str, Any]:
        return dict(self.raw.get("functions", {}))


async def read_status(url: str) -> Status | None:
    """The status of the twin behind a WebSocket URL; None if it is no twin, or does not answer."""
    parts = urlsplit(url)
    address = urlunsplit(("https" if parts.scheme == "wss" else "http", parts.netloc, "/twin", "", ""))
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_WITHIN)) as http,
            http.get(address) as answer,
        ):
            raw = await answer.json() if answer.status == 200 else None
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return None
    return Status(raw) if isinstance(raw, dict) and "queues" in raw else None


async def wait_until_idle(url: str) -> Status | None:
    """The twin's status once it has nothing left to do, or when that takes too long."""
    deadline = asyncio.get_running_loop().time() + IDLE_WITHIN
    idle = 0
    while True:
        status = await read_status(url)
        idle = 0 if status is None or status.working else idle + 1
        # Twice in a row: between two queues, a job is in neither for a moment.
        if status is None or idle == 2 or asyncio.get_running_loop().time() > deadline:
            return status
        await asyncio.sleep(POLL_SECONDS)
