"""The twin of AWS on one machine: every part put together, and the only place where they are.

sockets ── Gateway ── authorizer, connect, disconnect, message, publish, incoming (environments)
              ▲                          │ DynamoDB, SQS
@connections, │                        Cloud
Invoke, hooks,│
dashboard     │
              ├── a function per lane ◄── EventSource
              ├── tick ◄── Schedule, once a minute
              └── archive ◄── StreamSource, on demand
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from adapters.s3 import bucket_name
from adapters.settings import Settings
from domain.lanes import LANES, Lane, check_lane
from domain.rates import RATES, Rate
from local.access import Access
from local.census import Census
from local.cloud import ACCOUNT, ARCHIVE_SERVICES, REGION, Cloud, Queues
from local.dashboard import Dashboard
from local.event_source import EventSource
from local.figures import function_figures, sqs_figures
from local.functions import Function
from local.gateway import BURST, RATE, Gateway, listen
from local.http_api import HttpApi
from local.nursery import Nursery
from local.retuning import Retuning
from local.schedule import Schedule
from local.stream_source import StreamSource, StreamTally
from local.units import sum_units
from local.user_pool import UserPool, open_user_pool
from local.visitors import Visitors

__all__ = ["Twin"]

PUBLISH = "publish"
"""The function that servers invoke. It starts with its first call."""
INCOMING = "incoming"
"""The function that incoming webhooks post to. Likewise."""
API_FUNCTIONS: Mapping[str, int] = {
    "authorizer": 2,
    "connect": 3,
    "disconnect": 2,
    "message": 4,
    PUBLISH: 2,
    INCOMING: 2,
}
"""Function → environments at most. Its handler is `services.NAME:handler`."""
API_TIMEOUT = 10.0
"""Seconds."""
TICK = "tick"
"""The function that is invoked once a minute. It starts with its first minute."""
TICK_TIMEOUT = 60.0
"""Seconds."""
WORKER = "pipeline.worker:handler"
ARCHIVE = "archive"
"""The function that archives. It starts with the first change."""
ARCHIVE_HANDLER = "pipeline.archive:handler"
ARCHIVE_TIMEOUT = 120.0
"""Seconds."""
ARCHIVE_BATCH = 2_000
"""Changes in a batch of it at most."""
ARCHIVE_WINDOW = 5.0
"""Seconds for which a batch is gathered: less than on AWS, since nobody pays for its puts, and people watch."""
NICENESS = {"bulk": 15, "hooks": 15}
"""Lane → its workers' niceness. On AWS each environment has a processor of its own; here they share a few, and the
kernel would give a large room's workers what all small rooms together need, and those of hooks what their rooms do."""
PROJECT = Path(__file__).resolve().parents[1]
"""Where an operator's `hooks/` are."""
HOOK_NETWORKS = ("127.0.0.0/8", "::1/128")
"""Where the receivers of a twin's hooks may be, beside the public internet: on this machine, which on AWS none may."""
PREFIX = "roomcast"
"""Of the names of tables and queues."""
STAGE = "dev"


