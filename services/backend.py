"""What servers may ask: the use cases behind `services/publish.py`."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET

from domain.backend import (
    AddWebhook,
    Close,
    EnableWebhook,
    Failure,
    ListWebhooks,
    Members,
    Page,
    Publish,
    RemoveWebhook,
    RotateWebhook,
    read_action,
    sender_of,
)
from domain.errors import Refused, Unavailable
from domain.events import Ack
from domain.ports import Connections, Ports
from domain.requests import ChatMessage, SendPrivateMessage
from domain.rooms import Append, Entry, Room, Sender, Sending, check_room_open, inbox_of
from services.caller import Caller
from services.eviction import evict
from services.listing import page_of_members
from services.notices import announcement_of
from services.private import is_online
from services.sending import Draft, commit, new_message_id, refuse_large, reviewed
from services.webhooks import add_webhook, enable_webhook, list_webhooks, remove_webhook, rotate_webhook

__all__ = ["answer"]


async def answer(ports: Ports, connections: Connections, request: Any, request_id: str) -> dict[str, Any]:
    """What answers the decoded JSON of a server: the result, or `{"error": …}`. A bad request changes nothing.

    `request_id` is unique for each call; it stands in for a `clientId` where there is none.
    """
    try:
        match action := read_action(request):
            case Publish():
                result: Any = await _publish(ports, action, request_id)
            case Members():
                result = await _list(ports, action)
            case Close():
                result = {"closed": await evict(ports, connections, action.user_id)}
            case AddWebhook():
                result = await add_webhook(ports, action)
            case ListWebhooks():
                result = await list_webhooks(ports, action)
            case RemoveWebhook():
                result = await remove_webhook(ports, action)
            case EnableWebhook():
                result = await enable_webhook(ports, action)
            case RotateWebhook():
                result = await rotate_webhook(ports, action)
    except Refused as error:
        result = {"error": Failure(error.code, error.message, error.retry_after)}
    except Unavailable:
        words = "The service is short of breath; send the same request again"
        result = {"error": Failure("INTERNAL", words, 1.0)}
    answered: dict[str, Any] = msgspec.to_builtins(result)
    return answered


async def _publish(ports: Ports, action: Publish, request_id: str) -> dict[str, Any]:
    """Store the message, ring, and return the `data` of its `ack`."""
    if not action.message.strip():
        raise Refused("EMPTY_MESSAGE", "Message cannot be empty")
    refuse_large(action.message)
    sender = sender_of(action.sender)
    # It has no connection; what would be read of one is not there.
    caller = Caller(connection=sender, user=sender, name=action.sender.name or action.sender.id, request_id=request_id)
    room_id = action.room_id or inbox_of(action.user_id or "")
    body: dict[str, object] = {
        "messageId": new_message_id(ports),
        "senderId": sender,
        "senderName": caller.name,
        "message": action.message,
    }
    if action.user_id is not None:
        body["targetUserId"] = action.user_id
    text: str | None = None

    async def draft(sending: Sending, now: int) -> Draft:
        nonlocal text
        room = _room(sending, room_id, action)
        if text is None:
            text = await reviewed(ports, room_id, sender, action.message)
            body["message"] = text
        kind = "chat" if action.user_id is None else "private_message"
        entry = Entry(seq=room.head + 1, type=kind, at=now, sender=sender, body=body)
        online = action.user_id is None or await is_online(ports, room, now)
        ack = Ack(
            client_id=action.client_id,
            message_id=str(body["messageId"]),
            room_id=room_id,
            epoch=room.epoch,
            seq=entry.seq,
            online=UNSET if action.user_id is None else online,
        )
        away = () if online or action.user_id is None else (action.user_id,)
        announcement = announcement_of(ports, caller, "private_message", room, entry, away)
        return Draft([Append(room, entry)], Sender(sender), ack, announcement=announcement)

    # As a client's request it is what is remembered of it, so that another message under its `clientId` is noticed.
    request = (
        ChatMessage(client_id=action.client_id, message=action.message, room_id=action.room_id)
        if action.user_id is None
        else SendPrivateMessage(client_id=action.client_id, message=action.message, target_user_id=action.user_id)
    )
    stored: dict[str, Any] = msgspec.json.decode(await commit(ports, caller, request, [room_id], draft))["data"]
    return stored


def _room(sending: Sending, room_id: str, action: Publish) -> Room:
    if action.user_id is not None and room_id not in sending.rooms:
        raise Refused("USER_OFFLINE", "No such user was ever here")
    return check_room_open(sending.rooms.get(room_id))


async def _list(ports: Ports, action: Members) -> Page:
    room = check_room_open(await ports.store.room(action.room_id))
    members, following = await page_of_members(ports, room, action.cursor)
    return Page(members, UNSET if following is None else following)
