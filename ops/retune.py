"""Other lane settings for a stage that is deployed: what would change, the change, and the way back.

A lane's settings are in two places: its event source mapping, and the environment of every function. CloudFormation
hears nothing of a change made here: the next `make deploy` that touches these resources puts its own settings back,
unless it is told the new ones.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from adapters.settings import Settings
from domain.lanes import Lane
from infra.permissions import TABLES
from ops.stage import Client, Deployment, StageError, answered

__all__ = ["Change", "SourceMapping", "Tuning", "changes", "notes", "put", "read", "remember", "remembered", "tuned"]

LANES_VARIABLE = "ROOMCAST_LANES"
SETTLE_SECONDS = 120.0
"""How long Lambda may take to carry out a change; mostly a few seconds."""
POLL = 1.0
_OPTIONAL = frozenset({"archive"})
"""Functions that a stage need not have."""


class SourceMapping(Struct, frozen=True, kw_only=True):
    """What a lane's event source mapping says of it."""

    uuid: str
    batch_size: int
    window: int
    max_concurrency: int


class Tuning(Struct, frozen=True, kw_only=True):
    """The lanes' settings of a stage, wherever they stand."""

    stage: str
    region: str
    mappings: dict[str, SourceMapping]
    """By lane."""
    functions: dict[str, str]
    """Function → its variable with the lanes, as it is written."""


class Change(Struct, frozen=True):
    """One value that differs."""

    where: str
    setting: str
    old: str
    new: str


def read(deployment: Deployment) -> Tuning:
    """The settings as they are. Raises `StageError`."""
    functions, mappings = {}, {}
    with answered(str(deployment)):
        client = deployment.client("lambda")
        for name in TABLES:
            function = f"{deployment.prefix}-{name}"
            try:
                found = client.get_function_configuration(FunctionName=function)
            except client.exceptions.ResourceNotFoundException:
                if name in _OPTIONAL:
                    continue
                raise
            functions[function] = _variables(found)[LANES_VARIABLE]
        for lane in deployment.lanes:
            listed = client.list_event_source_mappings(FunctionName=f"{deployment.prefix}-{lane}")
            its = listed["EventSourceMappings"]
            if len(its) != 1:
                raise StageError(
                    f"{deployment}: {deployment.prefix}-{lane} has {len(its)} mappings, and should have one"
                )
            mappings[lane] = SourceMapping(
                uuid=its[0]["UUID"],
                batch_size=its[0]["BatchSize"],
                window=its[0].get("MaximumBatchingWindowInSeconds", 0),
                max_concurrency=its[0].get("ScalingConfig", {}).get("MaximumConcurrency", 0),
            )
    return Tuning(stage=deployment.name, region=deployment.region, mappings=mappings, functions=functions)


def tuned(tuning: Tuning, lanes: Mapping[str, Lane]) -> Tuning:
    """The same stage with these lanes."""
    text = Settings({}, {}, {}, management_endpoint="", lanes=lanes).as_environment()[LANES_VARIABLE]
    return msgspec.structs.replace(
        tuning,
        functions=dict.fromkeys(tuning.functions, text),
        mappings={
            name: SourceMapping(
                uuid=it.uuid,
                batch_size=lanes[name].batch_size,
                window=round(lanes[name].window),
                max_concurrency=lanes[name].max_concurrency,
            )
            for name, it in tuning.mappings.items()
        },
    )


def changes(old: Tuning, new: Tuning) -> list[Change]:
    """What differs, the functions that change alike in one line."""
    found = [
        Change(f"mapping of {lane}", name, str(getattr(it, name)), str(getattr(new.mappings[lane], name)))
        for lane, it in old.mappings.items()
        for name in ("batch_size", "window", "max_concurrency")
        if getattr(it, name) != getattr(new.mappings[lane], name)
    ]
    by_change: dict[tuple[str, str, str], list[str]] = {}
    for function, text in old.functions.items():
        for change in _lane_changes(text, new.functions[function]):
            by_change.setdefault(change, []).append(function)
    for change, functions in by_change.items():
        where = "every function" if len(functions) == len(old.functions) else ", ".join(functions)
        found.append(Change(where, *change))
    return found


