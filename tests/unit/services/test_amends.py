"""Edits, deletions, reactions, threads: what is shown wherever a message is read, and what is left of what it was."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from domain.errors import Unavailable
from domain.protocol import MESSAGE_LIMIT
from domain.review import Refuse, Replace, Verdict
from domain.rooms import Entry, Standing, audit_of, inbox_of
from services.review import PluggedReview
from tests.unit.world import World

ALL = 10**9


async def talking(*names: str, **settings: Any) -> World:
    """Ada and the named are in `general`, and ada has said “helo”, which is seq 1."""
    world = World(**settings)
    for it in ("ada", *names):
        await world.connect(it)
    await world.say("ada", "helo")
    await world.pump()
    return world


async def log(world: World, room: str = "general") -> dict[int, Entry]:
    found = await world.store.room(room)
    assert found is not None
    return {it.seq: it for it in await world.store.entries(room, found.epoch, 0, limit=1_000, max_bytes=ALL)}


async def message(world: World, room: str = "general", seq: int = 1) -> dict[str, Any]:
    return (await log(world, room))[seq].body


async def ask(
    world: World, who: str, kind: str, seq: int = 1, room: str = "general", /, **fields: Any
) -> dict[str, Any]:
    """The data of the answer; of an error, too."""
    reply = await world.ask(who, {"type": kind, "roomId": room, "seq": seq, **fields})
    data: dict[str, Any] = reply["data"]
    return data


def rows_of(world: World) -> str:
    """All that the store holds, as text."""
    return repr(vars(world.store))


# ---- edits


async def test_an_edit_is_pushed_and_shown_wherever_the_message_is_read() -> None:
    """To both devices of its sender and to the others; in history, and for who joins with `since`."""
    world = await talking("bob")
    await world.connect("ada's other", user="ada")
    ack = await ask(world, "ada", "edit_message", message="hello")
    await world.pump()
    for name in ("ada", "ada's other", "bob"):
        [event] = world.events(name, "message_edited")
        told = {it: event["data"].get(it) for it in ("of", "by", "message", "seq")}
        assert told == {"of": 1, "by": "ada", "message": "hello", "seq": 2}
    assert (ack["seq"], ack.get("messageId")) == (2, None)
    page = await world.ask("bob", {"type": "history", "roomId": "general"})
    shown = page["data"]["entries"][0]["data"]
    assert (shown["message"], shown["editedAt"]) == ("hello", world.clock.now())
    joined = await world.ask("bob", {"type": "join_room", "roomId": "general", "since": 0})
    assert joined["data"]["events"][0]["data"]["message"] == "hello"


async def test_a_message_edited_fifty_times_has_its_last_text_and_no_other() -> None:
    """In one read; and no row holds any text that it had before."""
    world = await talking()
    for number in range(50):
        await ask(world, "ada", "edit_message", message=f"text {number:02}")
    entries = await log(world)
    assert entries[1].body["message"] == "text 49"
    assert [it.body.get("message") for it in entries.values()][1:] == [None] * 49 + ["text 49"]
    assert "helo" not in rows_of(world)
    assert "text 48" not in rows_of(world)


async def test_a_worker_that_serves_it_late_pushes_the_latest() -> None:
    """What was stored before the edit went out shows it already; the edit before the last has no text."""
    world = World()
    await world.connect("ada")
    await world.say("ada", "helo")
    for text in ("hallo", "hello"):
        await ask(world, "ada", "edit_message", message=text)
    await world.pump()
    [chat] = world.events("ada", "chat")
    assert chat["data"]["message"] == "hello"
    assert [it["data"].get("message") for it in world.events("ada", "message_edited")] == [None, "hello"]


async def test_edits_at_once_leave_one_text() -> None:
    """Twenty side by side: each is an entry, and the message and the last of them agree."""
    world = await talking()

    async def edit(number: int) -> None:
        request = {"type": "edit_message", "roomId": "general", "seq": 1, "message": f"text {number}"}
        while (await world.ask("ada", request | {"clientId": f"edit-{number:04}"}))["type"] == "error":
            pass

    await asyncio.gather(*(edit(it) for it in range(20)))
    entries = await log(world)
    texts = [it.body["message"] for it in entries.values() if "message" in it.body]
    assert len(entries) == 21
    assert texts == [entries[1].body["message"], entries[21].body["message"]]
    assert texts[0] == texts[1]


# ---- deletions


async def test_a_deletion_leaves_a_tombstone_and_no_text() -> None:
    """Of the message, of its edits, of its reactions; whose it was, and what it answered, stays."""
    world = await talking("bob")
    await world.ask("ada", {"roomId": "general", "message": "secret plan", "replyTo": 1, "mentions": ["bob"]})
    await ask(world, "ada", "edit_message", 2, message="secret plot")
    await ask(world, "bob", "react", 2, emoji="👀")
    before = (await log(world))[2].body
    ack = await ask(world, "ada", "delete_message", 2)
    kept = {it: before[it] for it in ("messageId", "senderId", "senderName", "replyTo", "thread")}
    now = world.clock.now()
    assert await message(world, seq=2) == {**kept, "message": "", "deletedAt": now, "deletedBy": "ada"}
    assert "secret" not in rows_of(world)
    await world.pump()
    [event] = world.events("bob", "message_deleted")
    assert (event["data"]["of"], event["data"]["by"], event["data"]["seq"]) == (2, "ada", ack["seq"])


async def test_what_is_deleted_is_deleted_once_and_answers_to_nothing() -> None:
    """A second deletion is acknowledged with the head, and stores nothing; edits and reactions are refused."""
    world = await talking()
    await ask(world, "ada", "delete_message")
    before = await log(world)
    assert (await ask(world, "ada", "delete_message"))["seq"] == 2
    for kind, more in (("edit_message", {"message": "x"}), ("react", {"emoji": "x"})):
        refused = await ask(world, "ada", kind, **more)
        assert (refused["code"], refused["message"]) == ("BAD_REQUEST", "`seq`: that message was deleted")
    assert await log(world) == before


async def test_moderators_delete_anybodys_and_that_is_kept() -> None:
    """Without being in the room; in the log of what moderators did stands whose it was, and no text."""
    world = await talking("bob")
    await world.connect("mo", room="elsewhere", groups=["moderator"])
    assert (await ask(world, "bob", "delete_message"))["code"] == "FORBIDDEN"
    assert (await ask(world, "mo", "delete_message"))["seq"] == 2
    [kept] = (await log(world, audit_of("general"))).values()
    assert (kept.type, kept.body) == ("message_deleted", {"of": 1, "userId": "ada", "by": "mo"})
    assert (await message(world))["deletedBy"] == "mo"
    page = await world.ask("mo", {"type": "history", "roomId": audit_of("general")})
    assert page["data"]["entries"][0]["data"]["userId"] == "ada"


async def test_an_own_deletion_is_no_moderators_act() -> None:
    """Whoever it is by."""
    world = World()
    await world.connect("mo", groups=["moderator"])
    await world.say("mo", "oops")
    await ask(world, "mo", "delete_message")
    assert await world.store.room(audit_of("general")) is None


# ---- reactions


async def test_reactions_count_each_user_once() -> None:
    """Given twice, taken back twice, by two: the message and every event say how many there are."""
    world = await talking("bob")
    for who in ("ada", "bob", "bob"):
        await ask(world, who, "react", emoji="👍")
    assert (await message(world))["reactions"] == [{"emoji": "👍", "count": 2, "users": ["ada", "bob"]}]
    for _ in range(2):
        await ask(world, "ada", "react", emoji="👍", remove=True)
    assert (await message(world))["reactions"] == [{"emoji": "👍", "count": 1, "users": ["bob"]}]
    await ask(world, "bob", "react", emoji="👍", remove=True)
    assert "reactions" not in await message(world)
    await world.pump()
    told = [
        (it["data"]["userId"], it["data"].get("removed"), it["data"]["count"]) for it in world.events("bob", "reaction")
    ]
    assert told == [("ada", None, 1), ("bob", None, 2), ("ada", True, 1), ("bob", True, 0)]


async def test_ten_are_named_and_all_are_counted() -> None:
    """Thirty at once: none is lost, and none counts twice."""
    world = await talking(*(f"u{it}" for it in range(30)))

    async def tap(who: str) -> None:
        while "code" in await ask(world, who, "react", emoji="🎉"):
            pass

    await asyncio.gather(*(tap(f"u{it}") for it in range(30)))
    [reaction] = (await message(world))["reactions"]
    assert (reaction["count"], len(set(reaction["users"]))) == (30, 10)


async def test_twenty_different_ones_are_the_most() -> None:
    """The next is refused in words; one of those that are there is not."""
    world = await talking("bob")
    for number in range(20):
        assert "seq" in await ask(world, "ada", "react", emoji=f"r{number}")
    refused = await ask(world, "bob", "react", emoji="r20")
    assert (refused["code"], refused["message"]) == ("TOO_LARGE", "A message has at most 20 different reactions")
    assert "seq" in await ask(world, "bob", "react", emoji="r19")


# ---- threads


async def test_answers_are_a_thread_of_the_message_that_began_it() -> None:
    """An answer to an answer is in the same one; the first message says how many there are."""
    world = await talking("bob")
    for to in (1, 2, 1):
        await world.ask("bob", {"roomId": "general", "message": f"to {to}", "replyTo": to})
        await world.say("ada", "beside")
    entries = await log(world)
    assert [entries[it].body.get("thread") for it in (2, 4, 6)] == [1, 1, 1]
    assert entries[1].body["replies"] == {"count": 3, "lastSeq": 6}
    assert await pages(world, 1, limit=3) == [[2, 4, 6], [1]]
    assert await pages(world, 1, limit=3, after=0) == [[1, 2, 4], [6]]
    assert await pages(world, 1, limit=100) == [[1, 2, 4, 6]]
    assert await pages(world, 3, limit=100) == [[3]]


async def pages(world: World, thread: int, **bounds: int) -> list[list[int]]:
    """The seqs of each page of a thread, until there is no next."""
    found = []
    while True:
        reply = await world.ask("bob", {"type": "history", "roomId": "general", "thread": thread, **bounds})
        found.append([it["data"]["seq"] for it in reply["data"]["entries"]])
        if "next" not in reply["data"]:
            return found
        bounds["after" if "after" in bounds else "before"] = reply["data"]["next"]


async def test_a_page_of_a_thread_fits_into_a_frame() -> None:
    """Long answers are cut at an entry, from either end, and none is left out."""
    world = await talking("bob")
    for _ in range(5):
        await world.ask("bob", {"roomId": "general", "message": "x" * 10_000, "replyTo": 1})
    for more in ({}, {"after": 0}):
        found = await pages(world, 1, **more)
        assert sorted(seq for page in found for seq in page) == [1, 2, 3, 4, 5, 6]
        assert len(found) > 1


async def test_what_is_answered_has_to_be_there() -> None:
    """A seq beyond the head, and one of what is no message, are refused; a tombstone goes on being answered."""
    world = await talking("mo")
    await ask(world, "ada", "delete_message")
    for seq in (0, 2, 99):
        refused = (await world.ask("ada", {"message": "x", "replyTo": seq}))["data"]
        assert (refused["code"], refused["message"]) == ("BAD_REQUEST", "`replyTo`: there is no message at that seq")
    assert (await world.ask("ada", {"message": "x", "replyTo": 1}))["type"] == "ack"


# ---- private messages


async def whispered(**settings: Any) -> World:
    """Ada has told bob “psst”: seq 1 of her inbox, and 2 of his, since he had one before."""
    world = World(**settings)
    for it in ("ada", "bob", "eve"):
        await world.connect(it)
    await world.connect("ada's other", user="ada")
    await world.ask("eve", {"type": "private_message", "targetUserId": "bob", "message": "hi"})
    await world.ask("ada", {"type": "private_message", "targetUserId": "bob", "message": "psst"})
    await world.pump()
    return world


async def test_both_copies_of_a_private_message_change() -> None:
    """By its sender's edit, by either's reaction, and by the deletion; each device of both is told."""
    world = await whispered()
    own, theirs = inbox_of("ada"), inbox_of("bob")
    ack = await ask(world, "ada", "edit_message", 1, own, message="pssst")
    assert (ack["roomId"], ack["seq"]) == (own, 2)
    await ask(world, "bob", "react", 2, theirs, emoji="👂")
    for room, seq in ((own, 1), (theirs, 2)):
        body = await message(world, room, seq)
        assert (body["message"], body["reactions"]) == ("pssst", [{"emoji": "👂", "count": 1, "users": ["bob"]}])
    await world.pump()
    for name, of in (("ada", 1), ("ada's other", 1), ("bob", 2)):
        events = [(it["type"], it["data"]["of"]) for it in world.events(name, "message_edited", "reaction")]
        assert events == [("message_edited", of), ("reaction", of)]
    assert world.events("eve", "message_edited", "reaction") == []
    await ask(world, "ada", "delete_message", 1, own)
    assert "pssst" not in rows_of(world)
    for room, seq in ((own, 1), (theirs, 2)):
        assert (await message(world, room, seq))["deletedBy"] == "ada"
    page = await world.ask("bob", {"type": "history", "roomId": theirs})
    assert page["data"]["entries"][1]["data"]["message"] == ""


@pytest.mark.parametrize(("kind", "more"), [("edit_message", {"message": "x"}), ("delete_message", {})])
async def test_only_its_sender_changes_a_private_message(kind: str, more: dict[str, Any]) -> None:
    """Not who got it, be they a moderator everywhere; and nobody touches what is in another's inbox."""
    world = await whispered()
    await world.connect("bob's other", user="bob", groups=["moderator", "admin"])
    for name in ("bob", "bob's other"):
        assert (await ask(world, name, kind, 2, inbox_of("bob"), **more))["code"] == "FORBIDDEN"
    for name in ("eve", "ada"):
        assert (await ask(world, name, kind, 2, inbox_of("bob"), **more))["code"] == "NOT_A_MEMBER"
    assert (await message(world, inbox_of("bob"), 2))["message"] == "psst"


