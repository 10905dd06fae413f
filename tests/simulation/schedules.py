"""Schedules: what a seed draws. How often things fail, what is allowed, and what the clients do when."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from client.session import Dialect
from domain.lanes import LANES, Lane
from domain.rooms import Rules
from tests.simulation.amends import AMENDS
from tests.simulation.chaos import Rates

__all__ = ["WORKLOADS", "Action", "Schedule", "Workload", "draw_schedule"]


@dataclass(frozen=True, slots=True)
class Action:
    """What one client does at one moment."""

    at: float
    """Seconds since the beginning."""
    client: str
    does: str
    """A method of the client, or `slow`, `reads`, `broken`, `mended`, `poison`, `hook`."""
    of: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.at:7.3f}  {self.client} {self.does} {' '.join(self.of)}"


@dataclass(frozen=True, slots=True)
class Schedule:
    """One run, but for what chance decides within it."""

    seed: int
    workload: str
    rates: Rates
    rules: Rules
    lanes: Mapping[str, Lane]
    clients: Mapping[str, tuple[str, Dialect]]
    """Name → the room that it begins in, and its dialect."""
    actions: Sequence[Action]
    not_after: int
    """Milliseconds for which a remainder is tried."""
    plan_above: int
    """Shards above which a plan is rung."""
    hasty: bool
    """The last word is said while environments may still lie still."""
    ruled: bool
    """The first client may do everything."""
    statuses: bool
    """How users are is looked at in the end."""
    tokens: tuple[float, float] | None
    """Seconds for which tokens are good; None: for ever."""
    chance: int = 0
    """Another number lets the same things happen with other luck."""


@dataclass(frozen=True, slots=True)
class Workload:
    """The ranges that schedules of one kind are drawn from."""

    clients: tuple[int, int] = (3, 6)
    rooms: int = 2
    seconds: tuple[float, float] = (4, 10)
    messages: tuple[int, int] = (6, 20)
    private: int = 0
    """At most so many private messages."""
    moves: int = 2
    """Joins and leaves, at most."""
    cuts: int = 1
    """Sockets lost, at most."""
    latecomers: float = 0.3
    """The share of clients that come while others write."""
    recipe: float = 0.25
    shard_limit: tuple[int, int] = (1_000, 1_000)
    fault_level: float = 1
    """A factor on all fault rates."""
    lives_matter: float = 1
    """A factor on kills and pauses beside that."""
    kills: float = 1
    """A factor on kills beside both."""
    slow: float = 0
    """The probability that some client stops reading for a while."""
    broken: float = 0
    """The probability that for a while no post reaches some client."""
    poison: float = 0
    bursts: bool = False
    """Messages and joins all within a fraction of a second."""
    max_receives: int = 5
    capped: float = 0
    """The probability that lanes have a cap on posts a second."""
    not_after: int = 600_000
    hasty: bool = False
    judged: int = 0
    """At most so many kicks, bans and mutes, by the first client, who rules all rooms."""
    away: float = 0
    """The share of clients that leave for good, early; some want no notices."""
    ended: int = 0
    """At most so many times a room is deleted, and made anew a while later."""
    amended: int = 0
    """At most so many edits, deletions, reactions and answers; the first client may delete anybody's messages."""
    marks: int = 0
    """At most so many read marks, in rooms and inboxes; half of them as several devices at once would set them."""
    presence: int = 0
    """At most so many times that somebody is away, busy or back."""
    hooks: int = 0
    """At most so many outgoing hooks, made while others write."""
    tokens: tuple[float, float] | None = None
    """Seconds for which tokens are good: before that clients open their next socket beside the old one."""


