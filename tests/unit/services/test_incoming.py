"""The function that incoming webhooks post to: by the events of an HTTP API, with the answers of one."""

from __future__ import annotations

import gzip
import itertools
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from domain.errors import Unavailable
from domain.rates import HOOK, Rate, RateLimiter
from domain.webhooks import signatures
from local.environment import Context
from local.http_api import Posted, http_event
from services import incoming
from services.backend import answer
from tests.unit.services.conftest import Environment

SAID = '{"message":"grün"}'.encode()
_numbers = itertools.count()


def made(environment: Environment) -> tuple[str, str]:
    """The id and the secret of a new hook."""
    world = environment.world
    request = {"action": "add_webhook", "roomId": "general", "direction": "incoming", "name": "ci"}
    result = environment.run(answer(world.ports, world.sockets, request, "invocation"))
    return result["id"], result["secret"]


def post(
    environment: Environment, hook: str, secret: str, body: bytes = SAID, headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What the function answers to a delivery, which is signed for now; `headers` are added."""
    now = environment.world.clock.now()
    signed = signatures([secret], f"msg-{next(_numbers)}", now // 1000, body)
    shown = (
        {it.title(): value for it, value in signed.items()} | {"Content-Type": "application/json"} | dict(headers or {})
    )
    posted = Posted(f"/hooks/{hook}", "", list(shown.items()), body, "192.0.2.1")
    context = Context(
        f"invocation-{next(_numbers)}", time.monotonic() + 10, "incoming", "arn:aws:…", "log", "stream", 512
    )
    answered: dict[str, Any] = incoming.handler(http_event(posted, now), context)
    return answered


def test_a_delivery_is_taken_as_text_and_as_bytes(environment: Environment) -> None:
    """What was sent is what was signed, whether API Gateway takes it for text or not."""
    hook, secret = made(environment)
    answers = [post(environment, hook, secret)]
    answers += [
        post(environment, hook, secret, headers={"Content-Type": it}) for it in ("text/plain; charset=utf-8", "x/y", "")
    ]
    assert [it["statusCode"] for it in answers] == [200] * 4
    assert {it["headers"]["Content-Type"] for it in answers} == {"application/json"}
    assert [json.loads(it["body"])["seq"] for it in answers] == [1, 2, 3, 4]
    environment.run(environment.world.pump())
    assert environment.world.messages("ada") == ["grün"] * 4


def test_names_of_headers_are_in_any_case(environment: Environment) -> None:
    """Also where it is not API Gateway that has made them small."""
    hook, secret = made(environment)
    now = environment.world.clock.now()
    shown = {it.upper(): value for it, value in signatures([secret], "msg", now // 1000, SAID).items()}
    event = {"headers": shown, "pathParameters": {"hook": hook}, "body": SAID.decode(), "requestContext": {}}
    context = Context("invocation", time.monotonic() + 10, "incoming", "arn:aws:…", "log", "stream", 512)
    assert incoming.handler(event, context)["statusCode"] == 200


def test_a_refusal(environment: Environment) -> None:
    """An `error` as everywhere, with the status of HTTP for it."""
    hook, secret = made(environment)
    for answered, status, code in (
        (post(environment, hook, f"whsec_{'A' * 32}"), 401, "UNAUTHENTICATED"),
        (post(environment, "nowhere", secret), 401, "UNAUTHENTICATED"),
        (post(environment, hook, secret, b""), 400, "BAD_JSON"),
        (post(environment, hook, secret, gzip.compress(SAID), {"Content-Encoding": "gzip"}), 400, "BAD_JSON"),
        (post(environment, hook, secret, b" " * 200_000), 413, "TOO_LARGE"),
    ):
        assert (answered["statusCode"], json.loads(answered["body"])["error"]["code"]) == (status, code)
        assert "Retry-After" not in answered["headers"]


def test_who_should_come_again_is_told_when(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """In whole seconds, as HTTP has it."""
    hook, secret = made(environment)
    world = environment.world
    world.ports = replace(world.ports, limiter=RateLimiter({HOOK: Rate(0.4, 1)}))
    assert post(environment, hook, secret)["statusCode"] == 200
    answered = post(environment, hook, secret)
    assert (answered["statusCode"], answered["headers"]["Retry-After"]) == (429, "3")

    async def fail(webhook: str) -> Any:
        raise Unavailable("throttled")

    monkeypatch.setattr(world.webhooks, "hook", fail)
    answered = post(environment, hook, secret)
    assert (answered["statusCode"], answered["headers"]["Retry-After"]) == (503, "1")


def test_the_review_of_services_is_theirs_too(environment: Environment) -> None:
    """Where the deployment says so."""
    hook, secret = made(environment)
    rain = b'{"message":"rain"}'
    assert post(environment, hook, secret, rain)["statusCode"] == 200
    environment.settings = replace(environment.settings, review_services=True)
    refused = post(environment, hook, secret, rain)
    assert (refused["statusCode"], json.loads(refused["body"])["error"]["code"]) == (400, "REJECTED")


def test_nothing_of_a_delivery_is_written(environment: Environment, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither what it says nor how it is signed, nor whose it is, taken or refused; counted it is."""
    hook, secret = made(environment)
    post(environment, hook, secret, b'{"message":"planted-text"}')
    post(environment, hook, secret, b'{"message":7,"name":"planted-text"}')
    post(environment, hook, secret, b'{"message":"planted-text"}', {"Webhook-Signature": "v1,planted-text"})
    said = capsys.readouterr()
    written = said.out + said.err
    assert [it for it in ("planted-text", "msg-", "v1,", hook, secret, "general") if it in written] == []
    assert written.count('"Requests":[1.0]') == 3
    assert written.count('"code":"UNAUTHENTICATED"') == 1
