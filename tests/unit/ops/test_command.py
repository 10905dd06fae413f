"""The `roomcast` command as a user and a program meet it: real processes, exit statuses, one sentence for a mistake."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from client.connection import connect
from tests.unit.client.room_server import RoomServer

TIMES = {"timestamp": 1, "sentAt": 1000}
NOBODY = "ws://127.0.0.1:9/dev"
"""The discard port: nothing listens there."""


async def start(*arguments: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ops.main", *arguments, stdin=pipe, stdout=pipe, stderr=pipe
    )


async def roomcast(*arguments: str, typed: str = "") -> tuple[int, str, str]:
    """(status, standard output, standard error) of a command that ends by itself."""
    process = await start(*arguments)
    out, err = await process.communicate(typed.encode())
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.fixture
async def server() -> AsyncIterator[RoomServer]:
    async with RoomServer() as running:
        yield running


# ------------------------------------------------------------------------------------------------ usage


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], "No such command 'nonsense'."),
        (["up", "--port", "many"], "Invalid value for '--port'"),
        (["up", "--port", "65535"], "Invalid value for '--port'"),
        (["up", "--post-latency", "-1"], "Invalid value for '--post-latency'"),
        (["up", "--auth", "ldap"], "auth ldap: choose one of demo, cognito, oidc"),
        (
            ["up", "--auth", "oidc", "--issuer", "https://issuer.example.org"],
            "auth oidc needs an issuer and an audience",
        ),
        (["up", "--issuer", "https://issuer.example.org"], "auth oidc needs an issuer and an audience"),
        (
            ["up", "--origin", "https://chat.example.org/"],
            "origin https://chat.example.org/: write it as browsers send",
        ),
        (["user", "create", "ada", "--region", "eu-north-1"], "--region eu-north-1: it is for a stage on AWS"),
        (["up", "--lane", "interactive.batch_size=11"], "a FIFO queue gives at most 10"),
        (["up", "--lane", "nonsense"], "write it as LANE.SETTING=NUMBER"),
        (["up", "--review-fails", "ajar"], "--review-fails ajar: it must be open or closed"),
        (["up", "--limit", "shout=1"], "rate 'shout=1': there is no row 'shout'"),
        (
            ["loadtest", "--rooms", "9", "--clients", "3"],
            "--rooms 9: it must be between 1 and the number of clients (3)",
        ),
        (["loadtest", "--url", "http://h"], "--url http://h: it must begin with ws:// or wss://"),
        (["loadtest", "--dialect", "v3"], "--dialect v3: it must be v1 or recipe"),
        (["loadtest", "--profile", "nonsense"], "--profile nonsense: there is none of that name; take hot-room, "),
        (["loadtest", "--profile", "soak", "--rooms", "2"], "--rooms 2: --profile says which rooms there are"),
        (["loadtest", "--processes", "0"], "--processes 0: it must be between 1 and the number of clients (100)"),
        (["loadtest", "--token", "a", "--token-command", "b"], "--token and --token-command: both say what to show"),
        (["loadtest", "--url", NOBODY, "--token-command", "/nonexistent"], "--token-command /nonexistent: it can't be"),
        (["loadtest", "--url", NOBODY, "--html", "/nonexistent/x.html"], "there is no such folder"),
        (["loadtest", "--url", NOBODY, "--json", "/nonexistent/x.json"], "there is no such folder"),
        (["tune", "--objective", "fast"], "--objective fast: write p99=MS, e.g. p99=300, or cost"),
        (["chat", "extra"], "Got unexpected extra argument(s) (extra)"),
    ],
)
async def test_bad_usage_is_one_sentence(arguments: Sequence[str], words: str) -> None:
    """On standard error, with status 2, and without a traceback."""
    status, out, err = await roomcast(*arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("roomcast: ")
    assert words in err


@pytest.mark.parametrize("command", ["up", "chat", "loadtest", "tune"])
async def test_help_has_an_example(command: str) -> None:
    """Each command tells how it is called."""
    status, out, _ = await roomcast(command, "--help")
    assert status == 0
    assert f"Example: roomcast {command} --" in out


async def test_a_taken_port_is_named() -> None:
    """`up` says which option to change."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status, out, err = await roomcast("up", "--port", str(taken.getsockname()[1]))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "--port" in err


# ------------------------------------------------------------------------------------------------ chat


