"""What a redrive sees, what it moves, and what it leaves."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from domain.fanout import Notice, Plan, encode_job, parse_job
from domain.lanes import LANES
from ops import dead_letters
from ops.dead_letters import HIDDEN_SECONDS, Cause, DeadLetter, DeadLetters, in_order, posts_of, read_letter
from ops.drive import Choice, Drive, Fate, look, pause_after
from ops.stage import StageError
from tests.unit.ops.stages import MotoStage, doorbell, moto_stage, remainder
from tests.unit.ops.test_command import NOBODY, roomcast

NEWER = '{"v": 99}'
ALL = tuple(LANES)
SECONDS = 1_000_000.0


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[MotoStage]:
    monkeypatch.setattr(dead_letters, "WAIT_SECONDS", 0)  # moto has one server, and would really wait
    yield from moto_stage()


class Time:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = SECONDS

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def drive(stage: MotoStage, choice: Choice | None = None, **options: Any) -> Drive:
    """A run that is over."""
    time = options.pop("time", None) or Time()
    run = Drive(
        deployment=stage.deployment, choice=choice or Choice(ALL), clock=lambda: time.now, sleep=time.sleep, **options
    )
    run.run()
    return run


def message(body: str, **attributes: str) -> dict[str, Any]:
    return {"MessageId": "1", "ReceiptHandle": "r", "Body": body, "Attributes": attributes}


# ------------------------------------------------------------------------------------------------ what they are


@pytest.mark.parametrize(
    ("body", "attributes", "cause"),
    [
        (encode_job(doorbell("tea", 1)), {"DeadLetterQueueSourceArn": "arn"}, Cause.FAILED),
        (encode_job(doorbell("tea", 1)), {}, Cause.BURIED),
        ("poison", {}, Cause.POISON),
        (NEWER, {"DeadLetterQueueSourceArn": "arn"}, Cause.NEWER),
    ],
)
def test_a_letter_tells_why_it_is_dead(body: str, attributes: dict[str, str], cause: Cause) -> None:
    """SQS says whose receives were spent; what a worker buried says it by itself."""
    letter = read_letter("interactive", message(body, **attributes))
    assert letter.cause is cause
    assert (letter.job is None) == bool(letter.reason) == (cause in {Cause.POISON, Cause.NEWER})


def test_letters_go_in_the_order_of_the_log() -> None:
    """By group and seq, however they lay."""
    letters = [
        read_letter("interactive", message(encode_job(doorbell(room, seq)), MessageGroupId=room))
        for room in "ab"
        for seq in range(1, 12)
    ]
    mixed = list(letters)
    random.Random(0).shuffle(mixed)
    assert in_order(mixed) == letters


@pytest.mark.parametrize(
    ("job", "lane", "seconds"),
    [
        (doorbell("tea", 1), "interactive", 0.1),  # no cap: ten a second
        (doorbell("tea", 1), "bulk", 1_000 / 3_000),  # two workers of 1,500 posts a second, a shard of 1,000
        (Plan(room="tea", epoch=1, shards=12, seq=1), "bulk", 4),
        (remainder("tea", *map(str, range(500))), "retry", 0.5),
        (remainder("tea", "one"), "retry", 0.1),
        (Notice(room="tea", epoch=1, shard=0, event=b"{}", not_after=11_000), "ephemeral", 0.5),  # type: ignore[arg-type]
        (Notice(room="tea", epoch=1, shard=0, event=b"{}", not_after=9_000), "ephemeral", 0.1),  # type: ignore[arg-type]
    ],
)
def test_the_pace_is_that_of_the_posts(job: Any, lane: str, seconds: float) -> None:
    """As if each job cost all the posts that it can, and never more than ten jobs a second."""
    letter = read_letter(lane, message(encode_job(doorbell("tea", 1))))
    object.__setattr__(letter, "job", job)
    assert pause_after(letter, LANES[lane], 1_000, now=10_000) == pytest.approx(seconds)
    assert posts_of(job, 1_000, 10_000) <= 12_000


# ------------------------------------------------------------------------------------------------ looking


def test_a_look_changes_nothing(stage: MotoStage) -> None:
    """All can be had by others at once, and what can't be seen is counted."""
    stage.bury("interactive", *(doorbell("tea", it) for it in range(1, 26)), "poison")
    stage.bury("retry", *(remainder(f"hall{it}", "x") for it in range(12)))
    seen = look(stage.deployment, Choice(ALL))
    assert seen.dead == {"interactive": 26, "bulk": 0, "retry": 12, "ephemeral": 0, "hooks": 0}
    assert len([it for it in seen.letters if it.lane == "retry"]) == 12
    assert (stage.dead("interactive"), stage.dead("retry")) == (26, 12)
    assert [it for lane in ALL for it in stage.take(lane)] == []


