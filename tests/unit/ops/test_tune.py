"""`roomcast tune` around the search: what is searched, what counts as measured, and what a person is told."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from domain.errors import BadSetting
from domain.lanes import LANES, override_lanes
from infra.settings import read_stage
from ops import tune as command
from ops.findings import Findings, write_plot
from ops.search import Figure, Objective, Search
from ops.trial import Load, TrialError, figure_of, measure, own_twin
from ops.tune import Options, grid_of, tune

LOAD = Load(clients=300, rooms=1, rate=15, seconds=10)
NOBODY = "ws://127.0.0.1:9/dev"
"""The discard port: nothing listens there."""


def result(**parts: Mapping[str, Any] | str | None) -> dict[str, Any]:
    """A load test's result, as far as a search reads it."""
    return {
        "audit": "clean",
        "clients": {"asked": 10, "connected": 10},
        "messages": {"sent": 50, "acknowledged": 50},
        "latency_ms": {"p99": 120.5},
        "cost_usd": {"per_million_deliveries": 0.4},
        "frames": {"entries_per_frame": 4.0},
        **parts,
    }


def findings(objective: str, *measured: tuple[tuple[float, ...], Figure]) -> Findings:
    """A search of three settings that has measured these."""
    names = ["batch_size", "post_concurrency", "max_concurrency"]
    search = Search(
        dict.fromkeys(names, (1.0, 10.0)), Objective.parse(objective), trials=9, repeats=1, seed=4, first=(10, 10, 1)
    )
    for point, figure in measured:
        search.tell(point, figure)
    return Findings(
        objective=Objective.parse(objective),
        lane="interactive",
        names=names,
        first=(10, 10, 1),
        load=LOAD,
        seed=4,
        stage=None,
        search=search,
    )


SLOW, FAST = (1.0, 1.0, 1.0), (10.0, 10.0, 1.0)
LOST = Figure(math.inf, math.inf, "the audit found messages lost")


# ------------------------------------------------------------------------------------------------ what is searched


@pytest.mark.parametrize("deployed", [False, True])
@pytest.mark.parametrize("lane", LANES)
def test_a_lane_s_own_settings_are_among_those_tried(lane: str, deployed: bool) -> None:
    """In order, each once; a window only where the queue has one; on AWS no maximum concurrency of 1."""
    grid = grid_of(replace(LANES[lane], post_concurrency=48), (), deployed=deployed)
    assert 48 in grid["post_concurrency"]
    assert all(it == sorted(set(it)) for it in grid.values())
    assert ("window" in grid) == (not LANES[lane].fifo)
    assert (1 in grid["max_concurrency"]) == (not deployed)


def test_values_can_be_named() -> None:
    """They take the place of the usual ones."""
    grid = grid_of(LANES["retry"], ["post_concurrency=8,2", "batch_size=100"], deployed=False)
    assert (grid["post_concurrency"], grid["batch_size"]) == ([2, 8, 64], [10, 100])


