"""`roomcast loadtest`: a plan from options, a twin of its own if need be, and the result for people and programs."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop
from rich.console import Console

from domain.errors import BadSetting
from loadtest.crew import Credential
from loadtest.plan import Plan, split
from loadtest.profile import Changes, plan_from
from loadtest.progress import Progress
from loadtest.report import Report
from loadtest.run import run

__all__ = ["Options", "measure"]

FINDINGS = 20
"""How many the audit names for people."""
START_WITHIN = 90.0
STOP_WITHIN = 40.0
"""Seconds for a twin of its own."""
INTERRUPTED = 130
"""The exit status after a second interrupt, as a shell has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The command's options; None where one was not given."""

    url: str | None = None
    profile: str | None = None
    clients: int | None = None
    rooms: int | None = None
    rate: float | None = None
    seconds: float | None = None
    ramp: float | None = None
    dialect: str | None = None
    processes: int | None = None
    token: str | None = None
    token_command: str | None = None
    json_file: str | None = None
    html_file: str | None = None

    def plan(self) -> Plan:
        """Raises `BadSetting`."""
        given = {it: getattr(self, it) for it in ("clients", "rooms", "rate", "seconds", "ramp", "dialect")}
        given = {name: value for name, value in given.items() if value is not None}
        if self.profile is None:
            return Plan(self.url or "", **{"rate": 5.0, **given})
        if self.rooms is not None:
            raise BadSetting(f"--rooms {self.rooms}: --profile says which rooms there are; leave one of them out")
        if self.dialect is not None and self.dialect not in {"v1", "recipe"}:
            raise BadSetting(f"--dialect {self.dialect}: it must be v1 or recipe")
        return plan_from(self.profile, self.url or "", Changes(**given))

    def credential(self) -> Credential:
        """Raises `BadSetting`."""
        if self.token is not None and self.token_command is not None:
            raise BadSetting("--token and --token-command: both say what to show; leave one of them out")
        return Credential(self.token, self.token_command)


def measure(options: Options) -> int:
    """Carry out a load test; returns the exit status. Raises `BadSetting`."""
    plan, credential = options.plan(), options.credential()
    split(plan.clients, options.processes)
    _check_file("--json", options.json_file)
    _check_file("--html", options.html_file)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            report = runner.run(_run(plan, credential, options))
    except asyncio.CancelledError:
        print("roomcast: interrupted; there is no report", file=sys.stderr)
        return INTERRUPTED
    _print(report, options)
    return 1 if report.audit.violated or report.proves_nothing else 0


async def _run(plan: Plan, credential: Credential, options: Options) -> Report:
    with Progress() as progress, _interrupts(progress) as interrupt:

        async def run_at(plan: Plan) -> Report:
            return await run(
                plan,
                progress.show,
                live=progress.second,
                processes=options.processes,
                credential=credential,
                interrupt=interrupt,
            )

        if options.url is not None:
            return await run_at(plan)
        async with _own_twin() as url:
            return await run_at(plan.at(url))


@contextmanager
def _interrupts(progress: Progress) -> Iterator[asyncio.Event]:
    """Set by the first SIGINT or SIGTERM within the block; the second ends the task."""
    interrupt = asyncio.Event()
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def heed() -> None:
        if interrupt.is_set() and task is not None:
            task.cancel()
        else:
            interrupt.set()
            progress.say("interrupted: sending ends, what is under way may arrive; once more ends without a report")

    signals = (signal.SIGINT, signal.SIGTERM)
    for it in signals:
        loop.add_signal_handler(it, heed)
    try:
        yield interrupt
    finally:
        for it in signals:
            loop.remove_signal_handler(it)


@asynccontextmanager
async def _own_twin() -> AsyncIterator[str]:
    """A twin in processes of its own, so that it and the clients share no event loop; its WebSocket URL.

    It ends with its standard input, so also when this process is killed.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "ops.main", "up", "--port", "0", "--json", "--until-eof"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None  # noqa: S101  # both are pipes
    assert process.stdout is not None  # noqa: S101
    try:
        async with asyncio.timeout(START_WITHIN):
            line = await process.stdout.readline()
        if not line:
            raise RuntimeError("the load test's own twin did not start; the line above says why")
        yield json.loads(line)["ws"]
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(STOP_WITHIN):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def _check_file(option: str, name: str | None) -> None:
    if name is not None and name != "-" and not Path(name).resolve().parent.is_dir():
        raise BadSetting(f"{option} {name}: there is no such folder; make it, or name a file elsewhere")


def _print(report: Report, options: Options) -> None:
    result = report.as_json()
    if options.json_file == "-":
        print(json.dumps(result, indent=2))
    elif options.json_file is not None:
        Path(options.json_file).write_text(json.dumps(result, indent=2) + "\n")
    if options.html_file is not None:
        from loadtest.page import write_page  # noqa: PLC0415  # plotly takes its time

        write_page([result], Path(options.html_file))
    if options.json_file != "-" or sys.stderr.isatty():
        Console(stderr=options.json_file == "-").print(report.table())
    for warning in report.warnings():
        print(f"roomcast: {warning}", file=sys.stderr)
    findings = report.audit.findings
    for finding in findings[:FINDINGS]:
        print(f"roomcast: {finding}", file=sys.stderr)
    if (more := len(findings) - FINDINGS + sum(report.audit.more.values())) > 0:
        print(f"roomcast: and {more} more", file=sys.stderr)
