"""What incoming hooks take: what their secret has signed, lately, once, so often; and nothing tells who has no secret
which part of that was wrong."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks import Webhook

import domain.webhooks
from domain.errors import Refused, Unavailable
from domain.ports import Review
from domain.protocol import MESSAGE_LIMIT
from domain.rates import HOOK, Rate
from domain.webhooks import DELIVERY_LIMIT, ROTATION_MS, TOLERANCE_MS, Hook, signatures
from services.backend import answer as ask_backend
from services.deliveries import Answer, answer
from tests.unit.world import World

_numbers = itertools.count()
SAID = b'{"message":"the build is green"}'
NO_SECRET = f"whsec_{'A' * 32}"


async def ask(world: World, request: dict[str, Any]) -> dict[str, Any]:
    result = await ask_backend(world.ports, world.sockets, request, "invocation")
    assert "error" not in result, result
    return result


async def made(world: World, room: str = "general", name: str = "ci", **changes: Any) -> tuple[str, str]:
    """The id and the secret of a new hook: an incoming one, unless `changes` say otherwise."""
    request = {"action": "add_webhook", "roomId": room, "direction": "incoming", "name": name, **changes}
    result = await ask(world, request)
    return result["id"], result["secret"]


async def a_world(**settings: Any) -> World:
    """With Ada in `general`, who hears what is said there."""
    world = World(**settings)
    await world.connect("ada")
    return world


def signed(world: World, secret: str, body: bytes = SAID, webhook: str = "msg-1", late_ms: int = 0) -> dict[str, str]:
    return signatures([secret], webhook, (world.clock.now() - late_ms) // 1000, body)


async def deliver(world: World, hook: str, headers: dict[str, str], body: bytes = SAID) -> Answer:
    return await answer(world.ports, hook, headers, body, f"invocation-{next(_numbers)}")


async def heard(world: World) -> list[str]:
    """What Ada was told of what is said."""
    await world.pump()
    return world.messages("ada")


async def stored(world: World) -> list[str]:
    """What stands in the room's log, also of what nobody was there to hear."""
    room = await world.store.room("general")
    assert room is not None
    entries = await world.store.entries(room.room, room.epoch, 0, limit=100, max_bytes=1_000_000)
    return [str(it.body["message"]) for it in entries]


async def test_a_delivery_is_a_message() -> None:
    """Of the hook, under its name or the one that the body has; the room's next entry, which its members get."""
    world = await a_world()
    hook, secret = await made(world)
    first = await deliver(world, hook, signed(world, secret))
    assert (first.status, first.refused, first.retry_after) == (200, None, None)
    named = b'{"message":"and out","name":"Build 7"}'
    second = await deliver(world, hook, signed(world, secret, named, "msg-2"), named)
    await world.pump()
    chats = [it["data"] for it in world.events("ada", "chat")]
    assert [(it["senderId"], it["senderName"], it["message"]) for it in chats] == [
        ("service#ci", "ci", "the build is green"),
        ("service#ci", "Build 7", "and out"),
    ]
    for told, answered in zip(chats, (first, second), strict=True):
        assert answered.body == {it: told[it] for it in ("messageId", "roomId", "epoch", "seq")}


async def test_the_standards_own_library_signs_for_us() -> None:
    """With the time that the world has."""
    world = await a_world()
    now = datetime.fromtimestamp(world.clock.now() / 1000, UTC)
    hook, secret = await made(world)
    signature = Webhook(secret).sign("msg_2KWPBgLlAfxdpx2AI54pPJ85f4W", now, SAID.decode())
    headers = {
        "webhook-id": "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signature,
    }
    assert (await deliver(world, hook, headers)).status == 200
    assert await heard(world) == ["the build is green"]


async def test_the_same_delivery_is_one_message() -> None:
    """However often it comes, with whatever time and signature: the same answer, and nobody hears it twice."""
    world = await a_world()
    hook, secret = await made(world)
    first = await deliver(world, hook, signed(world, secret))
    world.clock.advance(3 * 3600)
    again = await deliver(world, hook, signed(world, secret))
    assert again == first
    spaced = b'{ "message": "the build is green" }'
    assert await deliver(world, hook, signed(world, secret, spaced), spaced) == first
    assert await stored(world) == ["the build is green"]


