"""The whole service on this machine: real processes, sockets, queues and tables."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from local.twin import Twin
from tests.e2e.people import person

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """A twin for all tests here; each uses rooms of its own."""
    state: Path = tmp_path_factory.mktemp("twin")
    async with Twin(state=state) as twin:
        yield twin.ws_url


async def test_both_dialects_in_one_room(url: str) -> None:
    """v1 and the recipe's client hear each other; roomcast.v1 is echoed; the sender hears itself."""
    async with person(url, "ada", "tea") as ada, person(url, "bob", "tea", dialect="recipe") as bob:
        assert ada.socket.subprotocol == "roomcast.v1"
        assert bob.socket.subprotocol is None
        ack = await ada.say("hello", "tea")
        await bob.socket.send(json.dumps({"message": "hi"}))
        for someone in (ada, bob):
            await someone.hears("hello", "hi")
            assert [it["seq"] for it in someone.seen("chat")] == [1, 2]
        assert ack["seq"] == 1
        assert ada.seen("chat")[0]["senderName"] == "Ada"


async def test_join_leave_history_and_ping(url: str) -> None:
    """The requests of a session, over real sockets."""
    async with person(url, "ada", "r1") as ada, person(url, "bob", "r2") as bob:
        for number in range(5):
            await ada.say(f"{number}", "r1")
        joined = await bob.ask(type="join_room", roomId="r1", since=2)
        assert joined["data"]["recovered"] is True
        assert [it["data"]["message"] for it in joined["data"]["events"]] == ["2", "3", "4"]
        page = await bob.ask(type="history", roomId="r1", before=4, limit=2)
        assert [it["data"]["seq"] for it in page["data"]["entries"]] == [2, 3]
        pong = await bob.ask(type="ping")
        assert {room: it["seq"] for room, it in pong["data"]["heads"].items()} == {"inbox#bob": 0, "r1": 5, "r2": 0}
        assert (await bob.ask(type="leave_room", roomId="r1"))["type"] == "left"
        assert (await bob.ask(type="history", roomId="r1"))["data"]["code"] == "NOT_A_MEMBER"


async def test_fifty_writers_leave_neither_gap_nor_double(url: str) -> None:
    """Fifty sockets write at once: seqs 1..50, each once, at every one of them."""
    async with AsyncExitStack() as stack:
        writers = await asyncio.gather(
            *(stack.enter_async_context(person(url, f"writer-{it}", "writers")) for it in range(50))
        )
        acks = await asyncio.gather(*(it.say(f"from {it.user}", "writers") for it in writers))
        assert sorted(it["seq"] for it in acks) == list(range(1, 51))
        for writer in writers:
            await writer.hears(*(f"from {it.user}" for it in writers))
            assert sorted({it["seq"] for it in writer.seen("chat")}) == list(range(1, 51))


async def test_ten_repeats_at_once_are_one_message(url: str) -> None:
    """One clientId from ten sockets of a user: one entry, ten equal replies."""
    async with AsyncExitStack() as stack:
        sockets = await asyncio.gather(*(stack.enter_async_context(person(url, "twin", "repeats")) for _ in range(10)))
        acks = await asyncio.gather(*(it.say("once", "repeats", clientId="the-same-id") for it in sockets))
        assert all(it == acks[0] for it in acks)
        await sockets[0].say("after", "repeats")
        await sockets[0].hears("once", "after")
        page = await sockets[0].ask(type="history", roomId="repeats")
        assert [it["data"]["message"] for it in page["data"]["entries"]] == ["once", "after"]


async def test_a_traced_message_passes_its_stages_in_order(url: str) -> None:
    """Through all processes: accepted, stored, rung, served, packed, received; and only who asks gets a trace."""
    async with person(url, "ada", "traces") as ada:
        await ada.say("traced", "traces", trace=True)
        await ada.hears("traced")
        received = time.time_ns() // 1_000_000
        await ada.say("plain", "traces")
        await ada.hears("plain")
        traced, plain = ada.seen("chat")
        moments = [traced["trace"][f"{it}At"] for it in ("accepted", "stored", "rung", "served", "packed")]
        assert moments == sorted(moments)
        assert traced["sentAt"] >= moments[0]
        assert received >= moments[-1]
        assert "trace" not in plain


async def test_a_token_in_the_subprotocol_is_not_echoed(url: str) -> None:
    """Only `roomcast.v1` comes back."""
    protocols = [Subprotocol("roomcast.v1"), Subprotocol("bearer.valid_1")]
    async with connect(url, subprotocols=protocols) as socket:
        assert socket.subprotocol == "roomcast.v1"
