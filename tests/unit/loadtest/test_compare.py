"""Two results side by side, and the files they come from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from domain.errors import BadSetting
from loadtest.compare import Comparison, Figure, compare, readable, settings_of
from loadtest.result import read_result, typed
from tests.unit.loadtest.results import bare, result


def test_figures() -> None:
    """Each with both values, the difference and the ratio; what neither has is left out, what one has is not."""
    rows = {it.figure.path: it for it in compare(typed(result()), typed(bare()))}
    latency, cost = rows["latency_ms.p99"], rows["cost_usd.per_million_deliveries"]
    assert (latency.difference, latency.ratio) == (0, 1)
    assert (cost.a, cost.b, cost.difference, cost.ratio) == (1.62, None, None, None)
    faster = {it.figure.path: it for it in compare(typed(result(held_rate=50)), typed(result(held_rate=100)))}
    assert (faster["held_rate"].ratio, faster["held_rate"].verdict) == (2, "better")
    assert "posts.sent" not in {it.figure.path for it in compare(typed(bare()), typed(bare()))}


@pytest.mark.parametrize(
    ("better", "a", "b", "verdict"),
    [
        ("less", 100, 89, "better"),
        ("less", 100, 111, "worse"),
        ("more", 100, 111, "better"),
        ("more", 100, 89, "worse"),
        ("less", 100, 110, ""),
        ("less", 0, 1, "worse"),
        ("less", 0, 0, ""),
        ("", 1, 9, ""),
        ("less", None, 9, ""),
    ],
)
def test_better_or_worse(better: str, a: float | None, b: float | None, verdict: str) -> None:
    """By more than a tenth of A, in the figure's direction."""
    figure = Figure("x", "x", better)  # type: ignore[arg-type]
    assert Comparison(figure, a, b).verdict == verdict


def test_settings() -> None:
    """Dotted names and texts; measured things and a twin's port are no settings."""
    settings = settings_of(typed(result()))
    assert settings["target.lanes.interactive.batch_size"] == "10"
    assert settings["phases.hold"] == "38/s from 15 s to 60 s"
    assert (settings["clients"], settings["target.twin"]) == ("600", "yes")
    assert not {"target.url", "machine.load", "seconds"} & set(settings)
    deployed = result(target={"url": "wss://a", "twin": False, "settings": None})
    assert settings_of(typed(deployed))["target.url"] == "wss://a"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (1234567.8, "1,234,568"), (99.95, "100.0"), (12.34, "12.3"), (1.234, "1.23"), (0.01234, "0.0123"),
     (7, "7"), (0, "0"), (-2.5, "−2.50")],
)  # fmt: skip
def test_readable(value: float | None, text: str) -> None:
    """Three digits, or all of an integer's."""
    assert readable(value) == text


def test_files_of_other_releases(tmp_path: Path) -> None:
    """Keys that are unknown are passed over, and those that are new may be absent."""
    path = tmp_path / "x.json"
    path.write_text(json.dumps({**bare(), "later": {"x": 1}}))
    assert read_result(path) == typed(bare())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "it can't be read: No such file or directory"),
        (b"", "it is no result of `roomcast loadtest --json`: Input data was truncated"),
        (b"\xff\xfe", "it is no result"),
        (b"[]", "Expected `object`, got `array`"),
        (b"{}", "missing required field `clients`"),
        (json.dumps(result(latency_ms={"p99": "fast"})).encode(), "got `str` - at `$.latency_ms.p99`"),
        (json.dumps(result(audit="perhaps")).encode(), "Invalid enum value 'perhaps' - at `$.audit`"),
    ],
)
def test_files_that_are_no_results(tmp_path: Path, text: bytes | None, words: str) -> None:
    """One sentence that names the file, and the key where that is it."""
    path = tmp_path / "x.json"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(BadSetting) as caught:
        read_result(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)
