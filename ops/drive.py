"""Looking at dead letters, and giving them back to their lanes, one after the other and slowly.

Runs may be stopped at any letter, and started again: what was not moved is still there.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from domain.lanes import Lane
from ops.dead_letters import HIDDEN_SECONDS, Cause, DeadLetter, DeadLetters, in_order, posts_of
from ops.stage import Deployment, answered

__all__ = ["Choice", "Drive", "Fate", "Look", "look", "pause_after"]

JOBS_A_SECOND = 10.0
"""At most, where the operator names no rate: a lane's workers do so many small jobs beside the new ones, which wait for
them for a fraction of a second."""
LOOK_AT = 1_000
"""Letters of a lane that are looked at in advance, at most."""
STOP_SECONDS = 0.1
"""How soon a pause ends when the run is stopped."""


class Fate(Enum):
    """What becomes of a dead letter."""

    REDRIVE = "redrive"
    DROP = "drop"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which letters are meant."""

    lanes: Sequence[str]
    room: str | None = None
    drop_poison: bool = False

    def fate(self, letter: DeadLetter) -> Fate:
        """A letter for a newer release is kept for the command of that release."""
        if letter.job is not None:
            return Fate.REDRIVE if self.room in {None, letter.job.room} else Fate.KEEP
        return Fate.DROP if letter.cause is Cause.POISON and self.drop_poison else Fate.KEEP


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen in advance."""

    letters: list[DeadLetter]
    dead: dict[str, int]
    """Lane → letters in all, about."""


def look(deployment: Deployment, choice: Choice) -> Look:
    """Read the dead letters and leave them where they are. Raises `StageError`."""
    letters: list[DeadLetter] = []
    dead: dict[str, int] = {}
    with answered(str(deployment)):
        sqs = deployment.client("sqs")
        for name in choice.lanes:
            queue = DeadLetters(deployment, deployment.lanes[name], sqs)
            dead[name] = queue.count()
            seen: dict[str, DeadLetter] = {}
            try:
                while len(seen) < LOOK_AT and (found := queue.receive()):
                    seen |= {it.id: it for it in found}
            finally:
                queue.show(list(seen.values()))
            letters += seen.values()
    return Look(letters, dead)


def pause_after(letter: DeadLetter, lane: Lane, shard_limit: int, now: int) -> float:
    """Seconds from one letter to the next, where the operator names no rate; `now` in ms since 1970.

    The workers hold the budget of posts whatever is redriven. So that new jobs get their share of it, old ones come no
    faster than the whole budget allows if each costs all the posts that it can.
    """
    budget = lane.post_rate * lane.max_concurrency
    posts = posts_of(letter.job, shard_limit, now) if letter.job is not None else 0
    return max(1 / JOBS_A_SECOND, posts / budget if budget else 0.0)


@dataclass(slots=True, kw_only=True)
class Drive:
    """One run of a redrive, and what it has done."""

    deployment: Deployment
    choice: Choice
    rate: float | None = None
    """Letters a second, instead of `pause_after`."""
    stopped: Callable[[], bool] = lambda: False
    """Whether to end before the next letter."""
    tell: Callable[[], None] = lambda: None
    """Called after each letter."""
    clock: Callable[[], float] = time.time
    """Seconds since 1970."""
    sleep: Callable[[float], None] = time.sleep
    """Lets so many seconds pass, on the same clock; a command has nothing else to do meanwhile."""
    redriven: Counter[str] = field(default_factory=Counter)
    """By lane."""
    dropped: int = 0
    died_again: set[str] = field(default_factory=set)
    """Jobs that this run gave back and found dead again."""
    interrupted: bool = False
    _sent: set[str] = field(default_factory=set)
    """A message keeps its id when SQS moves it."""
    _next_at: float = 0.0

    def run(self) -> None:
        """Move what is meant. Raises `StageError`."""
        with answered(str(self.deployment)):
            sqs = self.deployment.client("sqs")
            for name in self.choice.lanes:
                queue = DeadLetters(self.deployment, self.deployment.lanes[name], sqs)
                # Again as long as there may be others behind those that stay, which were hidden with them.
                while self._round(queue):
                    pass

    # ---- private

    def _round(self, queue: DeadLetters) -> bool:
        """Go once through the queue; whether another round may find more."""
        held: dict[str, DeadLetter] = {}
        kept: set[str] = set()
        moved = 0
        try:
            while self._going():
                found = queue.receive()
                held |= {it.id: it for it in found}
                if all(it.id in kept for it in found):
                    return moved > 0 and bool(kept)
                received_at = self.clock()
                for letter in in_order(found):
                    fate = self._fate(letter)
                    if fate is Fate.KEEP:
                        kept.add(letter.id)
                        continue
                    if not self._turn():
                        return False
                    if self.clock() > received_at + HIDDEN_SECONDS / 2:
                        queue.show([held.pop(it.id) for it in found if it.id in held and it.id not in kept])
                        break
                    self._move(queue, letter, fate)
                    del held[letter.id]
                    moved += 1
            return False
        finally:
            queue.show(list(held.values()))

    def _fate(self, letter: DeadLetter) -> Fate:
        if letter.id in self._sent:
            self.died_again.add(letter.id)
            return Fate.KEEP
        return self.choice.fate(letter)

    def _move(self, queue: DeadLetters, letter: DeadLetter, fate: Fate) -> None:
        now = self.clock()
        if fate is Fate.DROP:
            queue.delete(letter)
            self.dropped += 1
        else:
            self._sent.add(queue.redrive(letter))
            self.redriven[letter.lane] += 1
            limit = self.deployment.shard_limit
            pause = 1 / self.rate if self.rate else pause_after(letter, queue.lane, limit, round(1000 * now))
            self._next_at = max(self._next_at, now) + pause
        self.tell()

    def _going(self) -> bool:
        self.interrupted = self.interrupted or self.stopped()
        return not self.interrupted

    def _turn(self) -> bool:
        """Wait until it is the next letter's turn; whether it ever is."""
        while self._going():
            left = self._next_at - self.clock()
            if left <= 0:
                return True
            self.sleep(min(left, STOP_SECONDS))
        return False