class Twin:
    """The whole service. The URLs, `functions` and `gateway` are there once it has started."""

    gateway: Gateway

    def __init__(
        self,
        *,
        state: Path,
        lanes: Mapping[str, Lane] = LANES,
        workers: int | None = None,
        rate: float = RATE,
        burst: float = BURST,
        port: int = 0,
        ws_port: int | None = None,
        access: Access | None = None,
        reset: bool = False,
        post_latency: Callable[[], float] | None = None,
        lose_disconnects: bool = False,
        gateway_class: type[Gateway] = Gateway,
        code: Path | None = None,
        shard_limit: int = 1_000,
        emulator: str | None = None,
        rates: Mapping[str, Rate] = RATES,
        review: str = "",
        review_words: str = "",
        review_fails: str = "closed",
        archive: bool = False,
        archive_window: float = ARCHIVE_WINDOW,
    ) -> None:
        """`state`: the folder for what is stored and for logs; `reset` forgets what is stored. May raise `BadSetting`.

        `workers`: environments of each broadcast function, instead of each lane's own number.
        `port`: of the page and `@connections`; `ws_port`: of the sockets, the next one where it is not named. 0 is any.
        `access`: who may connect; without it everybody.
        `post_latency`: the seconds that the next post takes. `lose_disconnects`: `$disconnect` never comes, until
        `gateway.lose_disconnects` is changed. `code`: the folder with the functions' packages, instead of ours.
        `shard_limit`: members of a shard. `emulator`: the endpoint of one that runs already, which keeps what is stored
        and goes on when the twin ends, however that ends; without it the twin has one of its own.
        `rates`: how often a client may ask. `review`, `review_words`, `review_fails`: as in `adapters/settings.py`; the
        functions find modules in the project's folder, as `hooks/`. `archive`: whether what is said is archived, in
        batches that are gathered for `archive_window` seconds.
        """
        self._lanes = {
            name: lane if workers is None else replace(lane, max_concurrency=workers) for name, lane in lanes.items()
        }
        for lane in self._lanes.values():
            check_lane(lane)
        self.functions: dict[str, Function] = {}
        self.sources: dict[str, EventSource] = {}
        self._state = state
        self._rate = rate
        self._burst = burst
        self._port = port
        self._ws_port = ws_port if ws_port is not None else port and port + 1
        self._access = access or Access()
        self._users: UserPool | None = None
        services = [
            *(ARCHIVE_SERVICES if archive else ()),
            *(["cognito-idp"] if self._access.auth == "cognito" else ()),
        ]
        self.cloud = Cloud(state, reset=reset, running=emulator, services=services)
        self._post_latency = post_latency
        self._lose_disconnects = lose_disconnects
        self._gateway_class = gateway_class
        self._code = code
        self._shard_limit = shard_limit
        self._rates = rates
        self._review = review
        self._review_words = review_words
        self._review_fails = review_fails
        self._bucket = bucket_name(PREFIX, ACCOUNT, REGION) if archive else ""
        self._archive_window = archive_window
        self._queues = Queues()
        self._topic = ""
        self._retuning: Retuning | None = None
        self._stream: StreamSource | None = None
        self._nursery: Nursery | None = None
        self._started = AsyncExitStack()
        self._ending = asyncio.Lock()
        self._starting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Serve. Raises `BadSetting` for a port that is taken, `CloudError`, or `FunctionError` for a bad handler.

        Cancelled, also by a `stop` meanwhile, it ends what it had started.
        """
        self._starting = asyncio.create_task(self._start())
        try:
            await self._starting
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End everything, and leave no process. May be called at any time, and again."""
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
            await asyncio.wait([self._starting])
        async with self._ending:
            await self._started.aclose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def ws_url(self) -> str:
        return self.gateway.ws_url

    def endpoints(self) -> dict[str, str]:
        """Where the twin is: ws, management, page, hooks, cloud, region."""
        return {
            "ws": self.gateway.ws_url,
            "management": self.gateway.management_endpoint,
            "page": self.gateway.page_url,
            "hooks": f"{self.gateway.page_url}hooks",
            "cloud": self.cloud.endpoint,
            "region": REGION,
        }

    @property
    def lanes(self) -> Mapping[str, Lane]:
        """The lanes' settings as they are now."""
        return self._retuning.lanes if self._retuning else self._lanes

    @property
    def archiving(self) -> StreamTally | None:
        """What was handed to the archive; None where there is none."""
        return self._stream.tally if self._stream else None

    async def status(self) -> dict[str, Any]:
        """What the twin is doing, ready for JSON: `GET /twin` answers it on both ports."""
        depths = await self.cloud.queue_depths()
        calls: Counter[str] = Counter()
        for it in self.functions.values():
            calls += it.tally.calls
        return {
            **self.endpoints(),
            "functions": {name: function_figures(it) for name, it in self.functions.items()},
            "posts": asdict(self.gateway.posts),
            "gateway": {**asdict(self.gateway.tally), "open": self.gateway.open_connections},
            "queues": {lane: {**asdict(it), "oldest_s": self._oldest(lane)} for lane, it in depths.items()},
            "sqs": sqs_figures(depths.values(), [it.tally for it in self.sources.values()]),
            "calls": dict(calls),
            "units": sum_units(it.tally.units for it in self.functions.values()),
            "settings": {
                "lanes": {name: asdict(it) for name, it in self.lanes.items()},
                "shard_limit": self._shard_limit,
                "rate": self.gateway.account[0],
                "burst": self.gateway.account[1],
            },
            "users": {"pool": self._users.pool, "client": self._users.client} if self._users else None,
            "queue_urls": {"lanes": self._queues.urls, "dead": self._queues.dead},
            "topic": self._topic,
            "archive": {"bucket": self._bucket, **asdict(self._stream.tally)} if self._stream else None,
        }

    # ---- private

    def _oldest(self, lane: str) -> float | None:
        """The age of the lane's oldest job in seconds, as its mapping knows it."""
        return self.sources[lane].oldest(time.time()) if lane in self.sources else None

    async def _start(self) -> None:
        ws = self._started.enter_context(listen(self._ws_port))
        http = self._started.enter_context(listen(self._port))
        self._started.push_async_callback(self.cloud.stop)
        await self.cloud.start()
        queues = self._queues = await self.cloud.create_queues(PREFIX, self._lanes.values())
        self._topic = await self.cloud.create_topic(PREFIX)
        settings = Settings(
            tables=await self.cloud.create_tables(PREFIX),
            queues=queues.urls,
            dead_letter_queues=queues.dead,
            management_endpoint=f"http://127.0.0.1:{http.getsockname()[1]}/{STAGE}",
            region=REGION,
            **await self._identity_settings(),
            shard_limit=self._shard_limit,
            trace=True,
            lanes=self._lanes,
            rates=self._rates,
            review=self._review,
            review_words=self._review_words,
            review_fails=self._review_fails,
            topic=self._topic,
            bucket=self._bucket,
            hook_networks=HOOK_NETWORKS,
        )
        retuning = self._retuning = self._make_functions(settings)
        self._started.push_async_callback(self._stop_functions)
        if self._bucket:  # before the gateway, so that it ends after it: with nothing more to come
            await self._start_archiving(settings.tables["messages"])
        warm = [it.warm() for it in self.functions.values() if it.name not in {TICK, PUBLISH, INCOMING, ARCHIVE}]
        for outcome in await asyncio.gather(*warm, return_exceptions=True):
            if outcome is not None:
                raise outcome
        dashboard = Dashboard(
            self,
            retuning.change,
            Census(self.cloud, dict(settings.tables)),
            Visitors(self._state / "logs" / "visitors.log"),
            usual=(self._rate, self._burst),
            auth=self._access.auth,
        )
        self.gateway = self._gateway_class(
            authorizer=self.functions["authorizer"],
            connect=self.functions["connect"],
            disconnect=self.functions["disconnect"],
            message=self.functions["message"],
            ws=ws,
            http=http,
            stage=STAGE,
            rate=self._rate,
            burst=self._burst,
            post_latency=self._post_latency,
            lose_disconnects=self._lose_disconnects,
            status=self.status,
            functions=dict.fromkeys((PUBLISH, f"{PREFIX}-{PUBLISH}"), self.functions[PUBLISH].invoke),
            http_api=HttpApi(self.functions[INCOMING]),
            dashboard=dashboard.answer,
            auth=self._access.auth,
        )
        self._started.push_async_callback(self.gateway.stop)
        await self.gateway.start()
        for name, lane in self.lanes.items():
            self.sources[name] = EventSource(lane, queues.urls[name], self.functions[name], self.cloud.sqs)
            self.sources[name].start()
        self._started.push_async_callback(self._stop_sources)
        self._started.push_async_callback(dashboard.stop)
        schedule = Schedule(f"{PREFIX}-{TICK}", self.functions[TICK])
        schedule.start()
        self._started.push_async_callback(schedule.stop)

    async def _start_archiving(self, table: str) -> None:
        await self.cloud.create_bucket(self._bucket)
        arn = await self.cloud.open_stream(table)
        self._stream = StreamSource(
            arn,
            self.functions[ARCHIVE],
            self.cloud.streams,
            batch_size=ARCHIVE_BATCH,
            window=self._archive_window,
        )
        self._stream.start()
        self._started.push_async_callback(self._stream.stop)

    async def _identity_settings(self) -> dict[str, Any]:
        access = self._access
        told: dict[str, Any] = {"auth": access.auth, "origins": access.origins}
        if access.auth == "cognito":
            users = self._users = await open_user_pool(self.cloud.endpoint, PREFIX)
            return told | {"issuer": users.issuer, "audience": users.client, "jwks_url": users.jwks_url}
        return told | {"issuer": access.issuer, "audience": access.audience}

    def _make_functions(self, settings: Settings) -> Retuning:
        logs = self._state / "logs"
        shutil.rmtree(logs, ignore_errors=True)
        logs.mkdir(parents=True)
        if Nursery.possible():
            self._nursery = Nursery(logs / "nursery.log")
            self._started.push_async_callback(self._nursery.stop)
        behind = os.environ.get("PYTHONPATH")
        variables = {
            "AWS_ENDPOINT_URL": self.cloud.endpoint,
            "PYTHONPATH": os.pathsep.join([*([behind] if behind else []), str(PROJECT)]),
        }

        retuning = Retuning(settings, variables, self.cloud, self.functions, self.sources, prefix=PREFIX)

        def add(name: str, handler: str, timeout: float, environments: int, niceness: int = 0) -> None:
            self.functions[name] = Function(
                name,
                handler,
                retuning.environ(name),
                timeout=timeout,
                max_concurrency=environments,
                log=logs / f"{name}.log",
                code=self._code,
                niceness=niceness,
                nursery=self._nursery,
            )

        for name, environments in API_FUNCTIONS.items():
            add(name, f"services.{name}:handler", API_TIMEOUT, environments)
        add(TICK, f"services.{TICK}:handler", TICK_TIMEOUT, 1)
        if self._bucket:
            add(ARCHIVE, ARCHIVE_HANDLER, ARCHIVE_TIMEOUT, 1)
        for name, lane in self._lanes.items():
            add(name, WORKER, lane.timeout, lane.max_concurrency, NICENESS.get(name, 0))
        return retuning

    async def _stop_functions(self) -> None:
        await asyncio.gather(*(it.stop() for it in self.functions.values()))

    async def _stop_sources(self) -> None:
        await asyncio.gather(*(it.stop() for it in self.sources.values()))
