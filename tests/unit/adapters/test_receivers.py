"""Receivers over real sockets: what is posted and understood; and that no connection is made where none may be."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from adapters.receivers import HttpReceivers, Network, http_receivers, look_up, read_networks
from domain.errors import PostFailed

LOOPBACK = read_networks(["127.0.0.1/32"])
OK = b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"
FORBIDDEN = "its URL leads to an address that is not of the public internet"
PUBLIC = "93.184.216.34"
"""Never connected to here: it is beside another that is refused, or the socket is not made."""


@dataclass
class Listener:
    """A receiver that counts connections and keeps the requests."""

    port: int = 0
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=lambda: [OK])
    """The next ones; the last answers all further requests."""
    hangs: bool = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (int(it.partition(b":")[2]) for it in head.lower().split(b"\r\n") if it.startswith(b"content-length")),
                0,
            )
            self.requests.append(head + await reader.readexactly(length))
            if self.hangs:
                await reader.read()
            writer.write(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def listening(host: str = "127.0.0.1", trust: ssl.SSLContext | None = None) -> AsyncIterator[Listener]:
    listener = Listener()
    server = await asyncio.start_server(listener.serve, host, 0, ssl=trust)
    async with server:
        listener.port = server.sockets[0].getsockname()[1]
        yield listener


@dataclass
class Names:
    """A resolver: each look-up of any name gets the next of the answers."""

    answers: Sequence[Sequence[str]]
    asked: list[str] = field(default_factory=list)

    async def look_up(self, name: str, port: int) -> Sequence[str]:
        self.asked.append(name)
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


@asynccontextmanager
async def receivers(
    *answers: Sequence[str], networks: Sequence[Network] = LOOPBACK, trust: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[HttpReceivers, Names]]:
    names = Names(answers)
    async with http_receivers(networks, lookup=names.look_up if answers else None, trust=trust) as opened:
        yield opened, names


# ---- what is posted, and what is understood


async def test_a_post() -> None:
    """Body and headers as they are given; the answer's status, whatever its body is."""
    async with listening() as listener, receivers() as (opened, _):
        answered = await opened.post(
            f"http://127.0.0.1:{listener.port}/a?b=c", {"webhook-id": "x-1"}, b'{"type":"chat"}', 5
        )
        assert (answered.status, answered.retry_after) == (204, None)
        [request] = listener.requests
        head, _, body = request.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        assert (lines[0], body) == ("POST /a?b=c HTTP/1.1", b'{"type":"chat"}')
        sent = dict(it.lower().split(": ", 1) for it in lines[1:])
        expected = {"webhook-id": "x-1", "content-type": "application/json", "connection": "close"}
        assert sent.items() >= expected.items()
        assert sent["user-agent"].startswith("roomcast-webhooks/")


async def test_a_redirect_is_not_followed() -> None:
    """Not to the same receiver either."""
    async with listening() as listener, listening() as elsewhere, receivers() as (opened, _):
        for code, port in ((301, elsewhere.port), (302, listener.port), (307, elsewhere.port), (308, elsewhere.port)):
            moved = f"HTTP/1.1 {code} Moved\r\nLocation: http://127.0.0.1:{port}/x\r\nContent-Length: 0\r\n\r\n"
            listener.answers = [moved.encode()]
            assert (await opened.post(f"http://127.0.0.1:{listener.port}/", {}, b"{}", 5)).status == code
        assert (listener.connections, elsewhere.connections) == (4, 0)


async def test_retry_after() -> None:
    """In seconds or as a date; nonsense is none."""
    later = datetime.now(UTC) + timedelta(seconds=90)
    dated = later.strftime("%a, %d %b %Y %H:%M:%S GMT")
    async with listening() as listener, receivers() as (opened, _):
        found = []
        for text in ("120", dated, "soon", "-1", "9" * 5000, "Mon, 01 Jan 2001 00:00:00 GMT", "Mon, 1 Foo"):
            listener.answers = [f"HTTP/1.1 503 No\r\nRetry-After: {text}\r\nContent-Length: 0\r\n\r\n".encode()]
            found.append((await opened.post(f"http://127.0.0.1:{listener.port}/", {}, b"{}", 5)).retry_after)
    assert found[0] == 120
    assert found[1] is not None
    assert 60 < found[1] <= 90
    assert found[2:4] == [None, None]
    assert found[4] is None or found[4] >= 900
    assert found[5:] == [0.0, None]


