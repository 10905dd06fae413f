"""What each thing that happens in a room makes AWS count: requests, units and posts, as the code makes them.

Row sizes and durations are assumed; everything else is counted, and compared with a load test's counters in
`tests/e2e/test_plan.py`. Conflicts that are tried again, clients that don't read and posts that fail are left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from domain.fanout import PLAN_ABOVE, STATS_DELAY_MS, STATS_EVERY_MS
from domain.presence import PRESENCE_EVERY
from domain.protocol import FRAME_LIMIT
from domain.rooms import Rules
from loadtest.cost import API_GB, MEMBER_BYTES, WORKER_GB, Usage

__all__ = [
    "CONNECT_SECONDS",
    "ENTRY_BYTES",
    "ROUND_SECONDS",
    "SEND_SECONDS",
    "RoomShape",
    "batch_of",
    "shards_of",
    "tick",
]

ENTRY_BYTES = 300
"""A log entry beside its message, as a row and on the wire."""
SHARD_BYTES = 100
"""A shard's own row, which stands among its members."""

CONNECT_SECONDS = 0.06
"""The authorizer and `$connect`, together."""
SEND_SECONDS = 0.03
DISCONNECT_SECONDS = 0.06
ROUND_SECONDS = 0.03
"""A worker's round beside the posts: it is invoked, reads a shard's row, the log and the members, and advances."""

BATCH_SEND = 10
"""Messages in one request to SQS."""


