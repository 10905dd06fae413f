"""Sending to a room: commit, then ring, then acknowledge."""

from __future__ import annotations

import hashlib

import msgspec

from domain.errors import Conflict, Refused, Unavailable
from domain.fanout import Doorbell, encode_entry
from domain.ports import Ports
from domain.protocol import FRAME_LIMIT, MESSAGE_LIMIT, Ack, ChatMessage, encode_event
from domain.rooms import ONCE_RETENTION_MS, Entry, Once, check_may_send
from services.caller import Caller
from services.patience import Patience
from services.sessions import last_room

__all__ = ["send_chat"]

BUSY_AFTER = 2.0
"""Seconds for which a send contends for the room's head before it gives up."""
RETRY_AFTER = 1.0
"""Seconds after which a client that was told `ROOM_BUSY` should try again."""
ENVELOPE_ROOM = 1024
"""Bytes of a frame that are kept for what stands around an entry in a reply."""


async def send_chat(ports: Ports, caller: Caller, request: ChatMessage) -> bytes:
    """Append the message to the room's log, ring its doorbells, and return the `ack`.

    Carried out once for each (user, clientId): a repeat rings again and gets the first reply.
    """
    if not request.message.strip():
        raise Refused("EMPTY_MESSAGE", "Message cannot be empty")
    if len(request.message.encode()) > MESSAGE_LIMIT:
        raise Refused("TOO_LARGE", f"A message is at most {MESSAGE_LIMIT // 1024} KB of UTF-8")
    room_id = request.room_id or await last_room(ports, caller)
    # '#' is in no id, so a request's own id can never be what another client calls `clientId`.
    once_key = request.client_id or f"#{caller.request_id}"
    digest = _digest(room_id, request)
    message_id = f"{ports.draw.getrandbits(128):032x}"
    patience = Patience(ports, BUSY_AFTER)
    while True:
        sending = await ports.store.sending(room_id, caller.connection, caller.user, once_key)
        now = ports.clock.now()
        if sending.once is not None and sending.once.expires_at > now:
            if sending.once.digest != digest:
                raise Refused("BAD_REQUEST", "`clientId` was used for another request before; use a new one")
            await _ring(ports, sending.once)
            return sending.once.reply.encode()
        room, membership = check_may_send(sending, now)
        entry = _entry(room.head + 1, message_id, caller, request, now)
        if len(encode_entry(room_id, room.epoch, entry)) > FRAME_LIMIT - ENVELOPE_ROOM:
            raise Refused("TOO_LARGE", "The message is too long once it is written as JSON")
        ack = Ack(client_id=request.client_id, message_id=message_id, room_id=room_id, epoch=room.epoch, seq=entry.seq)
        once = Once(
            digest=digest,
            reply=encode_event(ack).decode(),
            room=room_id,
            epoch=room.epoch,
            shards=room.shards,
            seq=entry.seq,
            expires_at=now + ONCE_RETENTION_MS,
        )
        try:
            await ports.store.append(room, entry, membership, caller.connection, once_key, once, now)
        except (Conflict, Unavailable):
            # Unavailable may have stored the entry all the same: the next read finds its once-row.
            if await patience.lasts():
                continue
            raise Refused("ROOM_BUSY", "Too many write to this room at once", retry_after=RETRY_AFTER) from None
        await _ring(ports, once)
        return once.reply.encode()


async def _ring(ports: Ports, once: Once) -> None:
    """Ring the shards that were there when the entry was stored: a later shard starts behind it."""
    await ports.queue.ring(
        [Doorbell(room=once.room, epoch=once.epoch, shard=it, seq=once.seq) for it in range(once.shards)]
    )


def _entry(seq: int, message_id: str, caller: Caller, request: ChatMessage, now: int) -> Entry:
    body: dict[str, object] = {
        "messageId": message_id,
        "senderId": caller.user,
        "senderName": caller.name,
        "message": request.message,
    }
    if request.reply_to is not None:
        body["replyTo"] = request.reply_to
    if request.mentions:
        body["mentions"] = request.mentions
    return Entry(seq=seq, type="chat", at=now, sender=caller.user, body=body)


def _digest(room: str, request: ChatMessage) -> str:
    content = [room, request.message, request.reply_to, request.mentions]
    return hashlib.sha256(msgspec.json.encode(content)).hexdigest()
