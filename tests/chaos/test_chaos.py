"""The service as processes, under load, with kills: nothing acknowledged is lost."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.chaos.load import Size
from tests.chaos.run import run
from tests.chaos.strikes import EMULATOR, TWIN, WEIGHTS, deal

KILLS, SEED = 25, 26
SIZE = Size(hall=40, rooms=3, members=6, rate=12)
"""The large room has two shards or more."""


@pytest.mark.large
@pytest.mark.timeout(900)
async def test_kills_lose_nothing(tmp_path: Path) -> None:
    """kill -9 of a worker of each lane, of each function, and of gateway and event sources; the audit finds nothing."""
    report = await run(tmp_path, KILLS, SEED, SIZE)
    assert report.findings == []
    assert report.struck.total() - report.struck[EMULATOR] == KILLS
    assert report.struck[TWIN] > 0
    assert report.deaths.total() > 0, "nobody died within an event: the kills show nothing"
    assert any(len(it.shards) > 1 for it in report.evidence.rooms.values())
    assert any(len(it.pushed) > len(set(it.pushed)) or it.filled for it in report.evidence.logs)


def test_every_target_is_dealt() -> None:
    """The same seed deals the same blows; none of the targets is left out, and as many are dealt as were asked for."""
    blows = deal(KILLS, Random(SEED))
    assert blows == deal(KILLS, Random(SEED)) != deal(KILLS, Random(SEED + 1))
    assert {it.target for it in blows} == set(WEIGHTS)
    assert [len(deal(it, Random(0))) for it in (1, 5, 200)] == [1, 5, 200]
