"""Sockets and their tokens' ends, at real sockets on a clock that leaps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from adapters.identity import TokenIdentity
from adapters.identity.keys import IssuerKeys
from client.connection import connect
from domain.events import Chat, Reauthenticated, Welcome
from domain.ports import Clock
from domain.requests import Reauth
from domain.tokens import TOKEN_LEEWAY_MS, Expected
from tests.e2e.people import Person
from tests.inline import InlineService
from tests.unit.adapters.issuers import ISSUER, JWKS_URL, KEYS, Shelf, key_set, make_token
from tests.unit.local.processes import until

MINUTE = 60.0
LEEWAY = TOKEN_LEEWAY_MS / 1000


def identify(clock: Clock) -> TokenIdentity:
    found = TokenIdentity(Expected(ISSUER, "roomcast"), JWKS_URL, clock)
    found._keys = IssuerKeys(ISSUER, JWKS_URL, clock, Shelf(**{JWKS_URL: key_set(KEYS["ES256"].jwk())}).get)
    return found


@pytest.fixture
async def service() -> AsyncIterator[InlineService]:
    async with InlineService(identify=identify) as service:
        yield service
    assert service.failures == []


def token(service: InlineService, user: str, seconds: float) -> str:
    expires = service.clock.now() / 1000 + seconds
    return make_token(KEYS["ES256"], {"iss": ISSUER, "aud": "roomcast", "sub": user, "exp": expires})


@asynccontextmanager
async def page(service: InlineService, shown: str) -> AsyncIterator[Person]:
    offered = [Subprotocol("roomcast.v1"), Subprotocol(f"bearer.{shown}")]
    socket = await open_socket(f"{service.url}?roomId=tea", subprotocols=offered, compression=None)
    someone = Person(socket, "page")
    try:
        await someone.until(lambda: bool(someone.seen("welcome")))
        yield someone
    finally:
        await someone.leave()


async def test_a_socket_outlives_its_token_until_the_leeway(service: InlineService) -> None:
    """Then nothing more comes through it, its requests are refused, the tick closes it, and its token is a 401."""
    async with AsyncExitStack() as stack:
        short = token(service, "ada", 5 * MINUTE)
        ada = await stack.enter_async_context(page(service, short))
        bob = await stack.enter_async_context(page(service, token(service, "bob", 60 * MINUTE)))
        await service.let_pass(5 * MINUTE + LEEWAY - 3)
        await bob.say("in the leeway", "tea")
        await ada.hears("in the leeway")
        await ada.say("I am here", "tea")
        await ada.hears("I am here")
        await service.let_pass(4)
        await bob.say("after it", "tea")
        await bob.hears("after it")
        if ada.socket.close_code is None:
            refused = await ada.ask(type="ping")
            assert refused["data"]["code"] == "TOKEN_EXPIRED"
        await service.let_pass(2 * MINUTE)
        await ada.socket.wait_closed()
        assert "after it" not in ada.messages
        assert ada.messages == bob.messages[:-1]
        await bob.until(lambda: bool(bob.seen("user_left")))
        with pytest.raises(InvalidStatus) as late:
            async with page(service, short):
                pass
        assert late.value.response.status_code == 401


async def test_a_fresh_token_keeps_the_socket(service: InlineService) -> None:
    """For as long as that one is good, without a handshake."""
    async with page(service, token(service, "ada", 5 * MINUTE)) as ada:
        for _ in range(4):
            await service.let_pass(4 * MINUTE)
            reply = await ada.ask(type="reauth", token=token(service, "ada", 5 * MINUTE))
            assert reply["type"] == "reauthenticated"
        await ada.say("still the same socket", "tea")
        await ada.hears("still the same socket")
        assert service.gateway.tally.connects == 1
        await service.let_pass(8 * MINUTE)
        await ada.socket.wait_closed()


async def test_the_sdk_keeps_a_socket_that_has_a_fresh_token(service: InlineService) -> None:
    """It opens no other when the first token was to end."""
    async with connect(service.url, token=token(service, "ada", 5 * MINUTE), room="tea", clock=service.clock) as ada:
        await ada.ping()
        for _ in range(5):
            await service.let_pass(3 * MINUTE)
            answer = await ada.ask(Reauth(token=token(service, "ada", 5 * MINUTE)))
            assert isinstance(answer, Reauthenticated)
        await ada.send("tea", "still the same socket")
        assert service.gateway.tally.connects == 1


async def test_a_client_with_short_tokens_misses_nothing(service: InlineService) -> None:
    """The SDK comes back before each token's end with a fresh one: an hour of ten-minute tokens, a message every half
    minute, each heard once and in order."""
    shown = 0

    async def fresh() -> str:
        nonlocal shown
        shown += 1
        return token(service, "ada", 10 * MINUTE)

    heard: list[str] = []

    async with (
        connect(service.url, token=fresh, room="tea", clock=service.clock) as ada,
        page(service, token(service, "bob", 100 * MINUTE)) as bob,
    ):
        welcomed = asyncio.Event()

        async def hear() -> None:
            async for event in ada.events():
                if isinstance(event, Chat):
                    heard.append(event.message)
                elif isinstance(event, Welcome):
                    welcomed.set()

        hearing = asyncio.create_task(hear())
        await welcomed.wait()
        said = [f"{number}" for number in range(120)]
        for text in said:
            await bob.ask(type="ping")
            await bob.say(text, "tea")
            await service.let_pass(30)
        await until(lambda: heard[-1:] == said[-1:])
    await hearing
    assert heard == said
    assert shown >= 6
