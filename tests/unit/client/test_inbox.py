"""The session by hand: the inbox."""

from __future__ import annotations

import pytest

from client.events import Missed
from client.session import WELCOME_WITHIN
from domain.events import Ack, Welcome
from tests.unit.client.talk import Talk, private, seqs_of


def test_the_inbox_is_followed_from_the_welcome_on() -> None:
    """From the head it is told; ordered, each once, gaps filled; and nothing of it is joined."""
    talk = Talk(head=None)
    talk.welcome(0, inbox=4)
    assert talk.asked() == []
    assert talk.whisper(4, 5, 5) == [5]
    assert talk.whisper(7) == []
    request = talk.ask()
    assert (request["type"], request["roomId"], request["after"]) == ("history", "inbox#u", 5)
    assert seqs_of(talk.inbox_page(request["clientId"], [private(6), private(7)], 7)) == [6, 7]


def test_a_private_message_may_overtake_the_welcome() -> None:
    """It waits, and counts: whoever is pushed it was there."""
    talk = Talk(head=None)
    assert talk.whisper(3) == []
    assert seqs_of(talk.welcome(0, inbox=3)) == [3]


def test_another_s_inbox_is_not_followed() -> None:
    """What the service should never send does not reach the user."""
    talk = Talk()
    words = {"senderId": "s", "senderName": "S", "targetUserId": "eve", "message": "x", "messageId": "m"}
    place = {"roomId": "inbox#eve", "epoch": 1, "seq": 1, "timestamp": 1, "sentAt": 1}
    assert list(talk.give("private_message", **words, **place)) == []
    assert talk.session.cursor("inbox#eve") is None


def test_after_a_reconnect_the_welcome_tells_of_the_inbox() -> None:
    """Rooms are joined with `since`; the inbox is only asked for what is missing."""
    talk = Talk()
    talk.whisper(1, 3)
    talk.asked()
    (rejoin,) = talk.reconnect()
    assert (rejoin["type"], rejoin["roomId"]) == ("join_room", "den")
    talk.welcome(0, inbox=4)
    assert talk.ask()["after"] == 1


def test_a_lost_welcome_after_a_reconnect_is_made_up_for() -> None:
    """By a ping, whose answer says where the inbox is."""
    talk = Talk()
    talk.reconnect()
    talk.now += WELCOME_WITHIN
    talk.session.tick(talk.now)
    pings = [it for it in talk.asked() if it["type"] == "ping"]
    assert [it["cursors"] for it in pings] == [{"den": 0, "inbox#u": 0}]
    talk.give("pong", clientId=pings[0]["clientId"], time=1, heads={"inbox#u": {"epoch": 1, "seq": 2}})
    assert talk.ask_later()["roomId"] == "inbox#u"


def test_one_private_message_to_a_user_is_under_way() -> None:
    """Others don't wait for it."""
    talk = Talk()
    for target, text in (("bob", "one"), ("bob", "two"), ("eve", "three")):
        talk.session.send_private(target, text, talk.now)
    talk.session.send("den", "four", talk.now)
    assert [it["message"] for it in talk.asked()] == ["one", "three", "four"]
    (ack,) = talk.private_ack("id-1", 1)
    assert isinstance(ack, Ack)
    assert ack.online is True
    assert talk.ask() == {"type": "private_message", "clientId": "id-2", "targetUserId": "bob", "message": "two"}


def test_the_seq_of_an_ack_is_had() -> None:
    """The sending connection is not pushed its own copy: no gap, nothing to show, also if history brings it again."""
    talk = Talk()
    talk.session.send_private("bob", "mine", talk.now)
    talk.asked()
    assert seqs_of(talk.private_ack("id-1", 1)) == []
    assert talk.whisper(2) == [2]
    assert talk.asked() == []
    talk.session.send_private("bob", "mine too", talk.now)
    talk.asked()
    assert seqs_of(talk.private_ack("id-2", 4)) == []
    request = talk.ask()
    assert request["after"] == 2
    page = [private(3), private(4, sender="u", target="bob", text="mine too")]
    assert seqs_of(talk.inbox_page(request["clientId"], page, 4)) == [3]
    assert talk.session.cursor("inbox#u") == (1, 4)


def test_an_ack_before_the_welcome_is_counted() -> None:
    """Whichever is first."""
    talk = Talk(head=None)
    talk.session.send_private("bob", "mine", talk.now)
    talk.asked()
    talk.private_ack("id-1", 3)
    assert talk.whisper(4) == []
    assert seqs_of(talk.welcome(0, inbox=4)) == [4]
    assert talk.asked() == []


@pytest.mark.parametrize("reconnect", [False, True])
def test_an_own_copy_before_its_ack_is_passed_over(reconnect: bool) -> None:
    """A gap, or a lost ack, has history bring it: it holds nothing up, and is no news to who is sending it."""
    talk = Talk()
    talk.session.send_private("bob", "mine", talk.now)
    talk.asked()
    if reconnect:
        assert [it["type"] for it in talk.reconnect()] == ["private_message", "join_room"]
        talk.welcome(0, inbox=2)
    else:
        talk.whisper(2)
    request = talk.ask()
    assert (request["type"], request["after"]) == ("history", 0)
    page = [private(1, sender="u", target="bob", client_id="id-1"), private(2)]
    assert seqs_of(talk.inbox_page(request["clientId"], page, 2)) == [2]
    (ack,) = talk.private_ack("id-1", 1)
    assert isinstance(ack, Ack)
    assert talk.whisper(3) == [3]


def test_the_copies_of_another_device_are_released() -> None:
    """The `clientId` in a copy tells whose it is, also of two with the same words."""
    talk = Talk()
    talk.session.send_private("bob", "mine", talk.now)
    talk.asked()
    assert talk.whisper(1, sender="u", target="bob", text="mine", client_id="another-1") == [1]
    assert talk.whisper(2, sender="u", target="bob", text="mine", client_id="id-1") == []
    assert talk.whisper(3, sender="u", target="bob", text="mine") == [3]
    assert seqs_of(talk.private_ack("id-1", 2)) == []
    assert talk.whisper(2, sender="u", target="bob", text="mine", client_id="id-1") == []


def test_an_anonymous_user_may_become_another() -> None:
    """The inbox of before is closed: what it held is given, and the gap is named."""
    talk = Talk()
    talk.whisper(2)
    talk.reconnect()
    (welcome, missed, entry) = talk.welcome(0, user="v")
    assert isinstance(welcome, Welcome)
    assert missed == Missed(room_id="inbox#u", epoch=1, first=1, last=1)
    assert seqs_of([entry]) == [2]
    assert talk.session.cursor("inbox#v") == (1, 0)
