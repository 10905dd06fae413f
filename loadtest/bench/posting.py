"""What a post costs the process that makes it: five ways to post, by turns, to a server that takes whatever comes."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

from loadtest import children
from loadtest.bench.certificate import make_certificate
from loadtest.bench.environ import ENVIRON
from loadtest.bench.errors import BenchError
from loadtest.bench.posters import CONTENDERS
from loadtest.run import Watch

__all__ = ["Turn", "measure_posts", "per_cpu_second"]

READY_WITHIN = 60.0
"""Seconds for a contender's imports and its first broadcast."""
TURN_WITHIN = 120.0
"""Seconds for one turn: its CPU time, and what an overloaded machine makes of it."""


class Turn(NamedTuple):
    """What a contender did in one of its turns."""

    name: str
    posts: int
    cpu_seconds: float


def per_cpu_second(turns: Iterable[Turn]) -> dict[str, float]:
    """Contender → posts for each second of CPU, the median of its turns."""
    found: dict[str, list[float]] = {}
    for it in turns:
        found.setdefault(it.name, []).append(it.posts / it.cpu_seconds)
    return {name: statistics.median(it) for name, it in found.items()}


async def measure_posts(
    part: str, *, tls: bool, members: int, rounds: int, cpu_seconds: float, folder: Path, watch: Watch
) -> dict[str, float]:
    """Contender → posts for each second of CPU, by turns of `cpu_seconds` each: A B C, A B C, and so on.

    Raises `BenchError`, also where the server has not seen what a contender says it has posted.
    """
    turns: list[Turn] = []
    watch(part, 0, rounds * len(CONTENDERS))
    pem = [await make_certificate(folder)] if tls else []
    environ = {**ENVIRON, **({"AWS_CA_BUNDLE": str(pem[0])} if pem else {})}
    async with AsyncExitStack() as running:
        started = children.start("sink", "loadtest.bench.sink", *pem, folder=folder, environ=ENVIRON)
        sink = await running.enter_async_context(started)
        endpoint = (await sink.read(READY_WITHIN))["endpoint"]
        posters = {}
        for name in CONTENDERS:
            command = (name, "loadtest.bench.posters", name, endpoint, str(members))
            poster = children.start(*command, folder=folder, environ=environ)
            posters[name] = await running.enter_async_context(poster)
            await posters[name].read(READY_WITHIN)  # one at a time: each opens all its connections at once
        for name in list(posters) * rounds:
            before = (await sink.ask(READY_WITHIN))["posts"]
            used = await posters[name].ask(TURN_WITHIN, cpu_seconds=cpu_seconds)
            seen = (await sink.ask(READY_WITHIN))["posts"] - before
            if seen < used["posts"]:  # more are tries that had no answer in time
                raise BenchError(f"{name} says {used['posts']} posts and the sink has seen {seen}")
            turns.append(Turn(name, used["posts"], used["cpu_seconds"]))
            watch(part, len(turns), rounds * len(posters))
    return per_cpu_second(turns)
