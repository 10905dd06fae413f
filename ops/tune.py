"""`roomcast tune`: the lane settings that serve an objective best, found by measuring; and how a stage gets them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from domain.errors import BadSetting
from domain.lanes import LANES, Lane, override_lanes
from infra.settings import check_mapping
from ops import retune
from ops.findings import Findings, lane_settings, write_plot
from ops.search import Figure, Objective, Search
from ops.stage import Deployment, find_stage
from ops.trial import Load, measure, own_twin
from ops.up import BUILD

__all__ = ["Options", "grid_of", "stage_place", "tune"]

BUSY = 0.5
"""Processes for each processor, by the average of the last minute, above which a measurement says little."""
INTERRUPTED = 130
"""The exit status after Ctrl-C, as of any command that a signal ends."""
VALUES: Mapping[str, Sequence[float]] = {
    "batch_size": (1, 5, 10),
    "window": (0, 1),
    "post_concurrency": (1, 4, 16, 64, 256),
    "max_concurrency": (1, 2, 4),
}
"""What is searched, unless `--grid` says otherwise. A FIFO queue has no window, and Lambda takes no maximum of 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for. `stage` is None for a twin of its own, whose posts take `post_latency` milliseconds."""

    objective: str = "p99=300"
    lane: str = "interactive"
    grid: Sequence[str] = ()
    use: Sequence[str] = ()
    load: Load
    post_latency: float = 10.0
    trials: int = 16
    repeats: int = 3
    seed: int = 0
    stage: str | None = None
    region: str | None = None
    url: str | None = None
    apply: bool = False
    undo: bool = False
    yes: bool = False
    json_file: str | None = None
    html_file: str | None = None


def tune(options: Options) -> int:
    """Search, show, and (`apply`) change the stage, or (`undo`) change it back; the exit status: 1 where no settings
    serve the objective, or nothing was changed, 130 after Ctrl-C. Raises `BadSetting`, `StageError`, `TrialError`.
    """
    _check(options)
    deployment = find_stage(options.stage, region=options.region) if options.stage else None
    if options.undo and deployment is not None:
        return _undo(deployment, yes=options.yes)
    settings = list(options.use)
    if not settings:
        findings = _search(options, deployment)
        _show(findings, options)
        if findings.interrupted:
            return INTERRUPTED
        best = findings.best
        if best is None or not findings.objective.met(best):
            return 1
        settings = findings.settings(best.point)
    if options.apply and deployment is not None:
        return _apply(deployment, settings, yes=options.yes)
    return 0


def _check(options: Options) -> None:
    Objective.parse(options.objective)
    options.load.check()
    if options.lane not in LANES:
        raise BadSetting(f"--lane {options.lane}: there is none; the lanes are {', '.join(LANES)}")
    for option, given in (("--apply", options.apply), ("--undo", options.undo), ("--url", options.url)):
        if given and options.stage is None:
            raise BadSetting(f"{option}: it is for a stage on AWS; name that too, e.g. --stage dev")
    if options.apply and options.undo:
        raise BadSetting("--undo: it takes a change back, and --apply makes one; leave one of them out")
    if options.apply and options.json_file == "-":
        raise BadSetting("--json -: --apply tells on standard output what it changes; name a file")
    if options.use and not options.apply:
        raise BadSetting(
            "--use: it names what --apply is to bring to the stage; add --apply, or leave it out to search"
        )
    for option, file in (("--json", options.json_file), ("--html", options.html_file)):
        if file not in {None, "-"} and not Path(str(file)).resolve().parent.is_dir():
            raise BadSetting(f"{option} {file}: there is no such folder")


# ------------------------------------------------------------------------------------------------ the search


def _search(options: Options, deployment: Deployment | None) -> Findings:
    """Measure until the search is done, or Ctrl-C."""
    lanes = deployment.lanes if deployment else LANES
    lane = lanes[options.lane]
    grid = grid_of(lane, options.grid, deployed=deployment is not None)
    objective, first = Objective.parse(options.objective), tuple(getattr(lane, it) for it in grid)
    search = Search(
        grid,
        objective,
        trials=options.trials,
        repeats=options.repeats,
        seed=options.seed,
        first=first,
        valid=lambda it: not _refusal(lanes, lane_settings(lane.name, list(grid), it), deployed=deployment is not None),
    )
    findings = Findings(
        objective=objective,
        lane=lane.name,
        names=list(grid),
        first=first,
        load=options.load,
        seed=options.seed,
        stage=options.stage,
        post_latency=options.post_latency,
        search=search,
    )
    out = Console(stderr=True, highlight=False)
    if deployment is None and (said := busy(os.getloadavg()[0], os.cpu_count() or 1)):
        out.print(f"[bold]{said}[/]", soft_wrap=True)
    place = stage_place(deployment, options.url, out) if deployment else _twin_place(options.post_latency)
    with place as at:
        try:
            for number, point in enumerate(search.points(), 1):
                with at(findings.settings(point)) as url:
                    figure = measure(url, options.load)
                search.tell(point, figure)
                out.print(f"{number:3}  {findings.words(point)}  [bold]{_words(figure)}[/]", soft_wrap=True)
        except KeyboardInterrupt:
            findings.interrupted = True
            out.print("interrupted; what was measured so far:")
    return findings


def grid_of(lane: Lane, asked: Sequence[str], *, deployed: bool) -> dict[str, list[float]]:
    """Setting → the values to try, ascending, the lane's own among them. `asked`: `SETTING=VALUE,VALUE`.

    Raises `BadSetting`.
    """
    values = {name: list(it) for name, it in VALUES.items() if not (lane.fifo and name == "window")}
    if deployed:
        values["max_concurrency"] = [it for it in values["max_concurrency"] if it >= 2]
    for text in asked:
        name, _, listed = text.partition("=")
        if name not in values:
            raise BadSetting(f"--grid {text}: the settings to search are {', '.join(values)}")
        try:
            values[name] = [float(it) for it in listed.split(",")]
        except ValueError:
            raise BadSetting(f"--grid {text}: write it as SETTING=NUMBER,NUMBER, e.g. {name}=1,10") from None
        for value in values[name]:
            # A batch of more than ten needs a window, which another setting of the grid may bring.
            window = ["window=1"] if name == "batch_size" and not lane.fifo else []
            settings = [f"{lane.name}.{it}" for it in (f"{name}={value:g}", *window)]
            if refusal := _refusal({lane.name: lane}, settings, deployed=deployed):
                raise BadSetting(f"--grid {text}: {refusal}")
    return {name: sorted({*it, getattr(lane, name)}) for name, it in values.items()}


def _refusal(lanes: Mapping[str, Lane], settings: Sequence[str], *, deployed: bool) -> str:
    """Why these settings can't be; empty where they can."""
    try:
        found = override_lanes(lanes, settings)
        if deployed:
            for it in found.values():
                check_mapping(it)
    except BadSetting as error:
        return str(error)
    return ""


