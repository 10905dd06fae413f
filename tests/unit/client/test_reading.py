"""Read marks in the session: one under way for each room, the highest wins, and what the user hears of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from client.events import Released
from client.outbox import REPLY_WITHIN, TRIES
from client.session import Dialect
from domain.events import Error, UserRead
from tests.unit.client.talk import GATEWAY_ERROR, Talk


def marked(
    talk: Talk, seq: int, client_id: str | None = None, *, room: str = "den", user: str = "u", epoch: int = 1
) -> Sequence[Released]:
    """A user's mark is told: the answer to a request, or what another device has done."""
    words: dict[str, Any] = {"timestamp": 1, "sentAt": 1000} | ({} if client_id is None else {"clientId": client_id})
    return talk.give("read", roomId=room, userId=user, epoch=epoch, seq=seq, unread=0, **words)


def refused(talk: Talk, client_id: str, code: str) -> Sequence[Released]:
    return talk.give("error", code=code, message="no", request="read", clientId=client_id)


def seqs(requests: Sequence[dict[str, Any]]) -> list[int]:
    assert {it["type"] for it in requests} <= {"read"}
    return [it["seq"] for it in requests]


def test_one_is_under_way_and_the_highest_wins() -> None:
    """Others wait for its answer, and of them the highest goes out; other rooms don't wait."""
    talk = Talk(head=9)
    talk.session.join("attic", talk.now)
    talk.give("joined", clientId="id-1", roomId="attic", epoch=4, head=9, recovered=False, events=[])
    talk.asked()
    for room, seq in (("den", 3), ("den", 5), ("den", 9), ("den", 7), ("attic", 2)):
        talk.session.read(room, seq, talk.now)
    first, other = talk.asked()
    assert first == {"type": "read", "clientId": "id-2", "roomId": "den", "seq": 3, "epoch": 1}
    assert (other["roomId"], other["seq"], other["epoch"]) == ("attic", 2, 4)
    (own,) = marked(talk, 3, "id-2")
    assert isinstance(own, UserRead)
    assert seqs(talk.asked()) == [9]
    assert len(marked(talk, 9, "id-4")) == 1
    assert talk.asked() == []
    assert marked(talk, 2, "id-3", room="attic", epoch=4)
    assert not talk.session.busy


def test_what_is_no_news_is_not_sent() -> None:
    """What stands, what is under way, and what another device has read already."""
    talk = Talk(head=9)
    talk.session.read("den", 4, talk.now)
    talk.session.read("den", 4, talk.now)
    assert seqs(talk.asked()) == [4]
    marked(talk, 4, "id-1")
    assert len(marked(talk, 7)) == 1
    for seq in (4, 7, 1):
        talk.session.read("den", seq, talk.now)
    assert talk.asked() == []
    talk.session.read("den", 8, talk.now)
    assert seqs(talk.asked()) == [8]


def test_another_device_is_faster() -> None:
    """What it has read needs no mark of ours any more; its mark is released once, however often it is told."""
    talk = Talk(head=9)
    talk.session.read("den", 2, talk.now)
    talk.session.read("den", 5, talk.now)
    assert seqs(talk.asked()) == [2]
    assert len(marked(talk, 6)) == 1
    assert list(marked(talk, 6)) == []
    assert list(marked(talk, 6, "id-1")) == []  # the answer to ours says the same
    assert talk.asked() == []
    assert not talk.session.busy


def test_others_are_released_as_they_come() -> None:
    """They are hints: neither ordered nor taken for our own."""
    talk = Talk(head=9)
    told = [it for seq in (5, 3, 5) for it in marked(talk, seq, user="bob")]
    assert [it.seq for it in told if isinstance(it, UserRead)] == [5, 3, 5]
    talk.session.read("den", 4, talk.now)
    assert seqs(talk.asked()) == [4]


