"""The session by hand: where a room is, and where a client begins in it."""

from __future__ import annotations

import pytest

from client.session import ASK_AFTER, LATE_PUSH, PING_EVERY, WELCOME_WITHIN
from domain.events import Chat, Joined, Left, Welcome
from tests.unit.client.talk import Talk, seqs_of


def test_what_overtakes_the_welcome_waits_for_it() -> None:
    """The client begins after the head it is told, and asks for what lies between."""
    talk = Talk(head=None)
    assert talk.push(6) == []
    assert talk.asked() == []
    (welcome,) = talk.welcome(4)
    assert isinstance(welcome, Welcome)
    assert talk.ask()["after"] == 4


def test_what_was_pushed_before_the_head_was_read_counts() -> None:
    """An entry pushed to us proves that we were members: the client begins there, below the head."""
    talk = Talk(head=None)
    talk.push(5)
    assert seqs_of(talk.welcome(5)) == [5]


def test_a_lost_welcome_is_made_up_for() -> None:
    """After a while the room is joined again, whose answer says where it stands."""
    talk = Talk(head=None)
    talk.push(9)
    talk.now += WELCOME_WITHIN
    talk.session.tick(talk.now)
    request, ping = talk.asked()
    assert (request["type"], request["roomId"]) == ("join_room", "den")
    heads = {"den": {"epoch": 1, "seq": 10}, "inbox#u": {"epoch": 1, "seq": 0}}
    assert (ping["type"], "cursors" in ping) == ("ping", False)
    assert list(talk.give("pong", clientId=ping["clientId"], time=1, heads=heads)) == []
    assert (talk.session.cursor("den"), talk.session.cursor("inbox#u")) == (None, (1, 0))
    place = {"roomId": "den", "epoch": 1, "head": 9, "recovered": False, "events": []}
    released = talk.give("joined", clientId=request["clientId"], **place)
    assert [type(it) for it in released] == [Joined, Chat]


@pytest.mark.parametrize("kind", ["pong", "head"])
def test_a_head_beyond_what_was_seen_is_asked_for(kind: str) -> None:
    """A lost last message is found by the next ping, or by a beacon."""
    talk = Talk(head=2)
    if kind == "head":
        talk.give("head", roomId="den", epoch=1, seq=3, timestamp=1, sentAt=1)
    else:
        talk.session.ping(talk.now)
        ping = talk.ask()
        assert ping["cursors"] == {"den": 2, "inbox#u": 0}
        talk.give("pong", clientId=ping["clientId"], time=1, heads={"den": {"epoch": 1, "seq": 3}})
    assert talk.ask_later()["after"] == 2


def test_what_is_on_its_way_is_not_asked_for() -> None:
    """A head tells of an entry that comes a moment later by itself."""
    talk = Talk(head=None)
    talk.welcome(2)
    talk.give("head", roomId="den", epoch=1, seq=3, timestamp=1, sentAt=1)
    assert talk.push(3) == [3]
    talk.now += ASK_AFTER[1]
    talk.session.tick(talk.now)
    assert talk.asked() == []


def test_a_late_push_before_the_welcome_leaves_the_rest_a_moment() -> None:
    """While a broadcast is late, a new member is pushed what is older than its head: the rest is on its way, too."""
    talk = Talk(head=None)
    talk.push(3, 4)
    assert seqs_of(talk.welcome(6)) == [3, 4]
    assert talk.asked() == []
    assert talk.push(5) == [5]
    assert talk.ask_later()["after"] == 5


def test_pings_come_by_themselves() -> None:
    """Every four minutes or so, and their answers are not the user's."""
    talk = Talk()
    due = talk.session.due()
    assert due is not None
    talk.now += WELCOME_WITHIN
    talk.session.tick(talk.now)
    due = talk.session.due()
    assert due is not None
    assert 0.8 * PING_EVERY <= due - 100 <= 1.2 * PING_EVERY
    talk.session.tick(due)
    ping = talk.ask()
    assert ping["type"] == "ping"
    assert list(talk.give("pong", clientId=ping["clientId"], time=1, heads={})) == []


def test_a_room_made_anew_begins_anew() -> None:
    """Another epoch: nothing of the old one is held, late entries of it are dropped."""
    talk = Talk(head=5)
    talk.push(8)
    talk.asked()
    assert talk.push(2, epoch=2) == []
    place = {"roomId": "den", "recovered": False, "events": []}
    talk.session.join("den", talk.now)
    released = talk.give("joined", clientId=talk.ask()["clientId"], epoch=2, head=1, **place)
    assert seqs_of(released) == [2]
    assert talk.push(6, epoch=1) == []
    assert talk.push(3, epoch=2) == [3]
    assert talk.session.cursor("den") == (2, 3)


def test_a_room_that_was_left_is_silent() -> None:
    """What is still under way to us is dropped; a later join begins at the head of then."""
    talk = Talk()
    talk.session.leave("den", talk.now)
    assert talk.ask() == {"type": "leave_room", "clientId": "id-1", "roomId": "den"}
    (left,) = talk.give("left", clientId="id-1", roomId="den")
    assert isinstance(left, Left)
    assert talk.push(1) == []
    assert talk.session.cursor("den") is None


def test_who_is_pushed_what_is_said_in_a_room_that_was_left_leaves_it_again() -> None:
    """Not for what was still on its way; and once, however much comes."""
    talk = Talk()
    talk.session.leave("den", talk.now)
    talk.give("left", clientId=talk.ask()["clientId"], roomId="den")
    talk.now += LATE_PUSH
    assert talk.push(1) == []
    assert talk.asked() == []
    talk.now += 1
    assert talk.push(2, 3) == []
    leave = talk.ask()
    assert (leave["type"], leave["roomId"]) == ("leave_room", "den")


