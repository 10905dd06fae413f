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

__all__ = ["RoomServer"]

_Answer = tuple[str, dict[str, Any]]
PAGE = 10
"""Entries in one page of history, few so that tests see more than one."""


@dataclass
class _Room:
    epoch: int = 1
    log: list[dict[str, Any]] = field(default_factory=list)
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
        self.drop: Callable[[str, dict[str, Any]], bool] = lambda user, event: False
        """Whether the push of an event's data to a user is lost."""
        self.alter: Callable[[str, dict[str, Any]], list[dict[str, Any]]] = lambda user, event: [event]
        """What is pushed to a user in place of an event."""
        self.refusals: list[dict[str, Any]] = []
        """Errors for the next chats, first one first; `{}` is API Gateway's own, None of a code: no answer."""
        self.status: dict[str, Any] | None = None
        """What `/twin` answers; None: it does not exist."""
        self._once: dict[tuple[str, str], dict[str, Any]] = {}
        self._numbers = itertools.count(1)
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

    async def say(self, room: str, message: str, user: str = "somebody") -> dict[str, Any]:
        """A message of somebody who is not connected."""
        return await self._append(self.room(room), room, user, user, message)

    async def asked(self, kind: str) -> None:
        """Until a request of that type has come."""
        async with self._news:
            await self._news.wait_for(lambda: any(it.get("type") == kind for it in self.requests))

    def cut(self, user: str) -> None:
        """The user's sockets break without a close frame."""
        for client in [it for it in self.clients.values() if it.user == user]:
            client.socket.transport.abort()

    async def tell(self, user: str, event: dict[str, Any]) -> None:
        """Send any event to a user's sockets."""
        for client in [it for it in self.clients.values() if it.user == user]:
            await _send(client, event)

    def _answer_http(self, connection: ServerConnection, request: Request) -> Response | None:
        if request.path == "/twin":
            body = json.dumps(self.status).encode() if self.status is not None else b"no twin"
            code = HTTPStatus.OK if self.status is not None else HTTPStatus.NOT_FOUND
            headers = Headers({"Content-Type": "application/json", "Content-Length": str(len(body))})
            return Response(code.value, code.phrase, headers, body)
        if self.refuse is not None:
            return connection.respond(HTTPStatus(self.refuse), "")
        return None

    async def _handle(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        query = dict(parse_qsl(urlsplit(socket.request.path).query))
        self.queries.append(query)
        connection = f"c{next(self._numbers)}"
        user = query.get("userId", connection)
        room = query.get("roomId", "general")
        client = _Client(socket, connection, user, query.get("username", user), socket.subprotocol == SUBPROTOCOL, room)
        self.clients[connection] = client
        here = self.room(room)
        here.members[connection] = client
        welcome = {"connectionId": connection, "userId": user, "roomId": room, "message": "", "protocol": 1}
        try:
            await self._push(client, "welcome", {**welcome, "epoch": here.epoch, "head": here.head, **_TIMES})
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
            for it in self.rooms.values():
                it.members.pop(connection, None)

    async def _answer(self, client: _Client, request: dict[str, Any]) -> dict[str, Any] | None:
        answer = getattr(self, f"_on_{request['type']}")
        if request["type"] == "chat" and self.refusals:
            return self._refusal(request)
        name = request.get("roomId", client.room)
        kind, data = await answer(client, self.room(name), name, request)
        return {"type": kind, "data": {"clientId": request["clientId"], **data}}

    async def _on_chat(self, client: _Client, room: _Room, name: str, request: dict[str, Any]) -> _Answer:
        key = (client.user, request["clientId"])
        if key not in self._once:
            event = await self._append(room, name, client.user, client.name, request["message"])
            self._once[key] = {it: event[it] for it in ("roomId", "epoch", "seq", "messageId")}
        return "ack", self._once[key]

    async def _on_join_room(self, client: _Client, room: _Room, name: str, request: dict[str, Any]) -> _Answer:
        if not client.v1:
            self.room(client.room).members.pop(client.connection, None)
        room.members[client.connection] = client
        client.room = name
        same = "since" in request and request.get("epoch") == room.epoch
        news = room.log[request["since"] :] if same else []
        recovered = same and len(news) <= PAGE
        events = [{"type": "chat", "data": it} for it in news] if recovered else []
        place = {"roomId": name, "epoch": room.epoch, "head": room.head}
        return "joined", {**place, "recovered": recovered, "events": events}

    async def _on_leave_room(self, client: _Client, room: _Room, name: str, request: dict[str, Any]) -> _Answer:
        room.members.pop(client.connection, None)
        return "left", {"roomId": name}

    async def _on_history(self, client: _Client, room: _Room, name: str, request: dict[str, Any]) -> _Answer:
        return "history", {"roomId": name, "epoch": room.epoch, "head": room.head, **_page(room, request)}

    async def _on_ping(self, client: _Client, room: _Room, name: str, request: dict[str, Any]) -> _Answer:
        mine = {name: it for name, it in self.rooms.items() if client.connection in it.members}
        return "pong", {"time": 1, "heads": {name: {"epoch": it.epoch, "seq": it.head} for name, it in mine.items()}}

    def _refusal(self, request: dict[str, Any]) -> dict[str, Any] | None:
        refusal = self.refusals.pop(0)
        if not refusal:
            return {"message": "Internal server error", "connectionId": "c", "requestId": "r"}
        if refusal["code"] is None:
            return None
        words = {"message": "not now", "request": "chat", "clientId": request["clientId"]}
        return {"type": "error", "data": {**words, **refusal}}

    async def _append(self, room: _Room, name: str, user: str, display: str, message: str) -> dict[str, Any]:
        event = {
            "messageId": f"m{next(self._numbers)}",
            "roomId": name,
            "senderId": user,
            "senderName": display,
            "message": message,
            "epoch": room.epoch,
            "seq": room.head + 1,
            **_TIMES,
        }
        room.log.append(event)
        for member in list(room.members.values()):
            await self._push(member, "chat", event)
        return event

    async def _push(self, client: _Client, kind: str, data: dict[str, Any]) -> None:
        if kind == "chat" and self.drop(client.user, data):
            return
        for it in self.alter(client.user, data) if kind == "chat" else [data]:
            await _send(client, {"type": kind, "data": it})


_TIMES = {"timestamp": 1, "sentAt": 1000}


def _page(room: _Room, request: dict[str, Any]) -> dict[str, Any]:
    limit = min(request.get("limit", PAGE), PAGE)
    if "after" in request:
        entries = room.log[request["after"] : request["after"] + limit]
        more = bool(entries) and entries[-1]["seq"] < room.head
        following = {"next": entries[-1]["seq"]} if more else {}
    else:
        before = request.get("before", room.head + 1)
        entries = room.log[max(0, before - 1 - limit) : before - 1]
        following = {"next": entries[0]["seq"]} if entries and entries[0]["seq"] > 1 else {}
    return {"entries": [{"type": "chat", "data": it} for it in entries], **following}


async def _send(client: _Client, event: dict[str, Any]) -> None:
    try:
        await client.socket.send(json.dumps(event))
    except ConnectionClosed:
        await asyncio.sleep(0)
