"""`roomcast loadtest`: a plan from options, a twin of its own if need be, and the result for people and programs."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import uvloop
from rich.console import Console

from client.session import Dialect
from domain.errors import BadSetting
from loadtest.bars import Bars
from loadtest.plan import Plan, reserve_sockets
from loadtest.report import Report
from loadtest.run import run

__all__ = ["measure"]

FINDINGS = 20
"""How many the audit names."""
START_WITHIN = 90.0
STOP_WITHIN = 40.0
"""Seconds for a twin of its own."""


def measure(
    *,
    url: str | None,
    clients: int,
    rooms: int,
    rate: float,
    seconds: float,
    ramp: float,
    dialect: str,
    json_file: str | None,
) -> int:
    """Carry out a load test; returns the exit status. Raises `BadSetting`."""
    plan = Plan(
        url or "",
        clients=clients,
        rooms=rooms,
        rate=rate,
        seconds=seconds,
        ramp=ramp,
        dialect=cast("Dialect", dialect),
    )
    reserve_sockets(plan.clients)
    if json_file not in {None, "-"} and not Path(str(json_file)).resolve().parent.is_dir():
        raise BadSetting(f"--json {json_file}: there is no such folder")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        report = runner.run(_run(plan, own=url is None))
    _print(report, json_file)
    return 1 if report.audit.violated or report.proves_nothing else 0


async def _run(plan: Plan, *, own: bool) -> Report:
    with Bars() as bars:
        if not own:
            return await run(plan, bars.show)
        async with _own_twin() as url:
            return await run(plan.at(url), bars.show)


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


def _print(report: Report, json_file: str | None) -> None:
    text = json.dumps(report.as_json(), indent=2)
    if json_file == "-":
        print(text)
    elif json_file is not None:
        Path(json_file).write_text(text + "\n")
    if json_file != "-" or sys.stderr.isatty():
        Console(stderr=json_file == "-").print(report.table())
    for warning in report.warnings():
        print(f"roomcast: {warning}", file=sys.stderr)
    findings = report.audit.findings
    for finding in findings[:FINDINGS]:
        print(f"roomcast: {finding}", file=sys.stderr)
    if len(findings) > FINDINGS:
        print(f"roomcast: and {len(findings) - FINDINGS} more", file=sys.stderr)
