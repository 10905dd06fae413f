"""The `roomcast` command. What a command needs is imported when it runs, so that `--help` answers at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from domain.errors import BadSetting
from ops import archive as archive_commands
from ops import user, webhook
from ops.options import Json, Profile, Region, Stage, Url

__all__ = ["app", "main"]

app = typer.Typer(
    name="roomcast",
    help="Rooms over WebSocket on AWS without servers, and the same on this machine.",
    add_completion=False,
    no_args_is_help=True,
)
app.add_typer(archive_commands.app)
app.add_typer(user.app)
app.add_typer(webhook.app)


@app.command(epilog="Example: roomcast up --port 9000 --lane interactive.batch_size=5")
def up(
    port: Annotated[
        int,
        typer.Option(
            min=0, max=65_534, help="The page and @connections; sockets on the next one. 0: any, and nothing is kept."
        ),
    ] = 8080,
    json: Annotated[bool, typer.Option("--json", help="Print the addresses as one line of JSON.")] = False,
    auth: Annotated[
        str, typer.Option(help="How clients are known: demo, cognito (`roomcast user` makes users), or oidc.")
    ] = "demo",
    issuer: Annotated[str, typer.Option(metavar="URL", help="With --auth oidc: whose tokens count.")] = "",
    audience: Annotated[str, typer.Option(help="With --auth oidc: for whom they have to be made out.")] = "",
    origin: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="Whose pages may connect; may be given again. Else any.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=100, help="Environments of each broadcast function.")
    ] = None,
    lane: Annotated[
        list[str] | None, typer.Option(help="A lane's setting, LANE.SETTING=NUMBER; may be given again.")
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PER_SECOND[/BURST]",
            help="How often a client may ask: of connection, user, or a request's type; 0 is no limit; may be given"
            " again.",
        ),
    ] = None,
    review: Annotated[
        str, typer.Option(metavar="MODULE:FUNCTION", help="What reviews messages, e.g. hooks.language:review.")
    ] = "",
    review_words: Annotated[str, typer.Option(help="Words that no message may have in it, with commas.")] = "",
    review_fails: Annotated[
        str, typer.Option(help="What becomes of a message that can't be reviewed: closed or open.")
    ] = "closed",
    rate: Annotated[float, typer.Option(min=1, help="Requests a second that the gateway takes.")] = 10_000,
    burst: Annotated[float, typer.Option(min=1, help="Requests that it takes at once.")] = 5_000,
    post_latency: Annotated[
        float,
        typer.Option(
            min=0,
            max=10_000,
            metavar="MS",
            help="What a post takes on average, drawn from none to twice that; on AWS ~10.",
        ),
    ] = 0,
    reset: Annotated[bool, typer.Option("--reset", help="Forget what is stored.")] = False,
    archive: Annotated[bool, typer.Option("--archive", help="Archive what is said: `roomcast archive cat`.")] = False,
    until_eof: Annotated[bool, typer.Option("--until-eof", hidden=True)] = False,
) -> None:
    """Run the whole service on this machine until Ctrl-C."""
    from local.access import Access
    from ops.up import serve

    serve(
        port=port,
        as_json=json,
        access=Access(auth, issuer, audience, tuple(origin or ())),
        workers=workers,
        lane_settings=lane or [],
        limits=limit or [],
        review=review,
        review_words=review_words,
        review_fails=review_fails,
        rate=rate,
        burst=burst,
        post_latency=post_latency,
        reset=reset,
        archive=archive,
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
    from ops.chat import talk

    talk(url=url, room=room, user=user, name=name, token=token)


@app.command(
    epilog="Example: roomcast loadtest --clients 200 --rate 5 --seconds 20, or: roomcast loadtest --profile hot-room"
)
def loadtest(
    url: Annotated[str | None, typer.Option(help="The service's WebSocket URL; without it: a twin of its own.")] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE.toml",
            help="What the run is like; other options say otherwise. One of many-small-rooms, one-large-room, hot-room,"
            " join-storm, reconnect-wave, slow-clients, soak.",
        ),
    ] = None,
    clients: Annotated[
        int | None, typer.Option(help="Simulated clients, 100; with a profile: about so many.", show_default=False)
    ] = None,
    rooms: Annotated[int | None, typer.Option(help="Rooms that they are spread over, 1.")] = None,
    rate: Annotated[float | None, typer.Option(help="Messages a second in all, 5.")] = None,
    seconds: Annotated[float | None, typer.Option(help="How long messages are sent, 10.")] = None,
    ramp: Annotated[float | None, typer.Option(help="Connects a second, 100.")] = None,
    dialect: Annotated[str | None, typer.Option(help="What the clients speak: v1 or recipe.")] = None,
    processes: Annotated[
        int | None, typer.Option(help="Processes of clients; without it: as many as it takes.")
    ] = None,
    token: Annotated[str | None, typer.Option(help="The clients' credential, where the service wants one.")] = None,
    token_command: Annotated[
        str | None,
        typer.Option(metavar="COMMAND", help="What prints it: run once in each process, and again after a 401."),
    ] = None,
    json: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write the result as JSON; - is standard output.")
    ] = None,
    html: Annotated[str | None, typer.Option(metavar="FILE", help="Write the report as a page.")] = None,
) -> None:
    """Connect many clients, send, and check every message at every client."""
    from ops.loadtest import Options, measure

    options = Options(
        url=url,
        profile=profile,
        clients=clients,
        rooms=rooms,
        rate=rate,
        seconds=seconds,
        ramp=ramp,
        dialect=dialect,
        processes=processes,
        token=token,
        token_command=token_command,
        json_file=json,
        html_file=html,
    )
    raise typer.Exit(measure(options))


@app.command(epilog="Example: roomcast compare before.json after.json --html compared.html")
def compare(
    first: Annotated[Path, typer.Argument(metavar="A.json", help="A result of `roomcast loadtest --json`.")],
    second: Annotated[Path, typer.Argument(metavar="B.json", help="Another, told by how it differs from the first.")],
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write both as one page.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Put two results of the load test side by side."""
    from ops.compare import show

    show(first=first, second=second, html=html, json=json)