def put(deployment: Deployment, new: Tuning, watch: Callable[[str], None] = lambda _: None) -> None:
    """Bring the stage to these settings, and wait until Lambda has carried that out. `watch` is told each step.

    Repeatable: what is so already is left alone. Raises `StageError`, with some of it done.
    """
    old = read(deployment)
    with answered(str(deployment)):
        client = deployment.client("lambda")
        updated = [it for it, text in new.functions.items() if old.functions.get(it) != text]
        for function in updated:
            watch(function)
            _update_function(client, function, new.functions[function])
        for function in updated:
            _wait(function, _function_state, client, function)
        for lane, mapping in new.mappings.items():
            if old.mappings.get(lane) != mapping:
                watch(f"mapping of {lane}")
                _update_mapping(client, mapping, window=not deployment.lanes[lane].fifo)
                _wait(f"the mapping of {lane}", _mapping_state, client, mapping.uuid)


# ---- the way back


def notes(deployment: Deployment, folder: Path) -> Path:
    """Where it is written down how the stage was before it was changed."""
    return folder / f"lanes-{deployment.name}-{deployment.region}.json"


def remember(tuning: Tuning, path: Path) -> bool:
    """Write down how the stage is; False where an earlier change is still to be undone: what was before that counts."""
    if path.exists():
        return False
    path.parent.mkdir(exist_ok=True)
    written = path.with_suffix(".new")
    written.write_bytes(msgspec.json.format(msgspec.json.encode(tuning)))
    os.replace(written, path)
    return True


def remembered(deployment: Deployment, path: Path) -> Tuning:
    """How the stage was before it was changed. Raises `StageError` where nothing is to be undone."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Tuning)
    except FileNotFoundError:
        raise StageError(
            f"{deployment}: there is nothing to undo; --apply writes down what was before ({path})"
        ) from None
    except msgspec.MsgspecError as error:
        raise StageError(f"{path} is unreadable ({error}); `make deploy` puts the stage's own settings back") from None


# ---- private


def _variables(function: Mapping[str, Any]) -> dict[str, str]:
    variables: dict[str, str] = function.get("Environment", {}).get("Variables", {})
    if LANES_VARIABLE not in variables:
        raise StageError(
            f"{function['FunctionName']} has no {LANES_VARIABLE}: it is of another release than this command"
        )
    return variables


def _lane_changes(old: str, new: str) -> list[tuple[str, str, str]]:
    """(setting, old, new) of two variables."""
    before, after = (msgspec.json.decode(it, type=dict[str, Lane]) for it in (old, new))
    return [
        (f"{lane}.{it.name}", f"{getattr(before[lane], it.name):g}", f"{getattr(after[lane], it.name):g}")
        for lane in before
        for it in fields(Lane)[2:]
        if lane in after and getattr(before[lane], it.name) != getattr(after[lane], it.name)
    ]


def _update_function(client: Client, function: str, lanes: str) -> None:
    found = client.get_function_configuration(FunctionName=function)
    client.update_function_configuration(
        FunctionName=function,
        Environment={"Variables": {**_variables(found), LANES_VARIABLE: lanes}},
        RevisionId=found["RevisionId"],  # else a deployment meanwhile would be taken back
    )


def _update_mapping(client: Client, mapping: SourceMapping, *, window: bool) -> None:
    client.update_event_source_mapping(
        UUID=mapping.uuid,
        BatchSize=mapping.batch_size,
        ScalingConfig={"MaximumConcurrency": mapping.max_concurrency},
        **({"MaximumBatchingWindowInSeconds": mapping.window} if window else {}),  # a FIFO queue's takes none
    )


def _function_state(client: Client, function: str) -> str:
    return str(client.get_function_configuration(FunctionName=function).get("LastUpdateStatus", "Successful"))


def _mapping_state(client: Client, uuid: str) -> str:
    return str(client.get_event_source_mapping(UUID=uuid)["State"])


def _wait(what: str, state: Callable[[Client, str], str], client: Client, name: str) -> None:
    """Until the state is no longer one of passage; `StageError` if it is none of success, or does not come."""
    end = time.monotonic() + SETTLE_SECONDS
    while (found := state(client, name)) in {"InProgress", "Updating", "Enabling", "Creating"}:
        if time.monotonic() > end:
            raise StageError(
                f"{what} is still {found} after {SETTLE_SECONDS:g} s; `roomcast tune --undo` takes it back"
            )
        time.sleep(POLL)
    if found not in {"Successful", "Enabled"}:
        raise StageError(f"{what} is {found}; `roomcast tune --undo` takes the change back")
