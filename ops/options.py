"""Options that many commands have: which service is meant, and in what form it is told."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["Json", "Profile", "Region", "Stage", "Url"]

Url = Annotated[str | None, typer.Option(help="A twin's WebSocket URL; without it: the twin on port 8081.")]
Stage = Annotated[str | None, typer.Option(help="A stage on AWS, instead of a twin.")]
Region = Annotated[str | None, typer.Option(help="The stage's Region, instead of AWS's own setting.")]
Profile = Annotated[str | None, typer.Option(help="A profile of AWS's configuration.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
