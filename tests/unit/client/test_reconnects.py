"""The session by hand: over one connection after the other."""

from __future__ import annotations

import json

import pytest

from client.outbox import REPLY_WITHIN
from client.session import PING_EVERY
from domain.events import Chat, Error, Reauthenticated
from domain.requests import Reauth
from tests.unit.client.talk import LIFE, Talk, chat, seqs_of


def test_a_connection_grows_stale() -> None:
    """At `reconnectAt`, counted from `sentAt`; the next one begins afresh."""
    talk = Talk()
    assert not talk.session.stale(talk.now + LIFE - 1)
    assert talk.session.stale(talk.now + LIFE)
    dues = set()
    while (due := talk.session.due()) is not None and not talk.session.stale(due):
        dues.add(due)
        talk.session.tick(due)
        for ping in talk.asked():
            talk.now = due
            talk.give("pong", clientId=ping["clientId"], time=1, heads={"den": {"epoch": 1, "seq": 0}})
    assert due == 100 + LIFE
    assert len(dues) == pytest.approx(LIFE / PING_EVERY, rel=0.25)
    talk.now = due
    talk.reconnect()
    assert not talk.session.stale(talk.now)
    talk.welcome(0)
    assert talk.session.stale(talk.now + LIFE)


@pytest.mark.parametrize("late", [0, LIFE], ids=["in time", "when it is stale"])
def test_a_fresh_token_lengthens_the_connection(late: float) -> None:
    """By what `reauthenticated` says, on the clock of the welcome's `sentAt`; and the token is not sent again."""
    talk = Talk()
    welcomed = talk.now
    talk.now += late
    talk.session.tick(talk.now)
    assert talk.session.stale(talk.now) == bool(late)
    talk.session.ask(Reauth(token="fresh"), talk.now)
    [asked] = [it for it in talk.asked() if it["type"] == "reauth"]
    [told] = talk.give("reauthenticated", clientId=asked["clientId"], reconnectAt=5_000 + 3 * LIFE * 1000)
    assert isinstance(told, Reauthenticated)
    assert not talk.session.stale(welcomed + 3 * LIFE - 1)
    assert talk.session.stale(welcomed + 3 * LIFE)
    talk.session.tick(talk.now + 60)
    assert "reauth" not in {it["type"] for it in talk.asked()}


def test_what_an_expired_token_refuses_is_sent_on_the_next_connection() -> None:
    """A message and what is missing in the log: neither is lost, and the connection is stale."""
    talk = Talk()
    said = talk.session.send("den", "hello", talk.now)
    talk.push(2)
    asked = {it["type"]: it["clientId"] for it in talk.asked()}
    assert set(asked) == {"chat", "history"}
    assert not talk.session.stale(talk.now)
    for client_id in asked.values():
        assert not talk.give("error", code="TOKEN_EXPIRED", message="over", clientId=client_id)
    assert talk.session.stale(talk.now)
    assert talk.session.cursor("den") == (1, 0)
    [join] = talk.reconnect()
    assert (join["type"], join["since"]) == ("join_room", 0)
    words = {"roomId": "den", "epoch": 1, "head": 2, "recovered": False, "events": []}
    talk.give("joined", clientId=join["clientId"], **words)
    again = {it["type"]: it for it in talk.asked()}
    assert (again["chat"]["clientId"], again["history"]["after"]) == (said, 0)


def test_a_room_that_is_full_in_the_end_is_told() -> None:
    """It is joined again three times, in case it is our old connection that takes the place; a wish to join is not."""
    talk = Talk()
    [join] = talk.reconnect()
    for _ in range(2):
        assert not talk.give("error", code="ROOM_FULL", message="full", clientId=join["clientId"])
        talk.now += 2 * REPLY_WITHIN
        talk.session.tick(talk.now)
        assert talk.ask() == join
    [told] = talk.give("error", code="ROOM_FULL", message="full", clientId=join["clientId"])
    assert isinstance(told, Error)
    assert not talk.session.follows("den")
    wish = talk.session.join("nook", talk.now)
    assert len(talk.give("error", code="ROOM_FULL", message="full", clientId=wish)) == 1


