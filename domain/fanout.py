"""The broadcast's decisions: jobs, packing entries into frames, and what an answer to a post means.

Jobs are references, never bodies: they are small, idempotent, and fit for a dead-letter queue. Times in jobs are
milliseconds since 1970.

`v` is the version of a job's form: `JOB_VERSION` and the one before it are read, `WRITTEN_VERSION` is written. A new
form takes two releases, each of which can be rolled back: the first reads it and still writes the old one, the next
writes it.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from domain.errors import ConnectionGone, NewerVersion, UnreadableJob
from domain.notices import ANNOUNCED_FOR_MS, Announcement, NoticeKind
from domain.protocol import FRAME_LIMIT, Seq
from domain.rooms import Dialect, Entry, Ring, ShardKey
from domain.webhooks import hook_id

__all__ = [
    "GRACE",
    "HOOKS_LANE",
    "JOB_VERSION",
    "NOTICE_MS",
    "NOT_AFTER_MS",
    "PENDING_MS",
    "PLAN_ABOVE",
    "PRESENCE_MS",
    "ROUND_BYTES",
    "ROUND_ENTRIES",
    "STATS_DELAY_MS",
    "STATS_EVERY_MS",
    "WELCOME_MS",
    "WRITTEN_VERSION",
    "YOUNG_MS",
    "Absent",
    "Arrived",
    "Doorbell",
    "Ephemeral",
    "Frame",
    "HookBell",
    "Job",
    "Notice",
    "Outcome",
    "Plan",
    "Presences",
    "Remainder",
    "Rung",
    "Stats",
    "absent",
    "bells_for",
    "deduplication_of",
    "encode_delivery",
    "encode_entry",
    "encode_job",
    "group_by_first",
    "group_of",
    "jobs_for",
    "lane_of",
    "pack",
    "parse_job",
    "planned",
    "read_outcome",
    "remainder_delay",
]

HOOKS_LANE = "hooks"
JOB_VERSION = 1
"""The newest version that is read."""
WRITTEN_VERSION = 1
"""`JOB_VERSION`, or the one before it."""
PLAN_ABOVE = 10
"""Shards whose doorbells fit in one call to the queue."""
ROUND_ENTRIES = 100
ROUND_BYTES = 128 * 1024
"""What a worker reads of the log in one round, at most."""
SHARDS_LIMIT = 65_536
"""Shards that any room has, sixty million members' worth: a job that names more is none of ours."""
YOUNG_MS = 30_000
"""A 410 of a younger connection may only mean that its handshake is pending: it is never purged for it."""
PENDING_MS = 5_000
"""Hardly any handshake lasts longer: a 410 of a connection older than that is left to the remainders."""
GRACE = (0.05, 0.1, 0.2, 0.4)
"""Seconds before each further try of a post that such a young connection answered with 410."""
NOT_AFTER_MS = 600_000
"""How long a remainder is tried."""
WELCOME_MS = 60_000
"""How long a welcome is worth sending."""
NOTICE_MS = 3_000
"""How long any other ephemeral event is."""
PRESENCE_MS = 60_000
"""How long whose status has changed is worth telling: it is read when it is told, and nobody else will."""
STATS_EVERY_MS = 1_000
"""How often, at most, a large room is told how many are in it; one of several shards as much more rarely."""
STATS_DELAY_MS = 900_000
"""The longest that a queue delays a message."""


# ------------------------------------------------------------------------------------------------ jobs


# Numbers that no job of ours has are the parser's to refuse: a worker would spend its time, or its memory, on them.
_Shard = Annotated[int, Meta(ge=0, lt=SHARDS_LIMIT)]


class _RoomJob(Struct, frozen=True, kw_only=True, rename="camel", tag_field="kind"):
    v: int = WRITTEN_VERSION
    room: str
    epoch: Seq


class _Job(_RoomJob, frozen=True, kw_only=True):
    shard: _Shard

    @property
    def key(self) -> ShardKey:
        return ShardKey(self.room, self.epoch, self.shard)


class Doorbell(_Job, frozen=True, kw_only=True, tag="doorbell"):
    """The log of this room has grown to at least `seq`: serve the shard."""

    seq: Seq
    stored_at: int | UnsetType = UNSET
    """When the entry was stored, if it is traced."""


class Plan(_RoomJob, frozen=True, kw_only=True, tag="plan"):
    """Ring the doorbells of `seq` for all `shards`: in place of more of them than one call to the queue takes."""

    shards: Annotated[int, Meta(ge=1, le=SHARDS_LIMIT)]
    seq: Seq
    stored_at: int | UnsetType = UNSET


class Remainder(_Job, frozen=True, kw_only=True, tag="remainder"):
    """Entries `first` to `last` are still owed to these connections."""

    first: Seq = msgspec.field(name="from")
    last: Seq = msgspec.field(name="to")
    connections: list[str]
    attempt: Annotated[int, Meta(ge=0)]
    not_after: int


