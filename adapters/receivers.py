"""Hooks' receivers, by HTTP: where a name leads is judged before anything is sent there, and judged where it is sent.

A name is resolved once for a delivery. If any of its addresses is not of the public internet, none is connected to;
else the connection goes to one of those that were judged, and the certificate has to be the name's. So a name that
leads elsewhere a moment later leads nowhere else here. The sockets themselves are made only for such addresses, which
also holds for addresses in a URL, that nobody resolves. No redirect is followed, and no proxy of the environment is
used.
"""

from __future__ import annotations

import asyncio
import email.utils
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from domain.errors import PostFailed, Refused
from domain.ports import Answered, Receivers
from domain.webhooks import HOOK_PORTS, check_url, is_public

__all__ = ["HttpReceivers", "Lookup", "http_receivers", "look_up", "read_networks"]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Lookup = Callable[[str, int], Awaitable[Sequence[str]]]
"""(name, port) → all its addresses; `OSError` where it has none."""

ANSWER_BYTES = 8 * 1024
"""What is read of an answer's body, and dropped: a receiver that is cut off at once would call it an error."""
ANSWER_SECONDS = 1.0
USER_AGENT = "roomcast-webhooks/1"
_FORBIDDEN = "its URL leads to an address that is not of the public internet"


class _ForbiddenAddressError(OSError):
    """Nothing is sent there."""


@asynccontextmanager
async def http_receivers(
    networks: Sequence[Network] = (), *, lookup: Lookup | None = None, trust: ssl.SSLContext | None = None
) -> AsyncIterator[HttpReceivers]:
    """Receivers of the public internet, by https.

    `networks`: more addresses that may be posted to, of a twin's receivers and a test's; with any, http and all ports
    are good, too. `lookup`, `trust`: other than the machine's.
    """
    gate = _Gate(networks, lookup or look_up)
    connector = aiohttp.TCPConnector(
        resolver=gate,
        socket_factory=gate.open,
        use_dns_cache=False,
        limit=0,  # a worker has as many under way as its batch has hooks
        # An environment is frozen between its events: a connection that is kept would be a dead one.
        force_close=True,
        ssl=True if trust is None else trust,
    )
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity", "Content-Type": "application/json"},
    ) as session:
        yield HttpReceivers(session, gate, anywhere=bool(networks))


def read_networks(texts: Sequence[str]) -> list[Network]:
    """The networks that settings name; `ValueError` where one is none."""
    return [ipaddress.ip_network(it) for it in texts]


class HttpReceivers(Receivers):
    """Made by `http_receivers`."""

    def __init__(self, session: aiohttp.ClientSession, gate: _Gate, *, anywhere: bool) -> None:
        """`anywhere`: whether any port and http are good."""
        self._session = session
        self._gate = gate
        self._ports = None if anywhere else HOOK_PORTS

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, deadline: float) -> Answered:
        try:
            check_url(url, self._ports)
        except Refused:
            raise PostFailed("its URL is not one that anything is sent to") from None
        try:
            async with (
                asyncio.timeout(deadline),
                self._session.post(url, data=body, headers=headers, allow_redirects=False) as response,
            ):
                with suppress(aiohttp.ClientError, TimeoutError, OSError):
                    async with asyncio.timeout(ANSWER_SECONDS):
                        await response.content.read(ANSWER_BYTES)
                return Answered(response.status, _seconds(response.headers.get("Retry-After")))
        except TimeoutError:
            raise PostFailed("no answer in time") from None
        except aiohttp.ClientConnectorError as error:
            # Which address it was is nobody's to know: it may be a name of ours.
            raise PostFailed(_words(error)) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise PostFailed(f"no answer that could be read ({type(error).__name__})") from None


def _words(error: aiohttp.ClientConnectorError) -> str:
    if isinstance(error.os_error, _ForbiddenAddressError):
        return _FORBIDDEN
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name could not be resolved"
    if isinstance(error, (aiohttp.ClientSSLError, aiohttp.ClientConnectorCertificateError)):
        return "its certificate was not accepted"
    return "no connection"


class _Gate(AbstractResolver):
    """Resolves names to addresses that may be posted to, all or none, and makes sockets for no others."""

    def __init__(self, networks: Sequence[Network], lookup: Lookup) -> None:
        self._networks = networks
        self._lookup = lookup

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        addresses = await self._lookup(host, port)
        for it in addresses:
            self._check(it)
        return [
            ResolveResult(
                hostname=host,
                host=it,
                port=port,
                family=socket.AF_INET6 if ":" in it else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for it in addresses
        ]

    def open(self, info: aiohttp.AddrInfoType) -> socket.socket:
        """A socket for the address that is connected to next."""
        family, kind, protocol, _, address = info
        self._check(str(address[0]))
        return socket.socket(family, kind, protocol)

    async def close(self) -> None:
        """Nothing is open."""

    def _check(self, text: str) -> None:
        address = ipaddress.ip_address(text)
        if not is_public(address) and not any(address in it for it in self._networks):
            raise _ForbiddenAddressError(_FORBIDDEN)


async def look_up(name: str, port: int) -> list[str]:
    """All addresses that the machine's resolver has for a name, odd spellings of addresses among names."""
    found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _seconds(header: str | None) -> float | None:
    """What `Retry-After` asks for: seconds, or a date."""
    if header is None:
        return None
    if header.isascii() and header.isdigit():
        return float(header[:9])
    with suppress(ValueError, TypeError):
        return max(0.0, (email.utils.parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    return None
