"""Was every message kept, at every client? Pure: what was sent and what was received in, findings out.

A client is owed what was acknowledged in a room above the head at which its membership began, while it lasts. It may
receive more (who joins is pushed what is stored meanwhile), but nothing from a room it is not in, nothing that was
acknowledged before it asked to come, nothing that was sent after it left, and nothing that nobody said.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from loadtest.plan import Message

__all__ = ["Audit", "ClientLog", "Finding", "Membership", "Receipt", "audit"]

Kind = Literal["lost", "out_of_order", "to_non_member", "wrong_body"]


class Receipt(NamedTuple):
    """An entry as a client got it. Equal ones are one object for all clients, so that millions fit into memory."""

    room: str
    epoch: int
    seq: int
    text: str


@dataclass(slots=True)
class Membership:
    """A client was in a room: from `since`, at `head`, `until` (None: to the end). Times as in `Message`."""

    room: str
    epoch: int
    head: int
    since: float
    until: float | None = None


@dataclass(slots=True)
class ClientLog:
    """What a client saw."""

    name: str
    memberships: list[Membership] = field(default_factory=list)
    unwelcomed: list[Membership] = field(default_factory=list)
    """Those of connections that ended before they were told of it: nothing is owed to them, and they may be pushed."""
    pushed: list[Receipt] = field(default_factory=list)
    """As they came off the wire, repeats and all."""
    filled: list[Receipt] = field(default_factory=list)
    """What it asked for: history, and what came with a join."""
    released: list[Receipt] = field(default_factory=list)
    """What its user was given, in this order."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that must not be."""

    kind: Kind
    client: str
    room: str
    epoch: int
    seq: int
    text: str
    client_id: str = "unknown"

    def __str__(self) -> str:
        return (
            f"{_WORDS[self.kind]}: client {self.client}, room {self.room}, epoch {self.epoch}, seq {self.seq},"
            f" clientId {self.client_id}, “{self.text}”"
        )


@dataclass(slots=True)
class Audit:
    """Counts over all clients, and the findings."""

    expected: int = 0
    received: int = 0
    """Of those expected."""
    duplicates: int = 0
    """Pushes of what had been pushed before: allowed, a client drops them."""
    pushed: int = 0
    filled: int = 0
    findings: list[Finding] = field(default_factory=list)
    more: dict[Kind, int] = field(default_factory=dict)
    """Findings beyond those, by kind."""

    @property
    def violated(self) -> bool:
        return bool(self.findings)

    def count(self, kind: Kind) -> int:
        return sum(it.kind == kind for it in self.findings) + self.more.get(kind, 0)

    def shortened(self, limit: int) -> Audit:
        """The same with so many findings at most; those beyond are counted."""
        more = Counter(self.more) + Counter(it.kind for it in self.findings[limit:])
        return replace(self, findings=self.findings[:limit], more=dict(more))

    def __add__(self, other: Audit) -> Audit:
        """Of other clients of the same run. What is wrong with the messages themselves, each has found."""
        return Audit(
            expected=self.expected + other.expected,
            received=self.received + other.received,
            duplicates=self.duplicates + other.duplicates,
            pushed=self.pushed + other.pushed,
            filled=self.filled + other.filled,
            findings=list(dict.fromkeys([*self.findings, *other.findings])),
            more=dict(Counter(self.more) + Counter(other.more)),
        )


def audit(messages: Iterable[Message], clients: Iterable[ClientLog]) -> Audit:
    """Every message at every client."""
    books = _Books(messages)
    result = Audit(findings=list(books.double()))
    for log in clients:
        result.pushed += len(log.pushed)
        result.filled += len(log.filled)
        result.duplicates += len(log.pushed) - len(set(log.pushed))
        result.findings += _out_of_order(log, books)
        result.findings += _foreign(log, books)
        owed, lost = _lost(log, books)
        result.expected += owed
        result.received += owed - len(lost)
        result.findings += lost
    return result


