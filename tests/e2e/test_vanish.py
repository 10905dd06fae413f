"""A tenth of a large room vanishes without a word."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from domain.fanout import YOUNG_MS
from domain.rooms import ShardKey
from tests.e2e.people import Person, person
from tests.inline import InlineService

MEMBERS = 1_000
AT_ONCE = 50


@pytest.mark.slow
async def test_a_hundred_of_a_thousand_sockets_vanish() -> None:
    """No close frame, and `$disconnect` is lost: the others miss nothing, the hundred are purged, the list says 900."""
    async with InlineService(lose_disconnects=True) as service, AsyncExitStack() as stack:
        members: list[Person] = []
        for start in range(0, MEMBERS, AT_ONCE):
            joining = (person(service.url, f"m{it}", "tea") for it in range(start, start + AT_ONCE))
            members += await asyncio.gather(*map(stack.enter_async_context, joining))
        gone, stayed = members[::10], [it for number, it in enumerate(members) if number % 10]
        await asyncio.gather(*(it.vanish() for it in gone))
        service.clock.advance(YOUNG_MS / 1000 + 1)
        await stayed[0].say("who is here?", "tea")
        await asyncio.gather(*(it.hears("who is here?") for it in stayed))
        await stayed[1].say("and now?", "tea")
        await asyncio.gather(*(it.hears("and now?") for it in stayed))
        assert all(it.messages == ["who is here?", "and now?"] for it in stayed)
        listed = await stayed[0].ask(type="room_list")
        assert [(it["roomId"], it["activeUsers"]) for it in listed["data"]["rooms"]] == [("tea", 900)]
        left = {it.connection for key in await _shards(service) for it in await service.store.members(key)}
        assert left == {it.seen("welcome")[0]["connectionId"] for it in stayed}
        assert service.failures == []


async def _shards(service: InlineService) -> list[ShardKey]:
    room = await service.store.room("tea")
    assert room is not None
    return [ShardKey("tea", room.epoch, it) for it in range(room.shards)]
