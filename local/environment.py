"""One Lambda environment: `python -m local.environment module:attribute`, started by `local.functions` alone.

Standard input is a socket. Both ways it carries messages of a length (4 bytes, big-endian) and as many bytes of JSON:
    →  {"id", "timeout" (seconds), "event"}
    ←  {"init_ms"} once the handler is imported, then for each event {"result"} (as JSON text) or
       {"error": {"type", "message"}}, with "ms" (how long it took), and since the last answer "calls" (to AWS) and
       "units" (of DynamoDB)
The process ends when the socket does, even within an event: nothing outlives the twin.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from local.units import take_units, watch

__all__ = ["Context", "main"]


@dataclass(frozen=True, slots=True)
class Context:
    """Lambda's context object, as far as handlers and Powertools read it."""

    aws_request_id: str
    deadline: float
    """Of `time.monotonic`, in seconds."""
    function_name: str
    invoked_function_arn: str
    log_group_name: str
    log_stream_name: str
    memory_limit_in_mb: int
    function_version: str = "$LATEST"

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self.deadline - time.monotonic()) * 1000))


def main(target: str) -> None:
    """Serve events with the handler `module:attribute` until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the twin ends us
    channel = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    inbox: SimpleQueue[dict[str, Any]] = SimpleQueue()
    threading.Thread(target=_listen, args=(channel, inbox), daemon=True).start()
    begun = time.perf_counter()
    try:
        module, _, attribute = target.partition(":")
        handler = getattr(importlib.import_module(module), attribute)
        getattr(sys.modules.get("adapters.runtime"), "watchers", []).append(watch)
    except Exception as error:
        traceback.print_exc()
        _send(channel, {"error": {"type": "Runtime.ImportModuleError", "message": str(error)}})
        return
    _send(channel, {"init_ms": _since(begun)})
    seen: Counter[str] = Counter()
    while True:
        request = inbox.get()
        begun = time.perf_counter()
        answer = _answer(handler, request)
        calls = _counted_calls()
        _send(channel, {**answer, "ms": _since(begun), "calls": calls - seen, "units": take_units()})
        seen = calls


def _answer(handler: Callable[[Any, Context], object], request: dict[str, Any]) -> dict[str, Any]:
    context = Context(
        aws_request_id=request["id"],
        deadline=time.monotonic() + request["timeout"],
        function_name=os.environ["AWS_LAMBDA_FUNCTION_NAME"],
        invoked_function_arn=os.environ["ROOMCAST_TWIN_FUNCTION_ARN"],
        log_group_name=os.environ["AWS_LAMBDA_LOG_GROUP_NAME"],
        log_stream_name=os.environ["AWS_LAMBDA_LOG_STREAM_NAME"],
        memory_limit_in_mb=int(os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]),
    )
    try:
        return {"result": json.dumps(handler(request["event"], context))}
    except Exception as error:
        traceback.print_exc()
        return {"error": {"type": type(error).__name__, "message": str(error)}}


def _counted_calls() -> Counter[str]:
    """A copy of the counter that the handlers' runtime keeps; empty where the handler does not use it."""
    counted: Counter[str] | None = getattr(sys.modules.get("adapters.runtime"), "calls", None)
    return Counter(counted)


def _since(begun: float) -> float:
    return (time.perf_counter() - begun) * 1000


def _listen(channel: socket.socket, inbox: SimpleQueue[dict[str, Any]]) -> None:
    # A twin that is killed leaves an answer unread, which resets the socket, or half an event.
    with suppress(OSError, ValueError), channel.makefile("rb") as stream:
        while len(header := stream.read(4)) == 4:
            inbox.put(json.loads(stream.read(int.from_bytes(header))))
    sys.stdout.flush()
    os._exit(0)


def _send(channel: socket.socket, message: dict[str, Any]) -> None:
    sys.stdout.flush()
    body = json.dumps(message).encode()
    try:
        channel.sendall(len(body).to_bytes(4) + body)
    except OSError:
        os._exit(0)  # the twin has gone


if __name__ == "__main__":
    main(sys.argv[1])
