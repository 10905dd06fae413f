"""From a client's frame to the frame that answers it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, cast

from domain.errors import Refused, Unavailable
from domain.events import Error, encode_event
from domain.ports import Connections, Ports
from domain.requests import (
    ChatMessage,
    CreateRoom,
    DeleteMessage,
    DeleteRoom,
    EditMessage,
    HistoryRequest,
    JoinRoom,
    LeaveRoom,
    ListMembers,
    ListRooms,
    MarkRead,
    Ping,
    React,
    Reauth,
    Request,
    Search,
    SendPrivateMessage,
    SetNotices,
    SetPresence,
    Typing,
    UpdateRoom,
    parse_request,
    request_head,
)
from services.amends import delete_message, edit_message, react
from services.caller import Caller
from services.chat import send_chat
from services.history import read_history
from services.listing import list_members, list_rooms
from services.marks import mark_read
from services.moderation import ACTS, moderate
from services.notices import set_notices
from services.presence import set_presence
from services.private import send_private_message
from services.reauth import check_token, reauthenticate
from services.rooms import create_room, delete_room, update_room
from services.search import search_messages
from services.sessions import join_room, leave_room
from services.signs import answer_ping, tell_typing

__all__ = ["USE_CASES", "Answer", "answer"]

UseCase = Callable[[Ports, Caller, Any], Awaitable[bytes]]


class Answer(NamedTuple):
    """What a client is answered."""

    frame: bytes
    """Empty where there is no reply."""
    refused: str | None = None
    """The code, if the frame is an `error` event."""


USE_CASES: Mapping[type[Request], UseCase] = {
    ChatMessage: send_chat,
    SendPrivateMessage: send_private_message,
    JoinRoom: join_room,
    LeaveRoom: leave_room,
    HistoryRequest: read_history,
    Ping: answer_ping,
    ListRooms: list_rooms,
    ListMembers: list_members,
    Typing: tell_typing,
    CreateRoom: create_room,
    UpdateRoom: update_room,
    DeleteRoom: delete_room,
    Reauth: reauthenticate,
    EditMessage: edit_message,
    DeleteMessage: delete_message,
    React: react,
    MarkRead: mark_read,
    SetNotices: set_notices,
    SetPresence: set_presence,
    Search: search_messages,
}
"""What carries out each request of the wire's table; those of moderators are in `ACTS`."""


async def answer(ports: Ports, connections: Connections, caller: Caller, frame: str) -> Answer:
    """What answers `frame`: the use case's reply, or an `error` event. A bad request changes nothing.

    Who asks too often is refused before anything is read or written.
    """
    kind, client_id = request_head(frame)
    try:
        _check_rate(ports, caller, kind)
        request = parse_request(frame)
        await check_token(ports, caller)
        if type(request) in ACTS:
            return Answer(await moderate(ports, connections, caller, cast("Any", request)))
        return Answer(await USE_CASES[type(request)](ports, caller, request))
    except Refused as error:
        code, message, retry_after = error.code, error.message, error.retry_after
    except Unavailable:
        code, message, retry_after = "INTERNAL", "The service is short of breath; send the same request again", 1.0
    event = Error(code=code, message=message, request=kind, client_id=client_id, retry_after=retry_after)
    return Answer(encode_event(event), code)


def _check_rate(ports: Ports, caller: Caller, kind: str | None) -> None:
    wait = ports.limiter.take(caller.connection, caller.user, kind, ports.clock.now() / 1000)
    if wait:
        raise Refused("RATE_LIMITED", "Too many requests at once; slow down", retry_after=math.ceil(wait * 1000) / 1000)
