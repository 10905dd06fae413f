"""Documents can't lie: tables in docs/ and README are compared with the code."""

import re
from dataclasses import fields
from pathlib import Path

import msgspec
import pytest

from domain.events import EVENTS
from domain.lanes import LANES
from domain.policy import LEAST
from domain.protocol import ERROR_CODES
from domain.rates import RATES, Rate
from domain.requests import REQUESTS
from infra.settings import STAGES, Stage

ROOT = Path(__file__).parents[2]
PROTOCOL = (ROOT / "docs/protocol.md").read_text()


def rows(section: str, text: str = PROTOCOL) -> dict[str, list[str]]:
    """The table under a heading: first cell without backticks → the other cells."""
    body = text.split(f"## {section}\n", 1)[1].split("\n## ", 1)[0]
    cells = [[it.strip() for it in line.strip("|").split("|")] for line in body.splitlines() if line.startswith("|")]
    return {it[0].strip("`"): it[1:] for it in cells[2:]}


def names(cell: str) -> set[str]:
    """The names in backticks before any description, with their question marks."""
    return {it.rstrip("?") for it in re.findall(r"`(\w+\??)`\??", re.sub(r"\{.*?\}", "", cell))}


def test_errors() -> None:
    """Every code with its meaning, and no other."""
    assert {code: cells[0] for code, cells in rows("Errors").items()} == ERROR_CODES


def test_requests() -> None:
    """Every request type with all its fields and its reply."""
    documented = rows("Requests")
    assert set(documented) == set(REQUESTS)
    for name, row in REQUESTS.items():
        fields = {it.encode_name for it in msgspec.structs.fields(row.model)} - {"type", "clientId"}
        assert fields <= names(documented[name][0]), name
        assert documented[name][1].strip("`") == (row.reply or "")
        assert documented[name][2].strip("`") == (row.event or "")


def test_events() -> None:
    """Every event with all its fields."""
    documented = rows("Events")
    assert set(documented) == set(EVENTS)
    for name, model in EVENTS.items():
        assert {it.encode_name for it in msgspec.structs.fields(model)} <= names(documented[name][0]), name


def test_policy() -> None:
    """Every action with the least role for it."""
    assert {action: cells[0] for action, cells in rows("Who may do what").items() if action in LEAST} == LEAST


def test_lanes() -> None:
    """Every lane is in the architecture's table."""
    assert set(rows("Lanes", (ROOT / "docs/architecture.md").read_text())) == set(LANES)


def test_tuning() -> None:
    """The settings of every lane are as the table says."""
    text = (ROOT / "docs/tuning.md").read_text()
    documented = rows("", text.replace("# How to tune it\n", "## \n"))
    for setting, cells in documented.items():
        for lane, cell in zip(LANES.values(), cells, strict=False):
            assert float(cell.removesuffix(" s")) == getattr(lane, setting), (lane.name, setting)
    assert len(documented) == 9


def test_deployment_settings() -> None:
    """Every setting of a stage with its default, and no other; production's where it differs."""
    documented = rows("Stages and settings", (ROOT / "docs/deploy.md").read_text())
    dev, prod = STAGES["dev"], STAGES["prod"]
    expected = {it.name: _default(getattr(dev, it.name), getattr(prod, it.name)) for it in fields(Stage)[3:]}
    assert {name: cells[0] for name, cells in documented.items()} == expected


def test_rates() -> None:
    """Every row with its rate and its burst, and no other."""
    documented = rows("How often a client may ask", (ROOT / "docs/deploy.md").read_text())
    assert {name: Rate(*map(float, cells)) for name, cells in documented.items()} == RATES


def _default(dev: object, prod: object) -> str:
    own, other = (str(it).lower() if isinstance(it, bool) else str(it) for it in (dev, prod))
    return own if own == other else f"{own}; prod: {other}"


@pytest.mark.parametrize("document", ["README.md", *(f"docs/{it.name}" for it in sorted(ROOT.glob("docs/*.md")))])
def test_links_and_paths(document: str) -> None:
    """Every relative link, and every path in backticks that looks like one of the project's, exists, unless it is made
    by a build, and so is ignored."""
    text = (ROOT / document).read_text()
    links = [it for it in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in it]
    paths = re.findall(r"`((?:domain|services|pipeline|adapters|infra|local|client|loadtest|ops|docs)/[\w./]*)`", text)
    missing = [it for it in links if not (ROOT / document).parent.joinpath(it).exists()]
    built = (ROOT / ".gitignore").read_text().split()
    missing += [it for it in paths if not (ROOT / it).exists() and f"{it.rstrip('/')}/" not in built]
    assert missing == []
