"""A run as it goes, for people, on standard error: in a terminal one line that changes every second, elsewhere a line
for each phase."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live as LiveDisplay
from rich.table import Table

__all__ = ["Progress"]

COLUMNS = ("phase", "clients", "sent", "acks", "deliveries/s", "p50 ms", "p99 ms", "errors")


class Progress:
    """`show` is a `loadtest.run.Watch`, `second` a `loadtest.run.Live`."""

    def __init__(self) -> None:
        self._phase = ""
        self._done = 0
        self._total = 1
        self._row: Mapping[str, Any] = {}
        self._sums = {"sent": 0, "acknowledged": 0, "errors": 0}
        self._display = LiveDisplay(console=Console(stderr=True), auto_refresh=False) if sys.stderr.isatty() else None

    def __enter__(self) -> Self:
        if self._display is not None:
            self._display.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._display is not None:
            self._display.stop()

    def say(self, words: str) -> None:
        """A line that stays."""
        if self._display is not None:
            self._display.console.print(words, highlight=False)
        else:
            print(f"loadtest: {words}", file=sys.stderr, flush=True)

    def show(self, phase: str, done: int, total: int) -> None:
        begins = phase != self._phase
        self._phase, self._done, self._total = phase, done, total
        if begins:
            if self._display is None:
                self.say(phase)
            self._refresh()

    def second(self, row: Mapping[str, Any]) -> None:
        """Another second is over: what it brought, with the report's keys."""
        self._row = row
        for key in self._sums:
            self._sums[key] += row[key]
        self._refresh()

    def _refresh(self) -> None:
        if self._display is not None:
            self._display.update(self._table(), refresh=True)

    def _table(self) -> Table:
        table = Table(*COLUMNS, box=None, pad_edge=False)
        row, sums = self._row, self._sums
        table.add_row(
            f"{self._phase} {self._done:,} of {self._total:,}",
            f"{row.get('clients', 0):,}",
            f"{sums['sent']:,}",
            f"{sums['acknowledged']:,}",
            f"{row.get('deliveries', 0):,}",
            *(_milliseconds(row.get(it)) for it in ("p50", "p99")),
            f"[red]{sums['errors']:,}[/]" if sums["errors"] else "0",
        )
        return table


def _milliseconds(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
