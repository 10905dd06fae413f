"""`roomcast compare` as a user and a program meet it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ops.compare import show
from tests.unit.loadtest.results import result
from tests.unit.ops.test_command import roomcast


def saved(folder: Path, name: str, **keys: Any) -> Path:
    path = folder / name
    path.write_text(json.dumps(result(**keys)))
    return path


def test_people_get_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both values, the difference, the ratio; what was set differently; and the page if asked."""
    a = saved(tmp_path, "a.json")
    b = saved(tmp_path, "b.json", dialect="[red]recipe", posts={"sent": 18_824})
    show(first=a, second=b, html=tmp_path / "both.html", json=False)
    rows = [[cell.strip() for cell in it.split("│")[1:-1]] for it in capsys.readouterr().out.splitlines()]
    assert ["posts", "9,412", "18,824", "+9,412", "2.00"] in rows
    assert ["audit", "clean", "clean", "", ""] in rows
    assert [it for it in rows if len(it) == 3] == [["dialect", "v1", "[red]recipe"]]
    assert (tmp_path / "both.html").read_text().startswith("<!doctype html>")


def test_programs_get_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One object: figures by the keys of the results, and the settings that differ."""
    a, b = saved(tmp_path, "a.json"), saved(tmp_path, "b.json", rooms=54)
    show(first=a, second=b, html=None, json=True)
    said = json.loads(capsys.readouterr().out)
    assert said["a"] == {"file": str(a), "name": "run-0", "audit": "clean"}
    assert said["figures"]["posts.sent"] == {"a": 9412, "b": 9412, "difference": 0, "ratio": 1}
    assert said["settings"] == {"rooms": {"a": "53", "b": "54"}}


async def test_bad_usage_is_one_sentence(tmp_path: Path) -> None:
    """On standard error, with status 2: a file that is no result, and a page in no folder."""
    good, bad = saved(tmp_path, "a.json"), tmp_path / "b.json"
    bad.write_text("{}")
    for arguments, words in (
        ([good, bad], "b.json: it is no result of `roomcast loadtest --json`: Object missing required field"),
        ([good, good, "--html", "/nonexistent/x.html"], "--html /nonexistent/x.html: there is no such folder"),
    ):
        status, out, err = await roomcast("compare", *map(str, arguments))
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert words in err


async def test_help_has_an_example() -> None:
    """The command tells how it is called."""
    status, out, _ = await roomcast("compare", "--help")
    assert status == 0
    assert "Example: roomcast compare before.json after.json --html compared.html" in out