async def test_a_note_to_oneself_has_one_copy() -> None:
    """And changes like any other."""
    world = World()
    await world.connect("ada")
    await world.ask("ada", {"type": "private_message", "targetUserId": "ada", "message": "milk"})
    await ask(world, "ada", "edit_message", 1, inbox_of("ada"), message="oat milk")
    assert (await message(world, inbox_of("ada")))["message"] == "oat milk"


async def test_a_private_message_from_before_stays_as_it_is() -> None:
    """Where its other copy is was not remembered."""
    world = await whispered()
    inbox = await world.store.room(inbox_of("ada"))
    assert inbox is not None
    entries = world.store._entries[inbox.room, inbox.epoch]
    entries[1] = replace(entries[1], beside={})
    assert (await ask(world, "ada", "edit_message", 1, inbox.room, message="x"))["code"] == "BAD_REQUEST"


# ---- rights, limits, repeats


async def test_who_may_not_write_may_not_edit_or_react() -> None:
    """The muted, the guests, and who is not in the room; a muted user may still take an own message away."""
    world = await talking("bob")
    await world.connect("eve", room="elsewhere")
    await world.store.set_standing("general", "ada", Standing(muted_until=world.clock.now() + 60_000))
    for kind, more in (("edit_message", {"message": "x"}), ("react", {"emoji": "x"})):
        assert (await ask(world, "ada", kind, **more))["code"] == "MUTED"
        assert (await ask(world, "eve", kind, **more))["code"] == "NOT_A_MEMBER"
    assert (await ask(world, "bob", "edit_message", message="x"))["code"] == "FORBIDDEN"
    await world.store.set_standing("general", "bob", Standing(role="guest"))
    assert (await ask(world, "bob", "react", emoji="x"))["code"] == "FORBIDDEN"
    assert (await ask(world, "ada", "delete_message"))["seq"] == 2


