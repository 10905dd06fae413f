"""The golden traces are the session's own: it does what is written, and what is written is what the generator makes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from domain.events import EVENTS as KINDS
from domain.requests import REQUESTS
from tests.golden.files import EVENTS, SESSIONS, events_text, read, sessions_text
from tests.golden.player import Draws, Player

TRACES: list[dict[str, Any]] = json.loads(SESSIONS.read_text())
SIZE = 1_500_000
"""Bytes of all files together."""


@pytest.mark.parametrize("trace", TRACES, ids=lambda it: it["name"])
def test_the_session_does_what_is_written(trace: dict[str, Any]) -> None:
    """A changed session asks for new traces: `python -m tests.golden`."""
    draws = Draws(trace["draws"])
    player = Player(trace["room"], draws)
    for number, (at, given, output) in enumerate(trace["steps"]):
        assert player.play(at, given) == output, (number, given)
    assert draws.drawn == trace["draws"]


def test_frames_are_read_as_is_written() -> None:
    """Every event, whole and mutilated."""
    for frame, event in json.loads(EVENTS.read_text()):
        assert read(frame) == event, frame


def test_the_files_are_those_of_the_generator() -> None:
    """Nobody writes a golden trace by hand."""
    assert SESSIONS.read_text() == sessions_text()
    assert EVENTS.read_text() == events_text()
    assert SESSIONS.stat().st_size + EVENTS.stat().st_size < SIZE


def test_the_traces_hold_every_request_and_every_event() -> None:
    """What no trace shows, no other client need do."""
    sent, shown = set(), set()
    for trace in TRACES:
        for _, _, output in trace["steps"]:
            sent |= {it["type"] for it in output.get("frames", ())}
            shown |= {it["type"] if isinstance(it, dict) else it[0] for it in output.get("events", ())}
    assert sent == set(REQUESTS)
    assert shown == {*KINDS, "missed", "opaque"} - {"batch", "head"}
