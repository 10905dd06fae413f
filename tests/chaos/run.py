"""A run: begin, strike, heal, redrive what died of kills alone, say a last word everywhere, and audit."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

import aioboto3
from botocore.exceptions import ClientError

from adapters.aws import error_code
from adapters.dynamodb import DynamoStore
from adapters.settings import table_names
from loadtest.status import Status, read_status
from local.cloud import CREDENTIALS, REGION
from local.twin import PREFIX
from ops.dead_letters import DeadLetter
from ops.drive import Choice, Drive, look
from ops.stage import find_twin
from tests.chaos.audit import Finding, findings
from tests.chaos.evidence import Evidence, StoredRoom, connections_of, read_rooms
from tests.chaos.load import Load, Size
from tests.chaos.stack import Stack, StackError
from tests.chaos.strikes import deal, strike

__all__ = ["Report", "Tell", "run"]

LOAD_SECONDS, LOAD_SECONDS_A_KILL = 60.0, 5.0
"""The load's messages are made in advance: for so long, which is more than a run takes."""
TOLD_EVERY = 10
REDRIVES = 3
"""What dies again and again without any kill stays dead, and is found."""
DRAIN_WITHIN = 150.0
"""Seconds for the queues: posts to connections that a dead gateway left behind are tried until those are 30 s old."""
POLL_SECONDS = 0.25
GIVEN_WITHIN = 20.0
"""Seconds for clients to ask for what they know to be missing, once the queues are empty."""
REDRIVE_RATE = 50.0
"""Jobs a second."""

Tell = Callable[[str], None]
"""Hears how it goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came of a run."""

    seed: int
    seconds: float
    struck: Counter[str]
    """What was struck → how often."""
    deaths: Counter[str]
    """Function → environments that died within an event, as far as the twins could tell."""
    redriven: Counter[str]
    """Lane → jobs that had been received too often, since their workers were killed, and were given back."""
    evidence: Evidence
    reconnects: int
    findings: list[Finding]


async def run(folder: Path, kills: int, seed: int, size: Size = Size(), tell: Tell = print) -> Report:  # noqa: B008  # frozen
    """Carry it out; `folder` is for what is stored, and for logs."""
    began, draw = time.monotonic(), Random(seed)
    blows = deal(kills, draw)
    async with Stack(folder) as stack:
        load = Load(stack.url, size, LOAD_SECONDS + LOAD_SECONDS_A_KILL * kills, draw)
        try:
            tell(f"{len(load.clients)} clients come, in rooms of {size.hall} and {size.members}")
            await load.begin()

            def told(struck: Counter[str]) -> None:
                if struck.total() % TOLD_EVERY == 0:
                    tell(f"struck {struck.total()} times; {load.acknowledged} messages acknowledged")

            struck = await strike(stack, blows, lambda: load.answered, told)
            await stack.environments()  # the last deaths
            healing = _Healing(stack, load)
            tell("it heals")
            await load.settle()
            await healing.drain()
            tell("a last word in every room")
            for _ in range(2):  # the first finds rows that nobody is behind, the second counts
                await load.say_last()
                await healing.drain()
            tell("the audit")
            evidence = await healing.evidence()
            found = [*findings(evidence), *healing.findings]  # before the clients go, and their memberships end
        finally:
            await load.close()
    if stack.orphans:
        found.append(Finding("orphans", f"{stack.orphans} environments outlived their twin"))
    return Report(
        seed=seed,
        seconds=time.monotonic() - began,
        struck=struck,
        deaths=stack.deaths,
        redriven=healing.redriven,
        evidence=evidence,
        reconnects=sum(it.reconnects for it in load.clients),
        findings=found,
    )


# ---- private


class _Healing:
    """What happens after the last kill, and what is found meanwhile."""

    def __init__(self, stack: Stack, load: Load) -> None:
        self.redriven: Counter[str] = Counter()
        self.findings: list[Finding] = []
        self._stack = stack
        self._load = load

    async def drain(self) -> None:
        """Wait until the queues are empty, and give dead letters back until there are none."""
        await self._wait_until_idle()
        for _ in range(REDRIVES):
            letters = await asyncio.to_thread(_redrive, self._stack.url)
            if not letters:
                break
            self.redriven.update(it.lane for it in letters)
            await self._wait_until_idle()

    async def evidence(self) -> Evidence:
        """All that is to be audited, once clients have asked for what they know or suspect to be missing."""
        store = DynamoStore(self._stack.cloud.dynamodb, table_names(PREFIX))
        stored = await read_rooms(store, self._load.places)
        with suppress(TimeoutError):
            async with asyncio.timeout(GIVEN_WITHIN):
                while self._load.behind(stored):  # noqa: ASYNC110  # what is awaited happens in other processes
                    await asyncio.sleep(POLL_SECONDS)
        await self._load.ping()
        status = await self._status()
        dead = {lane: it["dead"] for lane, it in status.raw["queues"].items()}
        return self._load.evidence(stored, await _opened(self._stack.management, stored), dead)

    async def _wait_until_idle(self) -> None:
        """Until nothing is queued and nobody works, twice in a row: a job may be between two queues for a moment."""
        idle = 0
        try:
            async with asyncio.timeout(DRAIN_WITHIN):
                while idle < 2:
                    await asyncio.sleep(POLL_SECONDS)
                    status = await self._status()
                    busy = any(it["busy"] for it in status.raw["functions"].values())
                    idle = 0 if status.waiting or busy else idle + 1
        except TimeoutError:
            self.findings.append(Finding("queues", f"not empty within {DRAIN_WITHIN:g} s: {status.depths}"))

    async def _status(self) -> Status:
        status = await read_status(self._stack.url)
        if status is None:
            raise StackError("the twin does not say how it is")
        return status


def _redrive(url: str) -> list[DeadLetter]:
    """As `roomcast redrive --yes` does it; what it found."""
    deployment = find_twin(url)
    choice = Choice(list(deployment.lanes))
    letters = look(deployment, choice).letters
    if letters:
        Drive(deployment=deployment, choice=choice, rate=REDRIVE_RATE).run()
    return letters


async def _opened(management: str, stored: Mapping[str, StoredRoom]) -> set[str]:
    """Of the connections that have rows, those that the gateway knows."""
    session = aioboto3.Session(
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        region_name=REGION,
    )
    found: set[str] = set()
    async with session.client("apigatewaymanagementapi", endpoint_url=management) as sockets:
        for it in connections_of(stored):
            try:
                await sockets.get_connection(ConnectionId=it)
            except ClientError as error:
                if error_code(error) not in {"GoneException", "410"}:
                    raise
            else:
                found.add(it)
    return found