@pytest.mark.parametrize(
    ("lane", "asked", "deployed", "words"),
    [
        ("interactive", "window=1", False, "--grid window=1: the settings to search are batch_size, post_concurrency"),
        ("interactive", "post_deadline=1", False, "the settings to search are"),
        ("interactive", "batch_size", False, "write it as SETTING=NUMBER,NUMBER"),
        ("interactive", "batch_size=1,x", False, "write it as SETTING=NUMBER,NUMBER"),
        ("interactive", "batch_size=1.5", False, "is not a whole number"),
        ("interactive", "batch_size=11", False, "a FIFO queue gives at most 10"),
        ("interactive", "max_concurrency=1", True, "Lambda takes 2 to 1,000"),
        ("retry", "window=0.5", True, "Lambda takes whole seconds"),
        ("retry", "batch_size=100000", False, "it must be between 1 and 10000"),
    ],
)
def test_what_cannot_be_searched_is_refused(lane: str, asked: str, deployed: bool, words: str) -> None:
    """Before anything is started, by one sentence that names the option."""
    with pytest.raises(BadSetting, match=re.escape(words)) as refused:
        grid_of(LANES[lane], [asked], deployed=deployed)
    assert str(refused.value).startswith(f"--grid {asked}: ")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"objective": "p50=3"}, "--objective p50=3: write p99=MS"),
        ({"lane": "fast"}, "--lane fast: there is none; the lanes are interactive, bulk"),
        ({"load": replace(LOAD, rooms=301)}, "--rooms 301: it must be between"),
        ({"load": Load(profile="none-such")}, "--profile none-such"),
        ({"apply": True}, "--apply: it is for a stage on AWS"),
        ({"undo": True}, "--undo: it is for a stage on AWS"),
        ({"url": NOBODY}, "--url: it is for a stage on AWS"),
        ({"stage": "dev", "apply": True, "undo": True}, "leave one of them out"),
        ({"stage": "dev", "use": ["interactive.batch_size=5"]}, "--use: it names what --apply"),
        ({"stage": "dev", "apply": True, "json_file": "-"}, "--json -: --apply tells"),
        ({"json_file": "/nonexistent/x.json"}, "--json /nonexistent/x.json: there is no such folder"),
        ({"html_file": "/nonexistent/x.html"}, "--html /nonexistent/x.html: there is no such folder"),
    ],
)
def test_bad_usage_is_one_sentence(options: Mapping[str, Any], words: str) -> None:
    """Before anything is started."""
    with pytest.raises(BadSetting, match=re.escape(words)):
        tune(Options(**{"load": LOAD, **options}))


# ------------------------------------------------------------------------------------------------ a measurement


def test_the_figure_of_a_run() -> None:
    """p99 of the deliveries, and the cost where the calls are counted; else that of the posts."""
    assert figure_of(result()) == Figure(120.5, 0.4)
    assert figure_of(result(cost_usd=None)) == Figure(120.5, 0.25)


def test_what_is_measured_is_warm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same load runs before, for a while: the starts of environments would hide what the settings do."""
    loads: list[Load] = []

    def run(_url: str, load: Load) -> dict[str, Any]:
        loads.append(load)
        return result(latency_ms={"p99": 900.0 / len(loads) ** 2})

    monkeypatch.setattr("ops.trial._run", run)
    assert measure(NOBODY, LOAD).p99 == 225
    assert loads == [replace(LOAD, seconds=3), LOAD]


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"audit": "violated"}, "the audit"),
        ({"clients": {"asked": 10, "connected": 9}}, "1 of 10 clients"),
        ({"messages": {"sent": 50, "acknowledged": 48}}, "2 of 50 messages"),
        ({"messages": {"sent": 0, "acknowledged": 0}}, "0 of 0 messages"),
        ({"latency_ms": {"p99": None}}, "nothing was delivered"),
    ],
)
def test_a_run_with_a_fault_has_no_figure(part: Mapping[str, Any], words: str) -> None:
    """It would be that of another load, or of settings that nobody may choose."""
    figure = figure_of(result(**part))
    assert (figure.p99, figure.cost) == (math.inf, math.inf)
    assert words in figure.fault


def test_the_load_is_the_profile_s_or_the_usual_one() -> None:
    """What is given goes before both."""
    assert Load(rate=3).complete() == Load(clients=300, rooms=1, rate=3, seconds=10, ramp=200)
    assert Load(profile="soak", rate=3).complete().arguments() == ["--profile", "soak", "--rate", "3"]


def test_a_load_test_that_refuses_is_bad_usage() -> None:
    """Its own words, with status 2 as there."""
    with pytest.raises(BadSetting, match="profile"):
        measure(NOBODY, replace(LOAD, profile="no-such-profile"))


def test_a_twin_that_does_not_start_is_one_sentence() -> None:
    """What it said itself stands above."""
    with pytest.raises(TrialError, match="did not start"), own_twin(["interactive.batch_size=11"]):
        pass


# ------------------------------------------------------------------------------------------------ what is told


def test_the_printed_flags_are_those_that_up_and_deploy_take() -> None:
    """Both come to the settings that were measured; Lambda's least maximum concurrency is 2."""
    found = findings("p99=300", (FAST, Figure(100, 1)), (SLOW, Figure(900, 1)))
    up, deploy = found.up_options(FAST), found.deploy_flags(FAST)
    here = override_lanes(LANES, [it for it in up.split() if it != "--lane"])["interactive"]
    assert [here.batch_size, here.post_concurrency, here.max_concurrency] == list(FAST)
    context = dict(it.split("=", 1) for it in shlex.split(deploy) if it != "-c")
    there = read_stage(context).lanes["interactive"]
    assert (there.batch_size, there.post_concurrency, there.max_concurrency) == (10, 10, 2)


