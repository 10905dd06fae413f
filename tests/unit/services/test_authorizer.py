"""The authorizer: what API Gateway makes of a handshake, of its token and of the page it comes from."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from adapters.identity import DemoIdentity
from adapters.settings import Settings
from domain.errors import Unavailable
from domain.ports import Handshake, Identity, Principal
from local.api_events import Upgrade, authorizer_context, authorizer_event, connection_context, is_allowed
from local.environment import Context
from services import authorizer
from services.caller import Caller, read_caller

_T = TypeVar("_T")
SECRET = "valid_tell-nobody"
ALLOWED = ("https://chat.example.org", "http://localhost:5173")


@dataclass(slots=True)
class Environment:
    """What the handler asks of its runtime."""

    runner: asyncio.Runner
    settings: Settings
    admits: Identity

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return self.runner.run(work)

    def identity(self) -> Identity:
        return self.admits


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[Environment]:
    with asyncio.Runner() as runner:
        found = Environment(runner, Settings({}, {}, {}, "", origins=ALLOWED), DemoIdentity())
        monkeypatch.setattr(authorizer, "runtime", lambda: found)
        yield found


def ask(query: str = "userId=ada", headers: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
    """The authorizer's answer; it goes through JSON, both ways, as on AWS."""
    upgrade = Upgrade(query, headers, "10.0.0.1")
    event = authorizer_event(connection_context("c=", upgrade, "dev", 1), upgrade, 1)
    found = authorizer.handler(
        json.loads(json.dumps(event)), Context("r", 0.0, "authorizer", "arn:aws:lambda", "group", "stream", 512)
    )
    answer: dict[str, Any] = json.loads(json.dumps(found))
    return answer


def status(query: str = "userId=ada", headers: Sequence[tuple[str, str]] = ()) -> int:
    """The status that API Gateway makes of the answer; 101 where it lets the client in."""
    try:
        return 101 if is_allowed(ask(query, headers)) else 403
    except Exception as error:
        return 401 if str(error) == "Unauthorized" else 500


@pytest.mark.parametrize(
    ("origins", "expected"),
    [
        ([], 101),
        (["https://chat.example.org"], 101),
        (["HTTPS://Chat.Example.ORG"], 101),
        (["http://localhost:5173"], 101),
        (["null"], 403),
        ([""], 403),
        (["*"], 403),
        (["http://chat.example.org"], 403),
        (["https://chat.example.org:443"], 403),
        (["https://chat.example.org:8443"], 403),
        (["https://chat.example.org/"], 403),
        (["https://chat.example.org."], 403),
        (["https://evil-chat.example.org"], 403),
        (["https://evil.chat.example.org"], 403),
        (["https://chat.example.org.evil.net"], 403),
        (["https://example.org"], 403),
        (["https://chat.example.org@evil.net"], 403),
        (["https://evil.net#https://chat.example.org"], 403),
        (["http://localhost"], 403),
        (["http://localhost:51730"], 403),
        (["http://127.0.0.1:5173"], 403),
        (["https://chat.example.org https://evil.net"], 403),
        (["https://chat.example.org,https://evil.net"], 403),
        (["https://evil.net", "https://chat.example.org"], 403),
        (["https://chat.example.org", "https://evil.net"], 403),
        (["https://ch\u0430t.example.org"], 403),
    ],
)
def test_pages_of_the_listed_origins_may_connect(environment: Environment, origins: list[str], expected: int) -> None:
    """Exactly those: no other scheme, host or port, no part of one, and not `null`. Who sends none is no browser."""
    assert status(headers=[("Origin", it) for it in origins]) == expected


def test_without_a_list_any_page_may_connect(environment: Environment) -> None:
    """As in a demo."""
    environment.settings = Settings({}, {}, {}, "")
    assert status(headers=[("Origin", "https://evil.net")]) == 101


def test_the_page_is_looked_at_before_the_token(environment: Environment) -> None:
    """A foreign page learns nothing of whether the token that it has found is good."""
    for token in ("valid_1", "stolen"):
        assert status(f"token={token}", [("Origin", "https://evil.net")]) == 403


def test_a_token_that_is_not_accepted_is_a_401(environment: Environment) -> None:
    """However it comes."""
    assert status("token=stolen") == 401
    assert status("", [("Authorization", "Bearer stolen")]) == 401
    assert status("", [("sec-websocket-protocol", "roomcast.v1, bearer.stolen")]) == 401
    assert status("", [("Sec-WebSocket-Protocol", "roomcast.v1, bearer.valid_1")]) == 101


def test_an_issuer_that_cannot_be_asked_is_a_500(environment: Environment) -> None:
    """Not a 401: the token may be good, and the client shall come again with it."""

    class Away(DemoIdentity):
        async def admit(self, handshake: Handshake) -> Principal:
            raise Unavailable("the issuer's keys can't be had")

    environment.admits = Away()
    assert status() == 500


def test_later_events_know_the_user(environment: Environment) -> None:
    """User, name, groups and the token's expiry go through API Gateway's context, which holds texts."""

    class Known(DemoIdentity):
        async def admit(self, handshake: Handshake) -> Principal:
            return Principal("ada", "Ada, Countess", frozenset({"admin", "tea"}), 1_700_000_000_123)

    environment.admits = Known()
    context = authorizer_context(ask())
    assert all(isinstance(it, str) for it in context.values())
    event = {"requestContext": {"connectionId": "c=", "requestId": "r=", "authorizer": context}}
    assert read_caller(event) == Caller(
        "c=", "ada", "Ada, Countess", "r=", frozenset({"admin", "tea"}), 1_700_000_000_123
    )


def test_a_demos_user_has_neither_groups_nor_expiry(environment: Environment) -> None:
    """An empty text is no group."""
    context = authorizer_context(ask("userId=ada&username=Ada"))
    event = {"requestContext": {"connectionId": "c=", "requestId": "r=", "authorizer": context}}
    assert read_caller(event) == Caller("c=", "ada", "Ada", "r=")


def test_no_token_is_logged(environment: Environment, caplog: pytest.LogCaptureFixture) -> None:
    """Neither an accepted one nor a refused one, wherever it stood; the reason is."""
    for token in (SECRET, SECRET.replace("valid", "stolen")):
        status(f"token={token}")
        status("", [("Authorization", f"Bearer {token}"), ("Sec-WebSocket-Protocol", f"roomcast.v1, bearer.{token}")])
    said = [vars(it) for it in caplog.records]
    assert [it["reason"] for it in said] == ["The token is not accepted"] * 2
    assert "tell-nobody" not in str(said)
