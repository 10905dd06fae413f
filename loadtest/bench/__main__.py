"""`python -m loadtest.bench`: the benchmarks, one after the other, so that none is in another's way."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console

from domain.errors import BadSetting
from loadtest.bars import Bars
from loadtest.bench.flood import measure_flood
from loadtest.bench.growth import measure_growth
from loadtest.bench.history import measure_history
from loadtest.bench.imports import handler_modules, measure_imports
from loadtest.bench.isolation import measure_isolation
from loadtest.bench.limiter import measure_limiter
from loadtest.bench.packing import THROTTLE, measure_packing
from loadtest.bench.posting import measure_posts
from loadtest.bench.report import Figures, Machine
from loadtest.bench.room import measure_room
from loadtest.bench.search import measure_search

__all__ = ["main"]

BUILD = Path(__file__).resolve().parents[2] / ".build"
"""Where the project keeps what it makes."""
PARTS = (
    "post",
    "post_tls",
    "room",
    "growth",
    "packing",
    "isolation",
    "flood",
    "limiter",
    "history",
    "search",
    "import",
)


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured."""

    post_members: int
    post_rounds: int
    post_cpu_seconds: float
    room_sizes: Sequence[int]
    room_repetitions: int
    growth_sizes: Sequence[int]
    growth_deliveries: int
    packing_members: int
    packing_seconds: float
    isolation_members: int
    isolation_rooms: int
    isolation_seconds: float
    flood_rooms: int
    flood_seconds: float
    flood_rounds: int
    limiter_members: int
    limiter_seconds: float
    history_entries: int
    history_pages: int
    search_entries: int
    import_rounds: int


FULL = Extent(
    # A broadcast of 500 posts takes the slowest well below its CPU time, and stays in one shard.
    post_members=500,
    post_rounds=5,
    post_cpu_seconds=1.0,
    room_sizes=(100, 1_000, 5_000),
    room_repetitions=5,
    growth_sizes=(100, 1_000, 5_000, 20_000),
    growth_deliveries=40_000,
    packing_members=1_000,
    packing_seconds=30,
    isolation_members=5_000,
    isolation_rooms=50,
    isolation_seconds=30,
    flood_rooms=10,
    flood_seconds=15,
    flood_rounds=3,
    limiter_members=1_000,
    limiter_seconds=30,
    history_entries=100_000,
    history_pages=600,
    search_entries=100_000,
    import_rounds=5,
)
QUICK = Extent(
    post_members=50,
    post_rounds=1,
    post_cpu_seconds=0,
    room_sizes=(20,),
    room_repetitions=1,
    growth_sizes=(10, 20),
    growth_deliveries=20,
    packing_members=20,
    packing_seconds=1,
    isolation_members=20,
    isolation_rooms=2,
    isolation_seconds=1,
    flood_rooms=2,
    flood_seconds=1,
    flood_rounds=1,
    limiter_members=20,
    limiter_seconds=2,
    history_entries=300,
    history_pages=6,
    search_entries=3_200,
    import_rounds=1,
)

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: python -m loadtest.bench --only post,import")
def bench(
    only: Annotated[str, typer.Option(help="The parts to measure, with commas between them.")] = ",".join(PARTS),
    quick: Annotated[
        bool, typer.Option("--quick", help="So little of each part that its figures mean nothing.")
    ] = False,
    json_file: Annotated[Path, typer.Option("--json", metavar="FILE", help="Where the result goes.")] = BUILD
    / "bench.json",
) -> None:
    """Measure posts, a broadcast beside the recipe's, rooms that grow, are busy, have little granted or
    a flood beside them, pages of a long room's history, a search of it, and imports. About fifteen
    minutes on two idle cores."""
    parts = only.split(",")
    for it in parts:
        if it not in PARTS:
            raise BadSetting(f"--only {only}: there is no part '{it}'; the parts are {', '.join(PARTS)}")
    BUILD.mkdir(exist_ok=True)
    if not json_file.resolve().parent.is_dir():
        raise BadSetting(f"--json {json_file}: there is no such folder")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures = runner.run(_measure(parts, quick=quick))
    json_file.write_text(json.dumps(figures.as_json(), indent=2) + "\n", encoding="utf-8")
    out = Console()
    for table in figures.tables():
        out.print(table)
    out.print(
        f"{figures.machine.cpu}, {figures.machine.cores} cores, load {figures.machine.load:g}; also in {json_file}"
    )


