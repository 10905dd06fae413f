"""The invariants of docs/reliability.md, checked on what a schedule left behind: rows, queues, and clients' records."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from domain.rooms import Entry, Room, ShardKey, is_inbox
from tests.simulation.amends import amended, is_message, texts
from tests.simulation.clients import Client, Life
from tests.simulation.hooks import untold
from tests.simulation.marks import marks_at_fault
from tests.simulation.notices import told_wrong
from tests.simulation.service import Service

__all__ = ["DEAD_POSTS", "LAST_WORD", "Violation", "check"]

DEAD_POSTS = 12
"""Posts to a connection that has ended after a worker was told so, at most (I11)."""
LAST_WORD = "the last word"
"""What is said in every room in the end: a broadcast after the last join and leave."""
ALL = 1_000_000


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant that does not hold."""

    invariant: str
    what: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.what}"


@dataclass(frozen=True, slots=True)
class _Stored:
    """All that is in the store of one room."""

    room: Room
    logs: Mapping[int, Mapping[int, Entry]]
    """Epoch → its log."""

    @property
    def log(self) -> Mapping[int, Entry]:
        """Of the room as it is now."""
        return self.logs[self.room.epoch]


async def check(
    service: Service, clients: Mapping[str, Client], poisoned: Sequence[tuple[str, str]], *, rested: bool
) -> list[Violation]:
    """What is wrong. `poisoned`: (lane, body) of each record that no worker can read; `rested`: whether all came to
    rest in time."""
    stored = {it: await _read(service, it) for it in await _rooms(service, clients)}
    found = [Violation("crash", f"{type(it).__name__}: {it}") for it in service.crashes]
    if not rested:
        waiting = {it: service.queue.depth(it) for it in service.lanes if service.queue.depth(it)}
        busy = [it.name for it in clients.values() if it.busy]
        found.append(Violation("I7", f"no rest: {waiting}, busy {busy}, {service.under_way} under way"))
    found += _logs(stored)
    found += _acknowledged(clients, stored)
    found += _received(clients, stored)
    found += _complete(service, clients, stored)
    found += _order(service, clients)
    found += _outsiders(service, clients, stored)
    found += _dead_letters(service, poisoned)
    found += await _rows(service, clients, stored)
    found += _quotas(service)
    logs = {name: it.logs for name, it in stored.items()}
    found += [Violation("I15", it) for it in amended(service, clients, logs)]
    kept = {name: (it.room, it.logs) for name, it in stored.items()}
    found += [Violation("I16", it) for it in marks_at_fault(service, clients, kept)]
    found += [Violation("I19", it) for it in told_wrong(service, clients)]
    found += [Violation("I20", it) for it in untold(service, kept, lambda room: _promised(stored[room], clients))]
    return found


async def _rooms(service: Service, clients: Mapping[str, Client]) -> list[str]:
    names = {room for it in clients.values() for life in it.lives for room in life.begun}
    names |= {said.room for it in clients.values() for said in it.said.values()}
    names |= {came[0] for it in clients.values() for came in it.bodies}
    names |= {f"inbox#{it}" for it in clients}
    return sorted(await service.store.rooms(sorted(names)))


async def _read(service: Service, name: str) -> _Stored:
    room = await service.store.room(name)
    assert room is not None
    logs: dict[int, Mapping[int, Entry]] = {room.epoch: {}}
    for epoch in service.epochs(name):
        entries = await service.store.entries(name, epoch, 0, limit=ALL, max_bytes=ALL**2)
        logs[epoch] = {it.seq: it for it in entries}
    return _Stored(room, logs)


def _logs(stored: Mapping[str, _Stored]) -> Iterator[Violation]:
    for name, it in stored.items():
        if sorted(it.log) != list(range(1, it.room.head + 1)):
            yield Violation("I1", f"{name} is at {it.room.head} and holds {sorted(it.log)}")
        if any(sorted(log) != list(range(1, len(log) + 1)) for log in it.logs.values()):
            yield Violation("I1", f"{name} holds, by epochs, {[sorted(log) for log in it.logs.values()]}")
        entries = [entry for log in it.logs.values() for entry in log.values()]
        said = Counter((entry.sender, entry.body["message"]) for entry in entries if is_message(entry))
        for (sender, text), times in said.items():
            if text and times > 1:
                yield Violation("I3", f"{name} holds {text!r} by {sender} {times} times")


def _acknowledged(clients: Mapping[str, Client], stored: Mapping[str, _Stored]) -> Iterator[Violation]:
    for client in clients.values():
        for client_id, asked in client.asked.items():
            place = asked.ack
            if place is not None and place.seq not in stored[place.room_id].logs.get(place.epoch, {}):
                yield Violation("I2", f"{client_id} was acknowledged as {place.room_id} {place.seq}")
        for client_id, said in client.said.items():
            if said.ack is None:
                continue
            ack = said.ack
            kept = stored.get(ack.room_id)
            entry = kept.logs.get(ack.epoch, {}).get(ack.seq) if kept is not None else None
            # What becomes of its text is looked at with I15.
            changed = entry is not None and not {"editedAt", "deletedAt"}.isdisjoint(entry.body)
            if (
                entry is None
                or entry.body.get("messageId") != ack.message_id
                or (not changed and entry.body.get("message") != said.text)
            ):
                yield Violation("I2", f"{client_id} was acknowledged as {ack.room_id} {ack.seq}: there is {entry}")


