"""Safeguards, each of which can be taken away by name: the simulation must notice.

A mutant is a small edit of one or two functions' source, made while it is applied and undone afterwards; nothing in the
product knows of it. An edit whose text is not found, or found twice, is an error: the mutant has to follow the code.
"""

from __future__ import annotations
import __future__

import importlib
import inspect
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Any

__all__ = ["MUTANTS", "Edit", "Mutant", "applied"]


@dataclass(frozen=True, slots=True)
class Edit:
    """Text in a function (`module:qualified.name`), and what stands there instead."""

    function: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """One safeguard less."""

    name: str
    edits: Sequence[Edit]
    found_by: frozenset[str]
    """The invariants that may find it: of these at least one belongs to the safeguard."""
    workloads: Sequence[str]
    """Where it is looked for."""


@contextmanager
def applied(mutant: Mutant) -> Iterator[None]:
    """The product without the safeguard, while the block lasts."""
    with ExitStack() as stack:
        for function in dict.fromkeys(it.function for it in mutant.edits):
            edits = [it for it in mutant.edits if it.function == function]
            stack.enter_context(_edited(_find(function), edits))
        yield


@contextmanager
def _edited(function: FunctionType, edits: Sequence[Edit]) -> Iterator[None]:
    source = textwrap.dedent(inspect.getsource(function))
    for it in edits:
        if source.count(it.old) != 1:
            raise AssertionError(f"{it.function} holds {source.count(it.old)} times: {it.old!r}")
        source = source.replace(it.old, it.new)
    # Decorators have done their work on the function that is there already.
    while source.startswith("@"):
        source = source.partition("\n")[2]
    code = compile(source, f"<{edits[0].function}>", "exec", __future__.annotations.compiler_flag)
    made: dict[str, Any] = {}
    exec(code, function.__globals__, made)
    # Its code alone: whoever has imported the function has this one object.
    before, function.__code__ = function.__code__, made[function.__name__].__code__
    try:
        yield
    finally:
        function.__code__ = before


def _find(path: str) -> FunctionType:
    module, _, name = path.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    found = inspect.unwrap(found)
    assert isinstance(found, FunctionType), path
    return found


def _mutant(name: str, found_by: str, workloads: str, *edits: tuple[str, str, str]) -> Mutant:
    return Mutant(name, [Edit(*it) for it in edits], frozenset(found_by.split()), workloads.split(", "))


SEND = "services.sending:commit"
RING = "services.sending:_ring"
ENTER = "services.sessions:_enter"
SERVE = "pipeline.broadcast:Broadcast.serve"
SETTLE = "pipeline.broadcast:Broadcast.settle"
STORE = "adapters.memory.store:MemoryStore"
DEFER = "await self._defer(key, failed, reached, attempt=1, not_after=clock.now() + NOT_AFTER_MS)"
ADVANCE = "await store.advance(key, reached, counted, shard)"
KILLS = "faults, dead letters"

