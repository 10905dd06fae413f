"""A lane's function: an SQS batch in, the message ids that must come again out (`batchItemFailures`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any

from adapters.observability import emit, logger, metrics, tracer
from adapters.runtime import Runtime, runtime
from domain.errors import RoomcastError
from domain.lanes import Lane
from pipeline.batch import Record, Worked, Worker
from pipeline.known import KnownMembers
from pipeline.pacing import Pace
from pipeline.posting import TimeLeft

__all__ = ["handler", "read_record"]

_ALWAYS = frozenset({"PostsDelivered", "PostsThrottled", "PostsFailed"})
"""Emitted when they are 0, too: the shares that alarms watch are computed of them, and none can be of a missing one."""


@logger.inject_lambda_context(correlation_id_path="Records[0].messageId")
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Work a batch of the lane that this function was made for."""
    environment = runtime()
    worked = environment.run(_respond(environment, event, lambda: context.get_remaining_time_in_millis() / 1000))
    return {"batchItemFailures": [{"itemIdentifier": it.id} for it in worked.failed]}


@cache
def _memory(environment: Runtime, lane: Lane) -> tuple[Pace, KnownMembers]:
    """The environment's: what the account grants, and who is where, is worth remembering from batch to batch."""
    return Pace(lane.post_rate), KnownMembers()


async def _respond(environment: Runtime, event: Mapping[str, Any], time_left: TimeLeft) -> Worked:
    lane = environment.settings.lanes[environment.settings.lane]
    connections = await environment.connections(lane.post_concurrency)
    worker = Worker(await environment.ports(), connections, lane, *_memory(environment, lane))
    worked = await worker.work([read_record(it) for it in event["Records"]], time_left)
    for record, reason in worked.buried:
        logger.error("unreadable job moved to the dead-letter queue", message_id=record.id, cause=str(reason))
    for hook, why in worker.disabled:
        logger.warning("hook disabled", hook=hook, cause=why)
    for cause in worked.causes:
        if isinstance(cause, RoomcastError):  # foreseen, and its words say it all
            logger.warning("jobs will be tried again", cause=f"{type(cause).__name__}: {cause}")
        else:
            logger.error("jobs will be tried again", exc_info=cause)
    _report(lane, worker, worked)
    return worked


def _report(lane: Lane, worker: Worker, worked: Worked) -> None:
    metrics.add_dimension("lane", lane.name)
    counts = worker.counts + Counter(JobsFailed=len(worked.failed), JobsBuried=len(worked.buried))  # without zeros
    for name in counts.keys() | (_ALWAYS if lane.sockets else ()):
        emit(name, counts[name])
    emit("AcceptToLastPost", *worker.lags)


def read_record(record: Mapping[str, Any]) -> Record:
    """A message of a Lambda event."""
    attributes = record["attributes"]
    return Record(
        id=record["messageId"],
        receipt=record["receiptHandle"],
        body=record["body"],
        group=attributes.get("MessageGroupId"),
        receives=int(attributes["ApproximateReceiveCount"]),
        sent_at=int(attributes["SentTimestamp"]),
    )
