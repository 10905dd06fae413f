"""SQS event source mappings: a lane's queue to its function.

A mapping asks SQS only when an environment is free. One that fetches ahead holds batches of one, and packing is gone.
Then it is Lambda's contract: what the function does not name in `batchItemFailures` is deleted; when the function
fails, or names a message that was not in the batch, nothing is.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from botocore.exceptions import BotoCoreError, ClientError

from domain.lanes import Lane
from local.cloud import ACCOUNT, REGION
from local.functions import InvocationFailed, Invoke

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient
    from types_aiobotocore_sqs.type_defs import MessageTypeDef

__all__ = ["BatchFunction", "EventSource", "SourceTally"]

BUSY_SECONDS = 1.0
"""How long after the last message the queue is still polled at short intervals."""
BUSY_POLL_SECONDS = 0.015
IDLE_WAIT_SECONDS = 1
"""A long poll's wait. The emulator answers it in steps of 100 ms."""
OUTAGE_SECONDS = 0.5
"""The pause after a call to SQS that failed."""
CALL_ENTRIES = 10
"""Messages in one call to SQS at most."""
FORGET_SECONDS = 10.0
"""Beyond the visibility time: a message that has not come again by then is in the dead-letter queue."""

_OUTAGES = (BotoCoreError, ClientError)
_log = logging.getLogger(__name__)


class BatchFunction(Protocol):
    """The function behind a mapping."""

    max_concurrency: int

    def free_environment(self) -> AbstractAsyncContextManager[Invoke]:
        """Wait for a free environment and hold it; the block gets the call that invokes it."""
        ...


@dataclass(slots=True)
class SourceTally:
    """What a mapping has done since it was made."""

    receives: int = 0
    """ReceiveMessage calls, the empty ones too."""
    empty_receives: int = 0
    messages: int = 0
    batches: int = 0
    failed_batches: int = 0
    """Batches whose function failed, so that nothing was deleted."""
    deletes: int = 0
    """DeleteMessageBatch calls."""
    deleted: int = 0
    """Messages."""


