"""`roomcast archive`: the options of its commands. What a command needs is imported when it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from ops.options import Profile, Region, Stage, Url

__all__ = ["app"]

app = typer.Typer(
    name="archive",
    help="What was said, as the archive of a stage has it, or of a twin with --archive.",
    no_args_is_help=True,
)


@app.callback()
def _commands() -> None:
    """Or Typer would take a single command for the whole."""


@app.command(
    epilog="Example: roomcast archive cat --room lobby --from 2026-11-01 --to 2026-11-07 --stage prod | jq .body"
)
def cat(
    room: Annotated[str, typer.Option(help="The room; inbox#USER and audit#ROOM are rooms, too.")],
    since: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="A day, or a time such as 2026-11-01T12:00; in UTC.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="A day, which is printed whole, or a time, which is not.")
    ] = None,
    text: Annotated[bool, typer.Option("--text", help="Print lines for people instead of JSON.")] = False,
    url: Url = None,
    stage: Stage = None,
    region: Region = None,
    profile: Profile = None,
) -> None:
    """Print what was said in a room: a line of JSON for each entry, in the order of its log."""
    from ops.archive_cat import Choice, print_archive
    from ops.stage import find

    choice = Choice.of(room, since, until)
    raise typer.Exit(print_archive(find(url=url, stage=stage, region=region, profile=profile), choice, for_people=text))
