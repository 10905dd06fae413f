"""What a deployment is told: one frozen set of settings per stage, and how `-c NAME=VALUE` overrides them.

`cdk deploy -c stage=prod -c lane.interactive.batch_size=5 -c alarm_email=ops@example.org`: every field of `Stage` is a
name, `lane.LANE.SETTING` is a lane's, and `rate.NAME` a row of the rates. Nonsense is refused at synth, by one sentence
that names the setting.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from adapters.identity import AUTH_MODES
from adapters.settings import check_origin_setting
from domain.errors import BadSetting
from domain.lanes import LANES, Lane, override_lanes
from domain.rates import RATES, Rate, override_rates
from infra.packaging import ARCHITECTURES, PYTHONS

__all__ = ["STAGES", "Stage", "check_mapping", "check_stage", "listed_callbacks", "listed_origins", "read_stage"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One deployment. Rates are in requests a second, memory in MB, times in seconds."""

    name: str
    lanes: Mapping[str, Lane]
    rates: Mapping[str, Rate] = field(default_factory=lambda: dict(RATES))
    """How often a client may ask, by the memory of one environment."""

    quota: int = 10_000
    """What API Gateway grants the account in this Region, over all its APIs, posts included. Newer Regions: 2,500."""
    inbound_rate: int = 1_500
    """What clients may send, connects included: the stage's throttle, and a reserve of the quota."""
    inbound_burst: int = 750
    webhook_rate: int = 100
    """What may be posted to all incoming webhooks together: their stage's throttle, likewise."""
    webhook_burst: int = 200
    interactive_reserve: int = 2_400
    """What no capped lane may use of the quota: the interactive lane's, which has no cap."""

    auth: str = "demo"
    """How clients are known: demo, cognito or oidc."""
    oidc_issuer: str = ""
    """In `oidc` auth: whose tokens count, as their `iss` has it."""
    oidc_audience: str = ""
    """In `oidc` auth: for whom they have to be made out."""
    user_claim: str = "sub"
    """The claim of a token that is the user's id."""
    origins: str = ""
    """The pages that may connect, with commas between them; none: any."""
    open_rooms: bool = True
    """Whether the first join makes a room that nobody created."""
    roster_limit: int = 50
    """Members up to which a room is told who comes and goes."""
    shard_limit: int = 1_000
    """Members of a shard: one worker's round. From four fifths of it on a join doubles the room's shards."""
    max_connections_per_user: int = 100
    """0: as many as they like."""
    max_members: int = 0
    """Of any room. 0: as many as come."""
    retention_days: int = 30
    """For which what is said is kept at most; a room may keep it for less. 0: for ever."""
    review: str = ""
    """MODULE:FUNCTION that every message is reviewed by, e.g. of a module in `hooks/`."""
    review_words: str = ""
    """Words, with commas between them, for which a message is refused instead."""
    review_fails: str = "closed"
    """What becomes of a message that can't be reviewed: `open` stores it, `closed` has its client send it again."""
    review_services: bool = False
    """Whether what servers publish is reviewed, too."""
    edit_window: int = 0
    """Seconds for which its sender may edit a message; 0: for as long as it is there. Moderators always may."""
    delete_window: int = 0
    """Seconds for which its sender may delete it; likewise."""
    notices: bool = True
    """Whether there is a topic that gets notices to who is away."""
    archive: bool = False
    """Whether what is said is archived in a bucket, for longer than the log keeps it: docs/archive.md."""
    archive_days: int = 0
    """After which objects of the archive are deleted, if they were not changed meanwhile. 0: never."""
    archive_all: bool = False
    """Whether rooms that keep what is said for less time than the stage are archived, too."""
    archive_window: int = 60
    """Seconds for which changes are gathered, so that fewer objects are put."""
    archive_batch: int = 2_000
    """Changes that end it before."""
    page: bool = False
    """Whether the page in the browser is served, from a bucket by CloudFront: docs/page.md."""
    page_domain: str = ""
    """Its domain, in place of one of CloudFront's."""
    page_certificate: str = ""
    """The ARN of that domain's certificate, in us-east-1."""
    hook_days: int = 3
    """For how long a webhook's receiver may fail before the webhook is disabled."""
    publish_url: bool = False
    """A URL of the function `publish`, for servers that call no Lambda; IAM guards it."""

    architecture: str = "arm64"
    """A fifth cheaper than x86_64 for the same milliseconds."""
    python: str = "3.13"
    api_memory: int = 512
    """Processor time goes with memory. An answer waits for DynamoDB nine tenths of its time, so more buys little."""
    worker_memory: int = 1_769
    """One whole processor: posting is bound by it, and one event loop can't use a second."""
    api_timeout: int = 10
    tick_timeout: int = 60

    log_retention_days: int = 14
    alarm_email: str = ""
    """Who is told of alarms; the topic is there without it."""
    access_logs: bool = False
    """API Gateway writes them only once the account has a role for it: docs/deploy.md."""
    tracing: bool = False
    """X-Ray for the functions; it bills every trace."""
    trace: bool = False
    """Whether a message's event may say when it passed each stage, for load tests."""
    protect: bool = False
    """Tables can't be deleted, by a tear-down or by hand."""

    management_endpoint: str = ""
    """`@connections` elsewhere than on AWS: an emulator's."""
    sign_in_domain: str = ""
    """In `cognito` auth: a page of Cognito's to sign in at, PREFIX.auth.REGION.amazoncognito.com. Empty: none."""
    sign_in_callbacks: str = ""
    """The URLs that it may send users back to, with commas between them."""

    cognito_endpoint: str = ""
    """The user pool's keys elsewhere than on AWS: an emulator's."""
    synthesizer: str = "default"
    """`default`: deploys with the roles that `cdk bootstrap` makes. `cli`: with the caller's own credentials."""


