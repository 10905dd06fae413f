"""Signs of life: pings, and who is writing."""

from __future__ import annotations

from msgspec import Raw

from domain.errors import Refused
from domain.events import Pong, RoomHead, UserTyping, encode_event
from domain.fanout import NOTICE_MS, Notice
from domain.ports import Ports
from domain.requests import Ping, Typing
from domain.rooms import lease_end
from services.caller import Caller

__all__ = ["answer_ping", "tell_typing"]


async def answer_ping(ports: Ports, caller: Caller, request: Ping) -> bytes:
    """Renew the connection's lease, and tell the heads of the rooms that it is in; of those it follows, if it says
    which."""
    session = await ports.store.session(caller.connection)
    now = ports.clock.now()
    if session.connection is not None:
        await ports.store.renew(caller.connection, lease_end(session.connection, now))
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
    """Tell the others in the room, if it is worth it. There is no reply."""
    membership = (await ports.store.session(caller.connection)).membership(request.room_id)
    if membership is None:
        raise Refused("NOT_A_MEMBER", "Join the room before you write in it")
    now = ports.clock.now()
    event = UserTyping(
        room_id=request.room_id, user_id=caller.user, username=caller.name, timestamp=now // 1000, sent_at=now
    )
    await ports.queue.announce(
        Notice(
            room=membership.room,
            epoch=membership.epoch,
            shard=membership.shard,
            event=Raw(encode_event(event)),
            skip=caller.connection,
            not_after=now + NOTICE_MS,
        )
    )
    return b""