def test_a_twin_is_printed_as_it_was_measured() -> None:
    """With what a post took there, which a stage is not told."""
    found = findings("p99=300", (FAST, Figure(100, 1)))
    found.post_latency = 10.0
    assert found.up_options(FAST).startswith("--post-latency 10 --lane interactive.batch_size=10 ")
    assert "latency" not in found.deploy_flags(FAST)
    assert found.as_json()["post_latency_ms"] == 10


def test_what_programs_get() -> None:
    """Every run of every trial, the best first; infinity, which JSON has not, is null."""
    found = findings("p99=300", (SLOW, Figure(100, 2)), (FAST, Figure(150, 1)), ((1.0, 10.0, 1.0), LOST))
    told = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert told["objective"] == {"p99": 300}
    assert [it["p99_ms"] for it in told["trials"]] == [150, 100, None]
    assert [it["pareto"] for it in told["trials"]] == [True, True, False]
    assert told["best"]["settings"] == {"batch_size": 10, "post_concurrency": 10, "max_concurrency": 1}
    assert told["best"]["met"] is True
    assert told["trials"][2]["runs"][0]["fault"] == LOST.fault
    assert told["up"] == found.up_options(FAST)


def text(found: Findings) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(found.table())
    return capture.get() + "\n".join(found.advice())


def test_what_people_get() -> None:
    """The best, the front, the settings as they are, and what was wrong with the others."""
    told = text(findings("p99=300", (SLOW, Figure(100, 2)), (FAST, Figure(150, 1)), ((1.0, 10.0, 1.0), LOST)))
    assert "best, pareto, as it is" in told
    assert LOST.fault in told
    assert "roomcast up --lane interactive.batch_size=10" in told
    assert "No settings serve" not in told


@pytest.mark.parametrize(
    ("measured", "words"),
    [
        ([(FAST, Figure(150, 1))], "No settings serve the objective; the nearest has 150 ms."),
        ([(FAST, LOST)], "none ran without a fault"),
        ([], "Nothing was measured."),
    ],
)
def test_an_objective_that_nothing_serves(measured: Sequence[tuple[tuple[float, ...], Figure]], words: str) -> None:
    """Is said, with what came nearest."""
    assert words in text(findings("p99=100", *measured))


def test_the_plot_needs_no_network(tmp_path: Path) -> None:
    """Its script is in the page, with every trial that has figures."""
    page = tmp_path / "plot.html"
    write_plot(findings("p99=300", (SLOW, Figure(101.25, 2)), (FAST, Figure(150, 1)), ((1.0, 10.0, 1.0), LOST)), page)
    html = page.read_text()
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=", html)
    assert "Plotly.newPlot" in html
    assert "101.25" in html
    assert "batch_size=10" in html


def test_a_busy_machine_is_told_of() -> None:
    """Its figures would be those of whatever else runs there."""
    assert command.busy(0.9, 2) == ""
    assert "busy (7.2 processes on 2 processors)" in command.busy(7.25, 2)


def test_an_interrupted_search_tells_what_it_has(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C in the second measurement: the first is shown, and is the best."""
    figures = iter([Figure(100, 1)])

    def measured(_url: str, _load: Load) -> Figure:
        figure = next(figures, None)
        if figure is None:
            raise KeyboardInterrupt
        return figure

    monkeypatch.setattr(command, "measure", measured)
    monkeypatch.setattr(command, "own_twin", lambda _, **_named: nullcontext(NOBODY))
    assert tune(Options(load=LOAD, json_file="-")) == 130
    told = json.loads(capsys.readouterr().out)
    assert told["interrupted"] is True
    assert [it["p99_ms"] for it in told["trials"]] == [100]