class Arrived(_Job, frozen=True, kw_only=True, tag="arrived"):
    """A connection has joined its first room; it is owed a `welcome`, and its own `user_joined`, until `not_after`."""

    connection: str
    user: str
    name: str
    head: int
    inbox_epoch: int
    inbox_head: int
    inbox_messages: int = 0
    """How many of the inbox's entries are messages; not said by a release before."""
    reconnect_at: int
    tell_others: bool
    """Whether the room is small enough to be told."""
    not_after: int


class Notice(_Job, frozen=True, kw_only=True, tag="notice"):
    """An ephemeral event for the shard's members, in the words of the wire: sent once, dropped after `not_after`."""

    event: msgspec.Raw
    skip: str | None = None
    """The connection that it is about, which need not be told."""
    user: str | None = None
    """Who has come or gone: nobody, if they are there by another connection than `connection`, and that one alone is
    told. Not said by a release before."""
    connection: str | None = None
    not_after: int


class Stats(_Job, frozen=True, kw_only=True, tag="stats"):
    """The room is owed a `room_stats`, with the count as it is when it is sent."""

    not_after: int


class Absent(_RoomJob, frozen=True, kw_only=True, tag="absent"):
    """Those of the users who are away are owed a notice of the entry, until `not_after`."""

    seq: Seq
    about: NoticeKind
    at: int
    sender: str
    name: str
    users: Annotated[list[str], Meta(max_length=20)]
    not_after: int


class Presences(_Job, frozen=True, kw_only=True, tag="presences"):
    """The room is owed a `presence` of the users whose status has changed, as it is when it is sent."""

    not_after: int


class HookBell(_RoomJob, frozen=True, kw_only=True, tag="hook"):
    """The log of this room has grown to at least `seq`: tell the receiver of its hook. On the ephemeral lane: ring it,
    now that the delay is over."""

    hook: Annotated[str, Meta(pattern=r"^[0-9a-f]{16}(?![\s\S])")]
    """Its key."""
    seq: Seq
    again: Annotated[str, Meta(max_length=32)] = ""
    """Why it is rung, where that is not a new entry; such a bell tries a receiver that failed, too."""


Ephemeral = Arrived | Notice | Stats | Absent | Presences | HookBell
Rung = Doorbell | Plan | HookBell
Job = Doorbell | Plan | Remainder | Ephemeral


class _Versioned(Struct, frozen=True):
    v: int


_version_decoder = msgspec.json.Decoder(_Versioned)
_decoder: msgspec.json.Decoder[Job] = msgspec.json.Decoder(Job)
_encoder = msgspec.json.Encoder()


def lane_of(shards: int) -> str:
    """The lane of a room's durable jobs: a room with several shards must not hold up those with one."""
    return "interactive" if shards == 1 else "bulk"


def jobs_for(ring: Ring, stored_at: int | UnsetType = UNSET) -> list[Doorbell] | list[Plan]:
    """What a ring enqueues on its room's lane: a doorbell for each shard, or one plan in place of more than ten.

    `stored_at`: of a traced entry.
    """
    plan = Plan(room=ring.room, epoch=ring.epoch, shards=ring.shards, seq=ring.seq, stored_at=stored_at)
    return [plan] if ring.shards > PLAN_ABOVE else planned(plan)


def planned(plan: Plan) -> list[Doorbell]:
    """The doorbells that a plan stands for."""
    return [
        Doorbell(room=plan.room, epoch=plan.epoch, shard=it, seq=plan.seq, stored_at=plan.stored_at)
        for it in range(plan.shards)
    ]


def absent(announcement: Announcement, now: int) -> Absent:
    """The job that an announcement enqueues."""
    it = announcement
    return Absent(
        room=it.room,
        epoch=it.epoch,
        seq=it.seq,
        about=it.kind,
        at=it.at,
        sender=it.sender,
        name=it.name,
        users=list(it.users),
        not_after=now + ANNOUNCED_FOR_MS,
    )


def bells_for(rings: Iterable[Ring]) -> list[HookBell]:
    """What the rings enqueue for hooks."""
    return [HookBell(room=it.room, epoch=it.epoch, hook=hook, seq=it.seq) for it in rings for hook in it.hooks]


def group_of(job: Rung) -> str:
    """The message group of a durable job: one worker at a time for a shard, a hook, and a room's plans."""
    if isinstance(job, HookBell):
        return hook_id(job.room, job.hook)
    return str(job.key) if isinstance(job, Doorbell) else f"{job.room}#{job.epoch}"


