"""An issuer's keys: which are taken, when they are fetched, and what happens where they can't be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from adapters.identity.fetching import DOCUMENT_LIMIT, fetch
from adapters.identity.keys import DISCOVERY, FRESH_MS, RETRY_MS, STALE_MS, UNKNOWN_MS, IssuerKeys, read_keys
from adapters.memory import ManualClock
from domain.errors import Unavailable
from tests.unit.adapters.issuers import ISSUER, JWKS_URL, KEYS, Shelf, key_set

RS256 = KEYS["RS256"]


class Asked:
    """The keys of an issuer whose documents are on a shelf."""

    def __init__(self, jwks_url: str = JWKS_URL) -> None:
        self.clock = ManualClock()
        self.shelf = Shelf(**{JWKS_URL: key_set(RS256.jwk())})
        self.keys = IssuerKeys(ISSUER, jwks_url, self.clock, self.shelf.get)

    async def knows(self, name: str = "RS256") -> bool:
        return await self.keys.key(name, KEYS[name].algorithm) is not None

    def pass_ms(self, milliseconds: int) -> None:
        self.clock.advance(milliseconds / 1000)

    @property
    def fetches(self) -> int:
        return len(self.shelf.asked)


# ---- which are taken


@pytest.mark.parametrize("name", ["RS256", "ES256", "EdDSA"])
def test_a_key_decides_its_algorithm(name: str) -> None:
    """Whether or not the issuer names it."""
    listed = KEYS[name].jwk()
    assert list(read_keys(key_set(listed))) == [(name, name)]
    del listed["alg"], listed["use"]
    assert list(read_keys(key_set(listed))) == [(name, name)]


USELESS: dict[str, Callable[[], dict[str, Any]]] = {
    "of 1,024 bits": lambda: KEYS["weak"].jwk() | {"alg": "RS256"},
    "on another curve": KEYS["ES384"].jwk,
    "for another algorithm": lambda: RS256.jwk() | {"alg": "PS256"},
    "a secret": lambda: {"kty": "oct", "kid": "s", "k": "c2VjcmV0", "alg": "HS256"},
    "to encrypt with": lambda: RS256.jwk() | {"use": "enc"},
    "to sign with": lambda: RS256.jwk() | {"key_ops": ["sign"]},
    "with operations that are none": lambda: RS256.jwk() | {"key_ops": "verify"},
    "without a name": lambda: {it: value for it, value in RS256.jwk().items() if it != "kid"},
    "with a number for a name": lambda: RS256.jwk() | {"kid": 7},
    "without its modulus": lambda: {it: value for it, value in RS256.jwk().items() if it != "n"},
    "with a modulus that is none": lambda: RS256.jwk() | {"n": 7},
    "with half a modulus": lambda: RS256.jwk() | {"n": RS256.jwk()["n"][:100]},
    "with an even exponent": lambda: RS256.jwk() | {"e": "Ag"},
    "off the curve": lambda: KEYS["ES256"].jwk() | {"y": KEYS["ES256"].jwk()["x"]},
    "too short": lambda: KEYS["EdDSA"].jwk() | {"x": "AAAA"},
    "of a kind to come": lambda: {"kty": "AKP", "kid": "p", "alg": "ML-DSA-44", "pub": "AAAA"},
    "of no kind": lambda: {"kid": "n", "kty": ["RSA"]},
}


@pytest.mark.parametrize("useless", USELESS)
def test_other_keys_are_passed_over(useless: str) -> None:
    """The one beside it is taken; alone it is no key set."""
    assert list(read_keys(key_set(USELESS[useless](), KEYS["EdDSA"].jwk()))) == [("EdDSA", "EdDSA")]
    with pytest.raises(Unavailable):
        read_keys(key_set(USELESS[useless]()))


def test_a_private_key_is_taken_for_its_public_part() -> None:
    """An issuer that publishes more than it should has its keys read without it."""
    [key] = read_keys(key_set(KEYS["EdDSA"].jwk() | {"d": "AAAA"})).values()
    assert not hasattr(key, "sign")


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b'{"keys":{}}', b'{"keys":[7]}', b"[" * 9_999, b"\xff"])
def test_what_is_no_key_set_is_no_answer(document: bytes) -> None:
    """As if the issuer had not answered: what was known stays."""
    with pytest.raises(Unavailable):
        read_keys(document)


# ---- when they are fetched


async def test_they_are_kept_for_ten_minutes() -> None:
    """One fetch for all handshakes meanwhile, and a withdrawn key is good no longer than that."""
    asked = Asked()
    for _ in range(10):
        assert await asked.knows()
    asked.pass_ms(FRESH_MS - 1)
    assert await asked.knows()
    assert asked.fetches == 1
    asked.shelf.documents[JWKS_URL] = key_set(KEYS["ES256"].jwk())
    asked.pass_ms(1)
    assert not await asked.knows()
    assert asked.fetches == 2


async def test_an_unknown_key_is_asked_for_once_a_minute() -> None:
    """An issuer's new key is known within a minute; names that are invented cost it no more than a fetch a minute."""
    asked = Asked()
    assert not await asked.knows("ES256")
    asked.shelf.documents[JWKS_URL] = key_set(RS256.jwk(), KEYS["ES256"].jwk())
    asked.pass_ms(UNKNOWN_MS - 1)
    assert not await asked.knows("ES256")
    assert asked.fetches == 1
    asked.pass_ms(1)
    assert await asked.knows("ES256")
    for number in range(100):
        assert await asked.keys.key(f"invented {number}", "RS256") is None
    assert asked.fetches == 2


async def test_another_algorithm_for_a_known_key_is_no_reason_to_ask() -> None:
    """The key decides; there is nothing to fetch."""
    asked = Asked()
    await asked.knows()
    asked.pass_ms(UNKNOWN_MS)
    assert await asked.keys.key("RS256", "ES256") is None
    assert asked.fetches == 1