class _Books:
    """What was said, by where it is stored."""

    def __init__(self, messages: Iterable[Message]) -> None:
        self.stored: dict[tuple[str, int, int], list[Message]] = defaultdict(list)
        self.seqs: dict[tuple[str, int], list[int]] = defaultdict(list)
        self.unanswered: set[tuple[str, str]] = set()
        for it in messages:
            if it.acknowledged_at is None:
                self.unanswered.add((it.room, it.text))
            else:
                place = (it.room, it.epoch, it.seq)
                if place not in self.stored:
                    self.seqs[it.room, it.epoch].append(it.seq)
                self.stored[place].append(it)
        self._right: dict[Receipt, bool] = {}

    def at(self, receipt: Receipt) -> Message | None:
        found = self.stored.get(receipt[:3])
        return found[0] if found else None

    def right(self, receipt: Receipt) -> bool:
        """Whether somebody said this, and there. Nobody knows where an unanswered message is stored, if it is."""
        known = self._right.get(receipt)
        if known is None:
            found = self.stored.get(receipt[:3])
            said = (receipt.room, receipt.text)
            known = any(it.text == receipt.text for it in found) if found else said in self.unanswered
            self._right[receipt] = known
        return known

    def finding(self, kind: Kind, client: str, receipt: Receipt) -> Finding:
        message = self.at(receipt)
        return Finding(kind, client, *receipt, message.client_id if message is not None else "unknown")

    def double(self) -> Iterator[Finding]:
        """Two messages can't have one seq."""
        for (room, epoch, seq), messages in self.stored.items():
            for it in messages[1:]:
                yield Finding("wrong_body", f"number {it.sender} (the sender)", room, epoch, seq, it.text, it.client_id)


def _out_of_order(log: ClientLog, books: _Books) -> Iterator[Finding]:
    last: dict[tuple[str, int], int] = {}
    for it in log.released:
        room = (it.room, it.epoch)
        if it.seq <= last.get(room, 0):
            yield books.finding("out_of_order", log.name, it)
        else:
            last[room] = it.seq


def _foreign(log: ClientLog, books: _Books) -> Iterator[Finding]:
    """What is no message of the room, or none that this client may have."""
    pushed = set(log.pushed)
    for it in pushed.union(log.filled, log.released):
        if not books.right(it):
            yield books.finding("wrong_body", log.name, it)
        memberships = [member for member in (*log.memberships, *log.unwelcomed) if member.room == it.room]
        message = books.at(it)
        if not any(_may_have(member, message, it in pushed) for member in memberships):
            yield books.finding("to_non_member", log.name, it)


def _may_have(member: Membership, message: Message | None, pushed: bool) -> bool:
    if message is None or message.acknowledged_at is None or not pushed:
        return True
    left_before = member.until is not None and message.sent_at is not None and message.sent_at > member.until
    came_after = message.acknowledged_at < member.since
    return not left_before and not came_after


def _lost(log: ClientLog, books: _Books) -> tuple[int, Sequence[Finding]]:
    """(how many it was owed, those it was not given). A membership that ended is owed nothing: what was under way to
    it may have gone with its socket."""
    given: dict[tuple[str, int], set[int]] = defaultdict(set)
    for it in log.released:
        given[it.room, it.epoch].add(it.seq)
    owed = 0
    lost: list[Finding] = []
    for member in log.memberships:
        if member.until is not None:
            continue
        room = (member.room, member.epoch)
        seqs = [seq for seq in books.seqs.get(room, ()) if seq > member.head]
        owed += len(seqs)
        for seq in sorted(set(seqs) - given[room]):
            message = books.stored[*room, seq][0]
            lost.append(Finding("lost", log.name, *room, seq, message.text, message.client_id))
    return owed, lost


_WORDS: dict[Kind, str] = {
    "lost": "lost",
    "out_of_order": "out of order",
    "to_non_member": "received by a non-member",
    "wrong_body": "not what was said",
}
