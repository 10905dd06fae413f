"""`roomcast user`: the options of its commands. What a command needs is imported when it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from ops.options import Json, Profile, Region, Stage, Url

__all__ = ["app"]

app = typer.Typer(
    name="user",
    help="Users of a stage, or of a twin with --auth cognito: make them, and sign in.",
    no_args_is_help=True,
)

_Name = Annotated[str, typer.Argument(metavar="NAME", help="What the user signs in with.")]
_Password = Annotated[
    str | None,
    typer.Option(envvar="ROOMCAST_PASSWORD", help="Without it: asked for, or the first line of what is piped in."),
]


@app.command(epilog="Example: roomcast user create ada --group admin")
def create(
    name: _Name,
    group: Annotated[
        list[str] | None, typer.Option(help="admin or moderator, of every room; may be given again.")
    ] = None,
    password: Annotated[
        str | None, typer.Option(envvar="ROOMCAST_PASSWORD", help="Without it one is drawn, and printed.")
    ] = None,
    url: Url = None,
    stage: Stage = None,
    region: Region = None,
    profile: Profile = None,
    json: Json = False,
) -> None:
    """Make a user who can sign in at once; one who is there gets the password and the groups."""
    from ops.stage import find
    from ops.user_pool import create_user, show

    where = find(url=url, stage=stage, region=region, profile=profile)
    show(create_user(where, name, password, group or []), as_json=json)


@app.command(epilog="Example: roomcast user login ada --stage dev")
def login(
    name: _Name,
    password: _Password = None,
    url: Url = None,
    stage: Stage = None,
    region: Region = None,
    profile: Profile = None,
    json: Json = False,
) -> None:
    """Sign in, and tell who the service will take the user for; with --json all tokens, too."""
    from ops.stage import find
    from ops.user_pool import asked_password, describe, show, sign_in

    where = find(url=url, stage=stage, region=region, profile=profile)
    tokens = sign_in(where, name, asked_password(password))
    show(describe(name, tokens, with_tokens=json), as_json=json)


@app.command(epilog='Example: roomcast chat --token "$(roomcast user token ada)"')
def token(
    name: _Name,
    password: _Password = None,
    url: Url = None,
    stage: Stage = None,
    region: Region = None,
    profile: Profile = None,
    json: Json = False,
) -> None:
    """Sign in, and print the access token alone."""
    from ops.stage import find
    from ops.user_pool import asked_password, describe, show, sign_in

    where = find(url=url, stage=stage, region=region, profile=profile)
    tokens = sign_in(where, name, asked_password(password))
    if json:
        show(describe(name, tokens, with_tokens=True), as_json=True)
    else:
        print(tokens["AccessToken"])
