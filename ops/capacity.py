"""What a load asks of AWS: rates, hot keys, what has to be raised, and the usage that is billed. Pure.

`ops/bills.py` says what each thing that happens costs, `ops/packing.py` how many of them the lanes make of a load.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from domain.lanes import LANES, Lane
from loadtest.cost import Usage
from ops.bills import CONNECT_SECONDS, DISCONNECT_SECONDS, ROUND_SECONDS, SEND_SECONDS, RoomShape, tick
from ops.packing import Group, LaneLoad, Traffic, settle, speed_of
from pipeline.known import KNOWN_MS

__all__ = ["INBOUND_RATE", "INTERACTIVE_RESERVE", "WEBHOOK_RATE", "Ask", "Forecast", "HotKey", "Load", "forecast"]

INBOUND_RATE = 1_500
WEBHOOK_RATE = 100
INTERACTIVE_RESERVE = 2_400
"""A stage's settings of these names, as they are by default."""
PING_SECONDS = 240
"""A v1 client pings so often, give or take a fifth."""
POLLS_A_MINUTE = 5 * 60 / 20
"""Receives that a mapping makes on a quiet queue: five pollers, twenty seconds each."""

HEAD_LIMIT = 80
"""Sends a second to one room: they follow one another at its head."""
PARTITION_READS = 3_000
PARTITION_WRITES = 1_000
TABLE_UNITS = 40_000
"""DynamoDB's units a second: of one partition, and of one table unless AWS raises it."""
GROUP_CALLS = 300
"""Calls of one kind a second to the partition of a FIFO queue that a message group is in."""
CONCURRENT_FUNCTIONS = 1_000
"""Lambda's quota of an account."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked, and of what."""

    groups: Sequence[Group]
    lanes: Mapping[str, Lane] = field(default_factory=lambda: dict(LANES))
    quota: float = 10_000
    """API Gateway's requests a second."""
    connects: float = 500
    """New connections a second at most."""
    session_minutes: float = 60
    """How long a connection stays."""

    @property
    def members(self) -> int:
        return sum(it.members for it in self.groups)

    @property
    def messages(self) -> float:
        """A second."""
        return sum(it.rooms * it.rate for it in self.groups)

    @property
    def deliveries(self) -> float:
        """A second."""
        return sum(it.unpacked for it in self.groups)

    @property
    def joins(self) -> float:
        """A second; as many leave."""
        return self.members / (self.session_minutes * 60)

    @property
    def inbound(self) -> float:
        """Requests of clients a second: messages, pings, connects and disconnects."""
        return self.messages + self.members / PING_SECONDS + 2 * self.joins


@dataclass(frozen=True, slots=True)
class HotKey:
    """One key of a table or queue, and the most that any room asks of it."""

    key: str
    what: str
    asked: float
    limit: float


@dataclass(frozen=True, slots=True)
class Ask:
    """Something to raise: AWS's quota, or a setting of the deployment."""

    name: str
    now: float
    needed: float
    why: str


