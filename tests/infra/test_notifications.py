"""The topic of notices: who may publish to it, how it is guarded, and what the functions are told of it."""

from __future__ import annotations

import pytest

from adapters.settings import Settings
from tests.infra.conftest import Synthesize
from tests.infra.templates import Template

TOPIC = "roomcast-dev-notices"


def test_the_topic_is_encrypted_and_takes_nothing_without_tls(service: Template) -> None:
    """By the key that AWS manages for SNS."""
    topic = service.named("AWS::SNS::Topic")[TOPIC]
    assert topic["KmsMasterKeyId"].endswith(":alias/aws/sns")
    [policy] = (it for it in service.of("AWS::SNS::TopicPolicy").values() if it["Topics"] == [f"<{TOPIC}>"])
    [denied] = policy["PolicyDocument"]["Statement"]
    assert (denied["Effect"], denied["Principal"], denied["Action"]) == ("Deny", "*", "sns:Publish")
    assert denied["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_every_function_is_told_of_it(service: Template) -> None:
    """Who writes jobs asks whether there is one, and the worker where."""
    for function in service.named("AWS::Lambda::Function").values():
        assert Settings.from_environment(function["Environment"]["Variables"]).topic == f"<{TOPIC}>"
    assert service.outputs["NoticesTopic"] == f"<{TOPIC}>"


@pytest.mark.slow
def test_a_stage_may_have_none(synthesize: Synthesize) -> None:
    """Then no function is told of one, and none may publish."""
    service = synthesize(notices="false").template("roomcast-dev-service")
    assert set(service.named("AWS::SNS::Topic")) == {"roomcast-dev-alarms"}
    assert "NoticesTopic" not in service.outputs
    for function in service.named("AWS::Lambda::Function").values():
        assert Settings.from_environment(function["Environment"]["Variables"]).topic == ""
    statements = [it for one in service.of("AWS::IAM::Policy").values() for it in one["PolicyDocument"]["Statement"]]
    assert not [it for it in statements if it["Action"] == "sns:Publish"]
