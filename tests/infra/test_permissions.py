"""Least privilege: each function's statements, word for word. Whoever adds one changes this page, and says why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from domain.lanes import LANES
from tests.infra.conftest import Synthesis
from tests.infra.templates import Template

TABLES = "arn:<AWS::Partition>:dynamodb:<AWS::Region>:<AWS::AccountId>:table/roomcast-dev-"
# Who ends a connection works out how its user is then.
PURGED = [
    ("GetItem Query DeleteItem", "connections"),
    ("GetItem BatchGetItem Query UpdateItem DeleteItem", "rooms"),
]
FIFO = {it.name: ".fifo" if it.fifo else "" for it in LANES.values()}

# Function → (DynamoDB actions, table or table/index/name).
ON_TABLES: dict[str, list[tuple[str, str]]] = {
    "authorizer": [],
    "connect": [
        ("GetItem Query PutItem DeleteItem", "connections"),
        ("GetItem BatchGetItem Query PutItem UpdateItem DeleteItem ConditionCheckItem", "rooms"),
    ],
    "disconnect": PURGED,
    "message": [
        ("GetItem BatchGetItem Query PutItem UpdateItem DeleteItem", "connections"),
        ("GetItem BatchGetItem Query PutItem UpdateItem DeleteItem ConditionCheckItem", "rooms"),
        ("BatchGetItem Query PutItem UpdateItem DeleteItem ConditionCheckItem", "messages"),
        ("Query", "rooms/index/directory"),
    ],
    "publish": [
        ("BatchGetItem GetItem Query DeleteItem", "connections"),
        ("GetItem BatchGetItem Query UpdateItem DeleteItem", "rooms"),
        ("BatchGetItem PutItem", "messages"),
    ],
    "incoming": [
        ("BatchGetItem", "connections"),
        ("GetItem BatchGetItem UpdateItem", "rooms"),
        ("BatchGetItem PutItem", "messages"),
    ],
    "tick": [
        ("GetItem Query PutItem DeleteItem", "connections"),
        ("GetItem BatchGetItem Query UpdateItem DeleteItem", "rooms"),
    ],
    "interactive": [
        ("GetItem Query DeleteItem", "connections"),
        ("GetItem BatchGetItem Query UpdateItem DeleteItem", "rooms"),
        ("Query", "messages"),
    ],
    "bulk": [
        ("GetItem Query DeleteItem", "connections"),
        ("GetItem BatchGetItem Query UpdateItem DeleteItem", "rooms"),
        ("Query", "messages"),
    ],
    "retry": [
        ("GetItem Query DeleteItem", "connections"),
        ("GetItem BatchGetItem Query UpdateItem DeleteItem", "rooms"),
        ("Query", "messages"),
    ],
    "ephemeral": [
        ("GetItem Query DeleteItem", "connections"),
        ("GetItem BatchGetItem Query UpdateItem DeleteItem", "rooms"),
    ],
    "hooks": [
        ("GetItem UpdateItem", "rooms"),
        ("Query", "messages"),
    ],
}
# Function → the lanes it may send to.
SENDS = {
    "connect": ["ephemeral"],
    "disconnect": ["ephemeral"],
    "message": ["interactive", "bulk", "ephemeral", "hooks"],
    "publish": ["interactive", "bulk", "ephemeral", "hooks"],
    "incoming": ["interactive", "bulk", "hooks"],
    "tick": ["ephemeral"],
    "interactive": ["retry", "ephemeral"],
    "bulk": ["bulk", "retry", "ephemeral"],
    "retry": ["retry", "ephemeral"],
    "ephemeral": ["ephemeral", "hooks"],
    "hooks": ["ephemeral", "hooks"],
}
# Function → what it may do to open connections.
SOCKETS = {
    "message": ["DELETE"],
    "publish": ["DELETE"],
    "tick": ["DELETE"],
    "interactive": ["POST"],
    "bulk": ["POST"],
    "retry": ["POST", "DELETE"],
    "ephemeral": ["POST"],
}
# Functions that may publish to the topic of notices, and to no other.
PUBLISHES = {"ephemeral"}


def policies(service: Template) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """(function, its statements), for every function."""
    attached: dict[str, list[dict[str, Any]]] = {}
    for policy in service.of("AWS::IAM::Policy").values():
        for role in policy["Roles"]:
            attached.setdefault(role, []).extend(policy["PolicyDocument"]["Statement"])
    functions = service.named("AWS::Lambda::Function")
    for name, function in functions.items():
        yield name.removeprefix("roomcast-dev-"), attached.pop(function["Role"].replace(".Arn", ""))
    assert not attached, "a policy for a role that no function has"


def texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def expected(function: str) -> set[tuple[tuple[str, ...], tuple[str, ...]]]:
    """(actions, resources) of each statement."""
    log = f"</aws/lambda/roomcast-dev-{function}.Arn>"
    found: set[tuple[tuple[str, ...], tuple[str, ...]]] = {(("logs:CreateLogStream", "logs:PutLogEvents"), (log,))}
    for actions, table in ON_TABLES[function]:
        found.add((tuple(f"dynamodb:{it}" for it in actions.split()), (f"{TABLES}{table}",)))
    if function in SENDS:
        queues = tuple(f"<roomcast-dev-{it}{FIFO[it]}.Arn>" for it in SENDS[function])
        found.add((("sqs:SendMessage",), queues))
    if function in LANES:
        own = f"roomcast-dev-{function}"
        work = ("ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility", "GetQueueAttributes")
        found.add((tuple(f"sqs:{it}" for it in work), (f"<{own}{FIFO[function]}.Arn>",)))
        found.add((("sqs:SendMessage",), (f"<{own}-dead{FIFO[function]}.Arn>",)))
    if function in PUBLISHES:
        found.add((("sns:Publish",), ("<roomcast-dev-notices>",)))
    if function in SOCKETS:
        api = "arn:<AWS::Partition>:execute-api:<AWS::Region>:<AWS::AccountId>:<ApiF70053CD>/dev"
        found.add((("execute-api:ManageConnections",), tuple(f"{api}/{it}/@connections/*" for it in SOCKETS[function])))
    return found


@pytest.mark.parametrize("function", ON_TABLES)
def test_a_function_may_do_what_it_does(service: Template, function: str) -> None:
    """These actions on these resources, and nothing else."""
    statements = dict(policies(service))[function]
    assert {it["Effect"] for it in statements} == {"Allow"}
    assert {(tuple(texts(it["Action"])), tuple(texts(it["Resource"]))) for it in statements} == expected(function)


def test_every_function_stands_on_this_page(service: Template) -> None:
    """None is left out above."""
    assert {function for function, _ in policies(service)} == set(ON_TABLES)


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_nothing_is_allowed_in_general(dev: Synthesis, prod: Synthesis, stage: str) -> None:
    """No action with a wildcard, no Scan, and `*` as a resource for X-Ray alone, in any statement of both stacks."""
    synthesis = dev if stage == "dev" else prod
    for part in ("state", "service"):
        body = synthesis.template(f"roomcast-{stage}-{part}").body
        for statement in allowed(body):
            for action in texts(statement["Action"]):
                assert "*" not in action
                assert not action.endswith("Scan")
                if statement.get("Resource") == "*":
                    assert action.startswith("xray:Put")


def allowed(body: Any) -> Iterator[dict[str, Any]]:
    """Every statement that allows, wherever it stands."""
    match body:
        case {"Effect": "Allow"}:
            yield body
        case dict():
            for it in body.values():
                yield from allowed(it)
        case list():
            for it in body:
                yield from allowed(it)


def test_roles_are_for_lambda_and_have_no_managed_policy(service: Template) -> None:
    """A policy of AWS's own may grow; each function has a role of its own, which Lambda alone may take."""
    roles = service.of("AWS::IAM::Role")
    assert len(roles) == len(ON_TABLES)
    assert len({it["Role"] for it in service.named("AWS::Lambda::Function").values()}) == len(roles)
    for role in roles.values():
        assert "ManagedPolicyArns" not in role
        [statement] = role["AssumeRolePolicyDocument"]["Statement"]
        assert (statement["Action"], statement["Principal"]) == ("sts:AssumeRole", {"Service": "lambda.amazonaws.com"})


def test_a_wildcard_is_found(service: Template) -> None:
    """The check above sees what it is for."""
    text = json.dumps(service.body).replace('"dynamodb:Query"', '"dynamodb:*"')
    assert any("dynamodb:*" in texts(it["Action"]) for it in allowed(json.loads(text)))
