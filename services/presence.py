"""How a user is on a connection: away, busy, or back."""

from __future__ import annotations

import hashlib

from msgspec import UNSET

from domain.errors import Conflict, Refused, Unavailable
from domain.events import PresenceChanged, UserStatus, encode_event
from domain.ports import Ports
from domain.presence import shown
from domain.requests import SetPresence
from domain.rooms import ONCE_RETENTION_MS, Once, inbox_of
from services.caller import Caller
from services.patience import Patience
from services.sending import is_done, once_key

__all__ = ["set_presence"]

PATIENCE = 2.0
"""Seconds for which a status that meets conflicts is tried again."""


async def set_presence(ports: Ports, caller: Caller, request: SetPresence) -> bytes:
    """Record it with the connection, work out how the user is over all of them, and answer that.

    Carried out once for each connection and `clientId`: a repeat sets nothing, but works out again, since the first
    may have died between the two. A batch read and a transaction of two rows beside what the work-out costs.
    """
    inbox = inbox_of(caller.user)
    # A status belongs to its connection: the same request on the next one is another.
    key = f"{once_key(caller, request)}#{caller.connection}"
    digest = hashlib.sha256(request.status.encode()).hexdigest()
    patience = Patience(ports, PATIENCE)
    while True:
        sending = await ports.store.sending([inbox], caller.connection, caller.user, key)
        now = ports.clock.now()
        if sending.once is not None and is_done(sending, now):
            if sending.once.digest != digest:
                raise Refused("BAD_REQUEST", "`clientId` was used for another request before; use a new one")
            break
        if sending.membership is None:
            raise Refused("FORBIDDEN", "This connection has ended; connect again")
        once = Once(digest=digest, reply="", rings=(), expires_at=now + ONCE_RETENTION_MS)
        try:
            await ports.statuses.set_status(caller.connection, sending.membership, request.status, key, once, now)
        except (Conflict, Unavailable) as error:
            # Unavailable may have set it all the same: the next read finds the once-row.
            if await patience.lasts():
                continue
            raise Unavailable("the status met conflicts for too long") from error
        break
    presence = await ports.roster.work_out(caller.user)
    now = ports.clock.now()
    reply = PresenceChanged(
        client_id=request.client_id or UNSET,
        room_id=inbox,
        members=[UserStatus(user_id=caller.user, status=shown(presence, now), since=presence.since)],
        timestamp=now // 1000,
        sent_at=now,
    )
    return encode_event(reply)
