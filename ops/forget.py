"""`roomcast forget`: what there is of a user, a question, and then nothing of them any more."""

from __future__ import annotations

import asyncio
import getpass
import json
import re
import sys
from typing import Any

import typer
from botocore.exceptions import ClientError
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from adapters.aws import error_code
from adapters.s3 import S3Archive, bucket_name
from adapters.settings import table_names
from domain.errors import BadSetting, Unavailable
from domain.forgetting import Kind, user_hash
from ops.backend import invoke
from ops.forgetting import READ_UNITS, WRITE_UNITS, Oblivion, Outcome, Pace
from ops.stage import Deployment, StageError, answered, find

__all__ = ["forget"]

UNITS = (1.0, 100_000.0)
"""A second."""
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


def forget(
    user: str,
    *,
    url: str | None,
    stage: str | None,
    region: str | None,
    profile: str | None,
    keep_bans: bool,
    read_units: float | None,
    write_units: float | None,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Ask, forget, and tell; the exit status, 0 if nothing is left. Raises `BadSetting`, `StageError`."""
    if not _ID.fullmatch(user):
        raise BadSetting(f"USER {user!r}: an id is 1 to 64 letters, digits, or any of _ . : -")
    for option, units in {"--read-units": read_units, "--write-units": write_units}.items():
        if units is not None and not UNITS[0] <= units <= UNITS[1]:
            raise BadSetting(f"{option} {units:g}: it must be between {UNITS[0]:g} and {UNITS[1]:g} a second")
    if not (yes or dry_run) and (as_json or not sys.stdin.isatty()):
        raise BadSetting("there is nobody to ask: add --yes, or --dry-run to change nothing")
    deployment = find(url=url, stage=stage, region=region, profile=profile)
    if not (yes or dry_run) and not typer.confirm(_question(user, deployment)):
        return 1
    account, by = _who(deployment)
    bucket = _bucket(deployment, account)
    reads, writes = Pace(read_units or READ_UNITS), Pace(write_units or WRITE_UNITS)
    work = _forget(deployment, user, by, bucket, keep_bans, reads, writes, dry_run=dry_run, quiet=as_json)
    with answered(str(deployment)):
        try:
            outcome = asyncio.run(work)
        except KeyboardInterrupt:
            raise StageError("stopped; run it again, and it goes on") from None
    if as_json:
        print(json.dumps(_as_json(deployment, user, outcome, reads, writes, dry_run=dry_run), indent=2))
    else:
        _show(deployment, user, outcome, reads, writes, dry_run=dry_run)
    return 0 if dry_run or outcome.is_proven else 1


# ---- private

_WORDS = {
    Kind.MESSAGE: "messages, now tombstones",
    Kind.ENTRY: "other entries that named them",
    Kind.REACTION: "reactions taken back",
    Kind.INBOX: "rows of their inbox",
    Kind.REQUEST: "memories of requests",
    Kind.STANDING: "roles, bans and mutes",
    Kind.MARK: "read marks",
    Kind.NOTICE: "memories of notices",
    Kind.OWNER: "rows of rooms that they owned",
    Kind.CONNECTION: "rows of connections",
    Kind.OTHER: "rows of other kinds",
    Kind.LINE: "lines of the archive",
    Kind.OBJECT: "objects of their inbox in the archive",
}


async def _forget(
    deployment: Deployment,
    user: str,
    by: str,
    bucket: str,
    keep_bans: bool,
    reads: Pace,
    writes: Pace,
    *,
    dry_run: bool,
    quiet: bool,
) -> Outcome:
    async def close() -> int:
        return int((await asyncio.to_thread(invoke, deployment, {"action": "close", "userId": user}))["closed"])

    columns = (TextColumn("{task.completed:,} rows and objects read"), TimeElapsedColumn())
    console = Console(stderr=True)
    async with deployment.open_client("dynamodb") as dynamodb, deployment.open_client("s3") as s3:
        with Progress(*columns, disable=quiet or not console.is_terminal, console=console, transient=True) as progress:
            bar = progress.add_task("", total=None)
            oblivion = Oblivion(
                user=user,
                dynamodb=dynamodb,
                tables=table_names(deployment.prefix),
                archive=S3Archive(s3, bucket) if bucket else None,
                close=close,
                by=by,
                keep_bans=keep_bans,
                reads=reads,
                writes=writes,
                tell=lambda rows: progress.advance(bar, rows),
            )
            try:
                return await (oblivion.look() if dry_run else oblivion.run())
            except Unavailable as error:
                raise StageError(f"{deployment}: {error}; run it again, and it goes on") from None


def _question(user: str, deployment: Deployment) -> str:
    return (
        f"Forget {user} at {deployment}? Their messages become tombstones in every room, for good. They are logged out,"
        " and come back unless the identity provider keeps them out: delete their account there first."
    )


def _who(deployment: Deployment) -> tuple[str, str]:
    """(the account, who has it done)."""
    if deployment.twin:
        return "", getpass.getuser()
    with answered(str(deployment)):
        identity = deployment.client("sts").get_caller_identity()
    return str(identity["Account"]), str(identity["Arn"])


def _bucket(deployment: Deployment, account: str) -> str:
    """The archive's bucket, also one that a stage has kept since it archived; empty where there is none."""
    if deployment.twin:
        return deployment.bucket
    name = bucket_name(deployment.prefix, account, deployment.region)
    with answered(str(deployment)):
        try:
            deployment.client("s3").head_bucket(Bucket=name)
        except ClientError as error:
            if error_code(error) not in {"404", "NoSuchBucket"}:
                raise
            return ""
    return name


def _show(deployment: Deployment, user: str, outcome: Outcome, reads: Pace, writes: Pace, *, dry_run: bool) -> None:
    out = Console(highlight=False)
    table = Table(title=str(deployment), title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("what")
    table.add_column("there" if dry_run else "done", justify="right")
    for kind, words in _WORDS.items():
        if outcome.counts[str(kind)]:
            table.add_row(words, f"{outcome.counts[str(kind)]:,}")
    if outcome.counts.total():
        out.print(table)
    if outcome.kept_bans:
        out.print(f"{outcome.kept_bans:,} bans stay, with the user's id.")
    out.print(f"{reads.spent:,.0f} read units, {writes.spent:,.0f} write units, about.")
    if dry_run:
        out.print(f"Nothing is changed.{'' if outcome.counts.total() else f' There is nothing of {user}.'}")
    elif outcome.is_proven and not outcome.counts.total():
        out.print(f"There is nothing of {user}.", markup=False)
    elif outcome.is_proven:
        out.print(f"{user} is forgotten: pass {outcome.passes} found nothing more.", markup=False)
    elif not outcome.quiet:
        out.print(
            f"Not done: after {outcome.passes} passes something of {user} still comes. Keep them out.", markup=False
        )
    if outcome.left:
        out.print(f"Not done: {outcome.left:,} rows or objects name {user} in a way that this release does not know:")
    for where in outcome.where:
        out.print(f"  {where}", markup=False)


def _as_json(
    deployment: Deployment, user: str, outcome: Outcome, reads: Pace, writes: Pace, *, dry_run: bool
) -> dict[str, Any]:
    return {
        "deployment": str(deployment),
        "record": user_hash(user),
        "dry_run": dry_run,
        "counts": dict(outcome.counts),
        "closed": outcome.closed,
        "kept_bans": outcome.kept_bans,
        "passes": outcome.passes,
        "resumed": outcome.resumed,
        "proven": outcome.is_proven,
        "left": outcome.left,
        "where": outcome.where,
        "read_units": round(reads.spent),
        "write_units": round(writes.spent),
    }