async def test_windows_bind_senders_and_not_moderators() -> None:
    """Within the seconds that the stage allows; after that only a moderator deletes."""
    world = await talking()
    world.ports = replace(world.ports, rules=replace(world.rules, edit_window=10, delete_window=20))
    world.clock.advance(10)
    assert "seq" in await ask(world, "ada", "edit_message", message="in time")
    world.clock.advance(0.001)
    late = await ask(world, "ada", "edit_message", message="late")
    assert (late["code"], late["message"]) == ("FORBIDDEN", "A message can be edited for 10 seconds after it was sent")
    world.clock.advance(10)
    assert (await ask(world, "ada", "delete_message"))["code"] == "FORBIDDEN"
    await world.connect("mo", groups=["moderator"])
    assert "seq" in await ask(world, "mo", "delete_message")


BAD = [
    ("edit_message", {"message": " \n"}, "EMPTY_MESSAGE"),
    ("edit_message", {"message": "x" * (MESSAGE_LIMIT + 1)}, "TOO_LARGE"),
    ("edit_message", {"message": "\x00" * 8_000}, "TOO_LARGE"),
    ("edit_message", {"message": "x", "seq": 2}, "BAD_REQUEST"),
    ("edit_message", {"message": "x", "roomId": "audit#general"}, "BAD_REQUEST"),
    ("edit_message", {"message": "x", "roomId": "nowhere"}, "ROOM_NOT_FOUND"),
    ("delete_message", {"seq": 3}, "BAD_REQUEST"),
    ("delete_message", {"roomId": "nowhere"}, "ROOM_NOT_FOUND"),
    ("react", {"emoji": ""}, "BAD_REQUEST"),
    ("react", {"emoji": "a b"}, "BAD_REQUEST"),
    ("react", {"emoji": "x" * 33}, "BAD_REQUEST"),
    ("react", {"emoji": "x", "seq": 99}, "BAD_REQUEST"),
]


