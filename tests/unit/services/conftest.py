"""The runtime of a function's handler, over a service in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from adapters.observability import metrics
from adapters.settings import Settings
from tests.unit.world import World

_T = TypeVar("_T")


class Environment:
    """A runtime over a `World`."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.world = World()
        self.settings = Settings({}, {}, {}, management_endpoint="", review_words="rain")
        self._runner = runner

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return self._runner.run(work)

    async def ports(self) -> Any:
        return self.world.ports

    async def connections(self, concurrency: int) -> Any:
        return self.world.sockets


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[Environment]:
    with asyncio.Runner() as runner:
        made = Environment(runner)
        monkeypatch.setattr("adapters.runtime._runtime", made)
        monkeypatch.setattr(metrics.provider, "service", "roomcast-test")
        monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "roomcast-test")
        made.run(made.world.connect("ada"))
        yield made
        metrics.clear_metrics()
