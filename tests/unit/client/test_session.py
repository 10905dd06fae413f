"""The session by hand: requests and their answers, the order of entries, and what is in no log."""

from __future__ import annotations

import json

import pytest

from client.errors import RequestRefused
from client.events import Missed, Opaque, Released
from client.following import HELD_LIMIT
from client.outbox import REPLY_WITHIN, TRIES
from client.session import LATE_ENTRIES, LATE_PUSH
from domain.events import (
    Ack,
    Error,
    Joined,
    MemberList,
    NoticesSet,
    PresenceChanged,
    RoomList,
    RoomStats,
    UserJoined,
    UserLeft,
    UserTyping,
)
from domain.requests import SetNotices
from tests.unit.client.talk import GATEWAY_ERROR, Talk, chat, event, seqs_of

# ------------------------------------------------------------------------------------------------ requests


def test_whom_a_message_mentions_goes_with_it() -> None:
    """And nothing goes where nobody is."""
    talk = Talk()
    talk.session.send("den", "@bob!", talk.now, mentions=["bob"])
    talk.session.send("hall", "well", talk.now)
    assert [it.get("mentions") for it in talk.asked()] == [["bob"], None]


def test_one_message_a_room_is_under_way() -> None:
    """The next goes out when the one before is acknowledged; another room does not wait."""
    talk = Talk()
    for room, text in (("den", "one"), ("den", "two"), ("attic", "three")):
        talk.session.send(room, text, talk.now)
    assert [(it["roomId"], it["message"]) for it in talk.asked()] == [("den", "one"), ("attic", "three")]
    (ack,) = talk.give("ack", clientId="id-1", messageId="m", roomId="den", epoch=1, seq=1)
    assert isinstance(ack, Ack)
    assert talk.ask() == {"type": "chat", "clientId": "id-2", "roomId": "den", "message": "two"}


def test_a_message_waits_for_the_join() -> None:
    """A message to a room whose join is under way goes out after the answer."""
    talk = Talk()
    talk.session.join("attic", talk.now)
    talk.session.send("attic", "hello", talk.now)
    assert talk.ask()["type"] == "join_room"
    (joined,) = talk.give("joined", clientId="id-1", roomId="attic", epoch=1, head=4, recovered=False, events=[])
    assert isinstance(joined, Joined)
    assert talk.ask()["message"] == "hello"
    assert talk.push(4, 5, room="attic") == [5]


@pytest.mark.parametrize(
    "refusal",
    [
        event("error", code="ROOM_BUSY", message="", request="chat", clientId="id-1", retryAfter=2),
        event("error", code="RATE_LIMITED", message="", request="chat", clientId="id-1", retryAfter=2),
        event("error", code="INTERNAL", message="", request="chat", clientId="id-1"),
        GATEWAY_ERROR,
    ],
)
def test_a_refusal_that_will_pass_is_tried_again(refusal: str) -> None:
    """The same request goes again under the same clientId, after a pause; the user sees nothing."""
    talk = Talk()
    talk.session.send("den", "hello", talk.now)
    first = talk.ask()
    assert list(talk.session.receive(refusal, talk.now)) == []
    assert talk.asked() == []
    due = talk.session.due()
    assert due is not None
    assert due > talk.now + (2 if "retryAfter" in refusal else 0)
    talk.session.tick(due)
    assert talk.ask() == first


def test_a_refusal_that_lasts_is_told() -> None:
    """A slow room's minutes are the user's to know of; what stands behind the message does not wait for them."""
    talk = Talk()
    talk.session.send("den", "hello", talk.now)
    talk.session.send("den", "again", talk.now)
    talk.ask()
    (error,) = talk.give("error", code="RATE_LIMITED", message="", request="chat", clientId="id-1", retryAfter=31)
    assert isinstance(error, Error)
    assert talk.ask()["message"] == "again"


def test_a_request_without_an_answer_goes_again() -> None:
    """Ten times; then the user is told."""
    talk = Talk()
    talk.session.send("den", "hello", talk.now)
    for _ in range(TRIES):
        assert talk.ask()["clientId"] == "id-1"
        talk.now += REPLY_WITHIN
        released = talk.session.tick(talk.now)
    (error,) = released
    assert isinstance(error, Error)
    assert (error.code, error.client_id, error.message) == ("INTERNAL", "id-1", "No answer to 10 tries")
    assert not talk.session.busy


