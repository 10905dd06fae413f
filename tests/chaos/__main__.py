"""`python -m tests.chaos`: kills under load, then the audit; ends with 1 on any finding."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tests.chaos.load import Size
from tests.chaos.run import Report, run
from tests.chaos.strikes import EMULATOR, WEIGHTS
from tests.unit.local.processes import ROOT

BUILD = ROOT / ".build"
"""Where the project keeps what it makes."""
FINDINGS = 30
"""How many are printed."""
INTERRUPTED = 130
"""The exit status then, as a shell has it."""
SEEDS = 1_000_000
"""Below this one is drawn where none is given."""

_BEGAN = time.monotonic()


def main(
    kills: Annotated[int, typer.Option(min=1, help="Processes to kill.")] = 20,
    seed: Annotated[int | None, typer.Option(help="Of the kills; drawn where it is not given.")] = None,
    keep: Annotated[Path | None, typer.Option(help="A folder for what is stored, and for logs, that is kept.")] = None,
) -> None:
    """Kill the service's processes at random moments under load, then look whether anything was lost."""
    out = Console(highlight=False, soft_wrap=True)
    if not Path("/proc").exists():
        out.print("chaos finds what it kills in /proc, which this machine does not have")
        raise typer.Exit(2)
    seed = random.randrange(SEEDS) if seed is None else seed
    out.print(f"seed {seed}, {kills} kills")
    BUILD.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=BUILD, prefix="chaos-", ignore_cleanup_errors=True) as passing,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        try:
            report = runner.run(_interruptible(run(keep or Path(passing), kills, seed, Size(), _tell)))
        except asyncio.CancelledError:
            _tell("interrupted; there is no verdict")
            raise typer.Exit(INTERRUPTED) from None
    _print(out, report)
    raise typer.Exit(1 if report.findings else 0)


async def _interruptible(running: Coroutine[Any, Any, Report]) -> Report:
    """SIGINT and SIGTERM end it in an orderly way: no process may be left, least of all a stopped one."""
    task = asyncio.ensure_future(running)
    for it in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(it, task.cancel)
    return await task


def _tell(words: str) -> None:
    print(f"chaos: {time.monotonic() - _BEGAN:5.0f} s  {words}", file=sys.stderr, flush=True)


def _print(out: Console, report: Report) -> None:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in ("struck", "times", "of these within an event"):
        table.add_column(column, justify="left" if column == "struck" else "right")
    for it in (*WEIGHTS, EMULATOR):
        if report.struck[it]:
            table.add_row(it, str(report.struck[it]), str(report.deaths[it]) if it in report.deaths else "")
    table.add_row("kill -9 in all", str(report.struck.total() - report.struck[EMULATOR]), "")
    out.print(table)
    evidence, logs = report.evidence, report.evidence.logs
    said = [*evidence.messages, *(it.message for it in evidence.private)]
    acknowledged = sum(it.acknowledged_at is not None for it in said)
    sizes = Counter(len(it.shards) for it in evidence.rooms.values())
    out.print(f"rooms and inboxes       {len(evidence.rooms)}, with shards: {dict(sorted(sizes.items()))}")
    out.print(f"clients, stays          {len(logs)}; {report.reconnects} tries to reconnect")
    out.print(f"messages acknowledged   {acknowledged:,} of {len(said):,}, {len(evidence.private)} of them private")
    out.print(f"entries stored          {sum(it.head for it in evidence.rooms.values()):,}")
    out.print(f"deliveries              {sum(len(it.released) for it in logs):,}")
    out.print(f"repeats on the wire     {sum(len(it.pushed) - len(set(it.pushed)) for it in logs):,}")
    out.print(f"filled by history       {sum(len(it.filled) for it in logs):,}")
    out.print(f"jobs redriven           {dict(report.redriven) or 'none'}")
    out.print(f"seconds                 {report.seconds:.0f}")
    for finding in report.findings[:FINDINGS]:
        out.print(f"  {finding}", style="red", markup=False)
    if len(report.findings) > FINDINGS:
        out.print(f"  and {len(report.findings) - FINDINGS} more")
    verdict = f"{len(report.findings)} findings" if report.findings else "nothing acknowledged was lost"
    out.print(f"verdict                 {verdict} (seed {report.seed})")


if __name__ == "__main__":
    typer.run(main)
