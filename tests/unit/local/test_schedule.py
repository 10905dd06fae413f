"""The rule that invokes a function once a minute."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from local.functions import FunctionError
from local.schedule import Schedule, scheduled_event
from tests.clocks import SteppedClock
from tests.unit.local.fakes import FakeFunction
from tests.unit.local.processes import until

HALF_PAST = 1_700_000_010_000
"""22:13:30, in milliseconds since 1970."""


@asynccontextmanager
async def running(function: FakeFunction) -> AsyncIterator[Callable[[float], None]]:
    """A schedule that has begun in the middle of a minute; the block gets what lets seconds pass."""
    clock = SteppedClock(HALF_PAST)
    schedule = Schedule("rule", function, clock)
    schedule.start()
    await asyncio.sleep(0)
    try:
        yield clock.advance
    finally:
        await schedule.stop()


async def test_it_invokes_at_the_start_of_each_minute() -> None:
    """Not before, once a minute, with the minute in the event."""
    function = FakeFunction()
    async with running(function) as advance:
        advance(29.999)
        await asyncio.sleep(0)
        assert function.events == []
        for minute in range(1, 4):
            advance(0.001 if minute == 1 else 60)
            await until(lambda minute=minute: len(function.events) == minute)  # type: ignore[misc]  # a default's type
    assert [it["time"] for it in function.events] == [
        "2023-11-14T22:14:00Z",
        "2023-11-14T22:15:00Z",
        "2023-11-14T22:16:00Z",
    ]


@pytest.mark.parametrize("error", [FunctionError("KeyError", "x"), OSError("no process")])
async def test_a_run_that_fails_is_logged_and_the_next_comes(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing ends a schedule but its stop."""
    function = FakeFunction(error)
    async with running(function) as advance:
        for minute in range(1, 3):
            advance(60)
            await until(lambda minute=minute: len(function.events) == minute)  # type: ignore[misc]  # a default's type
        await until(lambda: len(caplog.records) == 2)
    assert {str(error) in it.getMessage() for it in caplog.records} == {True}


async def test_a_run_that_takes_long_skips_minutes() -> None:
    """There is one at a time, and none is made up for."""
    going_on = asyncio.Event()

    async def slow(event: object) -> None:
        await going_on.wait()

    function = FakeFunction(slow)
    async with running(function) as advance:
        advance(30)
        await until(lambda: function.events)
        advance(150)
        await asyncio.sleep(0)
        going_on.set()
        await asyncio.sleep(0)
        assert len(function.events) == 1
        advance(30)
        await until(lambda: len(function.events) == 2)


def test_the_event_is_eventbridges() -> None:
    """Lambda developer guide, “Invoke a Lambda function on a schedule”: the fields of a scheduled event."""
    event = scheduled_event("rule", 1_444_323_186_999)
    assert len(event.pop("id")) == 36
    assert event == {
        "version": "0",
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "000000000000",
        "time": "2015-10-08T16:53:06Z",
        "region": "us-east-1",
        "resources": ["arn:aws:events:us-east-1:000000000000:rule/rule"],
        "detail": {},
    }
