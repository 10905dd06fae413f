"""Running a schedule: let it happen, let it heal, and look at what is left."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

from domain.rooms import ShardKey
from tests.simulation.amends import amend
from tests.simulation.chaos import LONGEST_PAUSE, Rates
from tests.simulation.clients import Client
from tests.simulation.history import LAST_WORD, Violation, check
from tests.simulation.hooks import add_hook
from tests.simulation.presence import check_presence
from tests.simulation.schedules import Action, Schedule
from tests.simulation.service import Service
from tests.simulation.virtual_time import run_virtually

__all__ = ["Outcome", "run", "shrink"]

TOKENS_OVER = 200.0
"""Seconds from the last expiry of a token until whoever had it is back: the leeway, two ticks, and a reconnect."""
HEALING = 75.0 + LONGEST_PAUSE
"""Seconds after the last fault: longer than a pause, and than a client waits for its `welcome`."""
QUIET_WITHIN = 900.0
"""Seconds in which everything must have come to rest."""
CHANCES = 4
DEVICES = 2
"""How many clients are one user's, where it is looked at how users are."""
POISON = '{"v":1,"kind":"nothing that a worker knows"}'


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a schedule."""

    schedule: Schedule
    violations: Sequence[Violation]
    notes: Sequence[tuple[Any, ...]]
    """(seconds, what, …) of all that happened, oldest first."""
    counts: Counter[str]

    @property
    def digest(self) -> str:
        """The same for the same history."""
        return hashlib.sha256(repr((self.notes, self.violations)).encode()).hexdigest()[:16]


def run(schedule: Schedule) -> Outcome:
    """Play the schedule to its end, and check what it left behind."""
    with (
        mock.patch("pipeline.broadcast.NOT_AFTER_MS", schedule.not_after),
        mock.patch("domain.fanout.PLAN_ABOVE", schedule.plan_above),
    ):
        return run_virtually(_play(schedule))


def shrink(outcome: Outcome, tries: int = 400) -> Outcome:
    """The smallest failing schedule that can be found by leaving out actions and kinds of faults. Whatever is left out
    changes the luck of all that follows, so each is given several chances to fail."""
    smallest, kinds = outcome, {it.invariant for it in outcome.violations}

    def fails(schedule: Schedule) -> bool:
        nonlocal smallest, tries
        for chance in range(CHANCES):
            if tries <= 0:
                break
            tries -= 1
            again = run(replace(schedule, chance=schedule.chance + chance))
            if not kinds.isdisjoint(it.invariant for it in again.violations):
                smallest = again
                return True
        return False

    for rate in Rates.__slots__:
        if rate != "latency" and getattr(smallest.schedule.rates, rate):
            fails(replace(smallest.schedule, rates=replace(smallest.schedule.rates, **{rate: 0})))
    size = max(1, len(smallest.schedule.actions) // 2)
    while size:
        start = 0
        while start < len(actions := smallest.schedule.actions):
            if not fails(replace(smallest.schedule, actions=[*actions[:start], *actions[start + size :]])):
                start += size
        size //= 2
    return smallest


async def _play(schedule: Schedule) -> Outcome:
    draw = random.Random(f"chance {schedule.seed} {schedule.chance}")
    notes: list[tuple[Any, ...]] = []
    service = Service(schedule.rates, schedule.rules, schedule.lanes, draw, notes, schedule.tokens)
    clients = {
        name: Client(
            service,
            name,
            room,
            dialect,
            random.Random(f"{name} {schedule.seed}"),
            rules=schedule.ruled and number == 0,
            user="c0" if schedule.statuses and number < DEVICES else name,
        )
        for number, (name, (room, dialect)) in enumerate(schedule.clients.items())
    }
    loop = asyncio.get_running_loop()
    service.start()
    poisoned: list[tuple[str, str]] = []
    for action in schedule.actions:
        await asyncio.sleep(max(0.0, action.at - loop.time()))
        service.note("script", action.client, action.does, *action.of)
        await _act(service, clients[action.client], action, poisoned)
    service.chaos.heal()
    for client in clients.values():
        if client.lives:
            client.lives[-1].socket.reads, client.lives[-1].socket.broken = True, False
    service.note("heals")
    if schedule.tokens is not None:
        # Whoever comes from now on stays, so that there will be rest.
        service.tokens = None
        await asyncio.sleep(schedule.tokens[1] + TOKENS_OVER)
    violations: list[Violation] = []
    if schedule.hasty:
        await asyncio.sleep(draw.uniform(0, LONGEST_PAUSE))
        await _last_words(service, clients)
        await asyncio.sleep(HEALING)
    else:
        await asyncio.sleep(HEALING)
        # Before anything is said again, which would mend what has been left undone.
        violations += await check(service, clients, poisoned, rested=await _rest(service, clients))
        # The first may end the memberships of who is gone, so that only the next follows the last leave.
        _say(service, clients, "the last word but one")
        await _rest(service, clients)
        await _last_words(service, clients)
    violations += await check(service, clients, poisoned, rested=await _rest(service, clients))
    if schedule.statuses:
        violations += await check_presence(service, clients, calm=schedule.rates == Rates(schedule.rates.latency))
    await service.stop()
    counts = service.counts + Counter(kills=service.chaos.kills, pauses=service.chaos.pauses)
    return Outcome(schedule, list(dict.fromkeys(violations)), notes, counts)


async def _act(service: Service, client: Client, action: Action, poisoned: list[tuple[str, str]]) -> None:
    started = bool(client.lives) or client.starting
    match action.does:
        case "start" if not started:
            client.start()
        case "poison":
            lane, room = action.of
            found = await service.store.room(room)
            if found is not None:
                poisoned.append((lane, POISON))
                service.queue.put(lane, POISON, f"{room}#{found.epoch}#0", deduplication=f"poison {action.at}")
        case "slow" | "reads":
            if client.life is not None:
                client.life.socket.reads = action.does == "reads"
        case "broken" | "mended":
            if client.life is not None:
                client.life.socket.broken = action.does == "broken"
        case "vanish":
            client.cut(silent=True)
        case "hook":
            await add_hook(service, *action.of)
        case "amend" if started:
            amend(client, *action.of)
        case "cut" | "quit" | "ping" | "repeat" | "quiet" if started:
            getattr(client, action.does)()
        case (
            "send"
            | "send_private"
            | "join"
            | "leave"
            | "typing"
            | "be"
            | "judge"
            | "end_room"
            | "make_room"
            | "mark"
            | "mark_at_once"
        ) if started:
            getattr(client, action.does)(*action.of)


async def _last_words(service: Service, clients: dict[str, Client]) -> None:
    """Before a broadcast to every room, what the shards' versions are."""
    for room in (await service.store.rooms(sorted({it for one in clients.values() for it in one.rooms}))).values():
        keys = [ShardKey(room.room, room.epoch, it) for it in range(room.shards)]
        service.last_words |= {key: it.version for key, it in (await service.store.shards(keys)).items()}
    service.store.overtaken.clear()
    _say(service, clients, LAST_WORD)


def _say(service: Service, clients: dict[str, Client], words: str) -> None:
    """One message to each room that somebody is in, by who is in its present life."""
    told: set[str] = set()
    heads = service.heads()
    for client in clients.values():
        for room in client.rooms:
            if room not in told and client.life is not None and client.life.begun[room][0] == heads[room][0]:
                told.add(room)
                client.send(room, words)


async def _rest(service: Service, clients: dict[str, Client]) -> bool:
    """Until nobody has anything to do. Dead letters are given back, as an operator does."""
    for client in clients.values():
        if client.life is not None and client.life.doubtful:
            client.ping()  # it would, within minutes
    loop = asyncio.get_running_loop()
    end = loop.time() + QUIET_WITHIN
    while loop.time() < end:
        await asyncio.sleep(1)
        if service.idle and not any(it.busy for it in clients.values()) and not service.redrive():
            return True
    return False
