"""Profiles: those that come with the project, what options change, and mistakes in one."""

from __future__ import annotations

from pathlib import Path

import pytest

from domain.errors import BadSetting
from loadtest.plan import Behaviour, Group, Phase, Plan, plan_messages
from loadtest.profile import FOLDER, Changes, plan_from, profile_names
from loadtest.share import senders_of

PROFILE = """
rate = 10
ramp = 50
[[rooms]]
count = 10
members = 6
[[rooms]]
count = 1
members = 40
weight = 5
[[phases]]
kind = "hold"
seconds = 4
[[phases]]
kind = "step"
from = 20
by = 10
each = 2
upto = 40
[[behaviours]]
kind = "slow"
share = 0.25
at = 5
seconds = 2
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "mine.toml"
    file.write_text(PROFILE)
    return file


def made(file: Path, **changes: float) -> Plan:
    return plan_from(str(file), "ws://h", Changes(**changes))  # type: ignore[arg-type]


def test_a_profile_of_ones_own(file: Path) -> None:
    """Rooms, phases and behaviours as the file has them."""
    plan = made(file)
    assert (plan.clients, plan.rooms, plan.ramp, plan.dialect, plan.profile) == (100, 11, 50, "v1", "mine")
    assert plan.groups == (Group(10, 6), Group(1, 40, weight=5))
    steps = tuple(Phase(f"step {rate}", 2, rate, probes=True) for rate in (20, 30, 40))
    assert plan.timeline == (Phase("hold", 4, 10), *steps)
    assert plan.behaviours == (Behaviour("slow", 0.25, at=5, seconds=2),)


def test_options_change_a_profile(file: Path) -> None:
    """Fewer clients: fewer rooms, then smaller ones, and a rate to match; another rate and time for all phases."""
    fewer = made(file, clients=50)
    assert fewer.groups == (Group(5, 6), Group(1, 20, weight=5))
    assert fewer.timeline[0].rate == pytest.approx(10 * 6 / 11)
    more = made(file, clients=200)
    assert more.groups == (Group(20, 6), Group(1, 80, weight=5))
    faster = made(file, rate=20)
    assert [it.rate for it in faster.timeline] == [20, 40, 60, 80]
    assert faster.timeline[1].name == "step 40"
    longer = made(file, seconds=20)
    assert [it.seconds for it in longer.timeline] == [8, 4, 4, 4]
    assert longer.behaviours == (Behaviour("slow", 0.25, at=10, seconds=4),)
    assert (made(file, ramp=7).ramp, longer.seconds) == (7, 20)


def test_every_client_has_its_room(file: Path) -> None:
    """As many in each as its group says, and each room has its part of the messages."""
    plan = made(file)
    senders = senders_of(plan, ())
    assert [len(it) for it in senders.values()] == [6] * 10 + [40]
    messages = plan_messages(plan, senders, start=100)
    assert len(messages) == 40 + 40 + 60 + 80
    in_hot_room = sum(it.room == plan.room(10) for it in messages)
    assert in_hot_room / len(messages) == pytest.approx(1 / 3, abs=0.02)
    assert messages[40].due == 104
    assert messages[41].due == pytest.approx(104.05)


@pytest.mark.parametrize("name", profile_names())
def test_those_that_come_with_the_project(name: str) -> None:
    """They can be read, say what they show, and run small."""
    text = (FOLDER / f"{name}.toml").read_text()
    assert text.count("# ") >= 2
    assert plan_from(name, "ws://h", Changes()).clients >= 300
    assert 40 <= plan_from(name, "ws://h", Changes(clients=60)).clients <= 90


def test_there_are_seven() -> None:
    """By the names that `--help` gives."""
    assert profile_names() == [
        *("hot-room", "join-storm", "many-small-rooms", "one-large-room", "reconnect-wave", "slow-clients", "soak")
    ]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("ramp = 50", "ramps = 50", "there is no field ramps in a profile; leave it out"),
        ("weight = 5", "wait = 5", "there is no field wait in rooms[1]; leave it out"),
        ("members = 6", 'members = "six"', "rooms[0].members: expected `int`, got `str`"),
        ("members = 6", "members = 0", "rooms[0].members: expected `int` >= 1"),
        ("share = 0.25", "share = 1.5", "behaviours[0].share: expected `float` < 1.0"),
        ("by = 10", "", "phases[1]: object missing required field `by`"),
        ('"hold"', '"rest"', "phases[0].kind: invalid value 'rest'"),
        ('"slow"', '"storm"', "behaviours: storm knows no seconds; leave it out"),
        ("at = 5\nseconds = 2", "at = 5", "behaviours: slow needs seconds; add it"),
        ("by = 10", "by = 0.001", "phases: a step from 20 by 0.001 up to 40 makes more than 1,000; raise by"),
        ("rate = 10", "rate =", "invalid value (at line 2, column 7)"),
    ],
)
def test_mistakes(file: Path, old: str, new: str, words: str) -> None:
    """One sentence: the file, the field, and what would be right."""
    file.write_text(PROFILE.replace(old, new, 1))
    with pytest.raises(BadSetting) as caught:
        made(file)
    assert str(caught.value).startswith(f"--profile {file}: {words}")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there() -> None:
    """The sentence names the profiles that are."""
    with pytest.raises(BadSetting, match=r"^--profile none.toml: No such file .*; take hot-room, .*, or a file that"):
        plan_from("none.toml", "ws://h", Changes())
