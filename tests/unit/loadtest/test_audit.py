"""The audit finds each kind of fault, names it, and finds nothing where there is none."""

from __future__ import annotations

import pytest

from loadtest.audit import Audit, ClientLog, Membership, Receipt, audit
from loadtest.plan import Message

ROOM = "den"


def message(seq: int, text: str | None = None, *, acknowledged: bool = True, sent_at: float = 10) -> Message:
    text = text or f"text {seq}"
    at = sent_at + 1 if acknowledged else None
    return Message(
        f"id-{seq}", ROOM, text, sender=0, due=sent_at, sent_at=sent_at, acknowledged_at=at, epoch=1, seq=seq
    )


def receipt(seq: int, text: str | None = None, room: str = ROOM) -> Receipt:
    return Receipt(room, 1, seq, text or f"text {seq}")


def member(name: str = "ada", *seqs: int, head: int = 0) -> ClientLog:
    """A client that was pushed these, and given them in that order."""
    got = [receipt(it) for it in seqs]
    return ClientLog(name, [Membership(ROOM, 1, head, since=0)], pushed=list(got), released=list(got))


MESSAGES = [message(it) for it in (1, 2, 3, 4)]


def only_finding(result: Audit) -> str:
    (finding,) = result.findings
    assert result.violated
    return str(finding)


def test_a_clean_run() -> None:
    """Every message at every client."""
    result = audit(MESSAGES, [member("ada", 1, 2, 3, 4), member("bob", 1, 2, 3, 4)])
    assert (result.expected, result.received, result.violated) == (8, 8, False)


def test_a_lost_message_is_named() -> None:
    """With the room, the seq, the clientId and the client."""
    result = audit(MESSAGES, [member("ada", 1, 2, 3, 4), member("bob", 1, 2, 4)])
    assert only_finding(result) == "lost: client bob, room den, epoch 1, seq 3, clientId id-3, “text 3”"
    assert (result.expected, result.received, result.count("lost")) == (8, 7, 1)


def test_two_swapped_messages_are_out_of_order() -> None:
    """The one that came too late is named."""
    result = audit(MESSAGES, [member("ada", 1, 3, 2, 4)])
    assert only_finding(result).startswith("out of order: client ada, room den, epoch 1, seq 2,")


def test_what_the_user_is_given_twice_is_out_of_order() -> None:
    """Dropping repeats is the client's duty."""
    result = audit(MESSAGES, [member("ada", 1, 2, 2, 3, 4)])
    assert result.count("out_of_order") == 1


def test_a_repeated_push_is_counted_and_allowed() -> None:
    """At least once."""
    ada = member("ada", 1, 2, 3, 4)
    ada.pushed += [receipt(2), receipt(3), receipt(3)]
    result = audit(MESSAGES, [ada])
    assert (result.duplicates, result.pushed, result.violated) == (3, 7, False)


def test_a_stranger_who_receives_is_named() -> None:
    """A client in another room got a message of this one."""
    eve = ClientLog("eve", [Membership("attic", 1, 0, since=0)], pushed=[receipt(2)])
    result = audit(MESSAGES, [member("ada", 1, 2, 3, 4), eve])
    assert only_finding(result).startswith(
        "received by a non-member: client eve, room den, epoch 1, seq 2, clientId id-2"
    )


@pytest.mark.parametrize(
    ("membership", "found"),
    [
        (Membership(ROOM, 1, head=4, since=12), True),
        (Membership(ROOM, 1, head=4, since=10.5), False),
        (Membership(ROOM, 1, head=0, since=0, until=9), True),
        (Membership(ROOM, 1, head=0, since=0, until=11), False),
    ],
)
def test_neither_before_the_join_nor_after_the_leave(membership: Membership, found: bool) -> None:
    """Stored before the client came, or sent after it left; what overlaps is allowed."""
    eve = ClientLog("eve", [membership], pushed=[receipt(4)], released=[receipt(4)])
    assert audit(MESSAGES, [eve]).count("to_non_member") == found


def test_who_was_never_welcomed_may_be_pushed() -> None:
    """Its connection ended before the welcome came: it was there all the same, and nothing is owed to it."""
    eve = ClientLog("eve", [Membership(ROOM, 1, head=4, since=12)], [Membership(ROOM, 0, 0, since=0, until=11)])
    eve.pushed.append(receipt(4))
    result = audit(MESSAGES, [eve])
    assert (result.count("to_non_member"), result.expected) == (0, 0)


def test_a_wrong_body_is_named() -> None:
    """Another text under a message's seq, and a text that nobody said."""
    ada = member("ada", 1, 2, 3)
    ada.released.append(receipt(4, "forged"))
    ada.pushed.append(receipt(9, "from nowhere"))
    findings = sorted(map(str, audit(MESSAGES, [ada]).findings))
    assert findings == [
        "not what was said: client ada, room den, epoch 1, seq 4, clientId id-4, “forged”",
        "not what was said: client ada, room den, epoch 1, seq 9, clientId unknown, “from nowhere”",
    ]


def test_an_unanswered_message_may_come_or_not() -> None:
    """It is owed to nobody; whoever gets it gets it right."""
    messages = [*MESSAGES, message(5, acknowledged=False)]
    result = audit(messages, [member("ada", 1, 2, 3, 4, 5), member("bob", 1, 2, 3, 4)])
    assert (result.expected, result.violated) == (8, False)


def test_two_messages_with_one_seq() -> None:
    """The log can hold one of them."""
    double = message(4, "another")
    double.client_id = "id-double"
    result = audit([*MESSAGES, double], [member("ada", 1, 2, 3, 4)])
    assert "seq 4, clientId id-double" in only_finding(result)


def test_only_what_follows_the_head_is_owed() -> None:
    """A client that joined at 2 misses nothing of 1 and 2."""
    assert audit(MESSAGES, [member("ada", 3, 4, head=2)]).expected == 2


def test_an_ended_membership_is_owed_nothing() -> None:
    """What was under way to it may have gone with its socket; the order still counts."""
    ada = member("ada", 2, 1)
    ada.memberships[0].until = 10.5
    result = audit(MESSAGES, [ada])
    assert (result.expected, result.count("lost"), result.count("out_of_order")) == (0, 0, 1)


def test_what_history_gave_counts_as_received() -> None:
    """Filled, not pushed: received all the same, and counted apart."""
    ada = member("ada", 1, 2, 4)
    ada.filled = [receipt(3), receipt(4)]
    ada.released = [receipt(it) for it in (1, 2, 3, 4)]
    result = audit(MESSAGES, [ada])
    assert (result.received, result.pushed, result.filled, result.violated) == (4, 3, 2, False)
