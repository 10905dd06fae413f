"""People at raw sockets: what a client of any kind sees of the service."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from domain.events import EVENTS, Logged

__all__ = ["PATIENCE", "Person", "person"]

PATIENCE = 30.0
"""Seconds after which what was awaited is taken to be lost."""
_LOGGED = {name for name, model in EVENTS.items() if issubclass(model, Logged)}
"""The types of the events that rooms keep."""
_numbers = itertools.count(1)


class Person:
    """One socket, and every event that came through it, batches unpacked, and each entry once.

    The wire is at least once: a post that outlives its deadline, on a busy machine, is made again.
    """

    def __init__(self, socket: ClientConnection, user: str) -> None:
        self.socket = socket
        self.user = user
        self.events: list[dict[str, Any]] = []
        self.frames = 0
        self._entries: set[tuple[Any, ...]] = set()
        self._changed = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for frame in self.socket:
                event = json.loads(frame)
                self.frames += 1
                async with self._changed:
                    came = event["data"]["events"] if event.get("type") == "batch" else [event]
                    self.events += [it for it in came if self._is_new(it)]
                    self._changed.notify_all()
        except ConnectionClosed:
            pass
        async with self._changed:
            self._changed.notify_all()

    def _is_new(self, event: dict[str, Any]) -> bool:
        data = event.get("data")
        if event.get("type") not in _LOGGED or not isinstance(data, dict) or "seq" not in data:
            return True
        # The answer to who changed a room is the entry itself, with the request's id, and may come after it.
        entry = (event["type"], data.get("roomId"), data.get("epoch"), data["seq"], data.get("clientId"))
        if entry in self._entries:
            return False
        self._entries.add(entry)
        return True

    async def until(self, condition: Callable[[], bool], patience: float = PATIENCE) -> None:
        """Wait until the events satisfy the condition."""
        try:
            async with asyncio.timeout(patience), self._changed:
                await self._changed.wait_for(condition)
        except TimeoutError:
            socket, last = self.socket.state.name, self.events[-3:]
            pytest.fail(f"{self.user} (socket {socket}), not in {patience:g} s; {len(self.events)} events, last {last}")

    def seen(self, *types: str) -> list[dict[str, Any]]:
        """The `data` of the events of these types, as they came."""
        return [it.get("data", it) for it in self.events if it.get("type") in types]

    @property
    def messages(self) -> list[str]:
        return [it["message"] for it in self.seen("chat")]

    async def hears(self, *messages: str, patience: float = PATIENCE) -> None:
        """Wait until every one of these texts has come."""
        await self.until(lambda: set(messages) <= set(self.messages), patience)

    async def ask(self, **request: Any) -> dict[str, Any]:
        """The event that answers a request."""
        request.setdefault("clientId", f"{self.user}-request-{next(_numbers):08d}")
        await self.socket.send(json.dumps(request))

        def reply() -> dict[str, Any] | None:
            found = (it for it in self.events if it.get("data", {}).get("clientId") == request["clientId"])
            return next(found, None)

        await self.until(lambda: reply() is not None)
        answer = reply()
        assert answer is not None
        return answer

    async def say(self, message: str, room: str, **fields: Any) -> dict[str, Any]:
        """Send a message until it is acknowledged; the ack's `data`."""
        fields.setdefault("clientId", f"{self.user}-message-{next(_numbers):08d}")
        while True:
            reply = await self.ask(type="chat", message=message, roomId=room, **fields)
            if reply["type"] == "ack":
                data: dict[str, Any] = reply["data"]
                return data
            assert reply["data"]["code"] == "ROOM_BUSY", reply
            self.events.remove(reply)
            await asyncio.sleep(reply["data"]["retryAfter"])

    async def vanish(self) -> None:
        """Be gone without a close frame."""
        self.socket.transport.abort()
        await self._reader

    async def leave(self) -> None:
        await self.socket.close()
        await self._reader


@asynccontextmanager
async def person(url: str, user: str, room: str, dialect: str = "v1", **query: str) -> AsyncIterator[Person]:
    """Connect, and be there until the block ends. The welcome has come when the block begins."""
    fields = {"userId": user, "username": user.title(), "roomId": room, **query}
    protocols = [Subprotocol("roomcast.v1")] if dialect == "v1" else None
    socket = await connect(
        f"{url}?{urlencode(fields)}", subprotocols=protocols, compression=None, open_timeout=PATIENCE
    )
    someone = Person(socket, user)
    try:
        await someone.until(lambda: bool(someone.seen("welcome")))
        yield someone
    finally:
        await someone.leave()
