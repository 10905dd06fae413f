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
)
from domain.errors import Refused, Unavailable
from domain.ports import Connections, Ports
from domain.requests import ChatMessage, SendPrivateMessage
from domain.rooms import check_room_open
from services.eviction import evict
from services.listing import page_of_members
from services.publishing import say, speaker
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
    # As a client's request it is what is remembered of it, so that another message under its `clientId` is noticed.
    request = (
        ChatMessage(client_id=action.client_id, message=action.message, room_id=action.room_id)
        if action.user_id is None
        else SendPrivateMessage(client_id=action.client_id, message=action.message, target_user_id=action.user_id)
    )
    return await say(ports, speaker(action.sender, request_id), request)


async def _list(ports: Ports, action: Members) -> Page:
    room = check_room_open(await ports.store.room(action.room_id))
    members, following = await page_of_members(ports, room, action.cursor)
    return Page(members, UNSET if following is None else following)
