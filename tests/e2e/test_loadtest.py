"""The load test against the real service: clean when it is, and a single lost delivery is named."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from loadtest.plan import Plan
from loadtest.profile import Changes, plan_from, profile_names
from loadtest.run import run
from local.gateway import Gateway
from local.twin import Twin


async def loadtest(*options: str) -> tuple[int, dict[str, Any], str]:
    """Run the command; (exit status, its JSON, standard error but for the names of phases)."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ops.main", "loadtest", "--json", "-", *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    phases = "loadtest: "
    return (
        process.returncode,
        json.loads(out or "{}"),
        "\n".join(it for it in err.decode().splitlines() if not it.startswith(phases)),
    )


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
async def test_every_profile_runs_small(tmp_path: Path) -> None:
    """All seven at once on one twin, each with a few clients for a few seconds: clean, and each does what it is for."""
    async with Twin(state=tmp_path) as twin:

        async def carry_out(name: str) -> dict[str, Any]:
            plan = plan_from(name, twin.ws_url, Changes(clients=24, seconds=4, ramp=20))
            return (await run(plan)).as_json()

        names = profile_names()
        results = dict(zip(names, await asyncio.gather(*(carry_out(it) for it in names)), strict=True))
    for name, result in results.items():
        assert (name, result["profile"], result["audit"], result["findings"]) == (name, name, "clean", [])
        assert result["clients"]["connected"] == result["clients"]["asked"]
        assert 0 < result["messages"]["acknowledged"] == result["messages"]["sent"]
        assert result["deliveries"]["received"] == result["deliveries"]["expected"] > 0
        assert set(result["stages_ms"]) >= {"accepted", "served", "packed", "received"}
        assert result["target"]["settings"]["shard_limit"] == 1_000
    assert results["reconnect-wave"]["clients"]["reconnects"] >= 10
    assert [it["name"] for it in results["one-large-room"]["phases"]][:2] == ["hold", "step 5"]
    assert results["many-small-rooms"]["rooms"] > 2
    storm = results["join-storm"]
    assert storm["deliveries"]["expected"] < storm["messages"]["sent"] * storm["clients"]["asked"]


@pytest.mark.slow
async def test_a_stalled_service_is_seen(tmp_path: Path) -> None:
    """The workers of a lane stand still for 3.5 s: messages are sent all the same, and theirs count from when they were
    due, so that the report shows what a user had to wait."""
    async with Twin(state=tmp_path) as twin:
        loop = asyncio.get_running_loop()

        def tell_workers(what: signal.Signals) -> None:
            for pid in twin.functions["interactive"].pids:
                os.kill(pid, what)

        def live(row: Mapping[str, Any]) -> None:
            if row["deliveries"] and not stalled:
                stalled.append(row)
                tell_workers(signal.SIGSTOP)
                loop.call_later(3.5, tell_workers, signal.SIGCONT)

        stalled: list[Mapping[str, Any]] = []
        plan = Plan(twin.ws_url, clients=10, rate=4, seconds=7)
        result = (await run(plan, live=live)).as_json()
    assert (result["audit"], result["messages"]["sent"]) == ("clean", 28)
    assert result["latency_ms"]["max"] >= 3_000
    worst = max(result["series"], key=lambda it: it["p99"] or 0)
    assert worst["p99"] >= 3_000
    assert worst["t"] >= 4
    still = [it for it in result["series"] if 0 < it["t"] < worst["t"] and not it["deliveries"]]
    assert len(still) >= 2
    assert all(it["sent"] for it in still)
