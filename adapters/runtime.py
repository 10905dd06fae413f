"""What a Lambda environment keeps between events: its settings, one event loop, and the AWS clients on it."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import aioboto3
import uvloop
from aiobotocore.config import AioConfig

from adapters.dynamodb import DynamoMarks, DynamoNotices, DynamoStatuses, DynamoStore, DynamoWebhooks
from adapters.identity import identity
from adapters.management_api import USER_AGENT, ManagementApi, management_api
from adapters.roster import AnnouncingRoster
from adapters.s3 import S3Archive
from adapters.settings import Settings
from adapters.sns import SnsPublisher
from adapters.sqs import SqsQueue
from domain.fanout import HOOKS_LANE
from domain.ports import Archive, Clock, Identity, Ports, Publisher, Receivers
from domain.rates import RateLimiter
from domain.rooms import Rules

__all__ = ["Runtime", "SystemClock", "calls", "runtime", "watchers"]

calls: Counter[str] = Counter()
"""Requests sent to DynamoDB, SQS and S3 by this environment, tries counted one by one: `dynamodb.Query` → number."""
watchers: list[Callable[[Any], None]] = []
"""Called with each client of DynamoDB and SQS that is made; none on AWS."""

_T = TypeVar("_T")


class SystemClock(Clock):
    """The machine's time."""

    def now(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Runtime:
    """One loop for the life of the environment: a client outlives the event that made it, so its loop must as well."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._session = aioboto3.Session(region_name=settings.region)
        self._open = AsyncExitStack()
        self._ports: Ports | None = None
        self._connections: ManagementApi | None = None
        self._identity: Identity | None = None
        self._archive: Archive | None = None

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run one event's work to its end."""
        return self._runner.run(work)

    async def ports(self) -> Ports:
        """The world of this environment; its clients are made at the first call."""
        if self._ports is None:
            # The user agent is fixed, since botocore builds it anew for every call, and requests are checked by the
            # contract tests instead of at every call: together a quarter of a call's CPU.
            config = AioConfig(
                user_agent=USER_AGENT,
                parameter_validation=False,
                max_pool_connections=64,
                connect_timeout=1,
                read_timeout=3,
                retries={"mode": "standard", "total_max_attempts": 3},
            )
            settings, clock, draw = self.settings, SystemClock(), random.Random()
            rules = Rules(
                open_rooms=settings.open_rooms,
                roster_limit=settings.roster_limit,
                shard_limit=settings.shard_limit,
                max_connections_per_user=settings.max_connections_per_user,
                max_members=settings.max_members,
                retention_days=settings.retention_days,
                trace=settings.trace,
                edit_window=settings.edit_window,
                delete_window=settings.delete_window,
                notices=bool(settings.topic),
                hook_days=settings.hook_days,
                hooks_anywhere=bool(settings.hook_networks),
            )
            dynamodb = await self._open.enter_async_context(self._session.client("dynamodb", config=config))
            sqs = await self._open.enter_async_context(self._session.client("sqs", config=config))
            for client in (dynamodb, sqs):
                client.meta.events.register("before-send", _count)
                for watch in watchers:
                    watch(client)
            store = DynamoStore(dynamodb, settings.tables)
            statuses = DynamoStatuses(dynamodb, settings.tables)
            queue = SqsQueue(sqs, settings.queues, settings.dead_letter_queues, clock, draw)
            self._ports = Ports(
                store=store,
                queue=queue,
                roster=AnnouncingRoster(store, statuses, queue, clock, rules),
                clock=clock,
                rules=rules,
                draw=draw,
                limiter=RateLimiter(settings.rates),
                identity=self.identity(),
                marks=DynamoMarks(dynamodb, settings.tables),
                notices=DynamoNotices(dynamodb, settings.tables),
                publisher=await self._publisher(clock),
                receivers=await self._receivers(),
                statuses=statuses,
                webhooks=DynamoWebhooks(dynamodb, settings.tables),
            )
        return self._ports

    async def _publisher(self, clock: Clock) -> Publisher | None:
        """Where the one lane sends notices that has jobs for it; its client costs the others nothing."""
        if not self.settings.topic or self.settings.lane != "ephemeral":
            return None
        config = AioConfig(user_agent=USER_AGENT, connect_timeout=1, read_timeout=3, retries={"total_max_attempts": 1})
        client = await self._open.enter_async_context(self._session.client("sns", config=config))
        return SnsPublisher(client, self.settings.topic, clock)

    async def _receivers(self) -> Receivers | None:
        """Where the one lane posts to that tells hooks."""
        if self.settings.lane != HOOKS_LANE:
            return None
        # Imported here: aiohttp's client with all that it brings costs the other functions' starts nothing.
        from adapters.receivers import http_receivers, read_networks  # noqa: PLC0415

        return await self._open.enter_async_context(http_receivers(read_networks(self.settings.hook_networks)))

    def identity(self) -> Identity:
        """Who tells users by their credentials; it keeps the issuer's keys between events."""
        if self._identity is None:
            self._identity = identity(self.settings, SystemClock())
        return self._identity

    async def archive(self, concurrency: int) -> Archive:
        """The archive, for up to `concurrency` calls at once; its client costs the other functions nothing."""
        if self._archive is None:
            config = AioConfig(
                user_agent=USER_AGENT,
                max_pool_connections=concurrency,
                connect_timeout=1,
                read_timeout=5,
                retries={"mode": "standard", "total_max_attempts": 3},
            )
            client = await self._open.enter_async_context(self._session.client("s3", config=config))
            client.meta.events.register("before-send", _count)
            self._archive = S3Archive(client, self.settings.bucket)
        return self._archive

    async def connections(self, concurrency: int) -> ManagementApi:
        """The open sockets, for up to `concurrency` posts at once."""
        if self._connections is None:
            settings = self.settings
            self._connections = await self._open.enter_async_context(
                management_api(self._session, settings.management_endpoint, concurrency, fast_posts=settings.fast_posts)
            )
        return self._connections


def _count(event_name: str, **_: object) -> None:
    calls[event_name.removeprefix("before-send.")] += 1


_runtime: Runtime | None = None


def runtime() -> Runtime:
    """This environment's runtime, made at the first event: importing a module connects to nothing."""
    global _runtime  # noqa: PLW0603  # an environment has exactly one, and Lambda hands the handler nothing to keep it in
    if _runtime is None:
        _runtime = Runtime(Settings.from_environment(os.environ))
    return _runtime
