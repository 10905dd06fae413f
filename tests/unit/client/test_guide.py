"""The example in docs/client.md is run as it stands, and its calls and events are the SDK's; the package's is short."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import sys
from pathlib import Path

from client import events as sdk_events
from client.connection import Connection, connect
from client.room import Room
from domain import events as wire_events
from ops.wheel import lay_out
from tests.unit.client.room_server import RoomServer

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs/client.md").read_text()
URL = "ws://127.0.0.1:8081/dev"


async def test_the_example_runs(tmp_path: Path) -> None:
    """Against a room server, in a process of its own that has the client as its wheel does, with Bob there."""
    lay_out(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    assert example.count(URL) == 1
    async with RoomServer() as server, connect(server.url, user="bob", name="Bob", room="kitchen") as bob:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", example.replace(URL, server.url)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
        )
        async for event in bob.events():
            if isinstance(event, wire_events.PrivateMessage):
                await server.say("kitchen", "Ready!", user="cook")
                await bob.send_private(event.sender_id, f"“{event.message}” Yes!")
                break
        out, err = await process.communicate()
    assert (process.returncode, err.decode()) == (0, "")
    lines = out.decode().splitlines()
    assert lines[0] == "stored as number 1"
    assert lines[1:3] == ["Bob is in the kitchen", "Ada is in the kitchen"]
    assert lines[3] == "Bob has it"
    assert "[general] Ada: Hello" in lines
    assert "[kitchen] cook: Ready!" in lines
    assert lines[-1] == "(private) Bob: “Are you coming?” Yes!"


def test_the_guide_names_what_there_is() -> None:
    """Every call with its arguments, every event."""
    for owner, kind in (("me", Connection), ("room", Room)):
        calls = re.findall(rf"`(?:await )?{owner}\.(\w+)\((.*?)\)`", GUIDE)
        assert calls
        for name, arguments in calls:
            parameters = list(inspect.signature(getattr(kind, name)).parameters)[1:]
            assert [it.strip(" =") for it in arguments.split(",") if it] == parameters, name
    keywords = re.search(r"`connect\(url, (.*?)\)`", GUIDE)
    assert keywords is not None
    assert {it.strip(" =") for it in keywords[1].split(",")} <= set(inspect.signature(connect).parameters)
    listed = GUIDE.split("## Events")[1].split("\n## ")[0]
    names = [it for bold in re.findall(r"^- (\*\*.*?:?)(?::|,|$| that)", listed, re.MULTILINE) for it in words(bold)]
    assert names
    assert [it for it in names if not hasattr(wire_events, it) and not hasattr(sdk_events, it)] == []


def test_the_packages_example_is_short() -> None:
    """What a program needs to be in a room fits into twelve lines; tests/e2e/test_wheel.py runs it."""
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "client/README.md").read_text(), re.DOTALL)
    assert 0 < sum(bool(it.strip()) for it in example.splitlines()) <= 12


def words(text: str) -> list[str]:
    return re.findall(r"`(\w+)`", text)