@dataclass(frozen=True, slots=True)
class RoomShape:
    """One room, and what its requests come to."""

    members: int
    message_bytes: int = 200
    member_bytes: int = MEMBER_BYTES
    rules: Rules = field(default_factory=Rules)

    @property
    def shards(self) -> int:
        return shards_of(self.members, self.rules.shard_limit)

    @property
    def shard_members(self) -> float:
        return self.members / self.shards

    @property
    def lane(self) -> str:
        return "interactive" if self.shards == 1 else "bulk"

    @property
    def entry_bytes(self) -> int:
        return ENTRY_BYTES + self.message_bytes

    @property
    def roster(self) -> bool:
        """Whether the room is told who comes and goes."""
        return self.shards == 1 and self.members <= self.rules.roster_limit

    @property
    def stats_every(self) -> float:
        """Seconds, at least, between two counts that a shard of a large room is told."""
        return min(STATS_EVERY_MS * self.shards, STATS_DELAY_MS) / 1000

    def frames(self, entries: float) -> float:
        """Frames that so many entries make for one member."""
        return max(1.0, entries * self.entry_bytes / FRAME_LIMIT)

    # ---- comings and goings

    def connecting(self, *, new_user: bool = False) -> Usage:
        """A handshake: rooms before and after, own member row; one transaction of eight rows; two counts; one job."""
        choices = 0 if self.shards == 1 else min(4, self.shards)
        return Usage(
            invocations=2,
            gb_seconds=CONNECT_SECONDS * API_GB,
            standard=1,
            reads=2 + 2 + 1 + choices,
            writes=8 * 2 + 2 + (2 if new_user else 0),  # who is new has no inbox yet
        )

    def welcoming(self, jobs_per_batch: float = 1) -> Usage:
        """The `arrived` job, and the welcome that it posts."""
        return Usage(posts=1, reads=1) + batch_of(1 / jobs_per_batch, fifo=False)

    def telling(self, listeners: float, jobs: float = 0) -> Usage:
        """An ephemeral event for a shard that has so many members, one of whom it is about; `jobs`: of its own."""
        own = Usage(standard=jobs) + batch_of(jobs, fifo=False)
        return own + Usage(posts=max(0, listeners - 1), reads=self.member_units(listeners))

    def counting(self) -> Usage:
        """A large room's shard is told how many are in the room: claimed, enqueued, counted, posted."""
        own = Usage(posts=self.shard_members, standard=1, reads=1 + self.shards, writes=1)
        return own + batch_of(1, fifo=False) + Usage(reads=self.member_units(self.shard_members))

    def leaving(self) -> Usage:
        """A `$disconnect`: the connection's row, its rows listed; of room and inbox two rows and a count."""
        return Usage(invocations=1, gb_seconds=DISCONNECT_SECONDS * API_GB, reads=1, writes=1 + 2 * (2 + 1))

    def pinging(self) -> Usage:
        """A ping: its own rows, the heads of room and inbox, the lease; the user's status, which every third renews."""
        own = Usage(inbound=1, replies=1, invocations=1, gb_seconds=SEND_SECONDS * API_GB, reads=1 + 2 + 1, writes=1)
        return own + self.working_out() * (1 / 3)

    # ---- how users are

    def working_out(self) -> Usage:
        """A status of a user with one device: the row, the inbox's meta row, the connections; the row written."""
        return Usage(reads=3, writes=1)

    def appearing(self) -> Usage:
        """A first device has come: worked out, and whom to tell looked up; a small room notes it."""
        return self.working_out() + Usage(reads=3, writes=1 if self.roster else 0)

    def vanishing(self) -> Usage:
        """The last device has gone."""
        return self.working_out() + Usage(reads=2, writes=1 if self.roster else 0)

    def telling_presence(self, listeners: float, changed: float) -> Usage:
        """The job of a small room's window: the set taken, the users' rows and the members read, a post for each."""
        own = Usage(standard=1, posts=listeners, reads=changed + self.member_units(listeners), writes=1)
        return own + batch_of(1, fifo=False)

    # ---- messages

    def sending(self) -> Usage:
        """A message until its ack: four rows read, five written in one transaction, one call to the queue."""
        planned = (
            Usage() if self.shards <= PLAN_ABOVE else batch_of(1, fifo=True) + Usage(fifo=-(-self.shards // BATCH_SEND))
        )
        return planned + Usage(
            inbound=1,
            replies=1,
            invocations=1,
            gb_seconds=SEND_SECONDS * API_GB,
            fifo=1,
            reads=4,
            writes=2 * (4 + -(-self.entry_bytes // 1024)),
        )

    def serving(
        self, entries: float = 1, jobs_per_batch: float = 1, *, unknown: float = 1, posts_per_second: float = 4_000
    ) -> Usage:
        """One shard's round of so many entries, and the doorbells of those that it served before they were read.

        `unknown`: the share of rounds whose worker does not know the members and reads them.
        """
        posts = self.shard_members * self.frames(entries)
        batches = max(entries, 1.0) / jobs_per_batch
        return batch_of(batches, fifo=True) + Usage(
            posts=posts,
            gb_seconds=(posts / posts_per_second) * WORKER_GB,
            # A doorbell that comes alone and late costs the shard's row, unless its worker is the one that served it.
            reads=1
            + max(0.0, batches - 1)
            + -(-entries * self.entry_bytes // 4096)
            + unknown * self.member_units(self.shard_members),
            writes=1,
        )

    def member_units(self, members: float) -> float:
        """Read units of a shard's members."""
        return max(1.0, -(-(SHARD_BYTES + members * self.member_bytes) // 4096))

    # ---- a room's whole life, as a load test leads it

    def filling(self, seconds: float, jobs_per_batch: float = 1, lag: float = 0) -> Usage:
        """All members join a room that nobody was in, evenly within so many seconds.

        `lag`: seconds until others are told of a join; so those are told as well who have joined meanwhile.
        """
        meanwhile = round(self.members / seconds * lag)
        total = Usage(writes=2 * 2 + 1)  # its meta and directory rows, and the index
        told = 0
        window = 1 + round(self.members / seconds * PRESENCE_EVERY)  # who is told of in one event
        for members in range(1, self.members + 1):
            before = shards_of(members - 1, self.rules.shard_limit)
            after = shards_of(members, self.rules.shard_limit)
            there = RoomShape(members, self.message_bytes, self.member_bytes, self.rules)
            total += there.connecting(new_user=True) + there.welcoming(jobs_per_batch) + there.appearing()
            if there.roster and (members % window == 0 or members == self.members):
                total += there.telling_presence(members, min(window, members))
            if before == 1 and members <= self.rules.roster_limit:
                total += there.telling(min(self.members, members + meanwhile))
                told += 1
            if after > before:
                total += Usage(writes=2 + before)  # claimed, the new shards begun, doubled
        if not self.roster:
            counts = seconds * (1 - told / self.members) / self.stats_every
            total += self.counting() * (self.shards * max(1.0, counts))
        return total

    def speaking(self, messages: float, entries: float = 1, jobs_per_batch: float = 1, workers: int = 2) -> Usage:
        """So many messages within a minute in which nobody comes or goes, served in rounds of so many entries.

        `workers`: each of which reads a shard's members the first time that it serves it, and knows them from then on.
        """
        rounds = messages / entries
        unknown = workers * (1 - (1 - 1 / workers) ** rounds) / rounds
        return self.sending() * messages + self.serving(entries, jobs_per_batch, unknown=unknown) * (
            rounds * self.shards
        )

    def emptying(self, jobs_per_batch: float = 1) -> Usage:
        """All sockets close at once: posts to those that are still members find nobody.

        The first shard had its last join before the room was doubled, and so takes it for a small one in the end.
        """
        first = self.members if self.shards == 1 else self.rules.shard_limit * 4 // 5 + 1
        told = min(first, self.rules.roster_limit)
        total = (self.leaving() + self.vanishing()) * self.members + batch_of(told / jobs_per_batch, fifo=False)
        if self.roster:
            total += self.telling_presence(0, self.members)
        for members in range(told):
            total += Usage(reads=self.telling(members).reads, standard=1)
        if not self.roster:
            last = RoomShape(0, self.message_bytes, self.member_bytes, self.rules).counting()
            total += (last + Usage(reads=self.shards - 1)) * self.shards
        return total


def shards_of(members: int, limit: int) -> int:
    """The shards of a room that grew to so many members: doubled whenever one is four fifths full."""
    shards = 1
    while members * 5 > limit * 4 * shards:
        shards *= 2
    return shards


def batch_of(batches: float, *, fifo: bool) -> Usage:
    """Batches that a worker is invoked with: received, and deleted when they are done."""
    calls = Usage(fifo=2) if fifo else Usage(standard=2)
    return (calls + Usage(invocations=1, gb_seconds=ROUND_SECONDS * WORKER_GB)) * batches


def tick() -> Usage:
    """The sweep of a minute's leases, four partitions, where none has ended."""
    return Usage(invocations=1, gb_seconds=SEND_SECONDS * API_GB, reads=4 * 2, writes=4)
