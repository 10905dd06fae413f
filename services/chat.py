"""Saying something in a room."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from msgspec.structs import replace

from domain.amends import answered, check_message, root_of
from domain.errors import Refused
from domain.events import Ack
from domain.ports import Ports
from domain.requests import ChatMessage
from domain.rooms import Append, Entry, Room, Sender, Sending, check_may_send
from services.caller import Caller
from services.history import kept
from services.notices import announcement_of
from services.sending import Draft, commit, new_message_id, refuse_large, reviewed
from services.sessions import last_room

__all__ = ["send_chat"]


async def send_chat(ports: Ports, caller: Caller, request: ChatMessage) -> bytes:
    """Append the message to the room's log, and return the `ack`."""
    if not request.message.strip():
        raise Refused("EMPTY_MESSAGE", "Message cannot be empty")
    refuse_large(request.message)
    body: dict[str, object] = {
        "messageId": new_message_id(ports),
        "senderId": caller.user,
        "senderName": caller.name,
        "message": request.message,
    }
    if request.trace and ports.rules.trace:
        # Stored, so that an entry that goes out before its own doorbell has come is traced as well.
        body["trace"] = {"acceptedAt": ports.clock.now()}
    room_id = request.room_id or await last_room(ports, caller)
    if request.reply_to is not None:
        body["replyTo"] = request.reply_to
    if request.mentions:
        body["mentions"] = request.mentions

    text: str | None = None

    async def draft(sending: Sending, now: int) -> Draft:
        nonlocal text
        room, membership, needs = check_may_send(sending, room_id, caller.user, caller.groups, now)
        if text is None:
            text = await reviewed(ports, room_id, caller.user, request.message)
            body["message"] = text
        thread, amends = await _thread(ports, room, request.reply_to)
        said = body if thread is None else body | {"thread": thread}
        entry = Entry(seq=room.head + 1, type="chat", at=now, sender=caller.user, body=said)
        ack = Ack(
            client_id=request.client_id,
            message_id=str(body["messageId"]),
            room_id=room_id,
            epoch=room.epoch,
            seq=entry.seq,
        )
        return Draft(
            [Append(room, entry, amends=amends, thread=thread)],
            Sender(caller.user, caller.connection, membership, needs),
            ack,
            announcement=announcement_of(ports, caller, "mention", room, entry, request.mentions or ()),
        )

    # A message sent again is the same one, traced or not.
    return await commit(ports, caller, replace(request, trace=False), [room_id], draft)


async def _thread(ports: Ports, room: Room, reply_to: int | None) -> tuple[int | None, Sequence[Entry]]:
    """The thread that an answer is in, by the seq of the message that began it; and that message as it becomes, unless
    time has taken it."""
    if reply_to is None:
        return None, []
    found = kept(ports, room, await ports.store.entries_at(room.room, room.epoch, [reply_to]))
    message = check_message(found, field="replyTo", deleted=True)
    root = root_of(message)
    begun = [message] if root == message.seq else await ports.store.entries_at(room.room, room.epoch, [root])
    return root, [dataclasses.replace(it, body=answered(it.body, room.head + 1)) for it in begun]
