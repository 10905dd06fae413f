"""A stage's settings: what may be overridden, and what is refused."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from domain.errors import BadSetting
from domain.lanes import LANES
from domain.rates import Rate
from infra.settings import STAGES, Stage, check_stage, read_stage


def test_the_default_is_dev() -> None:
    """Without a stage it is `dev`, and the CDK's own names in the context are none of ours."""
    assert read_stage({"aws:cdk:bundling-stacks": ["**"], "@aws-cdk/core:flag": True}) == STAGES["dev"]


@pytest.mark.parametrize("stage", STAGES.values(), ids=str)
def test_a_stage_is_sound_as_it_stands(stage: Stage) -> None:
    """What we ship passes its own checks."""
    check_stage(stage)


def test_production_is_protected() -> None:
    """Its tables can't be deleted, nobody makes rooms by joining them, and users are who they have shown to be."""
    prod = read_stage({"stage": "prod"})
    assert (prod.protect, prod.open_rooms, prod.log_retention_days) == (True, False, 90)
    assert prod.auth == "cognito"


def test_another_name_is_a_dev_of_that_name() -> None:
    """Every engineer may have a stage."""
    assert read_stage({"stage": "ada"}) == replace(STAGES["dev"], name="ada")


def test_settings_are_overridden_by_name() -> None:
    """Texts, numbers, flags, and the lanes' settings."""
    stage = read_stage(
        {
            "stage": "prod",
            "worker_memory": "3008",
            "protect": "false",
            "alarm_email": "ops@example.org",
            "lane.interactive.batch_size": "5",
            "lane.ephemeral.window": "1",
            "rate.chat": "10/50",
            "lane.ephemeral.batch_size": "100",
        }
    )
    assert (stage.worker_memory, stage.protect, stage.alarm_email) == (3008, False, "ops@example.org")
    assert stage.rates["chat"] == Rate(10, 50)
    assert stage.lanes["interactive"] == replace(LANES["interactive"], batch_size=5)
    assert stage.lanes["ephemeral"] == replace(LANES["ephemeral"], batch_size=100, window=1)


