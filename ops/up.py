"""`roomcast up`: the twin, until it is told to stop."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import uvloop
from rich.console import Console

from domain.errors import BadSetting
from domain.lanes import LANES, override_lanes
from domain.rates import RATES, override_rates
from local.access import Access
from local.gateway import listen
from local.twin import Twin

__all__ = ["serve"]

BUILD = Path(__file__).resolve().parent.parent / ".build"
"""Where the project keeps what it makes."""


def serve(
    *,
    port: int,
    as_json: bool,
    access: Access,
    workers: int | None,
    lane_settings: Sequence[str],
    limits: Sequence[str] = (),
    review: str = "",
    review_words: str = "",
    review_fails: str = "closed",
    rate: float,
    burst: float,
    post_latency: float = 0.0,
    reset: bool,
    archive: bool = False,
    until_eof: bool = False,
) -> None:
    """Run the twin until SIGINT, SIGTERM, or (`until_eof`) the end of standard input. Raises `BadSetting`.

    `post_latency`: milliseconds that a post takes on average.
    """
    lanes = override_lanes(LANES, lane_settings)
    rates = override_rates(RATES, limits)
    if review and review_words:
        raise BadSetting("--review and --review-words: only one of them can be; have the function look for words")
    if review_fails not in {"open", "closed"}:
        raise BadSetting(f"--review-fails {review_fails}: it must be open or closed")
    for it in (port, port + 1) if port else ():
        _check_free(it)
    with _state(port) as state:
        twin = Twin(
            state=state,
            lanes=lanes,
            workers=workers,
            rate=rate,
            burst=burst,
            post_latency=(lambda: random.uniform(0, 2 * post_latency / 1000)) if post_latency else None,
            port=port,
            access=access,
            reset=reset,
            rates=rates,
            review=review,
            review_words=review_words,
            review_fails=review_fails,
            archive=archive,
        )
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(twin, as_json=as_json, until_eof=until_eof))


async def _serve(twin: Twin, *, as_json: bool, until_eof: bool) -> None:
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for it in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(it, told.set)
    if until_eof:
        loop.add_reader(sys.stdin.fileno(), _stop_at_end, told)
    starting = asyncio.create_task(twin.start())
    stopping = asyncio.create_task(told.wait())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            _announce(twin, as_json=as_json)
            await stopping
    finally:
        stopping.cancel()
        await twin.stop()
        await asyncio.gather(starting, stopping, return_exceptions=True)


def _announce(twin: Twin, *, as_json: bool) -> None:
    endpoints = twin.endpoints()
    if as_json:
        print(json.dumps(endpoints), flush=True)
        return
    out = Console(highlight=False, soft_wrap=True)
    out.print("[bold]roomcast is up.[/] Ctrl-C stops it.\n")
    out.print(f"  page       [link]{endpoints['page']}[/]")
    out.print(f"  dashboard  [link]{endpoints['page']}dashboard[/]")
    out.print(f"  WebSocket  {endpoints['ws']}")
    out.print(f"  try        [bold]{_command()} chat --url {endpoints['ws']} --name Ada[/]\n")


def _command() -> str:
    """How this command can be called from the folder it was called in."""
    path = Path(sys.argv[0])
    if path.name != "roomcast":
        return f"{sys.executable} -m ops.main"
    folder = Path.cwd()
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def _stop_at_end(told: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        told.set()


def _check_free(port: int) -> None:
    try:
        listen(port).close()
    except BadSetting as error:
        raise BadSetting(f"--port: {error}") from None


@contextmanager
def _state(port: int) -> Iterator[Path]:
    """The folder for what is stored: one for each port, so that two twins never share it; a passing one for port 0."""
    BUILD.mkdir(exist_ok=True)
    if port:
        yield BUILD / f"twin-{port}"
    else:
        with tempfile.TemporaryDirectory(dir=BUILD, prefix="twin-", ignore_cleanup_errors=True) as folder:
            yield Path(folder)