async def test_an_answer_without_end_is_cut() -> None:
    """Its status is what counts, and no more is read than a little."""
    endless = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * 1_000_000
    async with listening() as listener, receivers() as (opened, _):
        listener.answers = [endless]
        assert (await opened.post(f"http://127.0.0.1:{listener.port}/", {}, b"{}", 5)).status == 200


async def test_no_answer() -> None:
    """In time, that can be read, or at all: each in its words."""
    async with listening() as listener, receivers() as (opened, _):
        url = f"http://127.0.0.1:{listener.port}/"
        listener.hangs = True
        with pytest.raises(PostFailed, match="no answer in time"):
            await opened.post(url, {}, b"{}", 0.3)
        listener.hangs = False
        for answer in (b"nonsense\r\n\r\n", b"", b"HTTP/1.1 200 OK\r\n" + b"X-Y: z\r\n" * 100_000):
            listener.answers = [answer]
            with pytest.raises(PostFailed, match="no answer that could be read"):
                await opened.post(url, {}, b"{}", 5)
    async with receivers() as (opened, _):
        with pytest.raises(PostFailed, match="no connection"):
            await opened.post(url, {}, b"{}", 5)
    async with receivers() as (opened, _):
        with pytest.raises(PostFailed, match="its name could not be resolved"):
            await opened.post("http://nowhere.invalid/", {}, b"{}", 5)


async def test_no_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would connect for us, to whatever it likes."""
    async with listening() as listener, listening() as proxy, receivers() as (opened, _):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        await opened.post(f"http://127.0.0.1:{listener.port}/", {}, b"{}", 5)
        assert (listener.connections, proxy.connections) == (1, 0)


# ---- where nothing is sent

PRIVATE = [
    "127.0.0.1",
    "169.254.169.254",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "10.0.0.1",
    "0.0.0.0",
    "fd00:ec2::254",
]


@pytest.mark.parametrize("address", PRIVATE)
async def test_a_name_that_leads_there(address: str) -> None:
    """No socket is made, whether it is the name's only address or one beside a public one."""
    async with listening() as listener:
        for addresses in ([address], [PUBLIC, address], [address, PUBLIC]):
            async with receivers(addresses, networks=()) as (opened, names), no_sockets() as made:
                with pytest.raises(PostFailed, match=FORBIDDEN):
                    await opened.post("https://receiver.example/", {}, b"{}", 5)
                assert names.asked == ["receiver.example"]
                assert made == []
        assert listener.connections == 0


@asynccontextmanager
async def no_sockets() -> AsyncIterator[list[object]]:
    """The addresses that connections are begun to meanwhile."""
    made: list[object] = []
    loop = asyncio.get_running_loop()
    connect = loop.sock_connect

    async def counted(sock: socket.socket, address: object) -> None:
        made.append(address)
        raise OSError("not here")

    loop.sock_connect = counted  # type: ignore[method-assign]  # what aiohttp connects by
    try:
        yield made
    finally:
        loop.sock_connect = connect  # type: ignore[method-assign]  # as it was


async def test_the_counting_of_connections_counts() -> None:
    """A public address is connected to, or the tests around would prove nothing; to the one that was judged."""
    async with receivers([PUBLIC], networks=()) as (opened, names), no_sockets() as made:
        with pytest.raises(PostFailed, match="no connection"):
            await opened.post("https://receiver.example/", {}, b"{}", 5)
    assert made == [(PUBLIC, 443)]
    assert names.asked == ["receiver.example"]


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "10.0.0.1", "2130706433", "0x7f.1", "127.1",
     "0x7f000001", "017700000001", "localhost", "127.0.0.1.", "[::ffff:169.254.169.254]", "0"],
)  # fmt: skip
async def test_addresses_and_their_odd_spellings(host: str) -> None:
    """With the machine's own resolver: in a URL they are judged like those that a name leads to."""
    async with receivers(networks=()) as (opened, _), no_sockets() as made:
        with pytest.raises(PostFailed):
            await opened.post(f"https://{host}/", {}, b"{}", 5)
    assert made == []


