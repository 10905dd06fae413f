"""What a deployment tells its functions, and the names of the environment variables that carry it.

The variables' names stand here once: the CDK constructs and the twin write them with `as_environment`, the functions
read them with `from_environment`. Nothing else reads the environment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

import msgspec

from domain.errors import BadSetting
from domain.lanes import LANES, Lane
from domain.rates import RATES, Rate

__all__ = ["Settings", "check_origin_setting", "table_names"]


def table_names(prefix: str) -> dict[str, str]:
    """The tables of a deployment: {connections, rooms, messages} → name."""
    return {it: f"{prefix}-{it}" for it in ("connections", "rooms", "messages")}


def check_origin_setting(origin: str) -> None:
    """`BadSetting` where no browser would send that as the origin of a page."""
    parts = _ORIGIN.fullmatch(origin)
    if parts is None or _OWN_PORTS.get(parts["scheme"]) == parts["port"]:
        raise BadSetting(
            f"origin {origin}: write it as browsers send it, https://chat.example.org or http://localhost:5173: lower"
            " case, no path, no slash at its end, no wildcard, no port that is the scheme's own"
        )


_ORIGIN = re.compile(r"(?P<scheme>https?)://([a-z0-9-]+(\.[a-z0-9-]+)*|\[[0-9a-f:]+\])(:(?P<port>[1-9][0-9]{0,4}))?")
_OWN_PORTS = {"http": "80", "https": "443"}


@dataclass(frozen=True, slots=True)
class Settings:
    """One deployment, as its functions see it."""

    tables: Mapping[str, str]
    """connections, rooms, messages → table name."""
    queues: Mapping[str, str]
    """Lane → queue URL."""
    dead_letter_queues: Mapping[str, str]
    """Lane → URL of its dead-letter queue."""
    management_endpoint: str
    """`https://{api}.execute-api.{region}.amazonaws.com/{stage}`: built from API id, Region and stage, never from an
    event's domainName, since custom domains refuse the call."""
    lane: str = ""
    """The lane that this function works; empty in the API functions."""
    region: str = "us-east-1"
    auth: str = "demo"
    """How clients are known: demo, cognito or oidc."""
    issuer: str = ""
    """Whose tokens count, as their `iss` has it; not in demo."""
    audience: str = ""
    """For whom they have to be made out; of Cognito's the app client's id."""
    jwks_url: str = ""
    """Where the issuer's keys are; empty: where its discovery document says."""
    user_claim: str = "sub"
    """The claim of a token that is the user's id."""
    origins: tuple[str, ...] = ()
    """The pages that may connect, `https://chat.example.org`; none: any."""
    open_rooms: bool = True
    """Whether the first join makes a room that nobody created."""
    roster_limit: int = 50
    """Members up to which a room is told who comes and goes; a larger one is told how many there are."""
    max_connections_per_user: int = 100
    """0: as many as they like."""
    max_members: int = 0
    """Of a room. 0: as many as come."""
    retention_days: int = 30
    """For which what is said is kept at most; a room may keep it for less. 0: for ever."""
    review: str = ""
    """MODULE:FUNCTION that every message is reviewed by; empty: none."""
    review_words: str = ""
    """Words, with commas between them, for which a message is refused instead."""
    review_fails: str = "closed"
    """What becomes of a message that can't be reviewed: `open` stores it, `closed` has its client send it again."""
    review_services: bool = False
    """Whether what servers publish is reviewed, too."""
    fast_posts: bool = True
    """Whether posts go past the AWS client, for a quarter of its CPU; else each is a `post_to_connection`."""
    shard_limit: int = 1_000
    """Members of a shard; from four fifths of it on a join doubles the room's shards."""
    trace: bool = False
    """Whether a message's event may say when it passed each stage."""
    edit_window: int = 0
    """Seconds for which its sender may edit a message; 0: for as long as it is there."""
    delete_window: int = 0
    """Seconds for which its sender may delete it; likewise."""
    topic: str = ""
    """ARN of the topic that gets notices to who is away; empty: none is sent."""
    bucket: str = ""
    """Of the archive; empty: there is none."""
    archive_all: bool = False
    """Whether rooms that keep what is said for less time than the stage are archived, too."""
    hook_days: int = 3
    """For how long a hook's receiver may fail before the hook is disabled."""
    hook_networks: tuple[str, ...] = ()
    """Networks beside the public internet that hooks may post to, `127.0.0.0/8`, then by http and to any port as well:
    of a twin and of tests alone, and never set on AWS."""
    lanes: Mapping[str, Lane] = field(default_factory=lambda: dict(LANES))
    rates: Mapping[str, Rate] = field(default_factory=lambda: dict(RATES))
    """How often a client may ask."""

    def as_environment(self) -> dict[str, str]:
        """The variables that carry these settings to a function."""
        return {
            _variable(it.name): value if isinstance(value := getattr(self, it.name), str) else _encode(value)
            for it in fields(self)
        }

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Settings:
        """The settings in a function's environment; `BadSetting` names a variable that is missing or unreadable."""
        values: dict[str, Any] = {}
        for it in fields(cls):
            variable = _variable(it.name)
            if variable not in environ:
                raise BadSetting(f"the environment variable {variable} is missing; the deployment sets it")
            text = environ[variable]
            try:
                values[it.name] = text if it.type == "str" else msgspec.json.decode(text, type=_TYPES[it.name])
            except msgspec.MsgspecError as error:
                raise BadSetting(f"the environment variable {variable} is unreadable: {error}") from None
        return cls(**values)


_TYPES = {
    "tables": dict[str, str],
    "queues": dict[str, str],
    "dead_letter_queues": dict[str, str],
    "origins": tuple[str, ...],
    "open_rooms": bool,
    "roster_limit": int,
    "shard_limit": int,
    "max_connections_per_user": int,
    "max_members": int,
    "retention_days": int,
    "review_services": bool,
    "fast_posts": bool,
    "trace": bool,
    "edit_window": int,
    "delete_window": int,
    "archive_all": bool,
    "hook_days": int,
    "hook_networks": tuple[str, ...],
    "lanes": dict[str, Lane],
    "rates": dict[str, Rate],
}


def _variable(name: str) -> str:
    return f"ROOMCAST_{name.upper()}"


def _encode(value: object) -> str:
    if isinstance(value, Mapping):
        value = {name: _short(it) if isinstance(it, Lane) else it for name, it in value.items()}
    return msgspec.json.encode(value).decode()


def _short(lane: Lane) -> dict[str, Any]:
    """Without what every lane has by itself: all the variables of a function have 4 KB."""
    values = {it: getattr(lane, it.name) for it in fields(Lane)}
    return {it.name: value for it, value in values.items() if it.default is MISSING or value != it.default}