WORKLOADS: Mapping[str, Workload] = {
    "chat": Workload(),
    "joins": Workload(clients=(4, 9), rooms=1, latecomers=0.8, moves=4, bursts=True, cuts=0, fault_level=0.5),
    "faults": Workload(fault_level=4, lives_matter=3),
    "flapping": Workload(cuts=6, moves=4, lives_matter=0.5),
    "moves": Workload(
        clients=(3, 5), rooms=2, seconds=(10, 50), moves=24, messages=(8, 20), fault_level=2, lives_matter=3, cuts=0
    ),
    "growth": Workload(clients=(8, 16), rooms=1, latecomers=0.7, shard_limit=(2, 4), messages=(6, 14), cuts=2),
    "doubling": Workload(
        clients=(8, 14),
        rooms=1,
        seconds=(3, 8),
        messages=(1, 4),
        latecomers=1,
        bursts=True,
        shard_limit=(2, 3),
        fault_level=2,
        lives_matter=4,
        kills=0.2,
        cuts=0,
    ),
    "private": Workload(private=12, messages=(2, 8), cuts=2),
    "slow": Workload(slow=0.8, fault_level=0.5, capped=0.3),
    "dead letters": Workload(max_receives=2, lives_matter=4, fault_level=2, poison=0.5, seconds=(4, 20)),
    "given up": Workload(not_after=50_000, broken=0.9, fault_level=1, clients=(3, 5)),
    # Nobody is cut off, so that the last word follows the last join or leave however early it is said.
    "hasty": Workload(hasty=True, cuts=0, moves=5, lives_matter=4, kills=0, recipe=0.1),
    "long": Workload(seconds=(1_000, 2_500), messages=(4, 10), cuts=3, fault_level=0.3),
    "moderation": Workload(
        clients=(3, 6), rooms=2, seconds=(4, 40), judged=10, moves=8, messages=(10, 30), recipe=0.15, lives_matter=2
    ),
    "anew": Workload(clients=(3, 6), rooms=2, seconds=(4, 20), judged=2, ended=3, moves=6, messages=(8, 20)),
    "marks": Workload(
        clients=(3, 5),
        rooms=2,
        seconds=(2, 6),
        messages=(15, 40),
        private=8,
        moves=2,
        cuts=2,
        bursts=True,
        marks=40,
        recipe=0.15,
        lives_matter=2,
    ),
    "away": Workload(
        clients=(3, 5),
        rooms=1,
        seconds=(10, 150),
        cuts=5,
        private=24,
        away=0.5,
        messages=(1, 4),
        fault_level=2,
        lives_matter=3,
    ),
    "calm": Workload(clients=(4, 8), fault_level=0, cuts=0, capped=0.5, bursts=True, messages=(10, 30)),
    "amends": Workload(
        clients=(3, 5), seconds=(3, 15), messages=(3, 8), private=4, moves=1, amended=40, fault_level=2, lives_matter=2
    ),
    "presence": Workload(
        clients=(2, 5), seconds=(4, 60), messages=(1, 4), presence=16, cuts=5, recipe=0, fault_level=2, lives_matter=2
    ),
    "hooks": Workload(
        clients=(2, 4),
        rooms=2,
        seconds=(3, 60),
        messages=(10, 30),
        moves=1,
        cuts=1,
        amended=6,
        bursts=True,
        hooks=5,
        fault_level=2,
        lives_matter=3,
    ),
    "renewals": Workload(
        clients=(3, 5), seconds=(60, 200), messages=(10, 30), private=6, recipe=0.15, tokens=(35, 120), lives_matter=2
    ),
    # Nothing fails, so what everybody has heard is all there is to hear.
    "statuses": Workload(
        clients=(2, 5), messages=(1, 3), presence=24, cuts=6, moves=0, recipe=0, fault_level=0, seconds=(4, 20)
    ),
}


def draw_schedule(seed: int, workload: str | None = None) -> Schedule:
    """The schedule of a seed. Without a `workload` the seed takes its turn among all."""
    name = workload or list(WORKLOADS)[seed % len(WORKLOADS)]
    kind = WORKLOADS[name]
    draw = random.Random(f"{name} {seed}")
    rooms = [f"room-{it}" for it in range(draw.randint(1, kind.rooms))]
    clients: dict[str, tuple[str, Dialect]] = {}
    for number in range(draw.randint(*kind.clients)):
        dialect: Dialect = "recipe" if draw.random() < kind.recipe else "v1"
        clients[f"c{number}"] = (draw.choice(rooms), dialect)
    rules = Rules(
        roster_limit=draw.choice((0, 2, 50)),
        shard_limit=draw.randint(*kind.shard_limit),
        max_rooms_per_connection=5,
        notices=True,
    )
    return Schedule(
        seed=seed,
        workload=name,
        rates=_rates(kind, draw),
        rules=rules,
        lanes=_lanes(kind, draw),
        clients=clients,
        actions=_actions(kind, rooms, list(clients), draw),
        not_after=kind.not_after,
        plan_above=draw.choice((2, 10)),
        hasty=kind.hasty,
        ruled=kind.judged > 0 or kind.amended > 0,
        statuses=kind.presence > 0,
        tokens=kind.tokens,
    )


def _rates(kind: Workload, draw: random.Random) -> Rates:
    level = kind.fault_level * draw.choice((0.3, 1, 1, 2))

    def rate(most: float, factor: float = 1) -> float:
        """Nothing at all as often as not: one kind of fault hides behind another."""
        return 0.0 if draw.random() < 0.4 else min(0.3, draw.uniform(0, most) * level * factor)

    return Rates(
        latency=draw.choice((0.001, 0.004, 0.02, 0.05)),
        throttle=rate(0.02),
        ambiguous=rate(0.02),
        trailing=rate(0.01),
        kill=rate(0.006, kind.lives_matter * kind.kills),
        pause=rate(0.003, kind.lives_matter),
        post_refused=rate(0.03),
        post_throttled=rate(0.03),
        post_hangs=rate(0.02),
        duplicate=rate(0.1),
        lost_disconnect=draw.choice((0, 0.5, 1)) if level else 0,
        late=draw.choice((0, 0, 0.3)) if level else 0,
    )


def _lanes(kind: Workload, draw: random.Random) -> dict[str, Lane]:
    capped = draw.random() < kind.capped
    return {
        name: replace(
            it,
            batch_size=draw.choice((1, 2, 4, 10)),
            max_concurrency=draw.choice((1, 2, 3)),
            post_concurrency=draw.choice((1, 4, 64)),
            max_receives=kind.max_receives,
            post_rate=draw.choice((10, 40)) if capped else 0,
        )
        for name, it in LANES.items()
    }


