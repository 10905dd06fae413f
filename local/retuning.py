"""Other settings for a lane while its jobs are under way: at its queue, its function, and the mapping between them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from adapters.settings import Settings
from domain.lanes import Lane
from local.cloud import Cloud
from local.event_source import EventSource
from local.functions import Function
from local.knobs import turned

__all__ = ["Retuning"]


class Retuning:
    """What every function of a twin is told, and how a lane's part of it changes. One change at a time."""

    def __init__(
        self,
        settings: Settings,
        variables: Mapping[str, str],
        cloud: Cloud,
        functions: Mapping[str, Function],
        sources: Mapping[str, EventSource],
        *,
        prefix: str,
    ) -> None:
        """`variables` that functions have beside their settings. `prefix`: of the queues' names."""
        self._settings = settings
        self._variables = variables
        self._cloud = cloud
        self._functions = functions
        self._sources = sources
        self._prefix = prefix
        self._turn = asyncio.Lock()

    @property
    def lanes(self) -> Mapping[str, Lane]:
        return self._settings.lanes

    def environ(self, function: str) -> dict[str, str]:
        """The variables of a function, by its name."""
        settings = replace(self._settings, lane=function) if function in self.lanes else self._settings
        return settings.as_environment() | dict(self._variables)

    async def change(self, name: str, changes: Mapping[str, Any]) -> Lane:
        """Turn some of a lane's settings, from its next batch on; the lane as it is then.

        Batches under way end as they began, so that none is lost, and none given twice that would not have been. Only
        the lane's own function starts anew: no other reads them. Raises `BadSetting`, or `FunctionError` where an
        environment does not start; then nothing has changed.
        """
        async with self._turn:
            lane = turned(self.lanes[name], changes)
            before, self._settings = self._settings, replace(self._settings, lanes={**self.lanes, name: lane})
            try:
                await self._functions[name].configure(self.environ(name), timeout=lane.timeout)
            except BaseException:
                self._settings = before
                raise
            for function in self._functions.values():
                function.tell(self.environ(function.name))
            await self._cloud.create_lane(self._prefix, lane)
            await self._functions[name].resize(lane.max_concurrency)
            self._sources[name].change(lane)
            return lane
