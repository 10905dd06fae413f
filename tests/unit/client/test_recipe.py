"""The session by hand: the recipe's dialect."""

from __future__ import annotations

from client.events import Missed
from client.outbox import REPLY_WITHIN, TRIES
from tests.unit.client.talk import Talk, seqs_of


def test_the_recipe_orders_without_asking() -> None:
    """A gap waits for the push that was late: those clients know no history."""
    talk = Talk("recipe")
    assert talk.push(2, 3) == []
    assert talk.push(1) == [1, 2, 3]
    assert talk.asked() == []


def test_the_recipe_begins_anew_after_a_break() -> None:
    """What was held is given with the gap named; the next welcome says where to begin."""
    talk = Talk("recipe")
    talk.push(3)
    released = talk.session.disconnected()
    assert released[0] == Missed(room_id="den", epoch=1, first=1, last=2)
    assert seqs_of(released) == [3]
    talk.session.connected(talk.now)
    assert talk.asked() == []
    talk.welcome(7)
    assert talk.push(7, 8) == [8]


def test_the_recipe_gives_nothing_twice() -> None:
    """A worker that comes after one that died pushes what was given on the connection before, now to this one too."""
    talk = Talk("recipe")
    assert talk.push(1, 2, 3) == [1, 2, 3]
    talk.session.disconnected()
    talk.session.connected(talk.now)
    assert talk.push(2, 3, 4) == []
    assert seqs_of(talk.welcome(4)) == [4]
    assert talk.push(3, 5) == [5]
    assert talk.push(1, epoch=2) == []
    assert seqs_of(talk.welcome(0, epoch=2)) == [1]


def test_the_recipe_moves_from_room_to_room() -> None:
    """A join is a leave of the room before, and the room to connect to next."""
    talk = Talk("recipe")
    talk.session.join("attic", talk.now)
    answer = {"clientId": talk.ask()["clientId"], "roomId": "attic", "epoch": 1, "head": 0}
    talk.give("joined", **answer, recovered=False, events=[])
    assert talk.push(1) == []
    assert talk.push(1, room="attic") == [1]
    talk.session.disconnected()
    assert talk.session.room == "attic"


def test_the_recipe_comes_back_to_a_room_and_gets_nothing_twice() -> None:
    """Not even what a worker that came late pushes once more before the answer to its join."""
    talk = Talk("recipe")
    assert talk.push(1) == [1]
    talk.session.join("attic", talk.now)
    answer = {"clientId": talk.ask()["clientId"], "roomId": "attic", "epoch": 1, "head": 0}
    talk.give("joined", **answer, recovered=False, events=[])
    talk.session.join("den", talk.now)
    answer = {"clientId": talk.ask()["clientId"], "roomId": "den", "epoch": 1, "head": 2}
    assert talk.push(1, 2) == []
    assert seqs_of(talk.give("joined", **answer, recovered=False, events=[])) == [2]


def test_the_recipe_comes_back_to_where_it_was_though_the_welcome_is_late() -> None:
    """It says where the room was when the connection began: what was given since is not given again, nor waited for."""
    talk = Talk("recipe")
    assert talk.push(1, 2) == [1, 2]
    talk.session.join("attic", talk.now)
    answer = {"clientId": talk.ask()["clientId"], "roomId": "attic", "epoch": 1, "head": 0}
    talk.give("joined", **answer, recovered=False, events=[])
    talk.session.join("den", talk.now)
    talk.welcome(0)
    assert talk.push(1) == []
    assert talk.push(3, 2) == [3]


def test_the_recipe_s_inbox_is_ordered() -> None:
    """Each once; what it sent is had; after a break it begins where the welcome says."""
    talk = Talk("recipe")
    talk.session.send_private("bob", "mine", talk.now)
    talk.asked()
    assert talk.whisper(3, 1) == [1]
    assert seqs_of(talk.private_ack("id-1", 2)) == [3]
    assert talk.whisper(5) == []
    assert seqs_of(talk.session.disconnected()) == [5]
    talk.session.connected(talk.now)
    talk.welcome(0, inbox=8)
    assert talk.whisper(8, 9) == [9]
    assert talk.asked() == []


def test_the_recipe_s_inbox_does_not_fall_back_to_what_it_sent() -> None:
    """The ack comes again, on the next connection and before its welcome: the inbox begins where that says."""
    talk = Talk("recipe")
    talk.session.send_private("bob", "mine", talk.now)
    talk.asked()
    assert talk.whisper(1, 2) == [1, 2]
    talk.session.disconnected()
    talk.session.connected(talk.now)
    talk.private_ack("id-1", 1)
    talk.welcome(0, inbox=4)
    assert talk.whisper(5) == [5]


def test_the_recipe_may_enter_by_another_room() -> None:
    """It is where it entered."""
    talk = Talk("recipe")
    talk.session.disconnected()
    talk.session.connected(talk.now, "general")
    assert talk.session.room == "general"
    assert talk.push(1) == []


def test_the_recipe_can_t_ask_for_what_it_passes_over() -> None:
    """So it takes no copy for its own but the one its ack names, however late that comes."""
    talk = Talk("recipe")
    talk.session.send_private("bob", "mine", talk.now)
    talk.asked()
    assert talk.whisper(1, sender="u", target="bob", text="mine") == [1]
    for _ in range(TRIES):
        talk.now += REPLY_WITHIN
        talk.session.tick(talk.now)
    assert not talk.session.busy
    talk.private_ack("id-1", 2)
    assert talk.whisper(3) == [3]
