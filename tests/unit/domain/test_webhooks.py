"""Hooks: signatures as the standard's own library makes and checks them, addresses, URLs, pauses."""

from __future__ import annotations

import ipaddress
import json
import random
import re
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from domain.errors import Refused
from domain.rooms import Room
from domain.webhooks import (
    FIRST_PAUSE,
    HOOK_EVENTS,
    LAST_PAUSE,
    ROTATION_MS,
    TOLERANCE_MS,
    Hook,
    backoff,
    check_events,
    check_url,
    failed,
    is_public,
    key_of,
    named_hooks,
    new_secret,
    room_of,
    rotated,
    sign,
    signatures,
    signing_key,
    verify,
    wants,
    webhook_id,
)

NOW = 1_700_000_000_000
SECRET, OTHER = new_secret(bytes(range(32))), new_secret(b"other" * 8)
HOOK = Hook("tea.room", "0123456789abcdef", 5, "outgoing", "ci", SECRET, NOW, "ops", url="https://example.org/in")
_seconds = st.integers(min_value=1, max_value=2**32)


# ---- signatures


@given(entropy=st.binary(min_size=24, max_size=64), at=_seconds, message=st.text())
def test_the_standards_library_signs_alike(entropy: bytes, at: int, message: str) -> None:
    """The same signature for every secret, time and body."""
    secret, body = new_secret(entropy), json.dumps({"message": message})
    theirs = Webhook(secret).sign("abc-1", datetime.fromtimestamp(at, UTC), body)
    assert sign(secret, "abc-1", at, body.encode()) == theirs


def test_the_standards_library_accepts_ours() -> None:
    """With one signature and with two, of which it knows the second's secret; and refuses an altered body."""
    now, body = int(time.time()), b'{"message":"\xc3\xa4"}'
    for secrets in ([SECRET], [OTHER, SECRET]):
        headers = signatures(secrets, "abc-1", now, body)
        assert Webhook(SECRET).verify(body, headers) == {"message": "ä"}
        with pytest.raises(WebhookVerificationError):
            Webhook(SECRET).verify(body + b" ", headers)


