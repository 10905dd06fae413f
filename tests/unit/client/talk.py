"""Talking with a session by hand: frames in, events and frames out, with a clock and ids of the test's own."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Sequence
from typing import Any

from client.events import LogEvent, Released
from client.session import ASK_AFTER, Dialect, Session
from domain.events import Chat, PrivateMessage

__all__ = ["GATEWAY_ERROR", "LIFE", "Talk", "chat", "event", "private", "seqs_of"]

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
