"""`python -m tests.fuzz [TARGET …]`: look for inputs that a target's contract does not allow.

Exit status 1 where one is found; it is printed, and saved under `.build/fuzz/`.
"""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tests.fuzz.search import CORPUS, SLOW_SECONDS, Crash, corpus_of, name_of, search
from tests.fuzz.targets import TARGETS

CRASHES = Path(".build/fuzz")
MEMORY = 4 << 30
"""Bytes of this process at most: an input that asks for more is found, and not paid for."""
SHOWN = 500
"""Bytes of an input that are printed at most."""
KEPT_SIZE = 4_096
"""Bytes of an input that `--grow` keeps at most."""

console = Console()
app = typer.Typer(add_completion=False)


@app.command()
def main(
    targets: Annotated[list[str] | None, typer.Argument(help=f"Of {', '.join(TARGETS)}. None: all.")] = None,
    seconds: Annotated[float, typer.Option(help="For each target.", min=0.1)] = 60,
    seed: Annotated[int, typer.Option(help="Another seed makes other inputs.")] = 1,
    grow: Annotated[bool, typer.Option("--grow", help="Keep in the corpus what reaches new lines.")] = False,
    given: Annotated[Path | None, typer.Option("--input", help="Only this input, to one target.")] = None,
) -> None:
    """Search for a while, target by target."""
    wanted = targets or list(TARGETS)
    for it in wanted:
        if it not in TARGETS:
            raise typer.BadParameter(f"there is no '{it}'; there are {', '.join(TARGETS)}", param_hint="TARGET")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    table = Table("target", "inputs", "a second", "lines", "outcomes", "kept", "crashes")
    crashes = 0
    for name in wanted:
        kind = TARGETS[name]
        corpus = corpus_of(kind) if given is None else [given.read_bytes()]
        executions = None if given is None else 0
        found = search(kind, corpus, seed, seconds=seconds, executions=executions, limit=SLOW_SECONDS, crashed=_show)
        if grow:
            for kept in found.pioneers:
                if len(kept) <= KEPT_SIZE:
                    (CORPUS / name / name_of(kept)).write_bytes(kept)
        crashes += len(found.crashes)
        rate = found.executions / found.seconds
        row = found.executions, rate, found.lines, len(found.outcomes), len(found.kept), len(found.crashes)
        table.add_row(name, *(f"{it:,.0f}" for it in row))
    console.print(table)
    if crashes:
        raise typer.Exit(1)


def _show(crash: Crash) -> None:
    CRASHES.mkdir(parents=True, exist_ok=True)
    file = CRASHES / f"{crash.target}-{name_of(crash.given)}"
    file.write_bytes(crash.given)
    alone = "alone, too" if crash.again else "not alone: what came before it has to do with it"
    console.print(f"{crash.target}: {len(crash.given):,} bytes, {alone}; {file}", style="bold", highlight=False)
    console.print(repr(crash.given[:SHOWN]), markup=False, highlight=False, soft_wrap=True)
    console.print(crash.trace, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    app()
