"""Telling hooks' receivers what their rooms' logs have: in order, each entry until it was taken.

The log is the truth and a job its doorbell: the hook's row says how far its receiver is, and what is told is read from
the log. A hook is a message group, so one worker at a time serves it. A receiver that fails is left alone for a while
by a bell that is delayed on the ephemeral lane; the bells of new entries are dropped meanwhile, since those thousands
would stand in the way of other hooks' if they waited in the queue.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from domain.errors import PostFailed
from domain.fanout import HOOKS_LANE, HookBell, encode_delivery
from domain.lanes import Lane
from domain.ports import Answered, Ports, Receivers
from domain.retention import DAY_SECONDS, has_ended
from domain.rooms import Entry, Room
from domain.webhooks import Hook, backoff, failed, hook_id, signatures, wants, webhook_id
from pipeline.posting import TimeLeft

__all__ = ["BUDGET", "ROUND_ENTRIES", "Teller"]

BUDGET = 5.0
"""Seconds after which a worker begins no further post to one receiver: others of its batch wait for its end."""
RESERVE = 2.0
"""Seconds that a worker keeps for what has to be written after the last post."""
ROUND_ENTRIES = 50
ROUND_BYTES = 256 * 1024
"""What is read of a log at once."""
GONE = 410


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a delivery was not taken."""

    problem: str
    retry_after: float | None = None
    gone: bool = False


class Teller:
    """Works the jobs of the lane `hooks`."""

    def __init__(self, ports: Ports, lane: Lane, counts: Counter[str]) -> None:
        """`counts` gets HooksDelivered, HooksFailed, HooksDisabled."""
        self._ports = ports
        self._deadline = min(lane.post_deadline, lane.timeout / 3)
        self._reserve = min(RESERVE, lane.timeout / 6)
        self._counts = counts
        self.disabled: list[tuple[str, str]] = []
        """Key and cause of the hooks that were disabled."""

    async def tell(self, bells: Sequence[HookBell], time_left: TimeLeft) -> None:
        """Tell one hook's receiver what it has not been told of.

        Raises what keeps it from being done: the jobs must come again.
        """
        ports, newest = self._ports, bells[-1]
        hook = await ports.webhooks.hook(hook_id(newest.room, newest.hook))
        if hook is None or not hook.enabled or hook.direction != "outgoing" or ports.receivers is None:
            return
        mine = [it for it in bells if it.epoch == hook.epoch]
        if not mine or (hook.retry_at > ports.clock.now() and not any(it.again for it in mine)):
            return
        # What bells were dropped for meanwhile, only the end of the log tells.
        upto = None if any(it.again for it in mine) else max(it.seq for it in mine)
        await self._catch_up(ports.receivers, hook, upto, time_left)

    async def _catch_up(self, receivers: Receivers, read: Hook, upto: int | None, time_left: TimeLeft) -> None:
        ports = self._ports
        room = await ports.store.room(read.room)
        began, hook = ports.clock.monotonic(), read
        while True:
            entries = await ports.store.entries(
                hook.room, hook.epoch, hook.position, limit=ROUND_ENTRIES, max_bytes=ROUND_BYTES
            )
            for entry in entries:
                if not wants(hook, entry.type) or self._is_over(entry, room, hook):
                    hook = replace(hook, position=entry.seq)
                    continue
                if ports.clock.monotonic() - began > BUDGET or time_left() < self._deadline + self._reserve:
                    await self._go_on(hook)
                    return
                failure = await self._deliver(receivers, hook, entry)
                if failure is not None:
                    await self._fail(read, hook, room, failure)
                    return
                self._counts["HooksDelivered"] += 1
                hook = replace(hook, position=entry.seq, failing_since=0, failures=0, retry_at=0, problem="")
            # As with doorbells: what comes after a read has a bell of its own.
            if not entries or (upto is not None and hook.position >= upto):
                break
        if hook != read:
            await ports.webhooks.follow(hook)

    async def _deliver(self, receivers: Receivers, hook: Hook, entry: Entry) -> _Failure | None:
        """None once the receiver has taken it."""
        now = self._ports.clock.now()
        body = encode_delivery(hook.room, hook.epoch, entry)
        headers = signatures(hook.secrets(now), webhook_id(hook, entry.seq), now // 1000, body)
        try:
            answered = await receivers.post(hook.url, headers, body, self._deadline)
        except PostFailed as error:
            return _Failure(str(error))
        return None if 200 <= answered.status < 300 else _read_failure(answered)

    async def _fail(self, read: Hook, hook: Hook, room: Room | None, failure: _Failure) -> None:
        """See to the next try, or disable the hook for good."""
        ports, now = self._ports, self._ports.clock.now()
        self._counts["HooksFailed"] += 1
        wait = math.ceil(backoff(hook.failures + 1, failure.retry_after, ports.draw))
        hook = failed(hook, failure.problem, now, now + wait * 1000)
        days = ports.rules.hook_days
        if failure.gone or now - hook.failing_since >= days * DAY_SECONDS * 1000:
            cause = failure.problem if failure.gone else f"its receiver failed for {days} days: {failure.problem}"
            disabled = replace(hook, disabled_at=now, cause=cause, version=hook.version + 1)
            await ports.webhooks.put(room, read, disabled)
            self._counts["HooksDisabled"] += 1
            self.disabled.append((hook.key, cause))
            return
        await ports.queue.announce(_again(hook, f"retry{now}"), wait)
        await ports.webhooks.follow(hook)

    async def _go_on(self, hook: Hook) -> None:
        """Let others have their turn first: what is left has a bell before it is recorded how far this one came."""
        await self._ports.queue.ring(HOOKS_LANE, [_again(hook, f"more{self._ports.clock.now()}")])
        await self._ports.webhooks.follow(hook)

    def _is_over(self, entry: Entry, room: Room | None, hook: Hook) -> bool:
        """Whether time has taken the entry, by its own end and by what its room keeps today."""
        now = self._ports.clock.now()
        if room is None or room.epoch != hook.epoch:
            return entry.ends_at <= now
        return has_ended(entry, room, self._ports.rules, now)


def _again(hook: Hook, why: str) -> HookBell:
    """`why` with the time in it: of two workers the first may have died before it recorded how far it was, and for five
    minutes the queue takes a bell that is called like another for the same one."""
    return HookBell(room=hook.room, epoch=hook.epoch, hook=hook.key, seq=hook.position, again=why)


def _read_failure(answered: Answered) -> _Failure:
    status = answered.status
    if status == GONE:
        return _Failure("its receiver is gone: 410", gone=True)
    redirects = ", a redirect, and none is followed" if 300 <= status < 400 else ""
    return _Failure(f"the answer was {status}{redirects}", answered.retry_after)
