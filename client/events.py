"""What a session gives to its user: the wire's events, and two of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Raw, Struct

from domain.events import Envelope, Event, Logged, parse_envelope

__all__ = [
    "LogEvent",
    "Missed",
    "Opaque",
    "Released",
    "is_gateway_error",
    "read_event",
    "read_events",
]


class Opaque(Struct, frozen=True, kw_only=True):
    """An event of a type that this version does not know. One with a seq is an entry of its room's log."""

    type: str
    data: Raw
    room_id: str = ""
    epoch: int = 0
    seq: int = 0
    """0 for an event that is not in the log."""


class Missed(Struct, frozen=True, kw_only=True):
    """Entries `first` to `last` of a room will not come: its log no longer holds them, or nobody can be asked."""

    room_id: str
    epoch: int
    first: int
    last: int


LogEvent = Logged | Opaque
"""An entry of a room's log, or of an inbox."""
Released = Event | Opaque | Missed


class _Place(Struct, frozen=True, rename="camel"):
    room_id: str = ""
    epoch: int = 0
    seq: int = 0


class _GatewayError(Struct, frozen=True, rename="camel"):
    message: str
    connection_id: str
    request_id: str


_envelope = msgspec.json.Decoder(Envelope)
_place = msgspec.json.Decoder(_Place)
_gateway_error = msgspec.json.Decoder(_GatewayError)


def read_event(frame: str | bytes | Raw) -> Event | Opaque:
    """The event in a frame, a batch, or a page. Raises `ValueError` if it is none."""
    event = parse_envelope(frame)
    if event is not None:
        return event
    envelope = _envelope.decode(frame)
    place = _place.decode(envelope.data)
    return Opaque(
        type=envelope.type, data=envelope.data.copy(), room_id=place.room_id, epoch=place.epoch, seq=place.seq
    )


def read_events(raws: Iterable[Raw]) -> Iterator[Event | Opaque]:
    """Those that can be read. The others are as good as lost: an entry that counts comes again by history."""
    for raw in raws:
        try:
            yield read_event(raw)
        except ValueError:
            continue


def is_gateway_error(frame: str | bytes) -> bool:
    """Whether a frame that is no event is API Gateway's own word for a request that failed; it doesn't say which."""
    try:
        _gateway_error.decode(frame)
    except ValueError:
        return False
    return True
