"""What several suites share: emulators of AWS, started once for a run and stopped at its end."""

from __future__ import annotations

import logging
import signal
from collections.abc import AsyncIterator, Iterator

import hypothesis
import pytest
import pytest_asyncio
from moto.server import ThreadedMotoServer

from local.cloud import ARCHIVE_SERVICES, Cloud

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")
# A shell puts programs into the background without Ctrl-C, and what they start inherits that: those that tests stop by
# SIGINT would not hear it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    """moto in a thread. It neither locks nor isolates transactions: for sequential cases only."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def cloud(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cloud]:
    """ministack in a process. Its clients belong to the session's event loop; `endpoint` serves any."""
    async with Cloud(tmp_path_factory.mktemp("cloud"), services=ARCHIVE_SERVICES) as running:
        yield running
