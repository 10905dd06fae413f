"""What the suite is run against: a deployed stage that the environment names, or a twin of its own.

ROOMCAST_WS_URL=wss://… ROOMCAST_MANAGEMENT_URL=https://… pytest tests/conformance

The suite speaks WebSocket and `@connections` and knows nothing else of what answers. The stage must be in demo auth;
`@connections` is signed with the credentials of the environment. Every room and user has a name that is used once.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from local.twin import Twin

VARIABLES = ("ROOMCAST_WS_URL", "ROOMCAST_MANAGEMENT_URL")


@dataclass(frozen=True, slots=True)
class Target:
    """Where the service under test is."""

    ws: str
    management: str
    deployed: bool = True


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def target(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Target]:
    """The service under test."""
    ws, management = (os.environ.get(it) for it in VARIABLES)
    if ws and management:
        yield Target(ws, management)
    elif ws or management:
        raise pytest.UsageError(f"set both {' and '.join(VARIABLES)}, or neither for a twin")
    else:
        async with Twin(state=tmp_path_factory.mktemp("twin")) as twin:
            yield Target(twin.ws_url, twin.gateway.management_endpoint, deployed=False)


@pytest.fixture(scope="package")
def ws(target: Target) -> str:
    """The WebSocket URL of the service under test."""
    return target.ws