def _received(clients: Mapping[str, Client], stored: Mapping[str, _Stored]) -> Iterator[Violation]:
    others = texts(clients)
    first = {str(it.ack.message_id): it.text for one in clients.values() for it in one.said.values() if it.ack}
    for client in clients.values():
        for (room, epoch, seq), bodies in client.bodies.items():
            entry = stored[room].logs.get(epoch, {}).get(seq) if room in stored else None
            kept: set[object] = {None}
            if entry is not None and is_message(entry):
                name = entry.body["messageId"]
                words = {entry.body["message"], first.get(name), *others.get(name, ())}
                if name not in first and entry.sender in clients:  # its sender did not live to see the ack
                    words |= {it.text for it in clients[entry.sender].said.values() if it.ack is None}
                kept = {(name, entry.sender, it) for it in words}
            if not kept.issuperset(bodies):
                yield Violation("I4", f"{client.name} got {bodies} as {room} {seq}, which is {kept}")


def _complete(service: Service, clients: Mapping[str, Client], stored: Mapping[str, _Stored]) -> Iterator[Violation]:
    for client in clients.values():
        yield from _released(client, stored)
        life = client.life
        if life is None:
            if not client.quits and client.lives:
                yield Violation("I5", f"{client.name} is not back")
            continue
        calm = not (service.chaos.kills or service.chaos.pauses or service.redriven) and life.socket.failures <= 1
        if not life.welcomed and (calm or not (life.begun or life.moved)):
            yield Violation("I5", f"{life.socket.id} was never welcomed")
        for room, (epoch, head) in life.begun.items():
            kept = stored[room]
            if kept.room.epoch != epoch or kept.room.status != "open":
                continue
            promised = _promised(kept, clients)
            at = client.session.cursor(room)
            if client.dialect == "v1" and (at is None or at[0] != epoch or at[1] < promised):
                yield Violation("I5", f"{life.socket.id} is at {at} in {room}, whose head is {kept.room.head}")
            if room in life.doubtful or (life.socket.beacons and client.dialect == "v1"):
                continue  # it was told, or noticed, and asked
            pushed = {seq for name, its_epoch, seq in life.pushed if (name, its_epoch) == (room, epoch)}
            owed = {seq for seq, it in kept.log.items() if head < seq <= promised and it.origin != life.socket.id}
            if owed - pushed:
                yield Violation(
                    "I5", f"{life.socket.id}, in {room} since {head}, was never pushed {sorted(owed - pushed)}"
                )


def _promised(kept: _Stored, clients: Mapping[str, Client]) -> int:
    """The last seq that its room must hear of without more being said: behind it stand only entries that were never
    acknowledged, by users who quit before they could send them again, which would have rung, or who had been refused
    them: a first try that lay still was carried out when its repeat had its answer."""
    acks = [it.ack for one in clients.values() for it in one.said.values()]
    acks += [it.ack for one in clients.values() for it in one.asked.values()]
    acked = {it.seq for it in acks if it and (it.room_id, it.epoch) == (kept.room.room, kept.room.epoch)}
    given_up = {
        (one.user, it.text) for one in clients.values() for it in one.said.values() if it.refused and not it.ack
    }

    def is_unheard_of(entry: Entry) -> bool:
        return clients[entry.sender].quits or (entry.sender, entry.body.get("message")) in given_up

    return max((seq for seq, it in kept.log.items() if seq in acked or not is_unheard_of(it)), default=0)


def _released(client: Client, stored: Mapping[str, _Stored]) -> Iterator[Violation]:
    """What its user got: each once, in order, without a gap but the user's own private messages."""
    for room, released in client.released.items():
        kept = stored.get(room)
        for (epoch, seq), (next_epoch, next_seq) in pairwise(released):
            if seq == 0 or next_seq == 0 or epoch != next_epoch:
                continue
            between = range(seq + 1, next_seq)
            own = (
                kept is not None
                and is_inbox(room)
                and all(kept.log[it].sender == client.user and is_message(kept.log[it]) for it in between)
            )
            if next_seq <= seq or (between and not own and client.dialect == "v1"):
                yield Violation("I5", f"{client.name} was given {room} {next_seq} after {seq}")


def _order(service: Service, clients: Mapping[str, Client]) -> Iterator[Violation]:
    if service.chaos.kills or service.chaos.pauses:
        return
    for life in _lives(clients):
        if life.socket.failures or life.socket.id in service.queue.deferred:
            continue
        reached: dict[tuple[str, int], int] = {}
        for room, epoch, seq in life.pushed:
            last = reached.get((room, epoch), 0)
            if seq < last and life.pushed.index((room, epoch, seq)) >= life.pushed.index((room, epoch, last)):
                yield Violation("I14", f"{life.socket.id} was first pushed {room} {seq} after {last}")
            reached[room, epoch] = max(last, seq)


