"""What a load test is to do: who is where, and which message is due when."""

from __future__ import annotations

import itertools
import resource
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from client.session import Dialect
from domain.errors import BadSetting

__all__ = ["Message", "Plan", "plan_messages", "reserve_sockets"]

CLIENTS_LIMIT = 5_000
"""Clients in one process; more would measure the load test instead of the service."""
FILES_BESIDE = 64
"""Open files beside the sockets."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One run. Times are in seconds, rates a second."""

    url: str
    """The service's WebSocket URL; empty until `at` names it."""
    clients: int = 100
    rooms: int = 1
    rate: float = 1.0
    """Messages in all, spread evenly over the rooms and their senders."""
    seconds: float = 10.0
    ramp: float = 100.0
    """Connects."""
    dialect: Dialect = "v1"
    quiet: float | None = None
    """Without any arrival for so long, what is missing counts as lost (a twin is asked instead): 5, or 20 for the
    recipe, whose clients can't ask and wait for the service's own retries."""
    name: str = field(default_factory=lambda: secrets.token_hex(4))
    """Stands in rooms, users and messages, so that no two runs meet."""

    def __post_init__(self) -> None:
        if self.url and urlsplit(self.url).scheme not in {"ws", "wss"}:
            raise BadSetting(f"--url {self.url}: it must begin with ws:// or wss://")
        if not 1 <= self.clients <= CLIENTS_LIMIT:
            raise BadSetting(f"--clients {self.clients}: it must be between 1 and {CLIENTS_LIMIT:,}")
        if not 1 <= self.rooms <= self.clients:
            raise BadSetting(f"--rooms {self.rooms}: it must be between 1 and the number of clients ({self.clients})")
        if self.dialect not in {"v1", "recipe"}:
            raise BadSetting(f"--dialect {self.dialect}: it must be v1 or recipe")
        for option, value in (("--rate", self.rate), ("--seconds", self.seconds), ("--ramp", self.ramp)):
            if not 0 < value <= 1_000_000:
                raise BadSetting(f"{option} {value:g}: it must be above 0")

    def at(self, url: str) -> Plan:
        """The same plan for another service."""
        return replace(self, url=url)

    def room_of(self, client: int) -> str:
        return f"load-{self.name}-{client % self.rooms}"

    @property
    def patience(self) -> float:
        return self.quiet if self.quiet is not None else 5.0 if self.dialect == "v1" else 20.0


@dataclass(slots=True, eq=False)
class Message:
    """One message, and what became of it. Times are in seconds of the event loop's clock."""

    client_id: str
    room: str
    text: str
    sender: int
    """The client that sends it."""
    due: float
    """When it is to be sent: latency counts from here, whenever it really was."""
    sent_at: float | None = None
    tries: int = 0
    again_at: float = 0.0
    acknowledged_at: float | None = None
    refusal: str | None = None
    """The error code that answered it for good."""
    epoch: int = 0
    seq: int = 0
    received: int = 0
    """Clients that were owed it and given it."""
    last_at: float = 0.0
    """When the last of them was."""


def plan_messages(plan: Plan, senders: Mapping[str, Sequence[int]], start: float) -> list[Message]:
    """The messages in the order they are due: evenly over time, rooms, and each room's `senders`."""
    turns = {room: itertools.cycle(clients) for room, clients in senders.items() if clients}
    rooms = itertools.cycle(turns)
    messages = []
    for number in range(round(plan.rate * plan.seconds) if turns else 0):
        room = next(rooms)
        messages.append(
            Message(
                client_id=f"{plan.name}-{number:07d}",
                room=room,
                text=f"message {number} of run {plan.name}",
                sender=next(turns[room]),
                due=start + number / plan.rate,
            )
        )
    return messages


def reserve_sockets(clients: int) -> None:
    """Raise the limit of open files to what the run needs, as far as the system lets us, or raise `BadSetting`."""
    needed = clients + FILES_BESIDE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise BadSetting(
                f"--clients {clients}: that needs {needed} open files and this shell allows {hard};"
                f" raise the limit (ulimit -n {needed}) or take at most {max(0, hard - FILES_BESIDE)} clients"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
