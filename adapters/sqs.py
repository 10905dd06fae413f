"""The broadcast's lanes on SQS.

The client keeps botocore's own retries of calls; what is tried again here are the entries that fail within a call that
succeeds.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from adapters.aws import NO_ANSWER, answered_status, error_code
from domain.errors import Unavailable
from domain.fanout import (
    Ephemeral,
    Job,
    Remainder,
    Rung,
    deduplication_of,
    encode_job,
    group_of,
    remainder_delay,
)
from domain.lanes import Lane
from domain.ports import BroadcastQueue, Clock

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient
    from types_aiobotocore_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

__all__ = ["QueueDefinition", "SqsQueue", "queue_definition"]

BATCH_ENTRIES = 10
BATCH_BYTES = 256 * 1024
"""What one call carries at most; 1 MiB where the queue's MaximumMessageSize says so."""
RESEND_DELAYS = (0.05, 0.1, 0.2)
"""Seconds, at most, before entries that failed within a call are sent again."""


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


class SqsQueue(BroadcastQueue):
    """The lanes on an SQS client. `queues` and `dead_letter_queues`: lane → URL.

    A deduplication id, room#epoch#shard#seq, has at most 70 + 3 × 17 characters, and SQS takes 128.
    """

    def __init__(
        self,
        client: SQSClient,
        queues: Mapping[str, str],
        dead_letter_queues: Mapping[str, str],
        clock: Clock,
        draw: random.Random,
    ) -> None:
        self._client = client
        self._queues = queues
        self._dead_letter_queues = dead_letter_queues
        self._clock = clock
        self._draw = draw

    async def ring(self, lane: str, jobs: Sequence[Rung]) -> None:
        await self._send(
            lane,
            [
                {
                    "Id": str(number),
                    "MessageBody": _body(it),
                    "MessageGroupId": group_of(it),
                    "MessageDeduplicationId": deduplication_of(it),
                }
                for number, it in enumerate(jobs)
            ],
        )

    async def defer(self, remainders: Sequence[Remainder]) -> None:
        await self._send(
            "retry",
            [
                {
                    "Id": str(number),
                    "MessageBody": _body(it),
                    "MessageGroupId": it.room,
                    "DelaySeconds": remainder_delay(it.attempt, self._draw),
                }
                for number, it in enumerate(remainders)
            ],
        )

    async def announce(self, job: Ephemeral, delay: int = 0) -> None:
        with _translated():
            await self._client.send_message(
                QueueUrl=self._queues["ephemeral"],
                MessageBody=_body(job),
                MessageGroupId=job.room,
                DelaySeconds=delay,
            )

    async def bury(self, lane: str, body: str, group: str | None) -> None:
        url = self._dead_letter_queues[lane]
        with _translated():
            if url.endswith(".fifo"):
                await self._client.send_message(
                    QueueUrl=url,
                    MessageBody=body,
                    MessageGroupId=group or "poison",
                    MessageDeduplicationId=uuid.uuid4().hex,
                )
            else:
                await self._client.send_message(QueueUrl=url, MessageBody=body)

    async def hide(self, lane: str, receipt: str, seconds: int) -> None:
        with _translated():
            try:
                await self._client.change_message_visibility(
                    QueueUrl=self._queues[lane], ReceiptHandle=receipt, VisibilityTimeout=seconds
                )
            except ClientError as error:
                # The message was deleted or is visible again: there is nothing left to hide.
                if error_code(error) not in _SPENT_RECEIPT:
                    raise

    async def _send(self, lane: str, entries: Sequence[SendMessageBatchRequestEntryTypeDef]) -> None:
        for batch in _batches(entries):
            await self._send_batch(self._queues[lane], batch)

    async def _send_batch(self, url: str, batch: Sequence[SendMessageBatchRequestEntryTypeDef]) -> None:
        for delay in (*RESEND_DELAYS, None):
            with _translated():
                answer = await self._client.send_message_batch(QueueUrl=url, Entries=batch)
            failed = {it["Id"]: it["Code"] for it in answer.get("Failed", ())}
            if not failed:
                return
            if delay is None:
                raise Unavailable(f"SendMessageBatch: {', '.join(sorted(set(failed.values())))}")
            batch = [it for it in batch if it["Id"] in failed]
            await self._clock.sleep(self._draw.uniform(0, delay))


def _body(job: Job) -> str:
    """The job as SQS takes it. Of what JSON lets through, U+FFFE and U+FFFF alone are in none of its messages."""
    return encode_job(job).replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")


def _batches(
    entries: Iterable[SendMessageBatchRequestEntryTypeDef],
) -> Iterator[list[SendMessageBatchRequestEntryTypeDef]]:
    batch: list[SendMessageBatchRequestEntryTypeDef] = []
    size = 0
    for it in entries:
        length = len(it["MessageBody"].encode())
        if batch and (len(batch) == BATCH_ENTRIES or size + length > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(it)
        size += length
    if batch:
        yield batch


# ------------------------------------------------------------------------------------------------ errors

_UNAVAILABLE = {"RequestThrottled", "ThrottlingException", "OverLimit", "KmsThrottled"}
"""Answers that mean: not now. So do all with a status of 500 and above; any other error is a fault of ours."""

_SPENT_RECEIPT = {
    "ReceiptHandleIsInvalid",
    "MessageNotInflight",
    "AWS.SimpleQueueService.MessageNotInflight",
    "InvalidParameterValue",  # a receipt of a FIFO queue whose time is over
}


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if error_code(error) in _UNAVAILABLE or answered_status(error) >= 500:
            raise Unavailable(f"{error.operation_name}: {error_code(error)}") from error
        raise
    except NO_ANSWER as error:
        raise Unavailable(type(error).__name__) from error
