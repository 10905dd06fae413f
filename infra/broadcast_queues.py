"""A queue and a dead-letter queue for each lane, from the definitions that the twin's emulator gets too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from adapters.sqs import queue_definition
from domain.lanes import Lane

__all__ = ["BroadcastQueues"]


class BroadcastQueues(Construct):
    """`queues` and `dead_letter_queues`: lane → queue."""

    def __init__(self, scope: Construct, construct_id: str, *, prefix: str, lanes: Mapping[str, Lane]) -> None:
        super().__init__(scope, construct_id)
        self.queues: dict[str, sqs.Queue] = {}
        self.dead_letter_queues: dict[str, sqs.Queue] = {}
        for lane in lanes.values():
            definition = queue_definition(prefix, lane)
            dead = self._queue(f"{lane.name.title()}Dead", definition.dead_name, definition.dead_attributes)
            redrive = sqs.DeadLetterQueue(queue=dead, max_receive_count=lane.max_receives)
            self.dead_letter_queues[lane.name] = dead
            self.queues[lane.name] = self._queue(lane.name.title(), definition.name, definition.attributes, redrive)

    def _queue(
        self, name: str, queue_name: str, attributes: Mapping[str, str], redrive: sqs.DeadLetterQueue | None = None
    ) -> sqs.Queue:
        queue = sqs.Queue(
            self,
            name,
            queue_name=queue_name,
            dead_letter_queue=redrive,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            removal_policy=RemovalPolicy.DESTROY,
            **{field: read(attributes[it]) for it, (field, read) in _PROPERTIES.items() if it in attributes},
        )
        unknown = set(attributes) - set(_PROPERTIES)
        if unknown:
            raise NotImplementedError(f"queue attributes that the construct does not know: {sorted(unknown)}")
        return queue


def _seconds(text: str) -> Duration:
    return Duration.seconds(int(text))


_PROPERTIES: Mapping[str, tuple[str, Any]] = {
    "FifoQueue": ("fifo", lambda text: text == "true"),
    "DeduplicationScope": ("deduplication_scope", {"messageGroup": sqs.DeduplicationScope.MESSAGE_GROUP}.get),
    "FifoThroughputLimit": (
        "fifo_throughput_limit",
        {"perMessageGroupId": sqs.FifoThroughputLimit.PER_MESSAGE_GROUP_ID}.get,
    ),
    "VisibilityTimeout": ("visibility_timeout", _seconds),
    "MessageRetentionPeriod": ("retention_period", _seconds),
    "ReceiveMessageWaitTimeSeconds": ("receive_message_wait_time", _seconds),
}
"""SQS attribute → the construct's property, and how its value is read."""
