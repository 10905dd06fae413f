"""The synthesized templates, each once a run, in however many processes: `python app.py` as `cdk` runs it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.infra.templates import Template

ROOT = Path(__file__).parents[2]

# Node's age is not what these tests are about; newer versions of Node say nothing here.
os.environ["JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION"] = "20"


@dataclass(frozen=True, slots=True)
class Synthesis:
    """What `python app.py` wrote and said."""

    folder: Path
    said: str

    def template(self, stack: str) -> Template:
        return Template(json.loads((self.folder / f"{stack}.template.json").read_text()))


Synthesize = Callable[..., Synthesis]


@pytest.fixture(scope="session")
def node() -> None:
    """The CDK's constructs run on Node."""
    if shutil.which("node") is None:
        pytest.skip("Node is not installed: the CDK needs it")


@pytest.fixture(scope="session")
def synthesize(node: None, tmp_path_factory: pytest.TempPathFactory) -> Synthesize:
    """`synthesize(*prefix, stage="prod", …)`: run `python app.py` with this context, as an argument of `prefix`."""
    here = tmp_path_factory.getbasetemp()
    shared = here.parent if "PYTEST_XDIST_WORKER" in os.environ else here

    def run(*prefix: str, **context: str) -> Synthesis:
        asked = json.dumps([prefix, context], sort_keys=True)
        folder = shared / f"synthesis-{hashlib.sha256(asked.encode()).hexdigest()[:12]}"
        said = folder.with_suffix(".said")
        with folder.with_suffix(".lock").open("w") as lock:
            # Another worker may be at it: ten seconds of CPU are worth waiting for.
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not said.exists():
                done = subprocess.run(
                    [*prefix, sys.executable, "app.py"],
                    cwd=ROOT,
                    env={**os.environ, "CDK_OUTDIR": str(folder), "CDK_CONTEXT_JSON": json.dumps(context)},
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert done.returncode == 0, done.stderr
                said.write_text(done.stdout + done.stderr)
        return Synthesis(folder, said.read_text())

    return run


@pytest.fixture(scope="session")
def dev(synthesize: Synthesize) -> Synthesis:
    return synthesize()


@pytest.fixture(scope="session")
def prod(synthesize: Synthesize) -> Synthesis:
    """A protected stage with all that can be switched on but the page, and one lane's settings changed."""
    lane = {"batch_size": "50", "window": "1", "max_concurrency": "3", "timeout": "12", "post_rate": "500"}
    return synthesize(
        stage="prod",
        alarm_email="ops@example.org",
        access_logs="true",
        tracing="true",
        publish_url="true",
        archive="true",
        archive_days="365",
        **{f"lane.ephemeral.{name}": value for name, value in lane.items()},
    )


@pytest.fixture(scope="session")
def state(dev: Synthesis) -> Template:
    return dev.template("roomcast-dev-state")


@pytest.fixture(scope="session")
def service(dev: Synthesis) -> Template:
    return dev.template("roomcast-dev-service")
