"""`python app.py` as a whole: silent, offline, the same every time, and to the linters' liking."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from domain.lanes import LANES
from tests.infra.conftest import ROOT, Synthesis, Synthesize
from tests.infra.templates import Template

STACKS = ("roomcast-dev-state", "roomcast-dev-service")


def test_synthesis_is_silent(dev: Synthesis, prod: Synthesis) -> None:
    """No warning, no deprecation, no finding of cdk-nag that is not reasoned at its resource."""
    assert (dev.said, prod.said) == ("", "")


@pytest.mark.slow
def test_the_security_checks_hold_a_synthesis_up(node: None, tmp_path: Path) -> None:
    """A check that is not there finds nothing either: an action too many ends it, by cdk-nag's name for that."""
    careless = """
import app, infra.permissions
infra.permissions.TABLES["tick"]["connections"] = ("*",)
app.main()
"""
    done = subprocess.run(
        [sys.executable, "-c", careless],
        cwd=ROOT,
        env={**os.environ, "CDK_OUTDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "AwsSolutions-IAM5[Action::dynamodb:*]" in done.stdout + done.stderr


@pytest.mark.slow
def test_two_syntheses_are_one(dev: Synthesis, synthesize: Synthesize) -> None:
    """The same template and the same assets, without a network."""
    again = synthesize(*offline())
    for stack in STACKS:
        for kind in ("template", "assets"):
            name = f"{stack}.{kind}.json"
            assert (again.folder / name).read_bytes() == (dev.folder / name).read_bytes()


def offline() -> tuple[str, ...]:
    """A command that runs another without any network, loopback included."""
    unshare = shutil.which("unshare")
    command = (unshare or "unshare", "--user", "--map-root-user", "--net")
    if unshare is None or subprocess.run([*command, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine makes no network namespaces")
    return command


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_cfn_lint_finds_nothing(dev: Synthesis, prod: Synthesis, stage: str) -> None:
    """Both stacks against CloudFormation's schemas."""
    folder = (dev if stage == "dev" else prod).folder
    templates = sorted(map(str, folder.glob("*.template.json")))
    assert len(templates) == len(STACKS)
    # W3005: the CDK names dependencies that a reference implies already.
    lint = [str(Path(sys.executable).with_name("cfn-lint")), "--ignore-checks", "W3005", "--", *templates]
    done = subprocess.run(lint, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_outputs_say_where_the_service_is(service: Template) -> None:
    """The sockets, `@connections`, the dashboard, the topic of notices, and each lane's queues."""
    outputs = dict(service.outputs)  # which other tests read, too
    api = "<ApiF70053CD>.execute-api.<AWS::Region>.<AWS::URLSuffix>/dev"
    assert outputs.pop("WebSocketUrl") == f"wss://{api}"
    assert outputs.pop("ManagementUrl") == f"https://{api}"
    hooks = outputs.pop("WebhooksUrl")
    assert (hooks.startswith("<WebhooksApi"), hooks.endswith(".ApiEndpoint>/hooks")) == (True, True)
    assert outputs.pop("PublishFunction") == "<roomcast-dev-publish>"
    assert "dashboards" in outputs.pop("DashboardUrl")
    assert outputs.pop("NoticesTopic") == "<roomcast-dev-notices>"
    queues = {f"{it.title()}{kind}" for it in LANES for kind in ("Queue", "DeadLetterQueue")}
    assert set(outputs) == queues


def test_a_url_for_servers_is_an_opt_in(service: Template, prod: Synthesis) -> None:
    """Guarded by IAM, of the function `publish` alone; nobody is let in by the template itself."""
    assert "AWS::Lambda::Url" not in json.dumps(service.body)
    template = prod.template("roomcast-prod-service")
    [url] = template.of("AWS::Lambda::Url").values()
    assert (url["AuthType"], url["TargetFunctionArn"]) == ("AWS_IAM", "<roomcast-prod-publish.Arn>")
    assert "PublishUrl" in template.outputs
    allowed = [it for it in template.of("AWS::Lambda::Permission").values() if "Url" in it["Action"]]
    assert allowed == []


def test_stacks_share_no_exports(state: Template, service: Template) -> None:
    """Each can be updated without the other."""
    assert "Outputs" not in state.body
    assert "Fn::ImportValue" not in json.dumps(service.body)


def test_nonsense_is_one_sentence(node: None, tmp_path: Path) -> None:
    """No traceback, and nothing is written."""
    done = subprocess.run(
        [sys.executable, "app.py"],
        cwd=ROOT,
        env={
            **os.environ,
            "CDK_OUTDIR": str(tmp_path),
            "CDK_CONTEXT_JSON": '{"lane.interactive.batch_size": "50"}',
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("roomcast: lane setting interactive.batch_size=50")
    assert len(done.stderr.strip().splitlines()) == 1
    assert list(tmp_path.glob("*.template.json")) == []
