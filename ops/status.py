"""`roomcast status`: what a deployment is doing, once or until Ctrl-C."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import nullcontext

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from domain.errors import BadSetting
from ops.reading import Posts, Reading, read
from ops.stage import Deployment, find

__all__ = ["show", "view"]

EVERY = (0.5, 3600.0)
"""Seconds between two readings."""
DEFAULT_EVERY = 2.0


def show(
    *,
    url: str | None,
    stage: str | None,
    region: str | None,
    profile: str | None,
    watch: bool,
    every: float | None,
    as_json: bool,
) -> None:
    """Print one reading, or (`watch`) one `every` so many seconds until Ctrl-C. Raises `BadSetting`, `StageError`."""
    if every is not None and not watch:
        raise BadSetting(f"{every:g}: seconds go with --watch; add it")
    if every is not None and not EVERY[0] <= every <= EVERY[1]:
        raise BadSetting(f"--watch {every:g}: it must be between {EVERY[0]:g} and {EVERY[1]:g} seconds")
    deployment = find(url=url, stage=stage, region=region, profile=profile)
    if watch:
        _watch(deployment, every or DEFAULT_EVERY, as_json=as_json)
        return
    reading = read(deployment)
    if as_json:
        print(json.dumps(reading.as_json(), indent=2))
    else:
        Console().print(view(reading))


def view(reading: Reading) -> RenderableType:
    """A reading for people."""
    table = Table(
        title=f"{reading.deployment}, {reading.at}",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("lane", no_wrap=True)
    for column in ("waiting", "in flight", "delayed", "oldest", "dead", "busy", "workers", "failed"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, lane in reading.lanes.items():
        up = "" if lane.workers_up is None else f"{lane.workers_up} of "
        table.add_row(
            name,
            *(f"{it:,}" for it in (lane.waiting, lane.in_flight, lane.delayed)),
            "–" if lane.oldest_s is None else f"{lane.oldest_s:.0f} s",
            Text(f"{lane.dead:,}", style="red" if lane.dead else ""),
            "–" if lane.workers_busy is None else f"{lane.workers_busy:,}",
            f"{up}{lane.workers_limit:,}",
            f"{reading.functions[name].errors:,}",
        )
    return Group(table, *(Text(it) for it in _lines(reading)), *_verdict(reading))


# ---- private


def _watch(deployment: Deployment, every: float, *, as_json: bool) -> None:
    out = Console()
    try:
        with Live(console=out, auto_refresh=False) if out.is_terminal and not as_json else nullcontext() as live:
            for reading in _readings(deployment, every):
                if as_json:
                    print(json.dumps(reading.as_json()), flush=True)
                elif live is None:  # a file, or a pipe: one table below the other
                    out.print(view(reading))
                else:
                    live.update(view(reading), refresh=True)
    except KeyboardInterrupt:
        return


def _readings(deployment: Deployment, every: float) -> Iterator[Reading]:
    while True:
        began = time.monotonic()
        yield read(deployment)
        time.sleep(max(0.0, began + every - time.monotonic()))


def _lines(reading: Reading) -> Iterator[str]:
    if reading.connections is not None:
        yield f"{reading.connections:,} connections are open."
    yield f"In the last {reading.minutes} minutes:" if reading.minutes else "Since it started:"
    beyond = "" if reading.throttled is None else f", {reading.throttled:,} requests beyond the rate"
    yield f"  {'handshakes':<13} {reading.connects:,}, disconnects {reading.disconnects:,}{beyond}"
    yield f"  {'posts':<13} {_posts(reading.posts)}"
    for name, lane in reading.lanes.items():
        if lane.posts is not None and lane.posts.all:
            yield f"    {name:<11} {_posts(lane.posts)}"
    for name, it in reading.functions.items():
        if name not in reading.lanes and (it.errors or it.throttles):
            yield f"  {name:<13} {it.errors:,} failures, {it.throttles or 0:,} throttles"


def _posts(posts: Posts) -> str:
    return f"{posts.sent:,} sent, {posts.gone:,} gone, {posts.throttled:,} throttled, {posts.failed:,} failed"


def _verdict(reading: Reading) -> Iterator[Text]:
    if not reading.troubles:
        yield Text("healthy", style="bold green")
    for it in reading.troubles:
        yield Text(it, style="bold red")