async def test_chat_shows_what_others_say(server: RoomServer) -> None:
    """In the room one is in, and in others with their name; what one says oneself is not repeated."""
    process = await start("chat", "--url", server.url, "--user", "ada", "--room", "den")
    assert process.stdin is not None
    assert process.stdout is not None
    assert b"You are ada" in await process.stdout.readline()
    await server.say("den", "good \x1b[2J evening", user="bob")
    assert await process.stdout.readline() == "bob: good \N{REPLACEMENT CHARACTER}[2J evening\n".encode()
    process.stdin.write(b"hello\n/join attic\n/chat up here\n")
    assert await process.stdout.readline() == b"* you are in attic, where 0 messages have been said\n"
    await server.say("den", "are you still there?", user="bob")
    assert await process.stdout.readline() == b"[den] bob: are you still there?\n"
    process.stdin.write(b"/quit\n")
    out, err = await process.communicate()
    assert (process.returncode, out, err) == (0, b"", b"")
    assert server.said("den", "ada") == ["hello"]
    assert server.said("attic", "ada") == ["up here"]


async def test_chat_obeys_its_commands(server: RoomServer) -> None:
    """Each command, its mistakes, and the end of the input as /quit."""
    await server.say("general", "old news", user="bob")
    server.refusals = [{"code": "MUTED", "message": "You are muted in this room"}]
    typed = "/history\n/history x\nhush\n/nonsense\n/join\n/leave\n/leave\nhello?\n/members\n/help\n/join general\n"
    typed += "/history 1"
    status, out, err = await roomcast("chat", "--url", server.url, "--user", "ada", typed=typed)
    assert (status, err) == (0, "")
    lines = [it for it in out.splitlines() if not it.startswith(("* ", "/", "TEXT")) or "left" in it]
    assert lines == [
        "    1  bob: old news",
        "! /history takes a number from 1 to 100",
        "! You are muted in this room (MUTED)",
        "! there is no /nonsense; /help lists the commands",
        "! which room? /join ROOM",
        "* you have left general",
        "! you are in no room",
        "! you are in no room; /join ROOM",
        "! you are in no room; /join ROOM",
        "    1  bob: old news",
    ]


