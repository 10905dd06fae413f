"""A job of a later release meets a worker of this one: it waits for a worker that reads it, and holds up nobody."""

import json

import pytest

from domain.errors import NewerVersion, PostFailed, UnreadableJob
from domain.fanout import JOB_VERSION, Job, parse_job
from pipeline.batch import Record, Worker
from tests.unit.world import World


def newer(body: str) -> str:
    """The job as a later release writes it: another version, another form."""
    job = json.loads(body)
    return json.dumps({**job, "v": JOB_VERSION + 1, "shard": [job["shard"]]})


def read_newer_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers are of the release that reads what `newer` makes."""

    def parse(body: str) -> Job:
        job = json.loads(body)
        if job["v"] <= JOB_VERSION:
            return parse_job(body)
        return parse_job(json.dumps({**job, "v": JOB_VERSION, "shard": job["shard"][0]}))

    monkeypatch.setattr("pipeline.batch.parse_job", parse)


async def replace_jobs(world: World, lane: str, *of: int) -> list[str]:
    """Put a lane's jobs back in their order, those at the places `of` as a later release writes them."""
    records = await world.queue.receive(lane, 10)
    bodies = [newer(it["body"]) if place in of else it["body"] for place, it in enumerate(records)]
    for record, body in zip(records, bodies, strict=True):
        await world.queue.delete(lane, record["receiptHandle"])
        world.queue.put(lane, body, record["attributes"]["MessageGroupId"])
    return bodies


async def owed(world: World) -> list[str]:
    """Bob is owed one message by a remainder, which is a later release's; its body."""
    await world.connect("ada")
    await world.connect("bob")
    await world.pump()
    world.sockets.fail_next("bob", PostFailed("503"))
    await world.say("ada", "hello")
    await world.work_once("interactive")
    world.clock.advance(1)
    return await replace_jobs(world, "retry", 0)


async def test_a_newer_job_comes_again_until_a_worker_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is hidden for 1, 2, 4 s as any failure, and the first newer worker does it."""
    world = World()
    await owed(world)
    for pause in (1, 2, 4):
        assert await world.work_once("retry")
        world.clock.advance(pause - 0.1)
        assert await world.work_once("retry") is None
        world.clock.advance(0.1)
    assert world.messages("bob") == []
    read_newer_ones(monkeypatch)
    await world.pump()
    assert world.messages("bob") == ["hello"]
    assert (world.queue.depth("retry"), world.queue.dead("retry")) == (0, [])


async def test_a_newer_job_fails_with_its_reason() -> None:
    """The log says which version it is and which are read."""
    world = World()
    [body] = await owed(world)
    [message] = await world.queue.receive("retry", 10)
    record = Record(message["messageId"], message["receiptHandle"], body, "general", 1)
    worked = await Worker(world.ports, world.sockets, world.lanes["retry"]).work([record], lambda: 10.0)
    assert (worked.failed, worked.buried) == ([record], [])
    [cause] = worked.causes
    assert isinstance(cause, NewerVersion)
    assert str(cause).startswith(f"job version {JOB_VERSION + 1}; this worker reads ")


async def test_without_the_rule_it_would_be_buried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same job, taken for poison: it lies in the dead-letter queue at once, and a newer worker comes too late."""

    def parse(body: str) -> Job:
        try:
            return parse_job(body)
        except NewerVersion as error:
            raise UnreadableJob(str(error)) from None

    world = World()
    bodies = await owed(world)
    monkeypatch.setattr("pipeline.batch.parse_job", parse)
    assert await world.work_once("retry") == []
    assert world.queue.dead("retry") == bodies
    read_newer_ones(monkeypatch)
    await world.pump(seconds=60)
    assert world.messages("bob") == []


@pytest.mark.parametrize("of", [(0,), (1,), (2,), (0, 1)])
async def test_doorbells_around_a_newer_one_are_served(of: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever of three it is: all that is in the log goes out, in its order and once; only the newer ones fail."""
    world = World()
    await world.connect("ada")
    await world.pump()
    for text in ("one", "two", "three"):
        await world.say("ada", text)
    await replace_jobs(world, "interactive", *of)
    failed = await world.work_once("interactive")
    assert failed is not None
    assert len(failed) == len(of)
    assert world.messages("ada") == ["one", "two", "three"]
    read_newer_ones(monkeypatch)
    await world.pump(seconds=1)
    assert world.messages("ada") == ["one", "two", "three"]
    assert (world.queue.depth("interactive"), world.queue.dead("interactive")) == (0, [])


async def test_a_newer_job_alone_is_no_poison_for_its_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent for it, and the next doorbell, which waits for its back-off, brings both entries."""
    world = World()
    await world.connect("ada")
    await world.pump()
    await world.say("ada", "one")
    await replace_jobs(world, "interactive", 0)
    assert await world.work_once("interactive") is not None
    await world.say("ada", "two")
    await world.pump()
    assert world.messages("ada") == []
    await world.pump(seconds=1)
    assert world.messages("ada") == ["one", "two"]


async def test_after_the_last_receive_it_is_dead_as_it_was() -> None:
    """The queue moves it, with its body for a redrive; meanwhile and afterwards its room is served."""
    world = World()
    await world.connect("ada")
    await world.pump()
    await world.say("ada", "one")
    bodies = await replace_jobs(world, "interactive", 0)
    await world.pump(seconds=15)
    assert (world.queue.depth("interactive"), world.queue.dead("interactive")) == (1, [])
    await world.pump(seconds=16)
    assert (world.queue.depth("interactive"), world.queue.dead("interactive")) == (0, bodies)
    await world.say("ada", "two")
    await world.pump()
    assert world.messages("ada") == ["one", "two"]
