"""The event source mapping of a table's stream: its changes to a function, batch after batch, in their order.

Lambda's contract: a batch comes again until it is done; from the record on that the function names in
`batchItemFailures`; halved after each failure of the function itself. What Lambda does beyond, giving up a batch of a
certain age, never happens here: no twin runs for a day without being stopped.

The emulator keeps a stream in memory, with one shard, until it ends. So a mapping begins at the oldest change there is,
and drains the stream when it is stopped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from adapters.dynamodb.changes import is_entry_change
from local.cloud import REGION
from local.event_source import BatchFunction
from local.functions import InvocationFailed

__all__ = ["StreamSource", "StreamTally"]

POLL_SECONDS = 0.25
"""Between two looks at a stream that has nothing new; Lambda looks four times a second, too."""
OUTAGE_SECONDS = 0.5
"""The pause after a batch or a call that failed."""
CALL_RECORDS = 1_000
"""Records in one call at most."""

_OUTAGES = (BotoCoreError, ClientError)
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class StreamTally:
    """What a mapping has done since it was made."""

    records: int = 0
    """Of the stream, those that the filter keeps from the function, too."""
    batches: int = 0
    failed_batches: int = 0
    """Batches of which something came again."""
    drained: int = 0
    """How often the stream had nothing new while nothing was waiting. After the second time from now on, all that has
    been written until now is handed over."""


class StreamSource:
    """The mapping from a table's stream to a function."""

    def __init__(self, arn: str, function: BatchFunction, streams: Any, *, batch_size: int, window: float) -> None:
        """`streams`: a client of DynamoDB's streams. `window`: seconds for which a batch is gathered."""
        self.tally = StreamTally()
        self._arn = arn
        self._function = function
        self._streams = streams
        self._batch_size = batch_size
        self._window = window
        self._ready: list[dict[str, Any]] = []
        """Records that were read and are not done, oldest first."""
        self._iterator: str | None = None
        self._limit = batch_size
        """Records of the next batch."""
        self._stopping = asyncio.Event()
        self._poller: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin at the oldest change that the stream holds."""
        self._poller = asyncio.create_task(self._poll())

    async def stop(self, grace: float = 20.0) -> None:
        """Hand over what the stream holds, for at most `grace` seconds."""
        self._stopping.set()
        if self._poller is not None:
            await asyncio.wait([self._poller], timeout=grace)
            if not self._poller.done():
                _log.warning("the archive lacks the last changes: they took longer than %g s", grace)
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)
            self._poller = None

    # ---- private

    async def _poll(self) -> None:
        while True:
            try:
                await self._gather()
                if self._ready:
                    await self._work(self._ready[: self._limit])
                elif self._stopping.is_set():
                    return
            except Exception as error:  # the poller goes on whatever happens, as Lambda's do
                _log.warning("stream: %s", error, exc_info=not isinstance(error, _OUTAGES))
                await self._pause(OUTAGE_SECONDS)

    async def _gather(self) -> None:
        """Read until there is a batch, or the window of the first record in it has passed."""
        deadline: float | None = None
        now = asyncio.get_running_loop().time
        while len(self._ready) < self._limit:
            more = await self._read()
            self._ready += more
            if self._ready and deadline is None:
                deadline = now() + self._window
            if more:
                continue
            self.tally.drained += not self._ready
            if self._stopping.is_set() or (deadline is not None and now() >= deadline):
                return
            await self._pause(POLL_SECONDS)

    async def _read(self) -> list[dict[str, Any]]:
        """The next entries' changes; none where the stream has nothing new."""
        while True:
            if self._iterator is None:
                self._iterator = await self._first_iterator()
            answer = await self._streams.get_records(ShardIterator=self._iterator, Limit=CALL_RECORDS)
            self._iterator = answer["NextShardIterator"]
            records = answer["Records"]
            self.tally.records += len(records)
            entries = [_record(it, self._arn) for it in records if is_entry_change(it)]
            if entries or not records:
                return entries

    async def _first_iterator(self) -> str:
        described = await self._streams.describe_stream(StreamArn=self._arn)
        [shard] = described["StreamDescription"]["Shards"]
        answer = await self._streams.get_shard_iterator(
            StreamArn=self._arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )
        return str(answer["ShardIterator"])

    async def _work(self, batch: Sequence[dict[str, Any]]) -> None:
        self.tally.batches += 1
        try:
            async with self._function.free_environment() as invoke:
                result = await invoke({"Records": batch})
        except InvocationFailed as error:
            _log.warning("stream: a batch of %d failed: %s", len(batch), error)
            self.tally.failed_batches += 1
            self._limit = max(1, len(batch) // 2)
            await self._pause(OUTAGE_SECONDS)
            return
        self._limit = self._batch_size
        done = _done(result, [it["dynamodb"]["SequenceNumber"] for it in batch])
        del self._ready[:done]
        if done < len(batch):
            self.tally.failed_batches += 1
            await self._pause(OUTAGE_SECONDS)

    async def _pause(self, seconds: float) -> None:
        """Let so much time pass, or less where the end has come."""
        if self._stopping.is_set():
            await asyncio.sleep(min(seconds, POLL_SECONDS))
            return
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return


def _done(result: Any, batch: Sequence[str]) -> int:
    """How many of a batch's records are done: those before the first that the function names. None of them where its
    answer names what is not there."""
    match result:
        case None | {"batchItemFailures": None | []}:
            return len(batch)
        case {"batchItemFailures": [*items]}:
            named = [it.get("itemIdentifier") if isinstance(it, dict) else None for it in items]
            return min(batch.index(it) if it in batch else 0 for it in named)
        case {"batchItemFailures": _}:
            return 0
        case {}:
            return len(batch)
        case _:
            return 0


def _record(record: dict[str, Any], arn: str) -> dict[str, Any]:
    """A record as Lambda hands it to a function: times as numbers."""
    change = {name: it.timestamp() if isinstance(it, datetime) else it for name, it in record["dynamodb"].items()}
    return {**record, "dynamodb": change, "eventSourceARN": arn, "awsRegion": REGION}
