"""docs/gateway.md can't lie: each rule has its test, and the test names the document that states the rule."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator

import pytest

from local.gateway import Gateway
from local.twin import Twin
from tests.unit.local.processes import ROOT

PAGE = (ROOT / "docs/gateway.md").read_text()


def rows(section: str) -> list[list[str]]:
    """The table under a heading, without its head."""
    body = PAGE.split(f"## {section}\n", 1)[1].split("\n## ", 1)[0]
    cells = [[it.strip() for it in line.strip("|").split("|")] for line in body.splitlines() if line.startswith("|")]
    return cells[2:]


def docstrings() -> Iterator[tuple[str, str]]:
    """(test, docstring in one line) for every test of the gateway."""
    for path in sorted((ROOT / "tests/e2e").glob("test_gateway_*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.AsyncFunctionDef) and node.name.startswith("test_"):
                yield node.name, " ".join((ast.get_docstring(node) or "").split())


@pytest.mark.parametrize(("document", "test"), [(document, test.strip("`")) for _, document, test in rows("Rules")])
def test_a_rules_test_names_the_document(document: str, test: str) -> None:
    """The test is there, and says where the rule comes from."""
    assert document in dict(docstrings())[test]


def test_every_test_that_names_a_document_is_on_the_page() -> None:
    """No rule is kept back."""
    documents = "guide|reference|Knowledge Center|re:Post"
    naming = {name for name, text in docstrings() if re.search(rf"\b({documents})\b", text)}
    assert naming == {test.strip("`") for *_, test in rows("Rules")}


def test_the_settings_are_real() -> None:
    """Each is a parameter of the gateway or the twin."""
    named = {name for setting, _ in rows("Faults to order") for name in re.findall(r"`(\w+)`", setting)}
    parameters = {*inspect.signature(Gateway).parameters, *inspect.signature(Twin).parameters}
    assert named <= parameters
