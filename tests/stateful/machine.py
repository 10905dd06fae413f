"""The services beside their model: requests, comings and goings, bans and hours, in any order."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from adapters.memory import (
    ManualClock,
    MemoryConnections,
    MemoryMarks,
    MemoryNotices,
    MemoryQueue,
    MemoryStore,
    MemoryWebhooks,
)
from adapters.roster import AnnouncingRoster
from domain.errors import Refused
from domain.fanout import Doorbell, Rung, encode_entry
from domain.ports import Marks, Ports, RoomStore, Statuses
from domain.rooms import DUE_BUCKETS, FOREVER, Dialect, Rules, ShardKey, Standing
from services.caller import Caller
from services.leases import sweep
from services.requests import answer
from services.sessions import connect, disconnect
from tests.stateful.model import LEASE_MS, ROW_MS, Event, Model, Seen, Socket

__all__ = ["ServicesMachine"]

RULES = Rules(max_rooms_per_connection=2, shard_limit=3)
"""Small, so that limits are met and rooms grow."""
CROWD = 12
"""Connections at a time: enough for a room, or an inbox, of eight shards."""
USERS = ("ada", "bob", "cyd")
ROOMS = ("general", "den", "tea")
MINUTE_MS = 60_000

connections: st.SearchStrategy[str] = st.runner().flatmap(lambda it: st.sampled_from(it.known()))
"""A connection that is there, or the one that ended last: what it sent before may still be on its way."""
sent: st.SearchStrategy[Event] = st.runner().flatmap(lambda it: st.sampled_from(it.sent))
"""A request with a clientId."""
users = st.sampled_from(["ada", *USERS])
rooms = st.sampled_from(["general", "general", *ROOMS])
logs = st.sampled_from(["general", "general", "inbox#ada", *ROOMS, *(f"inbox#{it}" for it in USERS), "nowhere"])
client_ids = st.none() | st.sampled_from([f"request-{it}" for it in range(4)])
texts = st.sampled_from(
    [
        *["hi", "héllo \N{HOT BEVERAGE}", "é" * 6_000, "y" * 12_000, "z" * 20_000] * 2,
        "x" * 24_577,
        "\x01" * 6_000,
        " \n",
    ]
)
"""Plain ones, a third of a page and more, too long, too long as JSON, and none."""
seqs = st.integers(0, 5)
limits = st.none() | st.integers(1, 3)
pauses = st.sampled_from([3, 12, 61, 10 * 60, 10 * 60, 16 * 60, 2 * 3600, 25 * 3600])
"""Seconds: within a kick, past it, past a mute, within a lease, past it, nearly to a row's end, past a clientId's."""
lapses = st.sampled_from([12, 61, 16 * 60])
"""Seconds that the tick is late."""


class ServicesMachine(RuleBasedStateMachine):
    """One run. Every reply, and what is stored, is what the model says."""

    def __init__(
        self,
        store: RoomStore,
        statuses: Statuses,
        run: Callable[[Coroutine[Any, Any, Any]], Any],
        *,
        marks: Marks | None = None,
        look: bool = True,
    ) -> None:
        """`run` carries a coroutine out. `marks`: by default in memory. `look`: at what is stored after each step, and
        not only at the end."""
        super().__init__()
        self.clock = ManualClock()
        self.queue = RecordingQueue(self.clock)
        self.store = store
        self.gateway = MemoryConnections()
        roster = AnnouncingRoster(store, statuses, self.queue, self.clock, RULES)
        self.ports = Ports(
            store,
            self.queue,
            roster,
            self.clock,
            RULES,
            random.Random(0),
            marks=marks or MemoryMarks(),
            notices=MemoryNotices(),
            statuses=statuses,
            webhooks=MemoryWebhooks(MemoryStore()),
        )
        self.model = Model(RULES)
        self.sent: list[Event] = []
        self._run = run
        self._look_often = look
        self._requests = 0
        self._looked_at: Counter[str] = Counter()
        """Room → how much of its log has been compared."""
        self._run(sweep(self.ports, self.gateway))

    def known(self) -> list[str]:
        living = [it.connection for it in self._living()]
        ended = [it.connection for it in self.model.sockets.values() if it.ended]
        return [*living, *living, *living, *ended[-1:]]

    # ---- comings and goings

    @initialize(crowd=st.integers(0, 6), said=st.lists(texts, max_size=6))
    def open(self, crowd: int, said: list[str]) -> None:
        """ada is here once or many times, bob in another room, and a conversation has begun."""
        self.connect("bob", "recipe", "den")
        for _ in range(1 + crowd):
            self.connect("ada", "v1", "general")
        for it in said:
            self.chat("c1=", it, "general", None, None)

    @precondition(lambda self: len(self._living()) < CROWD)
    @rule(user=users, dialect=st.sampled_from(["v1", "v1", "recipe"]), room=rooms)
    def connect(self, user: str, dialect: Dialect, room: str) -> None:
        now = self.clock.now()
        expires_at = now + ROW_MS
        lease_until = now + LEASE_MS if dialect == "v1" else expires_at
        name = f"c{len(self.model.sockets)}="
        socket = Socket(name, user, dialect, expires_at, lease_until, -(-lease_until // MINUTE_MS), room)
        try:
            self._run(connect(self.ports, self._caller(socket), room, dialect))
            code = None
        except Refused as error:
            code = error.code
        assert self.model.connect(socket, Seen(now, self.clock.now())) == code
        if code is None:
            self.gateway.open(name)
            self._place(name, room, f"inbox#{user}")
            self._run(self.ports.roster.work_out(user))  # as the worker does that welcomes it

    @rule(connection=connections)
    def disconnect(self, connection: str) -> None:
        self.gateway.drop(connection)
        self._run(disconnect(self.ports, connection))
        self.model.end(connection, self.clock.now())

    @rule(user=users)
    def end_all_but_the_newest(self, user: str) -> None:
        for it in [it.connection for it in self._living() if it.user == user][:-1]:
            self.disconnect(it)

    @rule(connection=connections, room=rooms, since=st.none() | seqs, of_now=st.sampled_from([None, True, False]))
    def join_room(self, connection: str, room: str, since: int | None, of_now: bool | None) -> None:
        """`of_now`: whether the epoch that it names is the room's."""
        epoch = self.model.rooms[room].epoch if room in self.model.rooms else 0
        was_there = room in self.model.sockets[connection].shards
        named = None if of_now is None else epoch + (not of_now)
        reply = self._ask(connection, {"type": "join_room", "roomId": room, "since": since, "epoch": named})
        if reply["type"] == "joined" and not was_there:
            self._place(connection, room)

    @rule(connection=connections, room=st.none() | rooms)
    def leave_room(self, connection: str, room: str | None) -> None:
        self._ask(connection, {"type": "leave_room", "roomId": room})

    # ---- requests

    @rule(connection=connections, text=texts, room=st.none() | rooms, client_id=client_ids, reply_to=st.none() | seqs)
    def chat(self, connection: str, text: str, room: str | None, client_id: str | None, reply_to: int | None) -> None:
        request = {"type": "chat", "message": text, "roomId": room, "clientId": client_id, "replyTo": reply_to}
        self._ask(connection, request)

    @rule(connection=connections, to=st.sampled_from([*USERS, *USERS, "stranger"]), text=texts, client_id=client_ids)
    def private_message(self, connection: str, to: str, text: str, client_id: str | None) -> None:
        request = {"type": "private_message", "targetUserId": to, "message": text, "clientId": client_id}
        self._ask(connection, request)

    @precondition(lambda self: self.sent)
    @rule(connection=connections, request=sent)
    def send_again(self, connection: str, request: Event) -> None:
        self._ask(connection, request)

    @precondition(lambda self: self.sent)
    @rule(request=sent, user=users)
    def send_again_next_day(self, request: Event, user: str) -> None:
        """Its clientId is forgotten by then."""
        self.pass_time(25 * 3600)
        if (request.get("roomId", "general"), user) not in self.model.standings:
            self.connect(user, "v1", request.get("roomId", "general"))
            self._ask(self._living()[-1].connection, request)

    @rule(connection=connections, room=logs, after=seqs, limit=limits)
    def history_after(self, connection: str, room: str, after: int, limit: int | None) -> None:
        self._ask(connection, {"type": "history", "roomId": room, "after": after, "limit": limit})

    @rule(connection=connections, room=logs, before=st.none() | seqs, limit=limits)
    def history_before(self, connection: str, room: str, before: int | None, limit: int | None) -> None:
        self._ask(connection, {"type": "history", "roomId": room, "before": before, "limit": limit})

    @rule(connection=connections, cursors=st.none() | st.dictionaries(logs, seqs, max_size=3))
    def ping(self, connection: str, cursors: dict[str, int] | None) -> None:
        self._ask(connection, {"type": "ping", "cursors": cursors})

    @rule(connection=connections, parent=st.sampled_from([None, "root", "den"]), cursor=st.none() | rooms, limit=limits)
    def list_rooms(self, connection: str, parent: str | None, cursor: str | None, limit: int | None) -> None:
        self._ask(connection, {"type": "room_list", "parent": parent, "cursor": cursor, "limit": limit})

    @rule(connection=connections, room=rooms, shard=st.none() | st.integers(0, 8))
    def list_members(self, connection: str, room: str, shard: int | None) -> None:
        cursor = None if shard is None else f"{shard}:"
        self._ask(connection, {"type": "members", "roomId": room, "cursor": cursor})

    @rule(connection=connections, room=logs, seq=seqs, of_now=st.sampled_from([None, True, True, False]))
    def read(self, connection: str, room: str, seq: int, of_now: bool | None) -> None:
        """`of_now`: whether the epoch that it names is the room's."""
        epoch = self.model.rooms[room].epoch if room in self.model.rooms else 0
        named = None if of_now is None else epoch + (not of_now)
        self._ask(connection, {"type": "read", "roomId": room, "seq": seq, "epoch": named})

    @rule(connection=connections, room=rooms)
    def typing(self, connection: str, room: str) -> None:
        self._ask(connection, {"type": "typing", "roomId": room})

    # ---- what else happens

    @rule(room=rooms, user=users, act=st.sampled_from(["ban", "unban", "mute", "unmute", "kick"]))
    def moderate(self, room: str, user: str, act: str) -> None:
        now = self.clock.now()
        change: dict[str, dict[str, Any]] = {
            "ban": {"banned_until": FOREVER},
            "unban": {"banned_until": 0},
            "mute": {"muted_until": now + 30_000},
            "unmute": {"muted_until": 0},
            "kick": {"kicked_at": now},
        }
        standing = replace(self.model.standings.get((room, user), Standing()), **change[act])
        self._run(self.store.set_standing(room, user, standing))
        self.model.standings[room, user] = standing

    @rule(seconds=pauses)
    def pass_time(self, seconds: int) -> None:
        """The tick comes every minute; the minutes in which it finds nothing are passed over."""
        end = self.clock.now() + seconds * 1000
        while (due := self._first_due()) is not None and due * MINUTE_MS <= end:
            self._tick(due * MINUTE_MS)
        self._tick(end)

    @rule(seconds=lapses)
    def pass_unnoticed(self, seconds: int) -> None:
        """The tick does not come."""
        self.clock.advance(seconds)

    # ---- what is stored

    @invariant()
    def look(self) -> None:
        if self._look_often:
            self._run(self._compare())

    def teardown(self) -> None:
        self._looked_at.clear()
        self._run(self._compare())

    async def _compare(self) -> None:
        """Logs are 1 … n and the model's, counts are the rows, and both rows of a membership are there, or neither."""
        stored = await self.store.rooms(list(self.model.rooms))
        for name, room in self.model.rooms.items():
            assert (stored[name].epoch, stored[name].head, stored[name].shards) == (room.epoch, room.head, room.shards)
            seen = self._looked_at[name]
            entries = await self.store.entries(name, room.epoch, seen, limit=1_000, max_bytes=10**9)
            assert [it.seq for it in entries] == list(range(seen + 1, room.head + 1))
            assert [json.loads(encode_entry(name, room.epoch, it)) for it in entries] == room.log[seen:]
            self._looked_at[name] = room.head
            keys = [ShardKey(name, room.epoch, it) for it in range(room.shards)]
            counted = await self.store.shards(keys)
            members = {it.connection: key.shard for key in keys for it in await self.store.members(key)}
            assert members == {it.connection: it.shards[name] for it in self.model.members(name)}
            rows = Counter(members.values())
            assert [counted[key].members if key in counted else 0 for key in keys] == [rows[it.shard] for it in keys]
        for socket in self.model.sockets.values():
            session = await self.store.session(socket.connection)
            assert (session.connection is None) == socket.ended
            assert {it.room: it.shard for it in session.memberships} == socket.shards
        ids = [it["data"]["messageId"] for room in self.model.rooms.values() for it in room.log]
        assert set(ids) == self.model.message_ids

    # ---- private

    def _living(self) -> list[Socket]:
        return [it for it in self.model.sockets.values() if not it.ended]

    def _caller(self, socket: Socket) -> Caller:
        self._requests += 1
        return Caller(socket.connection, socket.user, socket.user.title(), f"r{self._requests}")

    def _ask(self, connection: str, request: Event) -> Event:
        """Send a request, its fields that are None left out; the reply is the model's."""
        request = {name: it for name, it in request.items() if it is not None}
        if "clientId" in request and request not in self.sent:
            self.sent.append(request)
        began = self.clock.now()
        self.queue.rung.clear()
        caller = self._caller(self.model.sockets[connection])
        answered = self._run(answer(self.ports, self.gateway, caller, json.dumps(request)))
        reply: Event = json.loads(answered.frame or b"{}")
        words = reply["data"].pop("message") if answered.refused else "none"
        assert words.isprintable()
        assert reply == self.model.answer(connection, request, Seen(began, self.clock.now(), reply))
        assert sorted(self.queue.rung) == sorted(
            ("interactive" if shards == 1 else "bulk", room, self.model.rooms[room].epoch, shard, seq)
            for room, seq, shards in self.model.rung
            for shard in range(shards)
        )
        return reply

    def _place(self, connection: str, *joined: str) -> None:
        """Tell the model which shards were drawn."""
        session = self._run(self.store.session(connection))
        for room in joined:
            self.model.placed(connection, room, session.membership(room).shard)

    def _first_due(self) -> int | None:
        """The first minute in which there is a lease to look at."""
        return min((it.looked_at for it in self._living()), default=None)

    def _tick(self, at: int) -> None:
        self.clock.advance((at - self.clock.now()) / 1000)
        minute = self.clock.now() // MINUTE_MS
        due = self._first_due()
        for bucket in range(DUE_BUCKETS):
            self._run(self.store.set_ticked(bucket, min(minute, minute if due is None else due) - 1))
        ended = self._run(sweep(self.ports, self.gateway))
        over = self.model.tick(self.clock.now())
        assert ended == len(over)
        assert not any(self.gateway.is_open(it) for it in over)


class RecordingQueue(MemoryQueue):
    """Also remembers what was rung: (lane, room, epoch, shard, seq)."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.rung: list[tuple[str, str, int, int, int]] = []

    async def ring(self, lane: str, jobs: Sequence[Rung]) -> None:
        for it in jobs:
            assert isinstance(it, Doorbell)
            self.rung.append((lane, it.room, it.epoch, it.shard, it.seq))
        await super().ring(lane, jobs)