@pytest.mark.parametrize("code", ["ROOM_BUSY", "RATE_LIMITED", "INTERNAL", None])
def test_a_mark_is_sent_until_it_is_answered(code: str | None) -> None:
    """Under its clientId, however often; it is never given up, and the user sees nothing of it."""
    talk = Talk(head=9)
    talk.session.read("den", 4, talk.now)
    first = talk.ask()
    for _ in range(TRIES + 2):
        assert list(refused(talk, "id-1", code) if code else talk.session.receive(GATEWAY_ERROR, talk.now)) == []
        talk.now += REPLY_WITHIN + 20
        assert list(talk.session.tick(talk.now)) == []
        assert [it for it in talk.asked() if it["type"] == "read"] == [first]


def test_a_mark_survives_a_reconnect() -> None:
    """The room is joined first; then the highest that was wanted goes out."""
    talk = Talk(head=9)
    talk.session.read("den", 4, talk.now)
    talk.session.read("den", 6, talk.now)
    talk.asked()
    (join,) = talk.reconnect()
    assert join["type"] == "join_room"
    talk.give("joined", clientId=join["clientId"], roomId="den", epoch=1, head=9, recovered=True, events=[])
    assert seqs(talk.asked()) == [6]


def test_the_inbox_is_marked_where_no_welcome_comes() -> None:
    """A `pong` says as well that it is there."""
    talk = Talk(head=9)
    talk.session.disconnected()
    talk.session.read("inbox#u", 0, talk.now)
    talk.session.connected(talk.now)
    talk.asked()
    talk.session.ping(talk.now)
    ping = talk.ask()
    talk.give("pong", clientId=ping["clientId"], time=1, heads={"inbox#u": {"epoch": 1, "seq": 0}})
    assert [(it["roomId"], it["seq"]) for it in talk.asked() if it["type"] == "read"] == [("inbox#u", 0)]


@pytest.mark.parametrize("dialect", ["v1", "recipe"])
def test_what_is_read_while_there_is_no_connection(dialect: Dialect) -> None:
    """It is said when there is one again: of the inbox once the welcome has come, of a room once it is joined."""
    talk = Talk(dialect, head=9)
    talk.session.read("inbox#u", 0, talk.now)
    talk.session.read("den", 4, talk.now)
    talk.asked()
    if dialect == "v1":
        talk.session.disconnected()
        talk.session.read("den", 6, talk.now)
        talk.session.read("inbox#u", 0, talk.now)
        talk.session.connected(talk.now)
        (join,) = talk.asked()
        talk.give("joined", clientId=join["clientId"], roomId="den", epoch=1, head=9, recovered=True, events=[])
        assert seqs(talk.asked()) == [6]
    else:
        talk.reconnect()
    talk.welcome(9)
    room, seq = ("inbox#u", 0) if dialect == "v1" else ("den", 4)
    assert (room, seq) in [(it["roomId"], it["seq"]) for it in talk.asked() if it["type"] == "read"]


def test_a_mark_is_answered_before_the_welcome_has_come() -> None:
    """Who says who we are comes last: what answers us is ours all the same."""
    talk = Talk(head=None)
    talk.session.join("attic", talk.now)
    talk.give("joined", clientId="id-1", roomId="attic", epoch=1, head=9, recovered=False, events=[])
    talk.session.read("attic", 4, talk.now)
    talk.session.read("attic", 6, talk.now)
    talk.asked()
    assert len(marked(talk, 4, "id-2", room="attic")) == 1
    assert seqs(talk.asked()) == [6]


def test_nothing_waits_for_a_mark() -> None:
    """Not even one that is refused for a while; and it waits for no message."""
    talk = Talk(head=9)
    talk.session.read("den", 8, talk.now)
    talk.session.send("den", "hello", talk.now)
    assert [it["type"] for it in talk.asked()] == ["read", "chat"]
    refused(talk, "id-1", "RATE_LIMITED")
    talk.give("ack", clientId="id-2", messageId="m", roomId="den", epoch=1, seq=10)
    talk.session.send("den", "again", talk.now)
    assert talk.ask()["type"] == "chat"


