"""How the lanes carry a load: entries a frame, rounds, and waiting. Pure.

Packing follows from load. What is stored while a shard's round is under way goes out in its next round, so entries that
come at `rate` make 1 / (round + e^(-rate × round) / rate) rounds a second. A lane whose workers have no time for all of
these comes back to a shard only once a cycle: the shortest cycle in which its rounds fit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from domain.fanout import ROUND_BYTES, ROUND_ENTRIES
from domain.lanes import Lane
from ops.bills import ROUND_SECONDS, RoomShape

__all__ = ["Group", "LaneLoad", "Traffic", "gathered", "rounds_a_second", "settle", "speed_of"]

POST_SECONDS = 0.015
"""The round trip of a post."""
POSTS_PER_WORKER = 5_000
"""What one processor posts a second at most."""
LATE_JOB_SECONDS = 0.01
"""A worker's time for a doorbell whose entry was served before."""
LATENCY = 0.06
"""Seconds from a message to its first round: accepted, stored, rung, received."""
LONGEST_CYCLE = 3_600.0
HALVINGS = 50
"""Of the interval in which a lane's cycle is looked for."""
REFINEMENTS = 20
"""Of a round, whose length and entries depend on each other."""


@dataclass(frozen=True, slots=True)
class Group:
    """So many rooms alike; `rate` is the messages a second in each of them."""

    rooms: int
    shape: RoomShape
    rate: float

    @property
    def members(self) -> int:
        return self.rooms * self.shape.members

    @property
    def unpacked(self) -> float:
        """Posts a second with one entry a frame."""
        return self.members * self.rate


@dataclass(frozen=True, slots=True)
class Traffic:
    """How the messages of a group's rooms travel. Times are in seconds."""

    group: Group
    entries: float
    """In one round of a shard."""
    rounds: float
    """Of one shard, a second."""
    round_seconds: float
    to_last: float
    """From a message to its room's last member, as the model expects it."""
    at_least: float
    """The same without latency or waiting: members ÷ the posts a second of the workers that can serve the room."""
    overloaded: bool
    """More entries come than rounds can hold, so that ever more wait."""
    jobs_per_batch: float
    """Doorbells, of any room, that a worker is invoked with."""

    @property
    def posts(self) -> float:
        """A second, of all the rooms."""
        return self.rounds * self.group.members * self.group.shape.frames(self.entries)


@dataclass(frozen=True, slots=True)
class LaneLoad:
    """What a lane carries, a second."""

    name: str
    posts: float
    unpacked: float
    """Posts with one entry a frame."""
    limit: float
    """Posts that it can make: post_rate × max_concurrency, or what its workers or the quota allow if that is less."""
    workers: float
    """Busy at once."""
    max_workers: int
    cycle: float = 0.0
    """Seconds after which it comes back to a shard; 0: it keeps up with all of them."""

    @property
    def full(self) -> bool:
        """Whether messages wait for it, or are dropped where it is the ephemeral one."""
        return self.cycle > 0 or self.posts > self.limit


@dataclass(frozen=True, slots=True)
class _Round:
    entries: float
    rounds: float
    seconds: float
    busy: float
    """Workers that all rooms of the group keep busy."""
    overloaded: bool


def speed_of(lane: Lane) -> float:
    """Posts a second of one of its workers."""
    return min(lane.post_rate or math.inf, lane.post_concurrency / POST_SECONDS, POSTS_PER_WORKER)


def gathered(rate: float, fixed: float, each: float, workers: float, most: float) -> float:
    """Jobs that a worker finds when it asks: what came while a batch took `fixed` + `each` × jobs seconds."""
    free = 1 - rate * each / workers
    return most if free <= 0 else min(most, max(1.0, rate * fixed / workers / free))


def rounds_a_second(rate: float, wait: float) -> float:
    """Rounds of a shard whose next one comes after `wait`, or with the next entry if none has come by then; entries
    come at random."""
    return 1 / (wait + math.exp(-rate * wait) / rate)


def settle(lane: Lane, groups: Sequence[Group], most: float = math.inf) -> tuple[list[Traffic], LaneLoad]:
    """The traffic of each of the groups, all of this lane, which may make at most so many posts a second."""
    speed = min(speed_of(lane), most / lane.max_concurrency)
    jobs = sum(it.rooms * it.rate * it.shape.shards for it in groups)
    unpacked = sum(it.unpacked for it in groups)
    each = unpacked / speed / jobs if jobs else 0.0
    batch = gathered(jobs, ROUND_SECONDS, each, lane.max_concurrency, lane.batch_size)

    def fits(cycle: float) -> bool:
        return sum(_round(it, cycle, speed, lane.batch_size).busy for it in groups) <= lane.max_concurrency

    low = high = 0.0
    if not fits(0.0):
        high = LONGEST_CYCLE
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (low, middle) if fits(middle) else (middle, high)
    if high:
        batch = lane.batch_size
    rounds = [_round(it, high, speed, batch) for it in groups]
    traffic = [
        Traffic(
            group=group,
            entries=it.entries,
            rounds=it.rounds,
            round_seconds=it.seconds,
            to_last=LATENCY + (high + it.seconds if high else it.seconds * _turns(group, lane)),
            at_least=group.shape.members / (speed * min(lane.max_concurrency, group.shape.shards)),
            overloaded=it.overloaded,
            jobs_per_batch=batch,
        )
        for group, it in zip(groups, rounds, strict=True)
    ]
    return traffic, LaneLoad(
        name=lane.name,
        posts=sum(it.posts for it in traffic),
        unpacked=unpacked,
        limit=speed * lane.max_concurrency,
        workers=min(lane.max_concurrency, sum(it.busy for it in rounds)),
        max_workers=lane.max_concurrency,
        cycle=high,
    )


def _turns(group: Group, lane: Lane) -> int:
    """Rounds one after the other until all shards of a room are served."""
    return -(-group.shape.shards // lane.max_concurrency)


def _round(group: Group, cycle: float, speed: float, batch: float) -> _Round:
    """A shard's round, where the lane comes back to it once a cycle, or as soon as it is done."""
    shape, rate = group.shape, group.rate
    most = min(ROUND_ENTRIES, ROUND_BYTES / shape.entry_bytes)
    entries, seconds, rounds = 1.0, 0.0, rate
    for _ in range(REFINEMENTS):
        seconds = ROUND_SECONDS / batch + shape.shard_members * shape.frames(entries) / speed
        rounds = rounds_a_second(rate, max(seconds, cycle))
        entries = min(most, rate / rounds)
    late = max(0.0, rate - rounds) / batch * LATE_JOB_SECONDS
    return _Round(
        entries=entries,
        rounds=rounds,
        seconds=seconds,
        busy=group.rooms * shape.shards * (rounds * seconds + late),
        overloaded=rate / rounds > most,
    )
