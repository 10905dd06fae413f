"""The gateway's WebSocket port before a socket is open, byte by byte."""

from __future__ import annotations

import random
import re
from collections.abc import Hashable
from urllib.parse import quote

from tests.fuzz.mutations import TEXTS
from tests.fuzz.served import Served, Wire, upgrade

__all__ = ["Upgrades"]

STATUSES = frozenset({101, 200, 400, 401, 403, 405, 413, 414, 426, 429, 431, 501, 505})
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")


class Upgrades(Served):
    """Bytes on the sockets' port.

    Whatever they are: an answer with a status that refuses, or 101, or none; nothing is logged as an error; once the
    bytes' own connection is lost nothing is left of it; and everybody else is served as before.
    """

    name = "upgrade"
    folders = ("local", "services")
    tokens = (
        *(
            b" HTTP/1.1\r\n",
            b" HTTP/1.0\r\n",
            b" HTTP/2\r\n",
            b"\r\n",
            b"\r\n\r\n",
            b"\n",
            b"GET",
            b"POST",
            b"/dev",
            b"/twin",
        ),
        *(b"Upgrade: websocket\r\n", b"Upgrade: h2c\r\n", b"Connection: close\r\n", b"Sec-WebSocket-Version: 8\r\n"),
        *(b"Sec-WebSocket-Key: x\r\n", b"Sec-WebSocket-Extensions: permessage-deflate\r\n", b"Content-Length: 5\r\n"),
        *(
            b"Sec-WebSocket-Protocol: bearer.x\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"X: \xff\xe9\r\n",
            b"x: y\r\n" * 200,
        ),
        *(b"?roomId=", b"&userId=", b"&username=", b"%00", b"%ff", b"%", b"#", b"\xff", b"\x00", b"x" * 10_000),
    )

    def draw(self, draw: random.Random) -> bytes:
        fields = ("roomId", "username", "userId", "token")
        query = "&".join(f"{it}={quote(draw.choice(TEXTS[:20]))}" for it in fields if draw.random() < 0.4)
        return upgrade(query) + draw.choice((b"", b"", b"\x81\x80\x00\x00\x00\x00", b"\x88\x80\x00\x00\x00\x00"))

    async def take(self, given: bytes) -> Hashable:
        await self.begin()
        wire = await Wire.to(self.service.url)
        answer = await wire.say(given)
        wire.end()
        statuses = [int(it) for it in _STATUS.findall(answer)]
        assert STATUSES.issuperset(statuses), answer[:300]
        await self.check()
        return frozenset(statuses)
