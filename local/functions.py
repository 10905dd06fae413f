"""Lambda on this machine: a function's environments are processes that take one event at a time and are kept warm.

InvocationFailed
├── FunctionError     the handler raised, or could not be imported
├── FunctionTimeout   it ran too long; its environment was killed
└── FunctionCrashed   its environment died within the event
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import sys
import uuid
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from local.cloud import ACCOUNT, CREDENTIALS, REGION
from local.nursery import Nursery
from local.processes import Child
from local.slots import Slots

__all__ = [
    "Function",
    "FunctionCrashed",
    "FunctionError",
    "FunctionTimeout",
    "InvocationFailed",
    "Invoke",
    "Tally",
]

INIT_SECONDS = 60.0
"""The longest that an import of the handler may take: a second on an idle machine."""
MEMORY_MB = 512
"""What an environment says it has; nothing enforces it."""
STOP_SECONDS = 2.0

Invoke = Callable[[Any], Awaitable[Any]]
"""Event → result."""


class InvocationFailed(Exception):
    """No result. Whatever the handler did before stays done."""


class FunctionError(InvocationFailed):
    """The handler raised. `type` is the name of its exception, `message` that exception's text."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.type = kind
        self.message = message


class FunctionTimeout(InvocationFailed):
    """The handler ran longer than the function may."""


class FunctionCrashed(InvocationFailed):
    """The environment's process ended within the event."""


@dataclass(slots=True)
class Tally:
    """What a function has done since it was made."""

    invocations: int = 0
    errors: int = 0
    timeouts: int = 0
    crashes: int = 0
    billed_ms: int = 0
    """Whole milliseconds of each event, and of each start, as Lambda bills them."""
    calls: Counter[str] = field(default_factory=Counter)
    """Requests to AWS by its handlers: `dynamodb.TransactWriteItems` → number."""
    units: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """DynamoDB's units that they were billed: `TransactWriteItems` → number."""