@pytest.mark.parametrize(("kind", "more", "code"), BAD)
async def test_what_is_wrong_changes_nothing(kind: str, more: dict[str, Any], code: str) -> None:
    """One clear refusal; seq 2 is no message."""
    world = await talking()
    await ask(world, "ada", "react", emoji="👍")
    before = await log(world)
    assert (await ask(world, "ada", kind, **more))["code"] == code
    assert await log(world) == before


@pytest.mark.parametrize(
    ("kind", "more"), [("edit_message", {"message": "hello"}), ("delete_message", {}), ("react", {"emoji": "👍"})]
)
async def test_a_request_sent_ten_times_is_carried_out_once(kind: str, more: dict[str, Any]) -> None:
    """Side by side, and once more after another has changed what it did; the same clientId for another is refused."""
    world = await talking()
    request = {"type": kind, "roomId": "general", "seq": 1, "clientId": "the-same-id", **more}
    replies = await asyncio.gather(*(world.ask("ada", request) for _ in range(10)))
    assert all(it == replies[0] for it in replies)
    assert replies[0]["type"] == "ack"
    assert len(await log(world)) == 2
    if kind != "delete_message":
        await ask(
            world, "ada", kind, **({"message": "hi"} if kind == "edit_message" else {"emoji": "👍", "remove": True})
        )
        changed = await log(world)
        assert await world.ask("ada", request) == replies[0]
        assert await log(world) == changed
    assert (await world.ask("ada", request | {"seq": 2}))["data"]["code"] == "BAD_REQUEST"


