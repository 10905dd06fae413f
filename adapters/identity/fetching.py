"""GET of a small public document from whom the deployment trusts, within bounds."""

from __future__ import annotations

import aiohttp

from domain.errors import Unavailable

__all__ = ["DOCUMENT_LIMIT", "FETCH_SECONDS", "fetch"]

FETCH_SECONDS = 2.0
"""For the whole of it: a handshake waits."""
DOCUMENT_LIMIT = 128 * 1024
"""Bytes."""


async def fetch(url: str, seconds: float = FETCH_SECONDS) -> bytes:
    """The document. Raises `Unavailable`, also where the answer is another status than 200, a redirect among them, or
    is longer than `DOCUMENT_LIMIT`."""
    timeout = aiohttp.ClientTimeout(total=seconds)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session,
            session.get(url, allow_redirects=False, headers={"Accept-Encoding": "identity"}) as answer,
        ):
            if answer.status != 200:
                raise Unavailable(f"{url} answers with {answer.status}")
            document = await answer.content.read(DOCUMENT_LIMIT + 1)
            while len(document) <= DOCUMENT_LIMIT and (more := await answer.content.read(DOCUMENT_LIMIT)):
                document += more
    except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
        raise Unavailable(f"{url} can't be read: {type(error).__name__}") from error
    if len(document) > DOCUMENT_LIMIT:
        raise Unavailable(f"{url} is longer than {DOCUMENT_LIMIT // 1024} KB")
    return document
