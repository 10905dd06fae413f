"""Profiles: what a run is like, in a small file. Those that come with the project are in `profiles/`.

rate = 20          # messages a second in all rooms, where a phase names no other
ramp = 200         # connects a second

[[rooms]]          # one or more
count = 50
members = 6
weight = 1         # how many messages such a room gets for one of a room of weight 1

[[phases]]         # one or more, one after the other
kind = "hold"      # seconds, rate
[[phases]]
kind = "step"      # from, by, each (seconds), upto: until 1 % of a step's deliveries take longer than a second

[[behaviours]]     # any number; `at`: seconds after sending began; `share` of the clients: above 0, below 1
kind = "slow"      # share, at, seconds: they stop reading for so long
[[behaviours]]
kind = "reconnect" # share, at: their sockets break, all at once, and they come back
[[behaviours]]
kind = "storm"     # share, at, rate: they come only then, so many a second
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct, field

from client.session import Dialect
from domain.errors import BadSetting
from loadtest.plan import Behaviour, Group, Phase, Plan

__all__ = ["FOLDER", "Changes", "plan_from", "profile_names"]

FOLDER = Path(__file__).parent / "profiles"
STEPS_LIMIT = 1_000
FEWEST = 2
"""Members of a room that was scaled down: one alone hears nobody."""

Above = Annotated[float, Meta(gt=0, le=1_000_000)]
Count = Annotated[int, Meta(ge=1, le=100_000)]
Part = Annotated[float, Meta(gt=0, lt=1)]
Moment = Annotated[float, Meta(ge=0, le=1_000_000)]


class _Rooms(Struct, frozen=True, forbid_unknown_fields=True):
    count: Count
    members: Count
    weight: Annotated[int, Meta(ge=1, le=1000)] = 1


class _Hold(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="hold"):
    seconds: Above
    rate: Above | None = None

    def phases(self, rate: float) -> Iterator[Phase]:
        yield Phase("hold", self.seconds, self.rate or rate)


class _Step(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="step"):
    by: Above
    each: Above
    upto: Above
    start: Above = field(name="from")

    def phases(self, rate: float) -> Iterator[Phase]:
        """Raises `BadSetting` for steps without end."""
        count = int((self.upto - self.start) / self.by + 1e-9) + 1
        if not 1 <= count <= STEPS_LIMIT:
            steps = f"a step from {self.start:g} by {self.by:g} up to {self.upto:g}"
            raise BadSetting(
                f"phases: {steps} makes none; raise upto"
                if count < 1
                else f"phases: {steps} makes more than {STEPS_LIMIT:,}; raise by"
            )
        for it in range(count):
            step = self.start + it * self.by
            yield Phase(f"step {step:g}", self.each, step, probes=True)


class _Behaviour(Struct, frozen=True, forbid_unknown_fields=True):
    kind: Literal["slow", "reconnect", "storm"]
    share: Part
    at: Moment
    seconds: Above | None = None
    rate: Above | None = None


class _Profile(Struct, frozen=True, forbid_unknown_fields=True):
    rooms: Annotated[list[_Rooms], Meta(min_length=1)]
    phases: Annotated[list[_Hold | _Step], Meta(min_length=1)]
    rate: Above = 1.0
    ramp: Above = 100.0
    dialect: Dialect = "v1"
    behaviours: list[_Behaviour] = []


class Changes(Struct, frozen=True):
    """What options say otherwise; None: as the profile has it."""

    clients: int | None = None
    """About so many in all: rooms get fewer, then smaller, and the rate follows the number of rooms."""
    rate: float | None = None
    """Messages a second of the first phase; the others keep their proportion to it."""
    seconds: float | None = None
    """Of all phases; each keeps its part."""
    ramp: float | None = None
    dialect: Dialect | None = None


def profile_names() -> list[str]:
    """Those that come with the project."""
    return sorted(it.stem for it in FOLDER.glob("*.toml"))


def plan_from(name: str, url: str, changes: Changes) -> Plan:
    """The plan of a profile, by its name or its file. Raises `BadSetting` naming file, field and remedy."""
    profile = _read(name)
    groups = [Group(it.count, it.members, it.weight) for it in profile.rooms]
    try:
        phases = [phase for it in profile.phases for phase in it.phases(profile.rate)]
        behaviours = [_behaviour(it) for it in profile.behaviours]
    except BadSetting as error:
        raise BadSetting(f"--profile {name}: {error}") from None
    if changes.clients is not None:
        rooms = sum(it.count for it in groups)
        groups = _scaled(groups, changes.clients)
        phases = _at_rates(phases, sum(it.count for it in groups) / rooms)
    if changes.rate is not None:
        phases = _at_rates(phases, changes.rate / phases[0].rate)
    seconds = sum(it.seconds for it in phases)
    if changes.seconds is not None:
        stretch = changes.seconds / seconds
        phases = [replace(it, seconds=it.seconds * stretch) for it in phases]
        behaviours = [replace(it, at=it.at * stretch, seconds=it.seconds * stretch) for it in behaviours]
    return Plan(
        url,
        clients=sum(it.count * it.members for it in groups),
        rooms=sum(it.count for it in groups),
        rate=phases[0].rate,
        seconds=changes.seconds if changes.seconds is not None else seconds,
        ramp=changes.ramp if changes.ramp is not None else profile.ramp,
        dialect=changes.dialect if changes.dialect is not None else profile.dialect,
        profile=Path(name).stem,
        groups=tuple(groups),
        phases=tuple(phases),
        behaviours=tuple(behaviours),
    )


def _read(name: str) -> _Profile:
    file = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    try:
        text = file.read_text()
    except OSError as error:
        names = ", ".join(profile_names())
        why = error.strerror if name.endswith(".toml") else "there is none of that name"
        raise BadSetting(f"--profile {name}: {why}; take {names}, or a file that ends with .toml") from None
    try:
        return msgspec.toml.decode(text, type=_Profile)
    except msgspec.DecodeError as error:
        raise BadSetting(f"--profile {name}: {_plainly(str(error))}") from None


def _plainly(words: str) -> str:
    """msgspec's sentence, with the field in front and what it may be."""
    found = re.fullmatch(r"(.*) - at `\$\.?(.*)`", words, re.DOTALL)
    said, place = found.groups() if found else (words, "")
    unknown = re.search(r"unknown field `(.*)`", said)
    if unknown is None:
        return f"{place}: {said[0].lower()}{said[1:]}" if place else f"{said[0].lower()}{said[1:]}"
    return f"there is no field {unknown[1]} in {place or 'a profile'}; leave it out (loadtest/profile.py has them all)"


