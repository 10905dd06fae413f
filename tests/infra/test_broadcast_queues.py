"""The queues of the template are those that the twin makes; each lane has its dead-letter queue."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.sqs import queue_definition
from domain.lanes import LANES, Lane
from tests.infra.templates import Template

QUEUE = "AWS::SQS::Queue"
PREFIX = "roomcast-dev"

EVERY_LANE = pytest.mark.parametrize("lane", LANES.values(), ids=lambda it: it.name)


def attributes(queue: dict[str, Any]) -> dict[str, str]:
    """A queue's properties as `CreateQueue` writes them."""
    known = {
        "FifoQueue": "FifoQueue",
        "DeduplicationScope": "DeduplicationScope",
        "FifoThroughputLimit": "FifoThroughputLimit",
        "VisibilityTimeout": "VisibilityTimeout",
        "MessageRetentionPeriod": "MessageRetentionPeriod",
        "ReceiveMessageWaitTimeSeconds": "ReceiveMessageWaitTimeSeconds",
        "DelaySeconds": "DelaySeconds",
        "MaximumMessageSize": "MaximumMessageSize",
        "ContentBasedDeduplication": "ContentBasedDeduplication",
    }
    own = {"QueueName", "RedrivePolicy", "SqsManagedSseEnabled"}
    assert set(queue) <= set(known) | own
    return {
        name: str(queue[it]).lower() if queue[it] is True else str(queue[it])
        for it, name in known.items()
        if it in queue
    }


@EVERY_LANE
def test_a_queue_is_what_the_twin_makes(service: Template, lane: Lane) -> None:
    """Every attribute, and no other, of the queue and of its dead-letter queue."""
    queues = service.named(QUEUE)
    definition = queue_definition(PREFIX, lane)
    assert attributes(queues[definition.name]) == definition.attributes
    assert attributes(queues[definition.dead_name]) == definition.dead_attributes


@EVERY_LANE
def test_a_job_that_fails_too_often_is_set_aside(service: Template, lane: Lane) -> None:
    """In the lane's own dead-letter queue, after as many receives as the lane says."""
    definition = queue_definition(PREFIX, lane)
    assert service.named(QUEUE)[definition.name]["RedrivePolicy"] == {
        "deadLetterTargetArn": f"<{definition.dead_name}.Arn>",
        "maxReceiveCount": lane.max_receives,
    }
    assert "RedrivePolicy" not in service.named(QUEUE)[definition.dead_name]


def test_queues_are_encrypted_at_rest_and_on_the_way(service: Template) -> None:
    """By SQS's own key, and whoever comes without TLS is denied."""
    queues = service.named(QUEUE)
    assert len(queues) == 2 * len(LANES)
    policies = {
        it["Queues"][0]: it["PolicyDocument"]["Statement"] for it in service.of("AWS::SQS::QueuePolicy").values()
    }
    for name, queue in queues.items():
        assert queue["SqsManagedSseEnabled"] is True
        [statement] = policies[f"<{name}>"]
        assert (statement["Effect"], statement["Action"]) == ("Deny", "sqs:*")
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        assert statement["Resource"] == f"<{name}.Arn>"


def test_logical_ids_stay(service: Template) -> None:
    """A new logical id is a new queue: what waits in the old one is lost."""
    assert service.ids(QUEUE) == {
        "roomcast-dev-interactive.fifo": "QueuesInteractiveCAF396D7",
        "roomcast-dev-interactive-dead.fifo": "QueuesInteractiveDead7C58BCFE",
        "roomcast-dev-bulk.fifo": "QueuesBulk4E0373C1",
        "roomcast-dev-bulk-dead.fifo": "QueuesBulkDead973216F1",
        "roomcast-dev-retry": "QueuesRetry03C75A72",
        "roomcast-dev-retry-dead": "QueuesRetryDead2793E517",
        "roomcast-dev-ephemeral": "QueuesEphemeral6C2110C8",
        "roomcast-dev-ephemeral-dead": "QueuesEphemeralDeadCCCD6EAC",
        "roomcast-dev-hooks.fifo": "QueuesHooks54A57456",
        "roomcast-dev-hooks-dead.fifo": "QueuesHooksDead3BDCB3C4",
    }
