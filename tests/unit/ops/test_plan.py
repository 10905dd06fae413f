"""`roomcast plan`: its options, and what it prints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from domain.errors import BadSetting
from ops.plan import plan, read_load

OPTIONS: Mapping[str, Any] = {
    "rooms": 2,
    "members": 50,
    "rate": 0.5,
    "room": [],
    "message_bytes": 200,
    "quota": 10_000.0,
    "connects": 500.0,
    "session": 60.0,
    "lane": [],
}


def test_groups_of_rooms() -> None:
    """One group by three options, or as many as are written in one word."""
    [one] = read_load(**OPTIONS).groups
    assert (one.rooms, one.shape.members, one.rate) == (2, 50, 0.5)
    several = read_load(**{**OPTIONS, "room": ["1000x6@0.2", "1x10000@1"]}).groups
    assert [(it.rooms, it.shape.members, it.rate) for it in several] == [(1_000, 6, 0.2), (1, 10_000, 1.0)]
    assert read_load(**{**OPTIONS, "lane": ["bulk.max_concurrency=9"]}).lanes["bulk"].max_concurrency == 9


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("room", ["6@0.2"], "ROOMSxMEMBERS@"),
        ("room", ["1x6@-1"], "ROOMSxMEMBERS@"),
        ("room", ["0x6@1"], "rooms 0"),
        ("room", ["1x0@1"], "members 0"),
        ("rate", 0.0, "messages a second in a room 0"),
        ("rate", float("nan"), "messages a second in a room nan"),
        ("message_bytes", 200_000, "--bytes 200000"),
        ("quota", 0.0, "--quota 0"),
        ("connects", -1.0, "--connects -1"),
        ("session", 121.0, "--session 121"),
        ("lane", ["bulk.colour=1"], "a lane has no 'colour'"),
    ],
)
def test_nonsense_is_refused(option: str, value: object, words: str) -> None:
    """One sentence that names the option."""
    with pytest.raises(BadSetting, match=words):
        read_load(**{**OPTIONS, option: value})


def test_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    """One object: rates, groups, lanes, keys, what to raise, and costs that add up."""
    plan(read_load(**{**OPTIONS, "room": ["1000x6@0.2", "1x10000@1"]}), hours=730, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["rates"]["messages"] == pytest.approx(201)
    assert [(it["shards"], it["lane"]) for it in told["groups"]] == [(1, "interactive"), (16, "bulk")]
    assert [it["name"] for it in told["lanes"] if it["full"]] == ["bulk"]
    assert {it["name"] for it in told["asks"]} >= {"setting lane.bulk.max_concurrency"}
    cost = told["cost_usd"]
    parts = sum(cost[it] for it in ("api_gateway", "lambda", "sqs", "dynamodb"))
    assert cost["total"] == pytest.approx(parts, rel=0.001)
    deliveries = told["rates"]["deliveries"] * 730 * 3_600
    assert cost["per_million_deliveries"] == pytest.approx(cost["total"] / deliveries * 1e6, rel=0.01)


def test_for_people(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables, the settings to raise by the names that a deployment takes, and what is a bound."""
    monkeypatch.setenv("COLUMNS", "200")
    plan(read_load(**{**OPTIONS, "room": ["1x100000@1"], "lane": ["bulk.batch_size=1"]}), hours=730, as_json=False)
    told = capsys.readouterr().out
    for words in ("setting lane.bulk.max_concurrency", "never", "ever more waits", "is a bound", "together"):
        assert words in told
    assert "comes back to a shard" not in told
    with pytest.raises(BadSetting, match="--hours 0"):
        plan(read_load(**OPTIONS), hours=0, as_json=False)
