"""A feed whose reader is slow, and a log that answers when the test says so."""

from __future__ import annotations

import asyncio

import pytest

from client.errors import RequestRefused
from client.feeds import KEPT_LIMIT, Feed
from client.pages import Page
from domain.events import Chat

BEHIND = KEPT_LIMIT + 3
REST = range(KEPT_LIMIT + 1, BEHIND + 1)


class Log:
    """What a feed asks; each call waits for its answer."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, asyncio.Future[Page]]] = []
        self._news = asyncio.Event()

    async def __call__(self, after: int) -> Page:
        answer: asyncio.Future[Page] = asyncio.get_running_loop().create_future()
        self.asked.append((after, answer))
        self._news.set()
        return await answer

    async def next(self) -> asyncio.Future[Page]:
        """The call that the feed makes next."""
        async with asyncio.timeout(5):
            await self._news.wait()
        self._news.clear()
        return self.asked[-1][1]


def said(seq: int) -> Chat:
    return Chat(
        message_id=f"m{seq}",
        room_id="tea",
        epoch=1,
        seq=seq,
        timestamp=1,
        sent_at=1,
        sender_id="eve",
        sender_name="Eve",
        message=f"{seq}",
    )


def page(*seqs: int, following: int | None = None, epoch: int = 1) -> Page:
    return Page([said(it) for it in seqs], epoch, 0, following)


async def behind(log: Log) -> Feed:
    """A feed whose reader has had all that was kept, while three more are in the log."""
    feed = Feed(log)
    feed.begin(1, 0)
    for seq in range(1, BEHIND + 1):
        feed.give(said(seq))
    assert [(await feed.next()).seq for _ in range(KEPT_LIMIT)] == list(range(1, KEPT_LIMIT + 1))
    return feed


async def take(feed: Feed, count: int) -> list[int]:
    async with asyncio.timeout(5):
        return [(await feed.next()).seq for _ in range(count)]


async def test_what_comes_while_the_log_is_read_comes_after_it() -> None:
    """Also where the page has some of it already."""
    log = Log()
    feed = await behind(log)
    reading = asyncio.create_task(take(feed, 5))
    answer = await log.next()
    feed.give(said(BEHIND + 1))
    feed.give(said(BEHIND + 2))
    answer.set_result(page(*REST, BEHIND + 1))
    assert await reading == [*REST, BEHIND + 1, BEHIND + 2]
    feed.give(said(BEHIND + 3))
    assert await take(feed, 1) == [BEHIND + 3]
    assert [after for after, _ in log.asked] == [KEPT_LIMIT]


async def test_pages_follow_one_another() -> None:
    """One may have no message; what came while it was read is left to the next one."""
    log = Log()
    feed = await behind(log)
    reading = asyncio.create_task(take(feed, 3))
    answer = await log.next()
    feed.give(said(BEHIND + 1))
    answer.set_result(page(following=KEPT_LIMIT + 1))
    (await log.next()).set_result(page(*REST[1:], BEHIND + 1))
    assert await reading == [*REST[1:], BEHIND + 1]
    assert [after for after, _ in log.asked] == [KEPT_LIMIT, KEPT_LIMIT + 1]


async def test_a_cancelled_page_is_asked_for_again() -> None:
    """With what came meanwhile; nothing is taken twice, or passed over."""
    log = Log()
    feed = await behind(log)
    reading = asyncio.create_task(feed.next())
    await log.next()
    feed.give(said(BEHIND + 1))
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    again = asyncio.create_task(take(feed, 4))
    (await log.next()).set_result(page(*REST, BEHIND + 1))
    assert await again == [*REST, BEHIND + 1]
    assert [after for after, _ in log.asked] == [KEPT_LIMIT, KEPT_LIMIT]


async def test_too_much_while_the_log_is_read() -> None:
    """Is left there once more."""
    log = Log()
    feed = await behind(log)
    reading = asyncio.create_task(take(feed, 3 + KEPT_LIMIT + 2))
    answer = await log.next()
    last = BEHIND + KEPT_LIMIT
    for seq in range(BEHIND + 1, last + 3):
        feed.give(said(seq))
    answer.set_result(page(*REST))
    (await log.next()).set_result(page(last + 1, last + 2))
    assert await reading == list(range(KEPT_LIMIT + 1, last + 3))
    assert [after for after, _ in log.asked] == [KEPT_LIMIT, last]


async def test_who_leaves_meanwhile_gets_nothing_more() -> None:
    """Neither the page nor the refusal that answers."""
    for refusal in (None, RequestRefused("NOT_A_MEMBER", "No member of the room")):
        log = Log()
        feed = await behind(log)
        reading = asyncio.create_task(feed.next())
        answer = await log.next()
        feed.drop()
        if refusal is None:
            answer.set_result(page(*REST))
        else:
            answer.set_exception(refusal)
        with pytest.raises(StopAsyncIteration):
            await reading


async def test_a_page_of_another_life_is_none() -> None:
    """A seq means nothing there."""
    log = Log()
    feed = await behind(log)
    reading = asyncio.create_task(feed.next())
    (await log.next()).set_result(page(*REST, epoch=2))
    with pytest.raises(RequestRefused, match="ROOM_NOT_FOUND"):
        await reading


async def test_an_end_comes_after_the_log() -> None:
    """What was left there is read first."""
    log = Log()
    feed = await behind(log)
    feed.end()
    reading = asyncio.create_task(take(feed, 3))
    (await log.next()).set_result(page(*REST))
    assert await reading == list(REST)
    with pytest.raises(StopAsyncIteration):
        await feed.next()


async def test_two_readers_wait_for_one_page() -> None:
    """Neither overtakes it with what comes meanwhile."""
    log = Log()
    feed = await behind(log)
    reading = [asyncio.create_task(take(feed, 2)) for _ in range(2)]
    answer = await log.next()
    feed.give(said(BEHIND + 1))
    answer.set_result(page(*REST))
    got = await asyncio.gather(*reading)
    assert sorted(it for some in got for it in some) == [*REST, BEHIND + 1]
    assert all(some == sorted(some) for some in got)
    assert len(log.asked) == 1
