"""The CDK's command and AWS clients, pointed at the emulator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from infra.packaging import native
from local.cloud import ACCOUNT, REGION

__all__ = ["ADMINISTRATOR", "API", "PATIENCE", "PREFIX", "ROOT", "STAGE", "CommandFailed", "Deployment", "wait_until"]

ROOT = Path(__file__).parents[2]
CDK = Path(sys.prefix) / "cdk" / "node_modules" / ".bin" / "cdk"
STAGE = "dev"
PREFIX = f"roomcast-{STAGE}"
SERVICE = f"{PREFIX}-service"
"""The stack with all but the tables."""
API = "roomcast"
"""The API's id: the emulator takes it from the tag `ms-custom-id`, so the functions' endpoint is known before it."""
ADMINISTRATOR = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
"""The emulator's root user."""
COMMAND_SECONDS = 180.0
"""What a command may take; synth is the slowest and takes 15."""
_QUIET = {
    "AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED": "true",
    "CDK_DISABLE_CLI_TELEMETRY": "true",
    "CDK_DISABLE_VERSION_CHECK": "true",
    "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "20",
}
PATIENCE = 90.0
"""Seconds after which what was awaited is taken to be lost: a minute's tick, and a remainder's delay of up to 20."""
POLL = 0.2


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that the emulator must be asked for."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(POLL)


class CommandFailed(Exception):
    """The CDK's command has failed; the text is all that it said, CloudFormation's reasons among it."""


class Deployment:
    """The stacks of one stage in an emulator at `endpoint`. `folder`: for the assembly and the outputs."""

    def __init__(self, endpoint: str, folder: Path) -> None:
        self.endpoint = endpoint
        self.management_url = f"{endpoint}/_aws/execute-api/{API}/{STAGE}"
        self.websocket_url = self.management_url.replace("http", "ws", 1)
        self.outputs: dict[str, str] = {}
        """The service's, once it is deployed."""
        self.keys = folder / "emulator" / "stored" / "cognito-pool-keys"
        """Where the emulator keeps the keys by which user pools sign, POOL-access.pem."""
        self._folder = folder
        self._assembly = folder / "cdk.out"

    def synthesize(self, **settings: str) -> None:
        """`app.py` with these settings to an assembly, for the emulator's processor and Python."""
        architecture, python = native()
        context = {
            "stage": STAGE,
            "architecture": architecture,
            "python": python,
            "synthesizer": "cli",
            "management_endpoint": self.management_url.removesuffix(f"/{STAGE}"),
            **settings,
        }
        arguments = [it for name, value in context.items() for it in ("-c", f"{name}={value}")]
        app = f"{sys.executable} app.py"
        self._cdk("synth", "--quiet", "--app", app, "--output", str(self._assembly), *arguments, cwd=ROOT)

    def bootstrap(self) -> None:
        self._cdk("bootstrap", f"aws://{ACCOUNT}/{REGION}")

    def deploy(self) -> None:
        """Deploy both stacks."""
        outputs = self._folder / "outputs.json"
        tag = f"ms-custom-id={API}"
        self._of_assembly("deploy", "--require-approval", "never", "--outputs-file", str(outputs), "--tags", tag)
        written: dict[str, dict[str, str]] = json.loads(outputs.read_text())
        self.outputs = written[SERVICE]

    def destroy(self) -> None:
        self._of_assembly("destroy", "--force")

    def client(self, service: str) -> Any:
        """The administrator's client."""
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=self.endpoint,
            aws_access_key_id=ADMINISTRATOR["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=ADMINISTRATOR["AWS_SECRET_ACCESS_KEY"],
            config=Config(retries={"total_max_attempts": 1}),
        )

    def _of_assembly(self, command: str, *arguments: str) -> None:
        self._cdk(command, "--all", "--app", str(self._assembly), *arguments)

    def _cdk(self, *arguments: str, cwd: Path | None = None) -> None:
        inherited = {it: os.environ[it] for it in ("HOME", "LANG", "PATH") if it in os.environ}
        aws = {
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_REGION": REGION,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }
        done = subprocess.run(
            [CDK, *arguments, "--ci", "--no-notices", "--no-version-reporting"],
            cwd=cwd or self._folder,
            env={**inherited, **_QUIET, **aws, **ADMINISTRATOR},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=COMMAND_SECONDS,
        )
        if done.returncode:
            raise CommandFailed(f"cdk {' '.join(arguments)}\n{done.stdout}")
