"""The deployment's own review: what becomes of a message, when it is asked, and what holds when it fails."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from adapters.observability import metrics
from domain.errors import BadSetting, Conflict
from domain.protocol import MESSAGE_LIMIT
from domain.review import Allow, Refuse, Replace, Reviewer, Verdict
from services.review import PluggedReview, plugged_review
from tests.unit.world import World


@pytest.fixture(autouse=True)
def _no_metrics_left() -> Iterator[None]:
    yield
    metrics.clear_metrics()


class Reviews:
    """A reviewer that answers what it is told to, and remembers what it was asked."""

    def __init__(self, verdict: Any = None) -> None:
        self.verdict: Verdict = verdict or Allow()
        self.asked: list[tuple[str, str, str]] = []

    async def __call__(self, room: str, user: str, text: str) -> Verdict:
        self.asked.append((room, user, text))
        return self.verdict


async def world_with(reviewer: Reviewer, fails: str = "closed", **options: Any) -> World:
    """Ada and Bob in a room whose messages are reviewed."""
    world = World()

    async def review(room: str, user: str, text: str) -> Any:
        return await reviewer(room, user, text)  # type: ignore[misc]

    asked = review if isinstance(reviewer, Reviews) else reviewer
    world.ports = replace(world.ports, review=PluggedReview(asked, fails, **options))
    for name in ("ada", "bob"):
        await world.connect(name)
    return world


async def test_it_allows_refuses_and_replaces() -> None:
    """As it says: a refusal stores nothing, a replacement is what everybody gets."""
    reviews = Reviews()
    world = await world_with(reviews)
    await world.say("ada", "hello")
    reviews.verdict = Refuse("No shouting")
    reply = await world.ask("ada", {"type": "chat", "message": "HELLO", "clientId": "request-1"})
    assert reply["data"] == {"code": "REJECTED", "message": "No shouting", "request": "chat", "clientId": "request-1"}
    reviews.verdict = Replace("h*ll")
    await world.say("ada", "hell")
    await world.pump()
    for name in ("ada", "bob"):
        assert world.messages(name) == ["hello", "h*ll"]
    assert reviews.asked == [("general", "ada", it) for it in ("hello", "HELLO", "hell")]


async def test_private_messages_are_reviewed_too() -> None:
    """In both copies; the room is the target's inbox."""
    reviews = Reviews(Replace("***"))
    world = await world_with(reviews)
    await world.connect("ada-2", user="ada")
    assert (await world.ask("ada", {"type": "private_message", "targetUserId": "bob", "message": "psst"}))[
        "type"
    ] == "ack"
    await world.pump()
    for name in ("ada-2", "bob"):
        assert [it["data"]["message"] for it in world.events(name, "private_message")] == ["***"]
    assert reviews.asked == [("inbox#bob", "ada", "psst")]
    reviews.verdict = Refuse("no")
    reply = await world.ask("ada", {"type": "private_message", "targetUserId": "bob", "message": "psst"})
    assert reply["data"]["code"] == "REJECTED"


async def test_a_repeat_gets_its_first_reply_whatever_it_says_now() -> None:
    """It is not even asked; and the digest is of what was sent, not of what was stored."""
    reviews = Reviews(Replace("other"))
    world = await world_with(reviews)
    request = {"type": "chat", "message": "hello", "clientId": "request-1"}
    first = await world.ask("ada", request)
    reviews.verdict = Refuse("no")
    assert await world.ask("ada", request) == first
    assert len(reviews.asked) == 1
    assert (await world.ask("ada", {**request, "message": "other"}))["data"]["code"] == "BAD_REQUEST"


async def test_it_is_asked_once_however_often_the_room_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    """A conflict drafts anew, with the same text."""
    reviews = Reviews(Replace("calm"))
    world = await world_with(reviews)
    append, conflicts = world.store.append, [Conflict("moved")] * 3

    async def meet_others(*arguments: Any) -> None:
        if conflicts:
            raise conflicts.pop()
        await append(*arguments)

    monkeypatch.setattr(world.store, "append", meet_others)
    await world.say("ada", "hot")
    await world.pump()
    assert world.messages("bob") == ["calm"]
    assert len(reviews.asked) == 1


async def test_who_may_not_write_is_not_reviewed() -> None:
    """The room's own refusal comes first."""
    reviews = Reviews()
    world = await world_with(reviews)
    reply = await world.ask("ada", {"type": "chat", "roomId": "elsewhere", "message": "hi"})
    assert reply["data"]["code"] == "ROOM_NOT_FOUND"
    assert reviews.asked == []


async def never(room: str, user: str, text: str) -> Verdict:
    await asyncio.Event().wait()
    raise AssertionError