def test_a_final_refusal_frees_the_line() -> None:
    """The user gets the error, and the next message goes out."""
    talk = Talk()
    talk.session.send("den", "", talk.now)
    talk.session.send("den", "more", talk.now)
    talk.asked()
    (error,) = talk.give("error", code="EMPTY_MESSAGE", message="m", request="chat", clientId="id-1")
    assert isinstance(error, Error)
    assert talk.ask()["message"] == "more"


def test_a_message_that_fits_no_frame_is_refused_here() -> None:
    """The service would close the socket for it, and again after the reconnect."""
    talk = Talk()
    with pytest.raises(RequestRefused, match="TOO_LARGE"):
        talk.session.send("den", "x" * 40_000, talk.now)
    assert not talk.session.busy


# ------------------------------------------------------------------------------------------------ order


def test_a_duplicate_is_dropped() -> None:
    """At least once on the wire, once for the user."""
    talk = Talk()
    assert talk.push(1, 1, 2, 1, 2, 3) == [1, 2, 3]
    assert talk.observed == [(seq, False) for seq in (1, 1, 2, 1, 2, 3)]


def test_a_gap_is_asked_for_once() -> None:
    """What comes early waits; one history request; its answer releases all in order."""
    talk = Talk(head=3)
    assert talk.push(6, 8) == []
    request = talk.ask()
    assert (request["type"], request["roomId"], request["after"]) == ("history", "den", 3)
    assert seqs_of(talk.pages(request["clientId"], [4, 5, 6, 7, 8], 8)) == [4, 5, 6, 7, 8]
    assert talk.asked() == []
    assert talk.push(9) == [9]


def test_a_late_push_closes_the_gap_before_history_does() -> None:
    """The answer then has nothing new, and nothing is released twice."""
    talk = Talk()
    assert talk.push(2) == []
    request = talk.ask()
    assert talk.push(1) == [1, 2]
    assert list(talk.pages(request["clientId"], [1, 2], 2)) == []


def test_pages_are_turned() -> None:
    """`next` asks for the page that follows."""
    talk = Talk()
    talk.give("head", roomId="den", epoch=1, seq=5, timestamp=1, sentAt=1)
    assert seqs_of(talk.pages(talk.ask_later()["clientId"], [1, 2], 5, next=2)) == [1, 2]
    second = talk.ask()
    assert second["after"] == 2
    assert seqs_of(talk.pages(second["clientId"], [3, 4, 5], 5)) == [3, 4, 5]
    assert talk.asked() == []


def test_an_entry_stored_after_the_question_is_not_taken_for_lost() -> None:
    """A page that ends before the head says nothing of entries that may have come while it was read."""
    talk = Talk()
    talk.push(2)
    request = talk.ask()
    assert seqs_of(talk.pages(request["clientId"], [1, 2], 3)) == [1, 2]
    assert talk.ask()["after"] == 2


def test_what_the_log_has_lost_is_named() -> None:
    """Entries below what was known when history was asked, and not in it, are gone: the rest goes on."""
    talk = Talk()
    talk.push(4, 7)
    released = talk.pages(talk.ask()["clientId"], [4, 6], 7)
    assert list(released[:1]) == [Missed(room_id="den", epoch=1, first=1, last=3)]
    assert seqs_of(released) == [4, 6, 7]
    assert released[2] == Missed(room_id="den", epoch=1, first=5, last=5)


def test_history_that_is_refused_does_not_stop_the_room() -> None:
    """The gap is named, and what was held comes."""
    talk = Talk()
    talk.push(3)
    request = talk.ask()
    released = talk.give("error", code="FORBIDDEN", message="", request="history", clientId=request["clientId"])
    assert released[0] == Missed(room_id="den", epoch=1, first=1, last=2)
    assert seqs_of(released) == [3]