class EventSource:
    """The mapping from one lane's queue to its function."""

    def __init__(self, lane: Lane, queue_url: str, function: BatchFunction, sqs: SQSClient) -> None:
        """`sqs` needs a read time-out of more than `IDLE_WAIT_SECONDS`; the caller closes it after `stop`."""
        self.tally = SourceTally()
        self._lane = lane
        self._url = queue_url
        self._arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue_url.rsplit('/', 1)[1]}"
        self._function = function
        self._sqs = sqs
        self._owed: dict[str, tuple[float, float]] = {}
        """Message received and not done → when it was sent, and when to forget it: seconds since 1970."""
        self._receiving = asyncio.Lock()
        self._waiting = 0
        """Environments that are free, and whose turn to receive it is not."""
        self._ready: deque[list[MessageTypeDef]] = deque()
        """Groups for them."""
        self._busy_until = 0.0
        self._pollers: set[asyncio.Task[None]] = set()
        self._wanted = 0
        """How many of them there are to be."""
        self._stopping = False

    def start(self) -> None:
        """Begin to poll: a poller for each environment that the function may have."""
        self._have_pollers(self._function.max_concurrency)

    def change(self, lane: Lane) -> None:
        """Give it other settings, from the next receive on: batches under way end as they began.

        Pollers that are too many end, each once it has no batch in hand. The function is the caller's to resize.
        """
        self._lane = lane
        self._have_pollers(lane.max_concurrency)

    async def stop(self, grace: float = 2.0) -> None:
        """Receive no more, and wait at most `grace` seconds for the receive and the batches under way.

        A receive that were given up could still take messages, which nobody would see for the visibility time.
        """
        self._stopping = True
        if self._pollers:
            await asyncio.wait(self._pollers, timeout=grace)
        for poller in self._pollers:
            poller.cancel()
        await asyncio.gather(*self._pollers, return_exceptions=True)
        self._pollers.clear()

    def oldest(self, now: float) -> float | None:
        """The age in seconds of the oldest message that was received and is not done; None if there is none. `now`: in
        seconds since 1970.

        SQS tells the age of a queue's oldest message to CloudWatch alone. What has never been received is younger.
        """
        self._owed = {it: (sent, until) for it, (sent, until) in self._owed.items() if until > now}
        sent = min((sent for sent, _ in self._owed.values()), default=None)
        return None if sent is None else max(0.0, round(now - sent, 1))

    # ---- private

    def _have_pollers(self, count: int) -> None:
        self._wanted = count
        self._pollers |= {asyncio.create_task(self._poll()) for _ in range(count - len(self._pollers))}

    @property
    def _too_many(self) -> bool:
        return len(self._pollers) > self._wanted

    async def _poll(self) -> None:
        while not self._stopping:
            if self._too_many:
                self._pollers.discard(cast("asyncio.Task[None]", asyncio.current_task()))
                return
            try:
                async with self._function.free_environment() as invoke:
                    batch = await self._receive()
                    if batch:
                        await self._work(batch, invoke)
                        self._stay_busy()
            except Exception as error:  # the poller goes on whatever happens, as Lambda's do
                _log.warning("lane %s: %s", self._lane.name, error, exc_info=not isinstance(error, _OUTAGES))
                await asyncio.sleep(OUTAGE_SECONDS)

    async def _receive(self) -> list[MessageTypeDef]:
        # One call at a time: the emulator serves one after the other, and an empty answer is true for all pollers.
        self._waiting += 1
        async with self._receiving:
            self._waiting -= 1
            if self._ready:
                return self._ready.popleft()
            if self._stopping or self._too_many:
                return []
            busy = asyncio.get_running_loop().time() < self._busy_until
            batch = await self._call(self._lane.batch_size, 0 if busy else IDLE_WAIT_SECONDS)
            if batch:
                await self._gather(batch)
                self._stay_busy()
            elif busy:
                await asyncio.sleep(BUSY_POLL_SECONDS)
            return self._shared(batch) if self._lane.fifo else batch

    def _shared(self, batch: list[MessageTypeDef]) -> list[MessageTypeDef]:
        """A FIFO batch's share of this environment; the others that are free get theirs next.

        SQS gives as many messages of one group as it can, so that each environment has its own groups. The emulator
        gives them as they came: the doorbells of all of a room's shards would go to one.
        """
        groups: dict[str, list[MessageTypeDef]] = {}
        for it in batch:
            groups.setdefault(it["Attributes"]["MessageGroupId"], []).append(it)
        shares: list[list[MessageTypeDef]] = [[] for _ in range(min(1 + self._waiting, len(groups)))]
        for number, messages in enumerate(groups.values()):
            shares[number % len(shares)] += messages
        self._ready.extend(shares[1:])
        return shares[0] if shares else []

    def _stay_busy(self) -> None:
        self._busy_until = asyncio.get_running_loop().time() + BUSY_SECONDS

    async def _gather(self, batch: list[MessageTypeDef]) -> None:
        """Fill up the batch for as long as the lane's window says."""
        deadline = asyncio.get_running_loop().time() + self._lane.window
        while len(batch) < self._lane.batch_size:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return
            more = await self._call(self._lane.batch_size - len(batch), 0)
            batch += more
            if not more:
                await asyncio.sleep(min(left, 0.1))

    async def _call(self, limit: int, wait: int) -> list[MessageTypeDef]:
        answer = await self._sqs.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=min(limit, CALL_ENTRIES),
            WaitTimeSeconds=wait,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        messages = answer.get("Messages", [])
        self.tally.receives += 1
        self.tally.empty_receives += not messages
        self.tally.messages += len(messages)
        until = time.time() + self._lane.visibility + FORGET_SECONDS
        for it in messages:
            self._owed[it["MessageId"]] = (int(it["Attributes"]["SentTimestamp"]) / 1000, until)
        return messages

    async def _work(self, batch: Sequence[MessageTypeDef], invoke: Invoke) -> None:
        self.tally.batches += 1
        try:
            result = await invoke({"Records": [_record(it, self._arn) for it in batch]})
        except InvocationFailed as error:
            _log.warning("lane %s: a batch of %d failed: %s", self._lane.name, len(batch), error)
            failed = None
        else:
            failed = _failures(result, {it["MessageId"] for it in batch})
        if failed is None:
            self.tally.failed_batches += 1
            return
        for it in {it["MessageId"] for it in batch} - failed:
            self._owed.pop(it, None)
        done = [it["ReceiptHandle"] for it in batch if it["MessageId"] not in failed]
        for start in range(0, len(done), CALL_ENTRIES):
            receipts = done[start : start + CALL_ENTRIES]
            answer = await self._sqs.delete_message_batch(
                QueueUrl=self._url,
                Entries=[{"Id": str(number), "ReceiptHandle": it} for number, it in enumerate(receipts)],
            )
            self.tally.deletes += 1
            self.tally.deleted += len(answer.get("Successful", []))


def _failures(result: Any, batch: set[str]) -> set[str] | None:
    """The message ids that the function names as failed; None where its answer means that all are."""
    match result:
        case None | {"batchItemFailures": None}:
            return set()
        case {"batchItemFailures": [*items]}:
            named = {_identifier(it) for it in items}
            return named if named <= batch else None
        case {"batchItemFailures": _}:
            return None
        case {}:
            return set()
        case _:
            return None


def _identifier(item: Any) -> str:
    """The message id in an item of batchItemFailures; the empty one, which no message has, where there is none."""
    match item:
        case {"itemIdentifier": str(identifier)}:
            return identifier
        case _:
            return ""


def _record(message: MessageTypeDef, arn: str) -> dict[str, Any]:
    """The message as Lambda hands it to a function."""
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message.get("Attributes", {}),
        "messageAttributes": {name: _attribute(value) for name, value in message.get("MessageAttributes", {}).items()},
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": arn,
        "awsRegion": REGION,
    }


def _attribute(value: Mapping[str, Any]) -> dict[str, Any]:
    content = (
        {"binaryValue": base64.b64encode(value["BinaryValue"]).decode()}
        if "BinaryValue" in value
        else {"stringValue": value.get("StringValue", "")}
    )
    return {**content, "stringListValues": [], "binaryListValues": [], "dataType": value["DataType"]}