@dataclass(frozen=True, slots=True)
class Forecast:
    """All that the model says of a load."""

    load: Load
    traffic: Sequence[Traffic]
    lanes: Sequence[LaneLoad]
    keys: Sequence[HotKey]
    """The nearest to its limit first."""
    usage: Usage
    """A second's."""

    @property
    def ramp_seconds(self) -> float:
        """Until all are connected, as fast as AWS takes them."""
        return self.load.members / self.load.connects

    @property
    def concurrency(self) -> float:
        """Functions that run at once, while all connect: the most there is."""
        answering = self.load.connects * CONNECT_SECONDS + self.load.joins * DISCONNECT_SECONDS
        return answering + self.load.messages * SEND_SECONDS + sum(it.max_workers for it in self.lanes)

    def asks(self) -> list[Ask]:
        """What to raise so that every message goes out at once, in a frame of its own, and nothing is dropped."""
        asks = []
        inbound = max(INBOUND_RATE, self.load.inbound)
        quota = WEBHOOK_RATE + inbound
        if inbound > INBOUND_RATE:
            asks.append(Ask("setting inbound_rate", INBOUND_RATE, inbound, "messages, pings, connects and disconnects"))
        for lane in self.load.lanes.values():
            load = next((it for it in self.lanes if it.name == lane.name), None)
            workers = lane.max_concurrency
            if load is not None and load.full:
                workers = _workers_for(load, lane)
                why = (
                    f"{load.unpacked:,.0f} posts/s with one entry a frame; it makes {min(load.posts, load.limit):,.0f}"
                )
                asks.append(Ask(f"setting lane.{lane.name}.max_concurrency", lane.max_concurrency, workers, why))
            if not lane.sockets:
                continue
            # The lane without a cap has a reserve.
            unpacked = load.unpacked if load is not None else 0.0
            quota += lane.post_rate * workers or max(INTERACTIVE_RESERVE, unpacked)
        if quota > self.load.quota:
            why = "inbound_rate, webhook_rate, what interactive posts, and post_rate × max_concurrency of the others"
            asks.insert(0, Ask("API Gateway: throttle rate, requests/s", self.load.quota, quota, why))
        if self.concurrency > CONCURRENT_FUNCTIONS:
            asks.append(
                Ask("Lambda: concurrent executions", CONCURRENT_FUNCTIONS, self.concurrency, "while all connect")
            )
        for what, units in (("read", self.usage.reads), ("write", self.usage.writes)):
            if units > TABLE_UNITS:
                why = "a bound: it is the sum over three tables"
                asks.append(Ask(f"DynamoDB: table-level {what} units/s", TABLE_UNITS, units, why))
        return asks


def forecast(load: Load) -> Forecast:
    """The model's answer."""
    ephemeral = _ephemeral(load)
    of_lane = {name: [it for it in load.groups if it.shape.lane == name] for name in ("bulk", "interactive")}
    bulk, bulk_load = settle(load.lanes["bulk"], of_lane["bulk"])
    # The lane without a cap has what the others leave.
    others = load.inbound + min(ephemeral.posts, ephemeral.limit) + bulk_load.posts
    left = max(INTERACTIVE_RESERVE, load.quota - others)
    interactive, interactive_load = settle(load.lanes["interactive"], of_lane["interactive"], left)
    traffic = [*interactive, *bulk]
    usage = sum((_usage_of(load, it) for it in traffic), tick() * (1 / 60))
    for lane in load.lanes.values():
        usage += (Usage(fifo=POLLS_A_MINUTE) if lane.fifo else Usage(standard=POLLS_A_MINUTE)) * (1 / 60)
    return Forecast(load, traffic, [interactive_load, bulk_load, ephemeral], _hot_keys(load, traffic), usage)


def _workers_for(load: LaneLoad, lane: Lane) -> int:
    """Workers that keep up with the lane, a fifth of their time to spare."""
    workers = math.ceil(1.25 * load.unpacked / speed_of(lane))
    # Where posts do not fill it, what each round takes beside them does.
    return workers if workers > lane.max_concurrency else 2 * lane.max_concurrency


# ------------------------------------------------------------------------------------------------ the bill


def _joins(load: Load, group: Group) -> float:
    """A second, in one room; as many leave."""
    return group.shape.members / (load.session_minutes * 60)


def _announced(load: Load, group: Group) -> Usage:
    """What one room's comings and goings are told, a second."""
    shape, joins = group.shape, _joins(load, group)
    usage = shape.welcoming() * joins
    if shape.roster:
        # The job that welcomes tells the others as well; who leaves has one of its own.
        return usage + (shape.telling(shape.members) + shape.telling(shape.members, jobs=1)) * joins
    changes = 2 * joins / shape.shards
    return usage + shape.counting() * (shape.shards / (shape.stats_every + 1 / changes))


