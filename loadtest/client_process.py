"""A process of clients: `python -m loadtest.client_process`, started by a load test alone.

It says hello with an empty object. Requests, one at a time; a refusal is {"error": sentence}:
    {"do": "begin", "plan", "process", "processes", "token", "token_command"}
    {"do": "connect", "start"}          at once; whether it is done, `look` tells
    {"do": "look", "last"}              how it goes: see `_look`; `last`: nothing more will be
    {"do": "absent"}                    who is not there, once all are that will be: see `_absent`
    {"do": "send", "start", "absent"}   at once, too; `absent`: the clients that are not there
    {"do": "stop", "until"}             send nothing that is due later
    {"do": "drain", "heads"}            what is missing up to these heads, and those of what was answered: see `_drain`
    {"do": "ping"}
    {"do": "disconnect"}                once all sockets are closed
    {"do": "outcomes"}                  what became of the messages: see `_outcomes`
    {"do": "audit", "messages"}         with what became of them in all processes: see `_audit`
    {"do": "results"}                   what was counted in all
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from domain.errors import BadSetting
from loadtest.children import parent, serve_parent
from loadtest.histogram import encoded
from loadtest.plan import Plan, reserve_sockets
from loadtest.share import Share
from loadtest.token import Token

__all__ = ["FINDINGS", "main"]

FINDINGS = 100
"""How many each process names; all are counted."""

_Request = dict[str, Any]


class _Process:
    def __init__(self) -> None:
        self._share: Share
        self._resident = _resident_kb()
        self._grown_kb = 0

    async def answer(self, request: _Request) -> _Request:
        try:
            return await _ANSWERS[request["do"]](self, request)
        except BadSetting as error:
            return {"error": str(error)}

    async def _begin(self, request: _Request) -> _Request:
        plan = msgspec.convert(request["plan"], Plan)
        token = Token(request["token"], request["token_command"])
        if request["token_command"] is not None:
            await token.current()
        self._share = Share(plan, request["process"], request["processes"], token)
        reserve_sockets(len(self._share.clients))
        return {}

    async def _connect(self, request: _Request) -> _Request:
        self._resident = _resident_kb()
        self._share.connect(request["start"])
        return {}

    async def _look(self, request: _Request) -> _Request:
        share, ledger, now, last = self._share, self._share.ledger, time.monotonic(), request["last"]
        return {
            "working": share.working,
            "opened": share.opened,
            "ready": share.ready,
            "busy": share.busy,
            "last_arrival": ledger.last_arrival,
            "until": int(now) + last,
            "seconds": ledger.tally.take(now, last=last),
        }

    async def _send(self, request: _Request) -> _Request:
        self._share.send(request["start"], request["absent"])
        return {}

    async def _stop(self, request: _Request) -> _Request:
        self._share.stop(request["until"])
        return {}

    async def _drain(self, request: _Request) -> _Request:
        """All of one moment, or a message answered in between would be forgotten."""
        heads = {room: (epoch, seq) for room, (epoch, seq) in request["heads"].items()}
        return {
            "missing": self._share.missing(heads),
            "heads": self._share.heads(),
            "under_way": len(self._share.ledger.under_way),
            "last_arrival": self._share.ledger.last_arrival,
        }

    async def _ping(self, request: _Request) -> _Request:
        self._share.ping()
        return {}

    async def _disconnect(self, request: _Request) -> _Request:
        self._grown_kb = _resident_kb() - self._resident
        await self._share.disconnect()
        return {}

    async def _absent(self, request: _Request) -> _Request:
        """Who is not there, and when the last handshake of those who are was done."""
        clients = self._share.clients.values()
        return {
            "absent": [it.number for it in clients if not it.ready],
            "last": max((it.connected_at or 0.0 for it in clients), default=0.0),
        }

    async def _outcomes(self, request: _Request) -> _Request:
        """For each message that a client here sent: [number, sent_at, acknowledged_at, refusal, epoch, seq]; for each
        that one was given: [number, how many were, when the last was]."""
        numbered = list(enumerate(self._share.ledger.messages))
        return {
            "sent": [
                (number, it.sent_at, it.acknowledged_at, it.refusal, it.epoch, it.seq)
                for number, it in numbered
                if it.sender in self._share.clients and it.tries
            ],
            "given": [(number, it.received, it.last_at) for number, it in numbered if it.received],
            "owed": list(self._share.owed()),
        }

    async def _audit(self, request: _Request) -> _Request:
        """`messages`: [number, sent_at, acknowledged_at, epoch, seq, last_at] for each that was sent."""
        messages = self._share.ledger.messages
        for number, sent_at, acknowledged_at, epoch, seq, last_at in request["messages"]:
            it = messages[number]
            it.sent_at, it.acknowledged_at, it.epoch, it.seq, it.last_at = sent_at, acknowledged_at, epoch, seq, last_at
        audited: _Request = msgspec.to_builtins(self._share.audit(messages).shortened(FINDINGS))
        return audited

    async def _results(self, request: _Request) -> _Request:
        share, tally = self._share, self._share.ledger.tally
        return {
            "frames": tally.frames,
            "entry_frames": tally.entry_frames,
            "retries": share.ledger.retries,
            "reconnects": sum(it.reconnects for it in share.clients.values()),
            "connected_seconds": sum(it.connected_seconds for it in share.clients.values()),
            "failures": share.failures(),
            "ready": share.ready,
            "acks": encoded(tally.acks),
            "stages": {stage: encoded(it) for stage, it in tally.stages.items()},
            "grown_kb": self._grown_kb,
        }


_ANSWERS: Mapping[str, Callable[[_Process, _Request], Awaitable[_Request]]] = {
    "begin": _Process._begin,
    "connect": _Process._connect,
    "look": _Process._look,
    "absent": _Process._absent,
    "send": _Process._send,
    "stop": _Process._stop,
    "drain": _Process._drain,
    "ping": _Process._ping,
    "disconnect": _Process._disconnect,
    "outcomes": _Process._outcomes,
    "audit": _Process._audit,
    "results": _Process._results,
}


def _resident_kb() -> int:
    """Memory of this process; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def main() -> None:
    """Serve the parent until it closes its end."""
    channel = parent()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve_parent(channel, {}, _Process().answer))


if __name__ == "__main__":
    main()
