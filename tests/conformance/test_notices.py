"""Who wants no notices of what is said to them while they are away."""

from __future__ import annotations

import pytest

from tests.conformance.clients import fresh, replied
from tests.e2e.people import person

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_notices_are_wanted_until_they_are_not(ws: str) -> None:
    """The reply says what stands, for all of a user's connections and nobody else; the same again changes nothing."""
    ada, room = fresh("ada"), fresh("hall")
    async with person(ws, ada, room) as phone, person(ws, ada, room) as laptop, person(ws, fresh("bob"), room) as bob:
        off = {"type": "notices", "enabled": False, "clientId": fresh("off")}
        assert await replied(phone, "notices", {"type": "notices"}) == {"enabled": True}
        for _ in range(2):
            assert await replied(phone, "notices", off) == {"clientId": off["clientId"], "enabled": False}
        assert await replied(laptop, "notices", {"type": "notices"}) == {"enabled": False}
        assert await replied(bob, "notices", {"type": "notices"}) == {"enabled": True}
        assert await replied(laptop, "notices", {"type": "notices", "enabled": True}) == {"enabled": True}
        assert await replied(phone, "notices", {"type": "notices"}) == {"enabled": True}