def _ephemeral(load: Load) -> LaneLoad:
    lane = load.lanes["ephemeral"]
    announced = sum((_announced(load, it) * it.rooms for it in load.groups), Usage())
    posts, speed = announced.posts, speed_of(lane)
    busy = announced.invocations * ROUND_SECONDS + posts / speed
    limit = speed * lane.max_concurrency
    return LaneLoad(lane.name, posts, posts, limit, min(busy, lane.max_concurrency), lane.max_concurrency)


def _usage_of(load: Load, traffic: Traffic) -> Usage:
    """All rooms of a group, a second."""
    group, shape = traffic.group, traffic.group.shape
    speed = speed_of(load.lanes[shape.lane])
    unknown = _unknown(load, traffic)
    serving = shape.serving(traffic.entries, traffic.jobs_per_batch, unknown=unknown, posts_per_second=speed)
    ended = Usage(reads=2, writes=2)  # the sweep looks an ended connection up, ends it again, and deletes its due row
    room = (
        shape.sending() * group.rate
        + serving * (traffic.rounds * shape.shards)
        + (shape.connecting() + shape.leaving() + ended) * _joins(load, group)
        + _announced(load, group)
        + shape.pinging() * (shape.members / PING_SECONDS)
        + Usage(minutes=shape.members / 60)
    )
    return room * group.rooms


def _unknown(load: Load, traffic: Traffic) -> float:
    """The share of a shard's rounds whose worker reads the members: any of the lane's may serve it, and each knows them
    until somebody comes or goes, or a minute has passed."""
    shape = traffic.group.shape
    changes, longest = 2 * _joins(load, traffic.group) / shape.shards, KNOWN_MS / 1000
    valid = (1 - math.exp(-changes * longest)) / changes
    return 1 / (1 + traffic.rounds / load.lanes[shape.lane].max_concurrency * valid)


# ------------------------------------------------------------------------------------------------ hot keys


def _hot_keys(load: Load, traffic: Sequence[Traffic]) -> list[HotKey]:
    hottest: dict[tuple[str, str], HotKey] = {}
    for it in traffic:
        for key in _keys_of(load, it):
            known = hottest.get((key.key, key.what))
            if known is None or key.asked > known.asked:
                hottest[key.key, key.what] = key
    return sorted(hottest.values(), key=lambda it: -it.asked / it.limit)


def _keys_of(load: Load, traffic: Traffic) -> list[HotKey]:
    shape: RoomShape = traffic.group.shape
    rate, rounds = traffic.group.rate, traffic.rounds
    joins, pings, ramp = _joins(load, traffic.group), shape.members / PING_SECONDS, min(load.connects, shape.members)
    pages = -(-traffic.entries * shape.entry_bytes // 4096)
    members = _unknown(load, traffic) * shape.member_units(shape.shard_members)
    return [
        HotKey("room's head", "sends/s", rate, HEAD_LIMIT),
        # Its meta row and the users' rows are one partition: a send and a join each read it twice and check a user.
        HotKey("room", "read units/s", 2 * rate + 2 * joins + pings, PARTITION_READS),
        HotKey("room", "write units/s", 4 * rate + 2 * joins, PARTITION_WRITES),
        HotKey("room", "write units/s while all connect", 4 * rate + 2 * ramp, PARTITION_WRITES),
        HotKey("room's log", "read units/s", rounds * shape.shards * pages, PARTITION_READS),
        HotKey("room's log", "write units/s", 2 * -(-shape.entry_bytes // 1024) * rate, PARTITION_WRITES),
        HotKey("shard's members", "read units/s", rounds * (1 + members), PARTITION_READS),
        HotKey("shard's members", "write units/s", rounds + 5 * joins / shape.shards, PARTITION_WRITES),
        HotKey("shard's message group", "calls/s of a kind", rate, GROUP_CALLS),
    ]