def busy(load: float, processors: int) -> str:
    """A sentence where others use the machine that is to be measured; empty where they don't."""
    if load <= BUSY * processors:
        return ""
    return f"this machine is busy ({load:.1f} processes on {processors} processors): what is measured will be noise"


Place = Callable[[Sequence[str]], AbstractContextManager[str]]
"""Settings → where the service has them, for as long as the block lasts: its WebSocket URL."""


@contextmanager
def _twin_place(post_latency: float) -> Iterator[Place]:
    yield partial(own_twin, post_latency=post_latency)


@contextmanager
def stage_place(deployment: Deployment, url: str | None, out: Console) -> Iterator[Place]:
    """The stage gets each setting in turn, and in the end those that it had."""
    before, file = retune.read(deployment), retune.notes(deployment, BUILD)
    ours = retune.remember(before, file)

    @contextmanager
    def at(settings: Sequence[str]) -> Iterator[str]:
        retune.put(deployment, retune.tuned(before, override_lanes(deployment.lanes, settings)))
        yield url or deployment.websocket_url

    out.print(f"{deployment} is changed for each measurement; how it was stands in {file}", soft_wrap=True)
    try:
        yield at
    finally:
        retune.put(deployment, before)
        if ours:
            file.unlink()


def _words(figure: Figure) -> str:
    return figure.fault or f"p99 {figure.p99:,.0f} ms  ${figure.cost:.2f} a million"


def _show(findings: Findings, options: Options) -> None:
    text = json.dumps(findings.as_json(), indent=2)
    if options.json_file == "-":
        print(text)
    elif options.json_file is not None:
        Path(options.json_file).write_text(text + "\n")
    if options.html_file is not None:
        write_plot(findings, Path(options.html_file))
    if options.json_file != "-" or sys.stderr.isatty():
        out = Console(stderr=options.json_file == "-", highlight=False)
        out.print(findings.table())
        for line in findings.advice():
            out.print(Text(line), soft_wrap=True)


# ------------------------------------------------------------------------------------------------ a deployed stage


def _apply(deployment: Deployment, settings: Sequence[str], *, yes: bool) -> int:
    lanes = override_lanes(deployment.lanes, settings)
    for it in lanes.values():
        check_mapping(it)
    before = retune.read(deployment)
    after = retune.tuned(before, lanes)
    if not _agreed(deployment, before, after, yes=yes):
        return 1
    file = retune.notes(deployment, BUILD)
    retune.remember(before, file)
    _put(deployment, after)
    flags = " ".join(f"-c lane.{it}" for it in settings)
    print(f"Done. `roomcast tune --stage {deployment.name} --undo` takes it back, by {file}.")
    print(f'For the next deployment to keep it: make deploy STAGE={deployment.name} ARGS="{flags}"')
    return 0


def _undo(deployment: Deployment, *, yes: bool) -> int:
    file = retune.notes(deployment, BUILD)
    former = retune.remembered(deployment, file)
    if not _agreed(deployment, retune.read(deployment), former, yes=yes):
        return 1
    _put(deployment, former)
    file.unlink()
    print("Done: everything is as it was before --apply.")
    return 0


def _put(deployment: Deployment, tuning: retune.Tuning) -> None:
    out = Console(stderr=True, highlight=False)
    retune.put(deployment, tuning, partial(out.print, "changing", style="dim"))


def _agreed(deployment: Deployment, old: retune.Tuning, new: retune.Tuning, *, yes: bool) -> bool:
    """Whether to go on with what would change, which is shown first. Nothing to change is agreed, and done at once."""
    table = Table(title=f"What changes in {deployment}", title_justify="left", header_style="bold")
    for column in ("where", "setting", "old", "new"):
        table.add_column(column)
    found = retune.changes(old, new)
    for it in found:
        table.add_row(it.where, it.setting, it.old, it.new)
    Console(highlight=False).print(table if found else f"{deployment} has these settings already.")
    if yes or not found:
        return True
    if not sys.stdin.isatty():
        raise BadSetting("--yes: nobody can be asked here; add it to have the change made")
    return input("Change it? [y/N] ").strip().lower() in {"y", "yes"}
