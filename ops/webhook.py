"""`roomcast webhook`: the options of its commands. What a command needs is imported when it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from ops.options import Json, Profile, Region, Stage, Url

__all__ = ["app"]

app = typer.Typer(
    name="webhook",
    help="A room's webhooks: outgoing ones tell a URL what is said; by incoming ones a server speaks in the room.",
    no_args_is_help=True,
)

_Id = Annotated[str, typer.Argument(metavar="ID", help="The webhook's, as `roomcast webhook list` shows it.")]
_Room = Annotated[str, typer.Option(help="The room.")]


@app.command(
    epilog="Example: roomcast webhook add --room general --name ci --to https://ci.example.org/hook --event chat"
)
def add(
    room: _Room,
    name: Annotated[str, typer.Option(help="What it is called; an incoming one speaks under it.")],
    to: Annotated[str | None, typer.Option(metavar="URL", help="Where an outgoing one posts to: https://…")] = None,
    incoming: Annotated[bool, typer.Option("--incoming", help="One that a server posts to, instead of --to.")] = False,
    event: Annotated[
        list[str] | None, typer.Option(help="A type of entry that it is told, instead of all; may be given again.")
    ] = None,
    url: Url = None,
    stage: Stage = None,
    region: Region = None,
    profile: Profile = None,
    json: Json = False,
) -> None:
    """Make a webhook, and print its secret, which is shown this once; of an incoming one also where to post."""
    from ops.stage import find
    from ops.webhooks import add_webhook

    add_webhook(
        lambda: find(url=url, stage=stage, region=region, profile=profile),
        room=room,
        name=name,
        to=to,
        incoming=incoming,
        events=event or [],
        as_json=json,
    )


@app.command("list", epilog="Example: roomcast webhook list --room general --stage dev")
def list_(
    room: _Room,
    url: Url = None,
    stage: Stage = None,
    region: Region = None,
    profile: Profile = None,
    json: Json = False,
) -> None:
    """Show a room's webhooks: whom they tell, how far they are, and why one is disabled."""
    from ops.stage import find
    from ops.webhooks import list_webhooks

    list_webhooks(find(url=url, stage=stage, region=region, profile=profile), room, as_json=json)


@app.command(epilog="Example: roomcast webhook remove general~0123456789abcdef")
def remove(
    webhook: _Id,
    url: Url = None,
    stage: Stage = None,
    region: Region = None,
    profile: Profile = None,
    json: Json = False,
) -> None:
    """Delete a webhook, with its secrets."""
    from ops.stage import find
    from ops.webhooks import remove_webhook

    remove_webhook(find(url=url, stage=stage, region=region, profile=profile), webhook, as_json=json)


@app.command(epilog="Example: roomcast webhook enable general~0123456789abcdef --from-now")
def enable(
    webhook: _Id,
    from_now: Annotated[
        bool, typer.Option("--from-now", help="Do not tell what it has missed; else it catches up.")
    ] = False,
    url: Url = None,
    stage: Stage = None,
    region: Region = None,
    profile: Profile = None,
    json: Json = False,
) -> None:
    """Enable a webhook that was disabled; one that waits after a failure is tried at once."""
    from ops.stage import find
    from ops.webhooks import enable_webhook

    where = find(url=url, stage=stage, region=region, profile=profile)
    enable_webhook(where, webhook, from_now=from_now, as_json=json)


@app.command(epilog="Example: roomcast webhook rotate general~0123456789abcdef")
def rotate(
    webhook: _Id,
    url: Url = None,
    stage: Stage = None,
    region: Region = None,
    profile: Profile = None,
    json: Json = False,
) -> None:
    """Give a webhook a new secret, and print it; the one before counts for a day yet."""
    from ops.stage import find
    from ops.webhooks import rotate_webhook

    rotate_webhook(find(url=url, stage=stage, region=region, profile=profile), webhook, as_json=json)
