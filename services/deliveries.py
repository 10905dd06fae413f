"""Deliveries to incoming hooks: who may, how often, and what is said then. What `services/incoming.py` answers with."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from domain.backend import As, Failure, read_said
from domain.errors import Refused, Unavailable
from domain.ports import Ports
from domain.rates import HOOK
from domain.requests import ChatMessage
from domain.webhooks import DELIVERY_LIMIT, Hook, delivery_key, is_hook_id, new_secret, verify
from services.publishing import say, speaker

__all__ = ["Answer", "answer"]

_STATUSES: Mapping[str, int] = {"UNAUTHENTICATED": 401, "TOO_LARGE": 413, "RATE_LIMITED": 429}
"""Error code → status. Of the others 503 where another try may help, else 400."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a delivery is answered."""

    status: int
    body: Any
    """To be written as JSON: where the message stands, or `{"error": …}`."""
    refused: str | None = None
    """The code, if it is an error."""
    retry_after: int | None = None
    """Whole seconds after which the same delivery may succeed; None where it can't."""


async def answer(ports: Ports, webhook: str, headers: Mapping[str, str], body: bytes, request_id: str) -> Answer:
    """What answers a delivery to the hook of that id. `headers`: names in lower case. A refused one changes nothing.

    `request_id` is unique for each call.
    """
    try:
        return Answer(200, await _take(ports, webhook, headers, body, request_id))
    except Refused as error:
        code, message, retry_after = error.code, error.message, error.retry_after
    except Unavailable:
        code, message, retry_after = "INTERNAL", "The service is short of breath; send the same delivery again", 1.0
    status = _STATUSES.get(code) or (400 if retry_after is None else 503)
    error_body = {"error": msgspec.to_builtins(Failure(code, message, retry_after))}
    return Answer(status, error_body, code, None if retry_after is None else math.ceil(retry_after))


async def _take(ports: Ports, webhook: str, headers: Mapping[str, str], body: bytes, request_id: str) -> dict[str, Any]:
    """Say in the hook's room what the delivery says, and return where that stands.

    Once for each (hook, `webhook-id`), as a client's request is carried out once for each `clientId`.
    """
    if len(body) > DELIVERY_LIMIT:
        raise Refused("TOO_LARGE", f"A delivery is at most {DELIVERY_LIMIT // 1024} KB")
    hook = await _signing(ports, webhook, headers, body)
    # Not before: who does not have the secret takes nothing from who has it.
    wait = ports.limiter.take_of(HOOK, hook.id, ports.clock.now() / 1000)
    if wait:
        raise Refused("RATE_LIMITED", "Too many deliveries at once; slow down", retry_after=math.ceil(wait * 1e3) / 1e3)
    said = read_said(body)
    caller = speaker(As(id=hook.name, name=said.name), request_id)
    key = delivery_key(hook, headers["webhook-id"])
    request = ChatMessage(client_id=key, message=said.message, room_id=hook.room)
    try:
        stored = await say(ports, caller, request, epoch=hook.epoch, known_by="webhook-id")
    except Refused as error:
        if error.code == "ROOM_NOT_FOUND":  # the room that the hook was made for is gone, and its hooks with it
            raise _unauthenticated() from None
        raise
    return {it: stored[it] for it in ("messageId", "roomId", "epoch", "seq")}


async def _signing(ports: Ports, webhook: str, headers: Mapping[str, str], body: bytes) -> Hook:
    """The hook that may speak, and has signed this.

    Which of all that is not so nobody is told, by words or by time: where there is no such hook, the signature is
    compared all the same, with that of a secret that nobody has.
    """
    found = await ports.webhooks.hook(webhook) if is_hook_id(webhook) else None
    hook = found if found is not None and found.direction == "incoming" and found.enabled else None
    now = ports.clock.now()
    known = [] if hook is None else hook.secrets(now)
    nobodys = [new_secret(secrets.token_bytes(32)) for _ in range(2 - len(known))]
    if not verify(headers, [*known, *nobodys], body, now) or hook is None:
        raise _unauthenticated()
    return hook


def _unauthenticated() -> Refused:
    return Refused("UNAUTHENTICATED", "No such webhook, or no signature of its secret from within five minutes")
