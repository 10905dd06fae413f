"""How users are after a schedule: what their rows say, and what those in their rooms have heard."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping

from domain.presence import SLACK_MS, Presence, shown
from domain.rooms import LEASE_MS
from tests.simulation.clients import Client
from tests.simulation.history import Violation
from tests.simulation.service import Service

__all__ = ["check_presence"]

HEALED = (LEASE_MS + SLACK_MS) / 1000 + 120
"""Seconds in which whatever a death has left undone is made good: leases end, rows run out, pings renew."""


async def check_presence(service: Service, clients: Mapping[str, Client], *, calm: bool) -> list[Violation]:
    """What is wrong. `calm`: nothing was to fail, so all is right at once; else it is in time."""
    if not calm:
        await asyncio.sleep(HEALED)
    said: dict[str, list[str]] = {it.user: ["offline"] for it in clients.values()}
    for client in clients.values():
        if client.life is not None:
            said[client.user].append(client.session.status)
    rows = await service.statuses.presences([*said])
    now = service.clock.now()
    found = []
    for user, devices in said.items():
        status = max(devices, key=["offline", "away", "online", "busy"].index)
        if shown(rows[user], now) != status:
            found.append(Violation("I17", f"{user} is {status}, and {rows[user]} at {now}"))
    if calm and service.rules.roster_limit > 2 * len(clients):  # those aside that were large while ghosts were there
        found += _heard(service, clients, rows)
    return found


def _heard(service: Service, clients: Mapping[str, Client], rows: Mapping[str, Presence]) -> Iterator[Violation]:
    """Whoever was there when somebody else changed last who was there as well."""
    for client in clients.values():
        if client.life is None:
            continue
        for room in client.rooms:
            others = [it for it in clients.values() if it is not client and room in it.rooms]
            for other in others:
                row, heard = rows[other.user], client.life.heard.get(other.user)
                told = heard is not None and (heard.status, heard.since) == (row.status, row.since)
                there = other.life is not None and max(client.life.opened_at, other.life.opened_at) < row.since
                if there and not told:
                    yield Violation("I18", f"{client.life.socket.id} has heard {heard} of {row}")
