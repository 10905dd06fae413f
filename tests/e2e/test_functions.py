"""Lambda environments as real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from local.functions import Function, FunctionCrashed, FunctionError, FunctionTimeout
from local.nursery import Nursery
from tests.unit.local.processes import ROOT, environments, is_running, until

MakeFunction = Callable[..., Function]


@pytest.fixture(params=["interpreters", "forks"])
async def make(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[MakeFunction]:
    """Functions of the tests' handlers, or of a `module:attribute`; all stopped at the end."""
    made: list[Function] = []
    nursery = Nursery(tmp_path / "nursery.log") if request.param == "forks" else None

    def make(
        handler: str,
        *,
        timeout: float = 20,
        max_concurrency: int = 1,
        code: Path | None = None,
        niceness: int = 0,
        **environ: str,
    ) -> Function:
        function = Function(
            handler,
            handler if ":" in handler else f"tests.unit.local.handlers:{handler}",
            {"PYTHONPATH": str(ROOT), **environ},
            timeout=timeout,
            max_concurrency=max_concurrency,
            log=tmp_path / "function.log",
            code=code,
            niceness=niceness,
            nursery=nursery,
        )
        made.append(function)
        return function

    yield make
    for function in made:
        await function.stop()
    if nursery is not None:
        await nursery.stop()


async def test_a_handler_sees_lambdas_event_context_and_environment(make: MakeFunction) -> None:
    """A handler gets its event, Lambda's context, and Lambda's variables beside those of the deployment."""
    seen = await make("describe", timeout=7, ROOMCAST_LANE="retry").invoke({"body": "žluť 😀"})
    assert seen["event"] == {"body": "žluť 😀"}
    assert (seen["name"], seen["memory"]) == ("describe", 512)
    assert seen["arn"].startswith("arn:aws:lambda:us-east-1:")
    assert 0 < seen["remaining_ms"] <= 7000
    environ = seen["environ"]
    assert environ["ROOMCAST_LANE"] == "retry"
    assert environ["AWS_LAMBDA_FUNCTION_NAME"] == environ["POWERTOOLS_SERVICE_NAME"] == "describe"
    assert environ["AWS_REGION"] == "us-east-1"


async def test_nothing_of_the_machines_aws_reaches_a_handler(
    make: MakeFunction, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's own profile and credentials stay outside."""
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAREAL")
    environ = (await make("describe").invoke(None))["environ"]
    assert "AWS_PROFILE" not in environ
    assert environ["AWS_ACCESS_KEY_ID"] == "twin"
    assert environ["AWS_SHARED_CREDENTIALS_FILE"] == "/dev/null"


async def test_an_environment_is_kept_warm(make: MakeFunction) -> None:
    """The second event goes to the process that served the first, with a request id of its own."""
    function = make("describe", max_concurrency=2)
    first, second = await function.invoke(1), await function.invoke(2)
    assert first["pid"] == second["pid"]
    assert first["request_id"] != second["request_id"]
    assert function.pids == {first["pid"]: False}


async def test_warm_starts_environments_ahead(make: MakeFunction) -> None:
    """`warm` has them up before the first event, and never more than the function may have."""
    function = make("describe", max_concurrency=2)
    await function.warm(5)
    pids = set(function.pids)
    assert len(pids) == 2
    assert (await function.invoke(None))["pid"] in pids


async def test_events_at_once_have_environments_of_their_own(make: MakeFunction, tmp_path: Path) -> None:
    """Two events run side by side, and six need no more than the two environments allowed."""
    folder = tmp_path / "meeting"
    folder.mkdir()
    function = make("meet", max_concurrency=2)
    event = {"folder": str(folder), "count": 2}
    assert await asyncio.gather(*(function.invoke(event) for _ in range(6))) == [2] * 6
    assert len(function.pids) == 2


async def test_a_held_environment_is_not_given_to_another(make: MakeFunction) -> None:
    """Who waits for a free environment gets one only when its holder lets go."""
    function = make("describe")
    async with function.free_environment() as invoke:
        waiting = asyncio.create_task(function.invoke("second"))
        assert (await invoke("first"))["event"] == "first"
        assert not waiting.done()
    assert (await waiting)["event"] == "second"


async def test_a_handlers_exception_is_an_error_with_its_text(make: MakeFunction, tmp_path: Path) -> None:
    """Type and text come through, the trace goes to the log, and the environment serves on."""
    function = make("fail")
    with pytest.raises(FunctionError) as caught:
        await function.invoke("Unauthorized")
    assert (caught.value.type, caught.value.message) == ("ValueError", "Unauthorized")
    pids = function.pids
    assert await function.invoke(None) is None
    assert function.pids == pids
    assert (function.tally.invocations, function.tally.errors) == (2, 1)
    log = (tmp_path / "function.log").read_text()
    assert "told to fail with Unauthorized" in log
    assert "Traceback" in log


async def test_a_result_that_is_no_json_is_an_error(make: MakeFunction) -> None:
    """Lambda hands back JSON and nothing else."""
    with pytest.raises(FunctionError, match="not JSON serializable"):
        await make("unserializable").invoke(None)


async def test_a_handler_that_cannot_be_imported_is_an_error(make: MakeFunction) -> None:
    """The error names the function and what is missing, and no process stays."""
    function = make("no_such_handler")
    with pytest.raises(FunctionError, match="no_such_handler"):
        await function.warm()
    assert function.pids == {}


async def test_a_handler_out_of_time_is_killed(make: MakeFunction, tmp_path: Path) -> None:
    """The time-out ends the event and the process; the next event gets a new one."""
    function = make("hang", timeout=2)
    with pytest.raises(FunctionTimeout):
        await function.invoke(str(tmp_path / "pid"))
    assert not is_running(int((tmp_path / "pid").read_text()))
    assert await function.invoke(None) == "alive"
    assert (function.tally.timeouts, function.tally.billed_ms >= 2000) == (1, True)


async def test_a_kill_within_an_event_is_noticed_at_once(make: MakeFunction, tmp_path: Path) -> None:
    """kill -9 of a busy environment fails its event long before the time-out; the next event gets a new one."""
    function = make("hang", timeout=600)
    event = asyncio.create_task(function.invoke(str(tmp_path / "pid")))
    await until((tmp_path / "pid").exists)
    [(pid, busy)] = function.pids.items()
    assert busy
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        with pytest.raises(FunctionCrashed):
            await event
    assert await function.invoke(None) == "alive"
    assert pid not in function.pids
    assert function.tally.crashes == 1


async def test_a_kill_between_events_costs_nothing(make: MakeFunction) -> None:
    """An idle environment that died is replaced, and no event fails for it."""
    function = make("describe")
    pid = (await function.invoke(None))["pid"]
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not function.pids)
    assert (await function.invoke(None))["pid"] != pid


