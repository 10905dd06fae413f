"""Looking for messages: what is found, by whom, and page by page."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.clients import fresh, replied
from tests.e2e.people import Person, person

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def found(someone: Person, room: str, query: str, **fields: Any) -> dict[str, Any]:
    """The `data` of a page."""
    return await replied(someone, "search", {"type": "search", "roomId": room, "query": query, **fields})


def texts(page: dict[str, Any]) -> list[str]:
    return [it["data"]["message"] for it in page["entries"]]


async def test_messages_are_found_by_words_as_people_type_them(ws: str) -> None:
    """All of the words, or their beginnings, whatever their case and accents; the newest first."""
    room = fresh("hall")
    async with person(ws, fresh("ada"), room) as ada, person(ws, fresh("bob"), room) as bob:
        for it in ("Das Café an der Straße", "cafe", "no coffee", "東京タワー", "İstanbul'da kahve"):
            await replied(ada, "ack", {"message": it})
        for query, expected in {
            "CAFÉ": ["cafe", "Das Café an der Straße"],
            "strasse caf": ["Das Café an der Straße"],
            "東京": ["東京タワー"],
            "istanbul": ["İstanbul'da kahve"],
            "offee": [],
        }.items():
            page = await found(bob, room, query)
            assert (texts(page), page["roomId"], page.get("next")) == (expected, room, None)
            assert page["epoch"] > 0


async def test_messages_are_found_as_they_stand_now(ws: str) -> None:
    """Edited ones by what they say by now, deleted ones not at all, answers in threads, too."""
    room = fresh("hall")
    async with person(ws, fresh("ada"), room) as ada:
        for it in ("first needle", "second needle", "third"):
            await replied(ada, "ack", {"message": it})
        await replied(ada, "ack", {"type": "edit_message", "roomId": room, "seq": 1, "message": "only hay"})
        await replied(ada, "ack", {"type": "delete_message", "roomId": room, "seq": 2})
        await replied(ada, "ack", {"message": "a needle in a thread", "replyTo": 3})
        assert texts(await found(ada, room, "needle")) == ["a needle in a thread"]
        assert texts(await found(ada, room, "hay")) == ["only hay"]


async def test_pages_go_on_below_their_cursor(ws: str) -> None:
    """`limit` hits at a time, each once, though more are said meanwhile."""
    room = fresh("hall")
    async with person(ws, fresh("ada"), room) as ada:
        for number in range(7):
            await replied(ada, "ack", {"message": f"needle {number}"})
        page, hits = await found(ada, room, "needle", limit=3), []
        while True:
            hits += texts(page)
            await replied(ada, "ack", {"message": "a later needle"})
            if "next" not in page:
                break
            page = await found(ada, room, "needle", limit=3, cursor=page["next"])
        assert hits == [f"needle {it}" for it in range(6, -1, -1)]


async def test_only_who_reads_a_room_searches_it(ws: str) -> None:
    """Not who is outside, nor in another's inbox; one's own private messages are one's own to find."""
    ada, bob = fresh("ada"), fresh("bob")
    room = fresh("hall")
    async with person(ws, ada, room) as one, person(ws, bob, fresh("attic")) as other:
        await replied(one, "ack", {"message": "needle"})
        await replied(one, "ack", {"type": "private_message", "targetUserId": bob, "message": "private needle"})
        for where in (room, f"inbox#{ada}"):
            refused = await replied(other, "error", {"type": "search", "roomId": where, "query": "needle"})
            assert refused["code"] == "NOT_A_MEMBER"
        for who in (one, other):
            assert texts(await found(who, f"inbox#{who.user}", "needle")) == ["private needle"]
        assert texts(await found(one, room, "needle")) == ["needle"]