async def test_the_listener_is_reached_by_none_of_them() -> None:
    """Real connections, to a port where somebody listens: none arrives, but with the twin's networks."""
    other = read_networks(["192.0.2.0/24"])  # so that http and any port are good, and these addresses are not
    spellings = ["127.0.0.1", "2130706433", "0x7f.1", "127.1", "localhost", "[::ffff:127.0.0.1]"]
    async with listening() as listener:
        async with receivers(networks=other) as (opened, _):
            for host in spellings:
                # Of the odd spellings aiohttp refuses some by itself.
                with pytest.raises(PostFailed, match=f"{FORBIDDEN}|no answer that could be read"):
                    await opened.post(f"http://{host}:{listener.port}/", {}, b"{}", 5)
        assert listener.connections == 0
        async with receivers(networks=LOOPBACK) as (opened, _):
            await opened.post(f"http://127.0.0.1:{listener.port}/", {}, b"{}", 5)
        assert listener.connections == 1


async def test_a_name_that_leads_elsewhere_a_moment_later() -> None:
    """Rebinding: one look-up for each delivery, judged and connected to; the next one is judged anew."""
    other = read_networks(["192.0.2.0/24"])
    async with (
        listening() as listener,
        receivers(["192.0.2.1"], ["127.0.0.1"], networks=other) as (opened, names),
        no_sockets() as made,
    ):
        url = f"http://rebinding.example:{listener.port}/"
        with pytest.raises(PostFailed, match="no connection"):
            await opened.post(url, {}, b"{}", 5)
        assert (made, names.asked) == ([("192.0.2.1", listener.port)], ["rebinding.example"])
        with pytest.raises(PostFailed, match=FORBIDDEN):
            await opened.post(url, {}, b"{}", 5)
        assert len(made) == 1
        assert listener.connections == 0


@pytest.mark.parametrize(
    "url",
    [
        "http://receiver.example/",
        "https://receiver.example:22/",
        "https://u:p@receiver.example/",
        "ftp://receiver.example/",
    ],
)
async def test_urls_that_an_older_release_may_have_let_in(url: str) -> None:
    """They are looked at again, before anything is asked."""
    async with receivers([PUBLIC], networks=()) as (opened, names):
        with pytest.raises(PostFailed, match="its URL is not one"):
            await opened.post(url, {}, b"{}", 5)
    assert names.asked == []


# ---- certificates


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context for `receiver.example`, and one that trusts it."""
    folder: Path = tmp_path_factory.mktemp("certificates")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "receiver.example")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("receiver.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain, private = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain, private)
    return server, ssl.create_default_context(cafile=str(chain))


async def test_the_certificate_is_the_names(certificates: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    """The connection goes to the address, and the name is what is asked for and proven; any other name is refused."""
    server, trust = certificates
    async with (
        listening(trust=server) as listener,
        receivers(["127.0.0.1"], trust=trust) as (opened, _),
    ):
        answered = await opened.post(f"https://receiver.example:{listener.port}/", {}, b"{}", 5)
        assert answered.status == 204
        assert f"host: receiver.example:{listener.port}".encode() in listener.requests[0].lower()
        with pytest.raises(PostFailed, match="its certificate was not accepted"):
            await opened.post(f"https://other.example:{listener.port}/", {}, b"{}", 5)
        assert len(listener.requests) == 1


async def test_a_certificate_that_nobody_vouches_for(certificates: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    """By the machine's own authorities."""
    server, _ = certificates
    async with listening(trust=server) as listener, receivers(["127.0.0.1"]) as (opened, _names):
        with pytest.raises(PostFailed, match="its certificate was not accepted"):
            await opened.post(f"https://receiver.example:{listener.port}/", {}, b"{}", 5)
        assert listener.requests == []


# ---- the rest


async def test_the_machines_resolver() -> None:
    """All addresses of a name; odd spellings are what they lead to."""
    assert ipaddress.ip_address((await look_up("0x7f.1", 443))[0]) == ipaddress.ip_address("127.0.0.1")
    assert set(await look_up("localhost", 443)) <= {"127.0.0.1", "::1"}


def test_networks() -> None:
    """As settings name them."""
    assert read_networks(["127.0.0.0/8", "::1/128"])[1] == ipaddress.ip_network("::1")
    with pytest.raises(ValueError, match="does not appear to be"):
        read_networks(["localhost"])