async def test_chat_searches(server: RoomServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hits with their numbers and times, twenty at a time; /search alone goes on, as long as there is more."""
    for number in range(25):
        await server.say("general", f"needle {number}", user="bob")
    monkeypatch.setenv("TZ", "UTC")
    typed = "/search\n/search needle\n/search\n/search\n/search pin\n/leave\n/search needle\n"
    status, out, err = await roomcast("chat", "--url", server.url, "--user", "ada", typed=typed)
    assert (status, err) == (0, "")
    # What asks the service for nothing may be answered before its welcome.
    lines = [it for it in out.splitlines() if not it.startswith("* Welcome to room general!")]
    assert lines[0] == "! for what? /search WORDS"
    assert lines[1] == "   25  1970-01-01 00:00  bob: needle 24"
    assert lines[20:22] == [
        "    6  1970-01-01 00:00  bob: needle 5",
        "* 20 messages with “needle” in general; /search alone looks further back, below 6",
    ]
    assert lines[22:] == [
        *(f"    {it + 1}  1970-01-01 00:00  bob: needle {it}" for it in range(4, -1, -1)),
        "* 5 messages with “needle” in general; that is all",
        "! for what? /search WORDS",
        "* no messages with “pin” in general; that is all",
        "* you have left general",
        "! you are in no room; /join ROOM",
    ]


async def test_chat_turns_notices_off_and_on(server: RoomServer) -> None:
    """And says what stands."""
    typed = "/notices\n/notices off\n/notices\n/notices perhaps\n/notices on\n"
    status, out, err = await roomcast("chat", "--url", server.url, "--user", "ada", typed=typed)
    assert (status, err) == (0, "")
    stands = "* notices of what is said to you while you are away are"
    wrong = "! /notices on, or /notices off; without a word it says which"
    assert out.splitlines()[1:] == [f"{stands} on", f"{stands} off", f"{stands} off", wrong, f"{stands} on"]


async def test_chat_shows_who_comes_and_goes(server: RoomServer) -> None:
    """Joins and leaves of others by name, in a large room their number, each number once."""
    server.roster_limit = 2
    process = await start("chat", "--url", server.url, "--user", "ada")
    assert process.stdout is not None
    assert b"You are ada" in await process.stdout.readline()
    async with connect(server.url, user="bob", name="Bob"):
        assert await process.stdout.readline() == b"* Bob has joined\n"
        async with connect(server.url, user="eve"):
            assert await process.stdout.readline() == b"* 3 are here\n"
            await server.tell("ada", {"type": "room_stats", "data": {"roomId": "den", "activeUsers": 9, **TIMES}})
            await server.tell("ada", {"type": "room_stats", "data": {"roomId": "general", "activeUsers": 3, **TIMES}})
            assert await process.stdout.readline() == b"* [den] 9 are here\n"
        assert await process.stdout.readline() == b"* eve has left\n"
    assert await process.stdout.readline() == b"* Bob has left\n"
    out, err = await process.communicate(b"/quit\n")
    assert (process.returncode, out, err) == (0, b"", b"")


async def test_chat_shows_how_users_are(server: RoomServer) -> None:
    """Who is away or busy, and who is back; the latest word of each counts. What one says oneself is not shown."""
    process = await start("chat", "--url", server.url, "--user", "ada")
    assert process.stdin is not None
    assert process.stdout is not None
    assert b"You are ada" in await process.stdout.readline()

    async def tell(*members: tuple[str, str, int]) -> None:
        statuses = [{"userId": user, "status": status, "since": since} for user, status, since in members]
        data = {"roomId": "general", "members": statuses, **TIMES}
        await server.tell("ada", {"type": "presence", "data": data})

    await tell(("bob", "away", 1), ("eve", "busy", 1), ("cid", "online", 1))
    assert await process.stdout.readline() == b"* bob is away, eve is busy\n"
    await tell(("bob", "online", 3), ("eve", "offline", 2))
    assert await process.stdout.readline() == b"* bob is back\n"
    await tell(("bob", "busy", 2), ("cid", "away", 2))
    assert await process.stdout.readline() == b"* cid is away\n"
    process.stdin.write(b"/away\n/busy\n/back\n/members\n/quit\n")
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert out.decode().splitlines() == ["* in general: ada"]
    said = [it["status"] for it in server.requests if it["type"] == "presence"]
    assert said == ["away", "busy", "online"]


async def test_chat_in_private(server: RoomServer) -> None:
    """Marked, also the copies from the user's other devices; who is not there is named, and who never was."""
    process = await start("chat", "--url", server.url, "--user", "ada")
    assert process.stdin is not None
    assert process.stdout is not None
    assert b"You are ada" in await process.stdout.readline()
    await server.whisper("ada", "psst", user="bob")
    assert await process.stdout.readline() == b"(private) bob: psst\n"
    await server.whisper("bob", "what?", user="ada")
    assert await process.stdout.readline() == b"(private) you to bob: what?\n"
    process.stdin.write(b"/private bob say it\n/private nobody hello\n/private bob\n/rooms\n/members\n/quit\n")
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert out.decode().splitlines() == [
        "* bob is not here; they find it when they are",
        "! Target user not found or offline (USER_OFFLINE)",
        "! to whom, and what? /private USER TEXT",
        "* general: 1 here  General",
        "* in general: ada",
    ]
    assert server.said("inbox#bob", "ada") == ["what?", "say it"]


async def test_chat_marks_what_it_shows(server: RoomServer) -> None:
    """A room as soon as it is shown, the inbox once nothing of it is unseen; the list says what is left elsewhere."""
    server.marks["attic", "ada"] = 0
    await server.say("attic", "up here", user="bob")
    for text in ("one", "two"):
        await server.whisper("ada", text, user="bob")
    process = await start("chat", "--url", server.url, "--user", "ada", "--room", "den")
    assert process.stdin is not None
    assert process.stdout is not None
    assert (await process.stdout.readline()).endswith(b"2 unread private messages: /inbox.\n")
    await server.say("den", "hello", user="bob")
    assert await process.stdout.readline() == b"bob: hello\n"
    await server.asked("read")
    await server.whisper("ada", "three", user="bob")
    assert await process.stdout.readline() == b"(private) bob: three\n"
    process.stdin.write(b"/rooms\n/inbox 0\n/inbox 2\n")
    said = [(await process.stdout.readline()).decode().rstrip() for _ in range(5)]
    assert said == [
        "* attic: 0 here, 1 unread  Attic",
        "* den: 1 here  Den",
        "! /inbox takes a number from 1 to 100",
        "    2  (private) bob: two",
        "    3  (private) bob: three",
    ]
    await server.asked("read", 2)
    out, err = await process.communicate(b"/quit\n")
    assert (process.returncode, out, err) == (0, b"", b"")
    marks = [(it["roomId"], it["seq"]) for it in server.requests if it["type"] == "read"]
    assert marks == [("den", 1), ("inbox#ada", 3)]


async def test_chat_without_a_service() -> None:
    """One sentence, status 1."""
    status, out, err = await roomcast("chat", "--url", NOBODY)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert f"no WebSocket service answers at {NOBODY}" in err


async def test_chat_that_is_not_let_in(server: RoomServer) -> None:
    """The reason in one sentence, status 1."""
    server.refuse = 401
    status, _, err = await roomcast("chat", "--url", server.url, "--token", "expired")
    assert (status, err.count("\n")) == (1, 1)
    assert "check the token" in err
    assert "expired" not in err


# ------------------------------------------------------------------------------------------------ loadtest


LOAD = ("--clients", "6", "--rooms", "2", "--rate", "50", "--seconds", "0.2", "--ramp", "1000")


def complaints(err: str) -> list[str]:
    """Lines of standard error that tell of more than a new phase."""
    return [it for it in err.splitlines() if not it.startswith("loadtest: ")]


async def test_a_clean_load_test(server: RoomServer, tmp_path: Path) -> None:
    """Status 0, a table for people, the JSON in a file for programs."""
    file = tmp_path / "result.json"
    status, out, err = await roomcast("loadtest", "--url", server.url, *LOAD, "--json", str(file))
    assert (status, complaints(err)) == (0, [])
    assert "audit" in out
    result = json.loads(file.read_text())
    assert (result["audit"], result["deliveries"]["expected"], result["deliveries"]["lost"]) == ("clean", 30, 0)


async def test_a_violated_load_test(server: RoomServer) -> None:
    """Status 1; findings on standard error name message and client; `--json -` leaves standard output to programs."""

    def leak(user: str, event: dict[str, Any]) -> list[dict[str, Any]]:
        other = event["roomId"][:-1] + ("1" if event["roomId"].endswith("0") else "0")
        return [event, {**event, "roomId": other}] if user.endswith("-5") and event["seq"] == 2 else [event]

    server.alter = leak
    status, out, err = await roomcast("loadtest", "--url", server.url, *LOAD, "--json", "-")
    assert status == 1
    assert json.loads(out)["audit"] == "violated"
    kinds = {line.split(": ")[1] for line in complaints(err)}
    assert kinds == {"received by a non-member", "not what was said"}
    assert "-5, room load-" in err


async def test_a_load_test_of_nothing() -> None:
    """Where nobody answers, the run proves nothing: status 1, and why."""
    status, _, err = await roomcast("loadtest", "--url", NOBODY, *LOAD)
    assert status == 1
    assert "6 clients could not take part" in err
    assert "proves nothing" in err


async def test_too_few_open_files(server: RoomServer) -> None:
    """Status 2, and how to raise the limit."""
    options = f"--url {server.url} --clients 100 --processes 1"
    command = f"ulimit -n 128; exec {sys.executable} -m ops.main loadtest {options}"
    process = await asyncio.create_subprocess_exec("sh", "-c", command, stderr=asyncio.subprocess.PIPE)
    _, err = await process.communicate()
    assert process.returncode == 2
    assert b"ulimit -n 164" in err


# ------------------------------------------------------------------------------------------------ up


async def test_up_serves_until_it_is_told_to_stop() -> None:
    """One line of addresses; a client can talk; SIGTERM ends it with status 0."""
    process = await start("up", "--port", "0", "--json")
    assert process.stdout is not None
    try:
        addresses = json.loads(await process.stdout.readline())
        assert set(addresses) == {"ws", "management", "page", "hooks", "cloud", "region"}
        typed = "helo\n/edit 1 hello\n/react 1 👍\n/reply 1 yes\n/react x\n/reply 4 no\n/delete 5\n/history\n"
        status, out, err = await roomcast("chat", "--url", addresses["ws"], "--name", "Ada", typed=typed)
        assert (status, err) == (0, "")
        assert "    1  Ada: hello (edited)  👍 1\n    4  Ada: (to 1) yes\n    5  Ada: (deleted by " in out
        assert "! which message, and what? /react SEQ EMOJI; /history shows the numbers" in out
    finally:
        process.send_signal(signal.SIGTERM)
        out_bytes, _ = await process.communicate()
    assert (process.returncode, out_bytes) == (0, b"")


async def test_up_stops_while_it_starts() -> None:
    """Ctrl-C before it serves."""
    process = await start("up", "--port", "0", "--json")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while not children.read_text():  # noqa: ASYNC110, ASYNC240  # the emulator, its first child, tells nobody that it starts
        await asyncio.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = await process.communicate()
    assert process.returncode == 0, err
    assert (out == b"") or json.loads(out)
