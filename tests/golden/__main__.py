"""Writes client/traces/ anew, and says what of the Python client they reach.

python -m tests.golden
"""

from __future__ import annotations

from tests.golden.files import EVENTS, SESSIONS, events_text, sessions_text
from tests.golden.reach import Reach


def main() -> None:
    """Write both files."""
    with Reach("session", "outbox", "following", "reading", "events") as reach:
        SESSIONS.write_text(sessions_text())
    EVENTS.write_text(events_text())
    for path in (SESSIONS, EVENTS):
        print(f"{path.name}: {path.stat().st_size / 1024:.0f} KB")
    print(reach.told())


if __name__ == "__main__":
    main()