class Function:
    """A Lambda function: a handler, its settings, and the environments that are up."""

    def __init__(
        self,
        name: str,
        handler: str,
        environ: Mapping[str, str],
        *,
        timeout: float,
        max_concurrency: int,
        log: Path,
        code: Path | None = None,
        niceness: int = 0,
        nursery: Nursery | None = None,
    ) -> None:
        """`handler` is `module:attribute`; `timeout` is in seconds; output is appended to `log`.

        `niceness`: of the environments' processes, for the kernel; 0 to 19.

        `nursery`: where environments are forked; without one each is an interpreter of its own.

        `code`: the folder in which it is looked for first; without one, where this process would find it.
        """
        self.name = name
        self.max_concurrency = max_concurrency
        self.tally = Tally()
        self._handler = handler
        self._environ = environ
        self._timeout = timeout
        self._log = log
        self._slots = Slots(max_concurrency)
        self._changing = asyncio.Lock()
        self._code = code
        self._niceness = niceness
        self._nursery = nursery
        self._release = 0
        """How often the environments were replaced."""
        self._environments: set[_Environment] = set()
        self._under_way: set[asyncio.Task[Any]] = set()
        self._idle: list[_Environment] = []

    async def invoke(self, event: Any) -> Any:
        """The handler's result, once an environment is free. Raises `InvocationFailed`.

        Who waits for it may be cancelled: an event that has begun runs on, as Lambda's do, and holds its environment.
        """
        await self._slots.acquire()
        event_under_way = asyncio.create_task(self._invoke(event))
        self._under_way.add(event_under_way)
        event_under_way.add_done_callback(self._over)
        try:
            return await asyncio.shield(event_under_way)
        except asyncio.CancelledError:
            if event_under_way.cancelled():
                raise FunctionCrashed(f"{self.name}: it was stopped within an event") from None
            raise

    @asynccontextmanager
    async def free_environment(self) -> AsyncIterator[Invoke]:
        """Wait for a free environment and hold it: the block gets the call that invokes it.

        The environment's process starts at that call if none is warm.
        """
        async with self._slots:
            yield self._invoke

    async def warm(self, count: int = 1) -> None:
        """Have at least `count` environments up. Raises `FunctionError` if the handler can't be imported."""

        async def start() -> None:
            async with self._slots:
                if len(self._environments) < count:
                    await self._keep(await self._start())

        await asyncio.gather(*(start() for _ in range(min(count, self.max_concurrency) - len(self._environments))))

    async def update(self, code: Path) -> None:
        """Replace the code, as UpdateFunctionCode does: the next event gets an environment that has the new one.

        Events under way finish in their old environments, which then end; idle ones end now.
        """
        self._code = code
        await self._replace_environments(())

    def tell(self, environ: Mapping[str, str]) -> None:
        """Give it other variables: an environment that starts from now on has them, those that are up keep theirs."""
        self._environ = environ

    async def configure(self, environ: Mapping[str, str], *, timeout: float) -> None:
        """Give it other variables and another timeout, as UpdateFunctionConfiguration does, without a pause: as many
        environments as are up start anew, and take the place of the old ones once they are ready.

        Events under way finish in their old environments. Raises `FunctionError` where a new one does not start; then
        all is as it was.
        """
        async with self._changing:
            before = self._environ, self._timeout
            self._environ, self._timeout = environ, timeout
            count = min(self._up, self.max_concurrency)
            started = await asyncio.gather(
                *(self._start(self._release + 1) for _ in range(count)), return_exceptions=True
            )
            fresh = [it for it in started if isinstance(it, _Environment)]
            for failure in started:
                if isinstance(failure, BaseException):
                    self._environ, self._timeout = before
                    await asyncio.gather(*(self._end(it) for it in fresh))
                    raise failure
            await self._replace_environments(fresh)

    async def resize(self, max_concurrency: int) -> None:
        """Have so many environments at most: fewer as events under way end."""
        await self._slots.change(max_concurrency - self.max_concurrency)
        self.max_concurrency = max_concurrency
        surplus = min(len(self._idle), max(0, self._up - max_concurrency))
        ending = [self._idle.pop() for _ in range(surplus)]
        await asyncio.gather(*(self._end(it, kill=False) for it in ending))

    def kill_one(self) -> int | None:
        """kill -9 of an environment, of one that is within an event rather: its process id; None where none is up."""
        chosen = max((it for it in self._environments if it.alive), key=lambda it: it.busy, default=None)
        if chosen is None:
            return None
        chosen.kill()
        return chosen.pid

    @property
    def pids(self) -> dict[int, bool]:
        """Process id of each environment that lives → whether it is within an event."""
        return {it.pid: it.busy for it in self._environments if it.alive}

    async def stop(self) -> None:
        """End all environments, those within an event too."""
        for it in self._under_way:
            it.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        await asyncio.gather(*(self._end(it, kill=it.busy) for it in list(self._environments)))

    # ---- private

    def _over(self, event: asyncio.Task[Any]) -> None:
        self._under_way.discard(event)
        self._slots.release()
        if not event.cancelled():
            event.exception()  # nobody may be waiting for it any more

    async def _invoke(self, event: Any) -> Any:
        environment = await self._warm_environment() or await self._start()
        tally = self.tally
        tally.invocations += 1
        try:
            answer = await environment.run(event, self._timeout)
        except TimeoutError:
            tally.timeouts += 1
            tally.billed_ms += math.ceil(self._timeout * 1000)
            await self._end(environment)
            raise FunctionTimeout(f"{self.name}: no result within {self._timeout:g} s") from None
        except (EOFError, OSError):
            tally.crashes += 1
            await self._end(environment)
            raise FunctionCrashed(f"{self.name}: the environment ended within an event") from None
        except BaseException:
            await self._end(environment)  # cancelled: what it would answer to this event must not meet the next
            raise
        tally.billed_ms += math.ceil(answer["ms"])
        tally.calls.update(answer["calls"])
        for operation, units in answer["units"].items():
            tally.units[operation] += units
        await self._keep(environment)
        if "error" in answer:
            tally.errors += 1
            raise FunctionError(answer["error"]["type"], answer["error"]["message"])
        return json.loads(answer["result"])

    async def _warm_environment(self) -> _Environment | None:
        while self._idle:
            environment = self._idle.pop()
            if environment.alive:
                return environment
            await self._end(environment)
        return None

    @property
    def _up(self) -> int:
        """Environments of the present release that are to stay."""
        return sum(it.release == self._release and not it.ending for it in self._environments)

    async def _keep(self, environment: _Environment) -> None:
        if environment.release == self._release and self._up <= self.max_concurrency:
            self._idle.append(environment)
        else:
            await self._end(environment, kill=False)

    async def _replace_environments(self, fresh: Iterable[_Environment]) -> None:
        """Events get `fresh` ones from now on, or such as start for them."""
        self._release += 1
        idle, self._idle = self._idle, list(fresh)
        await asyncio.gather(*(self._end(it, kill=False) for it in idle))

    async def _start(self, release: int | None = None) -> _Environment:
        """`release`: for which it is, if not for the present one."""
        release, environ = self._release if release is None else release, self._variables()
        environment = _Environment(await self._start_process(environ), release)
        if self._niceness:
            os.setpriority(os.PRIO_PROCESS, environment.pid, self._niceness)
        self._environments.add(environment)
        try:
            async with asyncio.timeout(INIT_SECONDS):
                hello = await environment.read()
        except (TimeoutError, EOFError, OSError):
            hello = {"error": {"type": "Runtime.ExitError", "message": "the environment did not start"}}
        except BaseException:
            await self._end(environment)
            raise
        if "error" in hello:
            self.tally.errors += 1
            await self._end(environment)
            raise FunctionError(hello["error"]["type"], f"{self.name}: {hello['error']['message']}; see {self._log}")
        self.tally.billed_ms += math.ceil(hello["init_ms"])
        return environment

    async def _start_process(self, environ: Mapping[str, str]) -> Child:
        if self._nursery is not None:
            path = [it for it in environ.get("PYTHONPATH", "").split(os.pathsep) if it]
            return await self._nursery.fork(self._handler, environ=environ, path=path, log=self._log)
        # -P: a folder called `local` where the twin is started must not hide ours.
        command = (sys.executable, "-P", "-m", "local.environment", self._handler)
        return await Child.start(*command, environ=environ, log=self._log)

    def _variables(self) -> dict[str, str]:
        return {
            **CREDENTIALS,
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(MEMORY_MB),
            "AWS_LAMBDA_FUNCTION_NAME": self.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{self.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": uuid.uuid4().hex,
            "AWS_REGION": REGION,
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "POWERTOOLS_SERVICE_NAME": self.name,
            "POWERTOOLS_TRACE_DISABLED": "true",
            "ROOMCAST_TWIN_FUNCTION_ARN": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{self.name}",
            **self._environ,
            **self._path(),
        }

    def _path(self) -> dict[str, str]:
        if self._code is None:
            return {}
        behind = self._environ.get("PYTHONPATH") or os.environ.get("PYTHONPATH")
        return {"PYTHONPATH": os.pathsep.join([str(self._code), *([behind] if behind else [])])}

    async def _end(self, environment: _Environment, *, kill: bool = True) -> None:
        await environment.end(kill=kill)
        self._environments.discard(environment)


class _Environment:
    """A process that runs `local.environment`."""

    def __init__(self, child: Child, release: int) -> None:
        self.busy = False
        self.ending = False
        self.release = release
        self._child = child

    @property
    def pid(self) -> int:
        return self._child.process.pid

    @property
    def alive(self) -> bool:
        return self._child.alive

    async def run(self, event: Any, timeout: float) -> dict[str, Any]:
        """The answer to an event. Raises `TimeoutError`; `EOFError` or `OSError` where the process ended."""
        body = msgspec.json.encode({"id": str(uuid.uuid4()), "timeout": timeout, "event": event})
        self.busy = True
        self._child.writer.write(len(body).to_bytes(4) + body)
        async with asyncio.timeout(timeout):
            answer = await self.read()
        self.busy = False
        return answer

    async def read(self) -> dict[str, Any]:
        header = await self._child.reader.readexactly(4)
        answer: dict[str, Any] = json.loads(await self._child.reader.readexactly(int.from_bytes(header)))
        return answer

    def kill(self) -> None:
        self._child.kill()

    async def end(self, *, kill: bool) -> None:
        self.ending = True
        if kill:
            self._child.kill()
        await self._child.end(STOP_SECONDS)