# ------------------------------------------------------------------------------------------------ moving


def test_jobs_go_back_to_their_lanes(stage: MotoStage) -> None:
    """Each with its body and group, in order, and under an id for the deduplication that none had before."""
    jobs = [doorbell("tea", it) for it in range(1, 26)]
    stage.bury("interactive", *jobs)
    stage.bury("retry", remainder("hall", "x"))
    done = drive(stage)
    assert done.redriven == {"interactive": 25, "retry": 1}
    assert (done.interrupted, done.died_again, done.dropped) == (False, set(), 0)
    assert [stage.dead(it) for it in ALL] == [0] * len(ALL)
    back = stage.take("interactive")
    assert [parse_job(it["Body"]) for it in back] == jobs
    assert {it["Attributes"]["MessageGroupId"] for it in back} == {"tea#1#0"}
    assert len({it["Attributes"]["MessageDeduplicationId"] for it in back}) == 25
    assert len(stage.take("retry")) == 1


def test_the_same_job_goes_back_a_second_time(stage: MotoStage) -> None:
    """Within five minutes, in which SQS swallows what comes under the same id."""
    for _ in range(2):
        stage.bury("interactive", doorbell("tea", 1))
        drive(stage)
    assert len(stage.take("interactive")) == 2


def test_what_was_not_meant_stays(stage: MotoStage) -> None:
    """Another room's, another lane's, and what can't be read; others behind them in their group are reached."""
    stage.bury("interactive", doorbell("tea", 1), doorbell("hall", 1), "poison", NEWER)
    stage.bury("retry", remainder("tea", "x"))
    done = drive(stage, Choice(["interactive"], room="tea"))
    assert done.redriven == {"interactive": 1}
    assert [parse_job(it["Body"]) for it in stage.take("interactive")] == [doorbell("tea", 1)]
    assert (stage.dead("interactive"), stage.dead("retry")) == (3, 1)


def test_what_stays_does_not_hide_what_is_behind_it(stage: MotoStage) -> None:
    """Poison at the head of a group whose jobs do not fit in one receive."""
    sqs, url = stage.sqs, stage.deployment.dead_letter_queues["interactive"]
    for number, body in enumerate(["poison", *(encode_job(doorbell("tea", it)) for it in range(1, 30))]):
        sqs.send_message(QueueUrl=url, MessageBody=body, MessageGroupId="tea#1#0", MessageDeduplicationId=str(number))
    assert drive(stage).redriven == {"interactive": 29}
    assert stage.dead("interactive") == 1


def test_poison_is_dropped_on_demand(stage: MotoStage) -> None:
    """What a newer release can read is no poison."""
    stage.bury("retry", "poison", NEWER, remainder("tea", "x"))
    done = drive(stage, Choice(ALL, drop_poison=True))
    assert (done.dropped, done.redriven) == (1, {"retry": 1})
    assert [it.cause for it in look(stage.deployment, Choice(ALL)).letters] == [Cause.NEWER]


@pytest.mark.parametrize("room", [None, "tea"])
def test_a_letter_without_a_job_is_never_redriven(room: str | None) -> None:
    """Its lane would bury it again."""
    for body in ("poison", NEWER):
        letter = read_letter("bulk", message(body))
        assert Choice(ALL, room).fate(letter) is Fate.KEEP