async def test_twenty_at_once_are_one_message() -> None:
    """Twenty equal answers."""
    world = await a_world()
    hook, secret = await made(world)
    headers = signed(world, secret)
    answers = await asyncio.gather(*(deliver(world, hook, headers) for _ in range(20)))
    assert answers[0].status == 200
    assert all(it == answers[0] for it in answers)
    assert await heard(world) == ["the build is green"]
    room = await world.store.room("general")
    assert room is not None
    assert room.head == 1


async def test_the_same_id_for_another_message() -> None:
    """Is refused, by the name that it has here; of another hook it is another delivery, be it of the same name."""
    world = await a_world()
    hook, secret = await made(world)
    other, others = await made(world)
    assert (await deliver(world, hook, signed(world, secret))).status == 200
    changed = b'{"message":"the build is red"}'
    refused = await deliver(world, hook, signed(world, secret, changed), changed)
    assert (refused.status, refused.body["error"]["code"]) == (400, "BAD_REQUEST")
    assert refused.body["error"]["message"].startswith("`webhook-id`")
    assert (await deliver(world, other, signed(world, others, changed), changed)).body["seq"] == 2
    assert await heard(world) == ["the build is green", "the build is red"]


@pytest.mark.parametrize("webhook", ["!", "~" * 256, "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W", "a.b,c/d?e", '"{}"'])
async def test_ids_of_any_form(webhook: str) -> None:
    """Up to 256 visible characters; what makes an id differ makes another message."""
    world = await a_world()
    hook, secret = await made(world)
    ids = (webhook, webhook, webhook[:-1] + "x")
    answers = [await deliver(world, hook, signed(world, secret, webhook=it)) for it in ids]
    assert [it.body["seq"] for it in answers] == [1, 1, 2]


