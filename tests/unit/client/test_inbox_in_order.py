"""The inbox whatever the wire does: random schedules of a user with two devices against a model of the service."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from client.events import Missed, Released
from client.session import Dialect, Session
from domain.events import Ack, Error, PrivateMessage
from tests.unit.client.talk import event, private

PAGE = 3
STEPS = (
    *("send", "send", "hear", "hear", "other device"),
    *("push", "push", "push", "push again", "carry out", "carry out", "carry out", "answer", "answer", "lose answer"),
    *("break", "welcome", "wait", "ping"),
)


@dataclass
class Stored:
    sender: str
    text: str
    connection: int | None = None
    """The connection of the session under test that sent it."""
    client_id: str | None = None


@dataclass
class Service:
    """The user's inbox, and what is on its way: pushes, requests, answers. Any may be late, mixed up or lost."""

    seed: int
    same: bool
    """Whether all that the user says has one text, so that only `clientId` tells the devices' messages apart."""
    dialect: Dialect = "v1"
    log: list[Stored] = field(default_factory=list)
    once: dict[str, int] = field(default_factory=dict)
    owed: list[int] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    seen: list[int] = field(default_factory=list)
    acked: list[int] = field(default_factory=list)
    given_up: set[str] = field(default_factory=set)
    """Messages that were tried too often; whether they are stored, and their copies seen, is open."""
    connection: int = 1
    now: float = 0.0

    def __post_init__(self) -> None:
        ids = itertools.count()
        self.draw = random.Random(self.seed)
        self.log = [Stored("bob", "of old") for _ in range(self.draw.randrange(4))]
        self.first = len(self.log)
        self.texts = itertools.count()
        self.session = Session(
            "den", new_id=lambda: f"id-{next(ids)}", draw=random.Random(self.seed), dialect=self.dialect
        )
        self.session.connected(self.now)
        self.give(self.welcome())

    # ---- the wire

    def give(self, frame: str) -> None:
        self.take(self.session.receive(frame, self.now))

    def take(self, released: Iterable[Released]) -> None:
        for it in released:
            assert not isinstance(it, Missed), it
            if isinstance(it, PrivateMessage):
                assert (it.sender_id, it.message) == (self.log[it.seq - 1].sender, self.log[it.seq - 1].text)
                self.seen.append(it.seq)
            elif isinstance(it, Ack):
                self.acked.append(it.seq)
            elif isinstance(it, Error):
                assert it.client_id is not None
                self.given_up.add(it.client_id)
        self.requests += [json.loads(it) for it in self.session.frames()]

    def welcome(self) -> str:
        words = {"connectionId": "c", "userId": "u", "message": "", "protocol": 1, "timestamp": 1, "sentAt": 1}
        place = {"inbox": {"epoch": 1, "seq": len(self.log)}, "reconnectAt": 1}
        return event("welcome", roomId="den", epoch=1, head=0, **place, **words)

    def entry(self, seq: int) -> str:
        stored = self.log[seq - 1]
        target = "bob" if stored.sender == "u" else "u"
        return private(seq, sender=stored.sender, target=target, text=stored.text, client_id=stored.client_id)

    def store(self, stored: Stored) -> int:
        self.log.append(stored)
        if stored.connection is None:
            self.owed.append(len(self.log))
        return len(self.log)

    def push(self, seq: int) -> None:
        if self.log[seq - 1].connection != self.connection:
            self.give(self.entry(seq))

    def own_text(self) -> str:
        return "same" if self.same else f"own {next(self.texts)}"

    def answer(self, request: dict[str, Any]) -> str:
        key, head = request["clientId"], len(self.log)
        if request["type"] == "private_message":
            if key not in self.once:
                self.once[key] = self.store(Stored("u", request["message"], self.connection, key))
            words = {"messageId": "m", "roomId": "inbox#u", "epoch": 1, "online": True}
            return event("ack", clientId=key, seq=self.once[key], **words)
        if request["type"] == "ping":
            heads = {"den": {"epoch": 1, "seq": 0}, "inbox#u": {"epoch": 1, "seq": head}}
            return event("pong", clientId=key, time=1, heads=heads)
        if request["type"] == "join_room":
            return event("joined", clientId=key, roomId="den", epoch=1, head=0, recovered=True, events=[])
        seqs = list(range(request["after"] + 1, head + 1))[:PAGE]
        more = {"next": seqs[-1]} if seqs and seqs[-1] < head else {}
        entries = [json.loads(self.entry(it)) for it in seqs]
        return event("history", clientId=key, roomId="inbox#u", epoch=1, head=head, entries=entries, **more)

    # ---- what happens

    def step(self, name: str) -> None:
        draw = self.draw
        if name == "send":
            self.session.send_private("bob", self.own_text(), self.now)
        elif name == "hear":
            self.store(Stored("bob", f"to you {next(self.texts)}"))
        elif name == "other device":
            self.store(Stored("u", self.own_text(), client_id=f"other-{len(self.log)}"))
        elif name == "push" and self.owed:
            self.push(self.owed.pop(draw.randrange(len(self.owed))))
        elif name == "push again" and len(self.log) > self.first:
            # Who serves an inbox anew pushes what is stored to whoever is there, also to who has come since.
            self.push(draw.randrange(self.first, len(self.log)) + 1)
        elif name == "carry out" and self.requests:
            self.answers.append(self.answer(self.requests.pop(draw.randrange(len(self.requests)))))
        elif name in {"answer", "lose answer"} and self.answers:
            frame = self.answers.pop(draw.randrange(len(self.answers)))
            if name == "answer":
                self.give(frame)
        elif name == "break" and self.dialect == "v1":
            self.owed.clear()
            self.requests.clear()
            self.answers.clear()
            self.connection += 1
            self.take(self.session.disconnected())
            self.session.connected(self.now)
        elif name == "welcome" and self.dialect == "v1":
            self.give(self.welcome())
        elif name == "wait":
            self.now += 11
            self.take(self.session.tick(self.now))
        elif name == "ping" and self.dialect == "v1":
            self.session.ping(self.now)
        self.take(())

    def heal(self) -> None:
        """Every answer comes; v1 clients ping once."""
        self.step("ping")
        while self.session.busy:
            while self.requests or self.answers:
                self.step("carry out")
                self.step("answer")
            self.step("wait")

    @property
    def others(self) -> list[int]:
        """What this session did not send, since it came."""
        own = set(self.once.values())
        return [it for it in range(self.first + 1, len(self.log) + 1) if it not in own]

    @property
    def seen_of_others(self) -> list[int]:
        unsure = {self.once.get(it, 0) for it in self.given_up}
        return [it for it in self.seen if it not in unsure]


schedules = st.lists(st.sampled_from(STEPS), max_size=80)


@settings(max_examples=300)
@given(st.integers(0, 2**32), st.booleans(), schedules)
def test_what_others_say_comes_once_and_what_we_say_never(seed: int, same: bool, steps: list[str]) -> None:
    """Pushes and answers lost, repeated and mixed up, sockets broken: after one ping all is there, in order."""
    service = Service(seed, same)
    for name in steps:
        service.step(name)
    service.heal()
    assert service.seen_of_others == service.others
    assert set(service.acked) == {seq for client_id, seq in service.once.items() if client_id not in service.given_up}
    assert service.session.cursor("inbox#u") == (1, len(service.log))


@settings(max_examples=150)
@given(st.integers(0, 2**32), schedules)
def test_the_recipe_s_inbox(seed: int, steps: list[str]) -> None:
    """Pushes repeated and mixed up, answers lost, no push lost: the same, without asking."""
    service = Service(seed, same=False, dialect="recipe")
    for name in steps:
        service.step(name)
    service.heal()
    while service.owed:
        service.step("push")
    assert service.seen_of_others == service.others
