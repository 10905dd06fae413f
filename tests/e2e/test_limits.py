"""Limits and review on the twin: what a flood costs in calls, and a review in the functions' own processes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from domain.rates import RATES, override_rates
from domain.review import Allow, Refuse, Replace, Verdict
from local.twin import Twin
from tests.e2e.people import Person, person

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

RATE, BURST = 2, 20
TIMES = 10
"""How many times the limit the flood is."""


async def review(room: str, user: str, text: str) -> Verdict:
    """What the twin's functions are told to import."""
    if text.isupper():
        return Refuse("No shouting")
    return Replace(text.replace("damn", "****")) if "damn" in text else Allow()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def twin(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Twin]:
    state: Path = tmp_path_factory.mktemp("twin")
    rates = override_rates(RATES, [f"history={RATE}/{BURST}"])
    async with Twin(state=state, rates=rates, review="tests.e2e.test_limits:review") as running:
        yield running


def spent(twin: Twin) -> Counter[str]:
    """What the message function has asked of DynamoDB and SQS so far. The tick, once a minute, is another's."""
    return Counter(twin.functions["message"].tally.calls)


async def flood(someone: Person, requests: int, prefix: str) -> Counter[str]:
    """So many requests for history at once; how many were answered with each type, or code."""
    for number in range(requests):
        request = {"type": "history", "roomId": "tea", "clientId": f"{prefix}-{number:06d}"}
        await someone.socket.send(json.dumps(request))

    def answers() -> list[dict[str, Any]]:
        return [it for it in someone.events if str(it.get("data", {}).get("clientId", "")).startswith(prefix)]

    await someone.until(lambda: len(answers()) == requests)
    return Counter(it["data"].get("code", it["type"]) for it in answers())


async def test_what_is_refused_costs_no_call(twin: Twin) -> None:
    """Ten times the limit: what is granted costs what it always does, what is refused nothing at all."""
    async with person(twin.ws_url, "mallory", "tea") as mallory, person(twin.ws_url, "ada", "tea") as ada:
        await ada.say("hello", "tea")
        await mallory.hears("hello")
        before = spent(twin)
        assert await flood(mallory, 1, "single") == {"history": 1}
        single = spent(twin) - before
        assert sum(single.values()) > 0
        before = spent(twin)
        answered = await flood(mallory, TIMES * BURST * 4, "flooding")
        cost = spent(twin) - before
        granted = answered["history"]
        assert set(answered) == {"history", "RATE_LIMITED"}
        # Each of the four environments grants what it has seen to be within the limit.
        assert granted <= 4 * (BURST + RATE * 30) < answered["RATE_LIMITED"]
        assert cost == Counter({call: number * granted for call, number in single.items()})
        assert (await ada.ask(type="history", roomId="tea"))["type"] == "history"  # who floods alone is refused


async def test_a_review_in_the_functions_processes(twin: Twin) -> None:
    """Imported there from the project's folder, and asked before anything is stored."""
    async with person(twin.ws_url, "bob", "reviewed") as bob:
        assert (await bob.ask(type="chat", roomId="reviewed", message="HELLO"))["data"]["code"] == "REJECTED"
        await bob.say("oh damn", "reviewed")
        await bob.hears("oh ****")