def test_who_is_refused_history_as_no_member_joins_again() -> None:
    """Nothing is given up: what is missing comes with the answer."""
    talk = Talk()
    talk.push(3)
    request = talk.ask()
    assert not talk.give("error", code="NOT_A_MEMBER", message="", request="history", clientId=request["clientId"])
    again = talk.ask()
    assert (again["type"], again["roomId"], again["since"]) == ("join_room", "den", 0)
    answer = {"clientId": again["clientId"], "roomId": "den", "epoch": 1, "head": 3, "recovered": True}
    assert seqs_of(talk.give("joined", **answer, events=[json.loads(chat(it)) for it in (1, 2, 3)])) == [1, 2, 3]


def test_the_last_entries_of_a_room_deleted_twice_are_waited_for() -> None:
    """History knows the room's last life alone, but members are still pushed those of the life before."""
    talk = Talk()
    talk.push(3)
    refusal = {"code": "ROOM_NOT_FOUND", "message": "", "request": "history"}
    assert not talk.give("error", **refusal, clientId=talk.ask()["clientId"])
    talk.now += LATE_PUSH
    assert list(talk.session.tick(talk.now)) == []
    assert talk.push(1, 2) == [1, 2, 3]


def test_entries_that_neither_come_nor_can_be_asked_for_are_named() -> None:
    """The wait for them ends."""
    talk = Talk()
    talk.push(3)
    refusal = {"code": "ROOM_NOT_FOUND", "message": "", "request": "history"}
    until, released = talk.now + LATE_ENTRIES, list[Released]()
    while not released:
        assert talk.now <= until + LATE_PUSH
        released += talk.give("error", **refusal, clientId=talk.ask()["clientId"])
        talk.now += LATE_PUSH
        talk.session.tick(talk.now)
    assert released[0] == Missed(room_id="den", epoch=1, first=1, last=2)
    assert seqs_of(released) == [3]


def test_a_batch_is_taken_apart() -> None:
    """Its events are as if they had come one by one; one that can't be read is skipped."""
    talk = Talk()
    events = [json.loads(chat(1)), {"type": "chat", "data": {}}, json.loads(chat(2)), json.loads(chat(2))]
    assert seqs_of(talk.give("batch", events=events)) == [1, 2]


def test_an_unknown_kind_of_entry_keeps_its_place() -> None:
    """A later version's durable event is ordered like a message; an ephemeral one passes."""
    talk = Talk()
    assert list(talk.give("poll", roomId="den", epoch=1, seq=2, choice="x")) == []
    (first, second) = talk.session.receive(chat(1), talk.now)
    assert seqs_of([first]) == [1]
    assert isinstance(second, Opaque)
    assert (second.type, second.seq, json.loads(bytes(second.data))["choice"]) == ("poll", 2, "x")
    (mood,) = talk.give("mood", roomId="den")
    assert isinstance(mood, Opaque)


def test_a_frame_of_no_known_form_is_ignored() -> None:
    """Neither JSON nor an event."""
    talk = Talk()
    assert list(talk.session.receive("{", talk.now)) == []
    assert list(talk.session.receive('{"what": 1}', talk.now)) == []


def test_more_than_can_be_held_comes_by_history() -> None:
    """A client far behind keeps a bounded number of early entries, and misses none."""
    talk = Talk()
    talk.push(*range(2, HELD_LIMIT + 52))
    head = HELD_LIMIT + 51
    released: list[int] = []
    while requests := talk.asked():
        (request,) = requests
        page = list(range(request["after"] + 1, min(head, request["after"] + 100) + 1))
        more = {"next": page[-1]} if page[-1] < head else {}
        released += seqs_of(talk.pages(request["clientId"], page, head, **more))
    assert released == list(range(1, head + 1))


def test_a_duplicate_before_a_gap_is_forgotten() -> None:
    """What is named missing is what never came."""
    talk = Talk()
    talk.push(1, 1, 3)
    released = talk.pages(talk.ask()["clientId"], [3], 3)
    assert released[0] == Missed(room_id="den", epoch=1, first=2, last=2)
    assert seqs_of(released) == [3]


# ------------------------------------------------------------------------------------------------ what is in no log