@pytest.mark.parametrize(
    ("context", "names"),
    [
        ({"stage": "Prod"}, ["stage 'Prod'", "lower-case"]),
        ({"stage": "a-b"}, ["stage 'a-b'"]),
        ({"worker_memry": "1"}, ["worker_memry", "worker_memory"]),
        ({"worker_memory": "much"}, ["worker_memory=much", "whole number"]),
        ({"worker_memory": "64"}, ["worker_memory=64", "between 128 and 10240"]),
        ({"protect": "perhaps"}, ["protect=perhaps", "true or false"]),
        ({"auth": "none"}, ["auth=none", "demo", "cognito", "oidc"]),
        ({"auth": "oidc"}, ["oidc_issuer=", "auth=oidc needs it"]),
        ({"auth": "oidc", "oidc_issuer": "https://id.example.org"}, ["oidc_audience=", "auth=oidc needs it"]),
        ({"auth": "cognito", "oidc_audience": "chat"}, ["oidc_audience=chat", "no other mode takes it"]),
        ({"auth": "oidc", "oidc_issuer": "http://id.example.org", "oidc_audience": "chat"}, ["oidc_issuer=http:"]),
        ({"user_claim": "a b"}, ["user_claim=a b", "sub"]),
        ({"auth": "cognito", "sign_in_domain": "our"}, ["sign_in_callbacks", "both, or neither"]),
        ({"sign_in_domain": "our", "sign_in_callbacks": "https://a.example"}, ["sign_in_domain=our", "auth=cognito"]),
        (
            {"auth": "cognito", "sign_in_domain": "Our", "sign_in_callbacks": "https://a.example"},
            ["sign_in_domain=Our", "lower-case"],
        ),
        (
            {"auth": "cognito", "sign_in_domain": "our", "sign_in_callbacks": "http://a.example"},
            ["sign_in_callbacks=http://a.example", "https://"],
        ),
        ({"page": "true", "page_domain": "a.example"}, ["page_certificate", "both, or neither"]),
        (
            {"page_domain": "a.example", "page_certificate": "arn:aws:acm:us-east-1:123456789012:certificate/a"},
            ["page_domain=a.example", "page=true"],
        ),
        (
            {
                "page": "true",
                "page_domain": "https://a.example",
                "page_certificate": "arn:aws:acm:us-east-1:123456789012:certificate/a",
            },
            ["page_domain=https://a.example", "chat.example.org"],
        ),
        (
            {
                "page": "true",
                "page_domain": "a.example",
                "page_certificate": "arn:aws:acm:eu-west-1:123456789012:certificate/a",
            },
            ["page_certificate=arn:aws:acm:eu-west-1", "us-east-1"],
        ),
        *(
            ({"origins": it}, ["origin ", "https://chat.example.org"])
            for it in (
                "*",
                "null",
                "chat.example.org",
                "https://*.example.org",
                "https://chat.example.org/",
                "https://Chat.example.org",
                "https://chat.example.org:443",
                "http://chat.example.org:80",
                "https://chat.example.org,,https://a.example.org",
                "wss://chat.example.org",
            )
        ),
        ({"architecture": "riscv"}, ["architecture=riscv", "arm64"]),
        ({"python": "2.7"}, ["python=2.7", "3.13"]),
        ({"log_retention_days": "8"}, ["log_retention_days=8", "14"]),
        ({"alarm_email": "ops"}, ["alarm_email=ops", "ops@example.org"]),
        ({"management_endpoint": "localhost:80/"}, ["management_endpoint=localhost:80/"]),
        ({"synthesizer": "mine"}, ["synthesizer=mine"]),
        ({"lane.interactive.batch_size": "50"}, ["interactive.batch_size=50", "FIFO"]),
        ({"lane.ephemeral.batch_size": "50"}, ["ephemeral.batch_size=50", "window"]),
        ({"lane.retry.visibility": "5"}, ["retry.visibility=5", "time-out"]),
        ({"lane.retry.max_concurrency": "1"}, ["lane.retry.max_concurrency=1", "2 to 1,000"]),
        ({"lane.retry.timeout": "9.5"}, ["lane.retry.timeout=9.5", "whole seconds"]),
        ({"lane.slow.batch_size": "5"}, ["slow", "interactive"]),
        ({"lane.retry": "5"}, ["retry=5", "LANE.SETTING"]),
        ({"review": "hooks.language"}, ["review=hooks.language", "MODULE:FUNCTION"]),
        ({"review": "a:b", "review_words": "c"}, ["review_words", "only one"]),
        ({"review_words": "x" * 1_001}, ["review_words", "1000 bytes", "hooks/"]),
        ({"review_fails": "ajar"}, ["review_fails=ajar", "closed, open"]),
        ({"rate.chat": "much"}, ["chat=much", "PER_SECOND"]),
        ({"rate.shout": "1"}, ["shout=1", "connection"]),
        ({"quota": "2500"}, ["quota=2500", "ask for", "interactive_reserve"]),
        ({"lane.ephemeral.max_concurrency": "50"}, ["quota=10000", "(ephemeral)"]),
    ],
)
def test_nonsense_is_refused(context: dict[str, str], names: list[str]) -> None:
    """By one sentence that names the setting, what is wrong, and what would be right."""
    with pytest.raises(BadSetting) as refused:
        read_stage(context)
    assert "\n" not in str(refused.value)
    for it in names:
        assert it in str(refused.value)


def test_every_setting_says_what_it_is_for() -> None:
    """Each can be given by `-c`, and read back."""
    stage = STAGES["dev"]
    given = {it.name: str(getattr(stage, it.name)) for it in fields(Stage) if it.name not in {"name", "lanes", "rates"}}
    assert read_stage(given) == stage
