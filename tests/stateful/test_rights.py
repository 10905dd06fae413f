"""Who hears, reads, lists and joins what: in any order of joins, kicks, bans, roles, deletions and rooms made anew.

The model knows nothing of the policy table: it says of each user what the protocol's page says, one case after the
other. Every message in a room is one that says which life of the room it is from, and for whose ears it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from domain.errors import Refused
from domain.fanout import YOUNG_MS
from tests.unit.world import World

USERS = ("ada", "mo", "eve", "sam", "root")
STAFF = {"root": "admin"}
ROOMS = {"hall": "public", "den": "private", "cave": "hidden"}
ROLES = ("guest", "member", "moderator", "owner", "none")
KICK_SECONDS = 10.0
ORDER = ("stranger", "guest", "member", "moderator", "owner", "admin")

users = st.sampled_from(USERS)
targets = st.sampled_from(USERS[:-1])
rooms = st.sampled_from(list(ROOMS))


@dataclass
class Life:
    """A room between its making and its end."""

    number: int
    members: set[str] = field(default_factory=set)
    """Connections."""
    log: list[str] = field(default_factory=list)


class RightsMachine(RuleBasedStateMachine):
    """One run."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.world = World()
        self.alive: dict[str, Life] = {}
        self.lives = 0
        self.ended: dict[str, Life] = {}
        """Room → its last life, if that is over."""
        self.stale: dict[str, set[str]] = {it: set() for it in ROOMS}
        """Room → connections that were in it in a life before that, and did not notice."""
        self.roles: dict[tuple[str, str], str] = {}
        self.banned: set[tuple[str, str]] = set()
        self.kicked: dict[tuple[str, str], float] = {}
        self.open: dict[str, str] = {}
        """Connection → user."""
        self.heard: dict[str, list[str]] = {}
        """Connection → what it must have been pushed."""
        self.numbers = 0

    @initialize()
    def begin(self) -> None:
        for it in USERS:
            self.connect(it)
        for room in ROOMS:
            self.create("ada", room)

    def teardown(self) -> None:
        self.loop.close()

    # ---- the model: what may be

    def rank(self, user: str, room: str) -> str:
        if user in STAFF:
            return STAFF[user]
        return self.roles.get((room, user)) or ("member" if ROOMS[room] == "public" else "stranger")

    def at_least(self, user: str, room: str, least: str) -> bool:
        return ORDER.index(self.rank(user, room)) >= ORDER.index(least)

    def may_come(self, user: str, room: str) -> bool:
        if room not in self.alive:
            return False
        if user in STAFF:
            return True
        fresh = self.world.clock.monotonic() < self.kicked.get((room, user), -KICK_SECONDS) + KICK_SECONDS
        return self.at_least(user, room, "guest") and (room, user) not in self.banned and not fresh

    def may_judge(self, actor: str, user: str, room: str) -> bool:
        if actor == user or room not in self.alive:
            return False
        if actor not in STAFF and (room, actor) in self.banned:
            return False
        theirs = self.roles.get((room, user)) or ("member" if ROOMS[room] == "public" else "stranger")
        above = ORDER.index(self.rank(actor, room)) > ORDER.index(theirs)
        return self.at_least(actor, room, "moderator") and above

    def remove(self, user: str, room: str) -> None:
        """The user's connections in the room, in this life of it or an earlier one, end as a whole."""
        lives = [it for it in (self.alive.get(room), self.ended.get(room)) if it is not None]
        were = self.stale[room].union(*(it.members for it in lives))
        gone = {name for name in were if self.open.get(name) == user}
        for name in gone:
            self.end(name)

    def end(self, name: str) -> None:
        self.open.pop(name, None)
        for life in (*self.alive.values(), *self.ended.values()):
            life.members.discard(name)
        for names in self.stale.values():
            names.discard(name)

    # ---- comings and goings

    @rule(user=users)
    def connect(self, user: str) -> None:
        """In a room that nobody is kept from."""
        self.numbers += 1
        name = f"{user}-{self.numbers}"
        self.run(self.world.connect(name, room="lobby", user=user, groups=[STAFF[user]] if user in STAFF else []))
        self.world.clock.advance(YOUNG_MS / 1000)
        self.open[name] = user
        self.heard[name] = []

    @rule(user=users, room=rooms)
    def connect_into(self, user: str, room: str) -> None:
        """The handshake is a join, too."""
        self.numbers += 1
        name = f"{user}-{self.numbers}"
        groups = [STAFF[user]] if user in STAFF else []
        allowed = self.may_come(user, room)
        try:
            self.run(self.world.connect(name, room=room, user=user, groups=groups))
        except Refused:
            assert not allowed
            return
        assert allowed
        self.open[name] = user
        self.heard[name] = []
        self.enter(name, room)
        self.world.clock.advance(YOUNG_MS / 1000)

    @rule(user=users, room=rooms)
    def join(self, user: str, room: str) -> None:
        for name in self.connections(user)[-1:]:
            allowed = self.may_come(user, room)
            reply = self.ask(name, "join_room", room)
            assert (reply["type"] == "joined") == allowed, reply
            if allowed:
                self.enter(name, room)
            elif ROOMS[room] == "hidden" and self.rank(user, room) == "stranger":
                assert reply["data"]["code"] == "ROOM_NOT_FOUND"

    @rule(user=users, room=rooms)
    def leave(self, user: str, room: str) -> None:
        for name in self.connections(user)[-1:]:
            self.ask(name, "leave_room", room)
            for it in (self.alive.get(room), self.ended.get(room)):
                if it is not None:
                    it.members.discard(name)
            self.stale[room].discard(name)

    # ---- what moderators and owners do

    @rule(actor=users, user=targets, room=rooms, role=st.sampled_from(ROLES))
    def set_role(self, actor: str, user: str, room: str, role: str) -> None:
        below = role == "none" or ORDER.index(role) < ORDER.index(self.rank(actor, room))
        may = self.may_judge(actor, user, room) and (below or self.at_least(actor, room, "owner"))
        if self.judge(actor, "set_role", user, room, may=may, role=role):
            self.roles.pop((room, user), None)
            if role != "none":
                self.roles[room, user] = role
            elif ROOMS[room] != "public":
                self.remove(user, room)

    @rule(actor=users, user=targets, room=rooms, what=st.sampled_from(["kick", "ban", "unban"]))
    def act(self, actor: str, user: str, room: str, what: str) -> None:
        if not self.judge(actor, what, user, room, may=self.may_judge(actor, user, room)):
            return
        if what == "kick":
            self.kicked[room, user] = self.world.clock.monotonic()
        elif what == "ban":
            self.banned.add((room, user))
        else:
            self.banned.discard((room, user))
            return
        self.remove(user, room)

    @rule(user=users, room=rooms)
    def create(self, user: str, room: str) -> None:
        old = self.ended.get(room)
        may = room not in self.alive and (old is None or self.at_least(user, room, "owner"))
        for name in self.connections(user)[-1:]:
            reply = self.ask(name, "create_room", room, visibility=ROOMS[room], title=f"{room} by {user}")
            assert (reply["type"] == "room") == may or self.alive[room].number, reply
            if reply["type"] == "room" and room not in self.alive:
                assert may
                self.lives += 1
                self.alive[room] = Life(self.lives)
                self.roles[room, user] = "owner"

    @rule(user=users, room=rooms)
    def delete(self, user: str, room: str) -> None:
        banned = user not in STAFF and (room, user) in self.banned
        may = room in self.alive and self.at_least(user, room, "owner") and not banned
        for name in self.connections(user)[-1:]:
            reply = self.ask(name, "delete_room", room)
            assert (reply["type"] == "room_deleted") == may, reply
            if may:
                if room in self.ended:
                    self.stale[room] |= self.ended[room].members
                self.ended[room] = self.alive.pop(room)

    @rule(room=rooms, reader=users)
    def make_anew(self, room: str, reader: str) -> None:
        """Ended and made anew at once; who was in it looks in, and says something."""
        self.delete("root", room)
        self.create("root", room)
        self.read(reader, room)
        self.say(reader, room)

    # ---- what is said, read and listed

    @rule(user=users, room=rooms)
    def say(self, user: str, room: str) -> None:
        for name in self.connections(user)[-1:]:
            life = self.alive.get(room)
            banned = user not in STAFF and (room, user) in self.banned
            may = life is not None and name in life.members and self.at_least(user, room, "member") and not banned
            text = f"{room} {life.number if life else 0} {self.numbers}"
            self.numbers += 1
            reply = self.ask(name, "chat", room, message=text)
            assert (reply["type"] == "ack") == may, reply
            if may:
                assert life is not None
                life.log.append(text)
                for it in life.members:
                    self.heard[it].append(text)
            self.listen()

    @rule(user=users, room=rooms)
    def read(self, user: str, room: str) -> None:
        """Members read the log of the life that they are in; nobody else reads a word, or who is there."""
        for name in self.connections(user)[-1:]:
            life = self.alive.get(room) or self.ended.get(room)
            inside = life is not None and name in life.members
            reply = self.ask(name, "history", room)
            if inside:
                assert life is not None
                entries = [it["data"].get("message") for it in reply["data"]["entries"]]
                assert [it for it in entries if it] == life.log[-len([it for it in entries if it]) :]
            else:
                unseen = ROOMS[room] == "hidden" and self.rank(user, room) == "stranger"
                gone = room not in self.alive
                assert reply["data"]["code"] == ("ROOM_NOT_FOUND" if unseen or gone else "NOT_A_MEMBER")
            assert (self.ask(name, "members", room)["type"] == "members") == (inside and room in self.alive)
            seen = self.ask(name, "history", f"audit#{room}")
            banned = user not in STAFF and (room, user) in self.banned
            exists = room in self.alive or room in self.ended
            assert (seen["type"] == "history") == (exists and self.at_least(user, room, "moderator") and not banned)

    @rule(user=users)
    def look_around(self, user: str) -> None:
        for name in self.connections(user)[-1:]:
            listed = {it["roomId"] for it in self.ask(name, "room_list", None)["data"]["rooms"]} - {"lobby"}
            assert listed == {
                it
                for it in self.alive
                if ROOMS[it] == "public" or (ROOMS[it] == "private" and self.rank(user, it) != "stranger")
            }

    @rule(seconds=st.sampled_from([3.0, 10.0]))
    def wait(self, seconds: float) -> None:
        self.world.clock.advance(seconds)

    # ---- private

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def ask(self, name: str, kind: str, room: str | None, **fields: Any) -> dict[str, Any]:
        named = {} if room is None else {"roomId": room}
        reply: dict[str, Any] = self.run(self.world.ask(name, {"type": kind, **named, **fields}))
        return reply

    def judge(self, actor: str, what: str, user: str, room: str, *, may: bool, **fields: Any) -> bool:
        for name in self.connections(actor)[-1:]:
            reply = self.ask(name, what, room, userId=user, **fields)
            assert (reply["type"] == "ack") == may, reply
            return may
        return False

    def connections(self, user: str) -> list[str]:
        return [it for it, whose in self.open.items() if whose == user]

    def enter(self, name: str, room: str) -> None:
        if room in self.ended:
            self.ended[room].members.discard(name)
        self.stale[room].discard(name)
        self.alive[room].members.add(name)

    def listen(self) -> None:
        """Work the queues: each connection has exactly what was for it, and none that was ended is open."""
        self.run(self.world.pump())
        for name, expected in self.heard.items():
            assert self.world.messages(name) == expected, name
            assert self.world.sockets.is_open(name) == (name in self.open), name


@pytest.mark.timeout(600)  # which only a failure needs: to be made small
def test_nobody_has_what_they_may_not() -> None:
    """150 runs of 50 steps."""
    run_state_machine_as_test(RightsMachine, settings=settings(max_examples=150, stateful_step_count=50))