STAGES: Mapping[str, Stage] = {
    "dev": Stage("dev", LANES),
    "prod": Stage("prod", LANES, auth="cognito", log_retention_days=90, open_rooms=False, protect=True),
}
"""A stage of another name is a `dev` of that name."""

_CHOICES: Mapping[str, tuple[str | int, ...]] = {
    "auth": AUTH_MODES,
    "review_fails": ("closed", "open"),
    "architecture": tuple(ARCHITECTURES),
    "python": PYTHONS,
    "log_retention_days": (1, 7, 14, 30, 90, 365),
    "synthesizer": ("default", "cli"),
}
_LIMITS: Mapping[str, tuple[int, int]] = {
    "quota": (1, 1_000_000),
    "inbound_rate": (1, 1_000_000),
    "inbound_burst": (1, 1_000_000),
    "webhook_rate": (1, 1_000_000),
    "webhook_burst": (1, 1_000_000),
    "interactive_reserve": (1, 1_000_000),
    "roster_limit": (0, 10_000),
    "shard_limit": (10, 10_000),
    "max_connections_per_user": (0, 1_000),
    "max_members": (0, 1_000_000),
    "retention_days": (0, 3_660),
    "archive_days": (0, 36_600),
    "archive_window": (0, 300),
    "archive_batch": (1, 10_000),
    "edit_window": (0, 366 * 86_400),
    "delete_window": (0, 366 * 86_400),
    "hook_days": (1, 365),
    "api_memory": (128, 10_240),
    "worker_memory": (128, 10_240),
    "api_timeout": (3, 29),
    "tick_timeout": (10, 900),
}
WORDS_LIMIT = 1_000
"""Bytes: all the settings of a function have room for 4 KB (https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html)."""
_STAGE_NAME = re.compile(r"[a-z][a-z0-9]{0,15}")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