def test_who_comes_and_goes_is_passed_on() -> None:
    """As it comes, of every room."""
    talk = Talk()
    times = {"roomId": "attic", "timestamp": 1, "sentAt": 1}
    released = [
        *talk.give("user_joined", userId="a", username="A", **times),
        *talk.give("user_left", userId="a", username="A", **times),
        *talk.give("typing", userId="a", username="A", **times),
        *talk.give("room_stats", activeUsers=77, **times),
    ]
    assert [type(it) for it in released] == [UserJoined, UserLeft, UserTyping, RoomStats]


def test_rooms_and_members_are_asked_page_by_page() -> None:
    """The replies are the user's."""
    talk = Talk()
    talk.session.list_rooms(talk.now, cursor="m")
    talk.session.list_members("den", talk.now)
    rooms, members = talk.asked()
    assert rooms == {"type": "room_list", "clientId": "id-1", "cursor": "m"}
    assert members == {"type": "members", "clientId": "id-2", "roomId": "den"}
    (page,) = talk.give("room_list", clientId="id-1", rooms=[])
    assert isinstance(page, RoomList)
    (who,) = talk.give(
        "members", clientId="id-2", roomId="den", members=[{"userId": "a", "username": "A", "status": "away"}]
    )
    assert isinstance(who, MemberList)
    assert not talk.session.busy


def test_whether_notices_are_wanted_is_a_request_like_others() -> None:
    """Sent again until it is answered; the answer is the user's."""
    talk = Talk()
    named = talk.session.ask(SetNotices(enabled=False), talk.now)
    assert talk.ask() == {"type": "notices", "clientId": named, "enabled": False}
    talk.session.disconnected()
    assert talk.session.busy
    talk.session.connected(talk.now)
    talk.welcome(0)
    assert {"type": "notices", "clientId": named, "enabled": False} in talk.asked()
    assert NoticesSet(client_id=named, enabled=False) in talk.give("notices", clientId=named, enabled=False)


def test_typing_waits_for_nothing() -> None:
    """It is sent once, and only over an open connection."""
    talk = Talk()
    talk.session.typing("den")
    assert talk.ask() == {"type": "typing", "roomId": "den"}
    assert not talk.session.busy
    talk.session.disconnected()
    talk.session.typing("den")
    talk.session.connected(talk.now)
    assert [it["type"] for it in talk.asked()] == ["join_room"]


# ------------------------------------------------------------------------------------------------ how the user is


def test_a_status_is_said_again_on_the_next_connection() -> None:
    """It belonged to the one before; the reply to that is nobody's news."""
    talk = Talk()
    status = {"userId": "u", "status": "away", "since": 1}
    words = {"roomId": "inbox#u", "members": [status], "timestamp": 1, "sentAt": 1}
    talk.session.presence("away", talk.now)
    assert talk.ask() == {"type": "presence", "clientId": "id-1", "status": "away"}
    (reply,) = talk.give("presence", clientId="id-1", **words)
    assert isinstance(reply, PresenceChanged)
    assert [it.status for it in reply.members] == ["away"]
    (again,) = [it for it in talk.reconnect() if it["type"] == "presence"]
    assert again["status"] == "away"
    assert again["clientId"] != "id-1"
    assert list(talk.give("presence", clientId=again["clientId"], **words)) == []
    (told,) = talk.give("presence", **words)
    assert isinstance(told, PresenceChanged)


def test_statuses_are_said_one_after_the_other() -> None:
    """Or the one before might come out on top; what was not answered is sent again first."""
    talk = Talk()
    words = {"roomId": "inbox#u", "members": [], "timestamp": 1, "sentAt": 1}
    talk.session.presence("away", talk.now)
    talk.session.presence("online", talk.now)
    assert talk.ask()["status"] == "away"
    assert [it["status"] for it in talk.reconnect() if it["type"] == "presence"] == ["away"]
    talk.give("presence", clientId="id-1", **words)
    assert talk.ask()["status"] == "online"


def test_who_is_online_need_not_say_so_again() -> None:
    """A connection is that by itself."""
    talk = Talk()
    talk.session.presence("online", talk.now)
    talk.ask()
    talk.give("presence", clientId="id-1", roomId="inbox#u", members=[], timestamp=1, sentAt=1)
    assert [it for it in talk.reconnect() if it["type"] == "presence"] == []
