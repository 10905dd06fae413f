"""Messages as they are by now: entries in their order, however late each was read, come to what the service shows."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from msgspec import UNSET

from client.events import read_event
from client.messages import Message, Messages
from client.session import Session
from domain.events import Chat, MessageDeleted, Reacted
from domain.fanout import encode_entry
from domain.rooms import Entry
from tests.unit.world import World

EMOJIS = ("👍", "👎", "🎉")


async def told(world: World) -> list[bytes]:
    """The events of the log as they are read now."""
    room = await world.store.room("general")
    assert room is not None
    entries: list[Entry] = await world.store.entries("general", room.epoch, 0, limit=1_000, max_bytes=10**9)
    return [encode_entry("general", room.epoch, it) for it in entries]


async def act(world: World, draw: random.Random, head: int) -> None:
    """Something that a user may do, or that is refused."""
    who, seq = draw.choice(("ada", "bob", "cy")), draw.randint(1, head)
    requests: list[dict[str, Any]] = [
        {"message": f"text {draw.random()}"},
        {"message": "an answer", "replyTo": seq},
        {"type": "edit_message", "seq": seq, "message": f"edit {draw.random()}"},
        {"type": "edit_message", "seq": seq, "message": f"edit {draw.random()}"},
        {"type": "react", "seq": seq, "emoji": draw.choice(EMOJIS)},
        {"type": "react", "seq": seq, "emoji": draw.choice(EMOJIS), "remove": True},
    ]
    if draw.random() < 0.2:
        requests = [{"type": "delete_message", "seq": seq}]
    await world.ask(who, {"roomId": "general", **draw.choice(requests)})


@pytest.mark.parametrize("seed", range(20))
async def test_whenever_each_entry_was_read_the_end_is_the_same(seed: int) -> None:
    """Each is given as it was when somebody read it, between its own moment and the end."""
    draw, world = random.Random(seed), World(seed)
    for it in ("ada", "bob", "cy"):
        await world.connect(it)
    await world.say("ada", "the first")
    readings = [await told(world)]
    for _ in range(60):
        await act(world, draw, len(readings[-1]))
        world.clock.advance(1)
        readings.append(await told(world))
    await world.ask("ada", {"type": "delete_message", "roomId": "general", "seq": 1})
    readings.append(await told(world))
    last = readings[-1]
    messages = Messages()
    for seq in range(1, len(last) + 1):
        messages.apply(read_event(draw.choice([it for it in readings if len(it) >= seq])[seq - 1]))
    kept = {seq: event for seq, frame in enumerate(last, 1) if isinstance(event := read_event(frame), Chat)}
    assert len(messages) == len(kept)
    for seq, shown in kept.items():
        assert comparable(messages.get("general", shown.epoch, seq)) == comparable(shown), seq
    assert kept[1].deleted_by == "ada"


def comparable(message: Message | None) -> Any:
    """A message; which reaction was given first, and so comes first, is no part of it."""
    assert message is not None
    reactions = [] if message.reactions is UNSET else message.reactions
    return {name: getattr(message, name) for name in message.__struct_fields__ if name != "reactions"} | {
        "reactions": sorted((it.emoji, it.count, it.users) for it in reactions)
    }


def test_what_is_about_nothing_that_is_known_passes() -> None:
    """As to a client that has joined after the message; and the oldest are forgotten."""
    messages = Messages(remembered=2)
    place: dict[str, Any] = {"room_id": "tea", "timestamp": 1, "sent_at": 1_000, "epoch": 1}
    assert messages.apply(MessageDeleted(**place, seq=9, of=1, by="ada")) is None
    for seq in (1, 2, 3):
        messages.apply(Chat(**place, seq=seq, message_id="m", sender_id="ada", sender_name="Ada", message="x"))
    assert messages.get("tea", 1, 1) is None
    changed = messages.apply(Reacted(**place, seq=4, of=2, user_id="bob", emoji="👍", count=12, users=["bob"]))
    assert changed is not None
    assert changed == messages.get("tea", 1, 2)


def test_the_ack_of_an_edit_stands_for_no_copy() -> None:
    """A private message's own copy is had with its ack; an edit of it is pushed to who asked for it as well, and the
    ack of what changed nothing names a seq that may not have come."""
    session = Session("den", new_id=iter(f"id-{it}" for it in range(9)).__next__, draw=random.Random(1))
    session.connected(0.0)
    inbox = {"epoch": 1, "seq": 4}
    words = {"connectionId": "c", "userId": "u", "message": "hi", "protocol": 1, "timestamp": 1, "sentAt": 5_000}
    give(session, "welcome", **words, roomId="den", epoch=1, head=0, inbox=inbox, reconnectAt=9_000_000)
    give(session, "ack", roomId="inbox#u", epoch=1, seq=5)
    assert session.cursor("inbox#u") == (1, 4)
    place = {"roomId": "inbox#u", "epoch": 1, "timestamp": 1, "sentAt": 1_000}
    [edited] = give(session, "message_edited", **place, seq=5, of=3, by="u", message="x")
    assert edited.of == 3
    assert session.cursor("inbox#u") == (1, 5)


def give(session: Session, kind: str, **data: Any) -> Any:
    return session.receive(json.dumps({"type": kind, "data": data}), 0.0)
