"""Signs of life: pings, and who is writing."""

from __future__ import annotations

from msgspec import Raw

from domain.errors import Refused
from domain.events import Pong, RoomHead, UserTyping, encode_event
from domain.fanout import NOTICE_MS, Notice
from domain.ports import Ports
from domain.presence import is_behind
from domain.requests import Ping, Typing
from domain.rooms import Count, check_may_send, is_small, lease_end
from services.caller import Caller
from services.sending import once_key

__all__ = ["answer_ping", "tell_typing"]


async def answer_ping(ports: Ports, caller: Caller, request: Ping) -> bytes:
    """Renew the connection's lease and its user's status, and tell the heads of the rooms that it is in; of those it
    follows, if it says which."""
    session = await ports.store.session(caller.connection)
    now = ports.clock.now()
    if session.connection is not None:
        await ports.store.renew(caller.connection, lease_end(session.connection, now))
        # What went wrong before is made good here, within a lease.
        if is_behind((await ports.statuses.presences([caller.user]))[caller.user], now):
            await ports.roster.work_out(caller.user)
    memberships = session.memberships
    if request.cursors is not None:
        memberships = [it for it in memberships if it.room in request.cursors]
    rooms = await ports.store.rooms([it.room for it in memberships])
    heads = {
        it.room: RoomHead(epoch=room.epoch, seq=room.head)
        for it in memberships
        if (room := rooms.get(it.room)) and room.epoch == it.epoch
    }
    return encode_event(Pong(client_id=request.client_id, time=now, heads=heads))


async def tell_typing(ports: Ports, caller: Caller, request: Typing) -> bytes:
    """Tell the others in a small room, once in three seconds. There is no reply, and what is too often or too much is
    dropped without a word; who may not write there is refused."""
    now = ports.clock.now()
    sending = await ports.store.sending([request.room_id], caller.connection, caller.user, once_key(caller, request))
    try:
        room, membership, _ = check_may_send(sending, request.room_id, caller.user, caller.groups, now)
    except Refused as refused:
        if refused.code == "RATE_LIMITED":  # the room is slow, and they may write before long
            return b""
        raise
    shard = await ports.store.shard(membership.key)
    small = shard is not None and is_small(Count(shard.members, 0, room.shards), ports.rules)
    # The claim last: what is dropped for another reason takes nothing from what is not.
    if not small or not await ports.statuses.claim_typing(caller.user, now):
        return b""
    event = UserTyping(
        room_id=request.room_id, user_id=caller.user, username=caller.name, timestamp=now // 1000, sent_at=now
    )
    await ports.queue.announce(
        Notice(
            room=room.room,
            epoch=room.epoch,
            shard=membership.shard,
            event=Raw(encode_event(event)),
            skip=caller.connection,
            not_after=now + NOTICE_MS,
        )
    )
    return b""