def deduplication_of(job: Rung) -> str:
    """What tells a job that was rung twice from another. Names in the clear, so that an operator can read them."""
    if isinstance(job, HookBell):
        return f"{job.hook}#{job.epoch}#{job.seq}#{job.again}"
    return f"{'plan#' if isinstance(job, Plan) else ''}{group_of(job)}#{job.seq}"


def encode_job(job: Job) -> str:
    """The job as the body of a queue message."""
    return _encoder.encode(job).decode()


def parse_job(body: str) -> Job:
    """The job in a queue message's body.

    Raises `NewerVersion`, or `UnreadableJob` with the reason; neither quotes anything of the body but its version.
    """
    oldest = max(1, JOB_VERSION - 1)
    try:
        encoded = body.encode("utf-8", "surrogatepass")
        # Before the form: what form a newer version has, nobody knows here.
        version = _version_decoder.decode(encoded).v
        if oldest <= version <= JOB_VERSION:
            return _decoder.decode(encoded)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise UnreadableJob(type(error).__name__) from None
    kind = NewerVersion if version > JOB_VERSION else UnreadableJob
    raise kind(f"job version {version}; this worker reads {oldest} to {JOB_VERSION}")


# ------------------------------------------------------------------------------------------------ frames


@dataclass(frozen=True, slots=True)
class Frame:
    """Bytes for one post, with the first seq that they carry: where a remainder begins if the post fails."""

    body: bytes
    first: int
    events: int = 1


def encode_entry(room: str, epoch: int, entry: Entry) -> bytes:
    """The entry's event as it stands on the wire: `{"type": …, "data": {…}}`."""
    return _encoder.encode({"type": entry.type, "data": _entry_data(room, epoch, entry)})


def encode_delivery(room: str, epoch: int, entry: Entry) -> bytes:
    """The same as a hook's receiver gets it: with the time as Standard Webhooks has it."""
    at = datetime.fromtimestamp(entry.at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return _encoder.encode({"type": entry.type, "timestamp": at, "data": _entry_data(room, epoch, entry)})


def _entry_data(room: str, epoch: int, entry: Entry) -> dict[str, Any]:
    return {
        "roomId": room,
        "epoch": epoch,
        "seq": entry.seq,
        "timestamp": entry.at // 1000,
        "sentAt": entry.at,
        **entry.body,
    }


_BATCH_OPEN = b'{"type":"batch","data":{"events":['
_BATCH_CLOSE = b"]}}"


def pack(events: Sequence[tuple[int, bytes]], dialect: Dialect) -> list[Frame]:
    """The frames that carry `events`, (seq, event) oldest first, to a connection of that dialect.

    `v1` gets as many events in a frame as fit in 32 KB, one alone without the batch around it; the recipe's dialect
    gets one a frame.
    """
    if dialect == "recipe":
        return [Frame(body, seq) for seq, body in events]
    frames: list[Frame] = []
    room = FRAME_LIMIT - len(_BATCH_OPEN) - len(_BATCH_CLOSE)
    gathered: list[bytes] = []
    first = size = 0
    for seq, body in events:
        if gathered and size + 1 + len(body) > room:
            frames.append(_frame(gathered, first))
            gathered, size = [], 0
        if not gathered:
            first = seq
        size += len(body) + (1 if gathered else 0)
        gathered.append(body)
    if gathered:
        frames.append(_frame(gathered, first))
    return frames


def _frame(events: list[bytes], first: int) -> Frame:
    body = events[0] if len(events) == 1 else _BATCH_OPEN + b",".join(events) + _BATCH_CLOSE
    return Frame(body, first, len(events))


# ------------------------------------------------------------------------------------------------ outcomes


class Outcome(Enum):
    """What became of a connection's frames."""

    DELIVERED = "delivered"
    GONE = "gone"
    RETRY = "retry"
    SLOW = "slow"
    """As `retry`, and its client is why: it does not read."""
    OVER = "over"
    """Its token has ended meanwhile: it is owed nothing more."""


def read_outcome(error: Exception, age_ms: int) -> Outcome:
    """What a failed post says of its connection, whose age was taken before the call.

    Only a 410 speaks of the connection at all, and only if the connection is no longer young.
    """
    if isinstance(error, ConnectionGone) and age_ms >= YOUNG_MS:
        return Outcome.GONE
    return Outcome.RETRY


def remainder_delay(attempt: int, draw: random.Random) -> int:
    """Whole seconds until a remainder's next try: full jitter below 0.25 × 2^attempt, at most 20."""
    return round(draw.uniform(0, min(20.0, 0.25 * 2.0 ** min(attempt, 10))))


def group_by_first(failed: Iterable[tuple[str, int]]) -> dict[int, list[str]]:
    """Connections by the first seq that each is still owed."""
    groups: dict[int, list[str]] = {}
    for connection, first in failed:
        groups.setdefault(first, []).append(connection)
    return groups
