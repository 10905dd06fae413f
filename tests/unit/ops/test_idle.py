"""Who sits at a terminal and types nothing is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from client.connection import connect
from ops.chat import _Terminal
from tests.unit.client.room_server import RoomServer

MOMENT = 0.001
"""Seconds without a line, in place of five minutes."""


def said(server: RoomServer) -> list[str]:
    return [it["status"] for it in server.requests if it["type"] == "presence"]


async def test_who_types_nothing_is_away_until_the_next_line() -> None:
    """Back by the line itself; who said that they are busy stays so."""
    lines: asyncio.Queue[str] = asyncio.Queue()

    async def typed() -> AsyncIterator[str]:
        while True:
            yield await lines.get()

    async with RoomServer() as server, connect(server.url, user="ada") as me:
        terminal = _Terminal(me, "general")
        dozing = asyncio.create_task(terminal.doze(MOMENT))
        obeying = asyncio.create_task(terminal.obey(typed()))
        await server.asked("presence")
        assert said(server) == ["away"]
        lines.put_nowait("/rooms")
        await server.asked("presence", 2)
        assert said(server)[:2] == ["away", "online"]
        lines.put_nowait("/busy")
        while "busy" not in said(server):
            await server.asked("presence", len(said(server)) + 1)
        at = len(said(server))
        lines.put_nowait("/history")
        await server.asked("history")
        assert said(server)[at:] == []
        lines.put_nowait("/quit")
        await obeying
        dozing.cancel()
        await asyncio.wait([dozing])
