"""Every target keeps its contract, for what was found before and for a few inputs of one seed; and a search finds."""

from __future__ import annotations

import random
from collections.abc import Hashable

import pytest

from tests.fuzz.search import corpus_of, search
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

EXECUTIONS = {
    "requests": 100,
    "handshake": 200,
    "jobs": 200,
    "management": 40,
    "upgrade": 40,
    "frames": 40,
    "deliveries": 200,
}


@pytest.mark.parametrize("name", TARGETS)
def test_the_contract(name: str) -> None:
    """The corpus, then inputs that depend on the seed alone."""
    corpus = corpus_of(TARGETS[name])
    found = search(TARGETS[name], corpus, seed=1, executions=EXECUTIONS[name], follow=False)
    assert [(it.given, it.trace) for it in found.crashes] == []
    assert found.executions == len(corpus) + EXECUTIONS[name]
    assert len(found.outcomes) > 2


class Deep(Target):
    """A defect behind five conditions, each of which alone says nothing."""

    name = "deep"
    folders = ("tests/fuzz",)
    tokens = (b"r", b"o", b"m", b"c", b"a")

    def draw(self, draw: random.Random) -> bytes:
        return bytes(draw.choices(b"roomcast", k=5))

    async def take(self, given: bytes) -> Hashable:
        if given[:1] == b"r":
            given = given[1:]
            if given[:1] == b"o":
                given = given[1:]
                if given[:1] == b"o":
                    given = given[1:]
                    if given[:1] == b"m":
                        given = given[1:]
                        if given[:1] == b"c":
                            raise ZeroDivisionError
        return None


def test_a_search_follows_the_lines_that_it_reaches() -> None:
    """It finds what lies deep, once, with the input that does it; inputs that it did not learn from find nothing."""
    found = search(Deep, [b"x"], seed=1, executions=4_000)
    [crash] = found.crashes
    assert crash.given.startswith(b"roomc")
    assert crash.again
    assert "ZeroDivisionError" in crash.trace
    assert search(Deep, [b"x"], seed=1, executions=4_000, follow=False).crashes == []