async def test_who_finds_it_done_rings_for_who_died() -> None:
    """The first deletion was stored and never told of; the second stores nothing, and is told of all the same."""
    world = await talking("bob")
    ring = world.queue.ring

    async def crash(lane: str, jobs: object) -> None:
        raise Unavailable("the function died before it rang")

    world.queue.ring = crash  # type: ignore[method-assign]  # a crash at exactly this point
    assert (await ask(world, "ada", "delete_message"))["code"] == "INTERNAL"
    world.queue.ring = ring  # type: ignore[method-assign]  # whole again
    assert (await ask(world, "ada", "delete_message"))["seq"] == 2
    await world.pump()
    assert len(world.events("bob", "message_deleted")) == 1


async def test_a_message_that_time_takes_meanwhile_does_not_rise_again() -> None:
    """Between the read and the write: the request is refused as one about what is not there."""
    world = await talking()
    append = world.store.append

    async def expire(*args: Any) -> None:
        world.store._entries["general", args[0][0].read.epoch].pop(1, None)
        await append(*args)

    world.store.append = expire  # type: ignore[method-assign,assignment]  # at exactly this point
    assert (await ask(world, "ada", "edit_message", message="x"))["code"] == "BAD_REQUEST"
    assert await log(world) == {}


async def test_an_edit_is_reviewed_like_a_message() -> None:
    """Refused, or with another text in its place."""
    world = await talking()

    async def review(room: str, user: str, text: str) -> Verdict:
        return Refuse("no") if text == "bad" else Replace(f"{room}: {text}")

    world.ports = replace(world.ports, review=PluggedReview(review))
    assert (await ask(world, "ada", "edit_message", message="bad"))["code"] == "REJECTED"
    await ask(world, "ada", "edit_message", message="good")
    assert (await message(world))["message"] == "general: good"


async def test_every_entry_still_fits_into_a_frame() -> None:
    """The longest message there is, answered and reacted to until no more is let in."""
    world = await talking("bob")
    longest = "\x00" * 5_150
    await world.ask("ada", {"roomId": "general", "message": longest})
    answered = await world.ask("bob", {"roomId": "general", "message": "x", "replyTo": 2})
    assert answered["type"] == "ack"
    codes = {(await ask(world, "bob", "react", 2, emoji=f"{'🎉' * 30}{it}")).get("code") for it in range(15)}
    assert codes == {None, "TOO_LARGE"}
    page = await world.ask("bob", {"type": "history", "roomId": "general", "before": 3, "limit": 1})
    assert len(json.dumps(page, separators=(",", ":"), ensure_ascii=False).encode()) <= 32 * 1024