async def test_ctrl_c_does_not_end_an_environment(make: MakeFunction) -> None:
    """Ctrl-C reaches every process of the terminal; only the twin ends its environments."""
    function = make("describe")
    pid = (await function.invoke(None))["pid"]
    os.kill(pid, signal.SIGINT)
    assert (await function.invoke(None))["pid"] == pid


async def test_an_event_that_has_begun_runs_on(make: MakeFunction, tmp_path: Path) -> None:
    """Who waits for it may give up: it keeps its environment until it ends, and the next gets its own answer."""
    folder = tmp_path / "meeting"
    folder.mkdir()
    function = make("meet")
    event = asyncio.create_task(function.invoke({"folder": str(folder), "count": 2}))
    await until(lambda: list(folder.iterdir()))
    event.cancel()
    with pytest.raises(asyncio.CancelledError):
        await event
    [(pid, busy)] = function.pids.items()
    assert busy
    following = asyncio.create_task(function.invoke({"folder": str(folder), "count": 1}))
    (folder / "another").touch()
    assert await following == 2
    assert function.pids == {pid: False}
    assert (function.tally.invocations, function.tally.crashes) == (2, 0)


async def test_a_stop_ends_what_nobody_waits_for(make: MakeFunction, tmp_path: Path) -> None:
    """An event that runs on alone does not outlive its function."""
    function = make("hang")
    event = asyncio.create_task(function.invoke(str(tmp_path / "pid")))
    await until((tmp_path / "pid").exists)
    event.cancel()
    await function.stop()
    assert not is_running(int((tmp_path / "pid").read_text()))


async def test_a_held_environment_goes_with_its_holder(make: MakeFunction, tmp_path: Path) -> None:
    """The answer to an event whose holder was cancelled must not become the answer to the next."""
    function = make("hang")

    async def hold() -> None:
        async with function.free_environment() as invoke:
            await invoke(str(tmp_path / "pid"))

    holder = asyncio.create_task(hold())
    await until((tmp_path / "pid").exists)
    holder.cancel()
    with pytest.raises(asyncio.CancelledError):
        await holder
    assert await function.invoke(None) == "alive"


async def test_a_start_outlives_the_event_it_was_for(make: MakeFunction) -> None:
    """Who waited too long to see the environment leaves it to the next, or a long line would never get one."""
    function = make("describe")
    event = asyncio.create_task(function.invoke(None))
    while not function.pids:  # noqa: ASYNC110  # a fork answers within milliseconds
        await asyncio.sleep(0)
    [started] = function.pids
    event.cancel()
    with pytest.raises(asyncio.CancelledError):
        await event
    assert (await function.invoke(None))["pid"] == started


async def test_calls_to_aws_are_counted(make: MakeFunction) -> None:
    """What the handlers' runtime counts is summed up over the events."""
    function = make("call_aws")
    await function.invoke(2)
    await function.invoke(3)
    assert function.tally.calls == {"dynamodb.Query": 5}


RELEASED = """
import os, time
from pathlib import Path

def wait(folder, what):
    (folder / f"{what} began").touch()
    while not (folder / f"{what} may end").exists():
        time.sleep(0.01)

def handler(event, context):
    if event:
        wait(Path(event), "event")
    return [RELEASE, os.getpid()]
"""
HELD_IMPORT = """
wait(Path(__file__).parent, "import")
"""


