"""Functions in this process, for the tests of the gateway."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

__all__ = ["ALLOW", "DENY", "FakeFunction"]


def _policy(effect: str) -> dict[str, Any]:
    return {
        "principalId": "ada",
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [{"Action": "execute-api:Invoke", "Effect": effect, "Resource": "*"}],
        },
        "context": {"userId": "ada", "admin": True, "level": 3},
    }


ALLOW = _policy("Allow")
DENY = _policy("Deny")


class FakeFunction:
    """Keeps the events that it gets, and answers with `answer`: a value, an exception, or a coroutine function."""

    def __init__(self, answer: Any = None) -> None:
        self.answer: Any = answer
        self.events: list[dict[str, Any]] = []

    async def invoke(self, event: Any) -> Any:
        self.events.append(event)
        if isinstance(self.answer, Exception):
            raise self.answer
        if callable(self.answer):
            handler: Callable[[Any], Awaitable[Any]] = self.answer
            return await handler(event)
        return self.answer
