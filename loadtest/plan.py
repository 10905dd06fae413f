"""What a load test is to do: who is where, which message is due when, and what some clients do to make it hard."""

from __future__ import annotations

import itertools
import resource
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal
from urllib.parse import urlsplit

from client.session import Dialect
from domain.errors import BadSetting

__all__ = ["Behaviour", "Group", "Message", "Phase", "Plan", "check_files", "plan_messages", "reserve_sockets", "split"]

CLIENTS_LIMIT = 100_000
SOCKETS_LIMIT = 18_000
"""Of one process: where more are asked for, a process is busier with its own sockets than the service with them."""
SOCKETS_WANTED = 10_000
"""Of one process, where the number of processes is left to us."""
SOCKETS_ALONE = 5_000
"""Up to so many, one process has time for all."""
FILES_BESIDE = 64
"""Open files beside the sockets."""


@dataclass(frozen=True, slots=True)
class Group:
    """Rooms of one kind."""

    count: int
    members: int
    """Of each."""
    weight: int = 1
    """How many messages a room of these gets for one of a room of weight 1."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of time at one rate."""

    name: str
    seconds: float
    rate: float
    """Messages a second in all rooms."""
    probes: bool = False
    """The sending ends when 1 % of a phase's deliveries took longer than a second."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a share of the clients does, `at` seconds after sending began.

    slow: they stop reading, for `seconds`. reconnect: their sockets break, all at once, and they come back.
    storm: they come only then, `rate` a second.
    """

    kind: Literal["slow", "reconnect", "storm"]
    share: float
    at: float
    seconds: float = 0.0
    rate: float = 0.0

    def has(self, client: int) -> bool:
        """Whether a client is one of the share: they are spread evenly."""
        return int((client + 1) * self.share) > int(client * self.share)


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
    profile: str | None = None
    """Which it was made from."""
    groups: tuple[Group, ...] = ()
    """The rooms, if they are not all alike; they have `clients` and `rooms` in all."""
    phases: tuple[Phase, ...] = ()
    """The sending, if it is not `seconds` at one `rate`."""
    behaviours: tuple[Behaviour, ...] = ()
    trace: bool = False
    """Ask for the times at which a message passes the stages of the service."""

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

    def at(self, url: str, *, trace: bool = False) -> Plan:
        """The same plan for another service."""
        return replace(self, url=url, trace=trace)

    def room_of(self, client: int) -> str:
        first_client = first_room = 0
        for group in self.groups or (Group(self.rooms, -1),):
            place = client - first_client
            if group.members < 0 or place < group.count * group.members:
                return self.room(first_room + place % group.count)
            first_client += group.count * group.members
            first_room += group.count
        raise IndexError(client)

    def room(self, number: int) -> str:
        return f"load-{self.name}-{number}"

    @property
    def timeline(self) -> tuple[Phase, ...]:
        return self.phases or (Phase("hold", self.seconds, self.rate),)

    @property
    def patience(self) -> float:
        return self.quiet if self.quiet is not None else 5.0 if self.dialect == "v1" else 20.0

    def comes_late(self, client: int) -> bool:
        """Whether a client comes while messages flow."""
        return any(it.kind == "storm" and it.has(client) for it in self.behaviours)


@dataclass(slots=True, eq=False)
class Message:
    """One message, and what became of it. Times are in seconds of the machine's monotonic clock."""

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
    """The messages in the order they are due: evenly over time, by the rooms' weights, and each room's `senders`."""
    turns = {room: itertools.cycle(clients) for room, clients in senders.items() if clients}
    if not turns:
        return []
    rooms = itertools.cycle(_round(plan, list(turns)))
    messages: list[Message] = []
    for phase in plan.timeline:
        for place in range(round(phase.rate * phase.seconds)):
            number, room = len(messages), next(rooms)
            messages.append(
                Message(
                    client_id=f"{plan.name}-{number:07d}",
                    room=room,
                    text=f"message {number} of run {plan.name}",
                    sender=next(turns[room]),
                    due=start + place / phase.rate,
                )
            )
        start += phase.seconds
    return messages


def _round(plan: Plan, rooms: Sequence[str]) -> list[str]:
    """The rooms in turn, each as often as it weighs, with even gaps."""
    weights: dict[str, int] = {}
    numbers: Iterator[int] = itertools.count()
    for group in plan.groups:
        weights.update((plan.room(next(numbers)), group.weight) for _ in range(group.count))
    slots = [((turn + 0.5) / weights.get(room, 1), room) for room in rooms for turn in range(weights.get(room, 1))]
    return [room for _, room in sorted(slots, key=lambda it: it[0])]


def split(clients: int, processes: int | None) -> int:
    """Into how many processes to split so many clients: as asked, or as many as it takes. Raises `BadSetting` where one
    would hold more sockets than it may."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    allowed = SOCKETS_LIMIT if hard == resource.RLIM_INFINITY else min(SOCKETS_LIMIT, hard - FILES_BESIDE)
    if processes is None:
        wanted = 1 if clients <= SOCKETS_ALONE else max(2, -(-clients // SOCKETS_WANTED))
        processes = max(wanted, min(clients, -(-clients // max(1, allowed))))
    if not 1 <= processes <= clients:
        raise BadSetting(f"--processes {processes}: it must be between 1 and the number of clients ({clients})")
    share = -(-clients // processes)
    if share > SOCKETS_LIMIT:
        raise BadSetting(
            f"--processes {processes}: each would hold {share:,} sockets, and has time for {SOCKETS_LIMIT:,};"
            f" take at least {-(-clients // SOCKETS_LIMIT)}"
        )
    check_files(share)
    return processes


def check_files(sockets: int) -> int:
    """How many open files a process with so many sockets needs. Raises `BadSetting` where the system allows fewer."""
    needed = sockets + FILES_BESIDE
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise BadSetting(
            f"--clients: a process with {sockets} of them needs {needed} open files and this shell allows {hard};"
            f" raise the limit (ulimit -n {needed}), take more --processes, or at most"
            f" {max(0, hard - FILES_BESIDE)} clients a process"
        )
    return needed


def reserve_sockets(clients: int) -> None:
    """Raise the limit of open files to what a process with so many clients needs. Raises as `check_files` does."""
    needed = check_files(clients)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
