"""Conversations by hand: what chance brings about too seldom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.golden.hall import wire
from tests.golden.player import Draws, Player

__all__ = ["SCRIPTS", "scripted"]

Json = dict[str, Any]
PLACE: Json = {"roomId": "den", "epoch": 1}
ENTRY: Json = {**PLACE, "timestamp": 1, "sentAt": 1000, "messageId": "m", "senderId": "bob", "senderName": "bob"}
READ: Json = {"roomId": "inbox#me", "userId": "me", "epoch": 1, "timestamp": 1, "sentAt": 1000}
WORDS: Json = {"targetUserId": "it", "message": "psst"}
DELETED: Json = {"epoch": 1, "timestamp": 1, "sentAt": 1000, "of": 1, "by": "bob"}
JOINED: Json = {"epoch": 1, "head": 0, "recovered": False, "events": []}
Step = tuple[float, *tuple[Any, ...]]


def _welcome(head: int, **inbox: int) -> Json:
    words = {"connectionId": "c", "userId": "me", "message": "hi", "protocol": 1, "timestamp": 1, "sentAt": 1000}
    return wire("welcome", **PLACE, **words, head=head, inbox={"epoch": 1, "seq": 0, **inbox}, reconnectAt=6_901_000)


def _chat(seq: int) -> Json:
    return wire("chat", **ENTRY, seq=seq, message=f"t{seq}")


def _page(client_id: str, head: int, *seqs: int, **more: int) -> Json:
    return wire("history", clientId=client_id, **PLACE, head=head, entries=[_chat(it) for it in seqs], **more)


def _refused_once_more(at: int) -> Sequence[Step]:
    """History is asked for every ten seconds, as the session wants it five after each refusal."""
    error = {"code": "ROOM_NOT_FOUND", "message": "no", "request": "history"}
    number = (at - 3) // 10 + 1
    again = (float(at + 5), "tick")
    return (float(at), "receive", wire("error", **error, clientId=f"id-{number:05}")), again


BEGIN: Sequence[Step] = ((1.0, "connected", None), (1.0, "receive", _welcome(2)))
SCRIPTS: Mapping[str, Sequence[Step]] = {
    "What fits into no frame is refused": (
        *BEGIN,
        (2.0, "send", "den", "ü" * 17_000, {}),
        (2.0, "send", "den", "", {}),
        (2.0, "send_private", "bob", ""),
        (3.0, "look"),
    ),
    "History begins later than what was missing": (
        *BEGIN,
        (2.0, "receive", _chat(8)),
        (3.0, "receive", _page("id-00001", 8, 6, 7, 8)),
        (4.0, "receive", _chat(12)),
        (5.0, "receive", _page("id-00002", 14, 10, next=10)),
        (6.0, "receive", _page("id-00003", 14)),
        (7.0, "look"),
    ),
    "History lacks what is between two entries that have come": (
        *BEGIN,
        (2.0, "receive", _chat(5)),
        (2.0, "receive", _chat(8)),
        (3.0, "receive", _page("id-00001", 9)),
        (4.0, "look"),
    ),
    "The inbox is read elsewhere": (
        (1.0, "connected", None),
        (1.0, "receive", _welcome(2, seq=7, read=5, unread=2)),
        (2.0, "read", "inbox#me", 4),
        (2.0, "read", "inbox#me", 6),
        (2.5, "receive", wire("read", clientId="id-00001", **READ, seq=6, unread=1)),
        (3.0, "receive", wire("read", **READ, seq=7, unread=0)),
        (3.0, "receive", wire("read", **READ, seq=7, unread=0)),
        (3.0, "read", "inbox#me", 7),
    ),
    "History of a room that is deleted is refused for a minute": (
        *BEGIN,
        (2.0, "receive", _chat(5)),
        *(it for at in range(3, 73, 10) for it in _refused_once_more(at)),
    ),
    "What becomes of a private message is no copy of one's own": (
        (1.0, "connected", None),
        (1.0, "receive", _welcome(2, seq=3)),
        (2.0, "ask", {"type": "react", "roomId": "inbox#me", "seq": 1, "emoji": "+"}),
        (2.5, "receive", wire("ack", clientId="id-00001", roomId="inbox#me", epoch=1, seq=4)),
        (2.5, "receive", wire("message_deleted", **{**DELETED, "roomId": "inbox#me"}, seq=4)),
    ),
    "A pong does not name a room that objects have from birth": (
        *BEGIN,
        (2.0, "join", "constructor"),
        (2.5, "receive", wire("joined", **JOINED, roomId="constructor", clientId="id-00001")),
        (3.0, "ping"),
        (3.5, "receive", wire("pong", clientId="id-00002", time=1, heads={"den": {"epoch": 1, "seq": 2}})),
    ),
    "Somebody else's inbox is pushed before it is known who we are": (
        (1.0, "connected", None),
        (1.0, "receive", wire("private_message", **{**ENTRY, "roomId": "inbox#it"}, **WORDS, seq=3)),
        (1.0, "receive", wire("private_message", **{**ENTRY, "roomId": "inbox#it"}, **WORDS, seq=5)),
        (1.5, "receive", _welcome(2)),
    ),
    "A room's join is answered once more while it is left": (
        *BEGIN,
        (2.0, "join", "nook"),
        (2.5, "receive", wire("joined", **JOINED, roomId="nook", clientId="id-00001")),
        (3.0, "leave", "nook"),
        (3.5, "receive", wire("joined", **JOINED, roomId="nook", clientId="id-00001")),
        (4.0, "receive", wire("left", clientId="id-00002", roomId="nook")),
        (4.5, "receive", wire("left", clientId="id-00003", roomId="nook")),
        (5.0, "look"),
    ),
    "A room's join is answered once more while it is left and joined": (
        *BEGIN,
        (2.0, "join", "nook"),
        (2.5, "receive", wire("joined", **JOINED, roomId="nook", clientId="id-00001")),
        (3.0, "leave", "nook"),
        (3.0, "join", "nook"),
        (3.5, "receive", wire("joined", **JOINED, roomId="nook", clientId="id-00001")),
        (4.0, "receive", wire("left", clientId="id-00002", roomId="nook")),
        (4.5, "receive", wire("joined", **JOINED, roomId="nook", clientId="id-00003")),
        (5.0, "look"),
    ),
    "A room is left while its history is asked for": (
        *BEGIN,
        (2.0, "receive", _chat(5)),
        (2.5, "leave", "den"),
        (3.0, "receive", wire("left", clientId="id-00002", roomId="den")),
        (3.5, "receive", _page("id-00001", 5, 3, 4, 5)),
        (4.0, "receive", _chat(6)),
        (9.5, "receive", _chat(6)),
    ),
    "A room is left while its history is asked for, which is refused": (
        *BEGIN,
        (2.0, "receive", _chat(5)),
        (2.5, "leave", "den"),
        (3.0, "receive", wire("left", clientId="id-00002", roomId="den")),
        (3.5, "receive", wire("error", code="NOT_A_MEMBER", message="no", request="history", clientId="id-00001")),
    ),
}


def scripted(name: str) -> Json:
    """The conversation of that name, as JSON."""
    draws = Draws(seed=1)
    player = Player("den", draws)
    steps = [[at, list(given), player.play(at, given)] for at, *given in SCRIPTS[name]]
    return {"name": name, "room": "den", "draws": draws.drawn, "steps": steps}
