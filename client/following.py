"""One room's log as a client follows it: each entry once, in order, however often and in whatever order it comes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from client.events import LogEvent, Missed

__all__ = ["HELD_LIMIT", "UNPLACED", "Following"]

UNPLACED = -1
"""The cursor before it is known where in the log this client begins."""
HELD_LIMIT = 1_000
"""Entries kept at most while earlier ones are missing; those beyond come again by history."""


class Following:
    """Where a client is in a room. Epochs rise: a later one is another room of the same name, and begins anew."""

    __slots__ = ("asked", "cursor", "epoch", "had", "held", "held_limit", "known", "refused_at", "room")

    def __init__(self, room: str, held_limit: float = HELD_LIMIT, had: tuple[int, int] = (UNPLACED, UNPLACED)) -> None:
        """`had`: the (epoch, seq) up to which the user was given everything before, which may be pushed once more."""
        self.room = room
        self.had = had
        self.held_limit = held_limit
        self.epoch = UNPLACED
        self.cursor = UNPLACED
        """The last seq that was released."""
        self.known = 0
        """The highest seq that is known to be stored."""
        self.held: dict[int, LogEvent | None] = {}
        """Entries that wait for earlier ones; None for one that is had, and whose turn will pass in silence."""
        self.asked: int | None = None
        """What was known when history was asked for; None while no answer is owed."""
        self.refused_at: float | None = None
        """When history was refused first, since the room is deleted and its last life is another than this one."""

    @property
    def behind(self) -> bool:
        """Whether entries are known that were not released."""
        return self.placed and self.cursor < self.known

    @property
    def placed(self) -> bool:
        return self.cursor != UNPLACED

    def arrive(self, event: LogEvent) -> Sequence[LogEvent]:
        """An entry came; returns those that are now next in order."""
        if event.epoch == self.epoch and event.seq == self.cursor + 1 and not self.held:
            self.cursor = event.seq
            self.known = max(self.known, event.seq)
            return (event,)
        self.hold(event)
        return self._release()

    def hold(self, event: LogEvent, *, asked_for: bool = False) -> None:
        """Keep an entry until its turn, unless it is old, or too many wait that can be asked for again."""
        if event.epoch > self.epoch:
            self._begin(event.epoch)
        if event.epoch < self.epoch or event.seq <= self.cursor or (event.epoch, event.seq) <= self.had:
            return
        self.known = max(self.known, event.seq)
        if asked_for or len(self.held) < self.held_limit:
            self.held.setdefault(event.seq, event)

    def pass_over(self, epoch: int, seq: int) -> Sequence[LogEvent]:
        """The entry at `seq` is had already: its turn passes without it. Returns those that are now next in order."""
        if epoch > self.epoch:
            self._begin(epoch)
        if epoch < self.epoch or seq <= self.cursor or (epoch, seq) <= self.had:
            return ()
        self.known = max(self.known, seq)
        self.held[seq] = None
        return self._release()

    def place(self, epoch: int, head: int) -> Sequence[LogEvent]:
        """The room stands at `head`. The first time this is where the client begins, or at the first entry it holds:
        that one was pushed to it, so it was a member already; but behind nothing that its user was given before."""
        if epoch < self.epoch:
            return ()
        if epoch > self.epoch:
            self._begin(epoch)
        if not self.placed:
            begins = min([head, *(seq - 1 for seq in self.held)])
            self.cursor = max(begins, self.had[1]) if self.had[0] == epoch else begins
        self.known = max(self.known, head)
        return self._release()

    def fill(self, entries: Iterable[LogEvent], covered: int) -> list[LogEvent | Missed]:
        """History gave `entries`, and has nothing else up to `covered`: what is still missing there is gone."""
        for event in entries:
            self.hold(event, asked_for=True)
        released: list[LogEvent | Missed] = [*self._release()]
        while self.placed and self.cursor < covered:
            last = min(covered, *(seq - 1 for seq in self.held)) if self.held else covered
            released.append(Missed(room_id=self.room, epoch=self.epoch, first=self.cursor + 1, last=last))
            self.cursor = last
            released += self._release()
        return released

    def surrender(self) -> list[LogEvent | Missed]:
        """Release all that is held, in order: nothing will come between any more."""
        if not self.held:
            return []
        if not self.placed:
            self.cursor = min(self.held) - 1
        return self.fill((), max(self.held))

    def _begin(self, epoch: int) -> None:
        self.epoch, self.cursor, self.known, self.asked, self.refused_at = epoch, UNPLACED, 0, None, None
        self.held.clear()

    def _release(self) -> list[LogEvent]:
        released: list[LogEvent] = []
        while self.placed and self.cursor + 1 in self.held:
            self.cursor += 1
            event = self.held.pop(self.cursor)
            if event is not None:
                released.append(event)
        return released
