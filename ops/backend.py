"""`roomcast publish` and `roomcast close`: what a server asks of the service, by hand."""

from __future__ import annotations

import json
import uuid
from typing import Any

from domain.errors import BadSetting
from ops.stage import Deployment, StageError, answered, find

__all__ = ["close_user", "invoke", "publish"]


def publish(
    text: str,
    *,
    room: str | None,
    user: str | None,
    service: str,
    name: str | None,
    client_id: str | None,
    url: str | None,
    stage: str | None,
    region: str | None,
    profile: str | None,
    as_json: bool,
) -> None:
    """Say `text` in a room, or to a user, and tell where it stands. Raises `BadSetting`, `StageError`."""
    if (room is None) == (user is None):
        raise BadSetting("say where: --room ROOM or --user USER, one of them")
    deployment = find(url=url, stage=stage, region=region, profile=profile)
    to = {"roomId": room} if user is None else {"userId": user}
    sender = {"id": service} if name is None else {"id": service, "name": name}
    # So that a call that is tried again after a lost answer is one message.
    own = client_id or uuid.uuid4().hex
    stored = invoke(deployment, {"action": "publish", **to, "message": text, "as": sender, "clientId": own})
    if as_json:
        print(json.dumps(stored))
    else:
        online = "" if "online" not in stored else ", online" if stored["online"] else ", who is not connected"
        print(f"message {stored['messageId']}: number {stored['seq']} in {stored['roomId']}{online}")


def close_user(
    user: str, *, url: str | None, stage: str | None, region: str | None, profile: str | None, as_json: bool
) -> None:
    """Close all sockets of a user, and tell how many they were. Raises `BadSetting`, `StageError`."""
    deployment = find(url=url, stage=stage, region=region, profile=profile)
    closed = invoke(deployment, {"action": "close", "userId": user})
    print(json.dumps(closed) if as_json else f"{closed['closed']} connections of {user} closed")


def invoke(deployment: Deployment, request: dict[str, Any]) -> dict[str, Any]:
    """The function's result. Raises `StageError` where it refuses, fails, or can't be reached."""
    with answered(str(deployment)):
        answer = deployment.client("lambda").invoke(
            FunctionName=f"{deployment.prefix}-publish", Payload=json.dumps(request).encode()
        )
        result: dict[str, Any] = json.loads(answer["Payload"].read())
    if "FunctionError" in answer:
        raise StageError(f"{deployment}: its function publish failed ({result.get('errorMessage')}); its log says why")
    if "error" in result:
        error = result["error"]
        after = f"; try again after {error['retryAfter']:g} s" if "retryAfter" in error else ""
        raise StageError(f"{deployment} refuses: {error['code']}: {error['message']}{after}")
    return result
