"""docs/emulator.md says of every difference what AWS does."""

from __future__ import annotations

import ast
import re

from tests.deploy.deployment import ROOT
from tests.deploy.differences import DIFFERENCES

DOCUMENT = (ROOT / "docs" / "emulator.md").read_text()


def names(section: str, cell: int) -> set[str]:
    """What stands in backticks at the beginning of that cell, in a section's table."""
    body = DOCUMENT.split(f"## {section}\n", 1)[1].split("\n## ", 1)[0]
    cells = (line.strip("|").split("|")[cell] for line in body.splitlines() if line.startswith("|"))
    return {found[1] for it in cells if (found := re.match(r" `([^`]+)`", it))}


def test_what_is_put_right_is_documented() -> None:
    """Every function that changes the emulator, and no other."""
    emulator = ast.parse((ROOT / "tests" / "deploy" / "emulator.py").read_text())
    functions = {it.name for it in emulator.body if isinstance(it, ast.FunctionDef)}
    assert names("Where the emulator differs from AWS", -1) == functions - {"main"}


def test_what_is_expected_to_fail_is_documented() -> None:
    """Every test, and no other."""
    assert names("What is expected to fail", 0) == set(DIFFERENCES)
