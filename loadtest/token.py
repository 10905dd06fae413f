"""What the clients of one process show when they connect: a token as it is, or what a command prints."""

from __future__ import annotations

import asyncio
import shlex

from domain.errors import BadSetting

__all__ = ["Token"]

ANSWER_WITHIN = 60.0
"""Seconds for a command."""


class Token:
    """One token for all clients of a process."""

    def __init__(self, value: str | None = None, command: str | None = None) -> None:
        self._value = value
        self._command = command
        self._running = asyncio.Lock()

    async def current(self) -> str | None:
        """None: none is shown. Raises `BadSetting` for a command that gives none."""
        if self._value is None:
            await self.renew(None)
        return self._value

    async def renew(self, refused: str | None) -> bool:
        """The service refused this one: whether there is another. However many clients ask, the command runs once."""
        if self._command is None:
            return False
        async with self._running:
            if self._value == refused:
                self._value = await _printed(self._command)
        return self._value != refused


async def _printed(command: str) -> str:
    try:
        words = shlex.split(command)
        process = await asyncio.create_subprocess_exec(
            *words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
    except (OSError, ValueError, IndexError) as error:
        raise BadSetting(f"--token-command {command}: it can't be run ({error})") from None
    try:
        async with asyncio.timeout(ANSWER_WITHIN):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise BadSetting(f"--token-command {command}: it took longer than {ANSWER_WITHIN:g} s") from None
    token = out.decode("utf-8", "replace").strip()
    if process.returncode or not token:
        said = err.decode("utf-8", "replace").strip().splitlines()
        why = said[-1] if said else "it printed nothing"
        raise BadSetting(f"--token-command {command}: it ended with status {process.returncode}, and no token: {why}")
    return token
