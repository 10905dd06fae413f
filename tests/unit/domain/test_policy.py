"""Role × action × state: every cell of the table against a model that was written without it."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from domain.errors import Refused
from domain.policy import LEAST, ROLES, Action, Needs, Role, Visibility, may, needs, rank
from domain.rooms import (
    KICK_MARK_MS,
    Membership,
    Profile,
    Room,
    Sending,
    Standing,
    check_may_act,
    check_may_amend,
    check_may_join,
    check_may_send,
)

NOW = 1_700_000_000_000
ANYBODY = "ada"
VISIBILITIES: tuple[Visibility, ...] = ("public", "private", "hidden")
GROUPS = (frozenset[str](), frozenset({"moderator"}), frozenset({"admin"}), frozenset({"admins", "staff"}))
STATES = ("fine", "banned", "muted", "kicked", "ban over", "mute over", "kick over", "deleted", "no room")
CELLS = list(itertools.product([None, *ROLES], VISIBILITIES, ["guest", "member"], GROUPS, STATES))

OPEN_TO = {
    # What each may do, one by one, as the protocol's page says it.
    "stranger": set[str](),
    "guest": {"join"},
    "member": {"join", "send", "edit_message", "delete_message", "react"},
    "moderator": {"read_audit", "set_role", "kick", "ban", "unban", "mute", "unmute", "delete_any_message"},
}
OPEN_TO["moderator"] |= OPEN_TO["member"]
OPEN_TO["owner"] = OPEN_TO["moderator"] | {"update_room", "delete_room"}
OPEN_TO["admin"] = OPEN_TO["owner"]


def standing_of(role: Role | None, state: str) -> Standing:
    moments = {
        "banned": {"banned_until": NOW + 1},
        "ban over": {"banned_until": NOW},
        "muted": {"muted_until": NOW + 1},
        "mute over": {"muted_until": NOW},
        "kicked": {"kicked_at": NOW - KICK_MARK_MS + 1},
        "kick over": {"kicked_at": NOW - KICK_MARK_MS},
    }
    return Standing(role=role, **moments.get(state, {}))


def expected(
    action: str, role: Role | None, visibility: str, default: Role, groups: frozenset[str], state: str
) -> bool:
    """The model: who is that, may they, and does nothing stand against it?"""
    if state in {"deleted", "no room"}:
        return False
    if "admin" in groups:
        return True
    who = role or (default if visibility == "public" else "stranger")
    staff = "moderator" in groups
    if staff and action in OPEN_TO["moderator"]:
        return True
    if staff and who != "owner":
        return False
    if action not in OPEN_TO[who]:
        return False
    writes = {it: {"banned", "muted"} for it in ("send", "edit_message", "react")}
    against = {"join": {"banned", "kicked"}, **writes}.get(action, {"banned"})
    return state not in against


@pytest.mark.parametrize("action", LEAST)
def test_every_cell(action: Action) -> None:
    """Decided as the model says; and what the transaction is to check lets the same through, and nothing else."""
    for role, visibility, default, groups, state in CELLS:
        profile = Profile(visibility=visibility, default_role=default)  # type: ignore[arg-type]
        room = Room("den", 1, status="deleted" if state == "deleted" else "open", profile=profile)
        found = None if state == "no room" else room
        standing = standing_of(role, state)
        sending = Sending(
            {} if found is None else {"den": found}, Membership("den", 1, 0, "j", "ada", "Ada"), standing, None
        )
        needed: Needs | None = None
        try:
            if action == "join":
                _, needed = check_may_join(found, standing, ANYBODY, groups, NOW)
            elif action == "send":
                *_, needed = check_may_send(sending, "den", ANYBODY, groups, NOW)
            elif action in {"edit_message", "react"}:
                *_, needed = check_may_amend(sending, "den", action, ANYBODY, groups, NOW)
            else:
                if found is None or found.status != "open":
                    raise Refused("ROOM_NOT_FOUND", "")
                check_may_act(found, standing, action, groups, NOW)
                needed = needs(action, "den", ANYBODY, visibility, default, groups)  # type: ignore[arg-type]
            allowed = True
        except Refused:
            allowed = False
        cell = (action, role, visibility, default, sorted(groups), state)
        assert allowed == expected(action, role, visibility, default, groups, state), cell  # type: ignore[arg-type]
        if allowed and needed is not None:
            assert _holds(needed, standing), cell


def test_who_may_delete_what_others_said_may_read_the_audit() -> None:
    """And nobody else: by that the page knows whether to offer it."""
    assert LEAST["delete_any_message"] == LEAST["read_audit"]


def test_what_is_not_in_the_table_nobody_may() -> None:
    """Not even who may everything."""
    assert not may("become_admin", "admin")  # type: ignore[arg-type]


@pytest.mark.parametrize("state", ["fine", "banned", "kicked"])
def test_a_hidden_room_is_not_there_for_strangers(state: str) -> None:
    """Whatever is held against them: the same answer as for a room that nobody made."""
    room = Room("den", 1, profile=Profile(visibility="hidden"))
    answers = []
    for it in (room, None):
        with pytest.raises(Refused) as caught:
            check_may_join(it, standing_of(None, state), ANYBODY, frozenset(), NOW)
        answers.append((caught.value.code, caught.value.message, caught.value.retry_after))
    assert answers[0] == answers[1]
    assert answers[0][0] == "ROOM_NOT_FOUND"


def test_groups_never_lower_a_rank() -> None:
    """An owner who is in the moderators' group stays the owner."""
    assert rank("owner", "public", "member", {"moderator"}) == "owner"


def test_slow_mode_waits_for_members_alone() -> None:
    """A member waits for the rest of the time; a moderator does not."""
    room = Room("den", 1, profile=Profile(slow_mode=5))
    member = Membership("den", 1, 0, "j", "ada", "Ada")
    spoken = Standing(spoke_at=NOW - 3_000)
    with pytest.raises(Refused) as caught:
        check_may_send(Sending({"den": room}, member, spoken, None), "den", ANYBODY, frozenset(), NOW)
    assert (caught.value.code, caught.value.retry_after) == ("RATE_LIMITED", 2.0)
    *_, needed = check_may_send(Sending({"den": room}, member, spoken, None), "den", ANYBODY, frozenset(), NOW + 2_000)
    assert needed is not None
    assert needed.pause == 5_000
    above = Sending({"den": room}, member, replace(spoken, role="moderator"), None)
    *_, needed = check_may_send(above, "den", ANYBODY, frozenset(), NOW)
    assert needed is not None
    assert needed.pause == 0


def _holds(needed: Needs, standing: Standing) -> bool:
    return (standing.role in needed.roles if standing.role else needed.without) and standing.banned_until <= NOW
