"""Progress for people, on standard error: a bar for each phase in a terminal, elsewhere at most a line."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

__all__ = ["Bars"]

REFRESH_SECONDS = 0.1
WIDTH = 20
"""Characters for a phase's name."""


class Bars(Progress):
    """`show` is a `loadtest.run.Watch`."""

    def __init__(self, *, line: str | None = None) -> None:
        """`line`: what begins the line that tells of a new phase where there is no terminal; None for no line."""
        super().__init__(
            TextColumn(f"{{task.description:<{WIDTH}}}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
            refresh_per_second=4,
        )
        self._line = line
        self._phases: dict[str, TaskID] = {}
        self._next = 0.0

    def show(self, phase: str, done: int, total: int) -> None:
        """Told often, shown seldom."""
        now = time.monotonic()
        if phase in self._phases and done < total and now < self._next:
            return
        self._next = now + REFRESH_SECONDS
        if phase not in self._phases:
            self._phases[phase] = self.add_task(phase, total=total)
            if self.disable and self._line is not None:
                print(f"{self._line}{phase}", file=sys.stderr, flush=True)
        self.update(self._phases[phase], completed=done, total=total)
