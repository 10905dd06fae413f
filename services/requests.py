"""From a client's frame to the frame that answers it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from domain.errors import Refused, Unavailable
from domain.events import Error, encode_event
from domain.ports import Ports
from domain.requests import (
    ChatMessage,
    HistoryRequest,
    JoinRoom,
    LeaveRoom,
    ListMembers,
    ListRooms,
    Ping,
    Request,
    SendPrivateMessage,
    Typing,
    parse_request,
    request_head,
)
from services.caller import Caller
from services.chat import send_chat
from services.history import read_history
from services.listing import list_members, list_rooms
from services.presence import answer_ping, tell_typing
from services.private import send_private_message
from services.sessions import join_room, leave_room

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
}
"""What carries out each request of the wire's table."""


async def answer(ports: Ports, caller: Caller, frame: str) -> Answer:
    """What answers `frame`: the use case's reply, or an `error` event. A bad request changes nothing."""
    try:
        request = parse_request(frame)
        return Answer(await USE_CASES[type(request)](ports, caller, request))
    except Refused as error:
        code, message, retry_after = error.code, error.message, error.retry_after
    except Unavailable:
        code, message, retry_after = "INTERNAL", "The service is short of breath; send the same request again", 1.0
    kind, client_id = request_head(frame)
    event = Error(code=code, message=message, request=kind, client_id=client_id, retry_after=retry_after)
    return Answer(encode_event(event), code)