REFUSED: dict[str, Callable[[World, str], tuple[dict[str, str], bytes]]] = {
    "altered body": lambda world, secret: (signed(world, secret), SAID.replace(b"green", b"red")),
    "altered id": lambda world, secret: ({**signed(world, secret), "webhook-id": "msg-2"}, SAID),
    "altered time": lambda world, secret: (
        {**signed(world, secret, late_ms=5_000), "webhook-timestamp": str(world.clock.now() // 1000)},
        SAID,
    ),
    "too old": lambda world, secret: (signed(world, secret, late_ms=TOLERANCE_MS + 1_000), SAID),
    "of the future": lambda world, secret: (signed(world, secret, late_ms=-TOLERANCE_MS - 1_000), SAID),
    "no headers": lambda world, secret: ({}, SAID),
    "no signature": lambda world, secret: ({**signed(world, secret), "webhook-signature": ""}, SAID),
    "no id": lambda world, secret: ({**signed(world, secret), "webhook-id": ""}, SAID),
    "of another version": lambda world, secret: (
        {it: value.replace("v1,", "v2,") for it, value in signed(world, secret).items()},
        SAID,
    ),
    "of another secret": lambda world, secret: (signed(world, NO_SECRET), SAID),
    "odd characters": lambda world, secret: ({**signed(world, secret), "webhook-signature": "v1,\udcffé"}, SAID),
}


@pytest.mark.parametrize("wrong", REFUSED)
async def test_what_the_secret_has_not_signed_is_refused(wrong: str) -> None:
    """Also where it was taken before: an old delivery is no key. Nothing is said, and no token is taken."""
    world = await a_world(rates={HOOK: Rate(0.001, 1)})
    hook, secret = await made(world)
    headers, body = REFUSED[wrong](world, secret)
    refused = await deliver(world, hook, headers, body)
    assert (refused.status, refused.refused) == (401, "UNAUTHENTICATED")
    assert await heard(world) == []
    assert (await deliver(world, hook, signed(world, secret))).status == 200


async def test_a_replay_is_refused_once_it_is_old() -> None:
    """To the second: what was taken is taken for five minutes, as the same message, and then refused."""
    world = await a_world()
    hook, secret = await made(world)
    headers = signed(world, secret)
    first = await deliver(world, hook, headers)
    world.clock.advance(TOLERANCE_MS / 1000 - 1)
    assert await deliver(world, hook, headers) == first
    world.clock.advance(2)
    assert (await deliver(world, hook, headers)).status == 401
    assert await heard(world) == ["the build is green"]


async def test_nobody_is_told_what_was_wrong() -> None:
    """Of no such hook, a hook of no such room, no id at all, an outgoing one, a disabled one, one of a former life of
    its room, a delivery to another hook, a bad signature, an old one: one and the same answer."""
    world = await a_world()
    hook, secret = await made(world)
    other, _ = await made(world, name="other")
    outgoing, outgoings = await made(world, direction="outgoing", url="https://x.example/in")
    disabled, disableds = await made(world, name="disabled")
    stored = await world.webhooks.hook(disabled)
    assert stored is not None
    await world.webhooks.put(None, stored, replace(stored, version=2, disabled_at=1))
    await world.ask("ada", {"type": "create_room", "roomId": "again"})
    former, formers = await made(world, room="again")
    await world.ask("ada", {"type": "delete_room", "roomId": "again"})
    gone = await deliver(world, former, signed(world, formers))
    world.clock.advance(1)
    await world.ask("ada", {"type": "create_room", "roomId": "again"})
    answers = [
        gone,
        await deliver(world, "general~0123456789abcdef", signed(world, secret)),
        await deliver(world, "nowhere~0123456789abcdef", signed(world, secret)),
        await deliver(world, "general", signed(world, secret)),
        await deliver(world, "", signed(world, secret)),
        await deliver(world, "inbox#ada~0123456789abcdef", signed(world, secret)),
        await deliver(world, outgoing, signed(world, outgoings)),
        await deliver(world, disabled, signed(world, disableds)),
        await deliver(world, former, signed(world, formers)),
        await deliver(world, other, signed(world, secret)),
        await deliver(world, hook, signed(world, NO_SECRET)),
        await deliver(world, hook, signed(world, secret, late_ms=2 * TOLERANCE_MS)),
    ]
    assert answers[0].status == 401
    assert all(it == answers[0] for it in answers)
    room = await world.store.room("again")
    assert room is not None
    assert room.head == 0
    assert await heard(world) == []


async def test_an_unknown_hook_is_as_much_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """One read, and as many signatures made, whether there is a hook or none, and whether one secret counts or two."""
    world = await a_world()
    hook, _ = await made(world)
    rotated, _ = await made(world, name="rotated")
    await ask(world, {"action": "rotate_webhook", "webhookId": rotated})
    work: list[str] = []
    sign, read = domain.webhooks.sign, world.webhooks.hook

    def count_signature(*arguments: Any) -> str:
        work.append("sign")
        return sign(*arguments)

    async def count_read(webhook: str) -> Hook | None:
        work.append("read")
        return await read(webhook)

    headers = signed(world, NO_SECRET)
    monkeypatch.setattr("domain.webhooks.sign", count_signature)
    monkeypatch.setattr(world.webhooks, "hook", count_read)
    for webhook in (hook, rotated, "general~0123456789abcdef", "nowhere~0123456789abcdef"):
        work.clear()
        assert (await deliver(world, webhook, headers)).status == 401
        assert work == ["read", "sign", "sign"]


async def test_both_secrets_count_for_a_day_after_a_rotation() -> None:
    """Either alone, or both in one header; then the new one."""
    world = await a_world()
    hook, old = await made(world)
    new = (await ask(world, {"action": "rotate_webhook", "webhookId": hook}))["secret"]
    now = world.clock.now() // 1000
    for number, known in enumerate(([old], [new], [old, new], [NO_SECRET, old])):
        headers = signatures(known, f"msg-{number}", now, SAID)
        assert (await deliver(world, hook, headers)).status == 200
    world.clock.advance(ROTATION_MS / 1000)
    assert (await deliver(world, hook, signed(world, old, webhook="msg-8"))).status == 401
    assert (await deliver(world, hook, signed(world, new, webhook="msg-9"))).status == 200
    assert len(await stored(world)) == 5


async def test_a_hook_is_told_to_slow_down() -> None:
    """Its burst is taken, then its rate; others have theirs; and what was refused is taken when it is time."""
    world = await a_world(rates={HOOK: Rate(1, 3)})
    hook, secret = await made(world)
    other, others = await made(world)

    async def next_one() -> Answer:
        return await deliver(world, hook, signed(world, secret, webhook=f"msg-{next(_numbers)}"))

    assert [(await next_one()).status for _ in range(3)] == [200] * 3
    refused = await next_one()
    assert (refused.status, refused.refused, refused.retry_after) == (429, "RATE_LIMITED", 1)
    assert refused.body["error"]["retryAfter"] == 1
    assert (await deliver(world, other, signed(world, others))).status == 200
    granted = 0
    for _ in range(600):
        world.clock.advance(0.1)
        granted += (await next_one()).status == 200
    assert granted in {60, 61}


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (b"", "BAD_JSON", "`message`"),
        (b"{", "BAD_JSON", "`message`"),
        (b"\xff", "BAD_JSON", "`message`"),
        (b"[" * 100_000, "BAD_REQUEST", "object"),
        (b'{"message":' + b"[" * 100_000, "BAD_REQUEST", "`message`"),
        (b'{"message":"\\ud800"}', "BAD_JSON", "`message`"),
        (b"[]", "BAD_REQUEST", "object"),
        (b"{}", "BAD_REQUEST", "`message`"),
        (b'{"message":7}', "BAD_REQUEST", "`message`"),
        (b'{"message":null}', "BAD_REQUEST", "`message`"),
        (b'{"message":"hi","name":""}', "BAD_REQUEST", "`name`"),
        (b'{"message":"hi","name":"a\\nb"}', "BAD_REQUEST", "`name`"),
        (b'{"message":"hi","room":"other"}', "BAD_REQUEST", "`room`"),
        (b'{"message":" \\n"}', "EMPTY_MESSAGE", "empty"),
    ],
)
async def test_bad_bodies(body: bytes, code: str, words: str) -> None:
    """One clear sentence that names the field; nothing is said, and the id may be used for what was meant."""
    world = await a_world()
    hook, secret = await made(world)
    refused = await deliver(world, hook, signed(world, secret, body), body)
    assert (refused.status, refused.body["error"]["code"], refused.retry_after) == (400, code, None)
    assert words in refused.body["error"]["message"]
    assert (await deliver(world, hook, signed(world, secret))).status == 200
    assert await heard(world) == ["the build is green"]


