"""Handlers for the tests of the twin's Lambda: each does one thing that a handler may do."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any


def describe(event: Any, context: Any) -> dict[str, Any]:
    """What the handler sees."""
    return {
        "event": event,
        "pid": os.getpid(),
        "name": context.function_name,
        "arn": context.invoked_function_arn,
        "request_id": context.aws_request_id,
        "memory": context.memory_limit_in_mb,
        "remaining_ms": context.get_remaining_time_in_millis(),
        "environ": dict(os.environ),
    }


def fail(event: Any, context: Any) -> None:
    """Raise with the event as text, unless there is none."""
    print(f"told to fail with {event}")
    if event is not None:
        raise ValueError(event)


def unserializable(event: Any, context: Any) -> object:
    return object()


def hang(event: Any, context: Any) -> str:
    """Write this process's id into the file that the event names, then never return; without an event, return."""
    if event is None:
        return "alive"
    partial = Path(f"{event}.partial")
    partial.write_text(str(os.getpid()))
    partial.rename(event)
    while True:
        time.sleep(60)


def meet(event: dict[str, Any], context: Any) -> int:
    """Wait in a folder until as many are there as the event says; the number that came."""
    folder, count = Path(event["folder"]), event["count"]
    (folder / str(os.getpid())).touch()
    deadline = time.monotonic() + 20
    while len(list(folder.iterdir())) < count and time.monotonic() < deadline:
        time.sleep(0.01)
    return len(list(folder.iterdir()))


def call_aws(event: int, context: Any) -> None:
    """Count requests to AWS as the handlers' runtime does."""
    from adapters.runtime import calls  # noqa: PLC0415  # only this handler needs the runtime, which imports slowly

    calls["dynamodb.Query"] += event


def hang_at_first(event: dict[str, Any], context: Any) -> None:
    """Never return from a batch that is received for the first time."""
    if event["Records"][0]["attributes"]["ApproximateReceiveCount"] == "1":
        hang(os.environ["PID_FILE"], context)
