"""The twin in a process of its own, to be killed: `python -m tests.chaos.twin_process STATE EMULATOR PORT WS_PORT`.

Gateway, event source mappings and schedule are this one process; the functions' environments are its children, and the
emulator, which is another's, goes on without it. It ends with its standard input, which is a socket.

It says {"pid", "ws", "management"} once it serves. Whatever it is asked, it answers with what is up: {"up": function →
process id → whether it is within an event, "died": function → environments that ended within one}.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import sys
from pathlib import Path
from typing import Any

import uvloop

from domain.lanes import LANES, override_lanes
from loadtest.children import parent, serve_parent
from local.twin import Twin

__all__ = ["SHARD_LIMIT"]

SHARD_LIMIT = 40
"""So that a room of sixty has several shards."""
POST_SECONDS = 0.02
"""A post takes half of this on average, as on AWS: so workers are often killed with posts under way."""
LANE_SETTINGS = [f"{lane}.{it}" for lane in LANES for it in ("timeout=4", "visibility=5")]
"""A third of the usual times: after each kill a shard stands still for the visibility time, and kills are many."""


def main() -> None:
    state, emulator, port, ws_port = sys.argv[1:]
    channel = parent()
    twin = Twin(
        state=Path(state),
        emulator=emulator,
        port=int(port),
        ws_port=int(ws_port),
        lanes=override_lanes(LANES, LANE_SETTINGS),
        shard_limit=SHARD_LIMIT,
        post_latency=lambda: random.uniform(0, POST_SECONDS),
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(twin, channel))


async def _serve(twin: Twin, channel: socket.socket) -> None:
    async with twin:
        hello = {"pid": os.getpid(), "ws": twin.ws_url, "management": twin.gateway.management_endpoint}

        async def answer(request: dict[str, Any]) -> dict[str, Any]:
            return {
                "up": {name: it.pids for name, it in twin.functions.items()},
                "died": {name: it.tally.crashes for name, it in twin.functions.items()},
            }

        await serve_parent(channel, hello, answer)


if __name__ == "__main__":
    main()
