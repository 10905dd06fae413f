"""Commit, then ring and announce, then acknowledge: what every durable request has in common."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

import msgspec
from msgspec import UNSET, UnsetType

from domain.errors import Conflict, Refused, Unavailable
from domain.events import Event, encode_event
from domain.fanout import HOOKS_LANE, Doorbell, Plan, absent, bells_for, encode_entry, jobs_for, lane_of
from domain.notices import Announcement
from domain.ports import Ports
from domain.protocol import FRAME_LIMIT, MESSAGE_LIMIT
from domain.requests import Request, encode_request
from domain.retention import entry_end
from domain.rooms import ONCE_RETENTION_MS, Append, Once, Ring, Rules, Sender, Sending, is_audit
from services.caller import Caller
from services.patience import Patience

__all__ = [
    "BUSY_AFTER",
    "ENVELOPE_ROOM",
    "RETRY_AFTER",
    "Draft",
    "Drafter",
    "commit",
    "is_done",
    "new_message_id",
    "once_key",
    "refuse_large",
    "reviewed",
]

BUSY_AFTER = 2.0
"""Seconds for which a send contends for the rooms' heads before it gives up."""
RETRY_AFTER = 1.0
"""Seconds after which a client that was told `ROOM_BUSY` should try again."""
ENVELOPE_ROOM = 1024
"""Bytes of a frame that are kept for what stands around an entry in a reply."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What a request comes to, as things were read."""

    appends: Sequence[Append]
    sender: Sender
    reply: Event
    rings: Sequence[Ring] = ()
    """What to ring beside what is appended."""
    announcement: Announcement | None = None
    """Who is to be told of it if they are away."""


Drafter = Callable[[Sending, int], Awaitable[Draft]]
"""(what was read, now) → the draft, or `Refused`. Called again after every conflict."""


async def commit(
    ports: Ports,
    caller: Caller,
    request: Request,
    rooms: Sequence[str],
    draft: Drafter,
    *,
    known_by: str = "clientId",
) -> bytes:
    """Store the request's entries, ring their doorbells, and return the reply's frame.

    Carried out once for each (user, clientId): a repeat rings and announces again, and gets the first reply. What is
    read of the caller is what the first of `rooms` records. `known_by`: what the caller calls the `clientId`.
    """
    key = once_key(caller, request)
    digest = hashlib.sha256(msgspec.json.encode([rooms, encode_request(request).decode()])).hexdigest()
    patience = Patience(ports, BUSY_AFTER)
    while True:
        sending = await ports.store.sending(rooms, caller.connection, caller.user, key)
        now = ports.clock.now()
        if sending.once is not None and is_done(sending, now):
            if sending.once.digest != digest:
                raise Refused("BAD_REQUEST", f"`{known_by}` was used for another request before; use a new one")
            await _ring(ports, sending.once.rings)
            await _announce(ports, sending.once.announcement)
            return sending.once.reply.encode()
        drafted = await draft(sending, now)
        appends = [_kept(it, ports.rules, now) for it in drafted.appends]
        for it in drafted.appends:
            if len(encode_entry(it.read.room, it.read.epoch, it.entry)) > FRAME_LIMIT - ENVELOPE_ROOM:
                raise Refused("TOO_LARGE", "The message is too long once it is written as JSON")
        once = Once(
            digest=digest,
            reply=encode_event(drafted.reply).decode(),
            # Nobody is in there.
            rings=[*(it.ring for it in drafted.appends if not is_audit(it.read.room)), *drafted.rings],
            expires_at=now + ONCE_RETENTION_MS,
            announcement=drafted.announcement,
        )
        try:
            await ports.store.append(appends, drafted.sender, key, once, now)
        except (Conflict, Unavailable):
            # Unavailable may have stored the entries all the same: the next read finds their once-row.
            if await patience.lasts():
                continue
            raise Refused("ROOM_BUSY", "Too many write to this room at once", retry_after=RETRY_AFTER) from None
        traced = any("trace" in it.entry.body for it in drafted.appends)
        await _ring(ports, once.rings, ports.clock.now() if traced else UNSET)
        await _announce(ports, once.announcement)
        return once.reply.encode()


def once_key(caller: Caller, request: Request) -> str:
    """What the request is remembered by. `#` is in no id, so its own id is never what another calls `clientId`."""
    return request.client_id or f"#{caller.request_id}"


def is_done(sending: Sending, now: int) -> bool:
    """Whether the request was carried out before."""
    return sending.once is not None and sending.once.expires_at > now


async def _ring(ports: Ports, rings: Sequence[Ring], stored_at: int | UnsetType = UNSET) -> None:
    """Ring the shards that were there when the entries were stored: a later shard starts behind them."""
    jobs: dict[str, list[Doorbell | Plan]] = {}
    for it in rings:
        jobs.setdefault(lane_of(it.shards), []).extend(jobs_for(it, stored_at))
    for lane, rung in jobs.items():
        await ports.queue.ring(lane, rung)
    # Behind the members' doorbells, and only where a room has hooks.
    if bells := bells_for(rings):
        await ports.queue.ring(HOOKS_LANE, bells)


def _kept(append: Append, rules: Rules, now: int) -> Append:
    """With the end of what is stored."""
    return replace(append, entry=replace(append.entry, ends_at=entry_end(append.read, rules, now)))


async def _announce(ports: Ports, announcement: Announcement | None) -> None:
    """Have a worker tell who is away: who that is and who wants to know is not for the sender to wait for."""
    if announcement is not None:
        await ports.queue.announce(absent(announcement, ports.clock.now()))


def new_message_id(ports: Ports) -> str:
    """32 hexadecimal digits."""
    return f"{ports.draw.getrandbits(128):032x}"


async def reviewed(ports: Ports, room: str, user: str, text: str) -> str:
    """The text to store, once the deployment's review has seen it; `Refused` where it may not be.

    For the first draft of a request alone: after that of one that was carried out before, whose reply stands whatever
    the review says now, and not again after every conflict.
    """
    return text if ports.review is None else await ports.review.review(room, user, text)


def refuse_large(message: str) -> None:
    """`Refused` where a message is longer than the wire allows."""
    if len(message.encode()) > MESSAGE_LIMIT:
        raise Refused("TOO_LARGE", f"A message is at most {MESSAGE_LIMIT // 1024} KB of UTF-8")
