"""The service as a client of one socket sees it: rooms with logs, an inbox, and answers to every request.

It is polite on the whole. What reaches the client, when, and how often, is for `scenarios` to say.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from domain.requests import REQUESTS

__all__ = ["Hall", "wire"]

Json = dict[str, Any]
PAGE = 3
"""Entries in one page, few so that traces see more than one."""
ME, OTHER = "me", "bob"
ENTRIES = ("role", "kicked", "banned", "unbanned", "muted", "unmuted")
AMENDMENTS = ("message_edited", "message_deleted", "reaction")
PASSING = ("user_joined", "user_left", "room_stats", "typing", "read", "presence", "hologram")
TIMES = {"timestamp": 1, "sentAt": 1000}


def wire(kind: str, **fields: Any) -> Json:
    """An event as it goes out."""
    return {"type": kind, "data": fields}


@dataclass
class Room:
    name: str
    epoch: int = 1
    log: list[Json] = field(default_factory=list)
    kept: int = 1
    """The seq from which on the log is kept."""
    gone: bool = False

    @property
    def head(self) -> int:
        return len(self.log)

    def since(self, seq: int) -> list[Json]:
        return [it for it in self.log[seq:] if it["data"]["seq"] >= self.kept]


class Hall:
    """Rooms, and one client. `pushes` are the events on their way to it."""

    def __init__(self, draw: random.Random, user: str = ME) -> None:
        self.draw = draw
        self.user = user
        self.rooms: dict[str, Room] = {}
        self.members: set[str] = set()
        self.pushes: list[Json] = []
        self.once: dict[str, Json] = {}
        self.mark: dict[str, int] = {}
        self.status = "online"

    @property
    def inbox(self) -> str:
        return f"inbox#{self.user}"

    def room(self, name: str) -> Room:
        return self.rooms.setdefault(name, Room(name, log=[]))

    def store(self, name: str, kind: str, **fields: Any) -> Json:
        """A further entry of a room's log; those in the room are pushed it."""
        room = self.room(name)
        place = {"roomId": name, "epoch": room.epoch, "seq": room.head + 1}
        event = wire(kind, **place, **TIMES, **fields)
        room.log.append(event)
        if name in self.members or name == self.inbox:
            self.pushes.append(event)
        return place

    def say(self, name: str, sender: str, text: str, **fields: Any) -> Json:
        words = {"messageId": f"m{self.draw.randrange(99)}", "senderId": sender, "senderName": sender}
        return {"messageId": words["messageId"], **self.store(name, "chat", **words, message=text, **fields)}

    def whisper(self, sender: str, target: str, text: str, **fields: Any) -> Json:
        words = {"messageId": f"m{self.draw.randrange(99)}", "senderId": sender, "senderName": sender}
        words |= {"targetUserId": target, "message": text}
        return {"messageId": words["messageId"], **self.store(self.inbox, "private_message", **words, **fields)}

    def happen(self, name: str) -> None:
        """Something is done in the room by somebody else."""
        kind = self.draw.choice(("chat", "chat", "chat", *ENTRIES, *AMENDMENTS, "room", "hologram"))
        about = {"userId": "eve", "by": OTHER}
        if kind == "chat":
            extra = self.draw.choice(({}, {}, {"replyTo": 1, "thread": 1, "mentions": [ME]}, {"editedAt": 5}))
            self.say(name, OTHER, f"t{self.draw.randrange(1000)}", **extra)
        elif kind in AMENDMENTS:
            fields: Json = {"by": OTHER} if kind != "reaction" else {"userId": OTHER, "emoji": "👍"}
            fields |= {"count": 1, "users": [OTHER]} if kind == "reaction" else {}
            fields |= {"message": "new"} if kind == "message_edited" and self.draw.random() < 0.7 else {}
            self.store(name, kind, of=self.draw.randint(1, max(1, self.room(name).head)), **fields)
        elif kind == "room":
            self.store(name, "room", by=OTHER, **profile(name))
        elif kind == "hologram":
            self.store(name, kind, shape=["cube", 3])
        else:
            self.store(name, kind, **about, **({"role": "member"} if kind == "role" else {}))

    def pass_by(self, name: str) -> None:
        """Something that is in no log."""
        kind = self.draw.choice(PASSING)
        fields: Json = {"roomId": name, **TIMES}
        if kind in {"user_joined", "user_left", "typing"}:
            fields |= {"userId": OTHER, "username": "Bob"}
        elif kind == "room_stats":
            fields["activeUsers"] = 77
        elif kind == "read":
            fields |= {"userId": self.draw.choice((self.user, OTHER)), "epoch": 1, "seq": self.draw.randrange(9)}
        elif kind == "presence":
            fields["members"] = [{"userId": OTHER, "status": "away", "since": 5}]
        self.pushes.append(wire(kind, **fields))

    def end(self, name: str) -> None:
        """The room is deleted, or made anew."""
        room = self.room(name)
        if room.gone:
            room.gone, room.epoch, room.log, room.kept = False, room.epoch + 1, [], 1
        else:
            self.store(name, "room_deleted", by=OTHER)
            room.gone = True
            self.members.discard(name)

    def welcome(self, name: str) -> Json:
        here, inbox = self.room(name), self.room(self.inbox)
        place: Json = {"epoch": inbox.epoch, "seq": inbox.head}
        place |= {"read": self.mark[self.inbox]} if self.mark.get(self.inbox) else {}
        words = {"connectionId": "c", "userId": self.user, "roomId": name, "message": "hi", "protocol": 1}
        life = self.draw.choice((6_900_000, 6_900_000, 120_000, 0))
        return wire("welcome", **words, epoch=here.epoch, head=here.head, inbox=place, reconnectAt=1000 + life, **TIMES)

    def head(self, name: str) -> Json:
        room = self.room(name)
        return wire("head", roomId=name, epoch=room.epoch, seq=room.head, **TIMES)

    def answer(self, request: Json) -> Json | None:
        """What answers it; it is carried out once."""
        key = request.get("clientId")
        reply = REQUESTS[request["type"]].reply
        if key is None or reply is None:
            return None
        if key in self.once:
            return self.once[key]
        answer = getattr(self, f"_{reply}")(request, request.get("roomId", "den"))
        answered = wire(answer[0], clientId=key, **answer[1])
        if request["type"] in {"chat", "private_message"}:
            self.once[key] = answered
        return answered

    def _ack(self, request: Json, name: str) -> tuple[str, Json]:
        match request["type"]:
            case "chat":
                extra = {it: request[it] for it in ("replyTo", "mentions") if it in request}
                return "ack", self.say(name, self.user, request.get("message", ""), **extra)
            case "private_message":
                copy = self.whisper(
                    self.user, request["targetUserId"], request["message"], clientId=request["clientId"]
                )
                if self.draw.random() < 0.5:
                    self.pushes.pop()
                return "ack", {**copy, "online": True}
            case _:
                room = self.room(name)
                return "ack", {"roomId": name, "epoch": room.epoch, "seq": room.head}

    def _joined(self, request: Json, name: str) -> tuple[str, Json]:
        room = self.room(name)
        if room.gone:
            self.end(name)
        self.members.add(name)
        same = "since" in request and request.get("epoch") == room.epoch
        news = room.since(request["since"]) if same else []
        whole = same and len(news) <= PAGE and request["since"] >= room.kept - 1
        place = {"roomId": name, "epoch": room.epoch, "head": room.head}
        return "joined", {**place, "recovered": whole, "events": news if whole else []}

    def _left(self, request: Json, name: str) -> tuple[str, Json]:
        self.members.discard(name)
        return "left", {"roomId": name}

    def _history(self, request: Json, name: str) -> tuple[str, Json]:
        room = self.room(name)
        if room.gone:
            return "error", {"code": "ROOM_NOT_FOUND", "message": "no such room", "request": "history"}
        found = room.since(request.get("after", 0))
        place = {"roomId": name, "epoch": room.epoch, "head": room.head}
        more = {"next": found[PAGE - 1]["data"]["seq"]} if len(found) > PAGE else {}
        return "history", {**place, "entries": found[:PAGE], **more}

    def _search(self, request: Json, name: str) -> tuple[str, Json]:
        room = self.room(name)
        found = [it for it in reversed(room.since(0)) if it["type"] in {"chat", "private_message"}]
        more = {} if "cursor" in request else {"next": 2}
        return "search", {"roomId": name, "epoch": room.epoch, "entries": found[:PAGE], **more}

    def _pong(self, request: Json, name: str) -> tuple[str, Json]:
        asked = request.get("cursors", self.rooms)
        here = [it for it in [*sorted(self.members), self.inbox] if it in asked]
        heads = {it: {"epoch": self.room(it).epoch, "seq": self.room(it).head} for it in here}
        return "pong", {"time": 1, "heads": heads}

    def _room_list(self, request: Json, name: str) -> tuple[str, Json]:
        row = {"roomId": "den", "activeUsers": 2, "title": "Den", "visibility": "public", "parent": "root", "head": 3}
        more = {} if "cursor" in request else {"cursor": "den"}
        return "room_list", {"rooms": [row, {**row, "read": 2, "unread": 1}], **more}

    def _members(self, request: Json, name: str) -> tuple[str, Json]:
        row = {"userId": OTHER, "username": "Bob", "status": "busy"}
        return "members", {"roomId": name, "members": [row], **({} if "cursor" in request else {"cursor": "x"})}

    def _room(self, request: Json, name: str) -> tuple[str, Json]:
        return "room", {**self._settled(name), "by": self.user, **profile(name)}

    def _room_deleted(self, request: Json, name: str) -> tuple[str, Json]:
        return "room_deleted", {**self._settled(name), "by": self.user}

    def _settled(self, name: str) -> Json:
        return {"roomId": name, "epoch": 1, "seq": self.room(name).head + 1, **TIMES}

    def _reauthenticated(self, request: Json, name: str) -> tuple[str, Json]:
        return "reauthenticated", {"reconnectAt": self.draw.choice((90_000, 9_000_000))}

    def _notices(self, request: Json, name: str) -> tuple[str, Json]:
        return "notices", {"enabled": request.get("enabled", True)}

    def _read(self, request: Json, name: str) -> tuple[str, Json]:
        self.mark[name] = max(self.mark.get(name, 0), request["seq"])
        place = {"roomId": name, "userId": self.user, "epoch": request.get("epoch", 1), "seq": self.mark[name]}
        return "read", {**place, "unread": 0, **TIMES}

    def _presence(self, request: Json, name: str) -> tuple[str, Json]:
        rows = [{"userId": self.user, "status": request["status"], "since": 7}]
        return "presence", {"roomId": self.inbox, "members": rows, **TIMES}


def profile(name: str) -> Json:
    """What is settled about any room."""
    words = {"title": name, "parent": "root", "visibility": "public", "defaultRole": "member", "owner": OTHER}
    return {**words, "slowMode": 0, "maxMembers": 0, "retention": 0}
