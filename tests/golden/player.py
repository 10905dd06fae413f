"""Plays a trace's inputs to the Python session and says what came out, as JSON.

A trace is `{"name": …, "room": …, "draws": [numbers from 0 to 1], "steps": [[at, input, output], …]}`. `at` is the
session's clock in seconds. The nth id that the session makes is `id-` and n in five digits; the numbers that it draws
are those of `draws`, in their order, all of them.

An input is a list, its first item is one of:

| connected, named | a connection is open; it named that room, or the session's own choice (null) |
| disconnected | it has ended |
| receive, event · text, frame | a frame came: as JSON, or as it is, since it is none |
| tick | it is time |
| send, room, text, options · send_private, user, text · join, room · leave, room |
| history, room, options · search, room, query, options · rooms, options · members, room, options |
| ask, request · presence, status · ping · read, room, seq · typing, room |
| look | nothing happens; `state` says what the session shows |

and a last item `"unsent"` means that the frames are not taken out now. An output has `id` (the request's), `refused`
(the code, where nothing is sent), `frames`, `events`, `due` (absent: none) and `state`. An entry of a log is given as
[type, room, epoch, seq, message]; `events.json` tells how each is read in full.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from client.errors import RequestRefused
from client.events import Missed, Opaque, Released
from client.session import Session
from domain.events import Logged
from domain.requests import parse_request

__all__ = ["Draws", "Player", "shown", "summary"]

Json = dict[str, Any]


class Draws(random.Random):
    """Numbers that were written down, or that are drawn now and written down."""

    def __init__(self, given: Sequence[float] | None = None, seed: int = 0) -> None:
        super().__init__(seed)
        self.given = given
        self.drawn: list[float] = []

    def random(self) -> float:
        number = self.given[len(self.drawn)] if self.given is not None else round(super().random(), 4)
        self.drawn.append(number)
        return number


class Player:
    """One session, to which inputs are played."""

    def __init__(self, room: str, draws: Draws) -> None:
        self._ids = 0
        self.session = Session(room, new_id=self._id, draw=draws)
        self.rooms = [room]
        """Those that `look` asks the cursors of."""

    def _id(self) -> str:
        self._ids += 1
        return f"id-{self._ids:05}"

    def play(self, at: float, given: Sequence[Any]) -> Json:
        """What comes of one input."""
        name, *rest = given
        unsent = rest[-1:] == ["unsent"]
        output: Json = {}
        try:
            outcome = getattr(self, f"_{name}")(at, *(rest[:-1] if unsent else rest))
        except RequestRefused as error:
            outcome, output["refused"] = None, error.code
        if isinstance(outcome, str):
            output["id"] = outcome
        elif isinstance(outcome, dict):
            output["state"] = outcome
        elif outcome:
            output["events"] = [summary(it) for it in outcome]
        frames = [] if unsent else [json.loads(it) for it in self.session.frames()]
        if frames:
            output["frames"] = frames
        due = self.session.due()
        output |= {} if due is None else {"due": due}
        as_in_the_file: dict[str, Any] = json.loads(json.dumps(output))
        return as_in_the_file

    def _connected(self, at: float, named: str | None) -> None:
        self.session.connected(at, named)

    def _disconnected(self, at: float) -> Sequence[Released]:
        return self.session.disconnected()

    def _receive(self, at: float, event: Any) -> Sequence[Released]:
        return self.session.receive(json.dumps(event), at)

    def _text(self, at: float, frame: str) -> Sequence[Released]:
        return self.session.receive(frame, at)

    def _tick(self, at: float) -> Sequence[Released]:
        return self.session.tick(at)

    def _send(self, at: float, room: str, text: str, options: Json) -> str:
        self._watch(room)
        return self.session.send(room, text, at, reply_to=options.get("replyTo"), mentions=options.get("mentions", ()))

    def _send_private(self, at: float, user: str, text: str) -> str:
        return self.session.send_private(user, text, at)

    def _join(self, at: float, room: str) -> str:
        self._watch(room)
        return self.session.join(room, at)

    def _leave(self, at: float, room: str) -> str:
        return self.session.leave(room, at)

    def _history(self, at: float, room: str, options: Json) -> str:
        return self.session.history(room, at, **options)

    def _search(self, at: float, room: str, query: str, options: Json) -> str:
        return self.session.search(room, query, at, **options)

    def _rooms(self, at: float, options: Json) -> str:
        return self.session.list_rooms(at, **options)

    def _members(self, at: float, room: str, options: Json) -> str:
        return self.session.list_members(room, at, **options)

    def _ask(self, at: float, request: Json) -> str:
        return self.session.ask(parse_request(json.dumps(request)), at)

    def _presence(self, at: float, status: Any) -> str:
        return self.session.presence(status, at)

    def _ping(self, at: float) -> str:
        return self.session.ping(at)

    def _read(self, at: float, room: str, seq: int) -> None:
        self.session.read(room, seq, at)

    def _typing(self, at: float, room: str) -> None:
        self.session.typing(room)

    def _look(self, at: float) -> Json:
        session = self.session
        rooms = [*self.rooms, f"inbox#{session.user}"]
        return {
            "user": session.user,
            "status": session.status,
            "entrances": session.entrances,
            "busy": session.busy,
            "stale": session.stale(at),
            "cursors": {it: session.cursor(it) for it in rooms},
        }

    def _watch(self, room: str) -> None:
        if room not in self.rooms:
            self.rooms.append(room)


def summary(event: Released) -> Any:
    """An entry of a log in short, anything else in full."""
    if isinstance(event, Logged) and not getattr(event, "client_id", UNSET):
        return [event.type, event.room_id, event.epoch, event.seq, getattr(event, "message", UNSET) or ""]
    return shown(event)


def shown(event: Released) -> Json:
    """An event as it is handed to the user: its type beside its fields, those with their default left out."""
    match event:
        case Missed():
            return {"type": "missed", **_fields(event)}
        case Opaque():
            fields = {**_fields(event), "data": json.loads(bytes(event.data))}
            return {**fields, "type": "opaque", "event": event.type}
        case _:
            return {**json.loads(msgspec.json.encode(event)), "type": event.type}


def _fields(event: Missed | Opaque) -> Json:
    named = {"room_id": "roomId"}
    return {named.get(it, it): getattr(event, it) for it in event.__struct_fields__}
