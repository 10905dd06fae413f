"""Whom a line at the terminal mentions."""

import pytest

from ops.chat import _mentioned


@pytest.mark.parametrize(
    ("text", "users"),
    [
        ("hello", []),
        ("@bob are you there?", ["bob"]),
        ("well, @bob, and @carol.", ["bob", "carol"]),
        ("@bob @bob", ["bob"]),
        ("mail me at ada@example.org", []),
        ("an @ alone, @- and @.", []),
        ("@" + "x" * 65, []),
        (" ".join(f"@u{it}" for it in range(25)), [f"u{it}" for it in range(20)]),
    ],
)
def test_mentions(text: str, users: list[str]) -> None:
    """Ids behind an `@` that begins a word, each once, no more than a message may have."""
    assert _mentioned(text) == users
