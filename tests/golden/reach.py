"""Which lines of the Python client the traces reach."""

from __future__ import annotations

import sys
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any, Self

import client

__all__ = ["Reach"]


class Reach:
    """`with`: the lines of functions in these modules of `client` are watched until the end of the block."""

    def __init__(self, *modules: str) -> None:
        folder = Path(client.__file__).parent
        self._files = {str(folder / f"{it}.py"): it for it in modules}
        self.reached: dict[str, set[int]] = {it: set() for it in modules}
        self.lines = {it: _lines(compile(Path(path).read_text(), path, "exec")) for path, it in self._files.items()}

    def __enter__(self) -> Self:
        sys.settrace(self._enter_function)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.settrace(None)

    def told(self) -> str:
        """One line for each module, with what was not reached."""
        rows = []
        for module, lines in self.lines.items():
            left = sorted(lines - self.reached[module])
            rows.append(f"{module}: {1 - len(left) / len(lines):.1%} of {len(lines)} lines; not {left}")
        return "\n".join(rows)

    def _enter_function(self, frame: FrameType, event: str, arg: Any) -> Any:
        return self._line if frame.f_code.co_filename in self._files else None

    def _line(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "line":
            self.reached[self._files[frame.f_code.co_filename]].add(frame.f_lineno)
        return self._line


def _lines(module: CodeType) -> set[int]:
    """Lines within functions."""
    found: set[int] = set()
    waiting = [module]
    while waiting:
        code = waiting.pop()
        waiting += [it for it in code.co_consts if isinstance(it, CodeType)]
        if code.co_flags & 0x2:  # CO_NEWLOCALS: neither a module nor a class
            found |= {line for *_, line in code.co_lines() if line} - {code.co_firstlineno}
    return found
