"""The session by hand: frames in, events and frames out, with a clock and ids of the test's own."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Sequence
from typing import Any

import pytest

from client.errors import RequestRefused
from client.events import LogEvent, Missed, Opaque, Released
from client.following import HELD_LIMIT
from client.outbox import REPLY_WITHIN, TRIES
from client.session import ASK_AFTER, LATE_ENTRIES, LATE_PUSH, PING_EVERY, WELCOME_WITHIN, Dialect, Session
from domain.events import (
    Ack,
    Chat,
    Error,
    Joined,
    Left,
    MemberList,
    NoticesSet,
    PresenceChanged,
    PrivateMessage,
    Reauthenticated,
    RoomList,
    RoomStats,
    UserJoined,
    UserLeft,
    UserTyping,
    Welcome,
)
from domain.requests import Reauth, SetNotices

LIFE = 6_900
"""Seconds from a welcome to its `reconnectAt`."""
GATEWAY_ERROR = '{"message": "Internal server error", "connectionId": "c", "requestId": "r"}'


class Talk:
    """A session with a counter for ids and helpers that speak the wire."""

    def __init__(self, dialect: Dialect = "v1", *, head: int | None = 0) -> None:
        ids = itertools.count(1)
        self.observed: list[tuple[int, bool]] = []
        self.session = Session(
            "den", new_id=lambda: f"id-{next(ids)}", draw=random.Random(7), dialect=dialect, observe=self._observe
        )
        self.now = 100.0
        self.session.connected(self.now)
        if head is not None:
            self.welcome(head)

    def _observe(self, event: LogEvent, asked_for: bool) -> None:
        self.observed.append((event.seq, asked_for))

    def give(self, kind: str, **data: Any) -> Sequence[Released]:
        return self.session.receive(event(kind, **data), self.now)

    def welcome(self, head: int, epoch: int = 1, inbox: int = 0, user: str = "u") -> Sequence[Released]:
        words = {"connectionId": "c", "userId": user, "message": "hi", "protocol": 1, "timestamp": 1, "sentAt": 5_000}
        words |= {"inbox": {"epoch": 1, "seq": inbox}, "reconnectAt": 5_000 + 1000 * LIFE}
        return self.give("welcome", roomId="den", epoch=epoch, head=head, **words)

    def whisper(self, *seqs: int, **words: Any) -> list[int]:
        """Private messages come one by one; the seqs that were released."""
        released: list[int] = []
        for seq in seqs:
            released += seqs_of(self.session.receive(private(seq, **words), self.now))
        return released

    def private_ack(self, client_id: str, seq: int) -> Sequence[Released]:
        return self.give("ack", clientId=client_id, messageId="m", roomId="inbox#u", epoch=1, seq=seq, online=True)

    def inbox_page(self, client_id: str, entries: Sequence[str], head: int) -> Sequence[Released]:
        """The answer to a history request for the inbox."""
        page = [json.loads(it) for it in entries]
        return self.give("history", clientId=client_id, roomId="inbox#u", epoch=1, head=head, entries=page)

    def push(self, *seqs: int, epoch: int = 1, room: str = "den") -> list[int]:
        """Entries come one by one; the seqs that were released."""
        released: list[int] = []
        for seq in seqs:
            released += seqs_of(self.session.receive(chat(seq, epoch, room), self.now))
        return released

    def asked(self) -> list[dict[str, Any]]:
        """What the session sends now."""
        return [json.loads(it) for it in self.session.frames()]

    def ask(self) -> dict[str, Any]:
        """The one request that the session sends now."""
        (request,) = self.asked()
        return request

    def ask_later(self) -> dict[str, Any]:
        """The one request that the session sends when what it has heard of does not come by itself."""
        assert self.asked() == []
        due = self.session.due()
        assert due is not None
        self.now = max(due, self.now + ASK_AFTER[0])
        self.session.tick(self.now)
        return self.ask()

    def pages(self, client_id: str, seqs: Sequence[int], head: int, **more: Any) -> Sequence[Released]:
        """The answer to a history request."""
        entries = [json.loads(chat(it)) for it in seqs]
        return self.give("history", clientId=client_id, roomId="den", epoch=1, head=head, entries=entries, **more)

    def reconnect(self) -> list[dict[str, Any]]:
        self.session.disconnected()
        self.session.connected(self.now)
        return self.asked()


def event(kind: str, **data: Any) -> str:
    return json.dumps({"type": kind, "data": data})


def chat(seq: int, epoch: int = 1, room: str = "den") -> str:
    words = {"messageId": f"m{seq}", "senderId": "s", "senderName": "S", "message": f"text {seq}"}
    return event("chat", roomId=room, epoch=epoch, seq=seq, timestamp=1, sentAt=1000, **words)


def private(
    seq: int, *, sender: str = "bob", target: str = "u", text: str | None = None, client_id: str | None = None
) -> str:
    words = {"messageId": f"p{seq}", "senderId": sender, "senderName": "S", "targetUserId": target}
    words |= {} if client_id is None else {"clientId": client_id}
    place = {"roomId": "inbox#u", "epoch": 1, "seq": seq, "timestamp": 1, "sentAt": 1000}
    return event("private_message", **words, **place, message=text or f"text {seq}")


def seqs_of(released: Sequence[Released]) -> list[int]:
    return [it.seq for it in released if isinstance(it, Chat | PrivateMessage)]


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


# ------------------------------------------------------------------------------------------------ where a room is


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


# ------------------------------------------------------------------------------------------------ the inbox


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


# ------------------------------------------------------------------------------------------------ reconnects


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


# ------------------------------------------------------------------------------------------------ the recipe's dialect


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
