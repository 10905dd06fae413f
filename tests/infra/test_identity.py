"""The user pool of a stage with `cognito` auth, and what the functions are told of who may connect."""

from __future__ import annotations

import pytest

from adapters.settings import Settings
from adapters.user_pool import GROUPS, TOKEN_MINUTES, app_client_definition
from tests.infra.conftest import Synthesis, Synthesize
from tests.infra.templates import Template

POOL, CLIENT, PARAMETER = "AWS::Cognito::UserPool", "AWS::Cognito::UserPoolClient", "AWS::SSM::Parameter"


def told(service: Template) -> Settings:
    """What every function is told; it is the same for all of them."""
    functions = service.named("AWS::Lambda::Function")
    stage = next(iter(functions)).split("-")[1]
    found = {
        name: Settings.from_environment(functions[f"roomcast-{stage}-{name}"]["Environment"]["Variables"])
        for name in ("authorizer", "connect", "message")
    }
    assert found["authorizer"] == found["connect"] == found["message"]
    return found["authorizer"]


def test_the_pool_is_state(prod: Synthesis) -> None:
    """It stands beside the tables, and outlives its stack as they do; its logical id is what keeps it."""
    state = prod.template("roomcast-prod-state")
    [(name, pool)] = state.of(POOL).items()
    assert name == "UsersPoolBFC35D3B"
    assert (pool["UserPoolName"], pool["DeletionProtection"]) == ("roomcast-prod", "ACTIVE")
    assert state.body["Resources"][name]["DeletionPolicy"] == "Retain"
    assert POOL not in {it["Type"] for it in prod.template("roomcast-prod-service").body["Resources"].values()}


def test_operators_make_the_users(prod: Synthesis) -> None:
    """Nobody signs up by himself."""
    [pool] = prod.template("roomcast-prod-state").of(POOL).values()
    assert pool["AdminCreateUserConfig"]["AllowAdminCreateUserOnly"] is True
    assert pool["Policies"]["PasswordPolicy"]["MinimumLength"] >= 12


def test_the_app_client_is_as_the_twins(prod: Synthesis) -> None:
    """No secret, no hosted page, tokens of an hour: the same that the twin's emulator is asked for."""
    [client] = prod.template("roomcast-prod-state").of(CLIENT).values()
    definition = app_client_definition("roomcast-prod")
    minutes = {"AccessTokenValidity", "IdTokenValidity", "RefreshTokenValidity", "TokenValidityUnits"}
    for name in definition.keys() - minutes:
        found = client[name]
        assert (sorted(found) if isinstance(found, list) else found) == definition[name], name
    assert (client["AccessTokenValidity"], client["TokenValidityUnits"]["AccessToken"]) == (TOKEN_MINUTES, "minutes")
    assert client["AllowedOAuthFlowsUserPoolClient"] is False


def test_the_groups_that_count_are_there(prod: Synthesis) -> None:
    """`admin` and `moderator`, of every room."""
    groups = prod.template("roomcast-prod-state").of("AWS::Cognito::UserPoolGroup").values()
    assert {it["GroupName"] for it in groups} == set(GROUPS)


def test_the_service_finds_the_pool_by_its_stages_name(prod: Synthesis) -> None:
    """By Systems Manager, not by an export; its functions know issuer, client and where the keys are."""
    written = {it["Name"]: it["Value"] for it in prod.template("roomcast-prod-state").of(PARAMETER).values()}
    service = prod.template("roomcast-prod-service")
    read = {name: it["Default"] for name, it in service.body["Parameters"].items() if "SSM" in it["Type"]}
    assert set(read.values()) >= set(written) >= {"/roomcast-prod/user-pool", "/roomcast-prod/user-pool-client"}
    names = {path: f"<{name}>" for name, path in read.items()}
    pool, client = names["/roomcast-prod/user-pool"], names["/roomcast-prod/user-pool-client"]
    settings = told(service)
    issuer = f"https://cognito-idp.<AWS::Region>.<AWS::URLSuffix>/{pool}"
    assert (settings.auth, settings.issuer, settings.audience) == ("cognito", issuer, client)
    assert settings.jwks_url == f"{issuer}/.well-known/jwks.json"
    assert (service.outputs["UserPoolId"], service.outputs["UserPoolClientId"]) == (pool, client)


def test_a_demo_has_no_pool(state: Template, service: Template) -> None:
    """And nobody to know."""
    assert POOL not in {it["Type"] for it in state.body["Resources"].values()}
    settings = told(service)
    assert (settings.auth, settings.issuer, settings.audience, settings.origins) == ("demo", "", "", ())


@pytest.mark.slow
def test_another_issuer_is_a_setting(synthesize: Synthesize) -> None:
    """Its discovery document says where its keys are. No pool is made."""
    made = synthesize(
        auth="oidc",
        oidc_issuer="https://id.example.org/",
        oidc_audience="chat",
        user_claim="nick",
        origins="https://chat.example.org, http://localhost:5173",
    )
    settings = told(made.template("roomcast-dev-service"))
    assert (settings.auth, settings.issuer, settings.audience) == ("oidc", "https://id.example.org/", "chat")
    assert (settings.jwks_url, settings.user_claim) == ("", "nick")
    assert settings.origins == ("https://chat.example.org", "http://localhost:5173")
    state = made.template("roomcast-dev-state")
    assert POOL not in {it["Type"] for it in state.body["Resources"].values()}


@pytest.mark.slow
def test_a_page_to_sign_in_at_is_an_opt_in(synthesize: Synthesize) -> None:
    """A code in the URL, never a token, and only to the pages that were named."""
    state = synthesize(
        auth="cognito", sign_in_domain="our-chat", sign_in_callbacks="https://chat.example.org/,http://localhost:5173"
    ).template("roomcast-dev-state")
    [domain] = state.of("AWS::Cognito::UserPoolDomain").values()
    assert domain["Domain"] == "our-chat"
    [client] = state.of(CLIENT).values()
    assert client["AllowedOAuthFlows"] == ["code"]
    assert client["CallbackURLs"] == ["https://chat.example.org/", "http://localhost:5173"]
