"""The load test against the real service: clean when it is, and a single lost delivery is named."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

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


async def test_a_twin_of_its_own_is_clean() -> None:
    """Exit status 0, every delivery counted, the queues empty, a cost from counted calls."""
    status, result, errors = await loadtest(*["--clients", "40", "--rooms", "4", "--rate", "20", "--seconds", "2"])
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


async def test_a_lost_delivery(tmp_path: Path) -> None:
    """One delivery is dropped. The recipe's client can't ask for it: exit status 1 naming message and client. The SDK
    finds the gap and fills it by history: clean, and counted. Without a loss the recipe's dialect is clean too."""
    async with Twin(state=tmp_path, gateway_class=LosingGateway) as twin:
        gateway = twin.gateway
        assert isinstance(gateway, LosingGateway)
        options = f"--url {twin.ws_url} --clients 20 --rate 5 --seconds 1".split()

        status, result, errors = await loadtest(*options, "--dialect", "recipe")
        assert gateway.lost is not None
        client, message = gateway.lost
        assert (status, result["audit"], result["deliveries"]["lost"]) == (1, "violated", 1)
        assert result["deliveries"]["received"] == result["deliveries"]["expected"] - 1
        [finding] = errors.strip().splitlines()
        assert f"lost: client {client}," in finding
        assert f"“{message}”" in finding

        status, result, errors = await loadtest(*options, "--dialect", "recipe")
        assert (status, result["audit"], errors) == (0, "clean", "")
        assert result["deliveries"]["pushed"] == result["deliveries"]["expected"] > 0

        gateway.lost = None
        status, result, errors = await loadtest(*options)
        assert (status, result["audit"], errors) == (0, "clean", "")
        assert result["deliveries"]["pushed"] == result["deliveries"]["expected"] - 1
        assert result["deliveries"]["filled"] >= 1