MUTANTS: Sequence[Mutant] = (
    # ---- a message's way into the log
    _mutant(
        "acknowledged before it has rung",
        "I5 I14",
        KILLS,
        (
            SEND,
            "        await _ring(ports, once.rings, ports.clock.now() if traced else UNSET)\n",
            "        try:\n            await _ring(ports, once.rings)\n        except Unavailable:\n            pass\n",
        ),
    ),
    _mutant("a repeat does not ring", "I5 I14", KILLS, (SEND, "await _ring(ports, sending.once.rings)", "pass")),
    _mutant(
        "no once-row",
        "I3",
        "faults, chat",
        (SEND, "if sending.once is not None and is_done(sending, now):", "if False:"),
        (f"{STORE}.append", "earlier is None or earlier.expires_at <= now", "True"),
    ),
    _mutant(
        "the send does not check the number of shards",
        "I5 I14",
        "doubling",
        (
            f"{STORE}.append",
            "self._rooms.get(it.read.room) == it.read",
            "(lambda at: at is not None and (at.head, at.epoch) == (it.read.head, it.read.epoch))"
            "(self._rooms.get(it.read.room))",
        ),
        (
            f"{STORE}.append",
            "self._put_room(it.after)",
            "self._put_room(replace(self._rooms[it.read.room], head=it.entry.seq))",
        ),
    ),
    # ---- joins and leaves
    _mutant(
        "a join reads the head before it is a member",
        "I5",
        "joins",
        (ENTER, "after = await store.rooms(room_ids)", "after = {it.room: it for it in before}"),
    ),
    _mutant(
        "a join reads the head before it raises the version",
        "I5",
        "joins, chat",
        (ENTER, "    counts = await asyncio", "    after = await store.rooms(room_ids)\n    counts = await asyncio"),
        (ENTER, "    )\n    after = await store.rooms(room_ids)\n", "    )\n"),
    ),
    _mutant(
        "a join that is tried again raises no version",
        "I5 I13",
        "moves",
        (
            "services.sessions:_count",
            "    count = await ports",
            "    if was_member:\n        return None\n    count = await ports",
        ),
    ),
    _mutant(
        "a join that is tried again draws another shard",
        "I5 I6 I9 I13",
        "growth",
        ("services.sessions:_key", "if membership is not None and membership.epoch == room.epoch:", "if False:"),
    ),
    _mutant(
        "a leave takes whatever join it finds",
        "I5 I6 I9 I13",
        "moves",
        (
            f"{STORE}._delete_member",
            "if _join_id(self._members[key].get(connection)) != join_id:",
            "if not connection in self._members[key]:",
        ),
        (
            f"{STORE}.leave",
            "if _join_id(self._memberships[connection].get(membership.room)) == membership.join_id:\n            del",
            "if membership.room in self._memberships[connection]:\n            del",
        ),
    ),
    _mutant(
        "a leave raises no version",
        "I6 I5",
        "flapping, joins, hasty",
        (f"{STORE}._count", "version=shard.version + 1", "version=shard.version + (more > 0)"),
    ),
    _mutant(
        "a leave deletes the reverse row first",
        "I6 I13 I9 I5",
        "moves",
        (
            f"{STORE}.leave",
            "    key, count = membership.key, None\n",
            "    key, count = membership.key, None\n    await self._answer()\n"
            "    self._memberships[connection].pop(membership.room, None)\n",
        ),
    ),
    _mutant(
        "two may double the shards",
        "I5 I9 I14 I13",
        "doubling, growth",
        (
            f"{STORE}.claim_growth",
            "if not self._is_as_read(room) or self._rooms[room.room].growing_at != room.growing_at:",
            "if False:",
        ),
        (f"{STORE}.grow", "if self._is_as_read(room):", "if room.room in self._rooms:"),
    ),
    _mutant(
        "the tick ends a lease that was renewed",
        "I9 I5",
        "long",
        ("services.leases:_sweep_minute", "if row is not None and row.lease_until > ports.clock.now():", "if False:"),
    ),
    # ---- serving a shard
    _mutant(
        "members are read before entries",
        "I5",
        "joins",
        (
            SERVE,
            "        known = self._known.recall(key, clock.now())\n",
            "        known = self._known.recall(key, clock.now())\n        early = await store.members(key)\n",
        ),
        (
            SERVE,
            "known = KnownShard(sent, version, await store.members(key), now)",
            "known = KnownShard(sent, version, early, now)",
        ),
    ),
    _mutant(
        "known members are not compared by version",
        "I5 I6",
        "joins, chat",
        (SERVE, "if known is None or known.version != version:", "if known is None:"),
    ),
    _mutant(
        "the version is read before the entries",
        "I5",
        "joins",
        (
            "pipeline.broadcast:Broadcast._unsent",
            "    entries = await self._entries(key, known.sent)\n    shard = await store.shard(key)\n",
            "    shard = await store.shard(key)\n    entries = await self._entries(key, known.sent)\n",
        ),
    ),
    _mutant(
        "a shard counts as served before its posts",
        "I5",
        KILLS,
        (
            SERVE,
            "        failed = await self._deliver",
            "        await store.advance(key, reached, None, shard)\n        failed = await self._deliver",
        ),
    ),
    _mutant(
        "a shard counts as served before its remainder",
        "I5",
        KILLS,
        (
            SERVE,
            f"        {DEFER}\n        {ADVANCE}\n",
            f"        {ADVANCE}\n        {DEFER}\n",
        ),
    ),
    _mutant(
        "what failed is forgotten",
        "I5",
        "chat",
        (SERVE, DEFER, "pass"),
    ),
    _mutant(
        "what failed again is forgotten",
        "I5",
        "given up, faults, chat",
        (
            SETTLE,
            "await self._defer(key, failed, remainder.last,"
            " attempt=remainder.attempt + 1, not_after=remainder.not_after)",
            "pass",
        ),
    ),
    _mutant(
        "`sent` may go down",
        "I14",
        "hasty, faults",
        (f"{STORE}.advance", "sent if shard.sent is None else max(shard.sent, sent)", "sent"),
    ),
    _mutant(
        "a census of an older version counts",
        "I13",
        "hasty",
        (
            f"{STORE}.advance",
            "if counted is not None and (shard.version, shard.census) == as_read:",
            "if counted is not None:",
        ),
    ),
    _mutant(
        "a member's frames are not posted in the order of the log",
        "I14",
        "calm",
        (
            "pipeline.broadcast:Broadcast._deliver",
            "for frame in frames_for(member):",
            "for frame in reversed(frames_for(member)):",
        ),
    ),
    _mutant(
        "a remainder is given up without a word",
        "I5",
        "given up",
        ("pipeline.broadcast:Broadcast._give_up", "await self._poster.close(member)", "pass"),
        (
            "pipeline.broadcast:Broadcast._give_up",
            "            outcome = await self._poster.post(member, encode_event(beacon), time_left)\n",
            "            return\n",
        ),
    ),
    # ---- posts
    _mutant(
        "a 403 or 5xx ends the connection",
        "I9",
        "chat, faults",
        (
            "domain.fanout:read_outcome",
            "if isinstance(error, ConnectionGone) and age_ms >= YOUNG_MS:",
            "if not isinstance(error, ConnectionGone):",
        ),
    ),
    _mutant(
        "who is gone stays a member",
        "I11",
        "away, slow",
        ("pipeline.posting:Poster.purge", "await self._ports.roster.drop(member, key)", "return"),
    ),
    _mutant(
        "a 410 ends a connection whose handshake is pending",
        "I9",
        "joins, chat",
        (
            "domain.fanout:read_outcome",
            "isinstance(error, ConnectionGone) and age_ms >= YOUNG_MS",
            "isinstance(error, ConnectionGone)",
        ),
    ),
    _mutant(
        "a welcome is tried once",
        "I5",
        "chat, joins",
        ("pipeline.ephemeral:Announcer._welcome", 'raise PostFailed("the welcome was not delivered")', "return"),
    ),
    _mutant(
        "posts do not wait for their turn",
        "I12",
        "calm, slow",
        ("pipeline.posting:Poster.post", "await clock.sleep(wait)", "pass"),
    ),
    # ---- batches and queues
    _mutant(
        "what failed is deleted",
        "I5 I14",
        KILLS,
        ("pipeline.batch:Worker._work_group", "worked.failed.append(record)", "pass"),
    ),
    _mutant(
        "two workers serve one shard",
        "I14",
        "calm",
        (
            "adapters.memory.queue:_is_held",
            "return any(it.visible_at > now for it in itertools.islice(group.values(), FIFO_BATCH))",
            "return False",
        ),
        (
            "adapters.memory.queue:MemoryQueue._visible",
            "return itertools.chain.from_iterable(it.values() for it in groups)",
            "return (it for group in groups for it in group.values() if it.visible_at <= now)",
        ),
    ),
    _mutant(
        "a record that nobody can read is thrown away",
        "I8",
        "dead letters",
        ("pipeline.batch:Worker._read", "await self._queue.bury(self._lane.name, record.body, record.group)", "pass"),
    ),
    _mutant(
        "of several plans the oldest is carried out",
        "I5 I14",
        "growth",
        ("pipeline.batch:Worker._work_group", "max(plans.values()", "min(plans.values()"),
    ),
    _mutant(
        "who comes is pushed what was there before",
        "I6",
        "growth, faults",
        ("pipeline.broadcast:_packer", "if member.since < entries[0].seq and", "if"),
        ("pipeline.broadcast:_packer", "if entry.seq > member.since and", "if"),
    ),
    _mutant(
        "a second join of a member forgets since when it is one",
        "I5",
        "joins, moves, flapping, faults",
        ("services.sessions:_owed_since", "return membership.since if", "return room.head if"),
    ),
    # ---- moderators
    _mutant(
        "a kick is acknowledged before the sockets are closed",
        "I6",
        "moderation",
        ("services.moderation:_judge", "if act.evicts(room, changed):", "if False:"),
    ),
    _mutant(
        "a join does not look at bans",
        "I6",
        "moderation",
        ("adapters.memory.store:MemoryStore._require_needs", "it.banned_until <= now", "True"),
    ),
    # ---- read marks
    _mutant(
        "a mark is set whatever stands",
        "I16",
        "marks",
        (
            "adapters.memory.marks:MemoryMarks.mark",
            "there is None or (there.epoch, there.seq) < (mark.epoch, mark.seq)",
            "True",
        ),
    ),
    _mutant(
        "a mark counts by another read of its room",
        "I16",
        "marks",
        (
            "services.marks:mark_read",
            "    asked = mark_at(room,",
            "    late = await ports.store.room(room.room) or room\n"
            "    asked = mark_at(__import__('dataclasses').replace(room, messages=late.messages),",
        ),
    ),
    _mutant(
        "an inbox counts what its owner wrote",
        "I16",
        "marks",
        ("domain.rooms:is_message", " and room != inbox_of(entry.sender)", ""),
    ),
    _mutant(
        "the client forgets what was read while a mark was under way",
        "I16",
        "marks",
        ("client.session:Session._read", "self._mark(read.room_id, now)", "pass"),
    ),
    # ---- the client
    _mutant(
        "the client shows repeats",
        "I5",
        KILLS,
        (
            "client.following:Following.hold",
            "event.epoch < self.epoch or event.seq <= self.cursor or (event.epoch, event.seq) <= self.had",
            "event.epoch < self.epoch",
        ),
        (
            "client.following:Following._release",
            "    return released",
            "    for seq in [it for it in self.held if self.placed and it <= self.cursor]:\n"
            "        released.append(self.held.pop(seq))\n"
            "    return released",
        ),
    ),
    _mutant(
        "the client asks for nothing that is missing",
        "I5 I7",
        "flapping, chat",
        (
            "client.session:Session._fill",
            "if self._joining(following.room)",
            "if True or self._joining(following.room)",
        ),
    ),
    _mutant(
        "the client sends again under a new clientId",
        "I3",
        "faults, flapping",
        (
            "client.outbox:Outbox._transmit",
            "    pending.tries += 1\n",
            "    pending.tries += 1\n"
            '    if pending.tries > 1 and b\'"type":"chat"\' in pending.frame:\n'
            "        again = pending.client_id.encode()\n"
            "        pending.frame = pending.frame.replace(again, again + b'x' * (pending.tries - 1))\n",
        ),
    ),
    _mutant(
        "the client takes every `joined` and every `left` for an answer to its last request",
        "I5 I6",
        "moves",
        ("client.session:Session._left", "if pending is None:", "if False:"),
        ("client.session:Session._left", "pending.ours", "pending is not None and pending.ours"),
        ("client.session:Session._joined", "self._leave_unwanted(joined.room_id, now)", "pass"),
    ),
    # ---- what becomes of messages
    _mutant(
        "a message is read before its room",
        "I15",
        "amends",
        (
            "services.amends:_copies",
            "copies += [_Copy(room, it) for it in found]",
            "room = await ports.store.room(name) or room\n        copies += [_Copy(room, it) for it in found]",
        ),
    ),
    _mutant(
        "an edit leaves the text of the one before",
        "I15",
        "amends",
        ("services.amends:_silenced", "return [replace(it, body=silenced(it.body)) for it in found]", "return []"),
    ),
    _mutant(
        "a reaction counts however often it is given",
        "I15",
        "amends",
        ("services.amends:react", "if given == await", "if False and given == await"),
    ),
    _mutant(
        "the other copy of a private message stays as it was",
        "I15",
        "amends",
        ("services.amends:_copies", 'seq = copies[0].message.beside.get("twin", 0)', "break"),
    ),
    _mutant(
        "the client forgets edits that it has been given",
        "I15",
        "amends",
        ("client.messages:_changed", "message=event.message, edited_at=event.sent_at", "edited_at=event.sent_at"),
    ),
    _mutant(
        "the client takes the ack of an edit for an own copy",
        "I5 I15",
        "amends",
        ("client.session:Session._acked", " or ack.message_id is UNSET", ""),
    ),
    # ---- notices to who is away
    _mutant(
        "a repeat does not announce",
        "I19",
        "away",
        (SEND, "await _announce(ports, sending.once.announcement)", "pass"),
    ),
    _mutant(
        "of a claimant that died the notice is lost",
        "I19",
        "away",
        (
            "adapters.memory.notices:MemoryNotices.claim",
            "if at > now - NOTICE_EVERY_MS and not again:",
            "if at > now - NOTICE_EVERY_MS:",
        ),
    ),
    _mutant(
        "every message is a notice",
        "I19",
        "away",
        (
            "adapters.memory.notices:MemoryNotices.claim",
            "if at > now - NOTICE_EVERY_MS and not again:",
            "if False:",
        ),
    ),
    _mutant(
        "a publish that failed is forgotten",
        "I19",
        "away",
        ("pipeline.absent:Notifier.tell", "raise it", "pass"),
    ),
    _mutant(
        "who is back gets notices",
        "I19",
        "away",
        ("pipeline.absent:Notifier._is_here", "return True", "return False"),
    ),
    _mutant(
        "who wants no notices gets them",
        "I19",
        "away",
        ("pipeline.absent:Notifier.tell", "it not in silent and ", ""),
    ),
    # ---- hooks
    _mutant(
        "a send does not ring hooks",
        "I20",
        "hooks",
        (RING, "if bells := bells_for(rings):", "if bells := []:"),
    ),
    _mutant(
        "an entry is stored whatever hooks were made since",
        "I20",
        "hooks",
        (
            "adapters.memory.store:MemoryStore.append",
            "self._rooms.get(it.read.room) == it.read,",
            "replace(self._rooms[it.read.room], hooks=it.read.hooks) == it.read,",
        ),
    ),
    _mutant(
        "a delivery that failed is left out",
        "I20",
        "hooks",
        ("pipeline.hooks:Teller._catch_up", "if failure is not None:", "if False:"),
    ),
    _mutant(
        "a receiver that failed is not tried again",
        "I20",
        "hooks",
        (
            "pipeline.hooks:Teller._fail",
            'await ports.queue.announce(_again(hook, f"retry{now}"), wait)',
            "pass",
        ),
    ),
    _mutant(
        "a hook's turn is recorded before its deliveries",
        "I20",
        "hooks",
        (
            "pipeline.hooks:Teller._catch_up",
            "failure = await self._deliver(receivers, hook, entry)",
            "await ports.webhooks.follow(replace(hook, position=entry.seq));"
            " failure = await self._deliver(receivers, hook, entry)",
        ),
    ),
    # ---- how users are
    _mutant(
        "a status is worked out over whatever was written meanwhile",
        "I17 I18",
        "statuses",
        ("adapters.memory.statuses:MemoryStatuses.record", "there.version != presence.version - 1", "False"),
    ),
    _mutant(
        "an end works out before it has left the inbox",
        "I17",
        "statuses",
        ("adapters.roster:AnnouncingRoster.end", "if is_inbox(membership.room):", "if False:"),
        ("adapters.roster:AnnouncingRoster.end", "if not is_inbox(membership.room):", "if True:"),
    ),
    _mutant(
        "whose status is to be told are taken after their rows are read",
        "I18",
        "statuses",
        (
            "pipeline.ephemeral:Announcer.tell_presence",
            "users = await statuses.take(job.room, job.epoch)",
            "users = sorted(statuses._port._changed.get((job.room, job.epoch), (0, set()))[1])",
        ),
        (
            "pipeline.ephemeral:Announcer.tell_presence",
            "presences = await statuses.presences(users)",
            "presences = await statuses.presences(users)\n    await statuses.take(job.room, job.epoch)",
        ),
    ),
)