def test_a_late_answer_to_a_leave_does_not_end_what_follows() -> None:
    """A leave was asked for twice, and the room joined again between the two answers: nobody knows what the second has
    ended, so the room is joined once more from where we are."""
    talk = Talk()
    talk.session.leave("den", talk.now)
    leave = talk.ask()
    talk.give("left", clientId=leave["clientId"], roomId="den")
    talk.session.join("den", talk.now)
    join = {"clientId": talk.ask()["clientId"], "roomId": "den"}
    talk.give("joined", **join, epoch=1, head=3, recovered=False, events=[])
    assert talk.give("left", clientId=leave["clientId"], roomId="den") == ()
    again = talk.ask()
    assert (again["type"], again["since"], again["epoch"]) == ("join_room", 3, 1)
    assert talk.push(4) == [4]


def test_a_room_that_a_pong_does_not_name_is_joined_again() -> None:
    """The service has lost us, or has never had us: all that was missed comes with the answer."""
    talk = Talk(head=7)
    talk.session.ping(talk.now)
    ping = talk.ask()
    assert ping["cursors"] == {"den": 7, "inbox#u": 0}
    talk.give("pong", clientId=ping["clientId"], time=1, heads={"inbox#u": {"epoch": 1, "seq": 0}})
    again = talk.ask()
    assert (again["type"], again["roomId"], again["since"]) == ("join_room", "den", 7)


def test_a_late_answer_to_a_join_does_not_bring_a_room_back() -> None:
    """A join was asked for twice, and the room left between the two answers: the service made us a member again."""
    talk = Talk()
    talk.session.join("nook", talk.now)
    join = talk.ask()
    talk.give("joined", clientId=join["clientId"], roomId="nook", epoch=1, head=3, recovered=False, events=[])
    talk.session.leave("nook", talk.now)
    talk.give("left", clientId=talk.ask()["clientId"], roomId="nook")
    late = talk.give("joined", clientId=join["clientId"], roomId="nook", epoch=1, head=4, recovered=False, events=[])
    assert late == ()
    leave = talk.ask()
    assert (leave["type"], leave["roomId"]) == ("leave_room", "nook")
    assert talk.give("left", clientId=leave["clientId"], roomId="nook") == ()
    assert talk.session.cursor("nook") is None


@pytest.mark.parametrize("more", [False, True], ids=["nothing more", "with more to say"])
def test_who_is_told_of_a_join_again_while_leaving_leaves_once_more(more: bool) -> None:
    """The join's second execution may be carried out after the leave: the service would keep us as a member."""
    talk = Talk()
    talk.session.join("nook", talk.now)
    join = {"clientId": talk.ask()["clientId"], "roomId": "nook"}
    talk.give("joined", **join, epoch=1, head=3, recovered=False, events=[])
    talk.session.leave("nook", talk.now)
    leave = talk.ask()
    if more:
        talk.session.send("nook", "too late", talk.now)
    assert talk.give("joined", **join, epoch=1, head=4, recovered=False, events=[]) == ()
    (left,) = talk.give("left", clientId=leave["clientId"], roomId="nook")
    assert isinstance(left, Left)
    again = talk.ask()
    assert (again["type"], again["roomId"]) == ("leave_room", "nook")
    assert talk.give("left", clientId=again["clientId"], roomId="nook") == ()
    assert talk.session.cursor("nook") is None


def test_who_is_told_of_a_join_again_says_what_is_to_be_said_before_the_leave() -> None:
    """The leave that waits comes after whatever the join's second execution did."""
    talk = Talk()
    talk.session.join("nook", talk.now)
    join = {"clientId": talk.ask()["clientId"], "roomId": "nook"}
    talk.give("joined", **join, epoch=1, head=3, recovered=False, events=[])
    for it in ("one", "two"):
        talk.session.send("nook", it, talk.now)
    talk.session.leave("nook", talk.now)
    asked = [talk.ask()]
    talk.give("joined", **join, epoch=1, head=3, recovered=False, events=[])
    for seq in (4, 5):
        talk.give("ack", clientId=asked[-1]["clientId"], messageId="m", roomId="nook", epoch=1, seq=seq)
        asked.append(talk.ask())
    assert [it["type"] for it in asked] == ["chat", "chat", "leave_room"]
    (left,) = talk.give("left", clientId=asked[-1]["clientId"], roomId="nook")
    assert isinstance(left, Left)
    assert talk.asked() == []


def test_who_wants_to_be_back_is_not_made_to_leave_once_more() -> None:
    """The join that was wanted last follows the leave in its line."""
    talk = Talk()
    talk.session.join("nook", talk.now)
    join = {"clientId": talk.ask()["clientId"], "roomId": "nook"}
    talk.give("joined", **join, epoch=1, head=3, recovered=False, events=[])
    talk.session.leave("nook", talk.now)
    leave = talk.ask()
    talk.session.join("nook", talk.now)
    talk.give("joined", **join, epoch=1, head=3, recovered=False, events=[])
    talk.give("left", clientId=leave["clientId"], roomId="nook")
    back = talk.ask()
    assert back["type"] == "join_room"
    talk.give("joined", clientId=back["clientId"], roomId="nook", epoch=1, head=5, recovered=False, events=[])
    assert talk.asked() == []
    assert talk.session.cursor("nook") == (1, 5)