def read_stage(context: Mapping[str, object]) -> Stage:
    """The stage that a CDK context asks for. Names with `:`, `/` or `@` are the CDK's own.

    Raises `BadSetting` for a name that is no setting, a value that is none, or settings that contradict one another.
    """
    asked = {name: str(value) for name, value in context.items() if not re.search(r"[:/@]", name)}
    name = asked.pop("stage", "dev")
    stage = replace(STAGES.get(name, STAGES["dev"]), name=name)
    of_lanes = [f"{it.removeprefix('lane.')}={value}" for it, value in asked.items() if it.startswith("lane.")]
    of_rates = [f"{it.removeprefix('rate.')}={value}" for it, value in asked.items() if it.startswith("rate.")]
    own = {it: value for it, value in asked.items() if not it.startswith(("lane.", "rate."))}
    kinds = {it.name: str(it.type) for it in fields(Stage) if it.name not in {"name", "lanes", "rates"}}
    for it in own:
        if it not in kinds:
            raise BadSetting(
                f"setting '{it}': there is none; the settings are {', '.join(kinds)}, lane.LANE.SETTING, rate.NAME"
            )
    stage = replace(
        stage,
        lanes=override_lanes(stage.lanes, of_lanes),
        rates=override_rates(stage.rates, of_rates),
        **{it: _READ[kinds[it]](it, value) for it, value in own.items()},
    )
    check_stage(stage)
    return stage


def check_stage(stage: Stage) -> None:
    """Raises `BadSetting` where a setting is out of bounds, or all of them ask for more than the account's quota."""
    if not _STAGE_NAME.fullmatch(stage.name):
        raise BadSetting(f"stage '{stage.name}': write 1 to 16 lower-case letters and digits, a letter first")
    for name, choices in _CHOICES.items():
        if getattr(stage, name) not in choices:
            raise BadSetting(f"setting {name}={getattr(stage, name)}: choose one of {', '.join(map(str, choices))}")
    for name, (low, high) in _LIMITS.items():
        if not low <= getattr(stage, name) <= high:
            raise BadSetting(f"setting {name}={getattr(stage, name)}: it must be between {low} and {high}")
    if stage.alarm_email and not _EMAIL.fullmatch(stage.alarm_email):
        raise BadSetting(f"setting alarm_email={stage.alarm_email}: write an address such as ops@example.org")
    for name in ("management_endpoint", "cognito_endpoint"):
        if not re.fullmatch(r"(https?://[^\s]+[^/\s])?", getattr(stage, name)):
            raise BadSetting(f"setting {name}={getattr(stage, name)}: write a URL without a slash at its end")
    _check_identity(stage)
    _check_page(stage)
    _check_review(stage)
    for lane in stage.lanes.values():
        check_mapping(lane)
    _check_quota(stage)


def listed_callbacks(stage: Stage) -> tuple[str, ...]:
    """The URLs of `sign_in_callbacks`, one by one."""
    return tuple(it.strip() for it in stage.sign_in_callbacks.split(",")) if stage.sign_in_callbacks else ()


def listed_origins(stage: Stage) -> tuple[str, ...]:
    """The origins, one by one."""
    return tuple(it.strip() for it in stage.origins.split(",")) if stage.origins else ()


def _check_review(stage: Stage) -> None:
    if not re.fullmatch(r"(\w+(\.\w+)*:\w+)?", stage.review):
        raise BadSetting(f"setting review={stage.review}: write MODULE:FUNCTION, e.g. hooks.language:review")
    if stage.review and stage.review_words:
        raise BadSetting("settings review and review_words: only one of them can be; have the function look for words")
    if len(stage.review_words.encode()) > WORDS_LIMIT:
        raise BadSetting(
            f"setting review_words: it has more than {WORDS_LIMIT} bytes; have a function in hooks/ look for words"
        )


def check_mapping(lane: Lane) -> None:
    """What Lambda asks of a lane's mapping beyond what `check_lane` asks of any; raises `BadSetting`."""
    if lane.max_concurrency < 2:
        raise BadSetting(f"setting lane.{lane.name}.max_concurrency={lane.max_concurrency}: Lambda takes 2 to 1,000")
    for name in ("window", "timeout", "visibility"):
        if getattr(lane, name) % 1:
            raise BadSetting(f"setting lane.{lane.name}.{name}={getattr(lane, name):g}: Lambda takes whole seconds")


