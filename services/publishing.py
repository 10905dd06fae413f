"""What is said by no user: by a server, or by an incoming hook. Both go this one way."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET

from domain.backend import As, sender_of
from domain.errors import Refused
from domain.events import Ack
from domain.ports import Ports
from domain.requests import ChatMessage, SendPrivateMessage
from domain.rooms import Append, Entry, Room, Sender, Sending, check_room_open, inbox_of
from services.caller import Caller
from services.notices import announcement_of
from services.private import is_online
from services.sending import Draft, commit, new_message_id, refuse_large, reviewed

__all__ = ["say", "speaker"]


def speaker(service: As, request_id: str) -> Caller:
    """Who says it. `request_id` is unique for each call; it stands in for a `clientId` where there is none."""
    sender = sender_of(service)
    # It has no connection; what would be read of one is not there.
    return Caller(connection=sender, user=sender, name=service.name or service.id, request_id=request_id)


async def say(
    ports: Ports,
    caller: Caller,
    request: ChatMessage | SendPrivateMessage,
    *,
    epoch: int | None = None,
    known_by: str = "clientId",
) -> dict[str, Any]:
    """Store the message, ring, and return the `data` of its `ack`.

    A chat names its room. `epoch`: the one life of it in which this may be said. `known_by`: what the caller calls the
    request's `clientId`.
    """
    if not request.message.strip():
        raise Refused("EMPTY_MESSAGE", "Message cannot be empty")
    refuse_large(request.message)
    user: str | None = None
    if isinstance(request, ChatMessage):
        kind, room_id = "chat", request.room_id or ""
    else:
        kind, user, room_id = "private_message", request.target_user_id, inbox_of(request.target_user_id)
    body: dict[str, object] = {
        "messageId": new_message_id(ports),
        "senderId": caller.user,
        "senderName": caller.name,
        "message": request.message,
    }
    if user is not None:
        body["targetUserId"] = user
    text: str | None = None

    async def draft(sending: Sending, now: int) -> Draft:
        nonlocal text
        room = _room(sending, room_id, user, epoch)
        if text is None:
            text = await reviewed(ports, room_id, caller.user, request.message)
            body["message"] = text
        entry = Entry(seq=room.head + 1, type=kind, at=now, sender=caller.user, body=body)
        online = user is None or await is_online(ports, room, now)
        ack = Ack(
            client_id=request.client_id,
            message_id=str(body["messageId"]),
            room_id=room_id,
            epoch=room.epoch,
            seq=entry.seq,
            online=UNSET if user is None else online,
        )
        away = () if online or user is None else (user,)
        announcement = announcement_of(ports, caller, "private_message", room, entry, away)
        return Draft([Append(room, entry)], Sender(caller.user), ack, announcement=announcement)

    reply = await commit(ports, caller, request, [room_id], draft, known_by=known_by)
    stored: dict[str, Any] = msgspec.json.decode(reply)["data"]
    return stored


def _room(sending: Sending, room_id: str, user: str | None, epoch: int | None) -> Room:
    if user is not None and room_id not in sending.rooms:
        raise Refused("USER_OFFLINE", "No such user was ever here")
    room = check_room_open(sending.rooms.get(room_id))
    if epoch is not None and room.epoch != epoch:
        raise Refused("ROOM_NOT_FOUND", "Room not found")
    return room
