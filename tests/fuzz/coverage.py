"""Which lines of the product an input has been the first to reach."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any, Self

__all__ = ["Lines"]

ROOT = Path(__file__).parents[2]


class Lines:
    """`with`: lines are watched until the end of the block. A function whose lines have all been reached runs at full
    speed again."""

    def __init__(self, folders: Sequence[str]) -> None:
        """`folders`: of the repository, whose lines count."""
        self.reached = 0
        self._prefixes = tuple(f"{ROOT / it}/" for it in folders)
        self._left: dict[CodeType, set[int]] = {}
        """Code → its lines that no input has reached; none where they don't count."""

    def __enter__(self) -> Self:
        sys.settrace(self._enter_function)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.settrace(None)

    def _enter_function(self, frame: FrameType, event: str, arg: Any) -> Any:
        code = frame.f_code
        left = self._left.get(code)
        if left is None:
            watched = code.co_filename.startswith(self._prefixes)
            left = {line for *_, line in code.co_lines() if line} - {code.co_firstlineno} if watched else set()
            self._left[code] = left
        return self._enter_line if left else None

    def _enter_line(self, frame: FrameType, event: str, arg: Any) -> Any:
        left = self._left[frame.f_code]
        if frame.f_lineno in left:
            left.remove(frame.f_lineno)
            self.reached += 1
        return self._enter_line
