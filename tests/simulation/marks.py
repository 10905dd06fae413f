"""Invariant I16: read marks, and what is counted of a log, on what a schedule left behind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import accumulate

from domain.rooms import Entry, Room
from tests.simulation.clients import Client
from tests.simulation.service import Service

__all__ = ["marks_at_fault"]

Logs = Mapping[int, Mapping[int, Entry]]


def marks_at_fault(
    service: Service, clients: Mapping[str, Client], stored: Mapping[str, tuple[Room, Logs]]
) -> Iterator[str]:
    """What is wrong. `stored`: each room with its logs, by epoch."""
    counts: dict[tuple[str, int], list[int]] = {}
    for name, (room, logs) in stored.items():
        for epoch, log in logs.items():
            counted = list(accumulate((_counts(name, log[it]) for it in sorted(log)), initial=0))
            counts[name, epoch] = counted
            kept = [log[it].nth for it in sorted(log)]
            if kept != counted[1:]:
                yield f"the entries of {name} {epoch} keep {kept}, and are {counted[1:]}"
        if room.messages != counts[name, room.epoch][-1]:
            yield f"{name} counts {room.messages} messages, and has {counts[name, room.epoch][-1]}"
    for client in clients.values():
        yield from _of(client, service, counts)
        yield from _unsaid(client, service, {name: room for name, (room, _) in stored.items()})


def _of(client: Client, service: Service, counts: Mapping[tuple[str, int], list[int]]) -> Iterator[str]:
    """Each mark of a user is one that was asked for, and no lower than any that was answered."""
    asked, answered = defaultdict(set), defaultdict(set)
    for client_id, (room, *place) in client.marks.items():
        asked[room].add(tuple(place))
        if client_id in client.marked:
            told = client.marked[client_id][1:]
            answered[room].add(told)
            if told < tuple(place):
                yield f"{client.name} asked for {place} in {room}, and was answered {told}"
    for room, places in asked.items():
        mark = service.marks._marks.get((room, client.user))
        stands = (-1, -1) if mark is None else (mark.epoch, mark.seq)
        if answered[room] and stands < max(answered[room]):
            yield f"{client.name} has read {room} to {stands}, and was answered {max(answered[room])}"
        if mark is None:
            continue
        if stands not in places:
            yield f"{client.name} has read {room} to {stands}, which was never asked for"
        counted = counts.get((room, mark.epoch), [])
        if mark.seq >= len(counted) or mark.nth != counted[mark.seq]:
            yield f"{client.name}'s mark of {room} counts {mark.nth} up to {mark.seq}: the log has {counted}"


def _unsaid(client: Client, service: Service, rooms: Mapping[str, Room]) -> Iterator[str]:
    """What the SDK was told to say it has said in the end, of rooms that it follows to this day."""
    for name, place in client.reads.items():
        room, mark = rooms[name], service.marks._marks.get((name, client.user))
        here = client.life is not None and client.dialect == "v1" and client.session.cursor(name) is not None
        if not here or room.status != "open" or room.epoch != place[0]:
            continue
        if mark is None or (mark.epoch, mark.seq) < place:
            yield f"{client.name} has been given {name} to {place}, and the service was never told"


def _counts(room: str, entry: Entry) -> bool:
    own = room == f"inbox#{entry.sender}"
    return entry.type == "chat" or (entry.type == "private_message" and not own)