def release(folder: Path, name: str, more: str = "") -> Path:
    """A folder with a module `released`, whose handler answers with the name and its process id."""
    code = folder / name
    code.mkdir()
    (code / "released.py").write_text(f"RELEASE = {name!r}\n{RELEASED}{more}")
    return code


async def test_new_code_meets_no_event_that_is_under_way(make: MakeFunction, tmp_path: Path) -> None:
    """That one finishes in its old environment, which then ends; the next event gets the new code, side by side with
    it, and idle environments of the old code end at once."""
    old, new = release(tmp_path, "old"), release(tmp_path, "new")
    before = environments()
    function = make("released:handler", max_concurrency=2, code=old)
    await function.warm(2)
    event = asyncio.create_task(function.invoke(str(tmp_path)))
    await until((tmp_path / "event began").exists)
    [busy] = [pid for pid, is_busy in function.pids.items() if is_busy]
    await function.update(new)
    assert environments() - before == {busy}
    name, pid = await function.invoke(None)
    assert (name, environments() - before) == ("new", {busy, pid})
    assert not event.done()
    (tmp_path / "event may end").touch()
    assert await event == ["old", busy]
    assert environments() - before == {pid}
    assert await function.invoke(None) == ["new", pid]


@pytest.mark.parametrize(
    ("waiting", "how_far"), [("an event", "its process"), ("an event", "its import"), ("nothing", "its import")]
)
async def test_an_environment_that_was_starting_has_the_old_code(
    make: MakeFunction, tmp_path: Path, waiting: str, how_far: str
) -> None:
    """It serves the event that it was started for, if any, and is not kept."""
    old, new = release(tmp_path, "old", HELD_IMPORT), release(tmp_path, "new")
    before = environments()
    function = make("released:handler", code=old)
    started = asyncio.create_task(function.invoke(None) if waiting == "an event" else function.warm())
    if how_far == "its import":
        await until((old / "import began").exists)
    else:
        for _ in range(2):  # the event's task, and that of the start
            await asyncio.sleep(0)
    await function.update(new)
    (old / "import may end").touch()
    result = await started
    assert environments() == before
    if waiting == "an event":
        assert result[0] == "old"
    assert (await function.invoke(None))[0] == "new"


async def test_stop_leaves_no_process(make: MakeFunction, tmp_path: Path) -> None:
    """Idle and busy environments end with their function."""
    before = environments()
    function = make("hang", max_concurrency=2)
    await function.warm(2)
    event = asyncio.create_task(function.invoke(str(tmp_path / "pid")))
    await until((tmp_path / "pid").exists)
    await function.stop()
    with pytest.raises(FunctionCrashed):
        await event
    assert environments() == before


PARENT = """
import asyncio, sys
from pathlib import Path
from local.functions import Function

async def main() -> None:
    root, folder = sys.argv[1], Path(sys.argv[2])
    function = Function("hang", "tests.unit.local.handlers:hang", {"PYTHONPATH": root},
                        timeout=600, max_concurrency=2, log=folder / "function.log")
    await function.warm(2)
    print(*function.pids, flush=True)
    await function.invoke(str(folder / "pid"))

asyncio.run(main())
"""


async def test_environments_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    """kill -9 of the process that uses them ends an idle environment, and one within an event."""
    command: tuple[Any, ...] = (sys.executable, "-c", PARENT, ROOT, tmp_path)
    parent = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    pids = [int(it) for it in (await parent.stdout.readline()).split()]
    await until((tmp_path / "pid").exists)
    parent.kill()
    await parent.wait()
    await until(lambda: not any(map(is_running, pids)), seconds=10)


@pytest.mark.parametrize("left", ["an answer unread", "half an event"])
async def test_an_environment_ends_where_its_socket_is_cut(tmp_path: Path, left: str) -> None:
    """A killed parent may not have read an answer, which resets the socket, or not have sent the whole of an event."""
    own, theirs = socket.socketpair()
    with own, theirs, (tmp_path / "log").open("wb") as log:
        environment = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "local.environment", "tests.unit.local.handlers:hang"),
            stdin=theirs.fileno(),
            stderr=log,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        await asyncio.to_thread(own.recv, 1, socket.MSG_PEEK)
        if left == "half an event":
            own.recv(1024)
            own.sendall((100).to_bytes(4) + b'{"id":')
    try:
        await asyncio.wait_for(environment.wait(), 10)
    finally:
        if environment.returncode is None:
            environment.kill()
    assert (tmp_path / "log").read_text() == ""


async def test_a_nice_function_leaves_the_processor_to_others(make: MakeFunction) -> None:
    """Its environments have the niceness that was asked for; others have none."""
    pid, nice = [(await make("describe", niceness=it).invoke(None))["pid"] for it in (0, 7)]
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert (os.getpriority(os.PRIO_PROCESS, pid), os.getpriority(os.PRIO_PROCESS, nice)) == (own, 7)
