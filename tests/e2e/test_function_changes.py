"""A function whose settings change while it works, as real processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from local.functions import Function, FunctionCrashed, FunctionError
from local.nursery import Nursery
from tests.unit.local.processes import ROOT, environments, until

MakeFunction = Callable[..., Function]

HOLDING = """
import os, pathlib, time
if os.environ.get("BROKEN"):
    raise ImportError("broken by its variables")
def handler(event, context):
    folder = pathlib.Path(event)
    (folder / f"began {os.getpid()}").touch()
    while not (folder / "may end").exists():
        time.sleep(0.01)
    return [os.environ["SAID"], os.getpid(), context.get_remaining_time_in_millis() / 1000]
"""


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[MakeFunction]:
    """Functions that hold an event until its folder has a file `may end`, and say what their variable SAID is."""
    nursery = Nursery(tmp_path / "nursery.log")
    made: list[Function] = []
    (tmp_path / "held.py").write_text(HOLDING)

    def make(max_concurrency: int = 1) -> Function:
        function = Function(
            "held",
            "held:handler",
            variables(tmp_path, "old"),
            timeout=20,
            max_concurrency=max_concurrency,
            log=tmp_path / "function.log",
            nursery=nursery,
        )
        made.append(function)
        return function

    yield make
    for it in made:
        await it.stop()
    await nursery.stop()


def variables(folder: Path, said: str, **more: str) -> dict[str, str]:
    return {"PYTHONPATH": f"{folder}:{ROOT}", "SAID": said, **more}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What an event is: its answer waits for a file there."""
    found = tmp_path / "event"
    found.mkdir()
    return found


@pytest.fixture
def again(tmp_path: Path) -> Path:
    """For events after those."""
    found = tmp_path / "again"
    found.mkdir()
    return found


@pytest.fixture
def ready(tmp_path: Path) -> str:
    """An event that need not wait."""
    found = tmp_path / "ready"
    found.mkdir()
    (found / "may end").touch()
    return str(found)


def began(folder: Path) -> int:
    return sum(it.name.startswith("began") for it in folder.iterdir())


async def test_new_variables_are_warm_before_the_old_go(
    make: MakeFunction, tmp_path: Path, folder: Path, ready: str
) -> None:
    """An event under way ends as it began; the next meets an environment that is up, with what was changed."""
    function = make(2)
    await function.warm(2)
    event = asyncio.create_task(function.invoke(str(folder)))
    await until(lambda: began(folder))
    [busy] = [pid for pid, is_busy in function.pids.items() if is_busy]
    old = set(function.pids)
    await function.configure(variables(tmp_path, "new"), timeout=50)
    fresh = set(function.pids) - old
    assert set(function.pids) == {busy} | fresh
    assert len(fresh) == 2
    said, pid, left = await function.invoke(ready)
    assert (said, pid in fresh, 20 < left <= 50) == ("new", True, True)
    (folder / "may end").touch()
    assert (await event)[:2] == ["old", busy]
    assert set(function.pids) == fresh


async def test_variables_with_which_nothing_starts_change_nothing(
    make: MakeFunction, tmp_path: Path, ready: str
) -> None:
    """The error names what is wrong; the environments that are up stay, and one that starts later has the old ones."""
    function = make(2)
    await function.warm()
    before = set(function.pids)
    with pytest.raises(FunctionError, match="broken by its variables"):
        await function.configure(variables(tmp_path, "new", BROKEN="yes"), timeout=50)
    assert set(function.pids) == before
    await function.warm(2)
    assert (await function.invoke(ready))[0] == "old"
    assert function.kill_one() is not None


async def test_told_variables_wait_for_the_next_environment(make: MakeFunction, tmp_path: Path, ready: str) -> None:
    """What a function does not read is no reason to start it anew."""
    function = make()
    said, pid, _ = await function.invoke(ready)
    function.tell(variables(tmp_path, "new"))
    assert await function.invoke(ready) == [said, pid, pytest.approx(20, abs=20)]
    assert function.kill_one() == pid
    await until(lambda: not function.pids)
    assert (await function.invoke(ready))[0] == "new"


async def two_at_once(function: Function, folder: Path) -> None:
    """Of three events the third waits for one of the others."""
    events = [asyncio.create_task(function.invoke(str(folder))) for _ in range(3)]
    await until(lambda: began(folder) == 2)
    for _ in range(20):
        await asyncio.sleep(0)
    assert began(folder) == 2
    (folder / "may end").touch()
    await asyncio.gather(*events)


async def test_more_and_fewer_environments(make: MakeFunction, folder: Path, again: Path) -> None:
    """More events at once as soon as there may be; fewer as those under way end, and idle ones too many go at once."""
    function = make(1)
    events = [asyncio.create_task(function.invoke(str(folder))) for _ in range(4)]
    await until(lambda: began(folder) == 1)
    await function.resize(3)
    await until(lambda: began(folder) == 3)
    await function.resize(2)
    (folder / "may end").touch()
    pids = {(await it)[1] for it in events}
    assert len(pids) == 3
    assert len(function.pids) == 2
    await two_at_once(function, again)
    await function.resize(1)
    assert len(function.pids) == 1


async def test_there_and_back_leaves_as_many(make: MakeFunction, folder: Path, again: Path) -> None:
    """A slider that is dragged to and fro while all are busy, and while none is."""
    function = make(2)
    events = [asyncio.create_task(function.invoke(str(folder))) for _ in range(3)]
    await until(lambda: began(folder) == 2)
    for count in (1, 3, 1, 4, 2):
        await function.resize(count)
    (folder / "may end").touch()
    await asyncio.gather(*events)
    for count in (1, 3, 1, 4, 2):
        await function.resize(count)
    await two_at_once(function, again)
    assert len(function.pids) == 2


async def test_a_busy_environment_is_killed_rather(make: MakeFunction, folder: Path) -> None:
    """Its event ends at once, and a function without environments has none to kill."""
    function = make(2)
    assert function.kill_one() is None
    await function.warm(2)
    event: asyncio.Task[Any] = asyncio.create_task(function.invoke(str(folder)))
    await until(lambda: began(folder))
    [busy] = [pid for pid, is_busy in function.pids.items() if is_busy]
    assert function.kill_one() == busy
    with pytest.raises(FunctionCrashed):
        await event
    assert (function.tally.crashes, busy in function.pids) == (1, False)


async def test_a_change_leaves_no_process(make: MakeFunction, tmp_path: Path) -> None:
    before = environments()
    function = make(2)
    await function.warm(2)
    for said in ("one", "two"):
        await function.configure(variables(tmp_path, said), timeout=20)
        assert len(environments() - before) == 2
    await function.stop()
    assert environments() == before
