"""Runs the emulator of AWS until standard input ends, then lets it save what it holds.

Executed by path with the emulator's own interpreter, so it imports nothing of roomcast. Arguments: the state folder,
and `--reset` to forget what is stored there. Standard input is a socket, and gets one line of JSON: {"port": …} once
the emulator serves, or {"error": …}.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import resource
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

LOCK_SECONDS = 3.0
"""How long a predecessor may still be saving: its parent was killed a moment ago."""
SAVE_SECONDS = 20.0
"""How long saving may take before the process ends without it."""


def emulator(port: int, config: Any) -> Any:
    """The ASGI app to serve on `port` with the server's `config`, which is hypercorn's."""
    from cloud_ranges import speed_up  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415  # beside this
    from ministack.app import app  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
    from ministack.services import dynamodb  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415  # as above

    speed_up(dynamodb)
    return app


def main(make_app: Callable[[int, Any], Any] = emulator) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends us
    parent = socket.socket(fileno=os.dup(0))
    state = Path(sys.argv[1])
    lock = _lock(state / "lock")
    if lock is None:
        _tell(parent, error="another twin uses this state folder")
        return
    stored = state / "stored"
    if "--reset" in sys.argv:
        shutil.rmtree(stored, ignore_errors=True)
    os.environ["STATE_DIR"] = str(stored)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError):  # some systems name a limit that they do not grant
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(_serve(parent, make_app))


def _lock(path: Path) -> IO[str] | None:
    """The open lock file, or None where another process holds it. Released by the kernel when this process ends."""
    file = path.open("w")
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return None
            time.sleep(0.05)  # flock waits for ever or not at all, and no event loop runs yet
        else:
            return file


async def _serve(parent: socket.socket, make_app: Callable[[int, Any], Any]) -> None:
    from hypercorn.asyncio import serve  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
    from hypercorn.config import Config  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415

    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    port = listener.getsockname()[1]
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.graceful_timeout = 0.2
    config.shutdown_timeout = SAVE_SECONDS
    config.keep_alive_timeout = 75
    config.loglevel = "WARNING"
    app = make_app(port, config)

    async def announced(scope: Any, receive: Any, send: Any) -> None:
        async def tell(message: Any) -> None:
            await send(message)
            if message["type"] == "lifespan.startup.complete":
                _tell(parent, port=port)

        await app(scope, receive, tell if scope["type"] == "lifespan" else send)

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    threading.Thread(target=_watch, args=(parent, loop, stop), daemon=True).start()
    logging.getLogger("hypercorn.error").setLevel(logging.WARNING)
    await serve(announced, config, shutdown_trigger=stop.wait)


def _tell(parent: socket.socket, **answer: object) -> None:
    parent.sendall(json.dumps(answer).encode() + b"\n")


def _watch(parent: socket.socket, loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    with suppress(OSError):  # reset, where the parent was killed before it had read the line
        while parent.recv(1):
            pass
    loop.call_soon_threadsafe(stop.set)
    time.sleep(SAVE_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
