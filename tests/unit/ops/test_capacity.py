"""What a load asks of AWS."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from domain.lanes import LANES
from infra.settings import STAGES, check_stage
from ops.bills import RoomShape
from ops.capacity import INBOUND_RATE, INTERACTIVE_RESERVE, WEBHOOK_RATE, Forecast, Load, forecast
from ops.packing import Group


def of(*groups: tuple[int, int, float], **load: Any) -> Forecast:
    """The forecast for (rooms, members, messages a second in each)."""
    return forecast(Load([Group(rooms, RoomShape(members), rate) for rooms, members, rate in groups], **load))


def asked(result: Forecast) -> Mapping[str, float]:
    return {it.name: it.needed for it in result.asks()}


def test_small_rooms_need_nothing_more() -> None:
    """A hundred rooms of six: deliveries are posts, the rest are welcomes and who comes and goes; nothing to raise."""
    result = of((100, 6, 0.2))
    joins = 600 / 3_600
    assert result.load.deliveries == pytest.approx(120)
    # A join's welcome, and five others who are told of it, and again of the end.
    assert result.usage.posts == pytest.approx(120 + joins * (1 + 5 + 5), rel=0.01)
    assert result.load.inbound == pytest.approx(20 + 600 / 240 + 2 * joins)
    assert result.usage.inbound == pytest.approx(20 + 600 / 240)
    assert result.usage.minutes == pytest.approx(10)
    assert not result.asks()
    assert result.ramp_seconds == pytest.approx(600 / 500)


def test_a_large_room_asks_for_workers_and_quota() -> None:
    """A room of 10,000 at one message a second: 10,000 posts a second unpacked, and so many more than the bulk lane
    makes. With what it asks for, the lane keeps up and the deployment's own check of the quota passes."""
    result = of((1, 10_000, 1.0))
    assert [it.name for it in result.lanes if it.full] == ["bulk"]
    needed = asked(result)
    assert list(needed) == ["API Gateway: throttle rate, requests/s", "setting lane.bulk.max_concurrency"]
    workers, quota = int(needed["setting lane.bulk.max_concurrency"]), needed["API Gateway: throttle rate, requests/s"]
    assert workers == 9
    assert quota == 1_500 + 100 + 2_400 + 9 * 1_500 + 2 * 500 + 2 * 1_000
    lanes = {**LANES, "bulk": replace(LANES["bulk"], max_concurrency=workers)}
    raised = of((1, 10_000, 1.0), lanes=lanes, quota=quota)
    assert not raised.asks()
    assert raised.traffic[0].entries < 1.3
    assert raised.usage.posts > 2 * result.usage.posts
    check_stage(replace(STAGES["dev"], lanes=lanes, quota=round(quota)))


def test_a_packed_lane_costs_less() -> None:
    """The same deliveries in fewer frames: that is the bill's largest part."""
    full = of((1, 10_000, 1.0))
    free = of((1, 10_000, 1.0), lanes={**LANES, "bulk": replace(LANES["bulk"], max_concurrency=20)}, quota=40_000)
    assert full.usage.cost().api_gateway < free.usage.cost().api_gateway / 2


def test_clients_that_send_much() -> None:
    """More than the stage lets in: its own setting is to be raised, and the quota with it."""
    needed = asked(of((1_000, 3, 2.0)))
    assert needed["setting inbound_rate"] == pytest.approx(2_000 + 3_000 / 240 + 2 * 3_000 / 3_600)
    assert needed["API Gateway: throttle rate, requests/s"] > 10_000


def test_comings_and_goings_of_large_rooms_do_not_grow() -> None:
    """A shard is told the count as much more rarely as there are shards: at most members ÷ shards posts a second."""
    result = of((1, 50_000, 0.01))
    ephemeral = result.lanes[2]
    assert ephemeral.name == "ephemeral"
    assert ephemeral.posts <= 50_000 / 64 + 50_000 / 3_600
    assert not ephemeral.full
    crowded = of((100, 500, 0.01), session_minutes=2).lanes[2]
    assert crowded.full
    assert crowded.posts > crowded.limit == 2_000


@pytest.mark.parametrize(
    ("key", "what", "expected"),
    [
        ("room's head", "sends/s", 20),
        # Each send reads meta and user row, and writes meta and checks the user, at twice the price.
        ("room", "write units/s while all connect", 4 * 20 + 2 * 400),
        ("room's log", "write units/s", 2 * 20),
        ("shard's message group", "calls/s of a kind", 20),
    ],
)
def test_hot_keys(key: str, what: str, expected: float) -> None:
    """The hottest room of all counts: here the one of 400 at 20 a second."""
    result = of((1_000, 4, 0.1), (1, 400, 20.0), (10, 5, 0.1))
    assert next(it.asked for it in result.keys if (it.key, it.what) == (key, what)) == pytest.approx(expected)


def test_members_are_read_until_they_are_known() -> None:
    """800 members are 40 units, and the shard's row one. Where somebody comes or goes every second, nearly each round
    reads them; where nobody does, each of two workers once a minute."""
    restless = of((1, 800, 0.1), session_minutes=1)
    quiet = of((1, 800, 1.0), session_minutes=120)

    def members_read(result: Forecast) -> float:
        return next(it.asked for it in result.keys if (it.key, it.what) == ("shard's members", "read units/s"))

    assert members_read(restless) == pytest.approx(0.1 * 41, rel=0.05)
    changes = 2 * 800 / 7_200
    known = (1 - math.exp(-changes * 60)) / changes
    assert members_read(quiet) == pytest.approx(1 + 40 / (1 + known / 2), rel=0.1)


def test_the_defaults_are_the_deployments() -> None:
    """What the model takes for granted is what a stage has."""
    stage = STAGES["dev"]
    settled = (stage.inbound_rate, stage.webhook_rate, stage.interactive_reserve)
    assert settled == (INBOUND_RATE, WEBHOOK_RATE, INTERACTIVE_RESERVE)
    assert Load([]).quota == stage.quota
    rules = RoomShape(1).rules
    assert (rules.shard_limit, rules.roster_limit) == (stage.shard_limit, stage.roster_limit)
