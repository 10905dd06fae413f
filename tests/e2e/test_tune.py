"""`roomcast tune` with all that it starts: a twin and a load test for each measurement."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from ops.trial import Load
from ops.tune import Options, tune


@pytest.mark.slow
def test_a_search_of_one_setting(tmp_path: Path) -> None:
    """The settings as they are, measured once by a load test on a twin that has them."""
    file = tmp_path / "found.json"
    load = Load(clients=4, rooms=1, rate=5, seconds=1)
    assert tune(Options(objective="cost", load=load, trials=1, repeats=1, json_file=str(file))) == 0
    found = json.loads(file.read_text())
    [trial] = found["trials"]
    assert trial["settings"] == {"batch_size": 10, "post_concurrency": 64, "max_concurrency": 2}
    [run] = trial["runs"]
    assert run["fault"] is None
    assert 0 < run["p99_ms"] < math.inf
    assert 0 < run["per_million_deliveries_usd"] < math.inf
    assert found["best"]["settings"] == trial["settings"]
