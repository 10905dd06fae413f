"""What `roomcast webhook` asks of the service, and how it shows the answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from domain.errors import BadSetting
from ops.backend import invoke
from ops.stage import Deployment

__all__ = ["add_webhook", "enable_webhook", "list_webhooks", "remove_webhook", "rotate_webhook"]


def add_webhook(
    find: Callable[[], Deployment],
    *,
    room: str,
    name: str,
    to: str | None,
    incoming: bool,
    events: list[str],
    as_json: bool,
) -> None:
    """Make one. Raises `BadSetting`, `StageError`."""
    if (to is None) != incoming:
        raise BadSetting("say which: --to URL for an outgoing webhook, or --incoming, one of them")
    if incoming and events:
        raise BadSetting(f"--event {events[0]}: an incoming webhook is told nothing; leave it out")
    request: dict[str, Any] = {
        "action": "add_webhook",
        "roomId": room,
        "name": name,
        "direction": "incoming" if incoming else "outgoing",
        "events": events,
        "as": {"id": "operator"},
    }
    deployment = find()
    made = invoke(deployment, request if to is None else request | {"url": to})
    if incoming and (post_to := _post_to(deployment, made["id"])):
        made["url"] = post_to
    _show_secret(made, as_json=as_json)


def list_webhooks(deployment: Deployment, room: str, *, as_json: bool) -> None:
    """Show a room's. Raises `StageError`."""
    answer = invoke(deployment, {"action": "list_webhooks", "roomId": room})
    for it in answer["webhooks"]:
        it["url"] = it["url"] or _post_to(deployment, it["id"])
    if as_json:
        print(json.dumps(answer, indent=2))
        return
    hooks = answer["webhooks"]
    if not hooks:
        print(f"{room} has no webhooks")
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("webhook", "name", "tells", "of", "behind", "state"):
        table.add_column(column, justify="right" if column == "behind" else "left", overflow="fold")
    for it in hooks:
        outgoing = it["direction"] == "outgoing"
        table.add_row(
            it["id"],
            it["name"],
            it["url"] if outgoing else f"– (incoming) {it['url']}".rstrip(),
            (", ".join(it["events"]) or "all") if outgoing else "–",
            f"{it['behind']:,}" if outgoing else "–",
            _state(it),
        )
    Console().print(table)


def remove_webhook(deployment: Deployment, webhook: str, *, as_json: bool) -> None:
    """Delete one. Raises `StageError`."""
    answer = invoke(deployment, {"action": "remove_webhook", "webhookId": webhook})
    print(json.dumps(answer) if as_json else f"{webhook} removed")


def enable_webhook(deployment: Deployment, webhook: str, *, from_now: bool, as_json: bool) -> None:
    """Enable one. Raises `StageError`."""
    answer = invoke(deployment, {"action": "enable_webhook", "webhookId": webhook, "fromNow": from_now})
    behind = f", {answer['behind']:,} entries behind" if answer["behind"] else ""
    print(json.dumps(answer) if as_json else f"{webhook} enabled{behind}")


def rotate_webhook(deployment: Deployment, webhook: str, *, as_json: bool) -> None:
    """Give one a new secret. Raises `StageError`."""
    _show_secret(invoke(deployment, {"action": "rotate_webhook", "webhookId": webhook}), as_json=as_json)


# ---- private


def _post_to(deployment: Deployment, webhook: str) -> str:
    """Where an incoming one is posted to; empty where the stage's release has no such place."""
    return f"{deployment.hooks_url}/{webhook}" if deployment.hooks_url else ""


def _show_secret(made: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(made))
        return
    print(f"{made['id']}\n{made['secret']} (shown this once)")
    if "url" in made:
        print(f"post to {made['url']}")


def _state(hook: dict[str, Any]) -> Text:
    if not hook["enabled"]:
        return Text(f"disabled {_day(hook['disabledAt'])}: {hook['cause']}", style="red")
    if hook["failures"]:
        return Text(f"failing since {_day(hook['failingSince'])}: {hook['problem']}", style="yellow")
    return Text("enabled", style="green")


def _day(at: int) -> str:
    return f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%d %H:%M} UTC"