def _behaviour(raw: _Behaviour) -> Behaviour:
    """Raises `BadSetting` where a field is missing, or means nothing for its kind."""
    needed = {"slow": "seconds", "storm": "rate"}.get(raw.kind)
    for option in ("seconds", "rate"):
        given = getattr(raw, option) is not None
        if option == needed and not given:
            raise BadSetting(f"behaviours: {raw.kind} needs {option}; add it")
        if option != needed and given:
            raise BadSetting(f"behaviours: {raw.kind} knows no {option}; leave it out")
    return Behaviour(raw.kind, raw.share, raw.at, raw.seconds or 0.0, raw.rate or 0.0)


def _at_rates(phases: Sequence[Phase], factor: float) -> list[Phase]:
    """The same phases at rates that many times as high."""
    return [
        replace(it, rate=it.rate * factor, name=f"step {it.rate * factor:g}" if it.probes else it.name) for it in phases
    ]


def _scaled(groups: Sequence[Group], clients: int) -> list[Group]:
    """The same kinds of rooms with about so many clients in all."""
    if clients < 1:
        raise BadSetting(f"--clients {clients}: it must be between 1 and 100,000")
    factor = clients / sum(it.count * it.members for it in groups)
    scaled = []
    for it in groups:
        count = max(1, min(it.count, round(it.count * factor))) if factor < 1 else round(it.count * factor)
        if it.count == 1:
            count = 1
        members = max(FEWEST, round(it.count * it.members * factor / count))
        scaled.append(replace(it, count=count, members=members))
    return scaled
