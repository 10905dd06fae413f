"""What is posted to incoming webhooks: the path's hook, headers and body, through the HTTP API's event, in memory."""

from __future__ import annotations

import json
import random
from collections.abc import Hashable, Sequence

from domain.webhooks import Hook, new_secret, sign, signatures
from local.http_api import HOOKS, Posted, http_event
from services.deliveries import Answer
from services.incoming import take
from tests.fuzz.mutations import TEXTS
from tests.fuzz.target import Target
from tests.fuzz.targets.requests import CheckingWorld, check_words

__all__ = ["Deliveries"]

SECRET = new_secret(bytes(32))
KEY = "0123456789abcdef"
RIGHT = "right"
"""Stands for the signature that is right."""
NOW = "now"
"""Stands for the time."""
NAMES = ("Build 7", "Ada Löwe", *TEXTS[:20])


class Deliveries(Target):
    """The path behind `/hooks/`, headers a line each, an empty line, and the body.

    Never an exception. 200, and one message is the room's next entry and heard, with the text of the body, under the
    hook; or an error of the wire's table with printable words, and the room is as before. What is not signed is
    answered in one way, whatever else it is, unless it is too large.
    """

    name = "deliveries"
    folders = ("services", "domain", "local")
    tokens = (
        *(f"{it}: ".encode() for it in ("webhook-id", "Webhook-Timestamp", "webhook-signature", "content-type")),
        *(b"general~" + KEY.encode(), b"~", b"%2F", b"%7E", b"%00", b"\n\n", RIGHT.encode(), NOW.encode(), b"v1,"),
        *(b'"message"', b'"name"', b'"hi"', b'"\\ud800"', b"\\u0041", b"{", b"}", b"[", b":", b",", b"null"),
        *(b"content-encoding: gzip", b"application/json", b"text/plain", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf"),
    )

    def draw(self, draw: random.Random) -> bytes:
        body: dict[str, object] = {"message": draw.choice(TEXTS) if draw.random() < 0.5 else "hi"}
        if draw.random() < 0.3:
            body["name"] = draw.choice(NAMES)
        headers = {"webhook-id": draw.choice(("msg_1", "x" * 256)), "webhook-timestamp": NOW}
        headers["webhook-signature"] = draw.choice((RIGHT, RIGHT, RIGHT, f"v1,abc {RIGHT}", "v1,abc", ""))
        if draw.random() < 0.7:
            headers["content-type"] = draw.choice(("application/json", "text/plain", "application/octet-stream"))
        lines = [f"{name}: {value}" for name, value in headers.items() if draw.random() < 0.97]
        path = f"general~{KEY}" if draw.random() < 0.9 else draw.choice(("general", "nowhere~" + KEY, "%00"))
        return "\n".join([path, *lines, "", json.dumps(body)]).encode()

    async def take(self, given: bytes) -> Hashable:
        head, _, body = given.partition(b"\n\n")
        path, *lines = head.decode("latin-1").split("\n")
        world = CheckingWorld()
        await world.connect("ada")
        room = await world.store.room("general")
        assert room is not None
        hook = Hook("general", KEY, room.epoch, "incoming", "ci", SECRET, 1, "service#ops")
        await world.webhooks.put(room, None, hook)
        now = world.clock.now()
        headers = _completed([it.partition(":")[::2] for it in lines], now // 1000, body)
        posted = Posted(f"{HOOKS}{path}", "", headers, body, "127.0.0.1")
        # As the function gets it: through JSON.
        event = json.loads(json.dumps(http_event(posted, now)))
        answers = [await take(world.ports, event, f"request-{it}") for it in range(2)]
        await world.pump()
        stored = await world.store.entries("general", room.epoch, 0, limit=10, max_bytes=1_000_000)
        [first, again] = answers
        assert first.body == again.body, "the same delivery has the same answer"
        assert [str(it.body["message"]) for it in stored] == world.messages("ada")
        if first.status == 200:
            [entry] = stored
            assert (entry.sender, entry.body["message"]) == ("service#ci", json.loads(body)["message"])
            return 200, "name" in json.loads(body)
        assert stored == []
        if first.status == 401:
            unsigned = {"headers": {}, "pathParameters": {"hook": f"general~{KEY}"}}
            assert first == await take(world.ports, unsigned, "request-2")
        return _refusal(first, event["headers"], body)


def _completed(pairs: Sequence[Sequence[str]], now: int, body: bytes) -> list[tuple[str, str]]:
    """The headers, with the time and the signature where they are asked for."""
    headers = [(name, value.strip().replace(NOW, str(now))) for name, value in pairs if name]
    webhook = next((value for name, value in headers if name.lower() == "webhook-id"), "")
    right = sign(SECRET, webhook, now, body)
    return [(name, value.replace(RIGHT, right)) for name, value in headers]


def _refusal(answer: Answer, headers: dict[str, str], body: bytes) -> Hashable:
    error = answer.body["error"]
    check_words(error["code"], error["message"])
    assert (error["code"], answer.retry_after) == (answer.refused, None)
    assert answer.status in {400, 401, 413}
    if answer.status == 400:
        # Only who has the secret is told what was wrong with it.
        shown = headers["webhook-signature"].split(" ")
        known = signatures([SECRET], headers["webhook-id"], int(headers["webhook-timestamp"]), body)
        assert known["webhook-signature"] in shown
    return answer.status, answer.refused
