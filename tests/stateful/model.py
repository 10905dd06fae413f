"""What the service promises, without any of its ways: rooms as lists, connections as sets, and the answer to each
request by looking it up.

An answer is a whole event of the wire. Where the service draws something, an id or a shard, the model takes it from the
real answer as a witness, and holds the service to it from then on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from domain.rooms import Dialect, Rules, Standing

__all__ = ["FRAME_BYTES", "Event", "Model", "RoomModel", "Seen", "Socket", "refused"]

FRAME_BYTES = 32 * 1024
TEXT_BYTES = 24 * 1024
PAGE_BYTES = FRAME_BYTES - 768
ENTRY_BYTES = FRAME_BYTES - 1024
"""Bytes: of a frame, a message, the entries in a page, and an entry."""
PAGE = 100
DAY_MS = 24 * 3600 * 1000
ROW_MS = (2 * 60 + 1) * 60 * 1000
LEASE_MS = 15 * 60 * 1000
SLACK_MS = 3 * 60 * 1000
KICK_MS = 10 * 1000
"""Milliseconds that a clientId, a connection's rows, a v1 client's silence and a kick last."""

Event = dict[str, Any]


@dataclass
class Socket:
    """A connection. It stays known after its end: a request may still be under way."""

    connection: str
    user: str
    dialect: Dialect
    expires_at: int
    lease_until: int
    looked_at: int
    """The minute whose tick looks at the lease."""
    last_room: str
    shards: dict[str, int] = field(default_factory=dict)
    """Room, the inbox as well, → the shard that its member row is in."""
    ended: bool = False


@dataclass
class RoomModel:
    """A room and its log: the events as the wire has them, of seq 1, 2, 3 …"""

    epoch: int
    shards: int = 1
    log: list[Event] = field(default_factory=list)

    @property
    def head(self) -> int:
        return len(self.log)


@dataclass(frozen=True)
class Seen:
    """What the model is told of the real answer."""

    began: int
    now: int
    """When the request came, and when it was answered, in milliseconds since 1970."""
    event: Event = field(default_factory=dict)


@dataclass(frozen=True)
class Remembered:
    """A request that was carried out."""

    content: tuple[Any, ...]
    reply: Event
    rings: Sequence[tuple[str, int, int]]
    """(room, seq, shards it had)."""
    until: int


class Model:
    """The service as its users see it."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.rooms: dict[str, RoomModel] = {}
        self.sockets: dict[str, Socket] = {}
        self.standings: dict[tuple[str, str], Standing] = {}
        self.marks: dict[tuple[str, str], int] = {}
        """(room, user) → the seq up to which they have read it."""
        self.once: dict[tuple[str, str], Remembered] = {}
        self.online_until: dict[str, int] = {}
        """User → until when their row says that they are online."""
        self.message_ids: set[str] = set()
        self.rung: list[tuple[str, int, int]] = []
        """(room, seq, shards) of what the last request must have rung."""

    # ---- connections

    def connect(self, socket: Socket, seen: Seen) -> str | None:
        """The code of the refusal, or None: `socket` is in its room and its inbox."""
        inbox = f"inbox#{socket.user}"
        self._make_rooms(seen, socket.last_room, inbox)
        refusal = self._joins(socket.last_room, socket.user, seen.now)
        if refusal is not None:
            return str(refusal["data"]["code"])
        self.sockets[socket.connection] = socket
        socket.shards |= {socket.last_room: 0, inbox: 0}
        self._work_out(socket.user, seen.now)
        return None

    def placed(self, connection: str, room: str, shard: int) -> None:
        """A connection that was not in the room before has been put into a shard: one that is full doubles them."""
        found = self.rooms[room]
        assert 0 <= shard < found.shards
        self.sockets[connection].shards[room] = shard
        if 5 * sum(it.shards[room] == shard for it in self.members(room)) > 4 * self.rules.shard_limit:
            found.shards *= 2

    def end(self, connection: str, now: int) -> None:
        socket = self.sockets.get(connection)
        if socket is not None and not socket.ended:
            socket.ended = True
            socket.shards.clear()
            self._work_out(socket.user, now)

    def tick(self, now: int) -> list[str]:
        """Every minute up to `now` is looked at; the connections whose lease has ended."""
        over = []
        for it in self.sockets.values():
            if not it.ended and it.looked_at <= now // 60_000:
                if it.lease_until > now:
                    it.looked_at = -(-it.lease_until // 60_000)
                else:
                    over.append(it.connection)
        for connection in over:
            self.end(connection, now)
        return over

    def members(self, room: str) -> list[Socket]:
        return [it for it in self.sockets.values() if room in it.shards]

    # ---- requests

    def answer(self, connection: str, request: Mapping[str, Any], seen: Seen) -> Event:
        """The event that answers `request`; empty where there is none."""
        self.rung = []
        reply = _ANSWERS[request["type"]](self, self.sockets[connection], request, seen)
        if not reply:
            return reply
        echoed = {"clientId": request["clientId"]} if "clientId" in request else {}
        if reply["type"] == "error":
            echoed["request"] = request["type"]
        return {"type": reply["type"], "data": reply["data"] | echoed}

    def join_room(self, socket: Socket, request: Mapping[str, Any], seen: Seen) -> Event:
        room, inbox = request["roomId"], f"inbox#{socket.user}"
        if socket.ended:
            return refused("FORBIDDEN")
        others = socket.shards.keys() - {inbox}
        if room not in others and len(others) >= self.rules.max_rooms_per_connection:
            return refused("ROOM_FULL")
        self._make_rooms(seen, room)
        refusal = self._joins(room, socket.user, seen.now)
        if refusal is not None:
            return refusal
        socket.shards.setdefault(room, 0)
        if socket.dialect == "recipe" and socket.last_room != room:
            socket.shards.pop(socket.last_room, None)
        socket.last_room = room
        found = self.rooms[room]
        missed: list[Event] | None = None
        since = request.get("since")
        if since is not None and request.get("epoch") in {None, found.epoch} and since <= found.head:
            missed = found.log[since:]
            if _page(missed, PAGE) != len(missed):
                missed = None
        place = {"roomId": room, "epoch": found.epoch, "head": found.head}
        return event("joined", **place, recovered=missed is not None, events=missed or [])

    def leave_room(self, socket: Socket, request: Mapping[str, Any], seen: Seen) -> Event:
        room = request.get("roomId")
        if room is None and socket.ended:
            return refused("NOT_A_MEMBER")
        room = room or socket.last_room
        socket.shards.pop(room, None)
        return event("left", roomId=room)

    def chat(self, socket: Socket, request: Mapping[str, Any], seen: Seen) -> Event:
        if not request["message"].strip():
            return refused("EMPTY_MESSAGE")
        if len(request["message"].encode()) > TEXT_BYTES:
            return refused("TOO_LARGE")
        if socket.ended and "roomId" not in request:
            return refused("NOT_A_MEMBER")
        room = request.get("roomId") or socket.last_room
        repeat = self._repeat(socket.user, [room], request, seen.now)
        if repeat is not None:
            return repeat
        refusal = self._writes(socket, room, seen.now)
        if refusal is not None:
            return refusal
        body = {it: request[it] for it in ("replyTo", "mentions") if it in request}
        return self._answer(socket, request, seen, room, body | {"message": request["message"]})

    def _answer(self, socket: Socket, request: Mapping[str, Any], seen: Seen, room: str, body: Event) -> Event:
        """In a thread, where it answers anything: the message that began it says so."""
        log = self.rooms[room].log
        reply_to = request.get("replyTo")
        if reply_to is None:
            return self._store(socket, request, seen, {room: body}, {})
        if not 0 < reply_to <= len(log):
            return refused("BAD_REQUEST")
        thread = log[reply_to - 1]["data"].get("thread", reply_to)
        reply = self._store(socket, request, seen, {room: body | {"thread": thread}}, {})
        if reply["type"] == "ack":
            root = log[thread - 1]["data"]
            count = root.get("replies", {"count": 0})["count"] + 1
            log[thread - 1] = event("chat", **root | {"replies": {"count": count, "lastSeq": len(log)}})
        return reply

    def private_message(self, socket: Socket, request: Mapping[str, Any], seen: Seen) -> Event:
        if not request["message"].strip():
            return refused("EMPTY_MESSAGE")
        if len(request["message"].encode()) > TEXT_BYTES:
            return refused("TOO_LARGE")
        own, theirs = f"inbox#{socket.user}", f"inbox#{request['targetUserId']}"
        repeat = self._repeat(socket.user, [own, theirs], request, seen.now)
        if repeat is not None:
            return repeat
        if theirs not in self.rooms:
            return refused("USER_OFFLINE")
        refusal = self._writes(socket, own, seen.now)
        if refusal is not None:
            return refusal
        body = {"targetUserId": request["targetUserId"], "message": request["message"]}
        mine = body | ({"clientId": request["clientId"]} if "clientId" in request else {})
        online = any(it.expires_at > seen.now for it in self.members(theirs))
        return self._store(socket, request, seen, {theirs: body, own: mine}, {"online": online})

    def history(self, socket: Socket, request: Mapping[str, Any], seen: Seen) -> Event:
        if "before" in request and "after" in request:
            return refused("BAD_REQUEST")
        name, limit = request["roomId"], request.get("limit", PAGE)
        room = self.rooms.get(name)
        if room is None:
            return refused("ROOM_NOT_FOUND")
        if name not in socket.shards:
            return refused("NOT_A_MEMBER")
        if "after" in request:
            following = room.log[request["after"] :]
            page = following[: _page(following, limit)]
            more = page[-1]["data"]["seq"] if len(page) < len(following) else None
        else:
            earlier = room.log[: max(0, request.get("before", room.head + 1) - 1)]
            size = _page(earlier[::-1], limit)
            page = earlier[len(earlier) - size :]
            more = page[0]["data"]["seq"] if size < len(earlier) else None
        following_page = {} if more is None else {"next": more}
        return event("history", roomId=name, epoch=room.epoch, head=room.head, entries=page, **following_page)

    def ping(self, socket: Socket, request: Mapping[str, Any], seen: Seen) -> Event:
        if not socket.ended and socket.dialect == "v1":
            socket.lease_until = min(socket.expires_at, seen.now + LEASE_MS)
        if not socket.ended and self.online_until[socket.user] - seen.now < (LEASE_MS + SLACK_MS) // 2:
            self._work_out(socket.user, seen.now)
        asked = request.get("cursors", socket.shards)
        heads = {it: {"epoch": self.rooms[it].epoch, "seq": self.rooms[it].head} for it in socket.shards if it in asked}
        return event("pong", time=seen.now, heads=heads)

    def room_list(self, socket: Socket, request: Mapping[str, Any], seen: Seen) -> Event:
        limit = request.get("limit", PAGE)
        listed = sorted(it for it in self.rooms if "#" not in it and it > request.get("cursor", ""))
        listed = listed[:limit] if request.get("parent", "root") == "root" else []
        rooms = [
            {
                "roomId": it,
                "activeUsers": len(self.members(it)),
                "title": it,
                "visibility": "public",
                "parent": "root",
                "head": self.rooms[it].head,
                **self._read(it, socket.user),
            }
            for it in listed
        ]
        return event("room_list", rooms=rooms, **({"cursor": listed[-1]} if len(listed) == limit else {}))

    def read(self, socket: Socket, request: Mapping[str, Any], seen: Seen) -> Event:
        name, user = request["roomId"], socket.user
        room = self.rooms.get(name)
        if room is None:
            return refused("ROOM_NOT_FOUND")
        if name not in socket.shards and name != f"inbox#{user}":
            return refused("NOT_A_MEMBER")
        if request["seq"] > room.head or request.get("epoch", room.epoch) != room.epoch:
            return refused("BAD_REQUEST")
        self.marks[name, user] = max(request["seq"], self.marks.get((name, user), 0))
        stands = self._read(name, user)
        moment = {"timestamp": seen.now // 1000, "sentAt": seen.now}
        place = {"epoch": room.epoch, "seq": stands["read"], "unread": stands["unread"]}
        return event("read", roomId=name, userId=user, **place, **moment)

    def _read(self, name: str, user: str) -> dict[str, int]:
        """How far the user has read a room, and what is left to read; nothing where they never said so."""
        if (name, user) not in self.marks:
            return {}
        read = self.marks[name, user]
        own = user if name == f"inbox#{user}" else None
        left = sum(it["data"]["senderId"] != own for it in self.rooms[name].log[read:])
        return {"read": read, "unread": left}

    def list_members(self, socket: Socket, request: Mapping[str, Any], seen: Seen) -> Event:
        name = request["roomId"]
        room = self.rooms.get(name)
        if room is None:
            return refused("ROOM_NOT_FOUND")
        if name not in socket.shards:
            return refused("NOT_A_MEMBER")
        shard = int(request.get("cursor", "0:").partition(":")[0])
        if shard >= room.shards:
            return refused("BAD_REQUEST")
        here = sorted((it.connection, it) for it in self.members(name) if it.shards[name] == shard)
        users = dict.fromkeys(it.user for _, it in here if it.expires_at > seen.now)
        following = {"cursor": f"{shard + 1}:"} if shard + 1 < room.shards else {}
        members = [{"userId": it, "username": it.title(), "status": self._status(it, seen.now)} for it in users]
        return event("members", roomId=name, members=members, **following)

    def typing(self, socket: Socket, request: Mapping[str, Any], seen: Seen) -> Event:
        return self._writes(socket, request["roomId"], seen.now) or {}

    # ---- private

    def _work_out(self, user: str, now: int) -> None:
        live = [it for it in self.sockets.values() if it.user == user and not it.ended and it.expires_at > now]
        leases = [min(it.expires_at, now + LEASE_MS) if it.dialect == "v1" else it.expires_at for it in live]
        self.online_until[user] = max(leases) + SLACK_MS if leases else now

    def _status(self, user: str, now: int) -> str:
        return "online" if self.online_until[user] > now else "offline"

    def _make_rooms(self, seen: Seen, *rooms: str) -> None:
        for it in rooms:
            self.rooms.setdefault(it, RoomModel(seen.began))

    def _joins(self, room: str, user: str, now: int) -> Event | None:
        standing = self.standings.get((room, user), Standing())
        if standing.banned_until > now:
            return refused("BANNED")
        left = standing.kicked_at + KICK_MS - now
        return refused("FORBIDDEN", left / 1000) if left > 0 else None

    def _writes(self, socket: Socket, room: str, now: int) -> Event | None:
        standing = self.standings.get((room, socket.user), Standing())
        if room not in self.rooms:
            return refused("ROOM_NOT_FOUND")
        if room not in socket.shards:
            return refused("NOT_A_MEMBER")
        if standing.banned_until > now:
            return refused("BANNED")
        return refused("MUTED", (standing.muted_until - now) / 1000) if standing.muted_until > now else None

    def _repeat(self, user: str, rooms: list[str], request: Mapping[str, Any], now: int) -> Event | None:
        earlier = self.once.get((user, request.get("clientId", "")))
        if earlier is None or earlier.until <= now:
            return None
        if earlier.content != _content(rooms, request):
            return refused("BAD_REQUEST")
        self.rung = list(earlier.rings)
        return earlier.reply

    def _store(
        self,
        socket: Socket,
        request: Mapping[str, Any],
        seen: Seen,
        bodies: Mapping[str, Event],
        said: Mapping[str, Any],
    ) -> Event:
        """Put an entry with a body of its own into each room; the last one is the one acknowledged."""
        message_id = str(seen.event.get("data", {}).get("messageId"))
        common = {"messageId": message_id, "senderId": socket.user, "senderName": socket.user.title()}
        entries = {}
        for name, body in bodies.items():
            room = self.rooms[name]
            place = {"roomId": name, "epoch": room.epoch, "seq": room.head + 1}
            moment = {"timestamp": seen.now // 1000, "sentAt": seen.now}
            entries[name] = event(request["type"], **place, **moment, **common, **body)
        if any(_size(it) > ENTRY_BYTES for it in entries.values()):
            return refused("TOO_LARGE")
        assert len(message_id) == 32, seen.event
        assert message_id not in self.message_ids
        self.message_ids.add(message_id)
        for name, entry in entries.items():
            room = self.rooms[name]
            room.log.append(entry)
            self.rung.append((name, room.head, room.shards))
            acknowledged = {"roomId": name, "epoch": room.epoch, "seq": room.head}
        reply = event("ack", messageId=message_id, **acknowledged, **said)
        if "clientId" in request:
            content = _content([*bodies][::-1], request)
            self.once[socket.user, request["clientId"]] = Remembered(content, reply, self.rung, seen.now + DAY_MS)
        return reply


def event(kind: str, **data: Any) -> Event:
    return {"type": kind, "data": data}


def refused(code: str, retry_after: float | None = None) -> Event:
    """An error; its words are not the model's."""
    return event("error", code=code, **({} if retry_after is None else {"retryAfter": retry_after}))


def _content(rooms: list[str], request: Mapping[str, Any]) -> tuple[Any, ...]:
    return (*dict.fromkeys(rooms), json.dumps(request, sort_keys=True))


def _page(events: Sequence[Event], limit: int) -> int:
    """How many of `events`, from the first, make one page."""
    size = 0
    for number, it in enumerate(events[:limit]):
        size += _size(it) + 1
        if number and size > PAGE_BYTES:
            return number
    return min(limit, len(events))


def _size(it: Event) -> int:
    return len(json.dumps(it, ensure_ascii=False, separators=(",", ":")).encode())


_ANSWERS: Mapping[str, Callable[[Model, Socket, Mapping[str, Any], Seen], Event]] = {
    "chat": Model.chat,
    "join_room": Model.join_room,
    "leave_room": Model.leave_room,
    "private_message": Model.private_message,
    "history": Model.history,
    "ping": Model.ping,
    "room_list": Model.room_list,
    "members": Model.list_members,
    "typing": Model.typing,
    "read": Model.read,
}