@dataclass(slots=True)
class _Script:
    """Actions as they are drawn."""

    kind: Workload
    rooms: Sequence[str]
    names: Sequence[str]
    draw: random.Random
    seconds: float
    actions: list[Action] = field(default_factory=list)

    def moment(self) -> float:
        if self.kind.bursts and self.draw.random() < 0.7:
            return 1 + abs(self.draw.gauss(0, 0.05))
        return self.draw.uniform(0.3, self.seconds)

    def add(self, at: float, does: str, *of: str, client: str | None = None) -> None:
        self.actions.append(Action(round(at, 4), client or self.draw.choice(self.names), does, of))


def _actions(kind: Workload, rooms: list[str], names: list[str], draw: random.Random) -> list[Action]:
    script = _Script(kind, rooms, names, draw, draw.uniform(*kind.seconds))
    for name in names:
        late = draw.random() < kind.latecomers
        script.add(script.moment() if late else draw.uniform(0, 0.2), "start", client=name)
    for number in range(draw.randint(*kind.messages)):
        script.add(script.moment(), "send", draw.choice(rooms), f"m{number}")
    for number in range(draw.randint(0, kind.private)):
        script.add(script.moment(), "send_private", draw.choice(names), f"p{number}")
    for _ in range(draw.randint(0, kind.moves)):
        script.add(script.moment(), draw.choice(("join", "join", "leave")), draw.choice(rooms))
    for _ in range(draw.randint(0, kind.cuts)):
        script.add(script.moment(), draw.choice(("cut", "cut", "vanish", "quit")))
    for _ in range(draw.randint(0, 2)):
        script.add(script.moment(), draw.choice(("typing", "ping")), draw.choice(rooms))
    for _ in range(draw.randint(0, 2)):
        script.add(script.moment() + 1, "repeat")
    for _ in range(draw.randint(0, kind.judged)):
        what = draw.choice(("kick", "ban", "ban", "unban", "unban", "mute", "unmute"))
        script.add(script.moment(), "judge", what, draw.choice(rooms), draw.choice(names[1:]), client=names[0])
    for _ in range(draw.randint(0, kind.ended)):
        at, room = script.moment(), draw.choice(rooms)
        script.add(at, "end_room", room, client=names[0])
        script.add(at + draw.choice((0.01, 0.3, 5)), "make_room", room, client=names[0])
    _beside_messages(script)
    if kind.presence:
        _say_how_they_are(script)
    _trouble(script)
    return sorted(script.actions, key=lambda it: it.at)


def _beside_messages(script: _Script) -> None:
    """What becomes of messages, who has read them, and who is away."""
    kind, draw, rooms = script.kind, script.draw, script.rooms
    for number in range(draw.randint(kind.amended // 3, kind.amended) if kind.amended else 0):
        script.add(script.moment() + 0.5, "amend", draw.choice(AMENDS), f"a{number}")
    for _ in range(draw.randint(0, kind.marks)):
        script.add(script.moment(), draw.choice(("mark", "mark_at_once")), draw.choice((*rooms, *rooms, "inbox")))
    for _ in range(draw.randint(1, kind.hooks) if kind.hooks else 0):
        script.add(script.moment() + 0.3, "hook", draw.choice(rooms))
    for name in script.names[1:] if kind.away else ():
        if draw.random() < kind.away:
            script.add(draw.uniform(1, script.seconds / 2), "quit", client=name)
        if draw.random() < 0.2:
            script.add(draw.uniform(1, script.seconds / 4), "quiet", client=name)


def _say_how_they_are(script: _Script) -> None:
    """Often one thing right after the other, or just before the socket is lost; in the end two devices of a user at
    once, since whatever comes later would make good what these do to each other."""
    draw = script.draw
    for device in script.names[:2]:
        what = draw.choice(("away", "busy", "online"))
        script.add(script.seconds + 1 + draw.uniform(0, 0.01), "be", what, client=device)
    for _ in range(draw.randint(1, script.kind.presence)):
        name, at = draw.choice(script.names), script.moment()
        script.add(at, "be", draw.choice(("away", "busy", "online")), client=name)
        if draw.random() < 0.4:
            script.add(at + draw.choice((0.001, 0.01, 0.1, 3)), "be", draw.choice(("away", "online")), client=name)
        elif draw.random() < 0.3:
            script.add(at + draw.choice((0.001, 0.01, 0.1)), draw.choice(("cut", "vanish")), client=name)


def _trouble(script: _Script) -> None:
    kind, draw = script.kind, script.draw
    if draw.random() < kind.slow:
        name, at = draw.choice(script.names), script.moment()
        script.add(at, "slow", client=name)
        script.add(at + draw.choice((0.5, 5, 90)), "reads", client=name)
    if draw.random() < kind.broken:
        name, at = draw.choice(script.names), script.moment()
        script.add(at, "broken", client=name)
        script.add(at + draw.choice((5, 90)), "mended", client=name)
    if draw.random() < kind.poison:
        script.add(script.moment(), "poison", draw.choice(list(LANES)), draw.choice(script.rooms))
