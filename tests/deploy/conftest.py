"""The synthesized template, deployed once a run to an emulator that enforces IAM."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio

from local.cloud import launch
from tests.deploy.deployment import Deployment, wait_until

LAUNCHER = Path(__file__).with_name("emulator.py")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def emulator(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    """An emulator, bootstrapped, and the template's assembly; nothing deployed."""
    folder = tmp_path_factory.mktemp("deployment")
    environ = {"AUTH": "true", "MINISTACK_HOST": "127.0.0.1"}
    async with launch(folder / "emulator", environ=environ, launcher=LAUNCHER) as port:
        deployment = Deployment(f"http://127.0.0.1:{port}", folder)
        await asyncio.to_thread(deployment.synthesize)
        await asyncio.to_thread(deployment.bootstrap)
        yield deployment
    # The functions' processes end by themselves: their input has.
    await asyncio.to_thread(wait_until, lambda: not _processes_in(folder))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def deployment(emulator: Deployment) -> Deployment:
    """Both stacks, deployed."""
    await asyncio.to_thread(emulator.deploy)
    return emulator


def _processes_in(folder: Path) -> list[Path]:
    """The processes that work in the folder or below, as those of functions do; none where there is no /proc."""
    found = []
    for it in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another's
            if it.joinpath("cwd").readlink().is_relative_to(folder):
                found.append(it)
    return found