def _check_identity(stage: Stage) -> None:
    oidc = stage.auth == "oidc"
    for name in ("oidc_issuer", "oidc_audience"):
        if bool(getattr(stage, name)) != oidc:
            raise BadSetting(f"setting {name}={getattr(stage, name)}: auth=oidc needs it, and no other mode takes it")
    if oidc and not re.fullmatch(r"https://\S+", stage.oidc_issuer):
        raise BadSetting(f"setting oidc_issuer={stage.oidc_issuer}: write it as the tokens' `iss` has it, https://…")
    if not re.fullmatch(r"[A-Za-z0-9_:./-]+", stage.user_claim):
        raise BadSetting(f"setting user_claim={stage.user_claim}: write the name of a claim, such as sub")
    for it in listed_origins(stage):
        check_origin_setting(it)
    if bool(stage.sign_in_domain) != bool(stage.sign_in_callbacks):
        raise BadSetting("settings sign_in_domain and sign_in_callbacks: give both, or neither")
    if stage.sign_in_domain and stage.auth != "cognito":
        raise BadSetting(f"setting sign_in_domain={stage.sign_in_domain}: only auth=cognito has a page to sign in at")
    if not re.fullmatch(r"([a-z0-9](-?[a-z0-9])*)?", stage.sign_in_domain):
        raise BadSetting(f"setting sign_in_domain={stage.sign_in_domain}: write lower-case letters, digits and hyphens")
    for it in listed_callbacks(stage):
        if not re.fullmatch(r"https://[^\s,]+|http://localhost(:\d+)?(/[^\s,]*)?", it):
            raise BadSetting(f"setting sign_in_callbacks={it}: write https://…, or http://localhost for trying out")


def _check_page(stage: Stage) -> None:
    if bool(stage.page_domain) != bool(stage.page_certificate):
        raise BadSetting("settings page_domain and page_certificate: give both, or neither")
    if stage.page_domain and not stage.page:
        raise BadSetting(f"setting page_domain={stage.page_domain}: only page=true has a page")
    if not re.fullmatch(r"([a-z0-9-]+(\.[a-z0-9-]+)+)?", stage.page_domain):
        raise BadSetting(f"setting page_domain={stage.page_domain}: write a domain such as chat.example.org")
    if not re.fullmatch(r"(arn:aws[a-z-]*:acm:us-east-1:[0-9]{12}:certificate/\S+)?", stage.page_certificate):
        raise BadSetting(
            f"setting page_certificate={stage.page_certificate}: write the ARN of a certificate in us-east-1, which is"
            " where CloudFront looks"
        )


def _check_quota(stage: Stage) -> None:
    capped = {it.name: it.post_rate * it.max_concurrency for it in stage.lanes.values() if it.post_rate and it.sockets}
    reserves = ("inbound_rate", "webhook_rate", "interactive_reserve")
    parts = {**{it: getattr(stage, it) for it in reserves}, **capped}
    total = sum(parts.values())
    if total > stage.quota:
        listed = " + ".join(f"{value:g} ({name})" for name, value in parts.items())
        raise BadSetting(
            f"setting quota={stage.quota}: the reserves and the lanes' caps (post_rate × max_concurrency) ask for"
            f" {total:g} requests a second: {listed}; lower one of them, or have the account's quota raised"
        )


def _flag(name: str, text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        raise BadSetting(f"setting {name}={text}: write true or false")
    return text.lower() == "true"


def _whole(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise BadSetting(f"setting {name}={text}: write a whole number") from None


def _text(name: str, text: str) -> str:
    return text


_READ: Mapping[str, Callable[[str, str], Any]] = {"bool": _flag, "int": _whole, "str": _text}
