"""The twin's HTTP port: `@connections` and the page, byte by byte."""

from __future__ import annotations

import random
import re
from collections.abc import Hashable
from urllib.parse import quote

from tests.fuzz.served import Served, Wire, upgrade

__all__ = ["Management"]

ID = b"OPEN-CONNECTION"
"""Stands for the id of an open connection."""
STATUSES = frozenset({200, 204, 400, 403, 405, 408, 410, 411, 413, 414, 417, 429, 431})
_ID = re.compile(rb'"connectionId":"([^"]+)"')
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")
METHODS = ("GET", "POST", "DELETE", "PUT", "HEAD", "OPTIONS", "get", "")
PATHS = ("/dev/@connections/", "/dev/%40connections/", "/prod/@connections/", "/", "/twin", "/dev", "*", "//", "/%ff")


class Management(Served):
    """Bytes on the HTTP port.

    Whatever they are: answers with the statuses of `@connections` and of a refused request, never with a 5xx; nothing
    is logged as an error; nobody's connection ends but by a DELETE, and everybody else is served as before.
    """

    name = "management"
    folders = ("local",)
    tokens = (
        *(it.encode() for it in (*METHODS[:6], *PATHS[:5])),
        *(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b"\r\n", b"\r\n\r\n", b"Host: x\r\n", b"Authorization: x\r\n"),
        *(b"Content-Length: 5\r\n", b"Content-Length: 200000\r\n", b"Content-Length: -1\r\n"),
        *(
            b"Transfer-Encoding: chunked\r\n",
            b"5\r\nhello\r\n0\r\n\r\n",
            b"ffffffffffff\r\n",
            b"Expect: 100-continue\r\n",
        ),
        *(
            b"Content-Encoding: deflate\r\n",
            b"Content-Encoding: gzip\r\n",
            b"Connection: close\r\n",
            b"Upgrade: h2c\r\n",
        ),
        *(ID, b"%00", b"%ff", b"%2F", b"?", b"#", b"/", b"\xff", b"\x00", b"hello" * 30_000),
    )

    def draw(self, draw: random.Random) -> bytes:
        return b"".join(_draw_request(draw) for _ in range(draw.choice((1, 1, 2))))

    async def open(self) -> None:
        await super().open()
        await self._sit_down()

    async def close(self) -> None:
        self._seat.end()
        await super().close()

    async def take(self, given: bytes) -> Hashable:
        await self.begin()
        gateway = self.service.gateway
        wire = await Wire.to(gateway.page_url)
        answer = await wire.say(given.replace(ID, quote(self._id, safe="").encode()))
        wire.end()
        statuses = [int(it) for it in _STATUS.findall(answer)]
        assert STATUSES.issuperset(statuses), answer[:300]
        open_still = gateway.describe(self._id) is not None
        assert open_still or b"DELETE" in given
        await self.check(others=int(open_still))
        if not open_still:
            self._seat.end()
            await self._sit_down()
        return frozenset(statuses)

    async def _sit_down(self) -> None:
        """A client whose connection's id is known, and who reads whatever it is sent."""
        self._seat = await Wire.to(self.service.url)
        await self._seat.say(upgrade("userId=eve&roomId=den"))

        async def welcomed() -> bool:
            return _ID.search(self._seat.received) is not None

        await self.settle(welcomed)
        found = _ID.search(self._seat.received)
        assert found is not None
        self._id = found[1].decode()


def _draw_request(draw: random.Random) -> bytes:
    method = draw.choice((*METHODS, "GET", "POST", "POST", "DELETE"))
    path = draw.choice((*PATHS, PATHS[0], PATHS[0])).encode() + draw.choice((b"", ID, ID, b"bm9ib2R5PQ%3D%3D", b"?x=1"))
    body = draw.choice((b"", b"hello", b"\xff\xfe", b"x" * 131_072, b"x" * 131_073))
    head = [b"Host: localhost"] + [b"Authorization: AWS4-HMAC-SHA256 x"] * (draw.random() < 0.8)
    if draw.random() < 0.2:
        head.append(b"Transfer-Encoding: chunked")
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    elif body:
        head.append(b"Content-Length: %d" % len(body))
    return method.encode() + b" " + path + b" HTTP/1.1\r\n" + b"\r\n".join(head) + b"\r\n\r\n" + body