@app.command(epilog="Example: roomcast plan --room 1000x6@0.2 --room 1x10000@1 --quota 20000")
def plan(
    rooms: Annotated[int, typer.Option(help="Rooms.")] = 1,
    members: Annotated[int, typer.Option(help="Members of each.")] = 100,
    rate: Annotated[float, typer.Option(help="Messages a second in each room.")] = 1,
    room: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROOMSxMEMBERS@RATE", help="The same in one word, for rooms that differ; may be given again."
        ),
    ] = None,
    message_bytes: Annotated[int, typer.Option("--bytes", help="Of a message.")] = 200,
    quota: Annotated[float, typer.Option(help="Requests a second that API Gateway grants, posts among them.")] = 10_000,
    connects: Annotated[float, typer.Option(help="New connections a second that it grants.")] = 500,
    hours: Annotated[float, typer.Option(help="Of the bill; 730 are a month.")] = 730,
    session: Annotated[float, typer.Option(help="Minutes that a connection stays, at most 120.")] = 60,
    lane: Annotated[
        list[str] | None, typer.Option(help="A lane's setting, LANE.SETTING=NUMBER; may be given again.")
    ] = None,
    json: Json = False,
) -> None:
    """Tell what rooms would ask of AWS: posts, packing, hot keys, quotas, and the cost of a month. Runs nothing."""
    from ops.plan import plan as show
    from ops.plan import read_load

    load = read_load(
        rooms=rooms,
        members=members,
        rate=rate,
        room=room or [],
        message_bytes=message_bytes,
        quota=quota,
        connects=connects,
        session=session,
        lane=lane or [],
    )
    show(load, hours=hours, as_json=json)


@app.command(epilog="Example: roomcast status --watch 5")
def status(
    seconds: Annotated[float | None, typer.Argument(help="Between two readings, with --watch.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Read again every SECONDS, or 2, until Ctrl-C.")] = False,
    url: Url = None,
    stage: Stage = None,
    region: Region = None,
    profile: Profile = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON; with --watch one line for each reading.")] = False,
) -> None:
    """Tell how a service is: its queues, workers, posts, failures, and what is wrong."""
    from ops.status import show

    show(url=url, stage=stage, region=region, profile=profile, watch=watch, every=seconds, as_json=json)


