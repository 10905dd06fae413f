"""Dead letters: what they are, why they are dead, and the calls to SQS that read them and move them.

A message of a dead-letter queue is hidden while somebody has it, and so, in a FIFO queue, are all messages behind it in
its group. So what is only looked at is shown again at once, and of a group no more than ten are seen in advance.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from domain.errors import NewerVersion, UnreadableJob
from domain.fanout import Absent, Arrived, Doorbell, HookBell, Job, Notice, Plan, Presences, Remainder, Stats, parse_job
from domain.lanes import Lane
from ops.stage import Deployment

__all__ = ["HIDDEN_SECONDS", "Cause", "DeadLetter", "DeadLetters", "in_order", "posts_of", "read_letter"]

HIDDEN_SECONDS = 60
"""How long a received letter stays hidden; when this program is killed, it is back after so long."""
CALL_ENTRIES = 10
"""Messages in one call to SQS at most."""
WAIT_SECONDS = 1
"""A long poll asks all of SQS's servers: a short one may find nothing where something is."""


class Cause(Enum):
    """Why a job is dead."""

    FAILED = "failed too often"
    BURIED = "unreadable then, not now"
    POISON = "unreadable"
    NEWER = "newer release's"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message of a lane's dead-letter queue."""

    lane: str
    id: str
    receipt: str
    body: str
    group: str | None
    sent_at: int
    """Milliseconds since 1970. SQS counts anew when it moves a message to a FIFO dead-letter queue."""
    cause: Cause
    job: Job | None
    """None where it can't be read."""
    reason: str = ""
    """Why not."""


def read_letter(lane: str, message: dict[str, Any]) -> DeadLetter:
    """A message of ReceiveMessage as a dead letter."""
    attributes = message.get("Attributes", {})
    job: Job | None = None
    reason = ""
    try:
        job = parse_job(message["Body"])
        # SQS names the queue it took a message from; what a worker buried was sent.
        cause = Cause.FAILED if "DeadLetterQueueSourceArn" in attributes else Cause.BURIED
    except NewerVersion as error:
        cause, reason = Cause.NEWER, str(error)
    except UnreadableJob as error:
        cause, reason = Cause.POISON, str(error)
    return DeadLetter(
        lane=lane,
        id=message["MessageId"],
        receipt=message["ReceiptHandle"],
        body=message["Body"],
        group=attributes.get("MessageGroupId"),
        sent_at=int(attributes.get("SentTimestamp", 0)),
        cause=cause,
        job=job,
        reason=reason,
    )


def in_order(letters: Iterable[DeadLetter]) -> list[DeadLetter]:
    """As their rooms want them: by group, in the order of the log."""
    return sorted(letters, key=lambda it: (it.group or "", getattr(it.job, "seq", getattr(it.job, "first", 0))))


def posts_of(job: Job, shard_limit: int, now: int) -> int:
    """Posts that a job costs at most, for each frame that it sends; `now` in ms since 1970."""
    match job:
        case Remainder():  # past its time it is one beacon to each
            return len(job.connections)
        case Arrived() | Notice() | Stats() | Presences() if job.not_after < now:  # its worker drops it
            return 0
        case Absent() | HookBell():  # tells who has no connection
            return 0
        case Plan():
            return job.shards * shard_limit
        case Doorbell() | Arrived() | Notice() | Stats() | Presences():
            return shard_limit


class DeadLetters:
    """A lane's dead-letter queue, and the queue that its letters go back to. Calls belong within `answered`."""

    def __init__(self, deployment: Deployment, lane: Lane, sqs: Any) -> None:
        """`sqs`: a boto3 client."""
        self.lane = lane
        self._sqs = sqs
        self._queue = deployment.queues[lane.name]
        self._dead = deployment.dead_letter_queues[lane.name]

    def count(self) -> int:
        """How many there are, the hidden ones too; about, as SQS says."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        attributes = self._sqs.get_queue_attributes(QueueUrl=self._dead, AttributeNames=names)["Attributes"]
        return sum(int(attributes[it]) for it in names)

    def receive(self) -> list[DeadLetter]:
        """At most ten, hidden from now on; none where all that remain are hidden."""
        answer = self._sqs.receive_message(
            QueueUrl=self._dead,
            MaxNumberOfMessages=CALL_ENTRIES,
            VisibilityTimeout=HIDDEN_SECONDS,
            WaitTimeSeconds=WAIT_SECONDS,
            MessageSystemAttributeNames=["All"],
        )
        return [read_letter(self.lane.name, it) for it in answer.get("Messages", ())]

    def show(self, letters: Sequence[DeadLetter]) -> None:
        """End their hiding."""
        for start in range(0, len(letters), CALL_ENTRIES):
            # What fails here has been shown by time, or taken by another.
            self._sqs.change_message_visibility_batch(
                QueueUrl=self._dead,
                Entries=[
                    {"Id": str(number), "ReceiptHandle": it.receipt, "VisibilityTimeout": 0}
                    for number, it in enumerate(letters[start : start + CALL_ENTRIES])
                ],
            )

    def redrive(self, letter: DeadLetter) -> str:
        """Send a letter's job to its lane, then delete the letter; the new message's id.

        A death in between leaves a job twice, and jobs are idempotent. The id for the deduplication is a fresh one: the
        old one would be swallowed silently for five minutes.
        """
        group = {} if letter.group is None else {"MessageGroupId": letter.group}
        fresh = {"MessageDeduplicationId": uuid.uuid4().hex} if self.lane.fifo else {}
        sent = self._sqs.send_message(QueueUrl=self._queue, MessageBody=letter.body, **group, **fresh)
        self.delete(letter)
        return str(sent["MessageId"])

    def delete(self, letter: DeadLetter) -> None:
        """For ever."""
        self._sqs.delete_message(QueueUrl=self._dead, ReceiptHandle=letter.receipt)
