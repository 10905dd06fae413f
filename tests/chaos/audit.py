"""Was anything acknowledged lost, doubled, changed, or forgotten? Pure: evidence in, findings out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from domain.rooms import inbox_of, is_inbox
from loadtest.audit import audit
from loadtest.plan import Message
from tests.chaos.evidence import Evidence, given

__all__ = ["RULES", "Finding", "findings"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that must not be."""

    rule: str
    """One of `RULES`, where it is the audit's."""
    words: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.words}"


def findings(evidence: Evidence) -> list[Finding]:
    """By rule, in the order of `RULES`."""
    return [Finding(rule, words) for rule, found in RULES.items() for words in found(evidence)]


# ------------------------------------------------------------------------------------------------ what is stored


def _gaps(evidence: Evidence) -> Iterator[str]:
    """The seqs of a log are 1, 2, 3 … up to its head."""
    for it in evidence.rooms.values():
        seqs = [entry.seq for entry in it.entries]
        if seqs != list(range(1, it.head + 1)):
            missing = sorted(set(range(1, it.head + 1)) - set(seqs))
            yield f"room {it.room} has head {it.head} and {len(seqs)} entries; missing are {missing}"


def _not_stored(evidence: Evidence) -> Iterator[str]:
    """What was acknowledged is where the acknowledgement said, word for word."""
    for it in _said(evidence):
        if it.acknowledged_at is not None and _text_at(evidence, it.room, it.epoch, it.seq) != it.text:
            yield f"“{it.text}” was acknowledged at seq {it.seq} of room {it.room}, where something else stands"


def _doubled(evidence: Evidence) -> Iterator[str]:
    """Every message has its own text and clientId, and was sent under it again and again: it is stored once."""
    for it in evidence.rooms.values():
        for text, count in Counter(entry.body["message"] for entry in it.entries).items():
            if count > 1:
                yield f"“{text}” is {count} times in the log of room {it.room}"


def _half(evidence: Evidence) -> Iterator[str]:
    """A private message is in both inboxes, or in none."""
    texts = {room: {entry.body["message"] for entry in it.entries} for room, it in evidence.rooms.items()}
    for word in evidence.private:
        inboxes = word.message.room, inbox_of(word.target)
        kept = {word.message.text in texts.get(it, set()) for it in inboxes}
        if len(kept) > 1:
            yield f"“{word.message.text}” is in one of {inboxes} alone"


# ------------------------------------------------------------------------------------------------ what clients have


def _not_given(evidence: Evidence) -> Iterator[str]:
    """Who is still there was given all that is stored above the head at which its membership began, each entry once,
    in order, whether it was acknowledged or not. What is in an inbox and of its owner's making is no news."""
    for log in evidence.logs:
        for member in log.memberships:
            room = evidence.rooms.get(member.room)
            if member.until is not None or room is None:
                continue
            had, owed = given(log, member), room.owed(log.name, member.head)
            if had != owed:
                missing, more = sorted(set(owed) - set(had)), sorted((Counter(had) - Counter(owed)).elements())
                why = f"missing {missing}, more than once or unasked {more}" if missing or more else "out of order"
                yield f"{log.name} in room {room.room} since {member.head}: {why}"


def _changed(evidence: Evidence) -> Iterator[str]:
    """What came to a client, by whichever way, is what is stored."""
    for receipt in {it for log in evidence.logs for it in (*log.pushed, *log.filled, *log.released)}:
        if _text_at(evidence, receipt.room, receipt.epoch, receipt.seq) != receipt.text:
            yield f"a client got “{receipt.text}” as seq {receipt.seq} of room {receipt.room}, where it is not stored"


def _audited(evidence: Evidence) -> Iterator[str]:
    """The load test's own audit."""
    logs = [
        replace(
            it,
            memberships=[member for member in it.memberships if not is_inbox(member.room)],
            released=[receipt for receipt in it.released if not is_inbox(receipt.room)],
        )
        for it in evidence.logs
    ]
    yield from map(str, audit(evidence.messages, logs).findings)


def _absent(evidence: Evidence) -> Iterator[str]:
    """Who is still there knows where its room is."""
    for log in evidence.logs:
        if not log.memberships:
            yield f"{log.name} was never told that it is in a room"


# ------------------------------------------------------------------------------------------------ who is where


def _rows(evidence: Evidence) -> Iterator[str]:
    """Everybody who is in a room has one row there, with an open socket, and nobody else has any."""
    there: set[tuple[str, str]] = set()
    for log in evidence.logs:
        rooms = {it.room for it in log.memberships if it.until is None}
        there.update((it, log.name) for it in (*rooms, inbox_of(log.name)) if rooms)
    rows: Counter[tuple[str, str]] = Counter()
    for room in evidence.rooms.values():
        for member in (it for shard in room.shards for it in shard.members):
            rows[room.room, member.user] += 1
            if member.connection not in evidence.open:
                yield f"{member.user} has a row in room {room.room} for a connection that is closed"
    for place in rows.keys() | there:
        if rows[place] != (place in there):
            is_in = "is in" if place in there else "is not in"
            yield f"{place[1]} {is_in} room {place[0]}, and has {rows[place]} rows there"


def _counts(evidence: Evidence) -> Iterator[str]:
    """After a broadcast that follows the last coming or going, a shard counts its rows, and has been sent all."""
    for room in (evidence.rooms[it] for it in evidence.quiet):
        for number, it in enumerate(room.shards):
            if it.shard is None:
                yield f"shard {number} of room {room.room} has no row"
                continue
            if it.shard.members != len(it.members):
                yield f"shard {number} of room {room.room} counts {it.shard.members} members and has {len(it.members)}"
            if it.shard.sent != room.head:
                yield f"shard {number} of room {room.room} was sent up to {it.shard.sent}, and the head is {room.head}"


def _dead(evidence: Evidence) -> Iterator[str]:
    for lane, count in evidence.dead.items():
        if count:
            yield f"{count} dead letters in lane {lane}"


def _refused(evidence: Evidence) -> Iterator[str]:
    yield from evidence.refusals


RULES: Mapping[str, Callable[[Evidence], Iterator[str]]] = {
    "gap": _gaps,
    "not stored": _not_stored,
    "stored twice": _doubled,
    "half a private message": _half,
    "not given": _not_given,
    "changed": _changed,
    "audit": _audited,
    "no welcome": _absent,
    "rows": _rows,
    "counts": _counts,
    "dead letters": _dead,
    "refused": _refused,
}
"""What is looked for → evidence to words for each breach."""


# ------------------------------------------------------------------------------------------------ private


def _said(evidence: Evidence) -> Iterator[Message]:
    yield from evidence.messages
    yield from (it.message for it in evidence.private)


def _text_at(evidence: Evidence, room: str, epoch: int, seq: int) -> str | None:
    stored = evidence.rooms.get(room)
    return stored.text(epoch, seq) if stored is not None else None
