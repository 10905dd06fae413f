"""The documents' examples of a client: Ada, whose program is run as it stands, and Bob, who is there for her."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from client.connection import connect
from domain.events import Chat, PrivateMessage

__all__ = ["ANSWERED", "WRITTEN", "chat_with_bob"]

WRITTEN = "ws://127.0.0.1:8081/dev"
"""The address in the documents."""
ANSWERED = "(private) Bob: “Are you coming?” Yes!"
READY = "Bob: Ready!"
WITHIN = 100
"""Seconds."""


async def chat_with_bob(
    url: str, *command: str | Path, folder: Path, env: Mapping[str, str] | None = None
) -> tuple[int | None, list[str], str]:
    """Exit code, lines and stderr of a program that comes to the kitchen, says something there or to Bob, and ends
    with his answer.

    He says that he is ready to the room, and answers what she wrote to him alone when she has heard it: between a
    room's messages and private ones there is no order. Her program prints each line at once (Python: `-u`).
    """
    lines: list[str] = []
    ready = asyncio.Event()
    async with asyncio.timeout(WITHIN), connect(url, user="bob", name="Bob", room="kitchen") as bob:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, cwd=folder, env=env, stdout=pipe, stderr=pipe)
        assert process.stdout is not None
        assert process.stderr is not None

        async def listen(stdout: asyncio.StreamReader) -> None:
            async for line in stdout:
                lines.append(line.decode().rstrip("\n"))
                if lines[-1].endswith(READY):
                    ready.set()
            ready.set()  # she says no more: what is missing is in her lines

        async def answer() -> None:
            greeted = False
            async for event in bob.events():
                if not isinstance(event, Chat | PrivateMessage) or event.sender_id == "bob":
                    continue
                if not greeted:
                    await bob.send("kitchen", "Ready!")
                    greeted = True
                if isinstance(event, PrivateMessage):
                    await ready.wait()
                    await bob.send_private(event.sender_id, f"“{event.message}” Yes!")

        answering = asyncio.create_task(answer())
        try:
            _, stderr = await asyncio.gather(listen(process.stdout), process.stderr.read())
            return await process.wait(), lines, stderr.decode()
        finally:
            answering.cancel()
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
