"""What a client sends on its open socket, byte by byte: frames that are binary, in pieces, huge, or none at all."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Hashable

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from domain.protocol import SUBPROTOCOL
from tests.fuzz.mutations import SEPARATOR
from tests.fuzz.served import Served, Wire
from tests.fuzz.targets.requests import Requests, check_frame

__all__ = ["Frames", "frame"]

OPCODES = (0x0, 0x1, 0x1, 0x1, 0x1, 0x2, 0x3, 0x8, 0x9, 0xA, 0xB)
"""Continuation, text, binary, reserved, close, ping, pong, reserved."""
SIZES = (0, 1, 125, 126, 127, 32_767, 32_768, 32_769, 65_536, 131_072, 131_073)
CLOSES = frozenset({1002, 1003, 1007, 1009})
"""How the gateway closes a connection by itself. A client's own code, in a frame that begins with 0x88, comes back."""


class Frames(Served):
    """Bytes on an open socket; frames are masked with zeros, so that what they hold can be read.

    Whatever they are: the gateway's own frames are well formed, and hold events or, in place of one, that there were
    too many requests; it closes with a code of the above; nothing is logged as an error, and no function fails; once
    the connection is lost nothing is left of it; and everybody else is served, and hears nothing but events.
    """

    name = "frames"
    folders = ("local", "services")
    tokens = (
        *(
            b"\x81\x80",
            b"\x01\x81",
            b"\x80\x80",
            b"\x82\x80",
            b"\x88\x80",
            b"\x88\x82",
            b"\x89\x80",
            b"\x8a\x80",
            b"\x83\x80",
        ),
        *(b"\xc1\x80", b"\x81\xfe\x80\x00", b"\x81\xff\x00\x00\x00\x00\x00\x02\x00\x00", b"\x81\xff" + b"\xff" * 8),
        *(b"\x00\x00\x00\x00", b"\x03\xe8", b"\x03\xed", b"\x03\xf3", b"\x0f\xa0", b"\xff", b"\xed\xa0\x80", b"\xc3"),
        *(b'{"type":"ping"}', b'{"message":"x"}', b'{"type":"leave_room"}'),
    )

    def draw(self, draw: random.Random) -> bytes:
        return b"".join(_draw_frames(draw) for _ in range(draw.randint(1, 4)))

    async def take(self, given: bytes) -> Hashable:
        await self.begin()
        uri = parse_uri(f"{self.service.url}?userId=mallory&roomId=general")
        protocol = ClientProtocol(uri, subprotocols=[Subprotocol(SUBPROTOCOL)], max_size=None)
        protocol.send_request(protocol.connect())
        wire = await Wire.to(self.service.url)
        await wire.say(b"".join(protocol.data_to_send()))
        received = await wire.say(given)
        wire.end()
        protocol.receive_data(received)
        assert protocol.parser_exc is None, protocol.parser_exc
        response, *frames = protocol.events_received()
        assert isinstance(response, Response)
        assert response.status_code == 101
        kinds = {_check(it) for it in frames if isinstance(it, Frame)}
        if protocol.close_rcvd is not None:
            code = protocol.close_rcvd.code
            assert code in CLOSES or b"\x88" in given, code
            kinds.add(str(code))
        await self.check()
        return frozenset(kinds)


def frame(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """A client's frame, masked with zeros."""
    size = len(payload)
    if size < 126:
        length = bytes([0x80 | size])
    else:
        length = struct.pack("!BH", 0xFE, size) if size < 65_536 else struct.pack("!BQ", 0xFF, size)
    return bytes([(0x80 if fin else 0) | opcode]) + length + bytes(4) + payload


def _check(answer: Frame) -> str:
    """The kind of a frame of the gateway's."""
    if answer.opcode is not Opcode.TEXT:
        assert answer.opcode in {Opcode.CLOSE, Opcode.PONG}
        return answer.opcode.name
    assert answer.fin
    told = json.loads(bytes(answer.data))
    if "type" not in told:
        assert told["message"] == "Too Many Requests", told
        return "throttled"
    return "+".join(dict.fromkeys(it.type for it in check_frame(bytes(answer.data))))


def _draw_frames(draw: random.Random) -> bytes:
    opcode = draw.choice(OPCODES)
    payload = _requests.draw(draw).split(SEPARATOR)[0] if draw.random() < 0.7 else b"x" * draw.choice(SIZES)
    if opcode == 0x8:
        payload = draw.choice((b"", b"\x03\xe8", b"\x03\xe8bye", b"\x0f\xa0", b"\x03\xed", b"\x03", b"\x00\x00"))
    if draw.random() < 0.2:
        cut = draw.randint(0, len(payload))
        return frame(opcode, payload[:cut], fin=False) + frame(0x0, payload[cut:])
    return frame(opcode, payload, fin=draw.random() < 0.95)


_requests = Requests()