def test_a_mark_waits_for_the_join() -> None:
    """Of a room that is joined once more it is said when that is answered."""
    talk = Talk(head=9)
    talk.session.join("den", talk.now)
    talk.session.read("den", 9, talk.now)
    assert talk.ask()["type"] == "join_room"
    talk.give("joined", clientId="id-1", roomId="den", epoch=1, head=9, recovered=False, events=[])
    assert seqs(talk.asked()) == [9]


def test_who_is_no_member_joins_again() -> None:
    """Of a room that is followed; then the mark goes out once more."""
    talk = Talk(head=9)
    talk.session.read("den", 4, talk.now)
    talk.asked()
    assert list(refused(talk, "id-1", "NOT_A_MEMBER")) == []
    join = talk.ask()
    assert (join["type"], join["since"]) == ("join_room", 9)
    talk.give("joined", clientId=join["clientId"], roomId="den", epoch=1, head=9, recovered=True, events=[])
    assert seqs(talk.asked()) == [4]


def test_a_room_that_was_left_is_not_marked() -> None:
    """Nor one that is not followed, or of which it is not known where we begin."""
    talk = Talk(head=9)
    talk.session.leave("den", talk.now)
    talk.session.read("den", 4, talk.now)
    leave, mark = talk.asked()
    talk.give("left", clientId=leave["clientId"], roomId="den")
    assert list(refused(talk, mark["clientId"], "NOT_A_MEMBER")) == []
    talk.session.read("den", 5, talk.now)
    talk.session.read("nowhere", 5, talk.now)
    talk.session.read("inbox#somebody", 5, talk.now)
    assert talk.asked() == []
    fresh = Talk(head=None)
    fresh.session.read("den", 1, fresh.now)
    assert fresh.asked() == []


def test_a_mark_beyond_the_head_is_the_user_s_to_know_of() -> None:
    """It is refused for good; the next one goes its way."""
    talk = Talk(head=9)
    talk.session.read("den", 10, talk.now)
    talk.session.read("den", 11, talk.now)
    talk.asked()
    (error,) = refused(talk, "id-1", "BAD_REQUEST")
    assert isinstance(error, Error)
    assert talk.asked() == []
    talk.session.read("den", 9, talk.now)
    assert seqs(talk.asked()) == [9]


def test_a_room_made_anew_begins_unread() -> None:
    """A mark of its life before is refused in silence; lower ones count again."""
    talk = Talk(head=9)
    talk.session.read("den", 8, talk.now)
    talk.asked()
    talk.give("head", roomId="den", epoch=2, seq=3, timestamp=1, sentAt=1)
    assert list(refused(talk, "id-1", "BAD_REQUEST")) == []
    talk.session.read("den", 1, talk.now)
    (mark,) = [it for it in talk.asked() if it["type"] == "read"]
    assert (mark["seq"], mark["epoch"]) == (1, 2)


def test_the_inbox_is_marked_as_a_room_is() -> None:
    """What the welcome says is read is no news; a user that is another one now begins anew."""
    talk = Talk(head=None)
    words = {"connectionId": "c", "userId": "u", "message": "hi", "protocol": 1, "timestamp": 1, "sentAt": 5_000}
    inbox = {"epoch": 1, "seq": 6, "read": 4, "unread": 2}
    talk.give("welcome", roomId="den", epoch=1, head=0, inbox=inbox, reconnectAt=0, **words)
    talk.session.read("inbox#u", 4, talk.now)
    assert talk.asked() == []
    talk.session.read("inbox#u", 6, talk.now)
    (mark,) = talk.asked()
    assert (mark["roomId"], mark["seq"]) == ("inbox#u", 6)
    assert len(marked(talk, 6, mark["clientId"], room="inbox#u")) == 1
    talk.welcome(0, inbox=3, user="v")
    talk.session.read("inbox#v", 1, talk.now)
    assert [it["seq"] for it in talk.asked() if it["type"] == "read"] == [1]
