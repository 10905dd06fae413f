"""EventBridge's rule `rate(1 minute)`: a function is invoked at the start of every minute of a clock."""

from __future__ import annotations

import asyncio
import logging
import uuid
from datetime import UTC, datetime
from typing import Any

from adapters.runtime import SystemClock
from domain.ports import Clock
from local.cloud import ACCOUNT, REGION
from local.functions import InvocationFailed
from local.handshake import Integration

__all__ = ["Schedule", "scheduled_event"]

MINUTE_MS = 60_000

_log = logging.getLogger(__name__)


class Schedule:
    """One rule with one function. A run that fails is logged, and one that lasts longer than a minute skips minutes."""

    def __init__(self, name: str, function: Integration, clock: Clock | None = None) -> None:
        """`name`: the rule's."""
        self._name = name
        self._function = function
        self._clock = clock or SystemClock()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, with the next minute."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Invoke no more, and give up a run under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            due = (self._clock.now() // MINUTE_MS + 1) * MINUTE_MS
            while (left := due - self._clock.now()) > 0:  # a clock may wake a sleeper a little early
                await self._clock.sleep(left / 1000)
            try:
                await self._function.invoke(scheduled_event(self._name, self._clock.now()))
            except Exception as error:  # the next minute comes whatever happens, as EventBridge's does
                _log.warning("schedule %s: %s", self._name, error, exc_info=not isinstance(error, InvocationFailed))


def scheduled_event(name: str, now: int) -> dict[str, Any]:
    """The event that EventBridge sends for the rule `name`; `now` is in milliseconds since 1970.

    https://docs.aws.amazon.com/lambda/latest/dg/with-eventbridge-scheduler.html
    """
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": ACCOUNT,
        "time": datetime.fromtimestamp(now // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": REGION,
        "resources": [f"arn:aws:events:{REGION}:{ACCOUNT}:rule/{name}"],
        "detail": {},
    }
