"""`roomcast compare`: two results of the load test as a table, a page, or JSON."""

from __future__ import annotations

import json as json_text
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from domain.errors import BadSetting
from loadtest.compare import Comparison, compare, readable, settings_of
from loadtest.page import page
from loadtest.result import Result, read_result

__all__ = ["show"]

_STYLES = {"better": "green", "worse": "red", "": ""}


def show(*, first: Path, second: Path, html: Path | None, json: bool) -> None:
    """Print the comparison of two files, and write the page if asked. Raises `BadSetting`."""
    if html is not None and not html.resolve().parent.is_dir():
        raise BadSetting(f"--html {html}: there is no such folder")
    a, b = read_result(first), read_result(second)
    rows = compare(a, b)
    if html is not None:
        html.write_text(page([a, b]))
    if json:
        print(json_text.dumps(_as_json(first, second, a, b, rows), indent=2))
        return
    console = Console()
    console.print(_figures(a, b, rows))
    console.print(_settings(a, b))
    console.print(f"A: {escape(str(first))}\nB: {escape(str(second))}", highlight=False, soft_wrap=True)


def _differing(a: Result, b: Result) -> dict[str, tuple[str | None, str | None]]:
    ours, theirs = settings_of(a), settings_of(b)
    names = [*ours, *(it for it in theirs if it not in ours)]
    return {it: (ours.get(it), theirs.get(it)) for it in names if ours.get(it) != theirs.get(it)}


def _as_json(first: Path, second: Path, a: Result, b: Result, rows: list[Comparison]) -> dict[str, object]:
    return {
        "a": {"file": str(first), "name": a.name, "audit": a.audit},
        "b": {"file": str(second), "name": b.name, "audit": b.audit},
        "figures": {
            it.figure.path: {"a": it.a, "b": it.b, "difference": it.difference, "ratio": it.ratio} for it in rows
        },
        "settings": {name: {"a": ours, "b": theirs} for name, (ours, theirs) in _differing(a, b).items()},
    }


def _figures(a: Result, b: Result, rows: list[Comparison]) -> Table:
    table = Table()
    table.add_column("")
    for title in ("A", "B", "difference", "B ÷ A"):
        table.add_column(title, justify="right")
    for it in rows:
        unit = f", {it.figure.unit}" if it.figure.unit else ""
        ratio = "–" if it.ratio is None else f"{it.ratio:.2f}"
        change = "–" if it.difference is None else ("+" if it.difference > 0 else "") + readable(it.difference)
        style = _STYLES[it.verdict]
        table.add_row(it.figure.label + unit, readable(it.a), readable(it.b), change, ratio, style=style)
    table.add_row("audit", *(f"[{'green' if it.audit == 'clean' else 'bold red'}]{it.audit}[/]" for it in (a, b)))
    return table


def _settings(a: Result, b: Result) -> Table | str:
    differing = _differing(a, b)
    if not differing:
        return "Both ran with the same settings."
    table = Table(title="set differently", title_justify="left")
    for title in ("", "A", "B"):
        table.add_column(title)
    for name, (ours, theirs) in differing.items():
        table.add_row(escape(name), escape(ours or "–"), escape(theirs or "–"))
    return table