def _outsiders(service: Service, clients: Mapping[str, Client], stored: Mapping[str, _Stored]) -> Iterator[Violation]:
    for life in _lives(clients):
        for room, seq in life.leaked:
            yield Violation("I6", f"{life.socket.id} got {room} {seq} after its user was removed")
        for room, epoch, seq in life.pushed:
            left = life.left.get(room)
            entry = stored[room].logs.get(epoch, {}).get(seq) if room in stored else None
            # A join that takes effect after the leave that followed it makes a member of who has left, until its
            # client notices.
            if left is not None and entry is not None and entry.at > left and not service.chaos.trailed:
                yield Violation("I6", f"{life.socket.id} had left {room}, and was pushed {seq}")
            before_epoch, before = life.before.get(room, (0, 0))
            if epoch < before_epoch or (epoch == before_epoch and seq <= before):
                yield Violation("I6", f"{life.socket.id} was pushed {room} {seq}, stored before it came")
            if is_inbox(room) and room != f"inbox#{life.user}":
                yield Violation("I6", f"{life.socket.id} was pushed what is in {room}")


def _dead_letters(service: Service, poisoned: Sequence[tuple[str, str]]) -> Iterator[Violation]:
    dead = Counter((lane, body) for lane in service.lanes for body in service.queue.dead(lane))
    # A record may be buried more than once: its worker died before the queue heard of it.
    if set(dead) != set(poisoned):
        yield Violation("I8", f"dead letters {dict(dead)}, poisoned {list(poisoned)}")


async def _rows(service: Service, clients: Mapping[str, Client], stored: Mapping[str, _Stored]) -> list[Violation]:
    found = []
    lives = {it.socket.id: it for it in _lives(clients)}
    for client in clients.values():
        life = client.life
        if life is None:
            continue
        session = await service.store.session(life.socket.id)
        if session.connection is None:
            found.append(Violation("I9", f"{life.socket.id} is open, and its row is gone"))
        for room in life.begun:
            membership = session.membership(room)
            rows = await service.store.members_among(membership.key, [life.socket.id]) if membership else []
            # Only the recipe's clients never ask where they are.
            if not rows and not (room in life.doubtful and client.dialect == "recipe"):
                found.append(Violation("I9", f"{life.socket.id} is open, and no longer a member of {room}"))
    for name, kept in stored.items():
        if is_inbox(name) or kept.room.status != "open":
            continue
        newest = kept.log.get(kept.room.head)
        # Nobody may have been able to say it: the only one there is muted. Then nobody has counted.
        counted_since = newest is not None and newest.body.get("message") == LAST_WORD
        for number in range(kept.room.shards):
            key = ShardKey(name, kept.room.epoch, number)
            shard, members = await service.store.shard(key), await service.store.members(key)
            if shard is None:
                continue
            ghosts = sum(_is_ghost(service, lives.get(it.connection), name) for it in members)
            counted = len(members) - ghosts <= shard.members <= len(members)
            # Of one that had begun before somebody came or went the last word follows nothing.
            followed = service.last_words.get(key) == shard.version != service.store.overtaken.get(key)
            if counted_since and followed and not counted:
                named = [it.connection for it in members]
                found.append(Violation("I13", f"{key} counts {shard.members} and has {named}"))
            rung = service.queue.rung.get(key, 0)
            if (shard.sent or 0) < rung:
                found.append(Violation("I14", f"{key} is served to {shard.sent}, and was rung for {rung}"))
    return found


def _is_ghost(service: Service, life: Life | None, room: str) -> bool:
    """Whether a member's row is nobody's until its lease ends it, since it was written behind the back of a handshake
    that had failed (None: the socket was never open); or was written by a join that took effect after the leave that
    followed it, which its client notices by the next push."""
    return life is None or (room in life.left and service.chaos.trailed > 0)


def _quotas(service: Service) -> Iterator[Violation]:
    for socket in service.sockets.all.values():
        if socket.closed_in_vain:
            yield Violation("I9", f"{socket.id} was closed, although it took every post")
        if socket.dead_posts > DEAD_POSTS:
            yield Violation("I11", f"{socket.id} was posted to {socket.dead_posts} times after it was found gone")
    for it in service.metered:
        rate = it.lane.post_rate
        # Posts that wait for a slot, or for their environment to go on, come together afterwards.
        if not rate or service.chaos.pauses or it.lane.post_concurrency < rate:
            continue
        for number, at in enumerate(it.posts):
            within = bisect.bisect_right(it.posts, at + 1) - number
            if within > rate + 2:
                yield Violation("I12", f"{within} posts of a worker of {it.lane.name} in a second, not {rate:g}")
                break


def _lives(clients: Mapping[str, Client]) -> Iterator[Life]:
    for it in clients.values():
        yield from it.lives
