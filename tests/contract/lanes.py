"""A queue under test, with the worker's side of it."""

from __future__ import annotations

import asyncio
import json
import random
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Self

from msgspec import Raw

from adapters.memory import ManualClock, MemoryQueue
from adapters.sqs import SqsQueue, queue_definition
from domain.fanout import Doorbell, Job, Notice, Plan, Remainder, parse_job
from domain.lanes import LANES, Lane
from domain.ports import BroadcastQueue

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient

__all__ = ["SEED", "LaneStage", "MemoryLanes", "SqsLanes", "doorbell", "notice", "plan", "remainder"]

SEED = 7
MAX_RECEIVES = 2


def doorbell(seq: int, room: str = "general", shard: int = 0) -> Doorbell:
    return Doorbell(room=room, epoch=5, shard=shard, seq=seq)


def plan(seq: int, shards: int = 16, room: str = "general") -> Plan:
    return Plan(room=room, epoch=5, shards=shards, seq=seq)


def remainder(first: int = 1, attempt: int = 0, room: str = "general") -> Remainder:
    return Remainder(
        room=room, epoch=5, shard=0, first=first, last=first, connections=["a=", "b="], attempt=attempt, not_after=9
    )


def notice(event: bytes = b"{}", room: str = "general") -> Notice:
    return Notice(room=room, epoch=5, shard=0, event=Raw(event), skip="a=", not_after=9)


def short_lanes() -> dict[str, Lane]:
    return {name: Lane(name, it.fifo, max_receives=MAX_RECEIVES) for name, it in LANES.items()}


class LaneStage(ABC):
    """`queue` is under test. Messages stay hidden for 15 s unless the test hides them otherwise."""

    queue: BroadcastQueue

    @abstractmethod
    async def receive(self, lane: str, batch_size: int = 10) -> list[dict[str, Any]]:
        """What a worker is handed now: records with `body`, `receiptHandle` and `attributes`."""

    @abstractmethod
    async def delete(self, lane: str, receipt: str) -> None: ...

    @abstractmethod
    async def dead(self, lane: str) -> list[str]:
        """The bodies in the dead-letter queue."""

    @abstractmethod
    async def pass_time(self, seconds: float) -> None: ...

    async def jobs(self, lane: str, batch_size: int = 10) -> list[Job]:
        """The jobs of the next batch."""
        return [parse_job(it["body"]) for it in await self.receive(lane, batch_size)]


class MemoryLanes(LaneStage):
    """On `MemoryQueue`."""

    def __init__(self) -> None:
        self._clock = ManualClock()
        self._memory = MemoryQueue(self._clock, short_lanes(), random.Random(SEED))
        self.queue = self._memory

    async def receive(self, lane: str, batch_size: int = 10) -> list[dict[str, Any]]:
        return await self._memory.receive(lane, batch_size)

    async def delete(self, lane: str, receipt: str) -> None:
        await self._memory.delete(lane, receipt)

    async def dead(self, lane: str) -> list[str]:
        return self._memory.dead(lane)

    async def pass_time(self, seconds: float) -> None:
        self._clock.advance(seconds)


class SqsLanes(LaneStage):
    """On `SqsQueue` against an emulator, where time can only be waited for."""

    def __init__(self, client: SQSClient, queues: dict[str, str], dead_letter_queues: dict[str, str]) -> None:
        self.client = client
        self.queues = queues
        self.dead_letter_queues = dead_letter_queues
        self.queue = SqsQueue(client, queues, dead_letter_queues, ManualClock(), random.Random(SEED))

    @classmethod
    async def create(cls, client: SQSClient, prefix: str) -> Self:
        queues: dict[str, str] = {}
        dead_letter_queues: dict[str, str] = {}
        for lane in short_lanes().values():
            definition = queue_definition(prefix, lane)
            dead_attributes: Any = definition.dead_attributes
            dead = await client.create_queue(QueueName=definition.dead_name, Attributes=dead_attributes)
            described = await client.get_queue_attributes(QueueUrl=dead["QueueUrl"], AttributeNames=["QueueArn"])
            redrive = {"deadLetterTargetArn": described["Attributes"]["QueueArn"], "maxReceiveCount": MAX_RECEIVES}
            attributes: Any = definition.attributes | {"RedrivePolicy": json.dumps(redrive)}
            made = await client.create_queue(QueueName=definition.name, Attributes=attributes)
            queues[lane.name], dead_letter_queues[lane.name] = made["QueueUrl"], dead["QueueUrl"]
        return cls(client, queues, dead_letter_queues)

    async def receive(self, lane: str, batch_size: int = 10) -> list[dict[str, Any]]:
        answer = await self.client.receive_message(
            QueueUrl=self.queues[lane],
            MaxNumberOfMessages=batch_size,
            MessageSystemAttributeNames=["All"],
            WaitTimeSeconds=0,
        )
        return [
            {"body": it["Body"], "receiptHandle": it["ReceiptHandle"], "attributes": it["Attributes"]}
            for it in answer.get("Messages", [])
        ]

    async def delete(self, lane: str, receipt: str) -> None:
        await self.client.delete_message(QueueUrl=self.queues[lane], ReceiptHandle=receipt)

    async def dead(self, lane: str) -> list[str]:
        answer = await self.client.receive_message(
            QueueUrl=self.dead_letter_queues[lane], MaxNumberOfMessages=10, WaitTimeSeconds=0, VisibilityTimeout=0
        )
        return [it["Body"] for it in answer.get("Messages", [])]

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
