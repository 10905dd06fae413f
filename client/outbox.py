"""Requests on their way: lines, answers, and sending again. Each leaves with one `clientId`, however often."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from client.errors import RequestRefused
from domain.protocol import FRAME_LIMIT
from domain.requests import Request, encode_request

__all__ = ["LONG_WAIT", "RETRYABLE", "Outbox", "Pending"]

REPLY_WITHIN = 10.0
"""Seconds after which a request without an answer is sent again."""
TRIES = 10
"""How often a request of the user is sent before it is given up."""
PAUSE = 0.1
PAUSE_LIMIT = 10.0
"""Seconds between tries: full jitter below 0.1 × 2^tries, at most 10."""
RETRYABLE = frozenset({"ROOM_BUSY", "RATE_LIMITED", "INTERNAL"})
"""Error codes after which the same request may succeed."""
LONG_WAIT = 30.0
"""Seconds to wait that are the user's to know of, as a slow room's minutes are: what is behind it waits, too."""


@dataclass(slots=True, eq=False)
class Pending:
    """A request without its answer."""

    client_id: str
    request: Request
    frame: bytes
    line: str | None
    """The room, or the target's inbox, in whose line it stands; None for one that waits for no other."""
    ours: bool
    """Asked by the session for its own ends: it is never given up, and the user never sees the reply."""
    tries: int = 0
    due: float = math.inf

    @property
    def patient(self) -> bool:
        return self.ours or self.tries < TRIES


class Outbox:
    """What was asked and not yet answered. Times are in seconds of the session's clock."""

    __slots__ = ("_draw", "_frames", "_lines", "_waiting", "open")

    def __init__(self, draw: random.Random) -> None:
        self.open = False
        """Whether there is a connection to send on."""
        self._draw = draw
        self._lines: dict[str, deque[Pending]] = {}
        self._waiting: dict[str, Pending] = {}
        self._frames: list[bytes] = []

    @property
    def empty(self) -> bool:
        return not self._waiting and not self._lines

    def ask(
        self, request: Request, now: float, *, line: str | None = None, ours: bool = False, first: bool = False
    ) -> str:
        """Send the request, or put it into a room's line: at its end, or (`first`) before all that are not under way.

        Raises `RequestRefused` for one that fits into no frame, since the service would close the socket for it.
        """
        client_id = request.client_id or ""
        frame = encode_request(request)
        if len(frame) > FRAME_LIMIT:
            raise RequestRefused("TOO_LARGE", f"A request is at most {FRAME_LIMIT // 1024} KB")
        pending = Pending(client_id, request, frame, line, ours)
        if line is None:
            self._waiting[pending.client_id] = pending
            if self.open:
                self._transmit(pending, now)
        else:
            queue = self._lines.setdefault(line, deque())
            under_way = bool(queue) and queue[0].client_id in self._waiting
            queue.insert(int(under_way) if first else len(queue), pending)
            self._advance(line, now)
        return pending.client_id

    def tell(self, request: Request) -> None:
        """Send a request that has no answer, if there is a connection."""
        if self.open:
            self._frames.append(encode_request(request))

    def line(self, line: str) -> Sequence[Pending]:
        """The requests that stand in a line. The first is under way, if there is a connection."""
        return self._lines.get(line, ())

    def first(self, line: str) -> Pending | None:
        """The request that stands first in a line."""
        return next(iter(self.line(line)), None)

    def waiting(self, client_id: str | None) -> Pending | None:
        """The request that was sent under this id and is not answered."""
        return self._waiting.get(client_id) if client_id is not None else None

    def finish(self, client_id: str | None, now: float) -> Pending | None:
        """The request is answered for good; the next in its line goes out."""
        pending = self._waiting.pop(client_id, None) if client_id is not None else None
        if pending is not None and pending.line is not None:
            self._lines[pending.line].popleft()
            self._advance(pending.line, now)
        return pending

    def postpone(self, pending: Pending, now: float, at_least: float = 0.0) -> None:
        """Send it again after `at_least` seconds and a jittered pause."""
        pause = self._draw.uniform(0, min(PAUSE_LIMIT, PAUSE * 2.0**pending.tries))
        pending.due = now + at_least + pause

    def postpone_all(self, now: float) -> None:
        """Some request failed, and nobody says which: send every one again."""
        for pending in self._waiting.values():
            self.postpone(pending, now)

    def connected(self, now: float) -> None:
        """Send all that waits; of each line the first."""
        self.open = True
        for pending in self._waiting.values():
            self._transmit(pending, now)
        for line in list(self._lines):
            self._advance(line, now)

    def disconnected(self) -> None:
        """No answer will come: lines stand still, the user's other requests wait, ours are dropped."""
        self.open = False
        self._frames.clear()
        self._waiting = {key: it for key, it in self._waiting.items() if it.line is None and not it.ours}

    def frames(self) -> list[bytes]:
        """The frames to send now, in order; they are handed out once."""
        frames, self._frames = self._frames, []
        return frames

    def due(self) -> float:
        """When `overdue` is wanted next."""
        return min((it.due for it in self._waiting.values()), default=math.inf) if self.open else math.inf

    def overdue(self, now: float) -> list[Pending]:
        """Send again what is due; returns those that have been tried often enough."""
        tired = []
        for pending in [it for it in self._waiting.values() if it.due <= now]:
            if pending.patient:
                self._transmit(pending, now)
            else:
                tired.append(pending)
        return tired

    def _advance(self, line: str, now: float) -> None:
        queue = self._lines[line]
        if not queue:
            del self._lines[line]
        elif self.open and queue[0].client_id not in self._waiting:
            self._transmit(queue[0], now)

    def _transmit(self, pending: Pending, now: float) -> None:
        pending.tries += 1
        pending.due = now + REPLY_WITHIN
        self._waiting[pending.client_id] = pending
        self._frames.append(pending.frame)