def test_jobs_go_at_the_pace(stage: MotoStage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the queue would take: each after its pause, and each is still hidden when its turn comes."""
    stage.bury("retry", *(remainder(f"hall{it}", "x") for it in range(20)))
    time = Time()
    times: list[float] = []
    received: dict[str, float] = {}
    receive, redrive = DeadLetters.receive, DeadLetters.redrive

    def receive_and_note(queue: DeadLetters) -> list[DeadLetter]:
        found = receive(queue)
        received.update({it.id: time.now for it in found})
        return found

    def redrive_in_time(queue: DeadLetters, letter: DeadLetter) -> str:
        assert time.now < received[letter.id] + HIDDEN_SECONDS - 20
        return redrive(queue, letter)

    monkeypatch.setattr(DeadLetters, "receive", receive_and_note)
    monkeypatch.setattr(DeadLetters, "redrive", redrive_in_time)
    drive(stage, rate=0.2, time=time, tell=lambda: times.append(time.now - SECONDS))
    assert times == pytest.approx([5 * it for it in range(20)])
    assert len(stage.take("retry")) == 20


def test_a_run_that_is_stopped_is_gone_on_with(stage: MotoStage) -> None:
    """It stops between two jobs, hides none of the others, and the next run moves those."""
    stage.bury("interactive", *(doorbell("tea", it) for it in range(1, 16)))
    told: list[int] = []
    done = drive(stage, tell=lambda: told.append(1), stopped=lambda: len(told) == 7)
    assert done.interrupted
    assert (done.redriven.total(), stage.dead("interactive")) == (7, 8)
    assert drive(stage).redriven.total() == 8
    assert [parse_job(it["Body"]) for it in stage.take("interactive")] == [doorbell("tea", it) for it in range(1, 16)]


def test_a_job_that_dies_again_is_left_alone(stage: MotoStage, monkeypatch: pytest.MonkeyPatch) -> None:
    """One run gives no job back twice, or it would never end."""
    stage.bury("interactive", doorbell("tea", 1), doorbell("hall", 1))
    redrive = DeadLetters.redrive

    def and_dies(queue: DeadLetters, letter: DeadLetter) -> str:
        redrive(queue, letter)
        stage.bury("interactive", letter.body)
        url = stage.deployment.dead_letter_queues["interactive"]
        found = stage.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0)["Messages"]
        return next(str(it["MessageId"]) for it in found if it["Body"] == letter.body)

    monkeypatch.setattr(DeadLetters, "redrive", and_dies)
    done = drive(stage)
    assert (done.redriven.total(), len(done.died_again)) == (2, 2)
    assert stage.dead("interactive") == 2


def test_a_stage_that_fails_meanwhile_is_named(stage: MotoStage) -> None:
    """In one sentence."""
    stage.sqs.delete_queue(QueueUrl=stage.deployment.dead_letter_queues["bulk"])
    with pytest.raises(StageError, match=r"^the stage dev in us-east-1: GetQueueAttributes: .*does not exist"):
        look(stage.deployment, Choice(["bulk"]))


# ------------------------------------------------------------------------------------------------ the command


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rate", "0"], "--rate 0: it must be between 0.1 and 1000 jobs a second"),
        (["--room", "tea", "--drop-poison", "--yes"], "leave --room out"),
        (["--json"], "add --yes, or --dry-run"),
        ([], "add --yes, or --dry-run"),
        (["--dry-run", "--region", "eu-west-1"], "name that too, e.g. --stage dev"),
        (["--dry-run", "--stage", "dev", "--url", NOBODY], "leave one of them out"),
        (["--dry-run", "--url", "http://h"], "it must begin with ws:// or wss://"),
    ],
)
async def test_bad_usage_is_one_sentence(arguments: list[str], words: str) -> None:
    """With status 2."""
    status, out, err = await roomcast("redrive", *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert words in err


async def test_help_has_an_example() -> None:
    """It tells how it is called."""
    _, out, _ = await roomcast("redrive", "--help")
    assert "Example: roomcast redrive --" in out