def test_the_standards_library_is_accepted() -> None:
    """What it signs is verified here."""
    body = '{"message":"ä"}'
    signed = Webhook(SECRET).sign("abc-1", datetime.fromtimestamp(NOW // 1000, UTC), body)
    headers = {"webhook-id": "abc-1", "webhook-timestamp": str(NOW // 1000), "webhook-signature": signed}
    assert verify(headers, [SECRET], body.encode(), NOW)
    assert not verify(headers, [OTHER], body.encode(), NOW)


def test_several_signatures() -> None:
    """Any of the given may fit any of the secrets that count; other versions and rubbish beside it do no harm."""
    headers = signatures([OTHER, SECRET], "abc-1", NOW // 1000, b"{}")
    assert verify(headers, [SECRET], b"{}", NOW)
    assert verify(headers, [new_secret(b"third" * 8), OTHER], b"{}", NOW)
    ours = sign(SECRET, "abc-1", NOW // 1000, b"{}")
    assert verify(headers | {"webhook-signature": f"v1a,xyz  ü v1, {ours}"}, [SECRET], b"{}", NOW)
    assert not verify(headers | {"webhook-signature": " ".join(["v1,x"] * 50 + [ours])}, [SECRET], b"{}", NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "abc-2"},
        {"webhook-id": ""},
        {"webhook-id": "a\ud800"},
        {"webhook-timestamp": str(NOW // 1000 + 1)},
        {"webhook-timestamp": ""},
        {"webhook-timestamp": "1e9"},
        {"webhook-timestamp": "\u0661"},
        {"webhook-signature": ""},
        {"webhook-signature": "v2," + sign(SECRET, "abc-1", NOW // 1000, b"{}").partition(",")[2]},
    ],
)
def test_a_header_that_was_altered(change: dict[str, str]) -> None:
    """Nothing but what was signed is accepted."""
    headers = signatures([SECRET], "abc-1", NOW // 1000, b"{}")
    assert verify(headers, [SECRET], b"{}", NOW)
    assert not verify(headers | change, [SECRET], b"{}", NOW)
    name = next(iter(change))
    assert not verify({it: value for it, value in headers.items() if it != name}, [SECRET], b"{}", NOW)


@pytest.mark.parametrize("sign_of", [1, -1])
def test_five_minutes_either_way(sign_of: int) -> None:
    """And not a second more."""
    headers = signatures([SECRET], "abc-1", NOW // 1000, b"{}")
    assert verify(headers, [SECRET], b"{}", NOW + sign_of * TOLERANCE_MS)
    assert not verify(headers, [SECRET], b"{}", NOW + sign_of * (TOLERANCE_MS + 1))


def test_secrets() -> None:
    """Of 24 to 64 bytes, and said to be one."""
    assert signing_key(SECRET) == bytes(range(32))
    for it in ("", "whsec_", SECRET.removeprefix("whsec_"), new_secret(b"x" * 23), new_secret(b"x" * 65), "whsec_é"):
        with pytest.raises(ValueError, match="no secret"):
            signing_key(it)


def test_a_rotation_keeps_the_secret_before_for_a_day() -> None:
    """Then the new one alone counts; a second rotation leaves no more than two."""
    hook = rotated(HOOK, OTHER, NOW)
    assert (hook.secrets(NOW), hook.version) == ([OTHER, SECRET], HOOK.version + 1)
    assert hook.secrets(NOW + ROTATION_MS) == [OTHER]
    third = new_secret(b"third" * 8)
    assert rotated(hook, third, NOW).secrets(NOW) == [third, OTHER]


# ---- what it is told of


def test_ids() -> None:
    """A hook's id names its room, whatever the room is called."""
    assert (HOOK.id, room_of(HOOK.id), key_of(HOOK.id)) == ("tea.room~0123456789abcdef", "tea.room", HOOK.key)
    assert len({webhook_id(HOOK, 1), webhook_id(HOOK, 2), webhook_id(replace(HOOK, epoch=6), 1)}) == 3
    assert webhook_id(replace(HOOK, failures=3, version=9), 1) == webhook_id(HOOK, 1)


def test_what_a_hook_wants() -> None:
    """All that is in the log, or what was chosen; never what no log has."""
    assert all(wants(HOOK, it) for it in HOOK_EVENTS)
    assert not wants(HOOK, "user_joined")
    chats = replace(HOOK, events=("chat",))
    assert wants(chats, "chat")
    assert not wants(chats, "reaction")
    check_events(["chat", "reaction"])
    with pytest.raises(Refused, match="`events`"):
        check_events(["chat", "user_joined"])


def test_whom_the_room_names() -> None:
    """Enabled hooks, each once."""
    room = Room("tea.room", 5, hooks=("a", HOOK.key))
    assert named_hooks(room, HOOK.key, HOOK) == ("a", HOOK.key)
    assert named_hooks(room, "b", HOOK) == ("a", HOOK.key, "b")
    assert named_hooks(room, HOOK.key, replace(HOOK, disabled_at=NOW)) == ("a",)
    assert named_hooks(room, HOOK.key, None) == ("a",)


# ---- where a receiver may be

PRIVATE = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.1.2.3", "169.254.169.254",
    "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.9", "192.0.2.1", "192.88.99.1",
    "192.168.0.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1",
    "255.255.255.255",
    "::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::808:808",
    "64:ff9b:1::1", "100::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1", "2002:7f00:1::",
    "2002:808:808::", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1",
]  # fmt: skip
PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:4700:4700::1111", "2001:4860::1"]


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_of_the_public_internet(address: str) -> None:
    """Each kind of them."""
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    """Neighbours of those that are not, too."""
    assert is_public(ipaddress.ip_address(address))


@given(st.ip_addresses(v=4))
def test_an_embedded_address_is_never_public(address: ipaddress.IPv4Address) -> None:
    """Whatever it is: mapped, compatible, 6to4, NAT64."""
    for prefix in (0xFFFF << 32, 0, 0x64FF9B << 96):
        assert not is_public(ipaddress.IPv6Address(prefix | int(address)))
    assert not is_public(ipaddress.IPv6Address(0x2002 << 112 | int(address) << 80))


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org", "https://example.org/a?b=c", "https://example.org:443/", "https://example.org:8443/x",
        "https://8.8.8.8/", "https://[2606:4700:4700::1111]/", "https://0x7f.1/", "https://2130706433/",
    ],
)  # fmt: skip
def test_urls(url: str) -> None:
    """Odd spellings of addresses are names here: they are judged where they lead to."""
    check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "", "example.org", "http://example.org/", "ftp://example.org/", "https://", "https:///x", "https://u@example.org/",
        "https://u:p@example.org/", "https://example.org:80/", "https://example.org:22/", "https://example.org:99999/",
        "https://127.0.0.1/", "https://[::1]/", "https://[::ffff:127.0.0.1]/", "https://169.254.169.254/",
        "https://example.org/a b", "https://example.org/\n", "https://exämple.org/", "https://example.org\\@x/",
        "https://example.org/#x", "https://example.org/" + "x" * 1024, "https://[::1/", "https://[fe80::1%25eth0]/",
    ],
)  # fmt: skip
def test_urls_that_no_receiver_has(url: str) -> None:
    """Each is refused with the field's name."""
    with pytest.raises(Refused, match="BAD_REQUEST: `url`"):
        check_url(url)


def test_urls_of_a_twin() -> None:
    """Any port of both schemes; still no credentials."""
    check_url("http://127.0.0.1:1234/", None)
    with pytest.raises(Refused, match="`url`"):
        check_url("http://u@127.0.0.1:1234/", None)


# ---- failures


@given(failures=st.integers(1, 10_000), seed=st.integers(), asked=st.none() | st.floats(0, 1e9))
def test_pauses(failures: int, seed: int, asked: float | None) -> None:
    """Between a half and the whole of a pause that doubles up to 15 minutes, longer if asked for, within the bound."""
    longest = min(FIRST_PAUSE * 2 ** min(failures - 1, 20), LAST_PAUSE)
    pause = backoff(failures, asked, random.Random(seed))
    assert max(longest / 2, min(asked or 0, LAST_PAUSE)) <= pause <= max(longest, min(asked or 0, LAST_PAUSE))


def test_failures_are_counted_from_the_first() -> None:
    """The time of the first stays."""
    hook = failed(failed(HOOK, "500", NOW, NOW + 1_000), "no answer", NOW + 1_000, NOW + 3_000)
    assert (hook.failing_since, hook.failures, hook.retry_at, hook.problem) == (NOW, 2, NOW + 3_000, "no answer")


def test_the_example_of_the_docs_is_signed() -> None:
    """Whoever writes a receiver tries it on this one first."""
    page = (Path(__file__).parents[3] / "docs" / "webhooks.md").read_text()
    headers = dict(re.findall(r"^(webhook-[a-z]+): (.+)$", page, re.MULTILINE))
    secrets, bodies = re.findall(r"`(whsec_[^`]+)`", page), re.findall(r"^\{.+\}$", page, re.MULTILINE)
    assert verify(headers, secrets, bodies[0].encode(), int(headers["webhook-timestamp"]) * 1000)
    assert not verify(headers, secrets, bodies[0].encode() + b" ", int(headers["webhook-timestamp"]) * 1000)