async def test_known_keys_outlast_an_issuer_that_is_away() -> None:
    """For a day, tried again every few seconds; after that nobody is let in."""
    asked = Asked()
    await asked.knows()
    del asked.shelf.documents[JWKS_URL]
    asked.pass_ms(FRESH_MS)
    assert await asked.knows()
    assert await asked.knows()
    assert asked.fetches == 2
    asked.pass_ms(RETRY_MS)
    assert await asked.knows()
    assert asked.fetches == 3
    asked.pass_ms(STALE_MS - FRESH_MS - RETRY_MS - 1)
    assert await asked.knows()
    asked.pass_ms(1)
    with pytest.raises(Unavailable):
        await asked.knows()
    asked.shelf.documents[JWKS_URL] = key_set(RS256.jwk())
    asked.pass_ms(RETRY_MS)
    assert await asked.knows()


async def test_an_unreadable_answer_leaves_what_is_known() -> None:
    """A page of an error with status 200 is no withdrawal of all keys."""
    asked = Asked()
    await asked.knows()
    asked.shelf.documents[JWKS_URL] = b"<html>"
    asked.pass_ms(FRESH_MS)
    assert await asked.knows()


async def test_an_issuer_that_was_never_reached_is_asked_every_few_seconds() -> None:
    """Not for each handshake."""
    asked = Asked()
    asked.shelf.documents.clear()
    for _ in range(10):
        with pytest.raises(Unavailable):
            await asked.knows()
    assert asked.fetches == 1
    asked.shelf.documents[JWKS_URL] = key_set(RS256.jwk())
    asked.pass_ms(RETRY_MS)
    assert await asked.knows()


async def test_who_asks_meanwhile_waits_for_the_same_answer() -> None:
    """A hundred at once are one fetch, whether it succeeds or fails."""
    asked, answer = Asked(), asyncio.Event()
    get = asked.shelf.get

    async def slow(url: str) -> bytes:
        await answer.wait()
        return await get(url)

    asked.keys._get = slow
    waiting = [asyncio.create_task(asked.knows()) for _ in range(100)]
    await asyncio.sleep(0)
    answer.set()
    assert all(await asyncio.gather(*waiting))
    assert asked.fetches == 1
    asked.pass_ms(STALE_MS)
    asked.shelf.documents.clear()
    failed = await asyncio.gather(*(asked.knows() for _ in range(100)), return_exceptions=True)
    assert {type(it) for it in failed} == {Unavailable}
    assert asked.fetches == 2


# ---- where they are


def discovery(issuer: str = ISSUER, jwks_uri: str = JWKS_URL) -> bytes:
    return f'{{"issuer":"{issuer}","jwks_uri":"{jwks_uri}","more":[]}}'.encode()


async def test_the_issuer_says_where_they_are() -> None:
    """By its discovery document, where no setting does."""
    asked = Asked(jwks_url="")
    asked.shelf.documents[ISSUER + DISCOVERY] = discovery()
    assert await asked.knows()
    assert asked.shelf.asked == [ISSUER + DISCOVERY, JWKS_URL]


@pytest.mark.parametrize(
    "document",
    [
        discovery(issuer="https://thief.example.org"),
        discovery(jwks_uri=JWKS_URL.replace("https", "http")),
        discovery(jwks_uri="file:///etc/passwd"),
        b"{}",
        b"no JSON",
    ],
)
async def test_another_document_is_none(document: bytes) -> None:
    """Another issuer's, or one that leads out of TLS."""
    asked = Asked(jwks_url="")
    asked.shelf.documents |= {ISSUER + DISCOVERY: document, JWKS_URL.replace("https", "http"): key_set(RS256.jwk())}
    with pytest.raises(Unavailable):
        await asked.knows()


# ---- by HTTP


@asynccontextmanager
async def server(answer: Callable[[web.Request], Any]) -> AsyncIterator[str]:
    """Serves `answer` at every path; the URL."""

    async def handle(request: web.Request) -> web.StreamResponse:
        found: web.StreamResponse = await answer(request)
        return found

    app = web.Application()
    app.router.add_get("/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_a_document_is_read() -> None:
    """To its end, however it comes."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(4):
            await response.write(b"x" * (DOCUMENT_LIMIT // 4))
        return response

    async with server(answer) as url:
        assert await fetch(url) == b"x" * DOCUMENT_LIMIT


async def test_a_document_too_long_is_none() -> None:
    """It is not read to its end, which may never come."""
    sent = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65_536)
            sent += 65_536

    async with server(answer) as url:
        with pytest.raises(Unavailable, match="128 KB"):
            await fetch(url)
    assert sent < 100 * DOCUMENT_LIMIT


async def test_a_redirect_is_not_followed() -> None:
    """Where the keys are is a setting, or the issuer's word, and nobody else's."""
    asked = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return web.Response(status=302, headers={"Location": "/elsewhere"})

    async with server(answer) as url:
        with pytest.raises(Unavailable, match="302"):
            await fetch(f"{url}/keys")
    assert asked == ["/keys"]


async def test_a_slow_issuer_is_not_waited_for() -> None:
    """A handshake waits for the answer: it has so many seconds in all."""
    held = asyncio.Event()

    async def answer(_: web.Request) -> web.StreamResponse:
        await held.wait()
        return web.Response()

    async with server(answer) as url:
        with pytest.raises(Unavailable, match="TimeoutError"):
            await fetch(url, seconds=0.05)
        held.set()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/keys", "nonsense", "https://[::1"])
async def test_where_nobody_answers(url: str) -> None:
    """One kind of error for all of it."""
    with pytest.raises(Unavailable):
        await fetch(url)
