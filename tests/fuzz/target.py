"""What every target has in common."""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Hashable, Sequence
from types import TracebackType
from typing import Any, ClassVar, Self

__all__ = ["Target"]


class Target(ABC):
    """A way into the service, and its contract: what any input may come to. `with`: it is ready until the end of the
    block."""

    name: ClassVar[str]
    folders: ClassVar[Sequence[str]]
    """Whose lines say that an input is a new one."""
    tokens: ClassVar[Sequence[bytes]]
    """Words of its language."""

    @abstractmethod
    def draw(self, draw: random.Random) -> bytes:
        """An input that is well formed, or nearly."""

    @abstractmethod
    async def take(self, given: bytes) -> Hashable:
        """Give it an input. What kind of outcome it came to; raises whatever the contract does not allow."""

    def take_now(self, given: bytes) -> Hashable:
        """`take`, carried out to its end."""
        outcome: Hashable = self.run(self.take(given))
        return outcome

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for it in asyncio.all_tasks(self._loop):
            it.cancel()
        self.run(asyncio.sleep(0))
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(work)
