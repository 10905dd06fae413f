"""A server that answers every post with 200 at once: `python -m loadtest.bench.sink [PEM]`, started by the bench alone.

Its own cost must not be what is measured, so it is a bare protocol that knows of HTTP/1.1 no more than where a request
ends. It says {"endpoint"}, and answers any request with {"posts"}: how many it has answered. With a file of a key and
its certificate it serves over TLS.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import sys
from typing import Any, cast

import uvloop

from loadtest.children import parent, serve_parent

__all__ = ["ANSWER", "Sink", "main"]

ANSWER = (
    b"HTTP/1.1 200 OK\r\n"
    b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
    b"Content-Length: 0\r\n"
    b"Connection: keep-alive\r\n"
    b"x-amzn-RequestId: 00000000-0000-0000-0000-000000000000\r\n"
    b"\r\n"
)
_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)


class Sink(asyncio.Protocol):
    """One client's connection."""

    posts = 0
    """Requests that all connections of this process have answered."""

    def __init__(self) -> None:
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._rest += data
        while (size := _request_size(self._rest)) is not None and len(self._rest) >= size:
            self._rest = self._rest[size:]
            Sink.posts += 1
            self._transport.write(ANSWER)


def _request_size(data: bytes) -> int | None:
    """Bytes of the request that `data` begins with; None where its headers have not all come."""
    end = data.find(_END)
    if end < 0:
        return None
    length = _LENGTH.search(data, 0, end)
    return end + len(_END) + (int(length[1]) if length else 0)


async def main(pem: str | None) -> None:
    channel = parent()
    loop = asyncio.get_running_loop()
    tls = None
    if pem is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(pem)
    server = await loop.create_server(Sink, "127.0.0.1", 0, backlog=512, ssl=tls)
    host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def count(request: dict[str, Any]) -> dict[str, Any]:
        return {"posts": Sink.posts}

    await serve_parent(channel, {"endpoint": f"http{'s' if tls else ''}://{host}/dev"}, count)
    server.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1] if len(sys.argv) > 1 else None))
