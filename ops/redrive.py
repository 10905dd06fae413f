"""`roomcast redrive`: what the dead letters are, a question, and then back to their lanes with them."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from domain.errors import BadSetting
from ops.dead_letters import DeadLetter
from ops.drive import Choice, Drive, Fate, Look, look
from ops.stage import Deployment, find

__all__ = ["give_back"]

RATES = (0.1, 1_000.0)
"""Jobs a second."""
ROOMS = 3
"""Rooms that are named in a row of the table."""


def give_back(
    *,
    url: str | None,
    stage: str | None,
    region: str | None,
    profile: str | None,
    lane: str | None,
    room: str | None,
    rate: float | None,
    yes: bool,
    dry_run: bool,
    drop_poison: bool,
    as_json: bool,
) -> int:
    """Look, ask, redrive; the exit status, 0 if nothing that was meant is left. Raises `BadSetting`, `StageError`."""
    if rate is not None and not RATES[0] <= rate <= RATES[1]:
        raise BadSetting(f"--rate {rate:g}: it must be between {RATES[0]:g} and {RATES[1]:g} jobs a second")
    if room is not None and drop_poison:
        raise BadSetting("--drop-poison: what can't be read has no room; leave --room out")
    if not (yes or dry_run) and (as_json or not sys.stdin.isatty()):
        raise BadSetting("there is nobody to ask: add --yes, or --dry-run to change nothing")
    deployment = find(url=url, stage=stage, region=region, profile=profile)
    if lane is not None and lane not in deployment.lanes:
        raise BadSetting(f"--lane {lane}: there is none; the lanes are {', '.join(deployment.lanes)}")
    choice = Choice([lane] if lane else list(deployment.lanes), room, drop_poison)
    seen = look(deployment, choice)
    drive = Drive(deployment=deployment, choice=choice, rate=rate)
    if not as_json:
        _show(deployment, seen, choice)
    if not dry_run and _any(seen, choice) and (yes or typer.confirm(_question(choice))):
        try:
            _run(drive, sum(seen.dead.values()), quiet=as_json)
        finally:
            if not as_json:
                _tell(drive)
    if as_json:
        print(json.dumps(_as_json(deployment, seen, choice, drive, dry_run=dry_run), indent=2))
    return 1 if drive.interrupted or drive.died_again else 0


# ---- private


def _run(drive: Drive, dead: int, *, quiet: bool) -> None:
    columns = (TextColumn("redriving"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with _told_to_stop() as told, Progress(*columns, disable=quiet, console=Console(stderr=True)) as progress:
        bar = progress.add_task("", total=dead)
        drive.stopped = lambda: bool(told)
        drive.tell = lambda: progress.advance(bar)
        drive.run()


@contextmanager
def _told_to_stop() -> Iterator[list[int]]:
    """The signals that have come; meanwhile they interrupt nothing."""
    told: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        told.append(number)

    before = {it: signal.signal(it, note) for it in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield told
    finally:
        for it, former in before.items():
            signal.signal(it, former)


def _any(seen: Look, choice: Choice) -> bool:
    """Whether there is anything to do, or may be behind what was seen."""
    return len(seen.letters) < sum(seen.dead.values()) or any(choice.fate(it) is not Fate.KEEP for it in seen.letters)


def _question(choice: Choice) -> str:
    return "Redrive them, and delete for ever what can't be read?" if choice.drop_poison else "Redrive them?"


def _causes(letters: Iterable[DeadLetter]) -> dict[tuple[str, str], list[DeadLetter]]:
    """(lane, cause in words) → its letters."""
    causes: dict[tuple[str, str], list[DeadLetter]] = {}
    for it in letters:
        words = f"{it.cause.value}: {it.reason}" if it.reason else it.cause.value
        causes.setdefault((it.lane, words), []).append(it)
    return causes


def _rooms(letters: Iterable[DeadLetter]) -> list[str]:
    return sorted({it.job.room for it in letters if it.job is not None})


def _ages(letters: Iterable[DeadLetter]) -> tuple[float, float]:
    """Seconds since the oldest and the newest was sent."""
    ages = [max(0.0, round(time.time() - it.sent_at / 1000, 1)) for it in letters]
    return max(ages), min(ages)


def _show(deployment: Deployment, seen: Look, choice: Choice) -> None:
    out = Console(highlight=False)
    if not any(seen.dead.values()) and not seen.letters:
        out.print(f"{deployment}: no dead letters.", markup=False)
        return
    table = Table(title=str(deployment), title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("lane", "cause", "jobs", "rooms", "oldest", "newest", "will be"):
        table.add_column(
            column, justify="right" if column in {"jobs", "oldest", "newest"} else "left", no_wrap=column == "lane"
        )
    for (lane, cause), letters in _causes(seen.letters).items():
        rooms = _rooms(letters)
        more = f" and {len(rooms) - ROOMS} more" if len(rooms) > ROOMS else ""
        oldest, newest = _ages(letters)
        table.add_row(
            lane,
            Text(cause),
            f"{len(letters):,}",
            Text(_printable(", ".join(rooms[:ROOMS]) + more)),
            _age(oldest),
            _age(newest),
            ", ".join(sorted({_WILL_BE[choice.fate(it)] for it in letters})),
        )
    out.print(table)
    for lane, dead in seen.dead.items():
        hidden = dead - sum(it.lane == lane for it in seen.letters)
        if hidden > 0:
            out.print(f"{lane}: {hidden:,} more, that can't be seen before those in front of them are gone.")


def _tell(drive: Drive) -> None:
    out = Console(highlight=False)
    lanes = ", ".join(f"{number:,} to {lane}" for lane, number in drive.redriven.items())
    dropped = f" {drive.dropped:,} dropped." if drive.dropped else ""
    out.print(f"{drive.redriven.total():,} jobs redriven{f' ({lanes})' if lanes else ''}.{dropped}")
    if drive.interrupted:
        out.print("Stopped; the others are where they were, and the next run goes on with them.")
    if drive.died_again:
        out.print(f"{len(drive.died_again):,} of them died again: mend what kills them before the next run.")


def _as_json(deployment: Deployment, seen: Look, choice: Choice, drive: Drive, *, dry_run: bool) -> dict[str, Any]:
    return {
        "deployment": str(deployment),
        "dry_run": dry_run,
        "dead": seen.dead,
        "seen": [
            {
                "lane": lane,
                "cause": cause,
                "jobs": len(letters),
                "rooms": _rooms(letters),
                "oldest_s": _ages(letters)[0],
                "newest_s": _ages(letters)[1],
                "fates": {fate.value: sum(choice.fate(it) is fate for it in letters) for fate in Fate},
            }
            for (lane, cause), letters in _causes(seen.letters).items()
        ],
        "redriven": dict(drive.redriven),
        "dropped": drive.dropped,
        "died_again": len(drive.died_again),
        "interrupted": drive.interrupted,
    }


_WILL_BE = {Fate.REDRIVE: "redriven", Fate.DROP: "dropped", Fate.KEEP: "kept"}


def _printable(text: str) -> str:
    """What others wrote must not steer this terminal."""
    return "".join(it if it.isprintable() else "\N{REPLACEMENT CHARACTER}" for it in text)


def _age(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
