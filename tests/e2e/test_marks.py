"""Read marks by the SDK at real sockets: what one device has read, the others know, also after a break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from client.connection import Connection, connect
from client.events import Released
from domain.events import Chat, PrivateMessage, UserRead, Welcome
from tests.e2e.people import PATIENCE
from tests.inline import InlineService


class Device:
    """A connection of the SDK, and all that it gave its user."""

    def __init__(self, me: Connection) -> None:
        self.me = me
        self.events: list[Released] = []
        self._changed = asyncio.Condition()

    async def listen(self) -> None:
        async for event in self.me.events():
            async with self._changed:
                self.events.append(event)
                self._changed.notify_all()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(condition)

    def marks(self) -> list[tuple[str, str, int, object]]:
        """(room, user, seq, unread) of each that was told, as they came."""
        told = [it for it in self.events if isinstance(it, UserRead)]
        return [(it.room_id, it.user_id, it.seq, it.unread) for it in told]

    def said(self, kind: type[Chat | PrivateMessage]) -> list[int]:
        return [it.seq for it in self.events if isinstance(it, kind)]


@pytest.fixture
async def service() -> AsyncIterator[InlineService]:
    async with InlineService() as service:
        yield service
    assert service.failures == []


async def device(stack: AsyncExitStack, service: InlineService, user: str, room: str = "tea") -> Device:
    """A user's connection, once it is welcomed; it ends with the stack."""
    me = await stack.enter_async_context(connect(service.url, user=user, room=room, clock=service.clock))
    found = Device(me)
    task = asyncio.create_task(found.listen())
    stack.callback(task.cancel)
    await found.until(lambda: any(isinstance(it, Welcome) for it in found.events))
    return found


async def test_what_one_device_has_read_the_other_knows(service: InlineService) -> None:
    """Messages that scroll by are marked by the highest; bob gets receipts, and the list says what is left."""
    async with AsyncExitStack() as stack:
        desk = await device(stack, service, "ada")
        phone = await device(stack, service, "ada", "elsewhere")
        bob = await device(stack, service, "bob")
        for number in range(20):
            await bob.me.send("tea", f"{number}")
        await desk.until(lambda: len(desk.said(Chat)) == 20)
        for seq in desk.said(Chat)[:15]:
            desk.me.read("tea", seq)
        for one in (desk, phone):
            await one.until(lambda it=one: ("tea", "ada", 15, 5) in it.marks())  # type: ignore[misc]  # a default's type
        own = [it[2] for it in desk.marks()]
        assert own == sorted(set(own))
        assert len(own) < 15  # not one for each message
        await bob.until(lambda: bool(bob.marks()))
        assert {it[1] for it in bob.marks()} == {"ada"}
        rooms = {it.room_id: it for it in await phone.me.rooms()}
        assert (rooms["tea"].read, rooms["tea"].unread) == (15, 5)
        desk.me.read("tea", 3)
        phone.me.read("inbox#ada", 0)
        rooms = {it.room_id: it for it in await desk.me.rooms()}
        assert rooms["tea"].read == 15


async def test_a_mark_outlives_its_socket(service: InlineService) -> None:
    """Said while there is none, it is set when there is one again; the next device is told what is unread."""
    async with AsyncExitStack() as stack:
        ada = await device(stack, service, "ada")
        bob = await device(stack, service, "bob")
        for text in ("one", "two", "three"):
            await bob.me.send_private("ada", text)
            await bob.me.send("tea", text)
        await ada.until(lambda: (len(ada.said(PrivateMessage)), len(ada.said(Chat))) == (3, 3))
        [first] = [it for it in ada.events if isinstance(it, Welcome)]
        service.gateway.close(first.connection_id)
        ada.me.read("inbox#ada", 2)
        ada.me.read("tea", 3)
        await service.let_pass(60)
        await bob.until(lambda: ("tea", "ada", 3) in [it[:3] for it in bob.marks()])
        await ada.until(lambda: ("tea", "ada", 3, 0) in ada.marks())

        def inbox_is_read(device: Device) -> bool:
            """By an event, or by a welcome that came after the mark was set."""
            welcomed = [it.inbox.read for it in device.events if isinstance(it, Welcome)]
            return ("inbox#ada", "ada", 2, 1) in device.marks() or 2 in welcomed

        await ada.until(lambda: inbox_is_read(ada))
        phone = await device(stack, service, "ada", "elsewhere")
        [welcome] = [it for it in phone.events if isinstance(it, Welcome)]
        assert (welcome.inbox.seq, welcome.inbox.read, welcome.inbox.unread) == (3, 2, 1)
