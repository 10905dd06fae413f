"""What the tests here say, and what they wait for."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from tests.e2e.people import Person, person

__all__ = ["fresh", "named", "recipe_client", "replied", "tell"]


def fresh(name: str) -> str:
    """A name for a room or a user that nobody has used before."""
    return f"{name}-{uuid.uuid4().hex[:12]}"


def recipe_client(url: str, user: str, room: str) -> AbstractAsyncContextManager[Person]:
    """A client as the recipe has it: all four fields of the query, no subprotocol."""
    return person(url, user, room, dialect="recipe", token="valid_x")


async def tell(someone: Person, **request: Any) -> None:
    """Send a request as the recipe's client does: without a `clientId`, not waiting for anything."""
    await someone.socket.send(json.dumps(request))


async def replied(someone: Person, kind: str, request: dict[str, Any] | str) -> dict[str, Any]:
    """The `data` of the next event of that type after a request, which is sent as it is if it is text."""
    before = len(someone.seen(kind))
    await someone.socket.send(request if isinstance(request, str) else json.dumps(request))
    await someone.until(lambda: len(someone.seen(kind)) > before)
    return someone.seen(kind)[before]


def named(someone: Person, kind: str, user: str) -> Callable[[], bool]:
    """Whether an event of that type has told of the user."""
    return lambda: any(it["userId"] == user for it in someone.seen(kind))