async def raises(room: str, user: str, text: str) -> Verdict:
    raise KeyError(text)


def _answers(verdict: Any) -> Any:
    return Reviews(verdict)


@pytest.mark.parametrize(
    "reviewer",
    [
        never,
        raises,
        _answers("fine"),
        _answers(True),
        _answers(Replace("  ")),
        _answers(Replace("x" * (MESSAGE_LIMIT + 1))),
        _answers(Replace(None)),  # type: ignore[arg-type]
        _answers(Refuse(None)),  # type: ignore[arg-type]
    ],
)
@pytest.mark.parametrize("fails", ["open", "closed"])
async def test_what_holds_when_it_fails(reviewer: Reviewer, fails: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Open: the message as it is. Closed: INTERNAL with retryAfter, so that the client sends it again. Counted in both
    cases, and logged without a word of it."""
    world = await world_with(reviewer, fails, deadline=0.01)
    reply = await world.ask("ada", {"type": "chat", "message": "a secret", "clientId": "request-1"})
    await world.pump()
    if fails == "open":
        assert reply["type"] == "ack"
        assert world.messages("bob") == ["a secret"]
    else:
        assert (reply["data"]["code"], reply["data"]["retryAfter"]) == ("INTERNAL", 1)
        assert world.messages("bob") == []
    assert metrics.metric_set["ReviewsFailed"]["Value"] == [1]
    assert "secret" not in capsys.readouterr().out


async def test_one_that_blocks_is_left_at_the_deadline() -> None:
    """A plain function runs in a thread, and may be late alone."""
    done = threading.Event()

    def blocks(room: str, user: str, text: str) -> Verdict:
        done.wait(30)
        return Allow()

    world = await world_with(blocks, "open", deadline=0.01)
    try:
        await world.say("ada", "hello")
    finally:
        done.set()


async def test_a_plain_function_is_asked() -> None:
    """Whatever it returns, or what that comes to when it is awaited."""

    def plain(room: str, user: str, text: str) -> Verdict:
        return Replace(text.upper())

    async def later(text: str) -> Verdict:
        return Replace(text.title())

    for reviewer, expected in ((plain, "HELLO"), (lambda room, user, text: later(text), "Hello")):
        world = await world_with(reviewer)
        await world.say("ada", "hello")
        await world.pump()
        assert world.messages("bob") == [expected]


def test_settings() -> None:
    """Imported once; none is none; what can't be is said with a remedy."""
    assert plugged_review("", "", "closed") is None
    assert plugged_review("services.review:_checked", "", "open") is plugged_review(
        "services.review:_checked", "", "open"
    )
    assert isinstance(plugged_review("", "one,two", "open"), PluggedReview)


@pytest.mark.parametrize(
    ("review", "words", "says"),
    [
        ("hooks.nothing:review", "", "review=hooks.nothing:review: it can't be imported .No module named.* hooks/"),
        ("services.review:nothing", "", "can't be imported .*nothing"),
        ("services.review:DEADLINE", "", "that is no function"),
        ("services.review", "", "write MODULE:FUNCTION"),
        (":review", "", "write MODULE:FUNCTION"),
        ("services.review:_checked", "one", "only one of them"),
    ],
)
def test_a_review_that_can_not_be(review: str, words: str, says: str) -> None:
    """By one sentence that names the setting and the remedy."""
    with pytest.raises(BadSetting, match=says):
        plugged_review(review, words, "closed")
    assert "hooks" not in sys.modules


WORDS = "damn,Straße, two words ,,"


@pytest.mark.parametrize(
    "text",
    [
        "damn",
        "Oh DAMN!",
        "dämn it",
        "da\u0301mn",
        "d\u200ba\u00adm\ufeffn",
        "well,damn.",
        "a damn_thing",
        "STRASSE",
        "strasse 7",
        "two words",
        "Two\n  WORDS",
        "ｄａｍｎ",
    ],
)
async def test_a_word_is_found(text: str) -> None:
    """Whatever its case, its accents, and what has no width between its letters."""
    world = World()
    world.ports = replace(world.ports, review=plugged_review("", WORDS, "closed"))
    await world.connect("ada")
    assert (await world.ask("ada", {"type": "chat", "message": text}))["data"]["code"] == "REJECTED"


@pytest.mark.parametrize(
    "text", ["damned", "goddamn", "two", "words two", "two big words", "dam n", "strass", "…", "٧"]
)
async def test_other_words_are_not(text: str) -> None:
    """Whole words alone, in their order."""
    world = World()
    world.ports = replace(world.ports, review=plugged_review("", WORDS, "closed"))
    await world.connect("ada")
    await world.say("ada", text)
