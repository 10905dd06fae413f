"""The archive's function: changes of the messages table in, the first that must come again out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapters.dynamodb.changes import is_entry_change, read_change, record_text
from adapters.observability import emit, logger, metrics, tracer
from adapters.runtime import Runtime, runtime
from domain.archive import Change
from domain.errors import RoomcastError, UnreadableObject
from pipeline.archiving import AT_ONCE, Archived, Archiver, Unreadable
from pipeline.posting import TimeLeft

__all__ = ["handler"]


@logger.inject_lambda_context(correlation_id_path="Records[0].eventID")
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Archive a batch of the stream. From the record that is named on, all of it comes again."""
    environment = runtime()
    records = [it for it in event["Records"] if is_entry_change(it)]
    archived = environment.run(_respond(environment, records, lambda: context.get_remaining_time_in_millis() / 1000))
    # Lambda goes on from the lowest that is named, and the others of the batch are in their order.
    revs = (_rev(it) for it in records)
    first = next((it for it in revs if it in archived.failed), None)
    return {"batchItemFailures": [] if first is None else [{"itemIdentifier": first}]}


async def _respond(environment: Runtime, records: list[Mapping[str, Any]], time_left: TimeLeft) -> Archived:
    archiver = Archiver(
        await environment.ports(),
        await environment.archive(AT_ONCE),
        everything=environment.settings.archive_all,
    )
    archived = await archiver.work([_read(it) for it in records], time_left)
    for reason in archived.kept_aside:
        logger.error("kept aside in the archive's bucket, under unreadable/", cause=str(reason))
    for cause in archived.causes:
        if isinstance(cause, RoomcastError):  # foreseen, and its words say it all
            logger.warning("changes will be tried again", cause=f"{type(cause).__name__}: {cause}")
        else:
            logger.error("changes will be tried again", exc_info=cause)
    for name, count in archiver.counts.items():
        emit(name, count)
    return archived


def _read(record: Mapping[str, Any]) -> Change | Unreadable:
    try:
        return read_change(record)
    except UnreadableObject as error:
        return Unreadable(_rev(record), record_text(record), error)


def _rev(record: Mapping[str, Any]) -> str:
    return str(record["dynamodb"]["SequenceNumber"])
