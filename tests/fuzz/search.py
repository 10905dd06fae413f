"""The search for inputs that a target's contract does not allow: seeded, and led by the lines that inputs reach.

An input is drawn anew or made from known ones. One that reaches a line of the product, or an outcome, that none before
it came to is known from then on.
"""

from __future__ import annotations

import hashlib
import random
import re
import signal
import time
import traceback
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.coverage import ROOT, Lines
from tests.fuzz.mutations import mutate
from tests.fuzz.target import Target

__all__ = ["CORPUS", "Crash", "Found", "TooSlow", "corpus_of", "name_of", "search"]

CORPUS = Path(__file__).parent / "corpus"
DRAWN = 0.25
"""Share of inputs that are drawn anew."""
TRACED_FIRST = 500
TRACED_EVERY = 8
"""To watch lines makes an input cost four times as much: the first are watched, and then some."""
SLOW_SECONDS = 10.0
"""Longer than any input may take."""
CRASHES = 20
"""Different ones, after which a search ends."""


class TooSlow(BaseException):
    """An input took too long. No `except Exception` of the product may stop it."""


@dataclass(frozen=True)
class Crash:
    """An input and what it raised."""

    target: str
    given: bytes
    trace: str
    again: bool
    """Whether it does so alone, too, in a target that has seen no other."""


@dataclass
class Found:
    """What a search came to."""

    executions: int = 0
    seconds: float = 0
    lines: int = 0
    outcomes: set[Hashable] = field(default_factory=set)
    kept: list[bytes] = field(default_factory=list)
    """Inputs that came to what none before them did, the corpus left out."""
    pioneers: list[bytes] = field(default_factory=list)
    """Those of them that reached new lines."""
    crashes: list[Crash] = field(default_factory=list)


def corpus_of(target: type[Target]) -> list[bytes]:
    """The inputs that are kept in the repository."""
    return [it.read_bytes() for it in sorted((CORPUS / target.name).iterdir())]


def name_of(given: bytes) -> str:
    """The name of an input's file."""
    return hashlib.sha256(given).hexdigest()[:12]


def search(
    kind: type[Target],
    corpus: Sequence[bytes],
    seed: int,
    *,
    executions: int | None = None,
    seconds: float | None = None,
    follow: bool = True,
    limit: float = 0,
    crashed: Callable[[Crash], None] = lambda _: None,
) -> Found:
    """Give the corpus, then inputs made of it, until `executions` of those or `seconds` are done.

    `follow`: keep what reaches new lines. Without it the inputs depend on the seed alone. `limit`: seconds for each
    input, by the process's alarm; 0: none.
    """
    found = Found()
    places: set[str] = set()
    lines = Lines(kind.folders if follow else ())
    began = time.monotonic()
    todo = _inputs(kind, corpus, found.kept, random.Random(seed))
    left = None if executions is None else len(corpus) + executions
    target: Target | None = None
    try:
        while left != found.executions and (seconds is None or time.monotonic() - began < seconds):
            given = next(todo)
            found.executions += 1
            before = lines.reached, len(found.outcomes)
            target = target or kind().__enter__()
            watched = follow and (found.executions <= TRACED_FIRST or found.executions % TRACED_EVERY == 0)
            error = _give(target, given, lines if watched else None, limit, found.outcomes)
            found.lines = lines.reached
            if error is None:
                if follow and found.executions > len(corpus):
                    if lines.reached != before[0]:
                        found.pioneers.append(given)
                    if (lines.reached, len(found.outcomes)) != before:
                        found.kept.append(given)
                continue
            _give_up(target)
            target = None
            place = _place(error)
            if place not in places:
                places.add(place)
                found.crashes.append(_crash(kind, given, error, limit))
                crashed(found.crashes[-1])
                if len(found.crashes) == CRASHES:
                    break
    finally:
        if target is not None:
            target.__exit__(None, None, None)
        found.seconds = time.monotonic() - began
    return found


# ---- private


def _inputs(kind: type[Target], corpus: Sequence[bytes], kept: list[bytes], draw: random.Random) -> Iterator[bytes]:
    yield from corpus
    maker = kind()
    while True:
        if draw.random() < DRAWN:
            given = maker.draw(draw)
            yield mutate(draw, given, given, kind.tokens) if draw.random() < 0.5 else given
        else:
            one, other = (_pick(draw, corpus, kept) for _ in range(2))
            yield mutate(draw, one, other, kind.tokens)


def _pick(draw: random.Random, corpus: Sequence[bytes], kept: Sequence[bytes]) -> bytes:
    """Any, and the newest rather than the oldest."""
    if kept and draw.random() < 0.5:
        return kept[max(draw.randrange(len(kept)) for _ in range(2))]
    number = draw.randrange(len(corpus) + len(kept))
    return corpus[number] if number < len(corpus) else kept[number - len(corpus)]


def _give(
    target: Target, given: bytes, lines: Lines | None, limit: float, outcomes: set[Hashable]
) -> BaseException | None:
    """What an input raised."""
    try:
        with _alarm(limit):
            if lines is None:
                outcome = target.take_now(given)
            else:
                with lines:
                    outcome = target.take_now(given)
    except (Exception, TooSlow) as error:
        return error
    outcomes.update(outcome if isinstance(outcome, frozenset) else [outcome])
    return None


def _crash(kind: type[Target], given: bytes, error: BaseException, limit: float) -> Crash:
    trace = "".join(traceback.format_exception(error))
    again = kind().__enter__()
    repeated = _give(again, given, None, limit, set())
    if repeated is None:
        again.__exit__(None, None, None)
    else:
        _give_up(again)
    return Crash(kind.name, given, trace, repeated is not None and _place(repeated) == _place(error))


def _give_up(target: Target) -> None:
    """End a target that an input has broken: whatever that raises is of no more interest."""
    try:
        with _alarm(SLOW_SECONDS):
            target.__exit__(None, None, None)
    except (Exception, TooSlow):
        return


def _place(error: BaseException) -> str:
    """What tells one crash from another: its kind, its words without what varies, and the line of ours it came from."""
    frames = [it for it in traceback.extract_tb(error.__traceback__) if it.filename.startswith(str(ROOT))]
    ours: Iterable[traceback.FrameSummary] = [it for it in frames if "/.venv/" not in it.filename][-1:]
    words = re.sub(r"'.*?'|\d+|0x\w+", "", str(error))[:80]
    return f"{type(error).__name__} {words} {[(it.filename, it.lineno) for it in ours]}"


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    if not seconds:
        yield
        return

    def too_slow(*_: object) -> None:
        raise TooSlow(f"more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, too_slow)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
