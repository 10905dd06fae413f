"""Faults in what real clients are sent, and in the clients themselves, reach the audit's findings by name."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from client.following import Following
from domain.events import Ack, Chat
from loadtest.audit import Audit, audit
from loadtest.clients import LoadClient
from loadtest.ledger import Ledger
from loadtest.plan import Plan, plan_messages
from loadtest.share import senders_of

CLIENTS, MESSAGES = 20, 1000
"""In two rooms: 10,000 deliveries."""
VICTIM = 5
SEQ = 33
Frames = list[dict[str, Any]]
"""The data of chat events, in the order in which a client gets them."""


def audited(fault: Callable[[Frames], Frames] = lambda frames: frames) -> Audit:
    """Clients that get every message of their room, one of them with a fault; what history is asked for is gone."""
    plan = Plan("ws://h", clients=CLIENTS, rooms=2, rate=MESSAGES, seconds=1, name="x")
    ledger = Ledger(random.Random(0))
    clients = [LoadClient(it, plan, ledger, random.Random(it)) for it in range(CLIENTS)]
    ledger.open(plan_messages(plan, senders_of(plan, ()), start=10.0))
    rooms: dict[str, Frames] = {}
    for it in ledger.messages:
        log = rooms.setdefault(it.room, [])
        it.sent_at = it.due
        ledger.under_way[it.client_id] = it
        ack = Ack(client_id=it.client_id, message_id="m", room_id=it.room, epoch=1, seq=len(log) + 1)
        ledger.acknowledged(ack, it.due + 0.01)
        log.append(chat(it.room, ack.seq, it.text))
    for client in clients:
        log = rooms[client.room]
        client.session.connected(10.0)
        client.received(welcome(client))
        for data in fault(list(log)) if client.number == VICTIM else log:
            client.received(json.dumps({"type": "chat", "data": data}).encode())
        answer_history(client, len(log))
    return audit(ledger.messages, [it.log for it in clients])


def chat(room: str, seq: int, text: str) -> dict[str, Any]:
    who = {"senderId": "ada", "senderName": "Ada", "timestamp": 1, "sentAt": 1}
    return {"messageId": f"m{seq}", "roomId": room, "message": text, "epoch": 1, "seq": seq, **who}


def welcome(client: LoadClient) -> bytes:
    data = {"connectionId": "c", "userId": client.log.name, "roomId": client.room, "message": "", "protocol": 1}
    data |= {"epoch": 1, "head": 0, "inbox": {"epoch": 1, "seq": 0}, "reconnectAt": 1, "timestamp": 1, "sentAt": 1}
    return json.dumps({"type": "welcome", "data": data}).encode()


def answer_history(client: LoadClient, head: int) -> None:
    """There is no such entry any more."""
    for frame in client.session.frames():
        request = json.loads(frame)
        if request["type"] == "history":
            data = {"clientId": request["clientId"], "roomId": client.room, "epoch": 1, "head": head, "entries": []}
            client.received(json.dumps({"type": "history", "data": data}).encode())


def named(result: Audit, *kinds: str) -> list[str]:
    """The findings, all of them at the victim."""
    assert sorted({it.kind for it in result.findings}) == sorted(kinds)
    assert all(f"client load-x-{VICTIM}, room load-x-" in str(it) for it in result.findings)
    return [str(it) for it in result.findings]


def test_no_fault() -> None:
    """10,000 deliveries, and nothing to find."""
    result = audited()
    assert (result.expected, result.received, result.violated) == (10_000, 10_000, False)


def test_one_delivery_in_10_000_is_dropped() -> None:
    """Lost, with the message's clientId and its words; the others are counted."""
    result = audited(lambda frames: frames[: SEQ - 1] + frames[SEQ:])
    # The odd clients are in the room that gets every other message.
    (said,) = named(result, "lost")
    assert said.endswith(f"epoch 1, seq {SEQ}, clientId x-0000065, “message 65 of run x”")
    assert (result.expected, result.received) == (10_000, 9_999)


def test_two_messages_change_places() -> None:
    """Each is where the other was said to be."""

    def swap(frames: Frames) -> Frames:
        one, other = frames[SEQ - 1], frames[SEQ]
        frames[SEQ - 1], frames[SEQ] = {**one, "message": other["message"]}, {**other, "message": one["message"]}
        return frames

    said = "".join(named(audited(swap), "wrong_body"))
    assert f"seq {SEQ}," in said
    assert f"seq {SEQ + 1}," in said


@pytest.fixture
def heedless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that give their user whatever comes, as it comes."""

    def arrive(self: Following, event: Chat) -> tuple[Chat, ...]:
        return (event,)

    monkeypatch.setattr(Following, "arrive", arrive)


@pytest.mark.usefixtures("heedless")
def test_two_messages_come_in_the_wrong_order() -> None:
    """Where the client does not put them right, its user has the earlier one too late."""
    result = audited(lambda frames: [*frames[: SEQ - 1], frames[SEQ], frames[SEQ - 1], *frames[SEQ + 1 :]])
    assert f"seq {SEQ}," in named(result, "out_of_order")[0]


@pytest.mark.usefixtures("heedless")
def test_a_message_comes_twice() -> None:
    """A repeat on the wire is allowed; past the client's ordering it is not."""
    result = audited(lambda frames: [*frames[:SEQ], *frames[SEQ - 1 :]])
    assert f"seq {SEQ}," in named(result, "out_of_order")[0]
    assert result.duplicates == 1


def test_a_message_of_another_room() -> None:
    """Received by a non-member, although its user never saw it."""
    other = chat("load-x-0", SEQ, "message 64 of run x")
    (said,) = named(audited(lambda frames: [*frames, other]), "to_non_member")
    assert f"room load-x-0, epoch 1, seq {SEQ}, clientId x-0000064" in said
