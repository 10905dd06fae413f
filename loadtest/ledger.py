"""The books of a run: which messages are under way, which are answered, who was given which, and how late."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from client.outbox import RETRYABLE
from domain.events import Ack, Chat, Error, Trace
from domain.requests import ChatMessage, encode_request
from loadtest.audit import Receipt
from loadtest.clients import LoadClient
from loadtest.plan import Message
from loadtest.tally import Tally

__all__ = ["Ledger"]

REPLY_WITHIN = 10.0
"""Seconds after which a message without an answer is sent again."""
PAUSE_LIMIT = 2.0
"""Seconds of jitter on top of what the service asks for."""
TRIES = 12
"""How often a message is sent before it is given up, unless the ledger is told otherwise."""


class Ledger:
    """What clients report, by message. Times are in seconds of the machine's monotonic clock."""

    def __init__(self, draw: random.Random, *, trace: bool = False) -> None:
        self.messages: list[Message] = []
        self.under_way: dict[str, Message] = {}
        """By clientId, those without an answer for good."""
        self.retries = 0
        self.last_arrival = 0.0
        """When any client was last given a message or an answer."""
        self.tries = TRIES
        """How often a message is sent at most; may be changed."""
        self.tally = Tally()
        """Latencies and answers count from when a message was due."""
        self._trace = trace
        self._draw = draw
        self._by_text: dict[str, Message] = {}
        self._receipts: dict[Receipt, Receipt] = {}

    def open(self, messages: Sequence[Message]) -> None:
        """These messages are to come."""
        self.messages = list(messages)
        self._by_text = {it.text: it for it in messages}

    def send(self, message: Message, clients: Mapping[int, LoadClient], now: float) -> None:
        """Send a message, for the first time or again; one whose sender has no socket right now waits for it."""
        request = ChatMessage(
            client_id=message.client_id, room_id=message.room, message=message.text, trace=self._trace
        )
        frame = encode_request(request)
        self.under_way[message.client_id] = message
        message.again_at = now + REPLY_WITHIN
        message.tries += 1
        if not clients[message.sender].write(frame):
            message.again_at = now + 1.0
        elif message.sent_at is None:
            message.sent_at = now
            self.tally.second(now).sent += 1
        else:
            self.retries += 1

    def send_due(self, clients: Mapping[int, LoadClient], now: float) -> None:
        """Send again what has waited long enough."""
        for message in [it for it in self.under_way.values() if it.again_at <= now]:
            if message.tries < self.tries:
                self.send(message, clients, now)
            else:
                del self.under_way[message.client_id]

    def missing(self, members: Mapping[str, int]) -> int:
        """Deliveries still owed: of each acknowledged message to the members of its room."""
        return sum(max(0, members[it.room] - it.received) for it in self.messages if it.acknowledged_at is not None)

    # ---- what clients report

    def connected(self, client: int, now: float) -> None:
        self.tally.second(now)
        self.tally.open += 1
        for message in self.under_way.values():
            if message.sender == client:
                message.again_at = now

    def disconnected(self, broken: bool, now: float) -> None:
        self.tally.second(now).errors += broken
        self.tally.open -= 1

    def framed(self, kind: str, entries: int, now: float) -> None:
        self.tally.framed(kind, entries, now)

    def message(self, chat: Chat) -> Message | None:
        """Which message this is, unless it is none of the plan's."""
        return self._by_text.get(chat.message)

    def receipt(self, chat: Chat) -> Receipt:
        message = self.message(chat)
        text = chat.message if message is None else message.text
        receipt = Receipt(chat.room_id, chat.epoch, chat.seq, text)
        return self._receipts.setdefault(receipt, receipt)

    def delivered(self, chat: Chat, now: float) -> None:
        self.last_arrival = now
        message = self.message(chat)
        if message is not None:
            message.received += 1
            message.last_at = now
            self.tally.delivered(now, now - message.due)
            if isinstance(chat.trace, Trace):
                self.tally.traced(chat.trace, message.due, now)

    def acknowledged(self, ack: Ack, now: float) -> None:
        self.last_arrival = now
        message = self.under_way.pop(ack.client_id or "", None)
        if message is not None:
            message.acknowledged_at = now
            message.epoch, message.seq = ack.epoch, ack.seq
            self.tally.answered(now, now - message.due)

    def refused(self, error: Error, now: float) -> None:
        self.tally.second(now).errors += 1
        message = self.under_way.get(error.client_id or "")
        if message is None:
            return
        if error.code in RETRYABLE:
            message.again_at = now + (error.retry_after or 0.0) + self._pause(message)
        else:
            message.refusal = error.code
            del self.under_way[message.client_id]

    def stumbled(self, client: int, now: float) -> None:
        """As the SDK does: it may have been any of the client's, and each is carried out once."""
        self.tally.second(now).errors += 1
        for message in self.under_way.values():
            if message.sender == client:
                message.again_at = min(message.again_at, now + self._pause(message))

    def _pause(self, message: Message) -> float:
        return self._draw.uniform(0, min(PAUSE_LIMIT, 0.1 * 2.0**message.tries))