def test_a_fresh_token_that_is_none_is_told() -> None:
    """Its sender has to find another."""
    talk = Talk()
    asked = talk.session.ask(Reauth(token="old"), talk.now)
    [refused] = talk.give("error", code="TOKEN_EXPIRED", message="over", clientId=asked)
    assert isinstance(refused, Error)


def test_a_stale_connection_asks_for_no_more_ticks() -> None:
    """It is told of once: who opens the next connection meanwhile is not woken for it again and again."""
    talk = Talk()
    talk.now += LIFE
    talk.session.tick(talk.now)
    assert talk.session.stale(talk.now)
    due = talk.session.due()
    assert due is not None
    assert due > talk.now


def test_the_recipe_does_not_grow_stale() -> None:
    """It would miss what is said between two connections; let it be cut."""
    talk = Talk("recipe")
    assert not talk.session.stale(talk.now + 2 * LIFE)


def test_a_connection_may_enter_by_another_room() -> None:
    """Where the one to name is closed: every room followed, then `general`, which is left again."""
    talk = Talk()
    talk.session.join("attic", talk.now)
    talk.give("joined", clientId=talk.ask()["clientId"], roomId="attic", epoch=1, head=0, recovered=False, events=[])
    assert talk.session.entrances == ["den", "attic", "general"]
    talk.session.disconnected()
    talk.session.connected(talk.now, "general")
    requests = [(it["type"], it["roomId"]) for it in talk.asked()]
    assert requests == [("join_room", "den"), ("join_room", "attic"), ("leave_room", "general")]


def test_rooms_are_joined_again_with_since() -> None:
    """Before anything else is sent; what was missed comes with the answer or by history."""
    talk = Talk()
    talk.push(1, 2)
    talk.session.send("den", "under way", talk.now)
    talk.asked()
    (rejoin,) = talk.reconnect()
    assert (rejoin["type"], rejoin["since"], rejoin["epoch"]) == ("join_room", 2, 1)
    events = [json.loads(chat(it)) for it in (3, 4)]
    answer = {"clientId": rejoin["clientId"], "roomId": "den", "epoch": 1, "head": 4}
    released = talk.give("joined", **answer, recovered=True, events=events)
    assert [type(it) for it in released] == [Chat, Chat]
    again = talk.ask()
    assert (again["clientId"], again["message"]) == ("id-1", "under way")


def test_what_can_t_be_recovered_is_asked_for() -> None:
    """`recovered: false` never means that nothing was missed."""
    talk = Talk()
    (rejoin,) = talk.reconnect()
    assert talk.push(9) == []
    answer = {"clientId": rejoin["clientId"], "roomId": "den", "epoch": 1, "head": 8}
    talk.give("joined", **answer, recovered=False, events=[])
    assert talk.ask()["after"] == 0


def test_a_gap_open_at_the_break_is_closed_by_the_join() -> None:
    """No history is asked while the join is under way."""
    talk = Talk()
    talk.push(3)
    talk.asked()
    (rejoin,) = talk.reconnect()
    assert talk.push(4) == []
    assert talk.asked() == []
    events = [json.loads(chat(it)) for it in (1, 2, 3, 4)]
    answer = {"clientId": rejoin["clientId"], "roomId": "den", "epoch": 1, "head": 4}
    assert seqs_of(talk.give("joined", **answer, recovered=True, events=events)) == [1, 2, 3, 4]


def test_a_room_that_can_t_be_joined_again_is_given_up() -> None:
    """The user hears why."""
    talk = Talk()
    (rejoin,) = talk.reconnect()
    answer = {"code": "BANNED", "message": "", "request": "join_room", "clientId": rejoin["clientId"]}
    (error,) = talk.give("error", **answer)
    assert isinstance(error, Error)
    assert talk.session.cursor("den") is None


def test_a_client_in_no_room_leaves_the_one_it_must_connect_to() -> None:
    """A connection joins a room when it opens, wanted or not."""
    talk = Talk()
    talk.session.leave("den", talk.now)
    talk.give("left", clientId=talk.ask()["clientId"], roomId="den")
    assert talk.session.room == "den"
    assert [it["type"] for it in talk.reconnect()] == ["leave_room"]
