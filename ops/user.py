"""`roomcast user`: the options of its commands. What a command needs is imported when it runs."""

from __future__ import annotations

from typing import Annotated

import typer

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
_Url = Annotated[str | None, typer.Option(help="A twin's WebSocket URL; without it: the twin on port 8081.")]
_Stage = Annotated[str | None, typer.Option(help="A stage on AWS, instead of a twin.")]
_Region = Annotated[str | None, typer.Option(help="The stage's Region, instead of AWS's own setting.")]
_Profile = Annotated[str | None, typer.Option(help="A profile of AWS's configuration.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command(epilog="Example: roomcast user create ada --group admin")
def create(
    name: _Name,
    group: Annotated[
        list[str] | None, typer.Option(help="admin or moderator, of every room; may be given again.")
    ] = None,
    password: Annotated[
        str | None, typer.Option(envvar="ROOMCAST_PASSWORD", help="Without it one is drawn, and printed.")
    ] = None,
    url: _Url = None,
    stage: _Stage = None,
    region: _Region = None,
    profile: _Profile = None,
    json: _Json = False,
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
    url: _Url = None,
    stage: _Stage = None,
    region: _Region = None,
    profile: _Profile = None,
    json: _Json = False,
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
    url: _Url = None,
    stage: _Stage = None,
    region: _Region = None,
    profile: _Profile = None,
    json: _Json = False,
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
