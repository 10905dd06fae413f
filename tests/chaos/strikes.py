"""Which process is struck when: a seeded deck of kills, dealt one by one with pauses, sometimes two at once.

Gateway, event source mappings and the twin's schedule are one process, so one kill is all theirs.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Protocol, TypeVar

from tests.unit.local.processes import until

__all__ = ["EMULATOR", "TWIN", "WEIGHTS", "Blow", "Struck", "deal", "strike"]

TWIN = "twin (gateway, event sources)"
EMULATOR = "emulator, stopped for 1–4 s"
"""No kill: it would lose what is stored, which DynamoDB and SQS do not."""
WEIGHTS: Mapping[str, int] = {
    "interactive": 18,
    "bulk": 18,
    "retry": 12,
    "ephemeral": 10,
    "message": 16,
    "connect": 8,
    "disconnect": 7,
    "authorizer": 4,
    TWIN: 7,
}
"""What is killed → how often, in a hundred. All but the twin are functions, of which one environment is killed."""
PAUSE_SECONDS = 0.7
"""Between two kills on average; the time of a twin's restart comes on top."""
PAUSE_LIMIT = 4.0
AT_ONCE = 0.15
"""Of the kills come at once with the one before."""
ANSWERED, ANSWERED_WITHIN = 2, 10.0
"""The others wait until so many messages were acknowledged since the last kill, for so many seconds at most: killing a
service that has not come up again shows nothing, however slow the machine is."""
STOPS = 0.06
"""Of the kills are preceded by a stop of the emulator, which goes on during the next ones."""
STOP_SECONDS = (1.0, 4.0)
PATIENT = 0.8
"""Of the kills wait for a moment in which what they are meant for is within an event."""
PATIENCE_SECONDS = 1.5
"""The longest that they do."""
LATE_SECONDS = 0.03
"""How far within, at most."""
SIGHT_SECONDS = 0.003

_T = TypeVar("_T")


class Struck(Protocol):
    """What is struck: see `Stack`."""

    async def environments(self) -> dict[str, dict[int, bool]]: ...

    async def kill_twin(self) -> None: ...

    async def start_twin(self) -> None: ...

    def stop_emulator(self) -> None: ...

    def resume_emulator(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Blow:
    """One kill, drawn in advance, so that what happens meanwhile does not change the next."""

    pause: float
    """Seconds before it."""
    stop: float | None
    """Seconds for which the emulator is stopped, beginning then."""
    target: str
    """One of `WEIGHTS`."""
    patience: float
    """Seconds for which it waits until the target is within an event."""
    late: float
    """Seconds from then to the kill."""
    pick: float
    """Which of several processes: from 0 to 1, without that."""


def deal(kills: int, draw: Random) -> list[Blow]:
    """So many blows, one after the other: each target once before any comes more often, and twins evenly spread, since
    their restarts take long."""
    once = draw.sample(list(WEIGHTS), min(kills, len(WEIGHTS)))
    targets = once + draw.choices(list(WEIGHTS), list(WEIGHTS.values()), k=kills - len(once))
    draw.shuffle(targets)
    twins = targets.count(TWIN)
    targets = [it for it in targets if it != TWIN]
    for number in range(twins):
        targets.insert(int((number + draw.random()) * kills / twins), TWIN)
    return [
        Blow(
            pause=min(PAUSE_LIMIT, draw.expovariate(1 / PAUSE_SECONDS)) if draw.random() >= AT_ONCE else 0.0,
            stop=draw.uniform(*STOP_SECONDS) if draw.random() < STOPS else None,
            target=it,
            patience=PATIENCE_SECONDS if draw.random() < PATIENT else 0.0,
            late=draw.uniform(0, LATE_SECONDS),
            pick=draw.random(),
        )
        for it in targets
    ]


async def strike(
    stack: Struck, blows: Iterable[Blow], answered: Callable[[], int], tell: Callable[[Counter[str]], None]
) -> Counter[str]:
    """Kill one process after the other; how often what was struck.

    `answered`: how many messages were acknowledged until now. `tell` hears of each kill.
    """
    struck: Counter[str] = Counter()
    stopped: asyncio.Task[None] | None = None
    before = answered()
    try:
        for blow in blows:
            if blow.pause:
                await asyncio.sleep(blow.pause)
                with suppress(TimeoutError):
                    await until(lambda: answered() >= before + ANSWERED, ANSWERED_WITHIN)  # noqa: B023  # within this turn
            if blow.stop is not None and (stopped is None or stopped.done()):
                stopped = asyncio.create_task(_stop_emulator(stack, blow.stop))
                struck[EMULATOR] += 1
            struck[await _kill(stack, blow)] += 1
            before = answered()
            tell(struck)
        if stopped is not None:
            await stopped
    finally:
        if stopped is not None:
            stopped.cancel()
            stack.resume_emulator()
    return struck


async def _stop_emulator(stack: Struck, seconds: float) -> None:
    stack.stop_emulator()
    await asyncio.sleep(seconds)
    stack.resume_emulator()


async def _kill(stack: Struck, blow: Blow) -> str:
    """Kill what is meant, or, where none of it lives right now, an environment of another function; what it was."""
    if blow.target == TWIN:
        await stack.kill_twin()
        await stack.start_twin()
        return TWIN
    while True:
        environments = await _sighted(stack, blow)
        target = blow.target if blow.target in environments else _picked(sorted(environments), blow)
        up = environments[target]
        with suppress(ProcessLookupError):  # it has just ended by itself
            os.kill(_picked(sorted(it for it in up if up[it]) or sorted(up), blow), signal.SIGKILL)
            return target


async def _sighted(stack: Struck, blow: Blow) -> dict[str, dict[int, bool]]:
    """The environments, at a moment within an event of what is meant, if there is one before long."""
    deadline = asyncio.get_running_loop().time() + blow.patience
    environments = await stack.environments()
    while asyncio.get_running_loop().time() < deadline:
        if any(environments.get(blow.target, {}).values()):
            await asyncio.sleep(blow.late)
            return await stack.environments()
        await asyncio.sleep(SIGHT_SECONDS)
        environments = await stack.environments()
    return environments


def _picked(some: Sequence[_T], blow: Blow) -> _T:
    return some[int(blow.pick * len(some))]
