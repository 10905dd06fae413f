"""Seeded conversations: what the user asks, what others do, and what the wire makes of it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from tests.golden.hall import OTHER, Hall, wire
from tests.golden.player import Draws, Player

__all__ = ["MOODS", "trace"]

Json = dict[str, Any]
ROOMS = ("den", "tea", "__proto__")
STEPS = 34
GATEWAY_ERROR: Json = {"message": "Internal server error", "connectionId": "c", "requestId": "r"}
NONSENSE = (
    *(
        "",
        "{",
        "[]",
        "null",
        '"chat"',
        '{"type": 3}',
        '{"type": "chat", "data": {"roomId": "den"}}',
        '{"type": "hologram"}',
    ),
    *('{"type": "hologram", "data": 3}', '{"type": "hologram", "data": {"seq": "x"}}', '{"type": "constructor"}'),
    *(
        '{"type": "head", "data": {"roomId": "den", "epoch": "1", "seq": 2, "timestamp": 1, "sentAt": 1}}',
        '{"message": "x"}',
    ),
)
ABOUT_LOGS = ("NOT_A_MEMBER", "FORBIDDEN", "BAD_REQUEST", "TOKEN_EXPIRED")
CODES = (*ABOUT_LOGS, "ROOM_BUSY", "RATE_LIMITED", "INTERNAL", "ROOM_NOT_FOUND", "ROOM_FULL", "BANNED", "MUTED")

_EASY = (
    "ask 10, happen 60, push 50, answer 44, pass_by 4, wait 4, due 8, break_off 3, repeat 4, lose_push 4, "
    "lose_answer 2, refuse 3, gateway 1, nonsense 2, beacon 4, stray 2, batch 8, "
    "end 1, forget 1, look 1, late 1, unsent 1, mark 6"
)
EASY: dict[str, int] = {name: int(parts) for name, parts in (it.split() for it in _EASY.split(", "))}
MOODS: Mapping[str, Mapping[str, int]] = {
    "easy": EASY,
    "lossy": EASY | {"lose_push": 24, "lose_answer": 12, "repeat": 12, "break_off": 6, "batch": 10, "due": 24},
    "strict": EASY | {"refuse": 24, "gateway": 4, "due": 24, "lose_push": 12, "mark": 14},
    "ending": EASY | {"end": 8, "due": 30, "forget": 8, "beacon": 10, "break_off": 6, "lose_push": 24},
    "restless": EASY | {"break_off": 16, "ask": 20, "stray": 10, "late": 4, "mark": 10, "lose_answer": 8},
    "whispering": EASY | {"whisper": 60, "confide": 30, "lose_push": 24, "lose_answer": 14, "due": 20, "break_off": 4},
    "unnamed": EASY | {"break_off": 10, "lose_push": 14, "stray": 8, "whisper": 16},
    "deaf": {"ask": 5, "due": 60, "happen": 3, "push": 3, "break_off": 1, "unsent": 1},
}
"""Mood → how often what happens, in parts of the whole."""

SAYS: tuple[tuple[Any, ...], ...] = (
    *(("send", {}), ("send", {"replyTo": 1, "mentions": [OTHER]}), ("send_private",), ("send_private",)),
    *(
        ("join",),
        ("leave",),
        ("history", {}),
        ("history", {"before": 5, "limit": 2}),
        ("history", {"after": 0, "thread": 1}),
        ("search", "red fox", {}),
        ("search", "red", {"cursor": 2, "limit": 5}),
    ),
    *(("rooms", {}), ("rooms", {"parent": "den", "cursor": "a"}), ("members", {}), ("members", {"cursor": "x"})),
    *(("presence", "away"), ("presence", "online"), ("presence", "busy"), ("ping",), ("typing",)),
)
ASKED: tuple[Json, ...] = (
    {"type": "create_room", "roomId": "tea", "title": "Tea", "visibility": "private"},
    {"type": "update_room", "roomId": "den", "slowMode": 5},
    {"type": "delete_room", "roomId": "tea"},
    {"type": "set_role", "roomId": "den", "userId": "bob", "role": "moderator"},
    *({"type": it, "roomId": "den", "userId": "eve"} for it in ("kick", "ban", "unban", "mute", "unmute")),
    {"type": "reauth", "token": "valid_x"},
    {"type": "edit_message", "roomId": "den", "seq": 1, "message": "better"},
    {"type": "delete_message", "roomId": "den", "seq": 1},
    {"type": "react", "roomId": "den", "seq": 1, "emoji": "👍"},
    {"type": "read", "roomId": "den", "seq": 1},
    {"type": "notices", "enabled": False},
    {"type": "notices"},
)


def trace(seed: int) -> Json:
    """The conversation of that seed, as JSON."""
    # The last one takes the most room and shows the least.
    mood = list(MOODS)[seed % len(MOODS) if seed % (4 * len(MOODS)) == len(MOODS) - 1 else seed % (len(MOODS) - 1)]
    talk = _Talk(seed, mood)
    weights = MOODS[mood]
    for name in talk.draw.choices(list(weights), list(weights.values()), k=STEPS * (2 if mood == "deaf" else 1)):
        getattr(talk, name)()
    talk.heal()
    return {"name": f"{mood} {seed}", "room": ROOMS[0], "draws": talk.draws.drawn, "steps": talk.steps}


class _Talk:
    def __init__(self, seed: int, mood: str) -> None:
        self.draw = random.Random(f"golden {seed}")
        self.draws = Draws(seed=seed)
        self.player = Player(ROOMS[0], self.draws)
        self.steps: list[list[Any]] = []
        self.mood = mood
        self.now = 100.0
        self.hall = Hall(self.draw)
        self.requests: list[Json] = []
        self.had: list[Json] = []
        """Events that came, to come again."""
        for name in ROOMS:
            for _ in range(self.draw.choice((0, 0, 2))):
                self.hall.happen(name)
        if self.draw.random() < 0.2:
            self.ask()
        self.open()

    @property
    def here(self) -> str:
        return self.draw.choice((*ROOMS, *sorted(self.hall.members) * 4, ROOMS[0], self.hall.inbox))

    @property
    def connected(self) -> bool:
        return self.player.session._outbox.open

    def give(self, *given: Any) -> None:
        output = self.player.play(self.now, given)
        self.steps.append([self.now, list(given), output])
        self.requests += output.get("frames", [])

    def receive(self, event: Any) -> None:
        if self.connected:
            self.had.append(event)
            self.give("receive", event)

    # ---- the connection

    def open(self) -> None:
        session = self.player.session
        named = self.draw.choice((None, None, None, *session.entrances))
        if self.mood == "unnamed" and self.steps:
            self.hall.user = self.draw.choice(("me", "you"))
        entered = named or session.room
        self.hall.members = {entered}
        self.give("connected", named)
        if self.draw.random() < 0.85:
            self.hall.pushes.insert(0, self.hall.welcome(entered))

    def break_off(self) -> None:
        if self.connected:
            self.give("disconnected")
            self.requests.clear()
            self.hall.pushes.clear()
        if self.draw.random() < 0.3:
            self.ask()
        self.now += self.draw.choice((0.25, 2.0))
        if self.draw.random() < 0.2:
            self.give("tick")
        self.open()

    # ---- the user

    def ask(self, *unsent: str) -> None:
        if self.draw.random() < 0.3:
            self.give("ask", self.draw.choice(ASKED), *unsent)
            return
        name, *rest = self.draw.choice(SAYS)
        room = self.draw.choice(ROOMS)
        match name:
            case "send":
                self.give(name, room, f"s{len(self.steps)}", *rest, *unsent)
            case "send_private":
                self.give(name, self.draw.choice((OTHER, self.hall.user)), f"p{len(self.steps)}", *unsent)
            case "join" | "leave" | "typing" | "history" | "members" | "search":
                self.give(name, room, *rest, *unsent)
            case _:
                self.give(name, *rest, *unsent)

    def unsent(self) -> None:
        """The connection breaks before the frames are out."""
        self.ask("unsent")
        self.break_off()

    def mark(self) -> None:
        room = self.here
        self.give("read", room, self.draw.randint(0, self.hall.room(room).head + 1))

    def look(self) -> None:
        self.give("look")

    # ---- what others do

    def happen(self) -> None:
        room = self.here
        if room == self.hall.inbox:
            self.whisper()
        elif not self.hall.room(room).gone:
            self.hall.happen(room)

    def whisper(self) -> None:
        self.hall.whisper(OTHER, self.hall.user, f"w{self.draw.randrange(1000)}")

    def confide(self) -> None:
        self.give("send_private", self.draw.choice((OTHER, self.hall.user)), f"p{len(self.steps)}")

    def pass_by(self) -> None:
        self.hall.pass_by(self.here)

    def end(self) -> None:
        self.hall.end(self.draw.choice(ROOMS))

    def forget(self) -> None:
        """Retention takes what is old."""
        room = self.hall.room(self.draw.choice(ROOMS))
        room.kept = self.draw.randint(room.kept, room.head + 1)

    # ---- what the wire makes of it

    def push(self) -> None:
        pushes = self.hall.pushes
        if pushes:
            self.receive(pushes.pop(0 if self.draw.random() < 0.7 else self.draw.randrange(len(pushes))))

    def lose_push(self) -> None:
        if self.hall.pushes:
            self.hall.pushes.pop(self.draw.randrange(len(self.hall.pushes)))

    def repeat(self) -> None:
        if self.had:
            self.receive(self.draw.choice(self.had))

    def batch(self) -> None:
        taken = self.hall.pushes[:4]
        del self.hall.pushes[:4]
        if self.draw.random() < 0.2:
            taken.append({"type": "chat", "data": {"roomId": "den", "seq": 4}})
        if taken:
            self.receive(wire("batch", events=taken))

    def beacon(self) -> None:
        self.receive(self.hall.head(self.here))

    def answer(self) -> None:
        if self.requests:
            answer = self.hall.answer(self._taken())
            if answer is not None:
                self.receive(answer)

    def lose_answer(self) -> None:
        if self.requests:
            self.hall.answer(self._taken())

    def refuse(self) -> None:
        if self.requests:
            request = self._taken()
            named = {"request": request["type"], "clientId": request.get("clientId", "id-99999")}
            after = self.draw.choice(({}, {}, {"retryAfter": 2.5}, {"retryAfter": 100}))
            about_log = request["type"] in {"history", "read"}
            code = self.draw.choice(ABOUT_LOGS if about_log else CODES)
            self.receive(wire("error", code=code, message="no", **named, **after))

    def gateway(self) -> None:
        self.receive(GATEWAY_ERROR)

    def nonsense(self) -> None:
        if self.connected:
            self.give("text", self.draw.choice(NONSENSE))

    def stray(self) -> None:
        """An answer, or an entry, that nobody waits for."""
        room = self.draw.choice(ROOMS)
        self.receive(
            self.draw.choice(
                (
                    wire("left", clientId="id-99998", roomId=room),
                    wire("joined", clientId="id-99998", roomId=room, epoch=1, head=1, recovered=False, events=[]),
                    wire(
                        "ack", clientId="id-99998", messageId="m", roomId=self.hall.inbox, epoch=1, seq=1, online=False
                    ),
                    wire("history", clientId="id-99998", roomId=room, epoch=1, head=1, entries=[]),
                    wire("left", roomId="attic"),
                    wire("chat", **self._entry("attic")),
                    wire("error", code="BAD_JSON", message="no"),
                    wire("room_list", rooms=[]),
                )
            )
        )

    # ---- time

    def wait(self) -> None:
        self.now += self.draw.choice((0.125, 0.5, 3.0, 11.0))
        self.give("tick")

    def due(self) -> None:
        due = self.player.session.due()
        if due is not None:
            self.now = max(self.now, due)
            self.give("tick")
            if self.player.session.stale(self.now):
                self.look()
                self.break_off()

    def late(self) -> None:
        self.now += self.draw.choice((66.0, 300.0))
        self.give("tick")

    def heal(self) -> None:
        """What is under way comes, for a while."""
        for _ in range(6):
            while self.hall.pushes and self.draw.random() < 0.9:
                self.push()
            self.answer()
            self.answer()
        self.look()

    def _taken(self) -> Json:
        return self.requests.pop(0 if self.draw.random() < 0.7 else self.draw.randrange(len(self.requests)))

    def _entry(self, room: str) -> Json:
        words = {"messageId": "m", "senderId": OTHER, "senderName": OTHER, "message": "psst"}
        return {"roomId": room, "epoch": 1, "seq": 1, "timestamp": 1, "sentAt": 1000, **words}
