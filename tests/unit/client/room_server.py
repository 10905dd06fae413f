"""A room service in memory that speaks the wire's protocol on 127.0.0.1, with faults to order."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from domain.protocol import SUBPROTOCOL

__all__ = ["PAGE", "RoomServer"]

_Answer = tuple[str, dict[str, Any]]
PAGE = 10
"""Entries, rooms or members in one page, few so that tests see more than one."""
LIFE_MS = 110 * 60 * 1000
"""From the welcome to `reconnectAt`."""


@dataclass
class _Room:
    epoch: int = 1
    log: list[dict[str, Any]] = field(default_factory=list)
    """Events as they go out: `{"type": …, "data": …}`."""
    members: dict[str, _Client] = field(default_factory=dict)

    @property
    def head(self) -> int:
        return len(self.log)


@dataclass(eq=False)
class _Client:
    socket: ServerConnection
    connection: str
    user: str
    name: str
    v1: bool
    room: str


class RoomServer:
    """`url` is where it serves. The faults are attributes; `requests` is all that clients asked, in order."""

    def __init__(self) -> None:
        self.url = ""
        self.rooms: dict[str, _Room] = {}
        self.clients: dict[str, _Client] = {}
        self.requests: list[dict[str, Any]] = []
        self.queries: list[dict[str, str]] = []
        self.refuse: int | None = None
        """The status with which handshakes are answered."""
        self.door = asyncio.Event()
        """Handshakes wait until it is set, as it is in the beginning."""
        self.door.set()
        self.refuse_token: str | None = None
        """Handshakes that show this one are answered with 401."""
        self.tokens: list[str] = []
        """What each handshake had in its header."""
        self.closed_rooms: set[str] = set()
        """Rooms whose handshakes are answered with 403, and whose joins with `BANNED`."""
        self.seats: dict[str, int] = {}
        """Room → how many may be there; who comes after them is answered with 403, or `ROOM_FULL`."""
        self.quiet: set[str] = set()
        """Users who want no notices."""
        self.life_ms = LIFE_MS
        self.welcomes = True
        """Whether who comes is welcomed."""
        self.roster_limit = 50
        self.drop: Callable[[str, dict[str, Any]], bool] = lambda user, event: False
        """Whether the push of an event's data to a user is lost."""
        self.alter: Callable[[str, dict[str, Any]], list[dict[str, Any]]] = lambda user, event: [event]
        """What is pushed to a user in place of an event."""
        self.refusals: list[dict[str, Any]] = []
        """Errors for the next messages, first one first; `{}` is API Gateway's own, None of a code: no answer."""
        self.lose_acks = 0
        """How many of the next messages are stored without an answer."""
        self.status: dict[str, Any] | None = None
        """What `/twin` answers; None: it does not exist."""
        self.codes: dict[str, int | None] = {}
        """User → the code with which its last socket was closed; 1006 is none."""
        self.marks: dict[tuple[str, str], int] = {}
        """(room, user) → the seq up to which the user has read it."""
        self._once: dict[tuple[str, str], dict[str, Any]] = {}
        self._numbers = itertools.count(1)
        self._tries = 0
        self._news = asyncio.Condition()
        self._server: Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._handle,
            "127.0.0.1",
            0,
            process_request=self._answer_http,
            select_subprotocol=lambda connection, offered: next((it for it in offered if it == SUBPROTOCOL), None),
            compression=None,
        )
        host, port = next(iter(self._server.sockets)).getsockname()[:2]
        self.url = f"ws://{host}:{port}/dev"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    def room(self, name: str) -> _Room:
        return self.rooms.setdefault(name, _Room())

    def said(self, room: str, user: str) -> list[str]:
        """What a user's messages in a room are, oldest first."""
        return [it["data"]["message"] for it in self.room(room).log if it["data"]["senderId"] == user]

    async def say(self, room: str, message: str, user: str = "somebody") -> dict[str, Any]:
        """A message of somebody who is not connected."""
        return await self._append(room, "chat", {"senderId": user, "senderName": user, "message": message})

    async def whisper(self, target: str, message: str, user: str = "somebody") -> dict[str, Any]:
        """A private message of somebody; the target's copy."""
        words = {"senderId": user, "senderName": user, "targetUserId": target, "message": message}
        if user != target:
            await self._append(f"inbox#{user}", "private_message", words)
        return await self._append(f"inbox#{target}", "private_message", words)

    async def asked(self, kind: str, times: int = 1) -> None:
        """Until so many requests of that type have come."""
        async with self._news:
            await self._news.wait_for(lambda: sum(it.get("type") == kind for it in self.requests) >= times)

    async def gone(self, user: str) -> None:
        """Until a user's socket has been closed."""
        async with self._news:
            await self._news.wait_for(lambda: user in self.codes)

    async def welcomed(self, times: int) -> None:
        """Until so many handshakes have been let in."""
        async with self._news:
            await self._news.wait_for(lambda: len(self.queries) >= times)

    async def tried(self, times: int) -> None:
        """Until so many handshakes have begun."""
        async with self._news:
            await self._news.wait_for(lambda: self._tries >= times)

    def sockets(self, user: str) -> int:
        """How many of a user's sockets are open."""
        return sum(it.user == user for it in self.clients.values())

    def _full(self, room: str) -> bool:
        return room in self.seats and len(self.room(room).members) >= self.seats[room]

    def cut(self, user: str) -> None:
        """The user's sockets break without a close frame."""
        for client in [it for it in self.clients.values() if it.user == user]:
            client.socket.transport.abort()

    async def tell(self, user: str, event: dict[str, Any]) -> None:
        """Send any event to a user's sockets."""
        for client in [it for it in self.clients.values() if it.user == user]:
            await _send(client, event)

    async def _answer_http(self, connection: ServerConnection, request: Request) -> Response | None:
        if request.path == "/twin":
            body = json.dumps(self.status).encode() if self.status is not None else b"no twin"
            code = HTTPStatus.OK if self.status is not None else HTTPStatus.NOT_FOUND
            headers = Headers({"Content-Type": "application/json", "Content-Length": str(len(body))})
            return Response(code.value, code.phrase, headers, body)
        async with self._news:
            self._tries += 1
            self._news.notify_all()
        await self.door.wait()
        if self.refuse is not None:
            return connection.respond(HTTPStatus(self.refuse), "")
        query = dict(parse_qsl(urlsplit(request.path).query))
        self.tokens.append(request.headers.get("Authorization", "").removeprefix("Bearer "))
        if self.refuse_token is not None and self.refuse_token in {query.get("token"), self.tokens[-1]}:
            return connection.respond(HTTPStatus.UNAUTHORIZED, "")
        room = query.get("roomId", "general")
        if room in self.closed_rooms or self._full(room):
            return connection.respond(HTTPStatus.FORBIDDEN, "")
        return None

    async def _handle(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        query = dict(parse_qsl(urlsplit(socket.request.path).query))
        connection = f"c{next(self._numbers)}"
        user = query.get("userId", f"anonymous-{connection}")
        room = query.get("roomId", "general")
        client = _Client(socket, connection, user, query.get("username", user), socket.subprotocol == SUBPROTOCOL, room)
        self.clients[connection] = client
        here, inbox = self.room(room), self.room(f"inbox#{user}")
        here.members[connection] = inbox.members[connection] = client
        async with self._news:
            self.queries.append(query)
            self._news.notify_all()
        welcome: dict[str, Any] = {"connectionId": connection, "userId": user, "roomId": room, "protocol": 1}
        welcome |= {"message": f"Welcome to room {room}!", "epoch": here.epoch, "head": here.head, **_TIMES}
        place = {"epoch": inbox.epoch, "seq": inbox.head, **self._mark(f"inbox#{user}", user)}
        welcome |= {"inbox": place, "reconnectAt": welcome["sentAt"] + self.life_ms}
        try:
            if self.welcomes:
                await self._push(client, "welcome", welcome)
            await self._tell_of(client, room, "user_joined")
            async for frame in socket:
                request = json.loads(frame)
                async with self._news:
                    self.requests.append(request)
                    self._news.notify_all()
                reply = await self._answer(client, request)
                if reply is not None:
                    await _send(client, reply)
        except ConnectionClosed:
            pass
        finally:
            del self.clients[connection]
            for name in list(self.rooms):
                await self._drop_member(client, name)
            async with self._news:
                self.codes[user] = socket.close_code
                self._news.notify_all()

    async def _answer(self, client: _Client, request: dict[str, Any]) -> dict[str, Any] | None:
        kind = request["type"]
        if kind in _MESSAGES and self.refusals:
            return self._refusal(request)
        name = request.get("roomId", client.room)
        if kind == "join_room" and client.connection not in self.room(name).members:
            code = "BANNED" if name in self.closed_rooms else "ROOM_FULL" if self._full(name) else None
            if code is not None:
                return _error(request, code=code)
        if name.startswith("inbox#") and name != f"inbox#{client.user}":
            return _error(request, code="NOT_A_MEMBER")
        answer = await getattr(self, f"_on_{kind}")(client, self.room(name), name, request)
        if answer is None:
            return None
        if kind in _MESSAGES and self.lose_acks:
            self.lose_acks -= 1
            return None
        return {"type": answer[0], "data": {"clientId": request["clientId"], **answer[1]}}

    async def _on_chat(self, client: _Client, room: _Room, name: str, request: dict[str, Any]) -> _Answer:
        key = (client.user, request["clientId"])
        if key not in self._once:
            words = {"senderId": client.user, "senderName": client.name, "message": request["message"]}
            self._once[key] = _place(await self._append(name, "chat", words))
        return "ack", self._once[key]

    async def _on_private_message(self, client: _Client, room: _Room, name: str, request: dict[str, Any]) -> _Answer:
        key = (client.user, request["clientId"])
        own, theirs = f"inbox#{client.user}", f"inbox#{request['targetUserId']}"
        if theirs not in self.rooms:
            return "error", {"code": "USER_OFFLINE", "message": "Target user not found or offline"}
        if key not in self._once:
            words = {"senderId": client.user, "senderName": client.name, "targetUserId": request["targetUserId"]}
            words["message"] = request["message"]
            own_words = {**words, "clientId": request["clientId"]}
            copy = await self._append(own, "private_message", own_words, origin=client)
            if theirs != own:
                await self._append(theirs, "private_message", words)
            self._once[key] = {**_place(copy), "online": bool(self.rooms[theirs].members)}
        return "ack", self._once[key]

    async def _on_join_room(self, client: _Client, room: _Room, name: str, request: dict[str, Any]) -> _Answer:
        if not client.v1 and client.room != name:
            await self._drop_member(client, client.room)
        joins = client.connection not in room.members
        room.members[client.connection] = client
        client.room = name
        if joins:
            await self._tell_of(client, name, "user_joined")
        same = "since" in request and request.get("epoch") == room.epoch
        news = room.log[request["since"] :] if same else []
        recovered = same and len(news) <= PAGE
        place = {"roomId": name, "epoch": room.epoch, "head": room.head}
        return "joined", {**place, "recovered": recovered, "events": news if recovered else []}

    async def _on_leave_room(self, client: _Client, room: _Room, name: str, request: dict[str, Any]) -> _Answer:
        await self._drop_member(client, name)
        return "left", {"roomId": name}

    async def _on_history(self, client: _Client, room: _Room, name: str, request: dict[str, Any]) -> _Answer:
        return "history", {"roomId": name, "epoch": room.epoch, "head": room.head, **_page(room, request)}

    async def _on_search(self, client: _Client, room: _Room, name: str, request: dict[str, Any]) -> _Answer:
        before = request.get("cursor", room.head + 1)
        read = room.log[max(0, before - 1 - PAGE) : before - 1][::-1]
        found = [it for it in read if request["query"] in it["data"].get("message", "")]
        limit = request.get("limit", PAGE)
        last = _seq(found[limit - 1]) if len(found) > limit else _seq(read[-1]) if read else 0
        more = {"next": last} if last > 1 else {}
        return "search", {"roomId": name, "epoch": room.epoch, "entries": found[:limit], **more}

    async def _on_ping(self, client: _Client, room: _Room, name: str, request: dict[str, Any]) -> _Answer:
        asked = request.get("cursors", self.rooms)
        mine = {name: it for name, it in self.rooms.items() if client.connection in it.members and name in asked}
        return "pong", {"time": 1, "heads": {name: {"epoch": it.epoch, "seq": it.head} for name, it in mine.items()}}

    async def _on_read(self, client: _Client, room: _Room, name: str, request: dict[str, Any]) -> _Answer:
        key = name, client.user
        self.marks[key] = max(self.marks.get(key, 0), request["seq"])
        mark = self._mark(name, client.user)
        place = {"roomId": name, "userId": client.user, "epoch": room.epoch, "seq": mark["read"], **_TIMES}
        return "read", {**place, "unread": mark["unread"]}

    def _mark(self, room: str, user: str) -> dict[str, int]:
        """How far the user has read the room, and how much is left, their own copies in an inbox aside."""
        read = self.marks.get((room, user), 0)
        behind = [it for it in self.room(room).log if _seq(it) > read]
        own = room == f"inbox#{user}"
        return {"read": read, "unread": sum(not own or it["data"]["senderId"] != user for it in behind)}

    async def _on_room_list(self, client: _Client, room: _Room, name: str, request: dict[str, Any]) -> _Answer:
        names = sorted(it for it in self.rooms if "#" not in it and it > request.get("cursor", ""))
        rooms = [
            {
                "roomId": it,
                "activeUsers": len(self.rooms[it].members),
                "title": it.title(),
                "visibility": "public",
                "parent": request.get("parent", "root"),
                "head": self.rooms[it].head,
                **(self._mark(it, client.user) if (it, client.user) in self.marks else {}),
            }
            for it in names[:PAGE]
        ]
        return "room_list", {"rooms": rooms, **({"cursor": names[PAGE - 1]} if len(names) > PAGE else {})}

    async def _on_members(self, client: _Client, room: _Room, name: str, request: dict[str, Any]) -> _Answer:
        connections = sorted(it for it in room.members if it > request.get("cursor", ""))
        users = {room.members[it].user: room.members[it].name for it in connections[:PAGE]}
        members = [{"userId": user, "username": it, "status": "online"} for user, it in users.items()]
        more = {"cursor": connections[PAGE - 1]} if len(connections) > PAGE else {}
        return "members", {"roomId": name, "members": members, **more}

    async def _on_notices(self, client: _Client, room: _Room, name: str, request: dict[str, Any]) -> _Answer:
        if "enabled" in request:
            (self.quiet.discard if request["enabled"] else self.quiet.add)(client.user)
        return "notices", {"enabled": client.user not in self.quiet}

    async def _on_typing(self, client: _Client, room: _Room, name: str, request: dict[str, Any]) -> None:
        event = {"roomId": name, "userId": client.user, "username": client.name, **_TIMES}
        for it in [it for it in room.members.values() if it is not client]:
            await self._push(it, "typing", event)

    async def _on_presence(self, client: _Client, room: _Room, name: str, request: dict[str, Any]) -> _Answer:
        own = f"inbox#{client.user}"
        status = {"userId": client.user, "status": request["status"], "since": 1}
        return "presence", {"roomId": own, "members": [status], **_TIMES}

    def _refusal(self, request: dict[str, Any]) -> dict[str, Any] | None:
        refusal = self.refusals.pop(0)
        if not refusal:
            return {"message": "Internal server error", "connectionId": "c", "requestId": "r"}
        return None if refusal["code"] is None else _error(request, **refusal)

    async def _append(
        self, name: str, kind: str, words: dict[str, Any], origin: _Client | None = None
    ) -> dict[str, Any]:
        room = self.room(name)
        place = {"messageId": f"m{next(self._numbers)}", "roomId": name, "epoch": room.epoch, "seq": room.head + 1}
        event = {**words, **place, **_TIMES}
        room.log.append({"type": kind, "data": event})
        for member in [it for it in room.members.values() if it is not origin]:
            await self._push(member, kind, event)
        return event

    async def _drop_member(self, client: _Client, name: str) -> None:
        if self.room(name).members.pop(client.connection, None) is not None and not name.startswith("inbox#"):
            await self._tell_of(client, name, "user_left")

    async def _tell_of(self, client: _Client, name: str, kind: str) -> None:
        members = list(self.room(name).members.values())
        who: dict[str, Any] = {"userId": client.user, "username": client.name}
        if len(members) > self.roster_limit:
            kind, who = "room_stats", {"activeUsers": len(members)}
        for it in members:
            await self._push(it, kind, {"roomId": name, **who, **_TIMES})

    async def _push(self, client: _Client, kind: str, data: dict[str, Any]) -> None:
        if kind in _MESSAGES and self.drop(client.user, data):
            return
        for it in self.alter(client.user, data) if kind in _MESSAGES else [data]:
            await _send(client, {"type": kind, "data": it})


_MESSAGES = frozenset({"chat", "private_message"})
"""The types of the requests that say something, and of the entries that come of them."""
_TIMES = {"timestamp": 1, "sentAt": 1000}


def _page(room: _Room, request: dict[str, Any]) -> dict[str, Any]:
    limit = min(request.get("limit", PAGE), PAGE)
    if "after" in request:
        entries = room.log[request["after"] : request["after"] + limit]
        more = bool(entries) and _seq(entries[-1]) < room.head
        following = {"next": _seq(entries[-1])} if more else {}
    else:
        before = request.get("before", room.head + 1)
        entries = room.log[max(0, before - 1 - limit) : before - 1]
        following = {"next": _seq(entries[0])} if entries and _seq(entries[0]) > 1 else {}
    return {"entries": entries, **following}


def _seq(entry: dict[str, Any]) -> int:
    return int(entry["data"]["seq"])


def _place(event: dict[str, Any]) -> dict[str, Any]:
    return {it: event[it] for it in ("roomId", "epoch", "seq", "messageId")}


def _error(request: dict[str, Any], **words: Any) -> dict[str, Any]:
    error = {"message": "not now", "request": request["type"], "clientId": request["clientId"]}
    return {"type": "error", "data": {**error, **words}}


async def _send(client: _Client, event: dict[str, Any]) -> None:
    try:
        await client.socket.send(json.dumps(event))
    except ConnectionClosed:
        await asyncio.sleep(0)
