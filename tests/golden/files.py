"""The files of golden traces: what stands in client/traces/, and how it is made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from client.events import read_event
from tests.golden.player import shown
from tests.golden.samples import samples
from tests.golden.scenarios import trace
from tests.golden.scripts import SCRIPTS, scripted

__all__ = ["EVENTS", "SESSIONS", "TRACES", "events_text", "sessions_text"]

FOLDER = Path(__file__).parents[2] / "client/traces"
SESSIONS = FOLDER / "sessions.json"
EVENTS = FOLDER / "events.json"
TRACES = 194
"""How many conversations by chance."""


def sessions_text() -> str:
    """`sessions.json`: one trace a line."""
    return _text([*map(scripted, SCRIPTS), *map(trace, range(TRACES))])


def events_text() -> str:
    """`events.json`: for each frame [the frame, the event as the user has it, or null where it is none]."""
    return _text([[frame, read(frame)] for frame in samples()])


def read(frame: Any) -> Any:
    """What a frame is read as."""
    try:
        return shown(read_event(json.dumps(frame)))
    except ValueError:
        return None


def _text(rows: Sequence[Any]) -> str:
    return "[\n" + ",\n".join(json.dumps(it, ensure_ascii=False, separators=(",", ":")) for it in rows) + "\n]\n"
