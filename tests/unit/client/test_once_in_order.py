"""Whatever the wire does, the user sees each entry once and in order: random schedules against a model of the room."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from client.events import Missed, Released
from client.session import Dialect, Session
from domain.events import Chat
from tests.unit.client.talk import chat, event

PAGE = 3
STEPS = (
    *("store", "push", "push", "push", "push again", "answer", "answer", "lose answer"),
    *("break", "welcome", "wait", "ping"),
)


class Room:
    """A log, pushes that may come in any order, late, twice or never, and answers that may be lost."""

    def __init__(self, seed: int, dialect: Dialect, head: int) -> None:
        self.draw = random.Random(seed)
        ids = itertools.count()
        self.session = Session(
            "den", new_id=lambda: f"id-{next(ids)}", draw=random.Random(seed), dialect=dialect, observe=None
        )
        self.head = self.first = head
        self.owed: list[int] = []
        self.pushed: list[int] = []
        self.requests: list[dict[str, Any]] = []
        self.seen: list[int] = []
        self.now = 0.0
        self.session.connected(self.now)
        self.give(self.welcome())

    def welcome(self) -> str:
        words = {"connectionId": "c", "userId": "u", "message": "", "protocol": 1, "timestamp": 1, "sentAt": 1}
        words |= {"inbox": {"epoch": 1, "seq": 0}, "reconnectAt": 1}
        return event("welcome", roomId="den", epoch=1, head=self.head, **words)

    def give(self, frame: str) -> None:
        self.take(self.session.receive(frame, self.now))
        self.requests += [json.loads(it) for it in self.session.frames()]

    def take(self, released: list[Released] | Any) -> None:
        for it in released:
            assert not isinstance(it, Missed), it
            if isinstance(it, Chat):
                self.seen.append(it.seq)

    def push(self, seq: int) -> None:
        self.pushed.append(seq)
        self.give(chat(seq))

    def step(self, name: str) -> None:
        if name == "store":
            self.head += 1
            self.owed.append(self.head)
        elif name == "push" and self.owed:
            self.push(self.owed.pop(self.draw.randrange(len(self.owed))))
        elif name == "push again" and self.pushed:
            self.push(self.draw.choice(self.pushed))
        elif name in ("answer", "lose answer") and self.requests:
            request = self.requests.pop(self.draw.randrange(len(self.requests)))
            if name == "answer":
                self.give(self.answer(request))
        elif name == "break" and self.session.dialect == "v1":
            # What was not pushed yet is lost with the socket.
            self.owed.clear()
            self.requests.clear()
            self.take(self.session.disconnected())
            self.session.connected(self.now)
            self.requests += [json.loads(it) for it in self.session.frames()]
        elif name == "welcome" and self.session.dialect == "v1":
            self.give(self.welcome())
        elif name == "wait":
            self.now += 11
            self.take(self.session.tick(self.now))
            self.requests += [json.loads(it) for it in self.session.frames()]
        elif name == "ping" and self.session.dialect == "v1":
            self.session.ping(self.now)
            self.requests += [json.loads(it) for it in self.session.frames()]

    def answer(self, request: dict[str, Any]) -> str:
        place = {"clientId": request["clientId"], "roomId": "den", "epoch": 1, "head": self.head}
        if request["type"] == "ping":
            return event("pong", clientId=request["clientId"], time=1, heads={"den": {"epoch": 1, "seq": self.head}})
        after = request.get("after", request.get("since", self.head))
        entries = list(range(after + 1, self.head + 1))
        page = [json.loads(chat(it)) for it in entries[:PAGE]]
        if request["type"] == "join_room":
            whole = "since" in request and len(entries) <= PAGE
            return event("joined", **place, recovered=whole, events=page if whole else [])
        more = {"next": entries[PAGE - 1]} if len(entries) > PAGE else {}
        return event("history", **place, entries=page, **more)

    def heal(self) -> None:
        """Every answer comes; v1 clients ping once."""
        self.step("ping")
        while self.session.busy:
            while self.requests:
                self.step("answer")
            self.step("wait")


@settings(max_examples=300)
@given(st.integers(0, 2**32), st.integers(0, 5), st.lists(st.sampled_from(STEPS), max_size=80))
def test_v1_sees_each_entry_once_in_order(seed: int, head: int, steps: list[str]) -> None:
    """Pushes lost, repeated and mixed up, answers lost, sockets broken: after one ping all is there."""
    room = Room(seed, "v1", head)
    for name in steps:
        room.step(name)
    room.heal()
    assert room.seen == list(range(head + 1, room.head + 1))


@settings(max_examples=150)
@given(st.integers(0, 2**32), st.integers(0, 5), st.lists(st.sampled_from(STEPS), max_size=80))
def test_the_recipe_sees_each_entry_once_in_order(seed: int, head: int, steps: list[str]) -> None:
    """Pushes repeated and mixed up, none lost."""
    room = Room(seed, "recipe", head)
    for name in steps:
        room.step(name)
    while room.owed:
        room.step("push")
    assert room.seen == list(range(head + 1, room.head + 1))
