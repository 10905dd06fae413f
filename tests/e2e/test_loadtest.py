"""The load test against the real service: clean when it is, and a single lost delivery is named."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from local.gateway import Gateway
from local.twin import Twin


async def loadtest(*options: str) -> tuple[int, dict[str, Any], str]:
    """Run the command; (exit status, its JSON, standard error)."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ops.main", "loadtest", "--json", "-", *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, json.loads(out or "{}"), err.decode()


@pytest.mark.parametrize("dialect", ["v1", "recipe"])
async def test_a_twin_of_its_own_is_clean(dialect: str) -> None:
    """Exit status 0, every delivery counted, the queues empty, a cost from counted calls."""
    options = f"--clients 40 --rooms 4 --rate 20 --seconds 2 --dialect {dialect}"
    status, result, errors = await loadtest(*options.split())
    assert (status, errors) == (0, "")
    assert result["audit"] == "clean"
    assert result["messages"]["acknowledged"] == 40
    assert result["deliveries"]["received"] == result["deliveries"]["expected"] == 400
    assert result["clients"]["connected"] == 40
    assert result["queue"]["sent"] == result["queue"]["received"] > 0
    assert (result["queue"]["dead"], result["queue"]["left"]) == (0, 0)
    assert result["posts"]["sent"] >= result["frames"]["received"] - 40
    assert all(value > 0 for value in result["cost_usd"].values())


class LosingGateway(Gateway):
    """Answers 200 to every post, and loses the delivery of one chat message to one client."""

    lost: tuple[str, str] | None = None

    def _deliver(self, connection_id: str, frame: bytes) -> None:
        text = frame.decode()
        event = json.loads(text)
        if self.lost is None and event["type"] == "chat" and event["data"]["seq"] == 3:
            self.lost = (self._connections[connection_id].context["authorizer"]["userId"], event["data"]["message"])
            return
        super()._deliver(connection_id, frame)


@pytest.mark.parametrize("dialect", ["v1", "recipe"])
async def test_a_lost_delivery(dialect: str, tmp_path: Path) -> None:
    """One delivery is dropped. The recipe's client can't ask for it: exit status 1 naming message and client. The SDK
    finds the gap and fills it by history: clean, and counted."""
    async with Twin(state=tmp_path, gateway_class=LosingGateway) as twin:
        options = f"--url {twin.ws_url} --clients 20 --rate 5 --seconds 2 --dialect {dialect}"
        status, result, errors = await loadtest(*options.split())
        gateway = twin.gateway
    assert isinstance(gateway, LosingGateway)
    assert gateway.lost is not None
    client, message = gateway.lost
    if dialect == "v1":
        assert (status, result["audit"]) == (0, "clean")
        assert result["deliveries"]["pushed"] == result["deliveries"]["expected"] - 1
        assert result["deliveries"]["filled"] >= 1
        return
    assert (status, result["audit"], result["deliveries"]["lost"]) == (1, "violated", 1)
    assert result["deliveries"]["received"] == result["deliveries"]["expected"] - 1
    [finding] = errors.strip().splitlines()
    assert f"lost: client {client}," in finding
    assert f"“{message}”" in finding