async def _measure(parts: Sequence[str], *, quick: bool) -> Figures:
    """Raises `CancelledError` on SIGINT and SIGTERM, when all processes have ended."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  # a coroutine runs in a task
    for it in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(it, task.cancel)
    extent = QUICK if quick else FULL
    figures = Figures(Machine.here(), quick)
    scratch = tempfile.TemporaryDirectory(dir=BUILD, prefix="bench-", ignore_cleanup_errors=True)
    with scratch as name, Bars(line="bench: ") as bars:
        folder = Path(name)
        posting = partial(
            measure_posts,
            members=extent.post_members,
            rounds=extent.post_rounds,
            cpu_seconds=extent.post_cpu_seconds,
            folder=folder,
            watch=bars.show,
        )
        if "post" in parts:
            figures.post = await posting("post", tls=False)
        if "post_tls" in parts:
            figures.post_tls = await posting("post_tls", tls=True)
        if "room" in parts:
            figures.room = await measure_room(
                sizes=extent.room_sizes, repetitions=extent.room_repetitions, folder=folder, watch=bars.show
            )
        if "growth" in parts:
            figures.growth = await measure_growth(
                sizes=extent.growth_sizes, deliveries=extent.growth_deliveries, folder=folder, watch=bars.show
            )
        packing = partial(
            measure_packing,
            members=extent.packing_members,
            seconds=extent.packing_seconds,
            folder=folder,
            watch=bars.show,
        )
        if "packing" in parts:
            figures.packing = await packing("packing", throttle=None)
            figures.packing_throttled = await packing("packing, throttled", throttle=THROTTLE)
        if "isolation" in parts:
            figures.isolation = await measure_isolation(
                members=extent.isolation_members,
                rooms=extent.isolation_rooms,
                seconds=extent.isolation_seconds,
                folder=folder,
                watch=bars.show,
            )
        if "flood" in parts:
            figures.flood = await measure_flood(
                rooms=extent.flood_rooms,
                seconds=extent.flood_seconds,
                rounds=extent.flood_rounds,
                folder=folder,
                watch=bars.show,
            )
        if "limiter" in parts:
            figures.limiter = await measure_limiter(
                members=extent.limiter_members, seconds=extent.limiter_seconds, folder=folder, watch=bars.show
            )
        if "history" in parts:
            figures.history = await measure_history(
                entries=extent.history_entries, pages=extent.history_pages, folder=folder, watch=bars.show
            )
        if "search" in parts:
            figures.search = await measure_search(entries=extent.search_entries, folder=folder, watch=bars.show)
        if "import" in parts:
            modules = handler_modules()
            figures.import_ms = await measure_imports(modules=modules, rounds=extent.import_rounds, watch=bars.show)
    return figures


_STATUSES: Mapping[type[BaseException], int] = {BadSetting: 2, asyncio.CancelledError: 130}


def main() -> None:
    """Run the benchmarks; whatever goes wrong is one sentence on standard error, and a status: 2 for bad usage, 130
    when it is told to stop, else 1."""
    try:
        status = app(standalone_mode=False)
    except typer.TyperException as error:
        status = error.exit_code
        print(f"bench: {error.format_message()}", file=sys.stderr)
    except (Exception, asyncio.CancelledError) as error:
        if sys.flags.dev_mode:
            raise
        status = _STATUSES.get(type(error), 1)
        words = "stopped" if status == 130 else str(error) or type(error).__name__
        print(f"bench: {' '.join(words.split())}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