@app.command(epilog="Example: roomcast redrive --stage dev --lane retry --dry-run")
def redrive(
    lane: Annotated[str | None, typer.Option(help="Of this lane alone.")] = None,
    room: Annotated[str | None, typer.Option(help="Of this room alone.")] = None,
    rate: Annotated[
        float | None,
        typer.Option(help="Jobs a second; without it: what leaves the lane room for new ones, at most 10."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show them.")] = False,
    drop_poison: Annotated[bool, typer.Option("--drop-poison", help="Delete those that can't be read.")] = False,
    url: Url = None,
    stage: Stage = None,
    region: Region = None,
    profile: Profile = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON; needs --yes or --dry-run.")] = False,
) -> None:
    """Show the dead letters, ask, and give them back to their lanes. Ctrl-C stops; a second run goes on."""
    from ops.redrive import give_back

    raise typer.Exit(
        give_back(
            url=url,
            stage=stage,
            region=region,
            profile=profile,
            lane=lane,
            room=room,
            rate=rate,
            yes=yes,
            dry_run=dry_run,
            drop_poison=drop_poison,
            as_json=json,
        )
    )


@app.command(epilog='Example: roomcast publish --room general --as weather "It will rain"')
def publish(
    text: Annotated[str, typer.Argument(help="What is said.")],
    service: Annotated[str, typer.Option("--as", metavar="NAME", help="The service that says it: service#NAME.")],
    room: Annotated[str | None, typer.Option(help="The room in which it is said.")] = None,
    user: Annotated[str | None, typer.Option(help="The user to whom it is said, instead.")] = None,
    name: Annotated[str | None, typer.Option(help="The name that others see, instead of the service's.")] = None,
    client_id: Annotated[
        str | None, typer.Option(help="8 to 64 characters: said again with the same, it is one message.")
    ] = None,
    url: Url = None,
    stage: Stage = None,
    region: Region = None,
    profile: Profile = None,
    json: Json = False,
) -> None:
    """Say something as a service: in a room without being in it, or to a user."""
    from ops.backend import publish as say

    say(
        text,
        room=room,
        user=user,
        service=service,
        name=name,
        client_id=client_id,
        url=url,
        stage=stage,
        region=region,
        profile=profile,
        as_json=json,
    )


@app.command(epilog="Example: roomcast close mallory --stage dev")
def close(
    user: Annotated[str, typer.Argument(help="Whose sockets are closed.")],
    url: Url = None,
    stage: Stage = None,
    region: Region = None,
    profile: Profile = None,
    json: Json = False,
) -> None:
    """Close all sockets of a user. They may come back, unless a room or the identity provider keeps them out."""
    from ops.backend import close_user

    close_user(user, url=url, stage=stage, region=region, profile=profile, as_json=json)


@app.command(epilog="Example: roomcast forget mallory --stage dev --dry-run")
def forget(
    user: Annotated[str, typer.Argument(help="Whose messages become tombstones, and of whom nothing else is left.")],
    keep_bans: Annotated[
        bool, typer.Option("--keep-bans", help="Leave bans that are in force where they are, with the user's id.")
    ] = False,
    read_units: Annotated[
        float | None, typer.Option(help="Read units a second, at most about; without it: 1,000.")
    ] = None,
    write_units: Annotated[float | None, typer.Option(help="Write units a second, likewise; without it: 500.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what there is.")] = False,
    url: Url = None,
    stage: Stage = None,
    region: Region = None,
    profile: Profile = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON; needs --yes or --dry-run.")] = False,
) -> None:
    """Forget a user, in the log and the archive. It reads whole tables. Killed at any moment, a second run goes on."""
    from ops.forget import forget as forget_user

    raise typer.Exit(
        forget_user(
            user,
            url=url,
            stage=stage,
            region=region,
            profile=profile,
            keep_bans=keep_bans,
            read_units=read_units,
            write_units=write_units,
            yes=yes,
            dry_run=dry_run,
            as_json=json,
        )
    )


@app.command(epilog="Example: roomcast tune --objective p99=150 --clients 300 --rate 15 --seed 1")
def tune(
    objective: Annotated[
        str, typer.Option(help="p99=MS: the cheapest settings that hold it. cost: the cheapest of all.")
    ] = "p99=300",
    lane: Annotated[str, typer.Option(help="The lane whose settings are searched.")] = "interactive",
    grid: Annotated[
        list[str] | None, typer.Option(help="Values to try, SETTING=NUMBER,NUMBER; may be given for each setting.")
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(help="A profile of the load test, instead of 300 clients in a room."),
    ] = None,
    clients: Annotated[int | None, typer.Option(help="Simulated clients.")] = None,
    rooms: Annotated[int | None, typer.Option(help="Rooms that they are spread over.")] = None,
    rate: Annotated[float | None, typer.Option(help="Messages a second in all.")] = None,
    seconds: Annotated[
        float | None, typer.Option(help="How long messages are sent in a measurement; 10 without a profile.")
    ] = None,
    ramp: Annotated[float | None, typer.Option(help="Connects a second.")] = None,
    post_latency: Annotated[
        float,
        typer.Option(min=0, max=10_000, metavar="MS", help="What a post takes on the twin, as `up` takes it."),
    ] = 10,
    trials: Annotated[int, typer.Option(min=1, help="Settings to try.")] = 16,
    repeats: Annotated[int, typer.Option(min=1, help="Measurements of the best of them; the median counts.")] = 3,
    seed: Annotated[int, typer.Option(help="What is drawn depends on it alone.")] = 0,
    stage: Annotated[str | None, typer.Option(help="A stage on AWS, instead of a twin for each measurement.")] = None,
    region: Region = None,
    url: Annotated[
        str | None, typer.Option(help="Where its clients connect, instead of its own WebSocket URL.")
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Bring the stage to the best settings; asks first.")] = False,
    use: Annotated[
        list[str] | None, typer.Option(help="Do not search: --apply this, LANE.SETTING=NUMBER; may be given again.")
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Bring the stage back to what it was before --apply.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write what was measured as JSON; - is standard output.")
    ] = None,
    html: Annotated[str | None, typer.Option(metavar="FILE", help="Write a plot of cost against p99.")] = None,
) -> None:
    """Search the lane settings that serve an objective best, by load tests with each."""
    from ops.trial import Load
    from ops.tune import Options
    from ops.tune import tune as search

    options = Options(
        objective=objective,
        lane=lane,
        grid=grid or (),
        use=use or (),
        load=Load(profile=profile, clients=clients, rooms=rooms, rate=rate, seconds=seconds, ramp=ramp).complete(),
        post_latency=post_latency,
        trials=trials,
        repeats=repeats,
        seed=seed,
        stage=stage,
        region=region,
        url=url,
        apply=apply,
        undo=undo,
        yes=yes,
        json_file=json,
        html_file=html,
    )
    raise typer.Exit(search(options))


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
