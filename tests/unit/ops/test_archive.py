"""`roomcast archive cat`: what it prints of a room, in which order, and what it says where it can't."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import boto3
import pytest
from moto import mock_aws

from domain.archive import BLOCK, Change, Line, entry_line, merged, object_name, pack, place_of
from domain.errors import BadSetting
from domain.rooms import Entry
from ops.archive_cat import Choice, print_archive
from ops.stage import Deployment, StageError
from tests.unit.ops.test_command import NOBODY, roomcast

BUCKET = "roomcast-dev-archive-000000000000-us-east-1"
EPOCH = 1_796_000_000_000
AT = 1_793_491_200_000
"""The first moment of 1 November 2026."""
DAY = 86_400_000


def change(seq: int, at: int = AT, room: str = "lobby", epoch: int = EPOCH, **entry: Any) -> Change:
    body = {"messageId": "m", "senderName": "Ada", "message": f"message {seq}"}
    return Change(room, epoch, replace(Entry(seq, "chat", at, "ada", body), **entry), "1")


class Shelf:
    """A deployment, and its bucket."""

    def __init__(self) -> None:
        self.s3 = boto3.client("s3", region_name="us-east-1")
        self.s3.create_bucket(Bucket=BUCKET)
        self.deployment = Deployment(
            name="dev",
            twin=False,
            prefix="roomcast-dev",
            websocket_url="wss://api",
            region="us-east-1",
            lanes={},
            queues={},
            dead_letter_queues={},
            shard_limit=1_000,
            bucket=BUCKET,
            client=lambda _: self.s3,
            open_client=lambda _: self.s3,
        )

    def put(self, *changes: Change) -> list[Line]:
        """Put their objects; their lines, in the order of the changes."""
        for place in {place_of(it) for it in changes}:
            lines = merged([], [entry_line(it) for it in changes if place_of(it) == place])
            self.s3.put_object(Bucket=BUCKET, Key=object_name(place), Body=pack(lines))
        return [entry_line(it) for it in changes]


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    for it in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(it, "any")
    with mock_aws():
        yield Shelf()


def printed(
    shelf: Shelf, capfdbinary: pytest.CaptureFixture[bytes], *options: str | None, text: bool = False
) -> tuple[int, list[bytes]]:
    """(status, lines) of a run with --room, --from, --to."""
    room, since, until = (*options, None, None, None)[:3]
    status = print_archive(shelf.deployment, Choice.of(room or "lobby", since, until), for_people=text)
    return status, capfdbinary.readouterr().out.splitlines()


def test_a_room_in_the_order_of_its_log(shelf: Shelf, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Whatever the days and objects, also where clocks differed at midnight; each line as it is stored; and no other
    room's, however alike it is called."""
    lines = shelf.put(
        *(change(it, at=AT + it * DAY // 400) for it in range(1, 3 * BLOCK, 97)),
        change(1, epoch=EPOCH + 1, at=AT + 9 * DAY),
        change(2, epoch=EPOCH + 1, at=AT + 9 * DAY - 1),
    )
    shelf.put(change(1, room="lobby2"), change(1, room="lobb"), change(1, room="inbox#lobby"))
    assert printed(shelf, capfdbinary) == (0, [it.text for it in lines])


@pytest.mark.parametrize(
    ("since", "until", "seqs"),
    [
        (None, None, [1, 2, 3, 4]),
        ("2026-11-02", None, [3, 4]),
        (None, "2026-11-01", [1, 2]),
        ("2026-11-01", "2026-11-02", [1, 2, 3]),
        ("2026-11-01T12:00", "2026-11-02", [2, 3]),
        ("2026-11-01T13:00+01:00", "2026-11-02T00:00", [2]),
        ("2026-11-01T12:00:00.001Z", "2026-11-02T00:00:00.001", [3]),
    ],
)
def test_from_and_to(
    shelf: Shelf, capfdbinary: pytest.CaptureFixture[bytes], since: str | None, until: str | None, seqs: Sequence[int]
) -> None:
    """Days whole, times to the millisecond; in UTC unless they say otherwise."""
    times = (AT, AT + DAY // 2, AT + DAY, AT + 2 * DAY)
    lines = shelf.put(*(change(seq, at) for seq, at in enumerate(times, 1)))
    status, found = printed(shelf, capfdbinary, "lobby", since, until)
    assert (status, found) == (0, [lines[it - 1].text for it in seqs])


def test_for_people(shelf: Shelf, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """A line each, and nothing that would steer a terminal."""
    shelf.put(
        change(1, body={"message": "good \x1b[2J evening"}),
        change(2, body={"message": "", "deletedAt": 1, "deletedBy": "ada"}),
        change(3, type="user_banned", body={"targetUserId": "bob"}),
    )
    assert printed(shelf, capfdbinary, text=True)[1] == [
        "2026-11-01 00:00:00  #1  ada: good \N{REPLACEMENT CHARACTER}[2J evening".encode(),
        b"2026-11-01 00:00:00  #2  ada: (deleted)",
        b'2026-11-01 00:00:00  #3  ada: user_banned {"targetUserId": "bob"}',
    ]


def test_what_can_not_be_read_is_told_and_the_rest_is_printed(
    shelf: Shelf, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """With status 1."""
    lines = shelf.put(change(1), change(BLOCK))
    shelf.s3.put_object(Bucket=BUCKET, Key=object_name(place_of(change(1))), Body=b"garbage")
    status = print_archive(shelf.deployment, Choice.of("lobby", None, None))
    out, err = capfdbinary.readouterr()
    assert (status, out.splitlines()) == (1, [lines[1].text])
    assert b"log/lobby/2026-11-01/" in err
    assert b"no object of the archive" in err


def test_a_later_releases_objects(shelf: Shelf, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Are not guessed at."""
    line = entry_line(change(1))
    later = pack([replace(line, text=line.text.replace(b'"v":1', b'"v":2'))])
    shelf.s3.put_object(Bucket=BUCKET, Key=object_name(place_of(change(1))), Body=later)
    with pytest.raises(StageError, match="use the command of that release"):
        printed(shelf, capfdbinary)


def test_nothing_is_told(shelf: Shelf, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """With status 1, as by whatever looks for something."""
    shelf.put(change(1))
    for options in (("elsewhere", None, None), ("lobby", "2027-01-01", None)):
        assert print_archive(shelf.deployment, Choice.of(*options)) == 1
        out, err = capfdbinary.readouterr()
        assert (out, err.count(b"\n")) == (b"", 1)
        assert b"nothing that was said in" in err


def test_a_deployment_without_an_archive(shelf: Shelf) -> None:
    """Says how to have one."""
    for twin, remedy in ((True, "start it with --archive"), (False, "deploy it with -c archive=true")):
        with pytest.raises(StageError, match=remedy):
            print_archive(replace(shelf.deployment, bucket="", twin=twin), Choice.of("lobby", None, None))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("a room", None, None), "--room a room: no room can be called so"),
        (("lobby", "yesterday", None), "--from yesterday: write a day"),
        (("lobby", None, "2026-02-30"), "--to 2026-02-30: write a day"),
        (("lobby", None, "9999-12-31"), "--to 9999-12-31: write a day"),
        (("lobby", "2026-11-02", "2026-11-01"), "--from 2026-11-02: it must be before --to 2026-11-01"),
    ],
)
def test_bad_options(options: tuple[str, str | None, str | None], words: str) -> None:
    """One sentence that names the option."""
    with pytest.raises(BadSetting, match=words):
        Choice.of(*options)


async def test_the_command_itself() -> None:
    """Help with an example; bad usage is 2, an unreachable service 1, each a sentence."""
    status, out, _ = await roomcast("archive", "cat", "--help")
    assert status == 0
    assert "Example: roomcast archive cat --room" in out
    for arguments, wanted in (
        (["--room", "a b"], 2),
        ([], 2),
        (["--room", "lobby", "--url", NOBODY, "--stage", "dev"], 2),
        (["--room", "lobby", "--url", NOBODY], 1),
    ):
        status, out, err = await roomcast("archive", "cat", *arguments)
        assert (status, out, err.count("\n")) == (wanted, "", 1)


def test_a_pipe_that_closes_early_ends_silently() -> None:
    """As of `| head`: no traceback, and no error."""
    program = """
from dataclasses import replace
from tests.unit.ops.test_archive import Shelf, change
from moto import mock_aws
from ops.archive_cat import Choice, print_archive
import sys
with mock_aws():
    shelf = Shelf()
    shelf.put(*(change(it) for it in range(1, 3000)))
    sys.exit(print_archive(shelf.deployment, Choice.of("lobby", None, None)))
"""
    environ = {**os.environ, "AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b'{"v":1')
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0
