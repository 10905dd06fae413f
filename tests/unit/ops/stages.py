"""A stage on moto: its queues and whatever a command asks of AWS, in this process."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import aioboto3
import boto3
from moto import mock_aws

from adapters.sqs import queue_definition
from domain.fanout import Doorbell, Job, Remainder, encode_job, group_of
from domain.lanes import LANES, Lane
from ops.stage import Deployment

__all__ = ["REGION", "MotoStage", "doorbell", "moto_stage", "remainder"]

REGION = "us-east-1"


class MotoStage:
    """A deployment's queues, and what puts messages there."""

    def __init__(self, lanes: Mapping[str, Lane] = LANES) -> None:
        self.sqs = self.client("sqs")
        queues: dict[str, str] = {}
        dead: dict[str, str] = {}
        for lane in lanes.values():
            definition = queue_definition("roomcast-dev", lane)
            for name, attributes, urls in (
                (definition.name, definition.attributes, queues),
                (definition.dead_name, definition.dead_attributes, dead),
            ):
                urls[lane.name] = self.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        self.deployment = Deployment(
            name="dev",
            twin=False,
            prefix="roomcast-dev",
            websocket_url="wss://api",
            region=REGION,
            lanes=lanes,
            queues=queues,
            dead_letter_queues=dead,
            shard_limit=1_000,
            client=self.client,
            open_client=self.open_client,
        )

    @staticmethod
    def client(service: str) -> Any:
        return boto3.client(service, region_name=REGION)

    @staticmethod
    def open_client(service: str) -> Any:
        client: Any = aioboto3.Session(region_name=REGION).client
        return client(service)

    def bury(self, lane: str, *jobs: Job | str) -> None:
        """Put jobs, or bodies of any kind, into a lane's dead-letter queue."""
        for job in jobs:
            body = job if isinstance(job, str) else encode_job(job)
            group = group_of(job) if isinstance(job, Doorbell) else "poison"
            fifo = {"MessageGroupId": group, "MessageDeduplicationId": uuid.uuid4().hex}
            url = self.deployment.dead_letter_queues[lane]
            self.sqs.send_message(QueueUrl=url, MessageBody=body, **(fifo if LANES[lane].fifo else {}))

    def dead(self, lane: str) -> int:
        return self._count(self.deployment.dead_letter_queues[lane])

    def take(self, lane: str) -> list[dict[str, Any]]:
        """The messages that wait in a lane, and no longer after this."""
        taken = []
        url = self.deployment.queues[lane]
        while found := self.sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=0, AttributeNames=["All"]
        ).get("Messages"):
            for it in found:
                self.sqs.delete_message(QueueUrl=url, ReceiptHandle=it["ReceiptHandle"])
            taken += found
        return taken

    def _count(self, url: str) -> int:
        """Those that anybody may have now."""
        name = "ApproximateNumberOfMessages"
        return int(self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"][name])


def moto_stage() -> Iterator[MotoStage]:
    """For a fixture."""
    with mock_aws():
        yield MotoStage()


def doorbell(room: str, seq: int) -> Doorbell:
    return Doorbell(room=room, epoch=1, shard=0, seq=seq)


def remainder(room: str, *connections: str) -> Remainder:
    return Remainder(
        room=room, epoch=1, shard=0, first=1, last=2, connections=list(connections), attempt=1, not_after=1
    )
