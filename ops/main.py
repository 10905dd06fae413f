"""The `roomcast` command. What a command needs is imported when it runs, so that `--help` answers at once."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from domain.errors import BadSetting

__all__ = ["app", "main"]

app = typer.Typer(
    name="roomcast",
    help="Rooms over WebSocket on AWS without servers, and the same on this machine.",
    add_completion=False,
    no_args_is_help=True,
)


@app.command(epilog="Example: roomcast up --port 9000 --lane interactive.batch_size=5")
def up(
    port: Annotated[
        int,
        typer.Option(
            min=0, max=65_534, help="The page and @connections; sockets on the next one. 0: any, and nothing is kept."
        ),
    ] = 8080,
    json: Annotated[bool, typer.Option("--json", help="Print the addresses as one line of JSON.")] = False,
    auth: Annotated[str, typer.Option(help="How clients are known: demo.")] = "demo",
    workers: Annotated[
        int | None, typer.Option(min=1, max=100, help="Environments of each broadcast function.")
    ] = None,
    lane: Annotated[
        list[str] | None, typer.Option(help="A lane's setting, LANE.SETTING=NUMBER; may be given again.")
    ] = None,
    rate: Annotated[float, typer.Option(min=1, help="Requests a second that the gateway takes.")] = 10_000,
    burst: Annotated[float, typer.Option(min=1, help="Requests that it takes at once.")] = 5_000,
    reset: Annotated[bool, typer.Option("--reset", help="Forget what is stored.")] = False,
    until_eof: Annotated[bool, typer.Option("--until-eof", hidden=True)] = False,
) -> None:
    """Run the whole service on this machine until Ctrl-C."""
    from ops.up import serve  # noqa: PLC0415

    serve(
        port=port,
        as_json=json,
        auth=auth,
        workers=workers,
        lane_settings=lane or [],
        rate=rate,
        burst=burst,
        reset=reset,
        until_eof=until_eof,
    )


@app.command(epilog="Example: roomcast chat --room lobby --user ada --name Ada")
def chat(
    url: Annotated[str, typer.Option(help="The service's WebSocket URL.")] = "ws://127.0.0.1:8081/dev",
    room: Annotated[str, typer.Option(help="The room to begin in.")] = "general",
    user: Annotated[str | None, typer.Option(help="Who you are, where the service takes your word for it.")] = None,
    name: Annotated[str | None, typer.Option(help="The name that others see.")] = None,
    token: Annotated[str | None, typer.Option(help="Your credential, where it does not.")] = None,
) -> None:
    """Talk in a room from this terminal."""
    from ops.chat import talk  # noqa: PLC0415

    talk(url=url, room=room, user=user, name=name, token=token)


@app.command(epilog="Example: roomcast loadtest --clients 200 --rooms 1 --rate 5 --seconds 20")
def loadtest(
    url: Annotated[str | None, typer.Option(help="The service's WebSocket URL; without it: a twin of its own.")] = None,
    clients: Annotated[int, typer.Option(help="Simulated clients.")] = 100,
    rooms: Annotated[int, typer.Option(help="Rooms that they are spread over.")] = 1,
    rate: Annotated[float, typer.Option(help="Messages a second in all.")] = 5,
    seconds: Annotated[float, typer.Option(help="How long messages are sent.")] = 10,
    ramp: Annotated[float, typer.Option(help="Connects a second.")] = 100,
    dialect: Annotated[str, typer.Option(help="What the clients speak: v1 or recipe.")] = "v1",
    json: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write the result as JSON; - is standard output.")
    ] = None,
) -> None:
    """Connect many clients, send, and check every message at every client."""
    from ops.loadtest import measure  # noqa: PLC0415

    raise typer.Exit(
        measure(
            url=url,
            clients=clients,
            rooms=rooms,
            rate=rate,
            seconds=seconds,
            ramp=ramp,
            dialect=dialect,
            json_file=json,
        )
    )


def main() -> None:
    """Run the command; whatever goes wrong is one sentence on standard error, and a status: 2 for bad usage, else 1."""
    try:
        status = app(standalone_mode=False)
    except typer.TyperException as error:
        status = error.exit_code
        _complain(error.format_message())
    except Exception as error:
        if sys.flags.dev_mode:
            raise
        status = 2 if isinstance(error, BadSetting) else 1
        _complain(str(error) or type(error).__name__)
    sys.exit(status)


def _complain(words: str) -> None:
    if words:
        print(f"roomcast: {' '.join(words.split())}", file=sys.stderr)


if __name__ == "__main__":
    main()
