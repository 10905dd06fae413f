"""Edits, deletions, reactions and answers in the simulation: what clients do, and what must be so of it in the end.

I15: a message shows what the entries about it come to, in the log and at every client that has them all; each reaction
counts each user once; both copies of a private message are alike; and of all texts that were replaced or deleted none
is in any entry.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from msgspec import UNSET
from msgspec.structs import replace

from client.events import read_event
from client.messages import Message
from domain.events import Ack, Chat, PrivateMessage
from domain.fanout import encode_entry
from domain.policy import ADMINS
from domain.requests import DeleteMessage, EditMessage, React, encode_request
from domain.rooms import Entry, inbox_of, is_inbox

if TYPE_CHECKING:
    from tests.simulation.clients import Client
    from tests.simulation.service import Service

__all__ = ["AMENDS", "Asked", "amend", "amended", "is_message", "texts"]

AMENDS = ("edit", "edit", "delete", "react", "react", "react", "unreact", "answer", "again")
"""What a script draws from."""
EMOJIS = ("+", "-")
Logs = Mapping[str, Mapping[int, Mapping[int, Entry]]]
"""Room → epoch → seq → entry."""


@dataclass(slots=True)
class Asked:
    """An amendment that a client has asked for."""

    message_id: str
    request: EditMessage | DeleteMessage | React
    ack: Ack | None = None


@dataclass(frozen=True, slots=True)
class _Known:
    room: str
    seq: int
    message_id: str


def amend(client: Client, what: str, text: str) -> None:
    """Do it to some message that the client knows; nothing where it knows none. `text` is said by nobody else."""
    if what == "again":
        _repeat(client)
        return
    known = _own(client) if what == "edit" or (what == "delete" and ADMINS not in client.groups) else _seen(client)
    if what == "answer":
        known = [it for it in known if not is_inbox(it.room)]
    if not known:
        return
    it = client.draw.choice(known[-6:])  # the same few again and again, so that they meet
    match what:
        case "answer":
            client.send(it.room, text, reply_to=it.seq)
            return
        case "edit":
            request: EditMessage | DeleteMessage | React = EditMessage(room_id=it.room, seq=it.seq, message=text)
        case "delete":
            request = DeleteMessage(room_id=it.room, seq=it.seq)
        case _:
            emoji = client.draw.choice(EMOJIS)
            request = React(room_id=it.room, seq=it.seq, emoji=emoji, remove=what == "unreact")
    client.asked[client.session.ask(request, client.now)] = Asked(it.message_id, request)
    client.flush()


def _repeat(client: Client) -> None:
    """Send the frame of something already acknowledged once more, as a network does that holds one back."""
    acked = [(name, it.request) for name, it in client.asked.items() if it.ack is not None]
    if acked and client.life is not None:
        client_id, request = client.draw.choice(acked)
        client.service.request(client, client.life.socket, encode_request(replace(request, client_id=client_id)))


def _own(client: Client) -> list[_Known]:
    acks = [it.ack for it in client.said.values() if it.ack is not None]
    return [_Known(it.room_id, it.seq, str(it.message_id)) for it in acks]


def _seen(client: Client) -> list[_Known]:
    others = [_Known(it.room_id, it.seq, it.message_id) for it in client.messages.all()]
    return list(dict.fromkeys([*_own(client), *others]))


# ---- what must be so


def is_message(entry: Entry) -> bool:
    """Whether it says something by itself."""
    return entry.type in {Chat.type, PrivateMessage.type}


def texts(clients: Mapping[str, Client]) -> Mapping[str, set[str]]:
    """Message id → what it may have said beside its first words."""
    found: dict[str, set[str]] = defaultdict(set)
    for client in clients.values():
        for it in client.asked.values():
            if not isinstance(it.request, React):
                found[it.message_id].add(it.request.message if isinstance(it.request, EditMessage) else "")
    return found


def amended(service: Service, clients: Mapping[str, Client], logs: Logs) -> Iterator[str]:
    """What is wrong with messages, with the rows beside them, and with what clients were given."""
    for room, epochs in logs.items():
        for epoch, log in epochs.items():
            about: dict[int, list[Entry]] = defaultdict(list)
            for entry in log.values():
                if "of" in entry.body:
                    about[entry.body["of"]].append(entry)
                elif "message" in entry.body and not is_message(entry):
                    yield f"{room} {entry.seq} is a {entry.type} with a text"
            for seq, entry in log.items():
                if is_message(entry):
                    rows = {row[3:] for row in service.store._reactions if row[:3] == (room, epoch, seq)}
                    for wrong in _differing(entry, about.pop(seq, []), rows, log):
                        yield f"{room} {seq}, {entry.body}: {wrong}"
            if about:
                yield f"{room}: there are entries about {sorted(about)}, which are no messages"
    yield from _twins(logs)
    yield from _clients(clients, logs)


def _differing(
    message: Entry, about: list[Entry], rows: set[tuple[str, str]], log: Mapping[int, Entry]
) -> Iterator[str]:
    yield from _text(message.body, about)
    yield from _reactions(message.body, about, rows)
    answers = [it.seq for it in log.values() if it.body.get("thread") == message.seq]
    if message.body.get("replies") != ({"count": len(answers), "lastSeq": answers[-1]} if answers else None):
        yield f"its answers are {answers}"


def _text(body: Mapping[str, Any], about: list[Entry]) -> Iterator[str]:
    edits = [it for it in about if it.type == "message_edited"]
    ends = [it for it in about if it.type == "message_deleted"]
    kept = [it.body["message"] for it in edits if "message" in it.body]
    if len(ends) > 1 or any(it is not about[-1] for it in ends):
        yield "something follows its deletion"
    if ends:
        if body["message"] or kept or "reactions" in body or body.get("deletedBy") != ends[0].body["by"]:
            yield f"it was deleted by {ends[0].body['by']}, and its edits hold {kept}"
    elif "deletedAt" in body:
        yield "nobody has deleted it"
    elif edits and (kept != [body["message"]] or "message" not in edits[-1].body):
        yield f"its edits hold {kept}"
    if not ends and ("editedAt" in body) != bool(edits):
        yield f"it was edited {len(edits)} times"


def _reactions(body: Mapping[str, Any], about: list[Entry], rows: set[tuple[str, str]]) -> Iterator[str]:
    given: dict[str, set[str]] = defaultdict(set)
    for it in about:
        if it.type == "reaction":
            emoji, user = it.body["emoji"], it.body["userId"]
            if (user in given[emoji]) != it.body.get("removed", False):
                yield f"{user} has twice done {it.body}"
            (given[emoji].discard if it.body.get("removed") else given[emoji].add)(user)
            if it.body["count"] != len(given[emoji]) or not given[emoji].issuperset(it.body["users"]):
                yield f"{given[emoji]} had reacted, not {it.body}"
    if rows != {(user, emoji) for emoji, users in given.items() for user in users}:
        yield f"its reactions are {dict(given)}, and its rows {rows}"
    shown = {it["emoji"]: (it["count"], set(it["users"])) for it in body.get("reactions", [])}
    if "deletedAt" not in body and shown != {emoji: (len(users), users) for emoji, users in given.items() if users}:
        yield f"its reactions are {dict(given)}"


def _twins(logs: Logs) -> Iterator[str]:
    for room, epochs in logs.items():
        for log in epochs.values():
            for entry in log.values():
                twin = entry.beside.get("twin")
                if twin is None or entry.type != PrivateMessage.type or entry.sender != room.removeprefix("inbox#"):
                    continue
                other = logs.get(inbox_of(entry.body["targetUserId"]), {})
                found = [copies[twin] for copies in other.values() if twin in copies]
                if [_alike(it) for it in found] != [_alike(entry)]:
                    yield f"{room} {entry.seq} is {entry.body}, and its twin {[it.body for it in found]}"


def _alike(entry: Entry) -> dict[str, Any]:
    return {name: it for name, it in entry.body.items() if name != "clientId"}


def _clients(clients: Mapping[str, Client], logs: Logs) -> Iterator[str]:
    """Of rooms that a client is at the head of: what it knows of each message behind which it was given all."""
    for client in clients.values():
        if client.dialect != "v1" or client.life is None:
            continue
        for room, released in client.released.items():
            at = client.session.cursor(room)
            if at is None or at[1] != max(logs.get(room, {}).get(at[0], ()), default=0):
                continue
            first = _since(released, at[0], own=is_inbox(room))
            for seq in range(first, at[1] + 1):
                entry = logs[room][at[0]][seq]
                known = client.messages.get(room, at[0], seq)
                if known is None or not is_message(entry):
                    continue
                shown = read_event(encode_entry(room, at[0], entry))
                if _comparable(known) != _comparable(shown):
                    yield f"{client.name} knows {room} {seq} as {known}, and it is {entry.body}"


def _since(released: list[tuple[int, int]], epoch: int, *, own: bool) -> int:
    """The seq from which on a client was given all without an interruption; of an inbox, all but its own messages."""
    first = next((seq for _, seq in reversed(released)), 1)
    for (before_epoch, before), (next_epoch, seq) in reversed([*pairwise(released)]):
        if (before_epoch, next_epoch) != (epoch, epoch) or (seq != before + 1 and not own):
            break
        first = before
    return max(first, 1)


def _comparable(message: Any) -> Any:
    assert isinstance(message, Message)
    reactions = [] if message.reactions is UNSET else message.reactions
    rest = {name: getattr(message, name) for name in message.__struct_fields__ if name not in {"reactions", "trace"}}
    return rest | {"reactions": sorted((it.emoji, it.count, it.users) for it in reactions)}
