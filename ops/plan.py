"""`roomcast plan`: what rooms of so many members would ask of AWS, what to raise, and what a month costs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console

from domain.errors import BadSetting
from domain.lanes import LANES, override_lanes
from domain.protocol import MESSAGE_LIMIT
from ops.bills import RoomShape
from ops.capacity import Forecast, Load, forecast
from ops.packing import Group
from ops.plan_tables import NOTES, cost_of, findings, per_million, rates, tables

__all__ = ["plan", "read_load"]

_ROOM = re.compile(r"(\d+)x(\d+)@(\d+(?:\.\d+)?|\.\d+)")
_MOST = 100_000_000
"""Rooms, or members of a room: beyond, a figure is a slip of the pen."""


def plan(load: Load, *, hours: float, as_json: bool) -> None:
    """Print the forecast for so many hours a month. Raises `BadSetting`."""
    _check("--hours", hours, 0, 8_784)
    result = forecast(load)
    if as_json:
        print(json.dumps(as_object(result, hours), indent=2))
        return
    console = Console()
    for table in tables(result, hours):
        console.print(table)
    for note in [*findings(result), *NOTES]:
        console.print(f"• {note}", highlight=False)


def read_load(
    *,
    rooms: int,
    members: int,
    rate: float,
    room: Sequence[str],
    message_bytes: int,
    quota: float,
    connects: float,
    session: float,
    lane: Sequence[str],
) -> Load:
    """The load that the options describe: the groups of `--room`, or the one of the three others."""
    _check("--bytes", message_bytes, 0, MESSAGE_LIMIT)
    _check("--quota", quota, 0, 1_000_000)
    _check("--connects", connects, 0, 1_000_000)
    _check("--session", session, 0, 120)
    groups = [_read_group(it) for it in room] or [(rooms, members, rate)]
    for count, size, often in groups:
        _check("rooms", count, 0, _MOST)
        _check("members", size, 0, _MOST)
        _check("messages a second in a room", often, 0, 1_000_000)
    return Load(
        groups=[Group(count, RoomShape(size, message_bytes), often) for count, size, often in groups],
        lanes=override_lanes(LANES, lane),
        quota=quota,
        connects=connects,
        session_minutes=session,
    )


def _read_group(text: str) -> tuple[int, int, float]:
    found = _ROOM.fullmatch(text)
    if not found:
        raise BadSetting(f"--room {text}: write ROOMSxMEMBERS@MESSAGES-A-SECOND-IN-EACH, e.g. 1000x6@0.2")
    return int(found[1]), int(found[2]), float(found[3])


def _check(name: str, value: float, above: float, most: float) -> None:
    if not above < value <= most:  # also where it is no number
        raise BadSetting(f"{name} {value:g}: it must be above {above:g} and at most {most:,.0f}")


# ------------------------------------------------------------------------------------------------ for programs


def as_object(result: Forecast, hours: float) -> dict[str, Any]:
    """The same for programs. Times are in seconds, rates a second, costs in US dollars for `hours`."""
    load, usage = result.load, result.usage
    cost = cost_of(result, hours)
    return {
        "rates": {name: _round(it) for name, it in rates(result)},
        "groups": [
            {
                "rooms": it.group.rooms,
                "members": it.group.shape.members,
                "rate": it.group.rate,
                "shards": it.group.shape.shards,
                "lane": it.group.shape.lane,
                "entries_per_round": _round(it.entries),
                "rounds_per_s": _round(it.rounds),
                "round_s": _round(it.round_seconds),
                "to_last_s": None if it.overloaded else _round(it.to_last),
                "at_least_s": _round(it.at_least),
                "overloaded": it.overloaded,
            }
            for it in result.traffic
        ],
        "lanes": [
            {name: _round(it) for name, it in asdict(lane).items()} | {"full": lane.full} for lane in result.lanes
        ],
        "keys": [{name: _round(it) for name, it in asdict(key).items()} for key in result.keys],
        "asks": [{name: _round(it) for name, it in asdict(ask).items()} for ask in result.asks()],
        "ramp_s": _round(result.ramp_seconds),
        "quota": load.quota,
        "hours": hours,
        "usage_per_s": {name: _round(it) for name, it in asdict(usage).items()},
        "cost_usd": {
            "api_gateway": _round(cost.api_gateway),
            "lambda": _round(cost.lambda_),
            "sqs": _round(cost.sqs),
            "dynamodb": _round(cost.dynamodb),
            "total": _round(cost.total),
            "per_million_deliveries": _round(per_million(result, hours)),
        },
        "notes": [*findings(result), *NOTES],
    }


def _round(value: Any) -> Any:
    """To four digits, which are more than the model knows."""
    if not isinstance(value, float) or not math.isfinite(value) or value == 0:
        return value
    return round(value, max(0, 3 - math.floor(math.log10(abs(value)))))
