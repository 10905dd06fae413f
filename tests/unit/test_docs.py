"""Documents can't lie: tables in docs/ and README are compared with the code."""

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.main import get_command

from domain.events import EVENTS
from domain.lanes import LANES
from domain.policy import LEAST
from domain.protocol import ERROR_CODES
from domain.rates import RATES, Rate
from domain.requests import REQUESTS
from infra.settings import STAGES, Stage
from local.knobs import KNOBS
from ops import chat
from ops.main import app

ROOT = Path(__file__).parents[2]
PROTOCOL = (ROOT / "docs/protocol.md").read_text()
DOCUMENTS = ["README.md", *(f"docs/{it.name}" for it in sorted(ROOT.glob("docs/*.md")))]
REFUSED_WITHOUT = {"chat": {"message": False}}
"""Fields that a model can do without, so that a use case refuses the request in words of its own."""


def rows(section: str, text: str = PROTOCOL) -> dict[str, list[str]]:
    """The table under a heading: first cell without backticks → the other cells."""
    body = text.split(f"## {section}\n", 1)[1].split("\n## ", 1)[0]
    cells = [[it.strip() for it in line.strip("|").split("|")] for line in body.splitlines() if line.startswith("|")]
    return {it[0].strip("`"): it[1:] for it in cells[2:]}


def names(cell: str) -> dict[str, bool]:
    """The fields in a cell, and whether each has a question mark; what fields hold and what is said of them is left
    out."""
    bare = re.sub(r"\{.*?\}|\(.*?\)", "", cell)
    found = (re.match(r"`(\w+)(\??)`", it) for it in re.split(r", | or ", bare))
    return {it[1]: bool(it[2]) for it in found if it is not None}


def optional(model: type[msgspec.Struct]) -> dict[str, bool]:
    """The model's fields as the wire names them, and whether each may be absent."""
    return {it.encode_name: not it.required for it in msgspec.structs.fields(model)}


def test_errors() -> None:
    """Every code with its meaning, and no other."""
    assert {code: cells[0] for code, cells in rows("Errors").items()} == ERROR_CODES


def test_requests() -> None:
    """Every request type with its fields, which of them may be absent, and its reply."""
    documented = rows("Requests")
    assert set(documented) == set(REQUESTS)
    for name, row in REQUESTS.items():
        expected = {it: may for it, may in optional(row.model).items() if it != "clientId"}
        assert names(documented[name][0]) == {**expected, **REFUSED_WITHOUT.get(name, {})}, name
        assert documented[name][1].strip("`") == (row.reply or "")
        assert documented[name][2].strip("`") == (row.event or "")


def test_events() -> None:
    """Every event with its fields, and which of them may be absent."""
    documented = rows("Events")
    assert set(documented) == set(EVENTS)
    for name, model in EVENTS.items():
        assert names(documented[name][0]) == optional(model), name


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


def test_knobs() -> None:
    """Every knob of the dashboard with its unit, and no other."""
    documented = rows("Knobs", (ROOT / "docs/dashboard.md").read_text())
    assert {name: cells[0] for name, cells in documented.items()} == {it.name: it.unit for it in KNOBS}


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


@pytest.mark.parametrize("document", DOCUMENTS)
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


def commands(group: Any, name: str) -> Iterator[tuple[str, set[str]]]:
    """Each command below the group by its whole name, with its options."""
    for it in group.commands.values():
        whole = f"{name} {it.name}".strip()
        if hasattr(it, "commands"):
            yield from commands(it, whole)
        else:
            yield whole, {option for parameter in it.params for option in parameter.opts}


COMMANDS = dict(commands(get_command(app), ""))


def written(text: str) -> Iterator[tuple[str, set[str]]]:
    """Each `roomcast …` in code in the text: its words up to the first that no command has there, and its options."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    blocks = [block.replace("\\\n", " ") for language, block in fences if language in {"", "bash"}]
    lines = [re.sub(r"(?:^| )#.*", "", it) for block in blocks for it in block.splitlines()]
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    for code in [*lines, *spans]:
        for call in re.split(r"(?:^|(?<=[\s/(]))roomcast(?= [a-z])", code)[1:]:
            words = ""
            for word in call.split():
                longer = f"{words} {word}".strip()
                if not any(it == longer or it.startswith(f"{longer} ") for it in COMMANDS):
                    break
                words = longer
            yield words, set(re.findall(r"(?<=\s)--[a-z-]+", call))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_are_there(document: str) -> None:
    """Whatever a document tells to type, with its options; and the targets of make."""
    text = (ROOT / document).read_text()
    for command, options in written(text):
        assert command, document
        known = {option for name, its in COMMANDS.items() if f"{name} ".startswith(f"{command} ") for option in its}
        assert options <= known, command
    targets = re.findall(r"^([a-z0-9]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"(?:`|^)make ([a-z0-9]+)", text, re.MULTILINE)) <= set(targets)


def test_every_command_is_in_the_readme() -> None:
    """With its group, where it is of one."""
    table = " ".join(rows("Commands", (ROOT / "README.md").read_text()))
    groups = {name.partition(" ")[0] for name in COMMANDS}
    assert {it for it in groups if f"roomcast {it}" not in table} == set()


def test_what_can_be_typed_in_the_terminal() -> None:
    """Its help has every command, and no other; what the README names is among them."""
    typed = {*chat.COMMANDS, "/quit"}
    assert set(re.findall(r"(?:(?<=^)|(?<=[ ,]))/\w+", chat.HELP, re.MULTILINE)) == typed - {"/help"}
    cells = rows("Commands", (ROOT / "README.md").read_text())["roomcast chat"]
    assert set(re.findall(r"`(/\w+)`", cells[0])) <= typed
