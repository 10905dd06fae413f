"""The broadcast's lanes on SQS."""

from __future__ import annotations

from dataclasses import dataclass

from domain.lanes import Lane

__all__ = ["QueueDefinition", "queue_definition"]


@dataclass(frozen=True, slots=True)
class QueueDefinition:
    """A lane's queue and dead-letter queue, as `CreateQueue` wants them."""

    name: str
    attributes: dict[str, str]
    """Without RedrivePolicy: it needs the dead-letter queue's ARN; its maxReceiveCount is the lane's."""
    dead_name: str
    dead_attributes: dict[str, str]


def queue_definition(prefix: str, lane: Lane) -> QueueDefinition:
    """The queues of a lane in the deployment called `prefix`."""
    ending = ".fifo" if lane.fifo else ""
    kind = (
        {"FifoQueue": "true", "DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId"}
        if lane.fifo
        else {}
    )
    return QueueDefinition(
        name=f"{prefix}-{lane.name}{ending}",
        attributes={
            **kind,
            "VisibilityTimeout": str(round(lane.visibility)),
            "MessageRetentionPeriod": str(lane.retention),
            "ReceiveMessageWaitTimeSeconds": "20",
        },
        dead_name=f"{prefix}-{lane.name}-dead{ending}",
        dead_attributes={**kind, "MessageRetentionPeriod": str(lane.dead_retention)},
    )