async def test_how_long_a_message_may_be() -> None:
    """As long as any, also if each of its bytes is written as an escape; beyond it, and beyond what that takes, 413."""
    world = await a_world()
    hook, secret = await made(world)
    longest = b'{"message":"' + b"\\u0041" * MESSAGE_LIMIT + b'","name":"' + b"\\ud83d\\ude00" * 64 + b'"}'
    assert (await deliver(world, hook, signed(world, secret, longest), longest)).status == 200
    assert await heard(world) == ["A" * MESSAGE_LIMIT]
    too_long = b'{"message":"' + b"x" * (MESSAGE_LIMIT + 1) + b'"}'
    refused = await deliver(world, hook, signed(world, secret, too_long, "msg-2"), too_long)
    assert (refused.status, refused.refused) == (413, "TOO_LARGE")
    for known in (secret, NO_SECRET):
        huge = b" " * (DELIVERY_LIMIT + 1)
        assert (await deliver(world, hook, signed(world, known, huge), huge)).status == 413


async def test_the_deployments_review_has_its_say() -> None:
    """Once, on what is new: what it replaces is what is said, what it refuses is not."""

    class Strict(Review):
        async def review(self, room: str, user: str, text: str) -> str:
            if "red" in text:
                raise Refused("REJECTED", "no bad news")
            return f"{room}, {user}: {text}"

    world = await a_world()
    world.ports = replace(world.ports, review=Strict())
    hook, secret = await made(world)
    assert (await deliver(world, hook, signed(world, secret))).status == 200
    red = b'{"message":"it is red"}'
    refused = await deliver(world, hook, signed(world, secret, red, "msg-2"), red)
    assert (refused.status, refused.refused) == (400, "REJECTED")
    assert await heard(world) == ["general, service#ci: the build is green"]


async def test_when_the_service_is_short_of_breath(monkeypatch: pytest.MonkeyPatch) -> None:
    """503, and when to come again, wherever that was found out; then it is taken."""
    world = await a_world()
    hook, secret = await made(world)

    async def fail(*arguments: Any, **options: Any) -> Any:
        raise Unavailable("throttled")

    async def busy(*arguments: Any, **options: Any) -> Any:
        raise Refused("ROOM_BUSY", "busy", retry_after=0.2)

    for target, name, stand_in, code in (
        (world.webhooks, "hook", fail, "INTERNAL"),
        (world.store, "sending", fail, "INTERNAL"),
        (world.store, "sending", busy, "ROOM_BUSY"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(target, name, stand_in)
            refused = await deliver(world, hook, signed(world, secret))
        assert (refused.status, refused.refused, refused.retry_after) == (503, code, 1)
        assert json.dumps(refused.body)
    assert (await deliver(world, hook, signed(world, secret))).status == 200
    assert await heard(world) == ["the build is green"]
